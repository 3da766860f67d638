"""The process one candidate is timed in: opens it, runs it when told, reports.

Started by :mod:`hrvit_deploy.measure.latency.process`. Reads one JSON object a line on standard
input and answers each with one on standard output:

    {"open": MESSAGE}            {"device", "settings", "batch", "open_s"}
    {"settle": N, "count": N}    {"times_ms": [...], "peak_mib": X, "gpu_mib": Y}
    {"stop": true}               ends
    anything that fails          {"error": TEXT, "hint": TEXT}

What a message to open holds is between a worker and who starts it: here a path and how its
artefact is run, and in each the ``device``, ``cpu`` or ``cuda``. Other modules may serve
other messages with :func:`main`.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from hrvit_deploy.artefact import Artefact, plain, read_sidecar, sidecar_of
from hrvit_deploy.errors import HrvitDeployError
from hrvit_deploy.inference.open import open_for_timing
from hrvit_deploy.measure.environment import gpu_used_mib
from hrvit_deploy.measure.latency.rounds import Candidate
from hrvit_deploy.runners.protocol import Inputs, Runner
from hrvit_deploy.runners.spec import RunnerSpec, RunOptions

Message = dict[str, Any]
Open = Callable[[Message], tuple[Runner, Inputs]]


def candidate_of(spec: RunnerSpec) -> Candidate:
    """Return a spec as a candidate that :func:`open_message` opens, its artefact as a path."""
    message: Message = plain(
        {
            "path": spec.artefact.path.absolute(),
            "options": spec.options,
            "batch": spec.batch,
            "name": spec.name,
            "device": spec.device,
        }
    )
    return Candidate(spec.name, message, spec.options.threads)


def open_message(message: Message) -> tuple[Runner, Inputs]:
    """Open what the message of :func:`candidate_of` describes, for timing.

    Its sender checked the artefact's file against its hash.

    Raises:
        HrvitDeployError: It cannot be opened.
    """
    path = Path(message["path"])
    artefact = Artefact(path, read_sidecar(sidecar_of(path)))
    options = msgspec.convert(message["options"], RunOptions)
    return open_for_timing(RunnerSpec(artefact, options, message["batch"], message["name"]))


class Bench:
    """One open candidate and what it took."""

    def __init__(self, message: Message, open_message: Open) -> None:
        self._gpu_before = gpu_used_mib() if message["device"] == "cuda" else None
        self._gpu_mib: float | None = None
        started = time.perf_counter()
        self.runner, self.inputs = open_message(message)
        self.opened: Message = {
            "device": self.runner.device,
            "settings": plain(self.runner.settings),
            "batch": len(next(iter(self.inputs.values()))),
            "open_s": time.perf_counter() - started,
        }

    def run(self, settle: int, count: int) -> Message:
        """Run untimed, then timed."""
        for _ in range(settle):
            self.runner.run(self.inputs)
        times_ms = time_runs(lambda: self.runner.run(self.inputs), count)
        self._look_at_gpu()
        return {"times_ms": times_ms, "peak_mib": peak_mib(), "gpu_mib": self._gpu_mib}

    def _look_at_gpu(self) -> None:
        """Note what this process added to the GPU's memory in use.

        Containers hide whose memory is whose, so the whole GPU is looked at: once, after
        the first runs, while no other candidate is being opened.
        """
        if self._gpu_before is None:
            return
        now = gpu_used_mib()
        self._gpu_mib = None if now is None else max(0.0, now - self._gpu_before)
        self._gpu_before = None


def time_runs(
    run: Callable[[], object], count: int, clock: Callable[[], int] = time.perf_counter_ns
) -> list[float]:
    """Time each of so many calls, in milliseconds."""
    times_ms = []
    for _ in range(count):
        started = clock()
        run()
        times_ms.append((clock() - started) / 1e6)
    return times_ms


def peak_mib(status: Path = Path("/proc/self/status")) -> float | None:
    """Return the most memory this process ever had resident, in MiB; None where it is unknown.

    Not ``getrusage``: that starts with the peak of the process that started this one.
    """
    try:
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return None


def serve(
    receive: Callable[[], Message], send: Callable[[Message], None], open_message: Open
) -> None:
    """Reply to messages until one says to stop.

    Args:
        receive: Waits for the next message.
        send: Sends a reply.
        open_message: Opens what a message describes.
    """
    bench: Bench | None = None
    while "stop" not in (message := receive()):
        try:
            if "open" in message:
                bench = Bench(message["open"], open_message)
                send(bench.opened)
            elif bench is not None:
                send(bench.run(message["settle"], message["count"]))
        except HrvitDeployError as error:
            send({"error": error.message, "hint": error.hint})
        # Whatever a library throws is its row's reason.
        except Exception as error:  # noqa: BLE001
            traceback.print_exc()
            send({"error": f"{type(error).__name__}: {error}".splitlines()[0], "hint": ""})
    if bench is not None:
        bench.runner.close()


def main(open_message: Open) -> None:
    """Serve on standard input and output.

    Args:
        open_message: Opens what a message describes.
    """
    # The terminal's Ctrl-C is for the parent, which then stops its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever a library prints must not mix with the replies.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(messages,), daemon=True).start()

    def send(message: Message) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    serve(messages.get, send, open_message)
    # Not by way of the libraries' exit handlers, which may hang or crash.
    sys.stderr.flush()
    os._exit(0)


def _listen(messages: queue.SimpleQueue[Message]) -> None:
    """Pass messages on; when the parent is gone, end at once, whatever is running."""
    with open(0, "rb", buffering=0, closefd=False) as pipe:
        while line := pipe.readline():
            messages.put(json.loads(line))
    os._exit(1)


if __name__ == "__main__":
    main(open_message)
