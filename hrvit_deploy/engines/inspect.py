"""What TensorRT made of the network, from a finished plan; needs a GPU."""

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
        layers: How many there are.
        kinds: Kind of layer to how many.
        types: Type of a layer's first output to how many such layers.
        products: Type of the first input of a convolution or product that stands alone,
            unfused, to how many of those.
        tensors: Names of inputs and outputs.
    """

    layers: int
    kinds: dict[str, int]
    types: dict[str, int]
    products: dict[str, int]
    tensors: tuple[str, ...]


def inspect_plan(trt: ModuleType, plan: Any) -> Inspection | None:
    """Look into a plan; None where it does not open or tell, as on another GPU.

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
    """The type of one tensor of the report."""
    written = str(entry.get("Format/Datatype") or entry.get("Datatype") or "").lower()
    for name, pattern in SPELLINGS:
        if re.search(rf"\b({pattern})\b", written):
            return name
    return UNKNOWN


def check_inspection(inspection: Inspection, asked: Precision) -> None:
    """Refuse an engine whose visible products are none of them of the type asked for.

    Fusion hides most types, so an engine may show no product at all: the counts of the
    network are the first line of defence, this is the second. INT8 and FP8 products live
    inside fused layers.

    Raises:
        PrecisionError: With the counts.
    """
    known = {name: count for name, count in inspection.products.items() if name != UNKNOWN}
    if asked in QUANTIZED or not known or TYPE_OF[asked] in known:
        return
    found = ", ".join(f"{count} {name}" for name, count in known.items())
    raise PrecisionError(
        f"{asked} was asked for, but no product of the engine takes {TYPE_OF[asked]} ({found})",
        f"run hrvit-deploy export --precision {asked}, and build from that graph",
    )


def _first_types(entries: list[dict[str, Any]], side: str) -> dict[str, int]:
    types = (tensor_type(entry[side][0]) for entry in entries if entry.get(side))
    return dict(Counter(types).most_common())
