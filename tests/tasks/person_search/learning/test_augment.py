from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.person_search.formats.crops import MEAN, STD, floats, normalised
from tasks.person_search.learning.augment import augment
from tasks.person_search.params import Augment

OFF = dict.fromkeys(Augment.model_fields, 0.0)
ROWS, HEIGHT, WIDTH = 300, 32, 16


def changed(x: torch.Tensor, seed: int = 0, **on: float) -> torch.Tensor:
    torch.manual_seed(seed)
    return augment(x, Augment(**{**OFF, **on}))


@pytest.fixture
def x():
    return torch.rand(ROWS, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(5))


EACH = ["random_flip", "random_crop", "random_patch", "random_gray_scale", "random_erase", "color_jitter"]
STRONG = {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.3}


@pytest.mark.parametrize("name", EACH)
def test_each_happens_as_often_as_it_should_and_is_repeatable(x, name):
    strength = STRONG if name == "color_jitter" else {}
    before = x.clone()
    half = changed(x, **{name: 0.5}, **strength)
    assert torch.equal(x, before) and half.shape == x.shape and half.min() >= 0 and half.max() <= 1
    assert torch.equal(half, changed(x, **{name: 0.5}, **strength))
    assert not torch.equal(half, changed(x, seed=1, **{name: 0.5}, **strength))
    touched = (half != x).flatten(1).any(1).float().mean()
    assert touched == pytest.approx(0.5, abs=0.1)
    assert torch.equal(changed(x, **strength), x)


def test_a_flip_is_left_to_right(x):
    assert torch.equal(changed(x, random_flip=1.0), x.flip(-1))


def test_a_crop_is_a_window_of_the_enlarged_image(x):
    """Enlarged as Pillow does it."""
    images = (x[:20] * 255).round().byte()
    cropped = changed(images / 255, random_crop=1.0)
    for before, after in zip(images, cropped, strict=True):
        large = Image.fromarray(before.permute(1, 2, 0).numpy()).resize((18, 36), Image.Resampling.BILINEAR)
        large = torch.from_numpy(np.asarray(large).copy()).permute(2, 0, 1) / 255
        windows = large.unfold(1, HEIGHT, 1).unfold(2, WIDTH, 1).flatten(1, 2).movedim(1, 0)
        assert (windows - after).abs().amax((1, 2, 3)).min() < 1.01 / 255


def test_what_is_erased_is_one_rectangle_of_nothing(x):
    erased = changed(x, random_erase=1.0)
    gone = (erased != x).all(1)
    assert normalised(erased).movedim(1, -1)[gone].abs().max() < 1e-5
    assert gone.flatten(1).any(1).float().mean() > 0.99
    for mask in gone:
        ys, xs = mask.nonzero().unbind(1)
        if len(ys):
            assert len(ys) == (ys.max() - ys.min() + 1) * (xs.max() - xs.min() + 1)
            assert 0.01 < len(ys) / (HEIGHT * WIDTH) < 0.45  # 0.02 to 0.4 before rounding to pixels


def test_a_patch_comes_from_another_image_of_the_batch():
    flat = torch.arange(1, 41).view(-1, 1, 1, 1).expand(-1, 3, HEIGHT, WIDTH) / 64
    patched = changed(flat, random_patch=1.0)
    sources = set()
    for i, image in enumerate(patched):
        values = {round(v * 64) for v in image.unique().tolist()}
        assert len(values) <= 2 and (i + 1 in values or len(values) == 1)
        sources |= values - {i + 1}
    assert len(sources) > 15
    one = torch.rand(1, 3, HEIGHT, WIDTH)
    assert torch.equal(changed(one, random_patch=1.0), one)


def test_a_patch_keeps_the_picture_it_was_cut_from():
    """Every source pixel tells where it is: inside a patch neighbours stay neighbours."""
    place = torch.stack(torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")) / 32
    which = torch.arange(50).view(-1, 1, 1, 1).expand(-1, 1, HEIGHT, WIDTH) / 50
    images = torch.cat([place.expand(50, 2, -1, -1), which], 1)
    patched = changed(images, random_patch=1.0)
    for before, after in zip(images, patched, strict=True):
        ys, xs = (after[2] != before[2]).nonzero().unbind(1)
        if len(ys):
            moved_y, moved_x = after[0, ys, xs] * 32 - ys, after[1, ys, xs] * 32 - xs
            assert len(moved_y.unique()) == len(moved_x.unique()) == 1


def test_colours_change_by_the_factors_that_are_allowed(x):
    mild = x * 0.5 + 0.2  # nothing to clip
    brighter = changed(mild, color_jitter=1.0, brightness=0.2)
    factor = (brighter / mild).flatten(1)
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor))
    assert 0.8 <= factor.min() < 0.82 and 1.18 < factor.max() <= 1.2 + 1e-5
    contrast = changed(mild, color_jitter=1.0, contrast=0.15)
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    torch.testing.assert_close((contrast * luma).sum(1).mean((1, 2)), (mild * luma).sum(1).mean((1, 2)))
    spread = contrast.flatten(1).std(1) / mild.flatten(1).std(1)
    assert 0.84 < spread.min() < 0.87 and 1.13 < spread.max() < 1.16
    grey = changed(mild, random_gray_scale=1.0)
    torch.testing.assert_close(grey, (mild * luma).sum(1, keepdim=True).expand_as(mild))


def test_hue_turns_colours_and_leaves_grey_alone():
    grey = torch.full((ROWS, 3, 1, 1), 0.4)
    torch.testing.assert_close(changed(grey, color_jitter=1.0, hue=0.5), grey, atol=1e-5, rtol=0)
    red = torch.tensor([0.55, 0.4, 0.4]).view(1, 3, 1, 1).expand(ROWS, 3, 1, 1)
    turned = changed(red, color_jitter=1.0, hue=0.1)[:, :, 0, 0]
    hues = (np.array([colorsys.rgb_to_hsv(*c)[0] for c in turned.tolist()]) + 0.5) % 1 - 0.5
    assert -0.14 < hues.min() < -0.06 and 0.06 < hues.max() < 0.14 and abs(hues.mean()) < 0.03


def test_bytes_become_what_imagenets_networks_want():
    image = np.array([[[[0, 128, 255]]]], np.uint8)
    made = normalised(floats(torch.from_numpy(image)))[0, :, 0, 0]
    expected = [(value / 255 - m) / s for value, m, s in zip((0, 128, 255), MEAN, STD, strict=True)]
    np.testing.assert_allclose(made, expected, rtol=1e-6)


def test_a_transform_that_does_not_exist_is_an_error():
    with pytest.raises(ValueError, match="random_grayscale"):
        Augment(**OFF, random_grayscale=0.5)
