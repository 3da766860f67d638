"""A runner and all it takes to give it images: preparation, batch, names of tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from numpy.typing import NDArray

from hrvit_deploy.artefact import Manifest, Preparation
from hrvit_deploy.errors import RunnerError
from hrvit_deploy.images import NamedImage, prepare, stack
from hrvit_deploy.options import OutputFormat
from hrvit_deploy.runners.protocol import Runner

# Of a dynamic batch: more than one, lest a graph pass that only takes one, or that gives
# every image the first one's scores.
DYNAMIC_BATCH = 2


@dataclass(frozen=True)
class PreparedRunner:
    """An open runner that takes images as they were decoded.

    Attributes:
        runner: Open, and left open.
        preparation: How an image becomes the input.
        output_format: What the network returns; None for neither scores nor labels.
        input: Name of the input.
        input_dtype: NumPy type of the input, where that is floating.
        output: Name of the output that is read.
        others: Names of further outputs, where a comparison reads them too: feature maps.
        batch: Images per run at most.
        least_batch: Images per run at least, up to which the last image of a run is
            repeated; 0 fills every run up to ``batch``.
    """

    runner: Runner
    preparation: Preparation
    output_format: OutputFormat | None
    input: str = "image"
    input_dtype: str = "float32"
    output: str = "logits"
    batch: int = 1
    least_batch: int = 0
    others: tuple[str, ...] = ()

    @classmethod
    def of(cls, manifest: Manifest, runner: Runner) -> Self:
        """Prepare images for an artefact's runner as its sidecar says."""
        input_info, output_info = manifest.inputs[0], manifest.outputs[0]
        return cls(
            runner,
            manifest.preparation,
            manifest.output_format,
            input=input_info.name,
            input_dtype=input_info.dtype,
            output=output_info.name,
            others=tuple(info.name for info in manifest.outputs[1:])
            if manifest.output_format is OutputFormat.FEATURES
            else (),
            batch=input_info.batch or DYNAMIC_BATCH,
        )

    def outputs(self, images: Sequence[NamedImage]) -> Iterator[NDArray[Any]]:
        """Yield the output for each image, as a batch of one.

        Raises:
            RunnerError: The runner failed, or returned something else than its sidecar
                says.
        """
        for (output,) in self._run(images, (self.output,)):
            yield output

    def all_outputs(self, images: Sequence[NamedImage]) -> Iterator[tuple[NDArray[Any], ...]]:
        """Yield all outputs that a comparison reads, for each image as batches of one.

        Raises:
            RunnerError: As for :meth:`outputs`.
        """
        return self._run(images, (self.output, *self.others))

    def _run(
        self, images: Sequence[NamedImage], names: tuple[str, ...]
    ) -> Iterator[tuple[NDArray[Any], ...]]:
        for start in range(0, len(images), self.batch):
            group = images[start : start + self.batch]
            size = max(self.least_batch or self.batch, len(group))
            prepared = [
                prepare(image.pixels, self.preparation, self.input_dtype) for image in group
            ]
            prepared += prepared[-1:] * (size - len(group))
            outputs = self.runner.run({self.input: stack(prepared)})
            for name in names:
                output = outputs.get(name)
                if output is None or not output.ndim or len(output) != size:
                    raise RunnerError(
                        f"{self.runner.name} returned no {name!r} of {size} images",
                        f"it returned {', '.join(outputs)}; export or build the artefact again",
                    )
            for index in range(len(group)):
                yield tuple(outputs[name][index : index + 1] for name in names)
