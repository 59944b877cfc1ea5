"""Weather painted on a street of stripes: each effect does what its name says, again and again the same."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.yard.detector.weather import EFFECTS, Weather


@pytest.fixture(scope="module")
def street() -> np.ndarray:
    """A BGR image of upright bars, mid grey and dark, with a white lamp."""
    image = np.zeros((120, 320, 3), np.uint8)
    image[:, :] = np.where(np.arange(320) // 10 % 2, 130, 40)[None, :, None]
    image[50:60, 100:110] = 255
    return image


def painted(image: np.ndarray, effect: str | None, *, epoch: int = 0, name: str = "a.jpg", strength: float = 1.0):
    weather = Weather({key: float(key == effect) for key in EFFECTS}, strength, seed=0, epoch=epoch)
    return weather({"img": image, "im_file": f"/somewhere/{name}"})["img"]


def edges(image: np.ndarray) -> float:
    return float((np.diff(image.astype(float), axis=1) ** 2).mean() ** 0.5)


def test_each_effect_looks_like_its_name(street):
    draws = {effect: [painted(street, effect, name=f"{n}.jpg").astype(float) for n in range(20)] for effect in EFFECTS}
    plain = street.astype(float)
    for image in draws["night"]:
        assert image.mean() < 0.7 * plain.mean()
        assert image[50:60, 100:110].mean() > 1.5 * image.mean()  # the lamp still shines
        assert image[..., 0].mean() > image[..., 2].mean()
    for image in draws["fog"]:
        top, bottom = image[:30], image[-30:]
        assert edges(image) < edges(plain) and edges(top) < edges(bottom)  # thickest far away
    for image in draws["glare"]:
        brighter = image.mean(2) - plain.mean(2)
        assert brighter.min() > -15 and brighter.max() > 80 and np.median(brighter) < 0.7 * brighter.max()
    for image in draws["rain"]:
        streaks = (image - plain).mean(2) > 45
        assert 0.001 < streaks.mean() < 0.15
    for image in draws["motion_blur"]:
        assert edges(image) < 0.9 * edges(plain) and image.mean() == pytest.approx(plain.mean(), rel=0.02)


@pytest.mark.parametrize("effect", EFFECTS)
def test_an_effect_is_a_function_of_image_and_epoch_alone(street, effect):
    before = street.copy()
    once = painted(street, effect)
    np.random.seed(1)
    assert (painted(street, effect) == once).all() and (street == before).all()
    assert (painted(street, effect, epoch=1) != once).any()
    assert (painted(street, effect, name="b.jpg") != once).any()
    weak = painted(street, effect, strength=0.1).astype(float)
    assert np.abs(weak - street).mean() < np.abs(once.astype(float) - street).mean()


def test_without_any_share_the_pixels_stay_and_shares_are_kept(street):
    assert painted(street, None) is street
    weather = Weather({**dict.fromkeys(EFFECTS, 0.0), "fog": 0.25}, 1.0, seed=3)
    foggy = sum((weather.paint(street, f"{number}.jpg") != street).any() for number in range(400))
    assert 70 < foggy < 130
