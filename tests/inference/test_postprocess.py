"""Pictures of any size are decided as mmsegmentation decides them, in PyTorch here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.fake_runners import (
    CLASSES,
    PLAIN,
    SIZE,
    class_map,
    fed,
    quarter,
    scores,
    side,
    whole,
)
from torch import Tensor
from torch.nn import functional as F

from hrvit_deploy.errors import UsageError
from hrvit_deploy.images import NamedImage, prepare
from hrvit_deploy.inference.fit import Fit, FitOptions, parse_scales, parse_stride
from hrvit_deploy.inference.postprocess import label_maps, probabilities
from hrvit_deploy.inference.prepared_runner import PreparedRunner
from hrvit_deploy.inference.score_maps import fill_up, window_starts
from hrvit_deploy.options import ImageSize, OutputFormat, Task
from hrvit_deploy.standalone import postprocess
from hrvit_deploy.standalone.preprocess import resize

SLIDE = FitOptions(Fit.SLIDE)


def picture(height: int, width: int, seed: int = 0) -> NamedImage:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return NamedImage(f"{seed}.png", pixels)


def decided(asked: PreparedRunner, image: NamedImage, fit: FitOptions, size: Any = None) -> Any:
    target = ImageSize(*(size or image.pixels.shape[:2]))
    (labels,) = label_maps(asked, [image], [target], fit, CLASSES)
    assert labels.shape == target
    return labels


def enlarged(maps: Tensor, size: Any) -> Tensor:
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def asked_of(pixels: Any) -> Tensor:
    """The scores of pixels of the network's own size."""
    assert pixels.shape[:2] == tuple(SIZE)
    return torch.from_numpy(scores(prepare(pixels, PLAIN)))


