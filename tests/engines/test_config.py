"""Options as calls on a builder configuration that only listens."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, call

import pytest

from hrvit_deploy.artefact import TensorInfo
from hrvit_deploy.bindings import tensorrt_
from hrvit_deploy.bindings.cuda_ import Gpu
from hrvit_deploy.engines.backends import Choice
from hrvit_deploy.engines.capabilities import runs_on
from hrvit_deploy.engines.config import check_options, configure, fix_sizes
from hrvit_deploy.engines.network import Parsed
from hrvit_deploy.engines.timing_cache import cache_name, load_cache, save_cache
from hrvit_deploy.errors import BuildError, UsageError
from hrvit_deploy.options import Backend, BatchProfile, BuildOptions, HardwareCompatibility
from hrvit_deploy.progress import SilentProgress

# The enumerations of both backends are the same.
trt = tensorrt_.load(Backend.TENSORRT_RTX)
L4 = Gpu("L4", "8.9", "", 1)
TRT = Choice(Backend.TENSORRT, "11.4.0.106", L4, "")
RTX = Choice(Backend.TENSORRT_RTX, "1.7.1.116", None, "")
FIXED = (TensorInfo("images", (1, 3, 224, 224), "float32", "NCHW"),)
DYNAMIC = (TensorInfo("images", ("batch", 3, 224, 224), "float32", "NCHW"),)


def configured(options: BuildOptions, choice: Choice = TRT, *shapes: tuple[int, ...]) -> Any:
    tensors = [SimpleNamespace(name=f"in{i}", shape=shape) for i, shape in enumerate(shapes)]
    network = SimpleNamespace(num_inputs=len(tensors), get_input=lambda i: tensors[i])
    builder = MagicMock()
    return configure(trt, Parsed(builder, network, None), options, choice), builder


def test_tf32_is_off_unless_asked_for() -> None:
    config, _ = configured(BuildOptions())
    assert config.clear_flag.mock_calls == [call(trt.BuilderFlag.TF32)]
    assert config.set_flag.mock_calls == []
    config, _ = configured(BuildOptions(tf32=True))
    assert config.clear_flag.mock_calls == []


def test_every_option_reaches_tensorrt() -> None:
    options = BuildOptions(
        workspace_mib=512,
        optimization_level=4,
        version_compatible=True,
        strip_weights=True,
        hardware_compatibility=HardwareCompatibility.AMPERE_PLUS,
    )
    config, _ = configured(check_options(options, TRT, FIXED))
    flags = trt.BuilderFlag
    config.set_memory_pool_limit.assert_called_once_with(
        trt.MemoryPoolType.WORKSPACE, 512 * 1024 * 1024
    )
    assert config.builder_optimization_level == 4
    assert [c.args[0] for c in config.set_flag.mock_calls] == [
        flags.REFIT,
        flags.STRIP_PLAN,
        flags.VERSION_COMPATIBLE,
    ]
    assert config.hardware_compatibility_level == trt.HardwareCompatibilityLevel.AMPERE_PLUS


def test_defaults_leave_the_builder_its_own() -> None:
    config, _ = configured(BuildOptions(), RTX)
    config.set_memory_pool_limit.assert_not_called()
    config.add_optimization_profile.assert_not_called()
    assert isinstance(config.builder_optimization_level, MagicMock)
    assert isinstance(config.hardware_compatibility_level, MagicMock)


def test_a_dynamic_batch_gets_a_profile() -> None:
    options = BuildOptions(profile=BatchProfile(1, 4, 16))
    config, builder = configured(options, TRT, (-1, 3, 32, 32), (2, 2))
    profile = builder.create_optimization_profile()
    profile.set_shape.assert_called_once_with(
        "in0", (1, 3, 32, 32), (4, 3, 32, 32), (16, 3, 32, 32)
    )
    config.add_optimization_profile.assert_called_once_with(profile)


@pytest.mark.parametrize("shape", [(1, 3, -1, 32), (-1, 3, -1, -1)])
def test_other_dynamic_sizes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BuildError, match="only its first size"):
        configured(BuildOptions(), TRT, shape)


def test_sizes_that_a_graph_leaves_open_become_the_sidecar_s() -> None:
    tensors = [
        SimpleNamespace(name="images", shape=(-1, 3, -1, -1)),
        SimpleNamespace(name="more", shape=(-1, 3, 32, 32)),
    ]
    network = SimpleNamespace(num_inputs=2, get_input=lambda i: tensors[i])
    fix_sizes(Parsed(MagicMock(), network, None), DYNAMIC)
    assert [tensor.shape for tensor in tensors] == [(-1, 3, 224, 224), (-1, 3, 32, 32)]


def test_capabilities_are_spelled_for_rtx() -> None:
    config, _ = configured(BuildOptions(compute_capabilities=("8.9", "12.0")), RTX)
    assert config.num_compute_capabilities == 2
    assert config.set_compute_capability.mock_calls == [
        call(trt.ComputeCapability.SM89, 0),
        call(trt.ComputeCapability.SM120, 1),
    ]


@pytest.mark.parametrize(
    ("options", "choice", "words"),
    [
        (BuildOptions(compute_capabilities=("8.9",)), TRT, "not for a list"),
        (BuildOptions(profile=BatchProfile(2, 2, 2)), TRT, "fixed batch"),
        (BuildOptions(version_compatible=True), RTX, "no version compatible"),
        (BuildOptions(refit=True), RTX, "where there is a GPU"),
        (BuildOptions(strip_weights=True), RTX, "where there is a GPU"),
        (
            BuildOptions(hardware_compatibility=HardwareCompatibility.SAME_COMPUTE_CAPABILITY),
            RTX,
            "no hardware compatibility",
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    options: BuildOptions, choice: Choice, words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        check_options(options, choice, FIXED)
    assert caught.value.hint


def test_what_can_be_honoured_is_not() -> None:
    with_gpu = Choice(Backend.TENSORRT_RTX, "1.7", L4, "")
    for options, choice, inputs in (
        (BuildOptions(profile=BatchProfile(2, 2, 2)), TRT, DYNAMIC),
        (BuildOptions(compute_capabilities=("8.9",)), RTX, FIXED),
        (BuildOptions(refit=True), with_gpu, FIXED),
    ):
        assert check_options(options, choice, inputs) is options


@pytest.mark.parametrize(
    ("options", "choice", "expected"),
    [
        (BuildOptions(), TRT, ("8.9",)),
        (
            BuildOptions(hardware_compatibility=HardwareCompatibility.AMPERE_PLUS),
            TRT,
            ("8.0+",),
        ),
        (BuildOptions(), RTX, ("8.0", "8.6", "8.9", "12.0+")),
        (BuildOptions(compute_capabilities=("7.5",)), RTX, ("7.5",)),
    ],
)
def test_where_a_plan_runs(
    options: BuildOptions, choice: Choice, expected: tuple[str, ...]
) -> None:
    assert runs_on(options, choice) == expected


def test_a_timing_cache_goes_from_build_to_build(tmp_path: Path) -> None:
    config, progress = MagicMock(), SilentProgress()
    path = tmp_path / cache_name(TRT)
    assert path.name == "timing-11.4.0.106-sm89.cache"
    load_cache(config, path, progress)
    config.create_timing_cache.assert_called_once_with(b"")
    config.get_timing_cache().serialize.return_value = b"timings"
    save_cache(config, path)
    load_cache(config, path, progress)
    config.create_timing_cache.assert_called_with(b"timings")
    assert not progress.notes


def test_a_timing_cache_that_does_not_fit_is_left_out(tmp_path: Path) -> None:
    config, progress = MagicMock(), SilentProgress()
    config.set_timing_cache.side_effect = [False, True]
    path = tmp_path / "timing.cache"
    path.write_bytes(b"of another GPU")
    load_cache(config, path, progress)
    assert config.create_timing_cache.mock_calls == [call(b"of another GPU"), call(b"")]
    assert "does not fit" in progress.notes[0]


def test_a_timing_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    config = MagicMock()
    config.get_timing_cache().serialize.return_value = b"timings"
    with pytest.raises(BuildError, match="cannot write"):
        save_cache(config, tmp_path / "nowhere" / "timing.cache")
