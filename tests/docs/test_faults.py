"""The page on faults names functions and tests that are there, and threads by their number."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)(?::([\w.]+))?`", PAGE)))
LINKS = re.findall(r"\[([^\]]+)\]\((https://[^)]+)\)", PAGE)
THREAD = re.compile(r"([\w-]+/[\w.-]+)#(\d+)")


@cache
def names_in(path: Path) -> set[str]:
    """Functions and classes of a module, and methods as ``Class.method``."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = (inner for inner in node.body if isinstance(inner, ast.FunctionDef))
            names |= {f"{node.name}.{method.name}" for method in methods}
    return names


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_what_is_named_is_there(file: str, name: str) -> None:
    path = ROOT / (file if file.startswith("tests/") else f"hrvit_deploy/{file}")
    assert path.is_file()
    assert not name or name in names_in(path)


def test_every_row_names_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "`" in line]
    assert len(rows) > 70
    assert not [
        row for row in rows if "`tests/" not in row.rpartition("|")[0].rpartition("|")[2]
    ]


def test_threads_are_cited_by_repository_and_number() -> None:
    assert len({text for text, _ in LINKS}) == len(LINKS) >= 24
    for text, address in LINKS:
        thread = THREAD.fullmatch(text)
        assert thread is not None, text
        repository, number = thread.groups()
        kinds = {
            f"https://github.com/{repository}/{kind}/{number}" for kind in ("issues", "pull")
        }
        assert address in kinds
