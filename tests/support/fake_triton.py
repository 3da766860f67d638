"""A Triton of one process: reads a model repository as Triton would, and runs its ensembles.

Configurations are parsed with Triton's own protobuf definitions. Models of the Python
backend run against a stand-in for ``triton_python_backend_utils``, networks in onnxruntime;
every tensor that crosses is held against the configurations on both sides.
"""

from __future__ import annotations

import importlib.util
import json
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format, text_format  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]
FETCH = runpy.run_path(str(ROOT / "tools" / "fetch_bindings.py"))
NUMPY = {
    "TYPE_FP32": np.float32,
    "TYPE_FP16": np.float16,
    "TYPE_UINT8": np.uint8,
    "TYPE_INT32": np.int32,
    "TYPE_INT64": np.int64,
    "TYPE_STRING": np.object_,
}


class Tensor:
    def __init__(self, name: str, array: Any) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> Any:
        return self._array


class TritonError(Exception):
    INVALID_ARG = "INVALID_ARG"

    def __init__(self, message: str, code: str = "INTERNAL") -> None:
        super().__init__(message)
        self.code = code


class InferenceResponse:
    def __init__(
        self, output_tensors: list[Tensor] | None = None, error: TritonError | None = None
    ) -> None:
        self.tensors = {tensor.name(): tensor.as_numpy() for tensor in output_tensors or []}
        self.error = error


Tensors = dict[str, Any]


