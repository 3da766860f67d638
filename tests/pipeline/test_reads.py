"""A command hashes an artefact's file once, however often it opens a runner."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from support.command_line import Run
from support.labelled import ade20k, picture, save

from hrvit_deploy import artefact
from hrvit_deploy.measure.latency.worker import candidate_of, open_message
from hrvit_deploy.runners.spec import RunnerSpec


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was hashed, by name."""
    counts: Counter[str] = Counter()
    hash_file = artefact.sha256_of

    def counting(path: Path) -> str:
        counts[path.name] += 1
        return hash_file(path)

    monkeypatch.setattr(artefact, "sha256_of", counting)
    return counts


@pytest.mark.parametrize("newest", [False, True])
def test_evaluate_hashes_a_graph_once(
    run: Run, graph: Path, folder: Path, hashed: Counter[str], newest: bool
) -> None:
    data = ade20k(folder / "data")
    named = () if newest else (str(graph),)
    ran = run("evaluate", *named, "--data", str(data), "--json")
    assert ran.code == 0, ran.err
    assert hashed == {graph.name: 1}


def test_predict_hashes_a_graph_once(
    run: Run, graph: Path, folder: Path, hashed: Counter[str]
) -> None:
    image = save(folder / "images" / "a.png", picture(1, 40, 50))
    assert run("predict", str(graph), str(image)).code == 0
    assert hashed == {graph.name: 1}


@pytest.mark.parametrize("newest", [False, True])
def test_compare_hashes_a_graph_once(
    run: Run, graph: Path, folder: Path, hashed: Counter[str], newest: bool
) -> None:
    data = ade20k(folder / "data")
    named = () if newest else (str(graph),)
    fast = ("--rounds", "1", "--runs", "1")
    ran = run("compare", *named, "--data", str(data), "--json", *fast)
    assert ran.code == 0, ran.err
    assert hashed == {graph.name: 1}


def test_the_process_that_times_a_graph_hashes_nothing(
    graph: Path, hashed: Counter[str]
) -> None:
    candidate = candidate_of(RunnerSpec(artefact.open_artefact(graph)))
    hashed.clear()
    runner, _ = open_message(candidate.message)
    runner.close()
    assert not hashed
