"""Artefacts timed in turn, beside PyTorch or OpenVINO where that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hrvit_deploy.artefact import Artefact
from hrvit_deploy.errors import UsageError
from hrvit_deploy.progress import Progress
from hrvit_deploy.runners.spec import (
    Implementation,
    InferencePrecision,
    Provider,
    RunnerSpec,
    RunOptions,
)

if TYPE_CHECKING:
    from hrvit_deploy.measure.latency.bench import BenchOptions, BenchReport
    from hrvit_deploy.measure.latency.profile import Profile

IN_OPENVINO = "openvino"
BASELINES = (Implementation.EAGER.value, Implementation.COMPILE.value, IN_OPENVINO)


@dataclass(frozen=True)
class BenchRequest:
    """What is timed beside the artefacts, and how all of them are run.

    Attributes:
        against: Baselines, timed before the artefacts: the first artefact's network as
            ``eager`` or ``compile``, or that artefact in ``openvino``.
        provider: What runs the artefacts.
        inference_precision: What those in OpenVINO compute in.
        threads: CPU threads; None for one per physical core this process may use.
        batch: Images per run where the artefact leaves that open.
        checkpoint: Weights for PyTorch; empty for those the artefact's sidecar names.
        profile: Whether graphs and plans are timed by operator, too.
    """

    against: tuple[str, ...] = ()
    provider: Provider = Provider.CPU
    inference_precision: InferencePrecision = InferencePrecision.F32
    threads: int | None = None
    batch: int = 1
    checkpoint: str = ""
    profile: bool = False

    def __post_init__(self) -> None:
        for name in self.against:
            if name not in BASELINES:
                raise UsageError(
                    f"cannot bench against {name!r}", f"choose from {', '.join(BASELINES)}"
                )
        anywhere = self.provider is Provider.OPENVINO or IN_OPENVINO in self.against
        if self.inference_precision is not InferencePrecision.F32 and not anywhere:
            raise UsageError(
                f"--inference-precision {self.inference_precision} is for OpenVINO, and nothing"
                " runs in it here",
                "add --provider openvino, or --against openvino",
            )

    def options(self, implementation: Implementation, provider: Provider) -> RunOptions:
        """Return how one of the rows is run."""
        in_openvino = provider is Provider.OPENVINO
        return RunOptions(
            provider=provider,
            implementation=implementation,
            threads=self.threads,
            inference_precision=(
                self.inference_precision if in_openvino else InferencePrecision.F32
            ),
            checkpoint=self.checkpoint,
        )

    def specs(self, artefacts: Sequence[Artefact]) -> list[RunnerSpec]:
        """Return all rows, baselines first, so that ratios are to the first of them.

        Raises:
            UsageError: OpenVINO is to run a plan.
        """
        baselines = [self._baseline(artefacts[0], name) for name in self.against]
        own = self.options(Implementation.ARTEFACT, self.provider)
        return baselines + [RunnerSpec(artefact, own, self.batch) for artefact in artefacts]

    def _baseline(self, artefact: Artefact, name: str) -> RunnerSpec:
        if name != IN_OPENVINO:
            options = self.options(Implementation(name), self.provider)
            return RunnerSpec(artefact, options, self.batch)
        options = self.options(Implementation.ARTEFACT, Provider.OPENVINO)
        spec = RunnerSpec(artefact, options, self.batch, IN_OPENVINO)
        if not spec.runs_graph:
            raise UsageError(
                f"OpenVINO runs graphs, and {artefact.path} is a {artefact.manifest.kind}",
                "name the graph it was built from first",
            )
        return spec


def bench_artefacts(
    artefacts: Sequence[Artefact],
    request: BenchRequest,
    options: BenchOptions,
    environment: dict[str, Any],
    progress: Progress,
) -> tuple[BenchReport, list[Profile]]:
    """Time artefacts in turn, and profile them where that is asked for.

    Args:
        artefacts: At least one.
        request: What is timed beside them, and how.
        options: Rounds, runs and pauses.
        environment: Of :func:`hrvit_deploy.measure.environment.describe_environment`.
        progress: Advanced once a turn.

    Returns:
        The report, and the profile of each graph and plan that could be timed.

    Raises:
        UsageError: Two rows have one name, or OpenVINO is to run a plan.
    """
    from hrvit_deploy.measure.latency.bench import bench
    from hrvit_deploy.measure.latency.profile import profile
    from hrvit_deploy.measure.latency.worker import candidate_of

    specs = request.specs(artefacts)
    report = bench([candidate_of(spec) for spec in specs], options, environment, progress)
    profiles = []
    if request.profile:
        timed = zip(specs, report.results, strict=True)
        profiles = [profile(s) for s, row in timed if not row.error and not s.in_torch]
    return report, profiles
