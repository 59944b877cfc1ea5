"""What the controls see, and what they do not."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.person_search.judging import baselines


def figure(shirt: tuple, trousers: tuple, seed: int = 0) -> np.ndarray:
    """(64, 32, 3) two blocks of colour with some noise."""
    image = np.empty((64, 32, 3))
    image[:32], image[32:] = shirt, trousers
    noise = np.random.default_rng(seed).normal(0, 4, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


RED, BLUE = (200, 30, 40), (30, 40, 200)


@pytest.mark.parametrize("embed", [baselines.raw_pixels, baselines.colour_stripes])
def test_alike_is_near_and_where_a_colour_is_matters(embed):
    a, b, other = embed(np.stack([figure(RED, BLUE, 0), figure(RED, BLUE, 1), figure(BLUE, RED, 2)]))
    assert a @ b > 0.9 > 0.5 > a @ other
    assert np.linalg.norm(a) == pytest.approx(1, abs=1e-5)


def test_stripes_do_not_see_where_in_a_stripe_a_colour_is():
    image = figure(RED, BLUE)
    image[:, :16] = (30, 160, 60)
    a, b = baselines.colour_stripes(np.stack([image, image[:, ::-1]]))
    assert a @ b == pytest.approx(1, abs=1e-5)
    c, d = baselines.raw_pixels(np.stack([image, image[:, ::-1]]))
    assert c @ d < 0.9


def test_raw_pixels_do_not_see_light_or_contrast():
    image = figure(RED, BLUE).astype(float)
    a, b = baselines.raw_pixels(np.stack([image, image * 0.5 + 20]).astype(np.uint8))
    assert a @ b > 0.999


def test_colours_of_the_whole_range_have_a_bin_and_no_image_takes_another_ones():
    images = np.random.default_rng(0).integers(0, 256, (7, 13, 5, 3), dtype=np.uint8)
    images[0], images[1] = 0, 255
    whole = baselines.colour_stripes(images)
    alone = np.concatenate([baselines.colour_stripes(images[i : i + 1]) for i in range(7)])
    assert whole.shape == (7, 432) and np.array_equal(whole, alone)


def test_a_crop_of_one_colour_is_like_nothing_and_chance_is_seeded():
    flat = np.full((2, 32, 16, 3), 90, np.uint8)
    assert not baselines.raw_pixels(flat).any()
    assert np.array_equal(baselines.chance(flat, seed=1), baselines.chance(flat, seed=1))
    assert not np.array_equal(baselines.chance(flat, seed=1), baselines.chance(flat, seed=2))
