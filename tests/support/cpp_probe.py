"""The programs of the C++ library, called from Python."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from support.cpp_build import TESTS

# A leak or undefined behaviour ends the program, and with it the test.
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:exitcode=99",
    "LSAN_OPTIONS": f"suppressions={TESTS / 'lsan.supp'}:print_suppressions=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    # OpenVINO's oneTBB then loads libraries in a way that AddressSanitizer can follow.
    "TBB_ENABLE_SANITIZERS": "1",
}


class Ran(NamedTuple):
    """What a program did."""

    code: int
    out: str
    err: str


def call(*command: object, env: dict[str, str] | None = None) -> Ran:
    """Run a program; a sanitizer's finding is an error here."""
    environment = {**os.environ, **SANITIZERS, **(env or {})}
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    sound = "Sanitizer" not in done.stderr and "runtime error" not in done.stderr
    assert sound, done.stderr
    assert done.returncode in (0, 1, 2), done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Infer:
    """``hrvit_infer``."""

    program: Path

    def __call__(self, *words: object, env: dict[str, str] | None = None) -> Ran:
        """Run it with those words."""
        return call(self.program, *words, env=env)


@dataclass(frozen=True)
class Probe:
    """``hrvit_probe``: arrays go there and back as raw files."""

    program: Path
    folder: Path

    def write(self, name: str, array: NDArray[Any]) -> Path:
        """An array as a raw file."""
        path = self.folder / name
        path.write_bytes(np.ascontiguousarray(array).tobytes())
        return path

    def images(self, images: list[NDArray[np.uint8]]) -> list[object]:
        """Images as its command line names them."""
        return [
            word
            for index, image in enumerate(images)
            for word in (*image.shape[:2], self.write(f"image-{index}", image))
        ]

    def array(self, command: object, *words: object, dtype: Any = np.int32) -> NDArray[Any]:
        """What a command wrote, flat."""
        out = self.folder / "answer.raw"
        out.unlink(missing_ok=True)
        ran = call(self.program, command, out, *words)
        assert ran.code == 0, ran.err
        return np.frombuffer(out.read_bytes(), dtype)

    def text(self, command: object, *words: object) -> str:
        """What a command printed."""
        ran = call(self.program, command, *words)
        assert ran.code == 0, ran.err
        return ran.out

    def error(
        self,
        command: object,
        *words: object,
        env: dict[str, str] | None = None,
        chatty: bool = False,
    ) -> str:
        """The one line with which a command failed; the last one if a library is chatty."""
        ran = call(self.program, command, *words, env=env)
        assert ran.code == 1, ran
        *others, line = ran.err.splitlines()
        assert not others or chatty, ran.err
        return line
