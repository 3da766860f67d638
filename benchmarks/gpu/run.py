"""A run: survey, questions, and group after group until all is done or time is up."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.common.cases import Case
from benchmarks.gpu.candidates import REFERENCE, TORCH, WORKER, Entry, Job, Runtime
from benchmarks.gpu.graphs import Prepared
from benchmarks.gpu.machine import gpu_state, survey
from benchmarks.gpu.results import Report, Results, fingerprint
from benchmarks.gpu.rounds import Deadline, row_of, run_group
from benchmarks.gpu.rtx_support import ASKED, CURRENT, TEXTS, ask, refusal, runs_as
from benchmarks.gpu.schedule import Places, Plan
from hrvit_deploy.artefact import plain
from hrvit_deploy.errors import HrvitDeployError
from hrvit_deploy.measure.environment import describe_environment
from hrvit_deploy.measure.latency.process import Worker
from hrvit_deploy.progress import Progress

# With less time than this left, in seconds, nothing new is begun.
LEAST_S = 30.0
# With so little, questions are left to a run that has more.
QUESTION_S = 180.0


class OutOfTimeError(Exception):
    """The time given is up; what is on disk is whole."""


class Run:
    """What is known of the machine, and what is left to do."""

    def __init__(
        self, plan: Plan, places: Places, deadline: Deadline, progress: Progress, folder: Path
    ) -> None:
        """Look at the machine.

        Args:
            plan: What to measure.
            places: Where things lie.
            deadline: When to be done.
            progress: Told of each step.
            folder: For jobs and times; nothing in it outlasts the run.
        """
        self.plan, self.places, self.folder = plan, places, folder
        self.deadline, self.progress = deadline, progress
        self.environment = describe_environment(datetime.now(UTC).isoformat(timespec="seconds"))
        self.found = survey(plan.device)
        self.mark = fingerprint(plan.pace, plan.device, self.environment, self.found)
        closed = places.prepared is not None
        self.made = Prepared(places.prepared or places.work / "graphs", progress, closed=closed)
        places.work.mkdir(parents=True, exist_ok=True)
        # How TensorRT-RTX's plans are built, and if neither way runs, why.
        self.rtx = self.rtx_refusal = ""

    def begin(self, *, retry: bool) -> Results:
        """Empty results, or those that a stopped run left."""
        about = {
            "environment": self.environment,
            "survey": self.found,
            "plan": plain(self.plan),
            "prepared": plain(self.made.index),
        }
        return Results(self.places.out, about, self.mark, retry=retry)

    def list_absent(self, results: Results) -> None:
        """A row to everything that cannot run on this machine, whatever the case."""
        for case in self.plan.cases():
            done = results.done(case)
            found = self.found["obstacles"]
            results.add_rows(
                case,
                [
                    row_of(entry, error=found[entry.runtime])
                    for entry in self.plan.entries
                    if found[entry.runtime] and entry.name not in done
                ],
            )
        results.write()

    def answer_questions(self, results: Results) -> None:
        """Ask how TensorRT-RTX runs here, unless it was answered before."""
        asked = any(entry.runtime is Runtime.RTX for entry in self.plan.entries)
        if not asked or self.found["obstacles"][Runtime.RTX]:
            return
        answers: list[Report] = results.report["questions"]
        known = {answer["kind"] for answer in answers}
        for kind in TEXTS:
            if kind not in known and self.deadline.left_s > QUESTION_S:
                answers.append(self._answer(kind))
                results.write()
        self.rtx = runs_as(answers)
        if not self.rtx and len(answers) == len(TEXTS):
            self.rtx_refusal = refusal(answers)

    def _answer(self, kind: str) -> Report:
        case = self.plan.cases()[0]
        capability = (self.found["gpu"] or {}).get("compute_capability", "")
        self.progress.note(TEXTS[kind])
        try:
            self.expect(case)
            job = self.job(case, ASKED)
        except HrvitDeployError as error:
            blank = {"ran": None, "built": None, "error": error.message}
            return {"question": TEXTS[kind], "kind": kind, "capability": capability, **blank}
        answer = ask(kind, job, capability, self.deadline.left_s)
        return dict(plain(answer))

    def measure(self, case: Case, entries: Sequence[Entry], results: Results) -> None:
        """Timing group after timing group, until each of those entries has a row.

        Raises:
            OutOfTimeError: Time is up.
        """
        alone: set[str] = set()
        while pending := self._pending(case, entries, results):
            self._require_time()
            try:
                self.expect(case)
                anchor = self.plan.entries[0], self.job(case, self.plan.entries[0])
            except HrvitDeployError as error:
                # Perhaps it was only the time.
                self._require_time()
                results.add_rows(case, [row_of(e, error=error.message) for e in pending])
                continue
            others = self._jobs(case, pending, alone, results)
            if others or pending == [anchor[0]]:
                alone |= self._run_group(case, [anchor, *others], results)

    def _run_group(
        self, case: Case, jobs: list[tuple[Entry, Job]], results: Results
    ) -> set[str]:
        """One timing group, on disk; names of those that found no memory beside the others.

        Raises:
            OutOfTimeError: Time was up before all were open.
        """
        number = results.next_heat(case)
        before, begun = gpu_state(), time.monotonic()
        group = run_group(jobs, self.plan.pace, self.deadline, self.progress, number=number)
        about = {
            "number": number,
            "candidates": [entry.name for entry, _ in jobs],
            "crowded": list(group.crowded),
            "late": list(group.late),
            "seconds": round(time.monotonic() - begun, 1),
            "gpu_before": before,
            "gpu_after": gpu_state(),
        }
        results.report["prepared"] = plain(self.made.index)
        results.add_heat(case, group, about)
        if group.late:
            raise OutOfTimeError
        return set(group.crowded)

    def _pending(self, case: Case, entries: Sequence[Entry], results: Results) -> list[Entry]:
        """What has no row yet; what came late before comes last."""
        done, late = results.done(case), results.case(case)["late"]
        left = [entry for entry in entries if entry.name not in done]
        return sorted(left, key=lambda entry: entry.name in late)

    def _jobs(
        self, case: Case, pending: list[Entry], alone: set[str], results: Results
    ) -> list[tuple[Entry, Job]]:
        """Who runs beside the anchor next; what has no graph gets its row at once."""
        others = [entry for entry in pending if entry != self.plan.entries[0]]
        room = self.plan.pace.per_group - 1
        chosen = [entry for entry in others if entry.name not in alone][:room] or others[:1]
        jobs = []
        for number, entry in enumerate(chosen, 1):
            self._require_time()
            try:
                jobs.append((entry, self.job(case, entry, number)))
            except HrvitDeployError as error:
                results.add_rows(case, [row_of(entry, error=error.message)])
        return jobs

    def job(self, case: Case, entry: Entry, number: int = 0) -> Job:
        """What a worker opens for an entry.

        Raises:
            HrvitDeployError: Its graph is not there and cannot be made, or nothing like it
                runs here.
        """
        if entry.runtime is Runtime.RTX and self.rtx_refusal:
            raise HrvitDeployError(self.rtx_refusal)
        plan = self.made.plan_path(case, entry) if entry.runtime is Runtime.RTX else None
        return Job(
            entry=entry,
            device=self.plan.device,
            network=case.request,
            size=(case.size.height, case.size.width),
            batch=case.batch,
            pictures=str(self.made.pictures(case)),
            expected=str(self._expected(case)),
            book=str(self.folder / f"{number}.jsonl"),
            work=str(self.places.work),
            graph=str(self._graph(case, entry)),
            plan=str(plan) if plan is not None and plan.is_file() else "",
            current=self.rtx == CURRENT,
            library=str(self.places.library or ""),
            turn_s=self.plan.pace.turn_s,
        )

    def _graph(self, case: Case, entry: Entry) -> Path | str:
        """The graph an entry runs; nothing for one that runs the network in PyTorch."""
        if entry.runtime in TORCH:
            return ""
        if entry.runtime is Runtime.TRT8:
            from benchmarks.gpu.runtimes.tensorrt8_graphs import graph_for_trt8

            return graph_for_trt8(self.made, case, entry)
        return self.made.graph(case, entry)

    def expect(self, case: Case) -> None:
        """Write what eager FP32 answers on this device, unless it is there.

        Raises:
            HrvitDeployError: It does not run.
        """
        path = self._expected(case)
        if path.exists():
            return
        staged = path.with_suffix(".part.npy")
        job = replace(self.job(case, REFERENCE), expected="", answer=str(staged))
        with Worker(REFERENCE.name, module=WORKER) as worker:
            timeout_s = min(self.plan.pace.timeout_s, max(1.0, self.deadline.left_s))
            worker.open({"device": job.device, "job": plain(job)}, timeout_s)
        staged.replace(path)

    def _expected(self, case: Case) -> Path:
        name = f"expected-{case.name}-{self.plan.device}-{self.mark[:12]}.npy"
        return self.places.work / name

    def _require_time(self) -> None:
        if self.deadline.left_s < LEAST_S:
            raise OutOfTimeError


def run(
    plan: Plan,
    places: Places,
    progress: Progress,
    *,
    deadline: Deadline | None = None,
    retry: bool = False,
) -> Results:
    """Measure what the plan says, the most telling first.

    Args:
        plan: What to measure.
        places: Where things lie.
        progress: Told of each step.
        deadline: When to be done; None takes all the time there is.
        retry: Whether what failed before is tried again.

    Returns:
        The results; unfinished if time was up.
    """
    with tempfile.TemporaryDirectory(prefix="hrvit-deploy-") as folder:
        going = Run(plan, places, deadline or Deadline(None), progress, Path(folder))
        results = going.begin(retry=retry)
        going.list_absent(results)
        try:
            going.answer_questions(results)
            for entries in plan.stages():
                for case in plan.cases():
                    going.measure(case, entries, results)
        except OutOfTimeError:
            results.write()
            progress.warn(
                "time is up: run it again to go on from the last finished timing group"
            )
            return results
    results.finish()
    return results


def prepare(plan: Plan, folder: Path, progress: Progress) -> list[str]:
    """Make every graph of a plan, and TensorRT-RTX's plans, in a folder.

    Returns:
        What could not be made, and why, a line each.
    """
    made = Prepared(folder, progress)
    failed: dict[str, None] = {}
    for case in plan.cases():
        made.pictures(case)
        for entry in plan.entries:
            try:
                _prepare_entry(made, case, entry)
            except HrvitDeployError as error:
                failed[f"{case.name}, {entry.name}: {error.message}"] = None
                progress.warn(f"{case.name}, {entry.name}: {error.message}")
    return list(failed)


def _prepare_entry(made: Prepared, case: Case, entry: Entry) -> None:
    if entry.runtime in TORCH:
        return
    if entry.runtime is Runtime.TRT8:
        from benchmarks.gpu.runtimes.tensorrt8_graphs import graph_for_trt8

        graph_for_trt8(made, case, entry)
        return
    made.graph(case, entry)
    if entry.runtime is Runtime.RTX:
        made.plan(case, entry)
