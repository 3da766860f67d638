from __future__ import annotations

from collections.abc import Collection

import pytest

from hrvit_deploy.engines.types import TypeCounts, check_precision
from hrvit_deploy.errors import PrecisionError
from hrvit_deploy.options import Precision


def counts(**products: str) -> TypeCounts:
    return TypeCounts(layers={}, products=products, weight_bytes=0)


@pytest.mark.parametrize(
    ("asked", "products", "islands"),
    [
        (Precision.FP32, {"a": "float32"}, ()),
        (Precision.FP16, {"a": "float16", "b": "float16"}, ()),
        (Precision.FP16, {"a": "float16", "b": "float32"}, ("b",)),
        (Precision.BF16, {"a": "bfloat16"}, ()),
        (Precision.INT8, {"a": "int8", "b": "float16"}, ()),
        (Precision.FP8, {"a": "float8_e4m3fn", "b": "float32"}, ()),
    ],
)
def test_what_was_asked_for_passes(
    asked: Precision, products: dict[str, str], islands: Collection[str]
) -> None:
    check_precision(counts(**products), asked, islands)


@pytest.mark.parametrize(
    ("asked", "products", "islands", "words"),
    [
        (Precision.FP16, {"a": "float32"}, (), r"1 of 1 products .*\(products: 1 float32\): a"),
        (Precision.FP16, {"a": "float16", "b": "float32"}, ("a",), "1 of 2 .*: b"),
        # An island is float32, whatever else strays is not one.
        (Precision.FP16, {"a": "float16", "b": "bfloat16"}, ("b",), "1 bfloat16"),
        (Precision.FP32, {"a": "float16"}, (), "fp32 was asked for"),
        (Precision.BF16, {"a": "float16"}, (), "bf16 was asked for"),
        (Precision.INT8, {"a": "float16"}, (), "no product takes int8 values"),
        (Precision.FP8, {"a": "int8"}, (), "no product takes float8_e4m3fn values"),
        (Precision.FP16, {}, (), "no convolution or matrix product"),
        (Precision.FP16, dict.fromkeys("abcde", "float32"), (), "a, b, c and 2 more"),
    ],
)
def test_what_was_not_asked_for_fails_with_counts(
    asked: Precision, products: dict[str, str], islands: Collection[str], words: str
) -> None:
    with pytest.raises(PrecisionError, match=words) as caught:
        check_precision(counts(**products), asked, islands)
    assert "hrvit-deploy" in caught.value.hint
