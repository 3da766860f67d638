"""No two images share the name of a file."""

from __future__ import annotations

from hrvit_deploy.standalone.names import unused_name


def test_a_name_in_use_gets_a_number() -> None:
    used: set[str] = set()
    names = [unused_name(name, used) for name in ("a", "b", "a", "A", "a-2", "a")]
    assert names == ["a", "b", "a-2", "A-3", "a-2-2", "a-4"]
    assert len({name.casefold() for name in names}) == len(names)