def python_model(file: Path, config: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a ``model.py`` as Triton's Python backend does, and initialize it."""
    utils: Any = ModuleType("triton_python_backend_utils")
    utils.Tensor, utils.TritonError = Tensor, TritonError
    utils.InferenceResponse = InferenceResponse
    utils.get_input_tensor_by_name = lambda request, name: Tensor(name, request[name])
    monkeypatch.setitem(sys.modules, utils.__name__, utils)
    version = file.parent
    with process_of_its_own(version, monkeypatch):
        module = importlib.import_module(f"{version.name}.{file.stem}")
    assert module.__file__ == str(file)
    model = module.TritonPythonModel()
    text = json.dumps(json_format.MessageToDict(config, preserving_proto_field_name=True))
    model.initialize({"model_config": with_defaults(text)})
    return model


@contextmanager
def process_of_its_own(version: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Find modules where the process of a model does, and forget them afterwards.

    Each model runs in a process, which appends the version's folder and the model's to the
    path of modules (``ModelContext::StubSetup`` of python_backend's ``pb_stub.cc``).
    """
    before = set(sys.modules)
    assert not before & {version.name, "standalone"}
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, str(version), str(version.parent)])
        importlib.invalidate_caches()
        yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in (version.name, "standalone"):
            del sys.modules[name]


def with_defaults(text: str) -> str:
    """Triton's own JSON names fields that protobuf leaves out as zero."""
    return json.dumps({"max_batch_size": 0, **json.loads(text)})


def schema() -> Any:
    """Triton's ``model_config`` definitions."""
    folder = FETCH["folder_of"](FETCH["TRITON_VERSION"])
    file = folder / "tritonclient" / "grpc" / "model_config_pb2.py"
    if not file.is_file():
        pytest.fail(f"Triton's definitions are not in {folder}: run make setup")
    name = "triton_model_config_pb2"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


class Repository:
    """A folder of models, each with its parsed configuration."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.configs = folder, {}
        for model in sorted(folder.iterdir()):
            text = (model / "config.pbtxt").read_text("utf-8")
            config = text_format.Parse(text, schema().ModelConfig())
            assert config.name == model.name
            assert any(entry.name.isdecimal() for entry in model.iterdir() if entry.is_dir())
            self.configs[config.name] = config
        self._monkeypatch = monkeypatch

    def ensemble(self) -> Any:
        (ensemble,) = [c for c in self.configs.values() if c.platform == "ensemble"]
        return ensemble

    def check(self, config: Any, direction: str, tensors: Tensors) -> None:
        """Check tensors against a model's declared ``input`` or ``output``."""
        declared = {tensor.name: tensor for tensor in getattr(config, direction)}
        assert set(tensors) == set(declared), config.name
        for name, array in tensors.items():
            wanted = list(declared[name].dims)
            if config.max_batch_size:
                assert len(array) <= config.max_batch_size
                wanted = [-1, *wanted]
            assert len(wanted) == array.ndim, (config.name, name, array.shape)
            pairs = zip(wanted, array.shape, strict=True)
            assert all(want in (-1, have) for want, have in pairs), (name, wanted, array.shape)
            kind = schema().DataType.Name(declared[name].data_type)
            assert array.dtype == NUMPY[kind], (config.name, name)

    def run(self, name: str, tensors: Tensors) -> InferenceResponse:
        """Send one request to a model."""
        config = self.configs[name]
        self.check(config, "input", tensors)
        if config.platform == "ensemble":
            response = self._run_steps(config, tensors)
        elif config.backend == "python":
            file = self.folder / name / "1" / "model.py"
            (response,) = python_model(file, config, self._monkeypatch).execute([tensors])
        else:
            response = self._run_network(name, config, tensors)
        if response.error is None:
            self.check(config, "output", response.tensors)
        return response

    def check_ensemble(self) -> None:
        """Triton's own rules: the tensors of an ensemble are of one type and shape.

        ``ValidateEnsembleConfig`` in triton-inference-server/core.
        """
        ensemble = self.ensemble()
        known = {tensor.name: (tensor, ensemble) for tensor in ensemble.input}
        for step in ensemble.ensemble_scheduling.step:
            model = self.configs[step.model_name]
            assert model.max_batch_size in (0, ensemble.max_batch_size)
            declared = {tensor.name: tensor for tensor in [*model.input, *model.output]}
            assert set(step.input_map) == {tensor.name for tensor in model.input}
            for theirs, ours in step.input_map.items():
                same(known[ours], (declared[theirs], model))
            for theirs, ours in step.output_map.items():
                assert ours not in known
                known[ours] = (declared[theirs], model)
        for tensor in ensemble.output:
            same(known[tensor.name], (tensor, ensemble))
        assert not ensemble.instance_group
        assert not ensemble.model_warmup
        assert not ensemble.HasField("optimization")

    def _run_network(self, name: str, config: Any, tensors: Tensors) -> InferenceResponse:
        if config.backend == "openvino":
            file = self.folder / name / "1" / config.default_model_filename
            return run_in_openvino(file, config, tensors)
        import onnxruntime

        file = self.folder / name / "1" / config.default_model_filename
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        outputs = session.run(names, tensors)
        return InferenceResponse([Tensor(*pair) for pair in zip(names, outputs, strict=True)])

    def _run_steps(self, config: Any, tensors: Tensors) -> InferenceResponse:
        known = dict(tensors)
        for step in config.ensemble_scheduling.step:
            inputs = {theirs: known[ours] for theirs, ours in step.input_map.items()}
            response = self.run(step.model_name, inputs)
            if response.error is not None:
                return response
            for theirs, ours in step.output_map.items():
                known[ours] = response.tensors[theirs]
        return InferenceResponse([Tensor(out.name, known[out.name]) for out in config.output])


def same(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    """Check that two models declare one tensor alike."""
    assert one[0].data_type == other[0].data_type, (one[0], other[0])
    shapes = [
        [*([-1] if config.max_batch_size else []), *tensor.dims]
        for tensor, config in (one, other)
    ]
    assert len(shapes[0]) == len(shapes[1]), shapes
    for sizes in zip(*shapes, strict=True):
        assert -1 in sizes or len(set(sizes)) == 1, shapes


def run_in_openvino(file: Path, config: Any, tensors: Tensors) -> InferenceResponse:
    """As Triton's backend does: a batched graph gets the largest batch, filled with zeros."""
    import openvino

    core = openvino.Core()
    model = core.read_model(file)
    (name,) = tensors
    array = tensors[name]
    count = len(array)
    if config.max_batch_size:
        assert config.parameters["ENABLE_BATCH_PADDING"].string_value == "YES"
        openvino.layout_helpers.set_layout(model.input(name), openvino.Layout("N..."))
        openvino.set_batch(model, config.max_batch_size)
        missing = config.max_batch_size - count
        array = np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    outputs = core.compile_model(model, "CPU", settings)({name: array})
    names = [output.get_any_name() for output in model.outputs]
    return InferenceResponse([Tensor(name, outputs[name][:count]) for name in names])
