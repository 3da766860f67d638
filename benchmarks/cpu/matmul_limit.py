"""The machine's own limit: its best float32 product of two square matrices."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks.cpu.candidates import CHAIN, IMAGE, LOGITS, WEIGHT, Job, Runtime
from hrvit_deploy import graphs
from hrvit_deploy.measure.latency.bench import BenchResult
from hrvit_deploy.options import DEFAULT_OPSET

Rate = dict[str, Any]
PRODUCT_RUNTIMES = (Runtime.MATMUL, Runtime.ONNXRUNTIME, Runtime.OPENVINO)


def product_name(runtime: Runtime, side: int) -> str:
    return f"{runtime} {side} x {side}"


def product_jobs(sides: Sequence[int], folder: Path) -> dict[str, Job]:
    """Float32 products of square matrices, by every library and of every size."""
    jobs = {}
    for side in sides:
        generator = np.random.default_rng(side)
        image = generator.standard_normal((side, side)).astype(np.float32)
        weight = generator.standard_normal((side, side)).astype(np.float32) / math.sqrt(side)
        expected = functools.reduce(np.matmul, [weight] * CHAIN, image)
        probe, graph = folder / f"product-{side}.npz", folder / f"product-{side}.onnx"
        np.savez(probe, image=image, weight=weight, logits=expected)
        write_product(graph, weight)
        for runtime in PRODUCT_RUNTIMES:
            jobs[product_name(runtime, side)] = Job(runtime, str(probe), str(graph))
    return jobs


def write_product(path: Path, weight: NDArray[np.float32]) -> None:
    """A graph that multiplies by a constant, as the network's do, over and over."""
    side = len(weight)
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    names = [IMAGE, *(f"product_{number}" for number in range(1, CHAIN)), LOGITS]
    nodes = [
        helper.make_node("MatMul", [taken, WEIGHT], [returned])
        for taken, returned in itertools.pairwise(names)
    ]
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info(IMAGE, kind, [side, side])],
        [helper.make_tensor_value_info(LOGITS, kind, [side, side])],
        [onnx.numpy_helper.from_array(weight, WEIGHT)],
    )
    opset = helper.make_opsetid("", DEFAULT_OPSET)
    # The format's version that goes with the opset; onnx's newest is too new for some.
    made = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    graphs.write_graph(made, path)


def best_rates(results: Mapping[str, BenchResult], sides: Sequence[int]) -> list[Rate]:
    """Every library's best of all sizes and runs, the fastest library first."""
    rates = []
    for runtime in PRODUCT_RUNTIMES:
        timed = {side: results[product_name(runtime, side)].times_ms for side in sides}
        found = [
            {"library": str(runtime), "side": side, "gflops": flops(side) / min(times) / 1e6}
            for side, times in timed.items()
            if times
        ]
        rates += sorted(found, key=_gflops)[-1:]
    return sorted(rates, key=_gflops, reverse=True)


def flops(side: int) -> int:
    """Of one run: two to a multiply-add."""
    return 2 * CHAIN * side**3


def _gflops(rate: Rate) -> float:
    return float(rate["gflops"])


def limit_at(multiply_adds: int, rates: Sequence[Rate]) -> dict[str, Any] | None:
    """How long so many multiply-adds take at the best of those rates; None without one."""
    if not rates:
        return None
    return {**rates[0], "ms": 2 * multiply_adds / rates[0]["gflops"] / 1e6}
