"""What a batch holds besides its images: regions of whole pixels, the colours as networks want them."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from tasks.ground_plane.formats import scenes
from tasks.ground_plane.learning import batches
from tasks.ground_plane.learning.augment import OUTSIDE, augment
from tasks.ground_plane.learning.batches import Frames
from tests.tasks.ground_plane.learning.test_augment import STILL, params
from tests.tasks.ground_plane.tiny_project import HEIGHT, WIDTH, write_pack


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """cam2 lacks the second frame of training."""
    folder = tmp_path_factory.mktemp("project")
    write_pack(folder, missing=["tiny/1-annotation/train/cam2/cam2_5.png"])
    return folder


def with_regions(of: scenes.Scene, roi: list | None) -> scenes.Scene:
    roi = None if roi is None else np.array(roi, float)
    return replace(of, views=tuple(replace(view, camera=replace(view.camera, roi=roi)) for view in of.views))


def regions(of: scenes.Scene, *rois: list | None) -> np.ndarray | None:
    """(n, H, W) of the first view in a batch of one scene with several regions."""
    work = [(replace(with_regions(of, roi), name=f"{i}"), 0) for i, roi in enumerate(rois)]
    found = Frames(work, "cpu")(torch.arange(len(work))).regions
    return None if found is None else found[:, 0].numpy()


def test_a_region_holds_the_pixels_whose_centres_lie_in_it(root):
    (of,) = scenes.load(root / "pack")
    whole = [[3, 8], [40, 8], [40, 29], [3, 29]]
    between = [[2.6, 7.6], [40.4, 7.6], [40.4, 29.4], [2.6, 29.4]]
    slanted = [[5, 20], [24, 3], [44, 18], [20, 30]]
    found = regions(of, whole, between, slanted, None)
    wanted = np.zeros((HEIGHT, WIDTH), bool)
    wanted[8:30, 3:41] = True
    assert (found[0] == wanted).all() and (found[1] == wanted).all() and found[3].all()
    polygon = np.array(slanted, np.float32)[:, None]
    inside = [[cv2.pointPolygonTest(polygon, (u, v), True) for u in range(WIDTH)] for v in range(HEIGHT)]
    assert found[2][np.array(inside) >= 0].all() and not found[2][np.array(inside) < -1].any()  # px from its edge
    assert regions(of, None) is None


def test_colours_are_normalised_by_the_mean_and_the_spread_of_imagenet():
    """0.485, 0.456, 0.406 and 0.229, 0.224, 0.225 of red, green and blue, as torchvision's weights are made for."""
    pixels = torch.tensor([[[255, 0, 51]], [[0, 255, 204]]], dtype=torch.uint8)  # 2 rows, 1 column
    wanted = torch.tensor([[[2.248908], [-2.117904]], [[-2.035714], [2.428571]], [[-0.915556], [1.751111]]])
    torch.testing.assert_close(batches.normalised(pixels), wanted, rtol=0, atol=1e-5)


def test_a_frame_that_a_camera_lacks_teaches_nothing_of_it(root):
    (of,) = scenes.load(root / "pack")
    frames = Frames(scenes.of_split([of], "train"), "cpu")
    batch = frames(torch.tensor([0, 1]))
    assert batch.there.tolist() == [[True] * 3, [True, False, True]]
    assert not batch.images[1, 1].any() and batch.images[0].any((1, 2, 3)).all()
    example = augment(batch, params(STILL))
    assert example.visible.flatten(2).any(2).tolist() == batch.there.tolist()
    nowhere = (example.feet == OUTSIDE).all(-1)
    assert nowhere[1, 1].all() and not nowhere[0].all(1).any() and not nowhere[1, ::2].all(1).any()
    torch.manual_seed(0)
    left = augment(frames(torch.ones(8, dtype=torch.long)), params(STILL, drop=1)).visible.flatten(2).any(2)
    assert (left.sum(1) == 1).all() and not left[:, 1].any()  # the one that stays is one that is there