def slid(pixels: Any, stride: tuple[int, int]) -> Tensor:
    """Mean scores of windows; the reference, written for a small picture."""
    height, width = pixels.shape[:2]
    padded = fill_up(pixels, SIZE, PLAIN)
    full = padded.shape[:2]
    total, count = torch.zeros(1, CLASSES, *full), torch.zeros(1, 1, *full)
    rows = -(-max(full[0] - SIZE.height, 0) // stride[0]) + 1
    columns = -(-max(full[1] - SIZE.width, 0) // stride[1]) + 1
    for row in range(rows):
        for column in range(columns):
            bottom = min(row * stride[0] + SIZE.height, full[0])
            right = min(column * stride[1] + SIZE.width, full[1])
            place = (slice(bottom - SIZE.height, bottom), slice(right - SIZE.width, right))
            total[:, :, *place] += asked_of(padded[place])
            count[:, :, *place] += 1
    return (total / count)[:, :, :height, :width]


def winners(maps: Tensor) -> Any:
    return maps.argmax(dim=1)[0].numpy()


def assert_same(ours: Any, theirs: Any) -> None:
    # Ties within a rounding may fall either way.
    assert (ours != theirs).mean() < 1e-3
    assert len(np.unique(theirs)) > 1


@pytest.mark.parametrize("size", [(32, 32), (40, 56), (17, 23), (100, 64)])
def test_stretched_scores_return_to_the_picture(size: tuple[int, int]) -> None:
    image = picture(*size)
    theirs = enlarged(asked_of(resize(image.pixels, SIZE)), size)
    assert_same(decided(side(), image, FitOptions()), winners(theirs))


def test_scores_go_to_the_size_of_the_labels() -> None:
    image = picture(40, 60)
    theirs = enlarged(asked_of(resize(image.pixels, SIZE)), (80, 120))
    assert_same(decided(side(), image, FitOptions(), (80, 120)), winners(theirs))


@pytest.mark.parametrize(
    ("size", "inner"), [((64, 48), (32, 24)), ((16, 32), (16, 32)), ((20, 100), (6, 32))]
)
def test_padding_keeps_the_aspect_and_is_cropped_off(
    size: tuple[int, int], inner: tuple[int, int]
) -> None:
    image, asked = picture(*size), side()
    labels = decided(asked, image, FitOptions(Fit.PAD))
    (seen,) = fed(asked)
    height, width = inner
    # The mean colour is next to nothing once normalised.
    assert np.abs(seen[:, :, height:]).max(initial=0) < 0.01
    assert np.abs(seen[:, :, :, width:]).max(initial=0) < 0.01
    small = resize(image.pixels, ImageSize(*inner))
    maps = asked_of(fill_up(small, SIZE, PLAIN))[:, :, :height, :width]
    assert_same(labels, winners(enlarged(maps, size)))


@pytest.mark.parametrize("size", [(32, 32), (40, 56), (20, 90), (90, 20), (100, 101)])
@pytest.mark.parametrize("stride", [None, (32, 32), (7, 13)])
def test_windows_are_averaged(size: tuple[int, int], stride: tuple[int, int] | None) -> None:
    image = picture(*size)
    fit = FitOptions(Fit.SLIDE, ImageSize(*stride) if stride else None)
    assert_same(decided(side(), image, fit), winners(slid(image.pixels, stride or (24, 24))))


@pytest.mark.parametrize("strip", [1, 5, 1000])
def test_strips_change_nothing(strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(100, 60)
    fit = FitOptions(Fit.SLIDE, scales=(0.75, 1.5))
    whole_picture = decided(side(), image, fit, (37, 23))
    monkeypatch.setattr(postprocess, "STRIP_SCORES", CLASSES * 23 * strip)
    np.testing.assert_array_equal(decided(side(), image, fit, (37, 23)), whole_picture)


def test_windows_that_nobody_looks_at_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    image, asked = picture(300, 40), side()
    together = decided(side(), image, SLIDE, (4, 10))
    monkeypatch.setattr(postprocess, "STRIP_SCORES", 1)
    np.testing.assert_array_equal(decided(asked, image, SLIDE, (4, 10)), together)
    assert len(fed(asked)) < 2 * len(window_starts(300, 32, 24))


def test_each_window_is_run_once() -> None:
    asked = side()
    decided(asked, picture(100, 60), SLIDE)
    assert len(fed(asked)) == 4 * 3
    assert window_starts(100, 32, 24) == [0, 24, 48, 68]


def test_flips_and_scales_average_probabilities() -> None:
    image = picture(50, 70)
    total = torch.zeros(1, CLASSES, 50, 70)
    for scale in (0.5, 1.0):
        small = resize(image.pixels, ImageSize(round(50 * scale), round(70 * scale)))
        for turn in (1, -1):
            maps = slid(np.ascontiguousarray(small[:, ::turn]), (24, 24))
            kept = maps if turn == 1 else maps.flip(3)
            total += enlarged(kept, (50, 70)).softmax(dim=1)
    fit = FitOptions(Fit.SLIDE, flip=True, scales=(0.5, 1.0))
    assert_same(decided(side(), image, fit), winners(total))


def test_stretched_and_padded_pictures_are_mirrored_back() -> None:
    image = picture(64, 64)
    small = resize(image.pixels, SIZE)
    total = torch.zeros(1, CLASSES, 64, 64)
    for turn in (1, -1):
        maps = asked_of(np.ascontiguousarray(small[:, ::turn]))
        total += enlarged(maps if turn == 1 else maps.flip(3), (64, 64)).softmax(dim=1)
    for fit in (Fit.STRETCH, Fit.PAD):
        assert_same(decided(side(), image, FitOptions(fit, flip=True)), winners(total))


def test_a_flip_differs_and_costs_a_second_look() -> None:
    image, asked = picture(40, 40), side()
    plain = decided(asked, image, FitOptions())
    flipped = decided(asked, image, FitOptions(flip=True))
    assert len(fed(asked)) == 3
    assert (plain != flipped).any()
    np.testing.assert_array_equal(fed(asked)[2], fed(asked)[0][..., ::-1])


def test_quarter_size_scores_are_enlarged_first() -> None:
    image = picture(48, 80)
    maps = asked_of(resize(image.pixels, SIZE))[:, :, ::4, ::4]
    theirs = enlarged(enlarged(maps, SIZE), (48, 80))
    asked = side(quarter, output_format=OutputFormat.LOGITS_QUARTER)
    assert_same(decided(asked, image, FitOptions()), winners(theirs))


def test_class_maps_go_to_the_nearest_pixel() -> None:
    image = picture(64, 96)
    asked = side(class_map, output_format=OutputFormat.CLASSMAP)
    maps = asked_of(resize(image.pixels, SIZE)).argmax(dim=1)[0].numpy()
    theirs = maps.repeat(2, axis=0).repeat(3, axis=1)
    np.testing.assert_array_equal(decided(asked, image, FitOptions()), theirs)


def test_class_maps_vote_where_windows_overlap() -> None:
    votes = iter([0, 3, 3, 2])
    asked = side(
        lambda batch: np.full((len(batch), *SIZE), next(votes), np.uint8),
        output_format=OutputFormat.CLASSMAP,
    )
    labels = decided(asked, picture(32, 80), FitOptions(Fit.SLIDE, ImageSize(32, 16)))
    # Windows at 0, 16, 32 and 48; two lie over each middle pixel, and a tie falls low.
    assert labels[0, [0, 20, 40, 50, 79]].tolist() == [0, 0, 3, 2, 2]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("fit", [FitOptions(), FitOptions(flip=True), SLIDE])
def test_scores_that_are_no_numbers_decide_nothing(fit: FitOptions, bad: float) -> None:
    def broken(batch: Any) -> Any:
        maps = scores(batch)
        maps[:, 2, 4, 6] = bad
        return maps

    labels = decided(side(broken), picture(32, 32), fit)
    assert labels[4, 6] == -1
    assert (labels == -1).sum() <= 2


def test_a_class_map_that_knows_other_classes_decides_nothing() -> None:
    asked = side(
        lambda batch: np.full((len(batch), *SIZE), 200, np.uint8),
        output_format=OutputFormat.CLASSMAP,
    )
    assert (decided(asked, picture(32, 32), FitOptions()) == -1).all()


def test_pictures_share_batches() -> None:
    images = [picture(40, 50, seed) for seed in range(3)]
    sizes = [ImageSize(40, 50)] * 3
    asked, single = side(batch=4), side()
    together = list(label_maps(asked, images, sizes, FitOptions(flip=True), CLASSES))
    assert [len(batch) for batch in fed(asked)] == [4, 4]
    for labels, image in zip(together, images, strict=True):
        np.testing.assert_array_equal(labels, decided(single, image, FitOptions(flip=True)))


def test_probabilities_are_the_mean_over_views() -> None:
    image = picture(40, 50)
    small = resize(image.pixels, SIZE)
    shares = [
        torch.from_numpy(whole(prepare(np.ascontiguousarray(seen), PLAIN))).softmax(dim=1)[0]
        for seen in (small, small[:, ::-1])
    ]
    (plain,) = probabilities(side(whole), [image], FitOptions())
    (both,) = probabilities(side(whole), [image], FitOptions(flip=True))
    np.testing.assert_allclose(plain, shares[0].numpy(), rtol=1e-5)
    np.testing.assert_allclose(both, torch.stack(shares).mean(dim=0).numpy(), rtol=1e-4)


def test_probabilities_are_taken_as_they_are() -> None:
    asked = side(
        lambda batch: np.full((len(batch), 4), 0.25, np.float32),
        output_format=OutputFormat.PROBABILITIES,
    )
    (shares,) = probabilities(asked, [picture(32, 32)], FitOptions())
    assert shares.tolist() == [0.25] * 4


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (lambda: FitOptions(Fit.PAD, ImageSize(8, 8)), "stride"),
        (lambda: FitOptions(scales=(0.5,)), "scale"),
        (lambda: FitOptions(Fit.SLIDE, scales=()), "scales"),
        (lambda: FitOptions(Fit.SLIDE, scales=(1.0, float("nan"))), "scales"),
        (lambda: FitOptions(Fit.SLIDE, ImageSize(0, 8)), "nowhere"),
        (lambda: FitOptions(Fit.SLIDE, ImageSize(64, 8)).stride_for(SIZE), "gaps"),
        (lambda: SLIDE.check_task(Task.CLASSIFY), "whole images"),
        (lambda: parse_stride("a few"), "a few"),
        (lambda: parse_scales("1,big"), "1,big"),
    ],
)
def test_what_cannot_be_meant_is_refused(made: Any, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        made()
    assert caught.value.hint


def test_strides_and_scales_are_read() -> None:
    assert parse_stride("768") == (768, 768)
    assert parse_stride("384x768") == (384, 768)
    assert parse_scales("0.5, 1,1.75") == (0.5, 1.0, 1.75)
    assert SLIDE.stride_for(ImageSize(1024, 1024)) == (768, 768)
