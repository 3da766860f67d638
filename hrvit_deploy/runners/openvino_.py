"""ONNX graphs in OpenVINO on the CPU; nothing else imports it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrvit_deploy.errors import MissingDependency, RunnerError, UsageError
from hrvit_deploy.runners.cores import usable_cores
from hrvit_deploy.runners.inputs import Signature, check_inputs, register_bfloat16
from hrvit_deploy.runners.pool import Pool, check_concurrency
from hrvit_deploy.runners.protocol import Closing, Inputs, NodeTime, Outputs
from hrvit_deploy.runners.spec import InferencePrecision, Provider

DEVICE = "CPU"
INSTALL = "pip install 'hrvit-deploy[openvino]'"
TELEMETRY = "openvino_telemetry"
# OpenVINO's names of types to NumPy's.
NUMPY_TYPES = {
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
    "f64": "float64",
    "u8": "uint8",
    "i8": "int8",
    "i32": "int32",
    "i64": "int64",
    "boolean": "bool",
}


class OpenVinoRunner(Closing):
    """An OpenVINO graph compiled for the CPU, which threads may share.

    Attributes:
        signature: Input name to its type, as a NumPy name, and shape; ``?`` stands for a
            dynamic dimension.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        concurrency: int | None = None,
        precision: InferencePrecision = InferencePrecision.F32,
        profiled: bool = False,
    ) -> None:
        """Read and compile the graph.

        Args:
            path: An ``.onnx`` file.
            threads: Threads in all; None for one per usable physical core.
            concurrency: The most runs at the same time, which share the threads; None for
                one, which uses all threads and has the shortest latency. Callers on more
                threads than that wait for one another.
            precision: The precision of floating-point products; narrower tensors are
                widened to it, and not rounded in between.
            profiled: Whether the runner times every node, for :meth:`node_times`.

        Raises:
            MissingDependency: OpenVINO is not installed.
            RunnerError: The graph cannot be loaded.
            UsageError: ``threads`` or ``concurrency`` is less than one.
        """
        if threads is not None and threads < 1:
            raise UsageError(f"cannot run on {threads} threads", "give 1 or more")
        most = 1 if concurrency is None else concurrency
        check_concurrency(most)
        library = load_library()
        core = library.Core()
        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads or usable_cores(),
        }
        if most > 1:
            config["NUM_STREAMS"] = most
        if profiled:
            config["PERF_COUNT"] = True
        self._profiled = profiled
        if precision is InferencePrecision.F32:
            config["INFERENCE_PRECISION_HINT"] = "f32"
        compiled, quantized = _compile(library, core, path, config)
        self.settings: dict[str, Any] = {
            **settings(core, compiled),
            **quantized,
            "version": library.__version__,
        }
        inference_precision = self.settings["inference_precision"]
        suffix = "" if inference_precision == "f32" else f"-{inference_precision}"
        self.name = f"openvino-cpu{suffix}"
        self.device = Provider.OPENVINO.device
        self._compiled = compiled
        self._requests: Pool[Any] = Pool(self.name, most, self._request, lambda _: None)
        # Friendly names are the graph's own; other names are of tensors merged with these.
        self.signature: Signature = {
            node_input.node.friendly_name: (
                _numpy_name(node_input.element_type),
                _shape(node_input),
            )
            for node_input in compiled.inputs
        }
        self._input_indices = {name: index for index, name in enumerate(self.signature)}
        self._output_names = [_output_name(output) for output in compiled.outputs]

    def run(self, inputs: Inputs) -> Outputs:
        """Run one batch of host arrays through the graph; see :class:`Runner`."""
        with self._requests.borrowed() as request:
            return self._infer(request, inputs)

    def node_times(self, inputs: Inputs, runs: int) -> list[NodeTime]:
        """Run ``runs`` times and return the mean time of each executed node, in ms.

        Nodes that OpenVINO merged into others are left out.
        """
        if not self._profiled:
            raise RunnerError(f"{self.name} is not profiled", "open it with profiled=True")
        total_s: dict[tuple[str, str], float] = {}
        with self._requests.borrowed() as request:
            for _ in range(runs):
                self._infer(request, inputs)
                for info in request.profiling_info:
                    if info.status == info.Status.EXECUTED:
                        node = (info.node_name, info.node_type)
                        total_s[node] = total_s.get(node, 0.0) + info.real_time.total_seconds()
        return [NodeTime(*node, 1000 * time_s / runs) for node, time_s in total_s.items()]

    def close(self) -> None:
        """Wait for runs in progress, and free the graph; a second call does nothing."""
        self._requests.close()
        self._compiled = None

    def _request(self) -> Any:
        return self._compiled.create_infer_request()

    def _infer(self, request: Any, inputs: Inputs) -> Outputs:
        checked = check_inputs(inputs, self.signature)
        by_index = {self._input_indices[name]: array for name, array in checked.items()}
        try:
            request.infer(by_index, share_inputs=True, share_outputs=True)
        except Exception as error:
            raise RunnerError(
                f"OpenVINO failed: {_reason(error)}",
                "run the graph in onnxruntime, with --provider cpu",
            ) from error
        # The next run writes into the same tensors: return copies.
        return {
            name: _to_numpy(request.get_output_tensor(index))
            for index, name in enumerate(self._output_names)
        }


