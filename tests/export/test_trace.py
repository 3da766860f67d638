"""Tracing writes the signature and the opset asked for, or says why it cannot."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from support.graph_making import floats, run_graph
from torch import Tensor, nn

from hrvit_deploy.artefact import TensorInfo
from hrvit_deploy.errors import ExportError
from hrvit_deploy.export.trace import TRACER_OPSET, trace


class Scale(nn.Module):
    """Twice the image."""

    def forward(self, image: Tensor) -> Tensor:
        return image.reshape(image.shape[0], -1) * 2


class Unknown(nn.Module):
    """What ONNX has no operator for."""

    def forward(self, image: Tensor) -> Tensor:
        unknown: Tensor = torch.special.bessel_j0(image)
        return unknown


class Broken(nn.Module):
    """What PyTorch itself cannot run."""

    def forward(self, image: Tensor) -> Tensor:
        return image @ image


def infos(batch: int | str) -> tuple[TensorInfo, TensorInfo]:
    return (
        TensorInfo("image", (batch, 3, 4), "float32", "NC"),
        TensorInfo("logits", (batch, 12), "float32", "NC"),
    )


@pytest.mark.parametrize("opset", [17, TRACER_OPSET])
def test_the_graph_has_the_signature_and_opset(tmp_path: Path, opset: int) -> None:
    path = tmp_path / "graph.onnx"

    trace(Scale(), path, *infos(2), opset)

    model = onnx.load(path)
    assert [o.version for o in model.opset_import if not o.domain] == [opset]
    assert [v.name for v in (*model.graph.input, *model.graph.output)] == ["image", "logits"]
    image = floats(2, 3, 4)
    answer = run_graph(path, tmp_path, image=image)["logits"]
    np.testing.assert_array_equal(answer, 2 * image.reshape(2, 12))


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_a_dynamic_batch_does_not_fold(tmp_path: Path, batch: int) -> None:
    path = tmp_path / "graph.onnx"

    trace(Scale(), path, *infos("batch"), 20)

    image = floats(batch, 3, 4)
    answer = run_graph(path, tmp_path, image=image)["logits"]
    np.testing.assert_array_equal(answer, 2 * image.reshape(batch, 12))


@pytest.mark.parametrize("network", [Unknown(), Broken()])
def test_what_cannot_be_traced_is_one_line(tmp_path: Path, network: nn.Module) -> None:
    path = tmp_path / "graph.onnx"

    with pytest.raises(ExportError) as caught:
        trace(network, path, *infos(2), 20)

    assert caught.value.message.startswith("PyTorch cannot export the graph: ")
    assert "\n" not in caught.value.message
    assert "--opset" in caught.value.hint
    assert "--without" in caught.value.hint


def test_no_warnings_reach_the_user(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trace(Scale(), tmp_path / "graph.onnx", *infos("batch"), 20)


def test_pytorch_is_told_where_to_put_weights_over_2_gb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It writes them beside a file it knows by a name in plain text, and no other.
    named: list[object] = []
    monkeypatch.setattr(
        torch.onnx, "export", lambda *arguments, **_: named.append(arguments[2])
    )
    trace(Scale(), tmp_path / "net.onnx", *infos(1), TRACER_OPSET)
    assert named == [str(tmp_path / "net.onnx")]
    assert type(named[0]) is str
