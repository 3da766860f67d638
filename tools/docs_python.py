"""Write the pages of the Python interface, from the public names and their docstrings.

Which names there are, and what kind each is, is read from the package's sources; mkdocstrings
fills in signatures and docstrings when the site is built.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import griffe
from docs_roles import Roles

PACKAGE = "hrvit_deploy"
ROOT = Path(__file__).parents[1]
# Name of the page to its title, in the order of the site.
PAGES = {
    "functions": "Functions",
    "options": "Options",
    "choices": "Choices",
    "types": "Types and constants",
}


@dataclass(frozen=True)
class Name:
    """A public name.

    Attributes:
        name: As in ``from hrvit_deploy import NAME``.
        page: A key of ``PAGES``.
        summary: The first line of its docstring; empty for a constant without one.
        values: Of a choice, each member and its value, such as ``FP16`` and ``"fp16"``.
    """

    name: str
    page: str
    summary: str
    values: tuple[tuple[str, str], ...]


@cache
def read_names() -> tuple[Name, ...]:
    """Return every public name but the version's, sorted as ``__all__`` is."""
    extensions = griffe.load_extensions(Roles)
    package = griffe.load(PACKAGE, search_paths=[ROOT], extensions=extensions)
    exported = [str(name) for name in package.exports or ()]
    names = []
    for name in exported:
        if not name.startswith("__"):
            target = package[name].final_target
            page = _page_of(target)
            values = tuple(_values_of(target)) if page == "choices" else ()
            names.append(Name(name, page, _summary_of(target), values))
    return tuple(names)


def by_page() -> dict[str, list[Name]]:
    """Return the names of each page that has any."""
    pages = {page: [name for name in read_names() if name.page == page] for page in PAGES}
    return {page: names for page, names in pages.items() if names}


def page_of(key: str) -> str:
    """Return a page that mkdocstrings fills in."""
    # Options are made by whoever calls, with defaults that the signature shows.
    options = "\n    options:\n      merge_init_into_class: true" if key == "options" else ""
    parts = [f"# {PAGES[key]}"]
    for name in by_page()[key]:
        parts.append(f"::: {PACKAGE}.{name.name}{options}")
        if name.values:
            lines = ["| member | value |", "|---|---|"]
            lines += [f"| `{member}` | `{value}` |" for member, value in name.values]
            parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def tables_of_names() -> str:
    """Return a Markdown table for each page, of its names with their summaries."""
    parts = []
    for key, names in by_page().items():
        lines = [f"## {PAGES[key]}", "", "| name | what it is |", "|---|---|"]
        for name in names:
            link = f"[`{name.name}`]({key}.md#{PACKAGE}.{name.name})"
            lines.append(f"| {link} | {name.summary} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _page_of(target: griffe.Object) -> str:
    if isinstance(target, griffe.Function):
        return "functions"
    if isinstance(target, griffe.Class):
        if any("Enum" in str(base) for base in target.bases):
            return "choices"
        return "options" if target.name.endswith("Options") else "types"
    return "types"


def _values_of(choice: griffe.Object) -> Iterator[tuple[str, str]]:
    for member in choice.members.values():
        if isinstance(member, griffe.Attribute) and member.name.isupper():
            yield member.name, str(member.value)


def _summary_of(target: griffe.Object) -> str:
    docstring = target.docstring
    first = docstring.value.partition("\n\n")[0] if docstring else ""
    return " ".join(first.split()).replace("``", "`").replace("|", "\\|")
