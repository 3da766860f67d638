"""Checks that host arrays are what a graph takes, before any library sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrvit_deploy.errors import MissingDependency, RunnerError
from hrvit_deploy.runners.protocol import Inputs

# Input name to its type, as a NumPy name, and shape; a string is a dynamic dimension.
Signature = dict[str, tuple[str, tuple[int | str, ...]]]


def check_inputs(inputs: Inputs, signature: Signature) -> dict[str, NDArray[Any]]:
    """Return the inputs as contiguous arrays if they match the signature.

    Raises:
        RunnerError: A name, a type or a shape differs from the signature.
    """
    if set(inputs) != set(signature):
        raise RunnerError(
            f"inputs are named {', '.join(sorted(inputs)) or 'nothing'}",
            f"the graph takes {', '.join(signature)}",
        )
    return {name: _check_input(name, array, *signature[name]) for name, array in inputs.items()}


def _check_input(
    name: str, array: Any, dtype: str, shape: tuple[int | str, ...]
) -> NDArray[Any]:
    if not isinstance(array, np.ndarray):
        raise RunnerError(f"{name} is a {type(array).__name__}", "graphs take NumPy arrays")
    if array.dtype != np.dtype(dtype):
        raise RunnerError(
            f"{name} has type {array.dtype}, the graph takes {dtype}",
            f"convert it with .astype({dtype!r})",
        )
    fits = len(array.shape) == len(shape) and all(
        size == expected or (not isinstance(expected, int) and size > 0)
        for size, expected in zip(array.shape, shape, strict=True)
    )
    if not fits:
        expected_shape = " x ".join(map(str, shape))
        raise RunnerError(
            f"{name} has shape {' x '.join(map(str, array.shape))},"
            f" the graph takes {expected_shape}",
            "resize the images, or export that size and batch",
        )
    return np.ascontiguousarray(array)


def register_bfloat16() -> None:
    """Register the type ``bfloat16`` with NumPy.

    Raises:
        MissingDependency: ml_dtypes, which defines the type, is not installed.
    """
    try:
        import ml_dtypes  # noqa: F401
    except ImportError as error:
        raise MissingDependency(
            "bfloat16 arrays need ml_dtypes", "pip install ml_dtypes"
        ) from error
