"""onnxruntime: a graph bound to tensors on the device, in PyTorch's stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.candidates import PROVIDERS, Job
from hrvit_deploy.errors import MissingDependency, RunnerError
from hrvit_deploy.runners import onnxruntime_
from hrvit_deploy.runners.spec import Provider


class Session:
    """A session that reads and writes tensors where they lie.

    Only float32 goes in and out, as in every graph here.
    """

    def __init__(self, path: Path, provider: Provider, image: Tensor, cache: Path) -> None:
        """Open a graph.

        Args:
            path: The ``.onnx``.
            provider: What runs it.
            image: What it reads.
            cache: Where TensorRT's engines are kept.

        Raises:
            MissingDependency: The provider or its libraries are not there.
            RunnerError: The graph cannot be opened.
        """
        library = onnxruntime_.load_library(provider)
        options = library.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_ALL
        asked = with_options(provider, cache)
        try:
            self._session: Any = library.InferenceSession(
                path, sess_options=options, providers=asked
            )
        except Exception as error:
            raise RunnerError(
                f"onnxruntime cannot open {path.name}: {first_line(error)}",
                "see which operators the provider has",
            ) from error
        self._check(provider)
        self._settings = library.RunOptions()
        # Who timed it waits for it.
        self._settings.add_run_config_entry("disable_synchronize_execution_providers", "1")
        self.image = image
        self.answer = self._bind(image)
        self.settings: dict[str, Any] = {
            "version": library.__version__,
            "providers": self._session.get_providers(),
            "options": {
                name: value for name, value in asked[0][1].items() if "stream" not in name
            },
        }

    def _check(self, provider: Provider) -> None:
        # A provider whose libraries do not load is dropped with a warning only.
        wanted, found = onnxruntime_.PROVIDERS[provider][0], self._session.get_providers()
        if wanted not in found:
            raise MissingDependency(
                f"onnxruntime dropped {wanted}, whose libraries or driver do not load,"
                f" and would run on {', '.join(found)}",
                onnxruntime_.INSTALL[provider],
            )
        self._session.disable_fallback()

    def _bind(self, image: Tensor) -> Tensor:
        (taken,), (returned,) = self._session.get_inputs(), self._session.get_outputs()
        answer = torch.empty(tuple(returned.shape), device=image.device)
        device = image.device.type
        self._binding = self._session.io_binding()
        self._binding.bind_input(
            taken.name, device, 0, np.float32, tuple(image.shape), image.data_ptr()
        )
        self._binding.bind_output(
            returned.name, device, 0, np.float32, tuple(answer.shape), answer.data_ptr()
        )
        return answer

    def launch(self) -> None:
        self._session.run_with_iobinding(self._binding, self._settings)

    def close(self) -> None:
        self._binding = self._session = None


def open_session(job: Job, image: Tensor) -> Session:
    """The job's graph, ready to run on that image."""
    provider = PROVIDERS[job.entry.runtime]
    cache = Path(job.work) / "onnxruntime-engines"
    cache.mkdir(parents=True, exist_ok=True)
    return Session(Path(job.graph), provider, image, cache)


def with_options(provider: Provider, cache: Path) -> list[tuple[str, dict[str, str]]]:
    """The provider and those its nodes may fall to, told of stream, types and cache."""
    cuda = {"use_tf32": "0"}
    if provider is not Provider.CPU:
        cuda["user_compute_stream"] = str(torch.cuda.current_stream().cuda_stream)
    options = {
        "CPUExecutionProvider": {},
        "CUDAExecutionProvider": cuda,
        "TensorrtExecutionProvider": {
            **{name: value for name, value in cuda.items() if name != "use_tf32"},
            # Lets it take the graph's float16; what is float32 there stays so.
            "trt_fp16_enable": "1",
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(cache),
        },
    }
    return [(name, options[name]) for name in onnxruntime_.PROVIDERS[provider]]


def first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0] or type(error).__name__
