"""The 8-bit formats are those of their definitions."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hrvit_deploy.options import Precision
from hrvit_deploy.quantization.formats import FORMATS, Format

INT8, FP8 = FORMATS[Precision.INT8], FORMATS[Precision.FP8]
FLOORS = {"f2": 2.0**-18, "f4": 2.0**-100}
ONE = np.asarray(1, np.float32)
SMALL_FLOATS = st.floats(-600, 600, width=32)


def e4m3(byte: int) -> float:
    """What a byte stands for, by the words of OFP8 (bias 7; S.1111.111 is NaN)."""
    sign = -1 if byte >> 7 else 1
    exponent, mantissa = byte >> 3 & 0b1111, byte & 0b111
    if exponent == 0b1111 and mantissa == 0b111:
        return float("nan")
    if exponent == 0:
        return sign * mantissa * 2.0**-9
    return float(sign * (1 + mantissa / 8) * 2.0 ** (exponent - 7))


VALUES = {byte: e4m3(byte) for byte in range(256)}
FINITE = sorted({value for value in VALUES.values() if value == value})


def test_every_byte_of_e4m3_stands_for_what_its_definition_says() -> None:
    stored = np.arange(256, dtype=np.uint8).view(FP8.dtype)
    values = FP8.dequantize(stored, ONE)
    np.testing.assert_array_equal(values, np.array(list(VALUES.values()), np.float32))
    assert FP8.largest == max(FINITE) == 448


@given(SMALL_FLOATS)
def test_e4m3_rounds_to_the_nearest_and_ties_to_even(value: float) -> None:
    stored = FP8.quantize(np.array([value], np.float32), ONE)
    got = float(FP8.dequantize(stored, ONE)[0])
    clipped = min(max(value, -448.0), 448.0)
    distances = {candidate: abs(candidate - clipped) for candidate in FINITE}
    nearest = min(distances.values())
    assert distances[got] == nearest
    if sum(distance == nearest for distance in distances.values()) > 1:
        assert int(stored.view(np.uint8)[0]) & 1 == 0


@given(SMALL_FLOATS, st.floats(0.0625, 4, width=32))
def test_int8_is_within_half_a_step_or_saturated(value: float, scale: float) -> None:
    step = np.asarray(scale, np.float32)
    got = float(INT8.dequantize(INT8.quantize(np.array([value], np.float32), step), step)[0])
    if abs(value) <= 127 * scale:
        assert abs(got - value) <= scale * 0.5001
    else:
        assert got == pytest.approx(np.sign(value) * 127 * scale)


@pytest.mark.parametrize(("number_format", "dtype"), list(product((INT8, FP8), ("f2", "f4"))))
@given(amax=hnp.arrays(np.float32, 7, elements=st.floats(0, 2**15, width=32)))
def test_scales_are_positive_and_clip_nothing(
    number_format: Format, dtype: str, amax: Any
) -> None:
    scale = number_format.scale_for(amax, dtype)
    assert scale.dtype == dtype
    assert np.all(scale > 0)
    assert np.all(np.isfinite(scale))
    assert np.all(scale.astype(np.float64) * number_format.largest >= amax * (1 - 1e-12))
    # Nor is more lost to a scale's rounding than its type has to lose.
    wanted = np.maximum(amax.astype(np.float64) / number_format.largest, FLOORS[dtype])
    assert np.all(scale.astype(np.float64) <= wanted * (1 + 2.0**-5))


def test_zero_is_kept_exactly() -> None:
    scale = np.asarray(0.3, np.float32)
    for number_format in FORMATS.values():
        stored = number_format.quantize(np.zeros(3, np.float32), scale)
        assert not number_format.dequantize(stored, scale).any()
        assert not number_format.zeros(2).astype(np.float32).any()
