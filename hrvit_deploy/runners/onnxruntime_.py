"""ONNX graphs in onnxruntime; nothing else imports it."""

from __future__ import annotations

import contextlib
import ctypes
import json
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrvit_deploy.errors import MissingDependency, RunnerError, UsageError
from hrvit_deploy.runners.cores import usable_cores
from hrvit_deploy.runners.inputs import Signature, check_inputs, register_bfloat16
from hrvit_deploy.runners.pool import check_concurrency
from hrvit_deploy.runners.protocol import Closing, Inputs, NodeTime, Outputs
from hrvit_deploy.runners.spec import Provider

# First the requested one, then those that may run the nodes it does not support.
PROVIDERS = {
    Provider.CPU: ("CPUExecutionProvider",),
    Provider.CUDA: ("CUDAExecutionProvider", "CPUExecutionProvider"),
    Provider.TENSORRT: (
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ),
}
INSTALL = {
    Provider.CPU: "pip install 'hrvit-deploy[runtime]', or [cpu] to export, too",
    Provider.CUDA: "pip uninstall onnxruntime, then pip install 'onnxruntime-gpu[cuda,cudnn]'"
    " on a machine with an NVIDIA driver",
    Provider.TENSORRT: "pip uninstall onnxruntime, then pip install"
    " 'onnxruntime-gpu[cuda,cudnn]' and the TensorRT it was built for; or build a plan with"
    " hrvit-deploy build-trt",
}
NUMPY_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}
# Ends the names of the events in onnxruntime's traces that time a node's kernel.
KERNEL = "_kernel_time"
BFLOAT16 = "tensor(bfloat16)"
# Without VNNI an x86 CPU adds pairs of 8-bit products in 16 bits, which full-range weights
# exceed, and onnxruntime says nothing. This has it take exact kernels there; elsewhere it
# changes nothing.
EXACT_PRODUCTS = ("session.x64quantprecision", "1")
# onnx.TensorProto.BFLOAT16; NumPy has no such type, so it crosses as an OrtValue.
BFLOAT16_PROTO = 16


class OnnxRuntimeRunner(Closing):
    """An onnxruntime session on one graph, which threads may share.

    Attributes:
        signature: Input name to its type, as a NumPy name, and shape; a string stands
            for a dynamic dimension.
    """

    def __init__(
        self,
        path: Path,
        *,
        provider: Provider = Provider.CPU,
        threads: int | None = None,
        concurrency: int | None = None,
        optimize: bool = True,
        profiled: bool = False,
        in_order: bool = False,
        save_memory: bool = False,
    ) -> None:
        """Load the graph.

        Args:
            path: An ``.onnx`` file.
            provider: The execution provider that runs the graph.
            threads: Threads on the CPU; None for one per usable physical core.
            concurrency: The most runs at the same time, which share the threads; None for
                as many as there are callers.
            optimize: Whether onnxruntime fuses and rewrites the graph first.
            profiled: Whether the session times every node, for :meth:`node_times`.
            in_order: Whether nodes run in the order of the file as far as possible, so that
                the file decides which tensors are in memory at the same time.
            save_memory: Whether each tensor's memory goes back to the system after use, for
                runs that nobody times. The arena that is used otherwise keeps all memory
                that was ever needed, and grows by doubling.

        Raises:
            MissingDependency: onnxruntime or the provider is not installed.
            RunnerError: The graph cannot be loaded.
            UsageError: ``threads`` or ``concurrency`` is less than one.
        """
        if threads is not None and threads < 1:
            raise UsageError(f"cannot run on {threads} threads", "give 1 or more")
        if concurrency is not None:
            check_concurrency(concurrency)
        library = load_library(provider)
        options = library.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        options.log_severity_level = 3
        options.add_session_config_entry(*EXACT_PRODUCTS)
        level = library.GraphOptimizationLevel
        options.graph_optimization_level = (
            level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
        )
        options.enable_cpu_mem_arena = not save_memory
        if in_order:
            options.execution_order = library.ExecutionOrder.PRIORITY_BASED
        self._trace = tempfile.TemporaryDirectory(prefix="hrvit-deploy-") if profiled else None
        if self._trace is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(self._trace.name) / "trace")
        self._run_limit: contextlib.AbstractContextManager[Any] = (
            contextlib.nullcontext()
            if concurrency is None
            else threading.BoundedSemaphore(concurrency)
        )
        self.name = f"onnxruntime-{provider}"
        self.device = provider.device
        self._library = library
        self._session: Any = _open(library, path, provider, options)
        self.settings: dict[str, Any] = {
            "provider": str(provider),
            "providers": self._session.get_providers(),
            "threads": options.intra_op_num_threads,
            "graph_optimization": options.graph_optimization_level.name,
            "spinning": True,
            "version": library.__version__,
        }
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self.signature: Signature = {
            node.name: (_numpy_name(node.type), tuple(node.shape)) for node in inputs
        }
        self._output_names = [node.name for node in outputs]
        self._bfloat16 = any(node.type == BFLOAT16 for node in (*inputs, *outputs))

    def run(self, inputs: Inputs) -> Outputs:
        """Run one batch of host arrays through the graph; see :class:`Runner`."""
        # Keep a reference to it until the end: another thread may close the runner meanwhile.
        session = self._session
        if session is None:
            raise RunnerError(f"{self.name} is closed", "open another runner")
        checked = check_inputs(inputs, self.signature)
        try:
            with self._run_limit:
                if self._bfloat16:
                    return self._run_values(session, checked)
                arrays = session.run(self._output_names, checked)
        except Exception as error:
            raise RunnerError(
                f"onnxruntime failed: {_first_line(error)}",
                "check that the graph fits the provider; --provider cpu takes any",
            ) from error
        return dict(zip(self._output_names, arrays, strict=True))

    def close(self) -> None:
        """Free the session; a second call does nothing."""
        self._session = None
        if self._trace is not None:
            self._trace.cleanup()
            self._trace = None

    def node_times(self, inputs: Inputs, runs: int) -> list[NodeTime]:
        """Run ``runs`` times and return the mean time of each node, in ms.

        A runner can do this once.
        """
        if self._trace is None:
            raise RunnerError(f"{self.name} is not profiled", "open it with profiled=True")
        for _ in range(runs):
            self.run(inputs)
        times = read_trace(Path(self._session.end_profiling()), runs)
        self._trace.cleanup()
        self._trace = None
        return times

    def _run_values(self, session: Any, inputs: dict[str, NDArray[Any]]) -> Outputs:
        """Run a graph that has inputs or outputs of a type that NumPy lacks."""
        ort_value = self._library.OrtValue
        values = {
            name: ort_value.ortvalue_from_numpy_with_onnx_type(
                array.view(np.uint16), BFLOAT16_PROTO
            )
            if array.dtype == "bfloat16"
            else ort_value.ortvalue_from_numpy(array)
            for name, array in inputs.items()
        }
        results = session.run_with_ort_values(self._output_names, values)
        return {
            name: _to_numpy(value)
            for name, value in zip(self._output_names, results, strict=True)
        }


