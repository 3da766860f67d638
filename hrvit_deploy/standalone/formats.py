"""Open image files of the formats that are meant, and of no other.

Pillow knows dozens of formats by a file's first bytes, whatever its name, and hands some to
other programs, such as PostScript to Ghostscript. So its readers are called one by one here.
Its own limit on pixels is a setting of the whole process and a warning; the caller checks
sizes instead.
"""

from __future__ import annotations

from contextlib import suppress
from typing import IO, Any

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from .orientation import TAG, known, orientation_in


class Jpeg(JpegImagePlugin.JpegImageFile):
    """A JPEG file whose EXIF is left alone: Pillow would look into it for the resolution."""

    def _read_dpi_from_exif(self) -> None:
        pass


class Tiff(TiffImagePlugin.TiffImageFile):
    """A TIFF file as it is stored: Pillow would turn it, and write its tags anew for that."""

    def load_end(self) -> None:
        """Keep the pixels as they are, and the size that they have."""
        self._size = self.im.size


# By name in Pillow. A JPEG of several pictures is read as the first: what follows it is told
# in a block of its own, which editors leave broken.
READERS: dict[str, Any] = {
    "JPEG": Jpeg,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "TIFF": Tiff,
    "BMP": BmpImagePlugin.BmpImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "JPEG2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
}
with suppress(ImportError):  # not in every Pillow
    from PIL import AvifImagePlugin

    READERS["AVIF"] = AvifImagePlugin.AvifImageFile
# Formats that give back each value as it was stored. TIFF may hold JPEG all the same.
LOSSLESS = ("PNG", "TIFF", "BMP", "PPM", "GIF")
LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
FIRST_BYTES = 16


def open_picture(file: IO[bytes], name: str) -> ImageFile.ImageFile | None:
    """Open an image of a known format; None if the file is in none of them.

    Args:
        file: Open for reading, at its beginning.
        name: What Pillow calls it.

    Raises:
        Exception: Whatever Pillow raises on a broken file.
    """
    start = file.read(FIRST_BYTES)
    file.seek(0)
    for kind, reader in READERS.items():
        accepts = Image.OPEN[kind][1]
        # Text instead of an answer: this Pillow was built without the format.
        if accepts is None or accepts(start) is not True:
            continue
        opened: ImageFile.ImageFile = reader(file, name)
        return opened
    return None


def orientation_of(image: Image.Image) -> int:
    """Return the orientation of an image that was loaded, from 1 to 8.

    XMP's is left out, which few viewers know.
    """
    if isinstance(image, Tiff):
        # A TIFF's tags are those of its pixels; no other is read.
        return known(image.tag_v2.get(TAG))
    return orientation_in(image.info.get("exif"))


def is_lossless(image: Image.Image) -> bool:
    """Return whether a file's format keeps each value as it was written."""
    return image.format in LOSSLESS and image.info.get("compression") not in LOSSY_TIFF
