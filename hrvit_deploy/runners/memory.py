"""Returns memory that nothing uses any more to the system."""

from __future__ import annotations

import ctypes


def trim() -> None:
    """Return memory that the C library keeps after use to the system, where it can do that.

    glibc keeps freed blocks of up to 32 MiB for itself. A process that has run or traced a
    network therefore goes on holding a gigabyte of its activations. See
    ``man 3 malloc_trim``.
    """
    try:
        malloc_trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        # musl, macOS and Windows have none.
        return
    malloc_trim(ctypes.c_size_t(0))
