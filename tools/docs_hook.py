"""Build the site: MkDocs calls the functions below, as mkdocs.yml says.

- The reference of commands and of the Python interface is added as pages that lie nowhere on
  disk, and put into the navigation.
- ``hrvit-deploy COMMAND`` in running text becomes a link to that command's page.
- Documents also link to files outside of docs/, for those who read them in the repository. On
  the site, pictures among them are copied, and of other links the text alone is kept. A link
  to a file that is not there is warned of, which ``--strict`` makes an error.
"""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docs_commands
import docs_python
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

log = logging.getLogger(f"mkdocs.hooks.{__name__}")

COMMANDS = "reference/commands"
PYTHON = "reference/python"
# Where pictures from outside of docs/ go on the site.
COPIED = "assets/repository"
PICTURES = {".png", ".svg", ".jpg"}
# What the index pages hold where their tables belong.
TABLES: dict[str, Callable[[], str]] = {
    "<!-- table of commands -->": lambda: docs_commands.table_of_commands(
        docs_commands.read_commands(), linked=True
    ),
    "<!-- options of the program -->": lambda: docs_commands.command_page(
        docs_commands.read_program()
    ).partition("## Options\n")[2],
    "<!-- tables of names -->": docs_python.tables_of_names,
}
_LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_FENCE = re.compile(r"^(?:```|~~~).*?^(?:```|~~~)\s*$", re.DOTALL | re.MULTILINE)
# Short enough for a line of a telephone; options would break behind their dashes.
_SHORT = re.compile(r"<code>([^<\n]{1,24})</code>")
_CALL = re.compile(r"(?<!\[)`hrvit-deploy (?P<name>[a-z][a-z-]*)(?P<rest>[^`\n]*)`(?!\])")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages below the places that mkdocs.yml names for them."""
    for section in config.nav or ():
        for entries in section.values():
            for entry in entries if isinstance(entries, list) else ():
                if isinstance(entry, dict):
                    _expand(entry)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and the pictures that documents show from elsewhere."""
    for uri, content in _generated():
        files.append(File.generated(config, uri, content=content))
    root = _root(config)
    for file in list(files.documentation_pages()):
        for link in _outside(file.content_string, file.src_uri, config):
            path = root / link
            uri = f"{COPIED}/{link}"
            if path.suffix in PICTURES and path.is_file() and uri not in files.src_uris:
                files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Return a page's text with its tables, and with links that hold on the site."""
    for mark, table in TABLES.items():
        if mark in markdown:
            markdown = markdown.replace(mark, table())
    here = page.file.src_uri
    linked = _outside_of_fences(markdown, lambda text: _relink(text, here, config))
    if here.startswith(COMMANDS):
        return linked
    return _outside_of_fences(linked, lambda text: _link_commands(text, here))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Mark short code in running text, which style sheets then keep on one line."""
    return _SHORT.sub(r'<code class="short">\1</code>', html)


def _expand(entry: dict[str, Any]) -> None:
    for title, target in entry.items():
        if target == f"{COMMANDS}/index.md":
            entry[title] = [target, *_command_nav()]
        elif target == f"{PYTHON}/index.md":
            names = docs_python.by_page()
            pages = [{docs_python.PAGES[key]: f"{PYTHON}/{key}.md"} for key in names]
            entry[title] = [target, *pages]


def _command_nav() -> Iterator[Any]:
    panels = docs_commands.by_panel(docs_commands.read_commands())
    for panel, commands in panels.items():
        pages = [{command.name: f"{COMMANDS}/{command.name}.md"} for command in commands]
        if panel == docs_commands.NO_PANEL:
            yield from pages
        else:
            yield {panel: pages}


def _generated() -> Iterator[tuple[str, str]]:
    for command in docs_commands.read_commands():
        yield f"{COMMANDS}/{command.name}.md", docs_commands.command_page(command)
    for key in docs_python.by_page():
        yield f"{PYTHON}/{key}.md", docs_python.page_of(key)


def _root(config: MkDocsConfig) -> Path:
    return Path(config.docs_dir).parent


def _outside(text: str, here: str, config: MkDocsConfig) -> Iterator[str]:
    """Yield every link's target outside of docs/, as a path in the repository."""
    for match in _LINK.finditer(_FENCE.sub("", text)):
        target = _in_repository(match["target"], here, config)
        if target is not None:
            yield target


def _in_repository(target: str, here: str, config: MkDocsConfig) -> str | None:
    """Return where a link leads in the repository; None if it stays in docs/ or is no path."""
    if ":" in target or target.startswith("#"):
        return None
    docs = Path(config.docs_dir).name
    path = posixpath.normpath(
        posixpath.join(docs, posixpath.dirname(here), target.partition("#")[0])
    )
    return None if path == docs or path.startswith(f"{docs}/") else path


def _relink(text: str, here: str, config: MkDocsConfig) -> str:
    def relinked(match: re.Match[str]) -> str:
        target = _in_repository(match["target"], here, config)
        if target is None:
            return match[0]
        if not (_root(config) / target).exists():
            log.warning("%s links to %s, which is not in the repository", here, target)
        if match["picture"]:
            copied = posixpath.relpath(f"{COPIED}/{target}", posixpath.dirname(here) or ".")
            return f"![{match['text']}]({copied})"
        return match["text"]

    return _LINK.sub(relinked, text)


def _link_commands(text: str, here: str) -> str:
    names = {command.name for command in docs_commands.read_commands()}

    def linked(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in names:
            log.warning("%s names hrvit-deploy %s, and there is no such command", here, name)
            return match[0]
        page = posixpath.relpath(f"{COMMANDS}/{name}.md", posixpath.dirname(here) or ".")
        return f"[{match[0]}]({page})"

    return _CALL.sub(linked, text)


def _outside_of_fences(text: str, change: Callable[[str], str]) -> str:
    """Return the text with everything but its fenced code changed."""
    parts, end = [], 0
    for fence in _FENCE.finditer(text):
        parts += [change(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(text[end:])])
