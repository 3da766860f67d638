"""What needs a GPU skips with the reason, or fails with it under ``--require-gpu``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.command_line import TINY, Run, call

from hrvit_deploy.bindings import cuda_

# Fixtures that several folders share.
pytest_plugins = ["support.tensorrt_releases"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-gpu",
        action="store_true",
        help="fail the tests that need a GPU where there is none, instead of skipping them",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests go first, so that none runs alone at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is None:
        return
    survey = cuda_.survey()
    if survey.gpu is not None:
        return
    if item.config.getoption("--require-gpu"):
        pytest.fail(f"needs a GPU: {survey.reason}; {survey.hint}", pytrace=False)
    pytest.skip(f"needs a GPU: {survey.reason}")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which commands run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call it to run a command in the folder."""
    return lambda *arguments: call(capsys, *arguments)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny segmenter's graph in ``export/``; copy it before changing it."""
    from hrvit_deploy.image_source import ImageSource
    from hrvit_deploy.model.variants import NetworkSpec, load_variant
    from hrvit_deploy.options import ExportOptions, ImageSize, Task
    from hrvit_deploy.pipeline import stages
    from hrvit_deploy.progress import SilentProgress

    folder = tmp_path_factory.mktemp("exported")
    trained = stages.load(
        NetworkSpec(load_variant(str(TINY)), Task.SEGMENT, num_classes=5), SilentProgress()
    )
    stages.export(
        trained,
        ExportOptions(ImageSize(64, 96)),
        folder / "export",
        ImageSource(limit=2),
        SilentProgress(),
    )
    return folder


@pytest.fixture
def graph(exported: Path, folder: Path) -> Path:
    """That graph, copied to the folder's ``export/``."""
    shutil.copytree(exported / "export", folder / "export")
    (path,) = (folder / "export").glob("*.onnx")
    return path.relative_to(folder)
