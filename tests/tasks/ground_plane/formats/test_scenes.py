"""What training reads of pack/, through the reader that training has."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tasks.ground_plane.formats import scenes
from tasks.yard.files import read_json, write_json
from tasks.yard.geometry import camera as geometry
from tasks.yard.step import BadInput
from tests.tasks.ground_plane import tiny_scene
from tests.tasks.ground_plane.test_pack import packed


def test_a_person_is_where_the_sampling_finds_their_blob(tmp_path):
    """Through the lens, the resizing and the homography: the colour under each person's place is theirs."""
    tiny_scene.write_unit(tmp_path / "download", people=3)
    packed(tmp_path, height_px=48, width_px=80)
    scene = scenes.load(tmp_path / "pack")[0]
    right = 0
    for row, frame in enumerate(scene.frames):
        images, there = scene.images(int(frame))
        assert there.all() and images.shape == (3, 48, 80, 3)
        for person, x, y in scene.people[row]:
            for view, image in zip(scene.views, images, strict=True):
                sampling, seen = geometry.looked_up(view.camera, scene.plane, np.array([[x, y]]))
                batch = torch.from_numpy(image).permute(2, 0, 1)[None].float()
                grid = torch.from_numpy(sampling)[None, None]
                found = torch.nn.functional.grid_sample(batch, grid, align_corners=False)
                colour = np.array(tiny_scene.COLOURS[int(person) - 1])
                right += bool(seen.all()) and np.abs(found.numpy().ravel() - colour).max() < 50
    assert right >= 0.9 * 6 * 3 * 3  # of some a blob drawn later hides the foot


def test_cells_beyond_a_smaller_plane_are_masked(tmp_path):
    tiny_scene.write_unit(tmp_path / "download", "large")
    small = tiny_scene.write_unit(tmp_path / "download", "small")
    plane = {"origin_m": [1.5, -1.0], "size_m": [3.1, 2.0], "angle_rad": 0.3}
    write_json(small / "scene.json", read_json(small / "scene.json") | {"splits": ["test"], "plane": plane})
    packed(tmp_path, cell_m=0.5)
    large, small = scenes.load(tmp_path / "pack")
    assert large.grid == small.grid == (8, 12)
    assert large.mask.all()
    assert small.mask[:4, :6].all() and not small.mask[4:].any() and not small.mask[:, 6:].any()  # a centre at 3.25 m


def test_only_labelled_frames_of_a_split_are_handed_out(tmp_path):
    unit = tiny_scene.write_unit(tmp_path / "download", frames=10)
    (unit / "1-annotation/labels/train/tiny_0.json").unlink()
    (unit / "1-annotation/labels/train/tiny_40.json").unlink()
    packed(tmp_path, shares={"val": 0.25, "test": 0.25})
    found = scenes.load(tmp_path / "pack")
    frames = {split: [int(s.frames[row]) for s, row in scenes.of_split(found, split)] for split in scenes.SPLITS}
    assert frames == {"train": [5, 10, 15, 20], "val": [25, 30], "test": [35, 45]}


def test_an_empty_pack_is_said(tmp_path):
    about = {"height_px": 8, "width_px": 8, "cell_m": 0.2, "grid": [1, 1], "scenes": {}, "left_out": {}}
    write_json(tmp_path / "pack/scenes.json", about)
    with pytest.raises(BadInput, match="holds no scene; run ground_plane-pack"):
        scenes.load(tmp_path / "pack")
