"""The folder runs under any name, with NumPy and Pillow and nothing else."""

from __future__ import annotations

import ast
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.labelled import picture

from hrvit_deploy import embed, standalone
from hrvit_deploy.standalone.decode import decode_image
from hrvit_deploy.standalone.draw import encode_png, index_image
from hrvit_deploy.standalone.postprocess import output_label_map
from hrvit_deploy.standalone.preprocess import prepare

FOLDER = Path(standalone.__file__).parent
EMBED = Path(embed.__file__).parent
SOURCES = [
    *FOLDER.glob("*.py"),
    *(EMBED / "python" / "app").glob("*.py"),
    *(EMBED / "triton" / "models").glob("*.py"),
]
ALLOWED = {"numpy", "PIL"}
# Without the two packages' own, what is no part of Python is not there.
ALONE = """
import importlib, json, pkgutil, sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] not in {"numpy", "PIL", "copied"} | sys.stdlib_module_names:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
sys.path.insert(0, sys.argv[1])
import copied
for module in pkgutil.iter_modules(copied.__path__):
    importlib.import_module(f"copied.{module.name}")
from copied.decode import decode_image
from copied.draw import encode_png, index_image
from copied.postprocess import output_label_map
from copied.preprocess import prepare

pixels = decode_image(open(sys.argv[2], "rb").read(), "image")
batch = prepare(pixels, (32, 32), "float32-nchw", mean=[1, 2, 3], std=[4, 5, 6], dtype="f4")
labels = output_label_map(batch[0], "logits", (32, 32), pixels.shape[:2], 3)
open(sys.argv[3], "wb").write(encode_png(index_image(labels, [[9, 8, 7]] * 3)))
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_a_copy_runs_where_nothing_else_can_be_imported(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "copied", ignore=shutil.ignore_patterns("__pycache__"))
    image, drawn = tmp_path / "image.png", tmp_path / "drawn.png"
    Image.fromarray(picture(0, 40, 52)).save(image)

    command = [sys.executable, "-I", "-c", ALONE, *map(str, (tmp_path, image, drawn))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    imported = set(json.loads(done.stdout))
    assert imported >= {"numpy", "PIL", "copied"}
    assert not imported & {"hrvit_deploy", "torch", "onnx", "onnxruntime", "msgspec"}
    pixels = decode_image(image.read_bytes(), "image")
    batch = prepare(pixels, (32, 32), "float32-nchw", mean=[1, 2, 3], std=[4, 5, 6], dtype="f4")
    labels = output_label_map(batch[0], "logits", (32, 32), (40, 52), 3)
    assert drawn.read_bytes() == encode_png(index_image(labels, [[9, 8, 7]] * 3))
    assert len(np.unique(np.asarray(Image.open(io.BytesIO(drawn.read_bytes()))))) > 1


def test_what_is_not_allowed_is_blocked(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "copied", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "copied" / "more.py").write_text("import msgspec\n")
    command = [sys.executable, "-I", "-c", ALONE, str(tmp_path), "", ""]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "msgspec is blocked" in done.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_it_is_written_in_the_oldest_python_it_meets(path: Path) -> None:
    """Triton's containers had Python 3.10 up to 24.10, and have 3.12 since."""
    ast.parse(path.read_text("utf-8"), path, feature_version=(3, 10))


@pytest.mark.parametrize("path", [*FOLDER.glob("*.py")], ids=lambda path: path.stem)
def test_it_imports_itself_relatively_and_two_packages_alone(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            # A package of another name holds it elsewhere, and nothing lies above it.
            assert node.level <= 1, ast.unparse(node)
            names = [] if node.level else [str(node.module)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        tops = {name.partition(".")[0] for name in names}
        assert tops <= ALLOWED | sys.stdlib_module_names, ast.unparse(node)
