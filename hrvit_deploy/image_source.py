"""Real images to measure on: a folder's, or crops of the bundled photographs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrvit_deploy.artefact import Preparation
from hrvit_deploy.options import ImageSize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hrvit_deploy.images import NamedImage

# Images to compare on: that many, as long as they hold no more pixels, but two at least.
USUAL_COUNT, LEAST_COUNT = 8, 2
MOST_PIXELS = USUAL_COUNT * 512 * 512


@dataclass(frozen=True)
class ImageSource:
    """Real images to measure on.

    Attributes:
        folder: Whose images, whole; or a list with a path a line. None for crops of the
            bundled photographs.
        files: Images to take of that folder, in place of all.
        limit: How many at most, taken evenly from all there are; None for as many as there
            is time for at their size.
        avoid: Files to leave out, resolved, as long as others are left to measure on.
    """

    folder: Path | None = None
    limit: int | None = None
    avoid: frozenset[Path] = frozenset()
    files: tuple[Path, ...] = ()

    def open(self, size: ImageSize) -> Iterator[NamedImage]:
        """Yield the images for a network's input of that size, each of its own size."""
        from hrvit_deploy.images import decoded, samples

        if self.folder is None:
            return samples(self.most(size), size)
        return decoded(self.folder, self._paths(self.folder, size))

    def _paths(self, folder: Path, size: ImageSize) -> list[Path]:
        """Choose the files: unseen ones if there are enough of them, else of all."""
        from hrvit_deploy.image_files import find_images
        from hrvit_deploy.images import spaced

        paths = list(self.files) or find_images(folder)
        others = [path for path in paths if path.resolve() not in self.avoid]
        enough = len(others) >= LEAST_COUNT
        return spaced(others if enough else paths, self.most(size))

    def seen(self, size: ImageSize) -> int | None:
        """Count the files among those of :meth:`open` that were to be left out.

        Returns:
            Their number; None where none were to be.
        """
        if self.folder is None or not self.avoid:
            return None
        return sum(path.resolve() in self.avoid for path in self._paths(self.folder, size))

    def batches(self, preparation: Preparation, batch: int) -> list[NDArray[Any]]:
        """Return the images as batches a graph takes.

        Args:
            preparation: How an image becomes the input.
            batch: Images per run; the last one is repeated until its batch is full.
        """
        from hrvit_deploy.images import prepare, stack

        arrays = [prepare(image.pixels, preparation) for image in self.open(preparation.size)]
        arrays += arrays[-1:] * (-len(arrays) % batch)
        return [stack(arrays[i : i + batch]) for i in range(0, len(arrays), batch)]

    def most(self, size: ImageSize) -> int:
        """Return the limit: 8 images up to 512x512, then fewer, but 2 at least."""
        if self.limit is not None:
            return self.limit
        return max(LEAST_COUNT, min(USUAL_COUNT, MOST_PIXELS // (size.height * size.width)))

    def count(self, size: ImageSize) -> int:
        """Return how many images :meth:`open` yields."""
        if self.folder is None:
            return self.most(size)
        return len(self._paths(self.folder, size))

    def notes(self) -> list[str]:
        """Return what is to be said of files that were passed over."""
        from hrvit_deploy.image_files import notes_on

        return [] if self.folder is None else notes_on(self.folder)
