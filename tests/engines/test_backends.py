from __future__ import annotations

import pytest

from hrvit_deploy.bindings.cuda_ import Gpu, Survey
from hrvit_deploy.bindings.tensorrt_ import Availability
from hrvit_deploy.engines.backends import Choice, choose
from hrvit_deploy.errors import MissingDependency
from hrvit_deploy.options import Backend

TRT, RTX, AUTO = Backend.TENSORRT, Backend.TENSORRT_RTX, Backend.AUTO
GPU = Survey(gpu=Gpu("L4", "8.9", "CUDA 13.0", 1))
NO_GPU = Survey(reason="no driver", hint="find one")
VERSIONS = {TRT: "11.4.0.106", RTX: "1.7.1.116"}


def chosen(asked: Backend, survey: Survey, *loads: Backend) -> Choice:
    def availability(backend: Backend) -> Availability:
        if backend in loads:
            return Availability(backend, version=VERSIONS[backend])
        return Availability(backend, reason=f"no {backend} library", hint=f"install {backend}")

    return choose(asked, availability=availability, survey=lambda: survey)


@pytest.mark.parametrize(
    ("asked", "survey", "loads", "backend", "why"),
    [
        (AUTO, GPU, (TRT, RTX), TRT, "there is a GPU"),
        (AUTO, NO_GPU, (TRT, RTX), RTX, "there is none: no driver"),
        (AUTO, GPU, (RTX,), RTX, "no tensorrt library"),
        (AUTO, GPU, (TRT,), TRT, "TensorRT 11.4.0.106"),
        (TRT, GPU, (TRT, RTX), TRT, "as asked"),
        (RTX, GPU, (TRT, RTX), RTX, "TensorRT-RTX 1.7.1.116: as asked"),
        (RTX, NO_GPU, (RTX,), RTX, "as asked"),
    ],
)
def test_the_choice_and_why(
    asked: Backend, survey: Survey, loads: tuple[Backend, ...], backend: Backend, why: str
) -> None:
    choice = chosen(asked, survey, *loads)
    assert choice.backend is backend
    assert choice.version == VERSIONS[backend]
    assert choice.gpu == survey.gpu
    assert why in choice.why


@pytest.mark.parametrize(
    ("asked", "survey", "loads", "message", "hint"),
    [
        (TRT, GPU, (RTX,), "no tensorrt library", "--backend tensorrt-rtx"),
        (TRT, NO_GPU, (TRT, RTX), "there is none: no driver", "find one"),
        (RTX, GPU, (TRT,), "no tensorrt-rtx library", "install tensorrt-rtx"),
        (AUTO, NO_GPU, (TRT,), "no TensorRT can build here", "which needs no GPU"),
        (AUTO, GPU, (), "no tensorrt library; no tensorrt-rtx library", "install tensorrt"),
    ],
)
def test_what_cannot_build_is_refused(
    asked: Backend, survey: Survey, loads: tuple[Backend, ...], message: str, hint: str
) -> None:
    with pytest.raises(MissingDependency, match=message) as caught:
        chosen(asked, survey, *loads)
    assert hint in caught.value.hint
