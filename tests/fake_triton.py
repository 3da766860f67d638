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
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format, text_format  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[1]
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


NetworkSpec = dict[str, Any]


def python_model(file: Path, config: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A ``model.py`` as Triton's Python backend has it, initialized."""
    utils = ModuleType("triton_python_backend_utils")
    held: Any = utils
    held.Tensor, held.TritonError, held.InferenceResponse = (
        Tensor,
        TritonError,
        InferenceResponse,
    )
    held.get_input_tensor_by_name = lambda request, name: Tensor(name, request[name])
    monkeypatch.setitem(sys.modules, utils.__name__, utils)
    spec = importlib.util.spec_from_file_location("model", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.TritonPythonModel()
    text = json.dumps(json_format.MessageToDict(config, preserving_proto_field_name=True))
    model.initialize({"model_config": with_defaults(text)})
    return model


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
        (found,) = [c for c in self.configs.values() if c.platform == "ensemble"]
        return found

    def check(self, config: Any, side: str, tensors: dict[str, Any]) -> None:
        """Hold tensors against what a model says of its inputs or outputs."""
        declared = {tensor.name: tensor for tensor in getattr(config, side)}
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

    def run(self, name: str, tensors: NetworkSpec) -> InferenceResponse:
        """One request to a model."""
        config = self.configs[name]
        self.check(config, "input", tensors)
        if config.platform == "ensemble":
            answer = self._run_steps(config, tensors)
        elif config.backend == "python":
            file = self.folder / name / "1" / "model.py"
            (answer,) = python_model(file, config, self._monkeypatch).execute([tensors])
        else:
            answer = self._run_network(name, config, tensors)
        if answer.error is None:
            self.check(config, "output", answer.tensors)
        return answer

    def check_ensemble(self) -> None:
        """Triton's own rules: the tensors of an ensemble are of one type and shape.

        ``ValidateEnsembleConfig`` in triton-inference-server/core.
        """
        ensemble = self.ensemble()
        held = {tensor.name: (tensor, ensemble) for tensor in ensemble.input}
        for step in ensemble.ensemble_scheduling.step:
            model = self.configs[step.model_name]
            assert model.max_batch_size in (0, ensemble.max_batch_size)
            declared = {tensor.name: tensor for tensor in [*model.input, *model.output]}
            assert set(step.input_map) == {tensor.name for tensor in model.input}
            for theirs, ours in step.input_map.items():
                same(held[ours], (declared[theirs], model))
            for theirs, ours in step.output_map.items():
                assert ours not in held
                held[ours] = (declared[theirs], model)
        for tensor in ensemble.output:
            same(held[tensor.name], (tensor, ensemble))
        assert not ensemble.instance_group
        assert not ensemble.model_warmup
        assert not ensemble.HasField("optimization")

    def _run_network(self, name: str, config: Any, tensors: NetworkSpec) -> InferenceResponse:
        if config.backend == "openvino":
            file = self.folder / name / "1" / config.default_model_filename
            return run_in_openvino(file, config, tensors)
        import onnxruntime

        file = self.folder / name / "1" / config.default_model_filename
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        answers = session.run(names, tensors)
        return InferenceResponse([Tensor(*pair) for pair in zip(names, answers, strict=True)])

    def _run_steps(self, config: Any, tensors: NetworkSpec) -> InferenceResponse:
        held = dict(tensors)
        for step in config.ensemble_scheduling.step:
            inputs = {theirs: held[ours] for theirs, ours in step.input_map.items()}
            answer = self.run(step.model_name, inputs)
            if answer.error is not None:
                return answer
            for theirs, ours in step.output_map.items():
                held[ours] = answer.tensors[theirs]
        return InferenceResponse([Tensor(out.name, held[out.name]) for out in config.output])


def same(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    """Hold a tensor as one model has it against the same as another has it."""
    assert one[0].data_type == other[0].data_type, (one[0], other[0])
    shapes = [
        [*([-1] if config.max_batch_size else []), *tensor.dims]
        for tensor, config in (one, other)
    ]
    assert len(shapes[0]) == len(shapes[1]), shapes
    for sizes in zip(*shapes, strict=True):
        assert -1 in sizes or len(set(sizes)) == 1, shapes


def run_in_openvino(file: Path, config: Any, tensors: NetworkSpec) -> InferenceResponse:
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
    answers = core.compile_model(model, "CPU", settings)({name: array})
    kept = [
        Tensor(out.get_any_name(), answers[out.get_any_name()][:count]) for out in model.outputs
    ]
    return InferenceResponse(kept)
