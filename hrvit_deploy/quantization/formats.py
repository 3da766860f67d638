"""The 8-bit formats of quantized values, in NumPy.

INT8 is symmetric: 255 evenly spaced values from -127 to 127 times a scale, zero among
them. FP8 is E4M3 as the Open Compute Project's OFP8 specification and ONNX's
FLOAT8E4M3FN define it: a sign, four bits of exponent, three of mantissa, no infinity,
448 at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from hrvit_deploy.options import Precision

# Below these a scale has too few bits left to divide by.
SMALLEST_SCALES = {"float16": 2.0**-18, "float32": 2.0**-100}


@dataclass(frozen=True)
class Format:
    """An 8-bit format.

    Attributes:
        largest: Of its values; a scale maps a tensor's range onto it.
        dtype: Of its values in NumPy.
        onnx_type: Its element type in ONNX.
    """

    precision: Precision
    largest: float
    dtype: Any
    onnx_type: int

    def scale_for(self, amax: NDArray[Any] | float, dtype: Any) -> NDArray[Any]:
        """Return the scale that maps magnitudes up to ``amax`` onto the format.

        Args:
            amax: Largest magnitude of a tensor, or of each of its channels.
            dtype: Type of the graph around it, float32 or float16.

        Returns:
            Of the same shape; never zero, and rounded up, so that nothing is clipped by
            the rounding of the scale itself.
        """
        smallest = SMALLEST_SCALES[np.dtype(dtype).name]
        exact = np.maximum(np.asarray(amax, np.float64) / self.largest, smallest)
        scale = exact.astype(dtype)
        short = scale.astype(np.float64) < exact
        above = np.nextafter(scale, np.asarray(np.inf, dtype))
        return np.where(short, above, scale).astype(dtype)

    def quantize(self, values: NDArray[Any], scale: NDArray[Any]) -> NDArray[Any]:
        """Store values in the format: divide, saturate, round half to even.

        Args:
            values: Finite, of any float type.
            scale: One for all, or shaped to broadcast.
        """
        scaled = values.astype(np.float32) / scale.astype(np.float32)
        saturated = scaled.clip(-self.largest, self.largest)
        if self.precision is Precision.INT8:
            saturated = np.rint(saturated)
        stored: NDArray[Any] = saturated.astype(self.dtype)
        return stored

    def dequantize(self, stored: NDArray[Any], scale: NDArray[Any]) -> NDArray[np.float32]:
        """Return what stored values stand for."""
        values: NDArray[np.float32] = stored.astype(np.float32) * scale.astype(np.float32)
        return values

    def zeros(self, *shape: int) -> NDArray[Any]:
        """Zero points: zero, as TensorRT demands."""
        return np.zeros(shape, self.dtype)


FORMATS = {
    Precision.INT8: Format(Precision.INT8, 127.0, np.int8, int(TensorProto.INT8)),
    Precision.FP8: Format(
        Precision.FP8, 448.0, ml_dtypes.float8_e4m3fn, int(TensorProto.FLOAT8E4M3FN)
    ),
}
