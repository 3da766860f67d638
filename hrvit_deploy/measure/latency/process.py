"""A candidate's process, seen from outside: started, asked, ended, never orphaned."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from hrvit_deploy.errors import RunnerError

WORKER = "hrvit_deploy.measure.latency.worker"
# Long enough to close a session, short enough for somebody who pressed Ctrl-C.
STOP_S = 3.0
# What the libraries' thread pools read when they are loaded.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Worker:
    """The process of one candidate; a context manager."""

    def __init__(self, name: str, *, threads: int | None = None, module: str = WORKER) -> None:
        """Start the process.

        Args:
            name: What messages call it.
            threads: CPU threads its libraries may start; None for their own choice.
            module: What Python runs, as :mod:`hrvit_deploy.measure.latency.worker`.
        """
        self._name = name
        self._ended = False
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        # In a session of its own: Ctrl-C reaches only the parent, and one signal ends it
        # with all it started, such as torch.compile's compilers.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=_environment(threads),
            start_new_session=True,
        )
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._pump = threading.Thread(target=self._listen, daemon=True)
        self._pump.start()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def open(self, message: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Open what a message describes there.

        Raises:
            RunnerError: It cannot be opened, or not in time.
        """
        return self.ask({"open": message}, timeout_s)

    def ask(self, message: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send a message and wait for its reply.

        Raises:
            RunnerError: The worker failed, died, or did not answer in time.
        """
        pipe = self._process.stdin
        assert pipe is not None
        # A broken pipe shows as the end of its replies, with the reason.
        with contextlib.suppress(BrokenPipeError):
            pipe.write(json.dumps(message).encode() + b"\n")
            pipe.flush()
        try:
            line = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            self._kill()
            raise RunnerError(
                f"{self._name} gave no answer for {timeout_s:.0f} s",
                "give it more time, or leave it out",
            ) from None
        if not line:
            raise RunnerError(
                f"{self._name} died: {self._last_words()}", "run it alone to see why"
            )
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise RunnerError(reply["error"], reply["hint"])
        return reply

    def close(self) -> None:
        """Ask it to end, and end it with everything it started; twice is harmless."""
        pipe = self._process.stdin
        assert pipe is not None
        try:
            if not self._ended and self._process.poll() is None:
                with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                    pipe.write(b'{"stop": true}\n')
                    pipe.flush()
                    self._process.wait(STOP_S)
        finally:
            self._kill()
            with contextlib.suppress(OSError):
                pipe.close()
            self._pump.join()
            self._stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            # Nobody waits politely in the middle of an error or an interrupt.
            self._kill()
        self.close()

    def _kill(self) -> None:
        # Once only: the number may belong to another process afterwards.
        if self._ended:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.wait()
        self._ended = True

    def _listen(self) -> None:
        pipe = self._process.stdout
        assert pipe is not None
        with pipe:
            for line in pipe:
                self._answers.put(line)
        self._answers.put(b"")

    def _last_words(self) -> str:
        code = self._process.wait()
        reason = f"exit status {code}"
        if code < 0:
            reason = signal.Signals(-code).name
            if code == -signal.SIGKILL:
                reason += ", perhaps for want of memory"
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return f"{reason} ({lines[-1].strip()[:200]})" if lines else reason


def _environment(threads: int | None) -> dict[str, str]:
    """Return an environment where a worker finds modules as this process does."""
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    if threads is not None:
        environment |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    return environment
