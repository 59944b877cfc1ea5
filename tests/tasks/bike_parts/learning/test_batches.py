from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from models.bike_parts.states import UNLABELLED
from tasks.bike_parts.formats import photos as photos_of
from tasks.bike_parts.learning.batches import FILL, Photographs, fitted
from tasks.yard.step import BadInput
from tests.tasks.bike_parts.tiny_photos import HEIGHT, WIDTH, write_split


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    write_split(folder, train=5)
    return folder


def held(root, photos=None, canvas=(HEIGHT, WIDTH), **more) -> Photographs:
    photos = photos_of.read(root / "split", "train") if photos is None else photos
    return Photographs(photos, root / "download", canvas, "cpu", **more)


def test_a_photograph_of_the_canvas_size_is_its_own_bytes_with_its_own_boxes(root):
    photos = photos_of.read(root / "split", "train")
    batch = held(root)(torch.tensor([3, 0]))
    for row, place in enumerate((3, 0)):
        photo = photos.photos[place]
        shown = cv2.imread(str(root / "download" / photo.name))[..., ::-1]
        np.testing.assert_array_equal(batch.pictures[row].numpy(), shown)
        mine = photos.photo == photo.id
        box = batch.boxes[row][batch.parts[row] > 0].numpy()
        np.testing.assert_allclose(np.concatenate([box[:, :2], box[:, 2:] - box[:, :2]], 1), photos.box[mine])
        assert batch.states[row].tolist() == photos.state[mine].tolist()


@pytest.mark.parametrize("size", [(48, 160), (200, 60), (31, 47)])
def test_other_sizes_keep_their_shape_in_the_upper_left_corner(size):
    high, wide = size
    photo = np.full((high, wide, 3), 10, np.uint8)
    photo[high // 4 : high // 2, wide // 2 : wide * 3 // 4] = 250
    of = fitted(photo, (64, 96))
    height, width = of.size
    assert height <= 64 and width <= 96 and (height == 64 or width == 96)
    assert width / height == pytest.approx(wide / high, rel=0.03)
    assert (of.picture[height:] == FILL).all() and (of.picture[:, width:] == FILL).all()
    y, x = np.nonzero(of.picture[:height, :width, 0] > 130)
    expected = np.array([wide // 2, high // 4, wide * 3 // 4, high // 2]) * np.tile(of.factor, 2)
    np.testing.assert_allclose([x.min(), y.min(), x.max() + 1, y.max() + 1], expected, atol=1)


def test_boxes_of_no_area_are_left_out_and_counted_and_empty_photographs_stay(root):
    photos = photos_of.read(root / "split", "train")
    box = photos.box.copy()
    box[0, 2], box[1, 3] = 0.0, 0.4  # of the first photograph
    first = photos.photo == photos.photos[1].id
    empty = [getattr(photos, name)[~first] for name in ("id", "photo", "part", "state", "trust")]
    changed = replace(
        photos, box=box[~first], **dict(zip(("id", "photo", "part", "state", "trust"), empty, strict=True))
    )
    of = held(root, changed)
    assert of.too_small == 2
    zero, one = of(torch.tensor([0, 1])).targets()
    assert zero["labels"].tolist() == [3, 4] and len(one["boxes"]) == len(one["labels"]) == len(one["states"]) == 0
    assert bool((zero["boxes"][:, 2:] - zero["boxes"][:, :2] >= 1).all())
    none = replace(
        photos, box=box[:0], **{name: getattr(photos, name)[:0] for name in ("id", "photo", "part", "state", "trust")}
    )
    assert held(root, none)(torch.tensor([2])).states.tolist() == [[UNLABELLED]]


def test_photographs_that_do_not_fit_in_memory_are_read_when_wanted(root):
    ids = torch.tensor([4, 1, 1])
    a, b = held(root)(ids), held(root, held_bytes=0)(ids)
    assert all(torch.equal(getattr(a, name), getattr(b, name)) for name in vars(a))


def test_a_photograph_that_went_bad_is_named(root, tmp_path):
    write_split(tmp_path, train=2)
    bad = tmp_path / "download" / photos_of.read(tmp_path / "split", "train").photos[1].name
    bad.write_bytes(bad.read_bytes()[:100])
    with pytest.raises(BadInput, match=rf"{bad.name}: an image that was usable before"):
        held(tmp_path)
