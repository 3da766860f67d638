"""Images of every kind are answered; broken ones are named and passed over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import labelled
from support.fake_runners import CLASSES, fed, scores, side, whole

from hrvit_deploy.classes import class_set
from hrvit_deploy.errors import UsageError
from hrvit_deploy.inference.fit import Fit, FitOptions
from hrvit_deploy.inference.output_names import name_outputs
from hrvit_deploy.inference.predict import Predictions, PredictOptions, predict
from hrvit_deploy.inference.prepared_runner import PreparedRunner
from hrvit_deploy.options import Task
from hrvit_deploy.progress import SilentProgress

NAMES = class_set(["wall", "sky", "tree", "road", "door"])


def predicted(
    out: Path,
    *given: Path,
    asked: PreparedRunner | None = None,
    task: Task = Task.SEGMENT,
    **options: Any,
) -> Predictions:
    pictures = name_outputs(given, out)
    return predict(
        asked or side(),
        task,
        NAMES,
        pictures,
        PredictOptions(out=out, **options),
        progress=SilentProgress(),
    )


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def picture() -> Image.Image:
    return Image.fromarray(labelled.picture(3, 40, 60))


@pytest.mark.parametrize("fit", list(Fit))
@pytest.mark.parametrize("size", [(1, 1), (7, 200), (200, 7), (32, 32), (123, 77)])
def test_any_size_and_aspect(tmp_path: Path, size: tuple[int, int], fit: Fit) -> None:
    image = labelled.save(tmp_path / "a.png", labelled.picture(0, *size))
    (made,) = predicted(tmp_path / "out", image, fit=FitOptions(fit)).made
    assert made.labels == tmp_path / "out" / "a-labels.png"
    assert made.overlay == tmp_path / "out" / "a-overlay.png"
    indices = np.asarray(Image.open(made.labels))
    assert indices.shape == size
    assert sum(made.shares.values()) == pytest.approx(1)
    assert list(made.shares.values()) == sorted(made.shares.values(), reverse=True)
    for name, share in made.shares.items():
        assert (indices == NAMES.names.index(name)).mean() == pytest.approx(share)
    drawn = Image.open(made.overlay)
    assert drawn.width >= size[1]
    assert drawn.height >= size[0]


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "I;16", "LA", "1"])
def test_every_kind_of_picture(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        wide = Image.fromarray(np.asarray(picture().convert("L")).astype(np.uint16) * 257)
        path = save(tmp_path / "a.png", wide)
    else:
        grey = picture().convert("L" if mode == "LA" else "RGB")
        path = save(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"), grey.convert(mode))
    found = predicted(tmp_path / "out", path)
    assert not found.failed
    assert sum(found.made[0].shares.values()) == pytest.approx(1)


def test_a_picture_is_shown_as_its_camera_was_held(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees clockwise
    upright = picture().transpose(Image.Transpose.ROTATE_270)
    turned = predicted(tmp_path / "t", save(tmp_path / "t.png", picture(), exif=exif)).made[0]
    straight = predicted(tmp_path / "s", save(tmp_path / "s.png", upright)).made[0]
    assert turned.labels is not None
    assert straight.labels is not None
    ours, theirs = (
        np.asarray(Image.open(turned.labels)),
        np.asarray(Image.open(straight.labels)),
    )
    assert ours.shape == (60, 40)
    np.testing.assert_array_equal(ours, theirs)


def test_broken_images_are_named_and_the_others_answered(tmp_path: Path) -> None:
    good = save(tmp_path / "good.png", picture())
    cut = tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[:200])
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    given = (cut, text, tmp_path / "nowhere.png", good)
    asked = side(batch=2)
    found = predicted(tmp_path / "out", *given, asked=asked)
    assert [failure.image for failure in found.failed] == list(given[:3])
    for failure in found.failed:
        assert str(failure.image) in failure.error.message
        assert failure.error.hint
    assert [made.image for made in found.made] == [good]
    assert len(fed(asked)) == 1
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_folder_is_mirrored(tmp_path: Path) -> None:
    for name in ("a.png", "deep/b.png"):
        labelled.save(tmp_path / "in" / name, labelled.picture(0, 32, 40))
    found = predicted(tmp_path / "out", tmp_path / "in")
    written = sorted(
        path.relative_to(tmp_path / "out").as_posix()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    )
    assert written == [
        "a-labels.png",
        "a-overlay.png",
        "deep/b-labels.png",
        "deep/b-overlay.png",
    ]
    assert len(found.made) == 2


def test_classifiers_name_the_five_likeliest(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", picture())
    out = tmp_path / "out"
    (made,) = predicted(out, path, asked=side(whole), task=Task.CLASSIFY).made
    shares = [one.probability for one in made.likeliest]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)
    assert {one.name for one in made.likeliest} == set(NAMES.names)
    assert all(NAMES.names[one.index] == one.name for one in made.likeliest)
    assert len(made.likeliest) == CLASSES
    assert not out.exists()


def test_nothing_is_left_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    path = save(tmp_path / "a.png", picture())
    monkeypatch.setattr("hrvit_deploy.inference.predict.index_image", stop)
    with pytest.raises(KeyboardInterrupt):
        predicted(tmp_path / "out", path)
    assert list((tmp_path / "out").iterdir()) == []


def test_scores_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", picture())
    (made,) = predicted(tmp_path, path, asked=side(lambda batch: scores(batch) * np.nan)).made
    assert made.shares == {"undecided": 1}


@pytest.mark.parametrize("alpha", [-0.1, 1.5, float("nan")])
def test_an_alpha_that_is_no_share_is_refused(alpha: float) -> None:
    with pytest.raises(UsageError, match="alpha"):
        PredictOptions(alpha=alpha)
