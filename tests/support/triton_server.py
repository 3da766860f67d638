"""Triton itself, as PyTriton's wheel carries it: the server and its Python backend.

It has no backend for networks, so theirs is the Python backend over onnxruntime here; all
else of a repository is served as it is written. The Python backend has NumPy 1, as in
Triton's own container.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path
from typing import Any, Self

import pytest

from support.fake_triton import FETCH

READY_S = 60
NETWORK = """
import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.input, self.output = config["input"][0]["name"], config["output"][0]["name"]
        file = Path(__file__).with_name("model.onnx")
        self.session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        self.batched = config["max_batch_size"] > 0

    def execute(self, requests):
        arrays = [pb_utils.get_input_tensor_by_name(r, self.input).as_numpy() for r in requests]
        print(f"run of {sum(map(len, arrays))}", flush=True)
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor(self.output, output)])
            for array in arrays
            for output in self.session.run([self.output], {self.input: array})
        ]
"""


def installed() -> Path:
    """The server's folder.

    Skips where there is no such server, and fails where it was not fetched.
    """
    folder: Path = FETCH["folder_of"](FETCH["TRITON_SERVER_VERSION"])
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        pytest.skip("PyTriton's server is for Linux on x86-64")
    if not folder.is_dir() or not FETCH["folder_of"](FETCH["TRITON_NUMPY"]).is_dir():
        pytest.skip(f"Triton's server is not in {folder}: run make setup")
    if not (folder / "pytriton/tritonserver/python_backend_stubs" / version).is_dir():
        pytest.skip(f"PyTriton's server has no Python {version}")
    return folder


class Triton:
    """A server over some repositories; a context manager."""

    def __init__(self, repositories: list[Path], folder: Path) -> None:
        """Start it.

        Args:
            repositories: Folders that ``embed --as triton`` wrote.
            folder: For its own files.
        """
        root = installed()
        server = root / "pytriton" / "tritonserver"
        backend = folder / "backends" / "python"
        shutil.copytree(server / "backends" / "python", backend)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        stub = "triton_python_backend_stub"
        shutil.copyfile(server / "python_backend_stubs" / version / stub, backend / stub)
        binary = folder / "tritonserver"
        shutil.copyfile(server / "bin" / "tritonserver", binary)
        for program in (binary, backend / stub):
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
        models = folder / "models"
        for repository in repositories:
            serve_in_python(repository / "models", models)
        self.port, self.log = free_port(), folder / "log"
        self._process = subprocess.Popen(
            [binary, *arguments(models, folder / "backends", self.port)],
            env=environment(root, python_for(folder)),
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Self:
        limit = time.monotonic() + READY_S
        while time.monotonic() < limit and self._process.poll() is None:
            try:
                self.get("v2/health/ready")
            except OSError:
                time.sleep(0.1)
            else:
                return self
        self.__exit__()
        pytest.fail(f"Triton did not start:\n{self.log.read_text()}")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}") as response:
            content: bytes = response.read()
            return content

    def infer(self, model: str, images: list[bytes], output: str, **options: Any) -> Any:
        """Send images as strings of bytes; return the response's JSON and binary output.

        This is Triton's binary tensor data extension of the KServe protocol.
        """
        strings = b"".join(len(image).to_bytes(4, "little") + image for image in images)
        shape = [len(images), 1] if options.pop("batched", True) else [len(images)]
        size = {"binary_data_size": len(strings)}
        image = {"name": "image", "shape": shape, "datatype": "BYTES", "parameters": size}
        result = {"name": output, "parameters": {"binary_data": True, **options}}
        head = json.dumps({"inputs": [image], "outputs": [result]}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v2/models/{model}/infer",
            head + strings,
            {"Inference-Header-Content-Length": str(len(head))},
        )
        with urllib.request.urlopen(request) as response:
            length = int(response.headers["Inference-Header-Content-Length"])
            content = response.read()
        return json.loads(content[:length]), content[length:]


def serve_in_python(models: Path, target: Path) -> None:
    """Copy models; the one that needs another backend runs in Python."""
    for model in models.iterdir():
        copy = shutil.copytree(model, target / model.name)
        config = copy / "config.pbtxt"
        lines = config.read_text().splitlines(keepends=True)
        if 'backend: "onnxruntime"\n' not in lines:
            continue
        kept = [line for line in lines if not line.startswith(("backend", "default_model"))]
        config.write_text('backend: "python"\n' + "".join(kept))
        (copy / "1" / "model.py").write_text(NETWORK)


def arguments(models: Path, backends: Path, port: int) -> list[str]:
    return [
        f"--model-repository={models}",
        f"--backend-directory={backends}",
        "--http-address=127.0.0.1",
        f"--http-port={port}",
        "--allow-grpc=false",
        "--allow-metrics=false",
        # As strict as it can be: nothing that a file leaves out is guessed.
        "--disable-auto-complete-config",
    ]


def python_for(folder: Path) -> Path:
    """An environment with this one's packages, but an older NumPy."""
    made = folder / "python"
    venv.create(made, symlinks=True)
    (packages,) = made.glob("lib/python*/site-packages")
    older, ours = FETCH["folder_of"](FETCH["TRITON_NUMPY"]), sysconfig.get_path("purelib")
    (packages / "order.pth").write_text(f"{older}\n{ours}\n")
    return made


def environment(root: Path, python: Path) -> dict[str, str]:
    """With that Python, this one's library, and the server's libraries."""
    libraries = [root / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR")]
    held = os.environ.get("LD_LIBRARY_PATH")
    return os.environ | {
        "PATH": f"{python / 'bin'}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": ":".join(map(str, [*libraries, *([held] if held else [])])),
    }


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
