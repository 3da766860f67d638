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
    """A graph compiled for the CPU. Threads may share it.

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
            threads: In all; None for one per usable physical core.
            concurrency: Runs at once at most, which share the threads; None for one, which
                has them all and answers soonest. Threads that share a runner take turns.
            precision: What floating products are computed in; narrower tensors are
                widened to it, and not rounded between.
            profiled: Whether it times every node, for :meth:`node_times`.

        Raises:
            MissingDependency: OpenVINO is not installed.
            RunnerError: The graph cannot be loaded.
            UsageError: Fewer threads than one, or no runs at once.
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
        computed_in = self.settings["inference_precision"]
        self.name = "openvino-cpu" + ("" if computed_in == "f32" else f"-{computed_in}")
        self.device = Provider.OPENVINO.device
        self._compiled = compiled
        self._requests: Pool[Any] = Pool(self.name, most, self._request, lambda _: None)
        # Friendly names are the graph's own; other names are of tensors merged with these.
        self.signature: Signature = {
            port.node.friendly_name: (_numpy_name(port.element_type), _shape(port))
            for port in compiled.inputs
        }
        self._places = {name: place for place, name in enumerate(self.signature)}
        self._output_names = [_output_name(port) for port in compiled.outputs]

    def run(self, inputs: Inputs) -> Outputs:
        """One batch of host arrays through the graph; see the protocol."""
        with self._requests.taken() as request:
            return self._infer(request, inputs)

    def node_times(self, inputs: Inputs, runs: int) -> list[NodeTime]:
        """Run so often, and tell what each node took that was not merged into another."""
        if not self._profiled:
            raise RunnerError(f"{self.name} is not profiled", "open it with profiled=True")
        total: dict[tuple[str, str], float] = {}
        with self._requests.taken() as request:
            for _ in range(runs):
                self._infer(request, inputs)
                for info in request.profiling_info:
                    if info.status == info.Status.EXECUTED:
                        node = (info.node_name, info.node_type)
                        total[node] = total.get(node, 0.0) + info.real_time.total_seconds()
        return [NodeTime(*node, 1000 * seconds / runs) for node, seconds in total.items()]

    def close(self) -> None:
        """Wait for those who run, and free the graph; closing twice is harmless."""
        self._requests.close()
        self._compiled = None

    def _request(self) -> Any:
        return self._compiled.create_infer_request()

    def _infer(self, request: Any, inputs: Inputs) -> Outputs:
        checked = check_inputs(inputs, self.signature)
        feed = {self._places[name]: array for name, array in checked.items()}
        try:
            request.infer(feed, share_inputs=True, share_outputs=True)
        except Exception as error:
            raise RunnerError(
                f"OpenVINO failed: {_reason(error)}",
                "run the graph in onnxruntime, with --provider cpu",
            ) from error
        # The next run writes into the same tensors: hand out copies.
        return {
            name: _to_numpy(request.get_output_tensor(place))
            for place, name in enumerate(self._output_names)
        }


def load_library() -> Any:
    """Import OpenVINO, unreported.

    Raises:
        MissingDependency: It is not installed, or does not load.
    """
    try:
        with _unreported():
            import openvino
    except ImportError as error:
        raise MissingDependency(
            f"OpenVINO cannot be imported: {_reason(error)}", INSTALL
        ) from error
    return openvino


@contextmanager
def _unreported() -> Iterator[None]:
    """Hide OpenVINO's telemetry, which tells Google Analytics of each import."""
    if TELEMETRY in sys.modules:
        yield
        return
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[TELEMETRY]


def settings(core: Any, compiled: Any) -> dict[str, Any]:
    """What a compiled graph's speed depends on, as OpenVINO has it."""
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
    """The graph for the CPU, and what its quantized products run in, if it has any."""
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
    """Whether OpenVINO's 8-bit products overflow on this CPU.

    Without VNNI an x86 adds pairs of them in 16 bits, which full-range weights exceed
    (OpenVINO documentation, "Saturation (overflow) issue"); nothing but trying tells.
    """
    ops, size = library.opset13, 64
    given = ops.parameter([1, size], np.float32)
    ends = (np.float32(0), np.float32(255)) * 2
    weight = ops.convert(ops.constant(np.full((size, size), 127, np.int8)), "f32")
    scaled = ops.multiply(weight, ops.constant(np.float32(1)))
    taken = ops.fake_quantize(given, *ends, 256)
    product = ops.matmul(taken, scaled, transpose_a=False, transpose_b=True)
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(library.Model([product], [given]), DEVICE, config)
    answer = compiled([np.full((1, size), 255, np.float32)])[0]
    return not np.allclose(answer, size * 255 * 127, rtol=0.01)


def _shape(port: Any) -> tuple[int | str, ...]:
    return tuple(d.get_length() if d.is_static else "?" for d in port.partial_shape)


def _output_name(port: Any) -> str:
    """``logits`` of ``logits/sink_port_0``."""
    name: str = port.node.friendly_name
    return name.rpartition("/sink_port_")[0] or name


def _numpy_name(kind: Any) -> str:
    name = kind.get_type_name()
    if name not in NUMPY_TYPES:
        raise RunnerError(
            f"the graph takes {name}", f"only {', '.join(NUMPY_TYPES)} can be fed"
        )
    if name == "bf16":
        register_bfloat16()
    return NUMPY_TYPES[name]


def _to_numpy(tensor: Any) -> NDArray[Any]:
    """A tensor as an array of its own."""
    array: NDArray[Any] = tensor.data
    if tensor.element_type.get_type_name() == "bf16":
        # Its bits come under the name of another type of two bytes.
        register_bfloat16()
        array = array.view("bfloat16")
    return array.copy()


def _reason(error: BaseException) -> str:
    """The last line: those before it say where in OpenVINO's source it was raised."""
    lines = [line.strip("- ") for line in str(error).splitlines() if line.strip("- ")]
    return lines[-1] if lines else type(error).__name__