def load_library(provider: Provider = Provider.CPU) -> Any:
    """Import onnxruntime and check that it was built with the provider.

    Raises:
        MissingDependency: onnxruntime cannot be imported, or lacks the provider.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependency(
            f"onnxruntime cannot be imported: {_first_line(error)}", INSTALL[provider]
        ) from error
    requested = PROVIDERS[provider][0]
    if requested not in onnxruntime.get_available_providers():
        raise MissingDependency(
            f"this onnxruntime {onnxruntime.__version__} was built without {requested}",
            INSTALL[provider],
        )
    if provider is not Provider.CPU and hasattr(onnxruntime, "preload_dlls"):
        # Finds CUDA and cuDNN in their wheels; it prints what it cannot find.
        with contextlib.redirect_stdout(sys.stderr):
            onnxruntime.preload_dlls()
    return onnxruntime


def read_trace(path: Path, runs: int) -> list[NodeTime]:
    """Return the mean time of each node over the last ``runs`` runs of a session's trace.

    Args:
        path: The trace in the format of Chrome's tracing, as onnxruntime writes it.
        runs: The number of runs to count; earlier ones were for warming up.
    """
    events = json.loads(path.read_text(encoding="utf-8"))
    starts = sorted(event["ts"] for event in events if event.get("name") == "model_run")
    total_us: dict[tuple[str, str], float] = {}
    for event in events:
        name = event.get("name", "")
        if event.get("cat") != "Node" or not name.endswith(KERNEL):
            continue
        if event["ts"] >= starts[-runs]:
            node = (name.removesuffix(KERNEL), event["args"]["op_name"])
            total_us[node] = total_us.get(node, 0.0) + event["dur"]
    return [NodeTime(*node, time_us / 1000 / runs) for node, time_us in total_us.items()]


def _open(library: Any, path: Path, provider: Provider, options: Any) -> Any:
    if not path.is_file():
        raise RunnerError(f"there is no {path}", "check the path, or run hrvit-deploy export")
    try:
        session = library.InferenceSession(
            path, sess_options=options, providers=list(PROVIDERS[provider])
        )
    except Exception as error:
        raise RunnerError(
            f"onnxruntime cannot load {path}: {_first_line(error)}",
            "export it again, or update onnxruntime if the graph is newer",
        ) from error
    # A provider whose libraries do not load is dropped with a warning only.
    requested = PROVIDERS[provider][0]
    if requested not in session.get_providers():
        raise MissingDependency(
            f"onnxruntime dropped {requested}, whose libraries or driver do not load,"
            f" and would run on {', '.join(session.get_providers())}",
            INSTALL[provider],
        )
    # A failing run must not fall back to another provider unnoticed either.
    session.disable_fallback()
    return session


def _numpy_name(onnx_type: str) -> str:
    if onnx_type == BFLOAT16:
        register_bfloat16()
        return "bfloat16"
    if onnx_type not in NUMPY_TYPES:
        raise RunnerError(
            f"the graph takes {onnx_type}", f"only {', '.join(NUMPY_TYPES)} can be fed"
        )
    return NUMPY_TYPES[onnx_type]


def _to_numpy(value: Any) -> NDArray[Any]:
    """Return a tensor on the host as an array that owns its memory."""
    if value.data_type() != BFLOAT16:
        array: NDArray[Any] = value.numpy()
        return array
    register_bfloat16()
    raw = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return np.frombuffer(bytearray(raw), np.dtype("bfloat16")).reshape(value.shape())


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0] or type(error).__name__
