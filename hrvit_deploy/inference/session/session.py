"""Images in, label maps or class scores out, from any artefact.

Predictions are those of ``predict`` and ``evaluate``: images are prepared and outputs decided
by the same functions. Neither PyTorch nor onnx is imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from hrvit_deploy.artefact import Manifest, open_artefact
from hrvit_deploy.classes import ClassSet, choose_classes
from hrvit_deploy.errors import InputError, RunnerError
from hrvit_deploy.images import NamedImage, Pixels
from hrvit_deploy.inference.fit import FitOptions
from hrvit_deploy.inference.labels import Labels
from hrvit_deploy.inference.postprocess import label_maps, probabilities
from hrvit_deploy.inference.prepared_runner import PreparedRunner
from hrvit_deploy.inference.score_maps import Scores
from hrvit_deploy.inference.session.batching import LARGEST_BATCH, BatchLimits, batch_limits
from hrvit_deploy.inference.session.image_input import EXPECTED, as_image, is_several
from hrvit_deploy.inference.session.open_session import (
    choose,
    choose_provider,
    open_session_runner,
)
from hrvit_deploy.options import ImageSize, Task
from hrvit_deploy.runners.protocol import Closing, Inputs, Runner
from hrvit_deploy.runners.spec import InferencePrecision, Provider, RunOptions
from hrvit_deploy.verdict import require_usable

Answer = Labels | Scores


def load(
    path: str | Path,
    *,
    provider: Provider | str | None = None,
    threads: int | None = None,
    concurrency: int | None = None,
    largest_batch: int = LARGEST_BATCH,
    fit: FitOptions | None = None,
    classes: str = "",
    inference_precision: InferencePrecision | str = InferencePrecision.F32,
    cuda_graphs: bool = True,
    allow_host_code: bool = False,
) -> Session:
    """Open an artefact for a service; its sidecar must lie beside it.

    Args:
        path: An ``.onnx`` graph or a ``.plan``.
        provider: What runs a graph: ``cpu``, ``cuda`` or ``tensorrt`` in onnxruntime, or
            ``openvino``; None for the CPU. A plan knows no choice.
        threads: Of a CPU runner; None for one per physical core this process may use.
        concurrency: Runs at once at most, where threads share the session; None for one
            in OpenVINO, two for a plan, and any number in onnxruntime.
        largest_batch: Images per run at most, where the batch is dynamic.
        fit: How images become the input; None to stretch them.
        classes: ``ade20k``, ``cityscapes`` or a file of names; empty for the sidecar's.
        inference_precision: ``f32``, or ``device`` for what OpenVINO likes best here.
        cuda_graphs: Whether a plan's runs are captured as CUDA graphs.
        allow_host_code: Whether code in a version compatible plan may run; only for plans
            one trusts.

    Raises:
        ArtefactError: It is not what its sidecar says, or not for this machine.
        GateError: It missed what it was held to, or was not judged, and nobody took it in
            spite of that.
        InputError: The classes asked for do not fit.
        MissingDependency: The runtime is not installed.
        RunnerError: The runtime cannot run it.
        UsageError: Options that cannot be meant.
    """
    artefact = open_artefact(Path(path))
    require_usable(artefact)
    options = RunOptions(
        provider=choose_provider(provider, artefact),
        threads=threads,
        concurrency=concurrency,
        inference_precision=choose(InferencePrecision, inference_precision),
        cuda_graphs=cuda_graphs,
        allow_host_code=allow_host_code,
    )
    fit = fit or FitOptions()
    fit.check_task(artefact.manifest.network.known_task)
    named = choose_classes(artefact.manifest.network, classes)
    limits = batch_limits(artefact.manifest, largest_batch)
    return Session(
        open_session_runner(artefact, options), artefact.manifest, named, fit, limits
    )


class Session(Closing):
    """An opened artefact. Threads may share it; closed by ``with`` or :meth:`close`.

    Attributes:
        name: Of what runs it, such as ``onnxruntime-cpu``.
        manifest: Its sidecar.
        task: Whether it segments or classifies.
        classes: Names and colours, in the order of labels and scores.
        batch: Images per run that it was made for; None where the batch is dynamic.
        settings: What speed depends on, such as threads, for logs.
    """

    def __init__(
        self,
        runner: Runner,
        manifest: Manifest,
        classes: ClassSet,
        fit: FitOptions,
        limits: BatchLimits,
    ) -> None:
        """Take an open runner; :func:`load` makes one."""
        self.name, self.settings = runner.name, runner.settings
        self.manifest, self.classes = manifest, classes
        self.task, self.batch = manifest.network.known_task, manifest.inputs[0].batch
        self._runner, self._fit, self._most = runner, fit, limits.most
        self._prepared = replace(
            PreparedRunner.of(manifest, runner), batch=limits.most, least_batch=limits.least
        )
        self._closed = False

    @overload
    def __call__(self, images: str | Path | Image) -> Answer: ...

    @overload
    def __call__(self, images: list[Any] | tuple[Any, ...]) -> list[Answer]: ...

    @overload
    def __call__(
        self, images: list[Any] | tuple[Any, ...], *, return_errors: bool
    ) -> list[Answer | InputError]: ...

    @overload
    def __call__(self, images: Pixels, *, return_errors: bool = False) -> Any: ...

    def __call__(self, images: Any, *, return_errors: bool = False) -> Any:
        """Predict one image or several.

        Args:
            images: An ``H x W x 3`` uint8 RGB array of any size, a path, or a picture of
                Pillow's; or a list or tuple of these, or an ``N x H x W x 3`` array.
            return_errors: Of several images, put the error of one that cannot be used in
                its place among the answers, and answer the others; otherwise it is raised.

        Returns:
            For each image, of a segmenter an ``H x W`` int32 class index a pixel, at the
            image's own size, -1 where scores are not finite; of a classifier ``C`` float32
            probabilities. A list where several were given.

        Raises:
            InputError: What was given is no image, or nothing was.
            RunnerError: Closed, or the run failed.
        """
        self._check_open()
        if not is_several(images):
            return next(self._answers([images], "the image", return_errors=False))
        if not len(images):
            raise InputError("there is no image to answer", EXPECTED)
        return list(self._answers(images, "", return_errors=return_errors))

    @overload
    def run(self, tensors: Inputs) -> dict[str, NDArray[Any]]: ...

    @overload
    def run(self, tensors: Inputs, *, on_device: bool) -> dict[str, Any]: ...

    def run(self, tensors: Inputs, *, on_device: bool = False) -> dict[str, Any]:
        """Run one batch of tensors, as the sidecar describes them.

        Args:
            tensors: Input name to host array; to a plan also arrays on the GPU that speak
                DLPack or ``__cuda_array_interface__``, which are read where they lie.
            on_device: Leave a plan's outputs on the GPU, as
                :class:`hrvit_deploy.runners.tensorrt.device_output.DeviceOutput`.

        Returns:
            Output name to an array of the caller's own.

        Raises:
            RunnerError: Closed, the tensors do not fit the signature or are not finite, or
                the run failed. Those on the GPU are not searched for NaN.
        """
        self._check_open()
        check_finite(tensors)
        if not on_device:
            return self._runner.run(tensors)
        run_on_device = getattr(self._runner, "run_on_device", None)
        if run_on_device is None:
            raise RunnerError(
                f"{self.name} answers on the host alone",
                "leave on_device out, or build a plan with hrvit-deploy build-trt",
            )
        outputs: dict[str, Any] = run_on_device(tensors)
        return outputs

    def close(self) -> None:
        """Wait for runs of other threads, and give everything back; twice is harmless."""
        self._closed = True
        self._runner.close()

    def _answers(
        self, images: Sequence[Any] | Pixels, alone: str, *, return_errors: bool
    ) -> Iterator[Answer | InputError]:
        for start in range(0, len(images), self._most):
            places = range(start, min(start + self._most, len(images)))
            loaded = [
                _loaded(images[place], alone or f"image {place}", return_errors=return_errors)
                for place in places
            ]
            usable = [image for image in loaded if isinstance(image, NamedImage)]
            answers = self._decided(usable) if usable else iter(())
            for image in loaded:
                yield image if isinstance(image, InputError) else next(answers)

    def _decided(self, images: list[NamedImage]) -> Iterator[Answer]:
        if self.task is Task.CLASSIFY:
            yield from probabilities(self._prepared, images, self._fit)
            return
        sizes = [ImageSize(*image.pixels.shape[:2]) for image in images]
        yield from label_maps(self._prepared, images, sizes, self._fit, len(self.classes))

    def _check_open(self) -> None:
        if self._closed:
            raise RunnerError(f"the {self.name} session is closed", "load another one")


def _loaded(image: Any, name: str, *, return_errors: bool) -> NamedImage | InputError:
    try:
        return as_image(image, name)
    except InputError as error:
        if not return_errors:
            raise
        return error


def check_finite(tensors: Inputs) -> None:
    """Refuse NaN and infinite values in host arrays, which no image holds.

    Raises:
        RunnerError: There are some, or these are no named arrays.
    """
    if not isinstance(tensors, Mapping):
        raise RunnerError(
            f"tensors are a {type(tensors).__name__}", "give a dict of input name to array"
        )
    for name, array in tensors.items():
        floating = isinstance(array, np.ndarray) and array.dtype.kind in "fV"
        if floating and not np.isfinite(array).all():
            raise RunnerError(
                f"{name} holds values that are NaN or infinite",
                "look where it was normalised: a deviation of 0, or an array not yet filled",
            )
