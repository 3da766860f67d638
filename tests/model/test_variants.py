"""Variants come from a table or a file, and what cannot be built is refused at once."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.networks import CLASSES, TINY, TINY_FILE, answer

from hrvit_deploy.errors import InputError, UsageError
from hrvit_deploy.model.network import build_network
from hrvit_deploy.model.variants import VARIANTS, Variant, factorize, load_variant
from hrvit_deploy.options import Task

FIELDS: dict[str, Any] = tomllib.loads(TINY_FILE.read_text())


def variant(**changes: Any) -> Variant:
    """The tiny variant with other numbers."""
    fields: dict[str, Any] = {
        name: tuple(tuple(v) if isinstance(v, list) else v for v in value)
        if isinstance(value, list)
        else value
        for name, value in {**FIELDS, **changes}.items()
    }
    return Variant(**fields)


def write(folder: Path, suffix: str = ".json", **changes: Any) -> str:
    """A variant file, in JSON unless the text says otherwise."""
    path = folder / f"variant{suffix}"
    path.write_text(json.dumps({**FIELDS, **changes}))
    return str(path)


def assert_one_line(error: InputError | UsageError) -> None:
    assert error.hint
    assert len(error.message.splitlines()) == 1
    assert len(error.hint.splitlines()) == 1


@pytest.mark.parametrize("name", ["b1", "b2", "b3"])
def test_names_of_the_table_load(name: str) -> None:
    assert load_variant(name) is VARIANTS[name]
    assert VARIANTS[name].name == name


def test_a_toml_file_loads() -> None:
    assert variant() == TINY
    assert TINY.widths == (8, 16, 32, 48)


def test_a_json_file_loads_as_the_same(tmp_path: Path) -> None:
    assert load_variant(write(tmp_path)) == TINY


def test_optional_fields_have_the_published_values(tmp_path: Path) -> None:
    path = tmp_path / "short.json"
    optional = ("stem_width", "classifier_widths", "classifier_features")
    path.write_text(json.dumps({k: v for k, v in FIELDS.items() if k not in optional}))
    loaded = load_variant(str(path))
    assert (loaded.stem_width, loaded.classifier_features) == (64, 2048)
    assert loaded.classifier_widths == (32, 64, 128, 256)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        load_variant("b4")
    assert caught.value.message == "unknown variant 'b4'; there are b1, b2, b3"
    assert ".toml" in caught.value.hint


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InputError) as caught:
        load_variant("nowhere/mine.toml")
    assert caught.value.message == (
        "cannot read the variant file nowhere/mine.toml: No such file or directory"
    )


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".toml", b"widths = ["),
        (".json", b"{"),
        (".json", b"[1, 2]"),
        (".json", b"3"),
        (".toml", b"\xff\xfe"),
        (".json", b"\xff\xfe"),
        (".toml", b""),
        (".json", b""),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_variant(str(path))
    assert caught.value.message.startswith(f"{path} does not describe a variant: ")
    assert "widths" in caught.value.hint
    assert_one_line(caught.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"widths": [8, 16, 32]}, "length 4"),
        ({"widths": [8, 16, 32, "48"]}, "$.widths[3]"),
        ({"head_dim": 8.5}, "$.head_dim"),
        ({"name": 3}, "$.name"),
    ],
)
def test_a_field_of_another_type_is_named(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InputError) as caught:
        load_variant(write(tmp_path, **changes))
    assert expected in caught.value.message


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({k: v for k, v in FIELDS.items() if k != "windows"}))
    with pytest.raises(InputError) as caught:
        load_variant(str(path))
    assert "`windows`" in caught.value.message


def test_a_misspelt_field_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_variant(write(tmp_path, stem_widht=32))
    assert "has a field that no variant has: stem_widht" in caught.value.message
    assert "stem_width" in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"blocks": [[1], [1, 1]]}, "blocks has (1, 2) entries per module"),
        ({"blocks": [[1], [1], [1, 1, 1], [1, 1, 1], [1] * 4, [1] * 4]}, "(1, 1, 3, 3, 4, 4)"),
        ({"blocks": [[0], [1, 1], [1] * 3, [1] * 3, [1] * 4, [1] * 4]}, "below 1"),
        ({"windows": [1, 2, 0, 3]}, "below 1"),
        ({"widths": [8, 16, 32, -48]}, "below 1"),
        ({"stem_width": 1}, "below 1"),
        ({"classifier_widths": [8, 8, 0, 8]}, "below 1"),
        ({"widths": [8, 16, 32, 36], "head_dim": 3}, "width 8 does not split"),
        ({"widths": [8, 16, 32, 56]}, "width 56 does not split"),
        ({"widths": [8, 16, 32, 50]}, "DES folds width 50 into columns of 8"),
        ({"widths": [9, 16, 32, 48]}, "DES folds width 9 into columns of 4"),
        ({"name": "../tiny"}, "'../tiny' cannot name a variant"),
        ({"name": ""}, "'' cannot name a variant"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UsageError) as made:
        variant(**changes)
    with pytest.raises(UsageError) as read:
        load_variant(write(tmp_path, **changes))
    assert expected in made.value.message
    assert made.value.message == read.value.message
    assert_one_line(made.value)


def test_a_width_that_does_not_fold_comes_with_two_that_do() -> None:
    with pytest.raises(UsageError) as caught:
        variant(widths=(8, 16, 32, 50))
    assert caught.value.hint == "take 48 or 56"


def test_variants_are_frozen() -> None:
    with pytest.raises(AttributeError):
        TINY.head_dim = 4  # type: ignore[misc]


@given(st.integers(1, 4096))
def test_folds_are_nearly_square_with_a_power_of_two(channels: int) -> None:
    rows, columns = factorize(channels)
    assert columns.bit_count() == 1
    assert rows == channels // columns
    assert rows < 2 * columns
    assert columns <= 2 * rows


counts = st.integers(-1, 40)


@given(
    widths=st.tuples(*[st.integers(-2, 64)] * 4),
    head_dim=counts,
    windows=st.tuples(*[counts] * 4),
)
def test_any_numbers_make_a_network_or_one_line(
    widths: tuple[int, ...], head_dim: int, windows: tuple[int, ...]
) -> None:
    try:
        made = variant(widths=widths, head_dim=head_dim, windows=windows)
    except UsageError as error:
        assert_one_line(error)
        return
    for width in made.widths:
        half = width // 2
        assert half < made.head_dim or half % made.head_dim == 0
        assert factorize(width)[0] * factorize(width)[1] == width


def test_a_user_can_add_a_variant() -> None:
    own = variant(name="own", widths=(4, 16, 48, 96), head_dim=4, windows=(2, 1, 5, 2))
    network = build_network(own, Task.CLASSIFY, CLASSES)
    assert answer(network, torch.zeros(1, 3, 64, 32)).shape == (1, CLASSES)
