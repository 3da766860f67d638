"""No two images share the name of a file."""

from __future__ import annotations

from hrvit_deploy.standalone.names import printable, unused_name


def test_a_name_in_use_gets_a_number() -> None:
    used: set[str] = set()
    names = [unused_name(name, used) for name in ("a", "b", "a", "A", "a-2", "a")]
    assert names == ["a", "b", "a-2", "A-3", "a-2-2", "a-4"]
    assert len({name.casefold() for name in names}) == len(names)


def test_controls_are_escaped_and_other_text_is_not() -> None:
    assert printable("a\x1b[31m\n\x7f\x9b\u202eb\u2066") == (
        r"a\x1b[31m\x0a\x7f\x9b\u202eb\u2066"
    )
    assert printable("straße 背景 – πεζός\u2027\u2070") == "straße 背景 – πεζός\u2027\u2070"
