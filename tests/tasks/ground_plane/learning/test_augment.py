"""Both levels of augmentation on cameras of a tiny scene: whatever is done, a person's foot is found in the changed
image where the changed sampling of the person's changed place says."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ground_plane.formats.scenes import Scene, View
from tasks.ground_plane.learning import batches
from tasks.ground_plane.learning.augment import OUTSIDE, augment, light, looked_up, scene_moves
from tasks.ground_plane.learning.batches import Frames
from tasks.ground_plane.params import Augment
from tasks.yard.geometry import camera as geometry
from tests.tasks.ground_plane.tiny_scene import PLANE, calibration

HEIGHT, WIDTH, CELL_M, SPOT_PX = 96, 144, 0.2, 2.0
PEOPLE = np.array([[1, 1.3, 1.1], [2, 3.0, 2.2], [3, 4.4, 3.1]])
STILL = {
    "scene": {"share": 0, "rotate_deg": 0, "translate": 0, "scale": 0, "shear_deg": 0, "flip": 0},
    "view": {"share": 0, "scale": 0, "flip": 0, "brightness": 0, "contrast": 0, "colour": 0, "drop": 0},
}
MOVED = {
    "scene": {"share": 1, "rotate_deg": 180, "translate": 0.1, "scale": 0.3, "shear_deg": 15, "flip": 0.5},
    "view": {"share": 1, "scale": 0.4, "flip": 0.5, "brightness": 0, "contrast": 0, "colour": 0, "drop": 0},
}


def params(base: dict, scene: dict | None = None, **view) -> Augment:
    return Augment.model_validate({"scene": {**base["scene"], **(scene or {})}, "view": {**base["view"], **view}})


def scene(folder, cameras: int = 3, person: int | None = 0, roi: bool = True) -> Scene:
    """One frame in which each camera sees a white spot at a person's foot, on black; of nobody if `person` is None."""
    views = []
    for number in range(1, cameras + 1):
        camera = calibration(number, cameras).camera().resized(HEIGHT, WIDTH)
        if not roi:
            camera = geometry.Camera(camera.K, camera.R, camera.T, camera.size)
        image = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)
        if person is not None:
            place = [*PLANE.to_world(PEOPLE[person, 1:]), 0.0]
            (at,), _ = camera.project(np.array([place]))
            y, x = np.mgrid[:HEIGHT, :WIDTH]
            image[0] = 255 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * SPOT_PX**2))[..., None]
        path = folder / f"cam{number}-{cameras}-{person}.h5"
        with h5py.File(path, "w") as file:
            file["images"] = image
        views.append(View(f"cam{number}", camera, path, {0: 0}))
    return Scene(
        f"tiny-{cameras}", tuple(views), PLANE, CELL_M, PLANE.grid(CELL_M), np.array([0], np.int32),
        np.array(["train"]), (PEOPLE,), np.array([True]),
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("scenes")


def brightness(images: torch.Tensor) -> np.ndarray:
    """(..., 3, H, W) normalised -> (..., H, W) in 0..1."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (batches.MEAN, batches.STD))
    return (images * std + mean).mean(-3).numpy()


def without_changes(of: Scene):
    return augment(Frames([(of, 0)], "cpu")(torch.tensor([0])), params(STILL))


@pytest.mark.parametrize("roi", [False, True])
def test_shares_of_0_change_nothing(folder, roi):
    of = scene(folder, roi=roi)
    example = without_changes(of)
    sampling, visible = of.looked_up
    both = visible & example.visible[0].numpy()
    off = np.abs(example.sampling[0].numpy() - sampling)[both] * [WIDTH / 2, HEIGHT / 2]
    assert both.sum() > 500 and off.max() < 0.01  # px
    disputed = (visible != example.visible[0].numpy()).sum()  # at the border of a region, which is one of whole pixels
    assert disputed == 0 if not roi else disputed < 0.03 * visible.sum()
    np.testing.assert_allclose(example.people[0].numpy() + np.array(PLANE.size_m) / 2, PEOPLE[:, 1:], atol=1e-5)
    np.testing.assert_allclose(brightness(example.images[0]), of.images(0)[0].mean(-1) / 255, atol=1e-5)


@pytest.mark.slow
@given(seed=st.integers(0, 10_000), person=st.integers(0, 2))
@settings(max_examples=40, deadline=None)
def test_a_spot_at_a_foot_is_found_through_both_levels(folder, seed, person):
    """The weighted middle of the spot in each changed image, against the changed sampling at the person's new place."""
    of = scene(folder, person=person, roi=False)
    batch = Frames([(of, 0)], "cpu")(torch.tensor([0]))
    torch.manual_seed(seed)
    example = augment(batch, params(MOVED))
    places = example.people[0, person] + batch.size[0] / 2
    row, column = (int(places[axis] // CELL_M) for axis in (1, 0))
    shown = brightness(example.images[0])
    for v in range(3):
        foot = example.feet[0, v, person].numpy()
        if foot[0] == OUTSIDE:
            continue
        at = ((foot + 1) / 2 * [WIDTH, HEIGHT] - 0.5).round(4)
        if not (8 < at[0] < WIDTH - 9 and 8 < at[1] < HEIGHT - 9):
            continue  # a part of the spot is cut off
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        middle = np.array([(shown[v] * x).sum(), (shown[v] * y).sum()]) / shown[v].sum()
        assert np.abs(middle - at).max() < 0.1  # px
        if 0 <= row < of.grid[0] and 0 <= column < of.grid[1] and example.visible[0, v, row, column]:
            # the person is in this cell, so its centre is no farther in the image than the cell's neighbours are
            cell = (example.sampling[0, v, row, column].numpy() + 1) / 2 * [WIDTH, HEIGHT] - 0.5
            near = example.sampling[0, v, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].numpy()
            near = (near[(near != OUTSIDE).all(-1)] + 1) / 2 * [WIDTH, HEIGHT] - 0.5
            assert np.linalg.norm(cell - middle) <= 0.1 + np.linalg.norm(near - cell, axis=1).max()


@pytest.mark.slow
@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_cells_of_a_moved_ground_are_seen_where_the_calibration_says(folder, seed):
    """Against geometry.looked_up, in double precision, of the same places; all views agree on what a cell is."""
    of = scene(folder)
    batch = Frames([(of, 0)], "cpu")(torch.tensor([0]))
    torch.manual_seed(seed)
    example = augment(batch, params(MOVED, share=0, flip=0))
    torch.manual_seed(seed)
    move = scene_moves(batch.size, params(MOVED).scene)[0].double().numpy()
    cells = geometry.cells(of.grid, CELL_M) - np.array(PLANE.size_m) / 2
    true = cells @ move[:2, :2].T + move[:2, 2] + np.array(PLANE.size_m) / 2
    for v, view in enumerate(of.views):
        sampling, seen = geometry.looked_up(view.camera, PLANE, true)
        both = seen & example.visible[0, v].numpy()
        off = np.abs(sampling - example.sampling[0, v].numpy())[both] * [WIDTH / 2, HEIGHT / 2]
        assert off.size == 0 or off.max() < 0.01
        assert not (example.visible[0, v].numpy() & ~PLANE.holds(true)).any()


@pytest.mark.slow
@given(seed=st.integers(0, 10_000), share=st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_views_are_taken_away_but_never_all(folder, seed, share):
    frames = Frames([(scene(folder, 3), 0), (scene(folder, 2), 0)], "cpu")
    torch.manual_seed(seed)
    example = augment(frames(torch.tensor([0, 1])), params(STILL, drop=share))
    left = example.visible.flatten(2).any(2)
    assert left.any(1).all()
    assert left.sum(1).tolist() == [1, 1] or share < 1
    assert not left[1, 2]


def test_light_changes_and_geometry_does_not(folder):
    of = scene(folder)
    frames, still = Frames([(of, 0)], "cpu"), without_changes(of)
    torch.manual_seed(3)
    example = augment(frames(torch.tensor([0])), params(STILL, brightness=0.5, contrast=0.5))
    assert torch.equal(example.sampling, still.sampling) and torch.equal(example.visible, still.visible)
    assert (example.images - still.images).abs().max() > 0.1
    for before, after in zip(brightness(still.images[0]), brightness(example.images[0]), strict=True):
        assert np.unravel_index(before.argmax(), before.shape) == np.unravel_index(after.argmax(), after.shape)


def test_behind_a_camera_nothing_is_seen(folder):
    """The homography alone would show a place behind the camera in the image, mirrored."""
    of = scene(folder, roi=False)
    frames = Frames([(of, 0)], "cpu")
    batch = frames(torch.tensor([0]))
    for v, view in enumerate(of.views):
        ahead = PLANE.to_plane(view.camera.ground(np.array([[WIDTH / 2, HEIGHT * 0.8]])))[0]
        eye = PLANE.to_plane(view.camera.centre[:2])
        behind = torch.tensor(np.stack([ahead, 2 * eye - ahead]) - np.array(PLANE.size_m) / 2)[None].float()
        _, seen = looked_up(behind, batch.ground, torch.eye(3).expand(1, 3, 3, 3), None)
        assert seen[0, v].tolist() == [True, False]


def test_images_that_are_not_held_are_read_and_missing_ones_are_black(folder):
    three, two = scene(folder, 3), scene(folder, 2)
    work, ids = [(three, 0), (two, 0)], torch.tensor([1, 0, 1])
    held, read = Frames(work, "cpu")(ids), Frames(work, "cpu", held_bytes=0)(ids)
    assert torch.equal(held.images, read.images) and held.images[:, :2].any()
    assert held.there.tolist() == [[True, True, False], [True, True, True], [True, True, False]]
    assert not held.images[0, 2].any()
    for one in (held, read):
        assert not augment(one, params(STILL)).visible[0, 2].any()


def painted(of: Scene, folder) -> Scene:
    """The scene with white images where people may stand, black elsewhere."""
    views = []
    for view in of.views:
        path = folder / f"painted-{view.path.name}"
        with h5py.File(path, "w") as file:
            file["images"] = 255 * batches.region(view.camera)[None, :, :, None].repeat(3, -1).astype(np.uint8)
        views.append(replace(view, path=path))
    return replace(of, views=tuple(views))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_a_region_moves_with_its_image(folder, seed):
    batch = Frames([(painted(scene(folder), folder), 0)], "cpu")(torch.tensor([0]))
    torch.manual_seed(seed)
    example = augment(batch, params(MOVED))
    white = brightness(example.images[0]) > 0.5
    assert white.any() and (white != example.regions[0].numpy()).mean() < 0.01  # but for its edge


def test_a_mirrored_view_and_a_mirrored_scene_are_mirrored_always(folder):
    of = scene(folder)
    batch, still = Frames([(of, 0)], "cpu")(torch.tensor([0])), without_changes(of)
    view = augment(batch, params(STILL, flip=1))
    torch.testing.assert_close(view.images, still.images.flip(-1), rtol=0, atol=1e-3)
    assert torch.equal(view.regions, still.regions.flip(-1)) and torch.equal(view.visible, still.visible)
    seen = (still.feet != OUTSIDE).all(-1)
    assert seen.any() and torch.equal(view.people, still.people)
    torch.testing.assert_close(view.feet[seen], still.feet[seen] * torch.tensor([-1.0, 1.0]))
    moved = augment(batch, params(STILL, scene={"flip": 1}))
    torch.testing.assert_close(moved.people, still.people * torch.tensor([-1.0, 1.0]))
    assert torch.equal(moved.images, still.images) and torch.equal(moved.feet, still.feet)
    both = moved.visible & still.visible.flip(-1)
    assert both.sum() > 500
    torch.testing.assert_close(moved.sampling[both], still.sampling.flip(-2)[both], rtol=0, atol=1e-4)


def test_a_ground_is_moved_as_far_and_turned_as_much_as_the_params_say(folder):
    """A plane of 6 x 4 m by half of it: 3 m along its width, 2 m along its height, to all sides."""
    size = torch.tensor([PLANE.size_m]).expand(2000, 2).float()
    torch.manual_seed(0)
    moves = scene_moves(size, params(STILL, scene={"share": 1, "translate": 0.5}).scene)
    reach = torch.stack([moves[:, :2, 2].amin(0), moves[:, :2, 2].amax(0)])
    torch.testing.assert_close(reach, torch.tensor([[-3.0, -2.0], [3.0, 2.0]]), rtol=0, atol=0.02)
    assert torch.equal(moves[:, :2, :2], torch.eye(2).expand(2000, 2, 2))
    moves = scene_moves(size, params(STILL, scene={"share": 1, "rotate_deg": 30}).scene)
    turned = torch.rad2deg(torch.atan2(moves[:, 1, 0], moves[:, 0, 0]))
    torch.testing.assert_close(torch.stack([turned.min(), turned.max()]), torch.tensor([-30.0, 30.0]), rtol=0, atol=0.2)
    torch.testing.assert_close(torch.linalg.det(moves), torch.ones(2000))
    assert scene_moves(size, params(STILL, scene={"flip": 0.5}).scene)[:, 0, 0].mean().abs() < 0.1  # one in two


def test_brightness_is_a_factor_and_contrast_is_about_the_mean_of_the_image():
    """Of a view's pixels x and their mean m, (m + contrast (x - m)) brightness: both can be read from the change."""
    before = torch.linspace(90, 110, 3 * 8 * 8).view(1, 1, 3, 8, 8).expand(60, 5, 3, 8, 8)  # nothing is clamped
    torch.manual_seed(0)
    after = light(before, params(STILL, brightness=0.4, contrast=0.5).view)
    slope = (after[:, :, 2, 7, 7] - after[:, :, 0, 0, 0]) / 20
    bent = after - after.mean((2, 3, 4), keepdim=True)
    torch.testing.assert_close(bent, slope[..., None, None, None] * (before - 100), rtol=0, atol=1e-3)
    factor = after.mean((2, 3, 4)) / 100
    for values, low, high in ((factor, 0.6, 1.4), (slope / factor, 0.5, 1.5)):
        assert low - 1e-3 < values.min() < low + 0.05 and high - 0.05 < values.max() < high + 1e-3
        assert values[0].unique().numel() == 5  # each view has its own
    assert torch.corrcoef(torch.stack([factor.flatten(), (slope / factor).flatten()]))[0, 1].abs() < 0.2


def test_no_light_makes_more_than_white_or_less_than_black():
    before = torch.tensor([0.0, 40.0, 120.0, 255.0]).view(1, 1, 1, 2, 2).expand(20, 3, 3, 2, 2)
    torch.manual_seed(0)
    after = light(before, params(STILL, brightness=0.5, contrast=0.5).view)
    assert (after.min(), after.max()) == (0, 255)


def test_feet_of_nobody_and_in_a_view_that_is_taken_away_are_nowhere(folder):
    full = scene(folder, roi=False)
    two = replace(full, name="two", people=(PEOPLE[:2],))
    batch = Frames([(full, 0), (two, 0)], "cpu")(torch.tensor([0, 1]))
    assert batch.real.tolist() == [[True] * 3, [True, True, False]]
    feet = augment(batch, params(STILL)).feet
    seen = (feet != OUTSIDE).all(-1)
    assert seen[0].all() and seen[1, :, :2].all() and (feet[1, :, 2] == OUTSIDE).all()
    torch.manual_seed(0)
    example = augment(batch, params(STILL, drop=1))
    left, seen = example.visible.flatten(2).any(2), (example.feet != OUTSIDE).all(-1)
    assert left.sum(1).tolist() == [1, 1] and torch.equal(seen, left[..., None] & batch.real[:, None])


def test_what_a_window_cuts_away_is_seen_no_more(folder):
    batch = Frames([(scene(folder, roi=False), 0)], "cpu")(torch.zeros(20, dtype=torch.long))
    torch.manual_seed(0)
    example, still = augment(batch, params(STILL, share=1, scale=0.4)), augment(batch, params(STILL))
    lost, lame = still.visible & ~example.visible, (still.feet != OUTSIDE) & (example.feet == OUTSIDE)
    assert lost.any() and lame.any() and not (example.visible & ~still.visible).any()
    assert example.sampling[example.visible].abs().max() <= 1
    assert ((example.feet.abs() <= 1) | (example.feet == OUTSIDE)).all()
    for v in range(3):  # the window's edge is an axis-parallel one in the image
        at, cut = still.sampling[0, v][example.visible[0, v]], still.sampling[0, v][lost[0, v]]
        inside = ((cut > at.amin(0) + 1e-3) & (cut < at.amax(0) - 1e-3)).all(-1)
        assert not inside.any()


def test_a_cast_of_colour_is_a_factor_of_each_channel_of_each_view():
    before = torch.full((2, 3, 3, 4, 5), 100.0)
    after = light(before, params(STILL, colour=0.2).view)
    assert (after == after[..., :1, :1]).all() and 80 <= after.min() < 95 and 105 < after.max() <= 120
    assert len(after[..., 0, 0].unique()) == 18