def load_library() -> Any:
    """Import OpenVINO without its telemetry.

    Raises:
        MissingDependency: It is not installed, or does not load.
    """
    try:
        with _no_telemetry():
            import openvino
    except ImportError as error:
        raise MissingDependency(
            f"OpenVINO cannot be imported: {_reason(error)}", INSTALL
        ) from error
    return openvino


@contextmanager
def _no_telemetry() -> Iterator[None]:
    """Hide OpenVINO's telemetry, which reports each import to Google Analytics."""
    if TELEMETRY in sys.modules:
        yield
        return
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[TELEMETRY]


def settings(core: Any, compiled: Any) -> dict[str, Any]:
    """Return the settings a compiled graph's speed depends on, as OpenVINO reports them."""
    return {
        "provider": str(Provider.OPENVINO),
        "device": core.get_property(DEVICE, "FULL_DEVICE_NAME").strip(),
        "hint": str(compiled.get_property("PERFORMANCE_HINT")),
        "threads": compiled.get_property("INFERENCE_NUM_THREADS"),
        "streams": compiled.get_property("NUM_STREAMS"),
        "inference_precision": compiled.get_property(
            "INFERENCE_PRECISION_HINT"
        ).get_type_name(),
    }


def _compile(
    library: Any, core: Any, path: Path, config: dict[str, Any]
) -> tuple[Any, dict[str, str]]:
    """Compile the graph for the CPU.

    Returns:
        The compiled graph, and the type its quantized products run in, if it has any.
    """
    if not path.is_file():
        raise RunnerError(f"there is no {path}", "check the path, or run hrvit-deploy export")
    quantized: dict[str, str] = {}
    try:
        model = core.read_model(path)
        if any(op.get_type_name() == "FakeQuantize" for op in model.get_ops()):
            quantized["quantized_products"] = "int8"
            if overflows(library, core):
                config = {**config, "LP_TRANSFORMS_MODE": False}
                quantized["quantized_products"] = "float, because int8 overflows on this CPU"
        return core.compile_model(model, DEVICE, config), quantized
    except Exception as error:
        raise RunnerError(
            f"OpenVINO {library.__version__} cannot load {path}: {_reason(error)}",
            "update OpenVINO, or run the graph in onnxruntime with --provider cpu",
        ) from error


def overflows(library: Any, core: Any) -> bool:
    """Return whether OpenVINO's 8-bit products overflow on this CPU.

    Without VNNI an x86 CPU adds pairs of products in 16 bits, which full-range weights exceed
    (OpenVINO documentation, "Saturation (overflow) issue"). Only a trial shows it.
    """
    ops, size = library.opset13, 64
    source = ops.parameter([1, size], np.float32)
    ends = (np.float32(0), np.float32(255)) * 2
    weight = ops.convert(ops.constant(np.full((size, size), 127, np.int8)), "f32")
    scaled = ops.multiply(weight, ops.constant(np.float32(1)))
    quantized = ops.fake_quantize(source, *ends, 256)
    product = ops.matmul(quantized, scaled, transpose_a=False, transpose_b=True)
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(library.Model([product], [source]), DEVICE, config)
    output = compiled([np.full((1, size), 255, np.float32)])[0]
    return not np.allclose(output, size * 255 * 127, rtol=0.01)


def _shape(node_input: Any) -> tuple[int | str, ...]:
    return tuple(d.get_length() if d.is_static else "?" for d in node_input.partial_shape)


def _output_name(output: Any) -> str:
    """Return the graph's own name of an output: ``logits`` for ``logits/sink_port_0``."""
    name: str = output.node.friendly_name
    return name.rpartition("/sink_port_")[0] or name


def _numpy_name(element_type: Any) -> str:
    name = element_type.get_type_name()
    if name not in NUMPY_TYPES:
        raise RunnerError(
            f"the graph takes {name}", f"only {', '.join(NUMPY_TYPES)} can be fed"
        )
    if name == "bf16":
        register_bfloat16()
    return NUMPY_TYPES[name]


def _to_numpy(tensor: Any) -> NDArray[Any]:
    """Return a tensor as an array that owns its memory."""
    array: NDArray[Any] = tensor.data
    if tensor.element_type.get_type_name() == "bf16":
        # OpenVINO returns its bits as another type of two bytes.
        register_bfloat16()
        array = array.view("bfloat16")
    return array.copy()


def _reason(error: BaseException) -> str:
    """Return the last line of an error; earlier ones name the place in OpenVINO's source."""
    lines = [line.strip("- ") for line in str(error).splitlines() if line.strip("- ")]
    return lines[-1] if lines else type(error).__name__
