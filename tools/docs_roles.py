"""Turn the roles of docstrings, such as ``:func:`load```, into links or code for the site.

mkdocstrings loads this as an extension of griffe, which reads the package's sources.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import griffe

_ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):`~?(?P<target>[^`]+)`")


class Roles(griffe.Extension):
    """Write each role as a link where a public name is meant, else as code."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Rewrite every docstring of a package that has been read."""
        public = {
            alias.target_path: name
            for name, alias in pkg.members.items()
            if isinstance(alias, griffe.Alias)
        }
        for thing in _objects(pkg):
            if thing.docstring is not None:
                thing.docstring.value = _written(thing, pkg, public)


def _written(thing: griffe.Object, package: griffe.Module, public: dict[str, str]) -> str:
    def written(match: re.Match[str]) -> str:
        target = match["target"]
        for path in (target, f"{thing.module.path}.{target}"):
            if path in public:
                name = public[path]
                return f"[`{name}`][{package.path}.{name}]"
        return f"`{target}`"

    assert thing.docstring is not None
    return _ROLE.sub(written, thing.docstring.value)


def _objects(thing: griffe.Object) -> Iterator[griffe.Object]:
    """Yield an object and all that it holds, without what it imports."""
    yield thing
    for member in thing.members.values():
        if isinstance(member, griffe.Object):
            yield from _objects(member)
