"""The site builds without a warning, holds every command and name, and loads nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import docs_commands
import docs_python
import pytest
from docs_commands import Command, Parameter

import hrvit_deploy

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "tests" / "service"
# A telephone, and a window on a desk.
WIDTHS = (400, 1280)


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = f"build --strict --config-file {config} --site-dir {site}"
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", *command.split()],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


class Page(HTMLParser):
    """Ids of a page, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids.add(found.get("id") or "")
        self.loaded += [found.get("src") or ""]
        if tag == "link" and found.get("rel") not in ("next", "prev", "canonical"):
            self.loaded.append(found.get("href") or "")


def test_every_command_has_a_page_with_an_anchor_for_each_option(site: Path) -> None:
    index = (site / "reference" / "commands" / "index.html").read_text(encoding="utf-8")
    commands = docs_commands.read_commands()
    assert {"export", "build-trt"} <= {command.name for command in commands}
    for command in commands:
        page = Page(site / "reference" / "commands" / command.name / "index.html")
        anchors = {held.anchor for held in (*command.arguments, *command.options)}
        assert anchors <= page.ids, command.name
        assert f'href="{command.name}/"' in index


def test_the_program_itself_has_its_options_described(site: Path) -> None:
    page = Page(site / "reference" / "commands" / "index.html")
    assert {"install-completion", "version"} <= page.ids


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    pages = [Page(path) for path in (site / "reference" / "python").rglob("index.html")]
    ids = set().union(*(page.ids for page in pages))
    public = [name for name in hrvit_deploy.__all__ if name != "__version__"]
    assert {f"hrvit_deploy.{name}" for name in public} <= ids


def test_roles_of_docstrings_become_links(site: Path) -> None:
    page = site / "reference" / "python" / "functions" / "index.html"
    text = page.read_text(encoding="utf-8")
    assert not re.search(r":(class|func|meth|mod):", text)
    assert '<a class="autorefs autorefs-internal" ' in text


def test_a_choice_shows_its_values() -> None:
    (precision,) = (name for name in docs_python.read_names() if name.name == "Precision")
    assert ("FP16", "'fp16'") in precision.values
    assert "| `FP16` | `'fp16'` |" in docs_python.page_of("choices")


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for path in pages:
        loaded = Page(path).loaded
        assert any(link.endswith(".css") for link in loaded)
        assert not [link for link in loaded if link.startswith(("http:", "https:", "//"))], path
        # Material would load this from a network.
        assert 'class="mermaid"' not in path.read_text(encoding="utf-8")
    for path in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import\s+)[\"']?https?:", path.read_text("utf-8")), path


def test_options_are_found_by_searching(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert any("--triton-backend" in document["text"] for document in index["docs"])


def test_what_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    linked = "CONTRIBUTING.md benchmarks cpp examples hrvit_deploy tests tools"
    for entry in linked.split():
        (tmp_path / entry).symlink_to(ROOT / entry)
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    with (tmp_path / "docs" / "index.md").open("a", encoding="utf-8") as page:
        page.write("\n[page](nothing.md) [anchor](tutorial.md#nothing)")
        page.write(" [file](../benchmarks/nothing.py) `hrvit-deploy nothing`\n")
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode == 1
    assert "a link 'nothing.md', but the target is not found" in done.stderr
    assert "does not contain an anchor '#nothing'" in done.stderr
    assert "index.md links to benchmarks/nothing.py, which is not in the" in done.stderr
    assert "index.md names hrvit-deploy nothing, and there is no such command" in done.stderr
    assert "Aborted with 4 warnings" in done.stdout


def command(name: str, panel: str) -> Command:
    option = Parameter("size", "", "--size <str>", "A *b* [c].", "default: 1", required=True)
    return Command(name, panel, f"hrvit-deploy {name}", f"Do {name}.\n\nMore.", (), (option,))


def test_commands_are_listed_by_panel() -> None:
    commands = (command("one", "Make"), command("two", "Use"), command("three", "Make"))
    lines = docs_commands.table_of_commands(commands, linked=True).splitlines()
    assert lines[2:] == [
        "| Make | [`one`](one.md) | Do one. |",
        "|  | [`three`](three.md) | Do three. |",
        "| Use | [`two`](two.md) | Do two. |",
    ]
    alone = docs_commands.table_of_commands((command("one", ""),), linked=False)
    assert alone.splitlines()[-1] == "| `one` | Do one. |"


def test_help_is_shown_as_it_is() -> None:
    page = docs_commands.command_page(command("one", ""))
    assert "[`--size <str>`](#size){ #size }" in page
    assert r":   A \*b\* \[c\]. *(required; default: 1)*" in page


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_is_wider_than_its_window(
    site: Path, address: str, width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(SERVICE)
    from support.browser import chromium

    driver = chromium(tmp_path, width)
    try:
        for path in sorted(site.rglob("index.html")):
            driver.get(f"{address}/{path.relative_to(site)}")
            found = driver.execute_script("return document.documentElement.scrollWidth")
            assert found == width, path
        messages = [entry["message"] for entry in driver.get_log("browser")]
        assert not messages
    finally:
        driver.quit()
