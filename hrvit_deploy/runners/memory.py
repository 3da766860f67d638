"""Memory that nothing holds any more, given back to the system."""

from __future__ import annotations

import ctypes


def trim() -> None:
    """Have the C library return what was freed; does nothing where it cannot.

    glibc keeps freed blocks of up to 32 MiB for itself, so that a process which has run a
    network, or traced one, goes on holding a gigabyte of its activations. See
    ``man 3 malloc_trim``.
    """
    try:
        malloc_trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        # musl, macOS and Windows have none.
        return
    malloc_trim(ctypes.c_size_t(0))
