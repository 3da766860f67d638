"""Reads the layers of a finished plan, after fusion; needs a GPU."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from hrvit_deploy.bindings.log import logger
from hrvit_deploy.engines.types import TYPE_OF
from hrvit_deploy.errors import PrecisionError
from hrvit_deploy.options import QUANTIZED, Precision

# The inspector's words differ between versions: "Half", "FP16", "Row major linear FP16".
SPELLINGS = (
    ("bfloat16", r"bf16|bfloat16|bfloat"),
    ("float16", r"fp16|float16|half"),
    ("float8_e4m3fn", r"fp8|float8"),
    ("float32", r"fp32|float32|float"),
    ("uint8", r"uint8"),
    ("int8", r"int8"),
    ("int32", r"int32"),
    ("int64", r"int64"),
    ("bool", r"bool"),
)
UNKNOWN = "unknown"
PRODUCT = re.compile(r"conv(?!er)|gemm|matmul|matrixmul", re.IGNORECASE)


@dataclass(frozen=True)
class Inspection:
    """The layers of an engine, after fusion.

    Attributes:
        layers: The number of layers.
        kinds: Kind of layer to the number of such layers.
        types: Type of a layer's first output to the number of such layers.
        products: Type of the first input of an unfused convolution or product to the number
            of such layers.
        tensors: Names of inputs and outputs.
    """

    layers: int
    kinds: dict[str, int]
    types: dict[str, int]
    products: dict[str, int]
    tensors: tuple[str, ...]


def inspect_plan(trt: ModuleType, plan: Any) -> Inspection | None:
    """Inspect a plan; return None where it does not open, as on another GPU.

    None is also returned where TensorRT reports no layers.

    Args:
        trt: The module of the backend that built it.
        plan: Its bytes, or the builder's host memory.
    """
    runtime = trt.Runtime(logger(trt))
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        return None
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    return read_report(text) if text else None


def read_report(text: str) -> Inspection:
    """Read the inspector's JSON, as TensorRT 10 and 11 write it."""
    report = json.loads(text)
    entries = report.get("Layers", [])
    # Without details an entry is only a name.
    detailed = [entry for entry in entries if isinstance(entry, dict)]
    products = [entry for entry in detailed if PRODUCT.search(str(entry.get("LayerType")))]
    tensors = report.get("I/O Tensors") or report.get("Bindings") or []
    return Inspection(
        layers=len(entries),
        kinds=dict(Counter(str(entry.get("LayerType")) for entry in detailed).most_common()),
        types=_first_types(detailed, "Outputs"),
        products=_first_types(products, "Inputs"),
        tensors=tuple(t["Name"] if isinstance(t, dict) else str(t) for t in tensors),
    )


def tensor_type(entry: dict[str, Any]) -> str:
    """Return the type of one tensor of the report."""
    reported = str(entry.get("Format/Datatype") or entry.get("Datatype") or "").lower()
    for name, pattern in SPELLINGS:
        if re.search(rf"\b({pattern})\b", reported):
            return name
    return UNKNOWN


def check_inspection(inspection: Inspection, requested: Precision) -> None:
    """Refuse an engine that shows products, but none of the requested type.

    Fusion hides most types, so an engine may show no product at all. This is the second
    check; the first is on the type counts of the network. INT8 and FP8 products are inside
    fused layers.

    Raises:
        PrecisionError: No product has the requested type; the message holds the counts.
    """
    known = {name: count for name, count in inspection.products.items() if name != UNKNOWN}
    if requested in QUANTIZED or not known or TYPE_OF[requested] in known:
        return
    shown = ", ".join(f"{count} {name}" for name, count in known.items())
    raise PrecisionError(
        f"{requested} was asked for, but no product of the engine takes"
        f" {TYPE_OF[requested]} ({shown})",
        f"run hrvit-deploy export --precision {requested}, and build from that graph",
    )


def _first_types(entries: list[dict[str, Any]], side: str) -> dict[str, int]:
    types = (tensor_type(entry[side][0]) for entry in entries if entry.get(side))
    return dict(Counter(types).most_common())
