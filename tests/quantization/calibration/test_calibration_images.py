"""Images from folders, lists and arrays, one at a time, and noise if asked for."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from support.graph_making import floats
from support.measured_graphs import SIZE, pixels, save_images

from hrvit_deploy.artefact import Preparation
from hrvit_deploy.errors import InputError
from hrvit_deploy.images import spaced
from hrvit_deploy.options import CalibrationOptions
from hrvit_deploy.quantization.calibration.images import PictureSet, open_pictures

PREPARATION = Preparation(SIZE)
ALL = CalibrationOptions()


def opened(place: Path | None, options: CalibrationOptions = ALL) -> PictureSet:
    return open_pictures(place, options, PREPARATION)


def values(pictures: PictureSet) -> list[np.ndarray]:
    return [picture.values for picture in pictures]


def test_a_folder_and_a_list_of_it_are_the_same_images(tmp_path: Path) -> None:
    images = pixels(5)
    folder = save_images(tmp_path / "pictures", images)
    listed = tmp_path / "list.txt"
    # Another order, a comment and an empty line.
    names = [f"pictures/{index:03}.png" for index in (4, 2, 0, 1, 3)]
    listed.write_text("# mine\n\n" + "\n".join(names) + "\n")

    whole, chosen = opened(folder), opened(listed)

    assert whole.count == chosen.count == 5
    assert whole.sha256 == chosen.sha256
    np.testing.assert_array_equal(values(whole), images)
    np.testing.assert_array_equal(values(chosen), images[[4, 2, 0, 1, 3]])


def test_the_hash_tells_contents_apart_and_nothing_else(tmp_path: Path) -> None:
    folder = save_images(tmp_path / "pictures", pixels(3))
    before = opened(folder).sha256

    (folder / "001.png").rename(folder / "zzz.png")
    assert opened(folder).sha256 == before

    save_images(folder, pixels(1, seed=9))
    assert opened(folder).sha256 != before


def test_arrays_of_every_layout_are_images(tmp_path: Path) -> None:
    images = pixels(4)
    together, apart, packed = (tmp_path / f"{name}.npz" for name in ("n", "each", "packed"))
    np.savez(together, images)
    np.savez(apart, *images)
    np.savez_compressed(packed, images)

    for path in (together, apart, packed):
        assert opened(path).count == 4
        np.testing.assert_array_equal(values(opened(path)), images)
        assert opened(path).sha256 == opened(together).sha256


def test_prepared_floats_are_read_as_they_are(tmp_path: Path) -> None:
    arrays = floats(3, 3, *SIZE)
    path = tmp_path / "floats.npz"
    np.savez(path, arrays)

    found = values(opened(path))

    np.testing.assert_array_equal(found, arrays)
    assert found[0].dtype == np.float32


def test_samples_are_spread_evenly(tmp_path: Path) -> None:
    images = pixels(10)
    folder = save_images(tmp_path / "pictures", images)
    path = tmp_path / "all.npz"
    np.savez(path, images)

    for place in (folder, path):
        some = opened(place, CalibrationOptions(samples=4))
        assert some.count == 4
        np.testing.assert_array_equal(values(some), images[[0, 2, 5, 7]])

    assert spaced([1, 2, 3], 3) == spaced([1, 2, 3], 99) == [1, 2, 3]
    assert spaced(list(range(100)), 1) == [0]


def test_noise_is_drawn_only_when_asked_for_and_always_the_same() -> None:
    noise = CalibrationOptions(samples=3, random_data=True)

    first, second = opened(None, noise), opened(None, noise)

    assert first.count == 3
    assert first.sha256 == second.sha256
    drawn = np.stack(values(first))
    assert drawn.shape == (3, *SIZE, 3)
    assert drawn.dtype == np.uint8
    assert 120 < drawn.mean() < 135
    assert not np.array_equal(drawn[0], drawn[1])
    assert opened(None, CalibrationOptions(random_data=True)).count == 32


def test_one_large_array_is_never_held_whole(tmp_path: Path) -> None:
    images = np.zeros((200, 64, 64, 3), np.uint8)
    path = tmp_path / "all.npz"
    np.savez_compressed(path, images)
    pictures = opened(path)
    tracemalloc.start()
    try:
        assert sum(1 for _ in pictures) == 200
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < images.nbytes / 10


def test_without_images_the_place_for_them_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no folder calib/images") as caught:
        opened(None)
    assert "into calib/images/" in caught.value.hint

    Path("calib/images").mkdir(parents=True)
    with pytest.raises(InputError, match="no image in calib/images") as caught:
        opened(None)
    assert "into calib/images/" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "contents", "problem"),
    [
        ("list.txt", b"gone.png\n", "line 1: there is no"),
        ("list.txt", b"# nothing\n", "names no image"),
        ("list.txt", b"\xff\xfe\x00", "not a list"),
        ("some.npz", b"nothing", "not an .npz"),
        ("some.npz", None, "there is no"),
    ],
)
def test_what_holds_no_images_is_refused(
    tmp_path: Path, name: str, contents: bytes | None, problem: str
) -> None:
    path = tmp_path / name
    if contents is not None:
        path.write_bytes(contents)

    with pytest.raises(InputError, match=problem) as caught:
        opened(path)

    assert caught.value.hint


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 3, 8, 8), np.uint8),
        np.zeros((8, 8), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
        np.zeros((2, 8, 8, 3), np.int64),
        np.zeros((2, 8, 8, 4), np.uint8),
        np.array(["a.png"]),
        np.array([{}], object),
        np.asfortranarray(np.zeros((2, 8, 8, 3), np.uint8)),
    ],
    ids=str,
)
def test_arrays_that_are_no_images_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    path = tmp_path / "some.npz"
    np.savez(path, mine=array)

    with pytest.raises(InputError, match=r"mine\.npy") as caught:
        opened(path)

    assert caught.value.hint


def test_a_file_that_ends_early_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.npz"
    np.savez(path, pixels(4))
    whole = path.read_bytes()
    # The header of the array claims one image more.
    path.write_bytes(whole.replace(b"(4, 32, 32, 3)", b"(5, 32, 32, 3)"))

    with pytest.raises(InputError, match=r"arr_0\.npy"):
        values(opened(path))
