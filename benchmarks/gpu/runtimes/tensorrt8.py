"""TensorRT 8.5, as evidence alone: the package supports no TensorRT 8.

A small program does the work, since the library's Python bindings are for other Pythons. It
is compiled where it runs, against the libraries of the ``tensorrt`` 8.5.3.1 wheel and the
headers of NVIDIA's repositories; docs/how-to/benchmark.md says which files go where.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.agreement import judge
from benchmarks.gpu.candidates import Job
from benchmarks.gpu.timing import FEWEST, MOST, SETTLE_S, WARMUP_S
from hrvit_deploy.errors import BuildError, MissingDependency, RunnerError
from hrvit_deploy.runners.protocol import Closing, Inputs, Outputs

SOURCE = Path(__file__).with_name("tensorrt8.cpp")
HEADERS = ("NvInfer.h", "NvOnnxParser.h")
LIBRARIES = ("libnvinfer.so.8", "libnvonnxparser.so.8", "libnvinfer_plugin.so.8")
# What the plugin library asks the loader for, and no graph here runs anything of.
UNUSED = ("libcublas.so.11", "libcublasLt.so.11", "libcudnn.so.8")
CUDA_PLACES = (Path("/usr/local/cuda"), *map(Path, sys.path))
FLAGS = ("-std=c++17", "-O2")


class Program(Closing):
    """The program, open on one graph; each of its runs is a whole turn."""

    name, device = "TensorRT 8.5", "cuda"

    def __init__(self, command: list[str], book: Path, turn_s: float) -> None:
        """Start it, and wait until it has built and run its plan.

        Args:
            command: The program and its arguments.
            book: File to add each turn to.
            turn_s: How long the timed runs of one series should take, in seconds.

        Raises:
            RunnerError: In the library's own words.
        """
        self._book = book
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )
        self.settings: dict[str, Any] = self._answer()
        started = time.perf_counter()
        found = self._turn(WARMUP_S, FEWEST)
        one_s = found["host_ms"][-1] / 1000
        self.count = min(MOST, max(FEWEST, int(turn_s / max(one_s, 1e-9))))
        self.settings |= {
            "clock": "CUDA events",
            "runs_a_turn": self.count,
            "warmup_s": time.perf_counter() - started,
        }

    def run(self, inputs: Inputs) -> Outputs:  # noqa: ARG002
        """One turn."""
        times = self._turn(SETTLE_S, self.count)
        with self._book.open("a", encoding="utf-8") as file:
            file.write(json.dumps(times) + "\n")
        return {}

    def close(self) -> None:
        """End it; twice is harmless."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def _turn(self, settle_s: float, count: int) -> dict[str, list[float]]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"turn {settle_s} {count}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # It died: its answer says why.
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            self._stderr.seek(0)
            words = self._stderr.read().decode(errors="replace").strip().splitlines()
            last = words[-1] if words else f"exit status {status}"
            raise RunnerError(f"TensorRT 8.5 died: {last}", "run the program alone to see why")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RunnerError(answer["error"], "see benchmarks/gpu/runtimes/tensorrt8.cpp")
        return answer


def open_program(job: Job, images: NDArray[np.float32]) -> Program:
    """The job's graph in TensorRT 8.5, its answer held against eager FP32's."""
    work = Path(job.work) / "trt8"
    work.mkdir(parents=True, exist_ok=True)
    program = compile_program(Path(job.library), work)
    graph = Path(job.graph)
    digest = hashlib.sha256(graph.read_bytes()).hexdigest()[:12]
    plan = work / f"{graph.stem}-{job.entry.precision}-{digest}.plan"
    with tempfile.TemporaryDirectory(prefix="hrvit-deploy-") as folder:
        given, taken = Path(folder) / "images.bin", Path(folder) / "answer.bin"
        given.write_bytes(np.ascontiguousarray(images).tobytes())
        files = (graph, plan, job.entry.precision, given, taken)
        opened = Program([str(program), *map(str, files)], Path(job.book), job.turn_s)
        shape = (job.batch, *np.load(job.expected, mmap_mode="r").shape[1:])
        answer = np.fromfile(taken, np.float32).reshape(shape)
    opened.settings |= judge(job, answer)
    return opened


def compile_program(library: Path, work: Path) -> Path:
    """The program, compiled unless it is there.

    Args:
        library: Folder that holds, at any depth, TensorRT's headers and libraries.
        work: Where it goes.

    Raises:
        MissingDependency: A file or the compiler is not there.
        BuildError: It does not compile.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        raise MissingDependency("there is no g++ to compile tensorrt8.cpp", "install one")
    command = [compiler, *FLAGS, *included(library), str(SOURCE)]
    rest = linked(library, work)
    mark = hashlib.sha256(SOURCE.read_bytes() + " ".join((*command, *rest)).encode())
    program = work / f"tensorrt8-{mark.hexdigest()[:12]}"
    if program.exists():
        return program
    staged = program.with_suffix(".part")
    done = subprocess.run(
        [*command, "-o", str(staged), *rest], capture_output=True, text=True, check=False
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        raise BuildError(
            f"tensorrt8.cpp does not compile: {(errors or [done.stderr.strip()])[0]}",
            "take headers of TensorRT 8.5 and of CUDA",
        )
    staged.replace(program)
    return program


def included(library: Path) -> list[str]:
    """Where headers are; NVIDIA's warn of what they deprecate themselves."""
    folders = {find(library, name).parent for name in HEADERS}
    folders.add(find_cuda("cuda_runtime_api.h").parent)
    return [f"-isystem{path}" for path in sorted(folders)]


def linked(library: Path, work: Path) -> list[str]:
    """The libraries, and where the loader finds them.

    What TensorRT's libraries need is linked to the program itself: the loader looks for
    their needs beside them alone, but takes what is there already.
    """
    libraries = [find(library, name) for name in LIBRARIES]
    libraries.append(find_cuda("libcudart.so*"))
    for name in UNUSED:
        held = sorted(library.rglob(name))
        libraries.append(held[0].resolve() if held else stand_in(work / "stand-ins" / name))
    folders = sorted({path.parent for path in libraries})
    return [
        "-Wl,--no-as-needed,--allow-shlib-undefined",
        *(f"-Wl,-rpath,{folder}" for folder in folders),
        *map(str, libraries),
    ]


def find(library: Path, name: str) -> Path:
    """A file at any depth of the folder."""
    found = sorted(library.rglob(name))
    if not found:
        raise MissingDependency(
            f"there is no {name} in {library}", "docs/how-to/benchmark.md says where to get it"
        )
    return found[0].resolve()


def find_cuda(name: str) -> Path:
    """A file of the CUDA runtime, of the toolkit or of NVIDIA's wheels."""
    for place in CUDA_PLACES:
        for pattern in (f"include/{name}", f"lib64/{name}", f"nvidia/*/*/{name}"):
            found = sorted(place.glob(pattern)) if place.is_dir() else []
            if found:
                return found[0].resolve()
    raise MissingDependency(
        f"there is no {name} of CUDA", "install the CUDA toolkit, or nvidia-cuda-runtime"
    )


def stand_in(path: Path) -> Path:
    """An empty library of that name, for a loader that asks for what nobody calls."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        command = ["g++", "-shared", f"-Wl,-soname,{path.name}", "-x", "c", "/dev/null"]
        subprocess.run([*command, "-o", str(path)], check=True)
    return path
