"""Names of TensorRT's data types, as numpy and sidecars use them."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np

from hrvit_deploy.errors import MissingDependency


def type_name(trt: ModuleType, dtype: Any) -> str:
    """Return ``float16`` for ``DataType.HALF``; rarer types give their name in lower case."""
    names = {
        trt.DataType.FLOAT: "float32",
        trt.DataType.HALF: "float16",
        trt.DataType.BF16: "bfloat16",
        trt.DataType.FP8: "float8_e4m3fn",
        trt.DataType.INT8: "int8",
        trt.DataType.UINT8: "uint8",
        trt.DataType.INT32: "int32",
        trt.DataType.INT64: "int64",
        trt.DataType.BOOL: "bool",
    }
    return names.get(dtype) or str(dtype.name).lower()


def numpy_type(name: str) -> np.dtype[Any]:
    """Return the numpy type of that name.

    Raises:
        MissingDependency: ml_dtypes adds this type, and is not installed.
    """
    try:
        return np.dtype(name)
    except TypeError:
        pass
    try:
        dtype: np.dtype[Any] = np.dtype(getattr(importlib.import_module("ml_dtypes"), name))
    except (ImportError, AttributeError) as error:
        raise MissingDependency(
            f"numpy has no type {name}", "pip install ml_dtypes, or build with float32 inputs"
        ) from error
    return dtype
