"""Candidates of one case timed in turn, round by round, and held against eager's answer."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.cases import Case
from benchmarks.common.forms import Form
from benchmarks.cpu.candidates import EAGER, F32, Job, Peer, candidate_of
from benchmarks.cpu.graphs import Graphs, multiply_adds
from benchmarks.cpu.matmul_limit import Rate, best_rates, limit_at, product_jobs
from hrvit_deploy.errors import GateError, HrvitDeployError
from hrvit_deploy.measure.latency.bench import BenchOptions, BenchResult, bench

# How far float32 candidates may lie from eager, in deviations of its answer.
AGREEMENT = 1e-3


@dataclass(frozen=True)
class Timing:
    """How long candidates are timed, and on how many threads."""

    bench: BenchOptions
    threads: int


@dataclass(frozen=True)
class Row:
    """What was measured of one candidate; None where ``error`` says why.

    Attributes:
        median_ms: Of one run; ``p90_ms`` likewise.
        ratio: Median over eager's.
        share: Milliseconds at the machine's limit over the median.
        round_ms: Median of each round, in order.
        precision: What it computed in, as the runtime says itself.
        relative_error: The largest error, in deviations of eager's answer.
        first_run_s: With all that a runtime does at its first run, such as compiling.
    """

    name: str
    form: str
    runtime: str
    asked: str
    precision: str = ""
    median_ms: float | None = None
    p90_ms: float | None = None
    ratio: float | None = None
    share: float | None = None
    max_abs_error: float | None = None
    relative_error: float | None = None
    first_run_s: float | None = None
    open_s: float | None = None
    peak_mib: float | None = None
    round_ms: tuple[float, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    error: str = ""


def measure(
    case: Case,
    peers: Sequence[Peer],
    products: Sequence[int],
    timing: Timing,
    made: Graphs,
    *,
    environment: dict[str, Any],
    rates: Sequence[Rate] = (),
) -> dict[str, Any]:
    """Time the peers, and products of matrices of those sizes, in one interleaved run.

    Args:
        case: What the peers run.
        peers: The first is what the others are held against.
        products: Sides of the square matrices.
        timing: Rounds, runs, pauses and threads.
        made: Where graphs come from.
        environment: Of :func:`hrvit_deploy.measure.environment.describe_environment`.
        rates: The machine's limit where no products are timed.

    Returns:
        What the JSON holds of the case.

    Raises:
        GateError: A float32 candidate does not answer as eager does.
    """
    with tempfile.TemporaryDirectory(prefix="hrvit-deploy-") as scratch:
        folder = Path(scratch)
        jobs = {peer.name: job_of(case, peer, made) for peer in peers}
        jobs |= product_jobs(products, folder)
        candidates = [
            candidate_of(name, job, folder, timing.threads) for name, job in jobs.items()
        ]
        report = bench(candidates, timing.bench, environment, made.progress)
    results = {result.name: result for result in report.results}
    counted = multiply_adds(case)
    rates = best_rates(results, products) if products else rates
    limit = limit_at(counted[Form.TRAINED], rates)
    rows = [row_of(peer, results[peer.name], limit, timing.bench.runs) for peer in peers]
    require_agreement(rows)
    return {
        **case.key,
        "load": environment.get("load"),
        "multiply_adds": counted,
        "limit": limit,
        "rates": list(rates),
        "rows": rows,
    }


def job_of(case: Case, peer: Peer, made: Graphs) -> Job:
    """What the peer's worker opens; a graph that cannot be made is its row's reason."""
    probe = str(made.probe(case))
    if peer.form is Form.TRAINED:
        return Job(peer.runtime, probe, network=case.request)
    try:
        graph = made.graph(case, peer.form, peer.runtime)
    except HrvitDeployError as error:
        return Job(peer.runtime, probe, reason=error.message)
    return Job(peer.runtime, probe, graph=str(graph.path), precision=peer.precision)


def row_of(peer: Peer, result: BenchResult, limit: dict[str, Any] | None, runs: int) -> Row:
    about: dict[str, Any] = {
        "name": peer.name,
        "form": str(peer.form),
        "runtime": str(peer.runtime),
        "asked": str(peer.precision),
    }
    if result.p50_ms is None:
        return Row(**about, error=result.error)
    settings = dict(result.settings)
    measured = ("max_abs_error", "relative_error", "first_run_s")
    found = {name: settings.pop(name) for name in measured}
    times_ms = np.asarray(result.times_ms).reshape(-1, runs)
    return Row(
        **about,
        **found,
        precision=settings.get("inference_precision", str(F32)),
        median_ms=result.p50_ms,
        p90_ms=result.p90_ms,
        ratio=result.ratio,
        share=limit["ms"] / result.p50_ms if limit else None,
        open_s=result.open_s,
        peak_mib=result.peak_mib,
        round_ms=tuple(round(float(ms), 3) for ms in np.median(times_ms, axis=1)),
        settings=settings,
    )


def require_agreement(rows: Sequence[Row]) -> None:
    """Refuse figures of candidates that compute something else.

    Raises:
        GateError: Names those that computed in float32 and do not answer as eager does.
    """
    astray = [
        f"{row.name} by {row.relative_error:.1e}"
        for row in rows
        if row.precision == F32
        and row.relative_error is not None
        and not row.relative_error <= AGREEMENT
    ]
    if astray:
        raise GateError(
            f"not the same network: off from {EAGER.name} by over {AGREEMENT:g} of its"
            f" deviation: {', '.join(astray)}",
            "nothing was written of this case; look for the fault before timing it",
        )
