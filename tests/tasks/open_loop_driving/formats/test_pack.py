"""The packed route: what was put in comes out, in any order of rows, and equal contents are equal bytes."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.open_loop_driving.formats import pack
from tasks.yard.step import BadInput
from tests.tasks.open_loop_driving import tiny_routes

N = 21


def written(path, seed=0):
    rng = np.random.default_rng(seed)
    head = pack.Head("town01", "tiny", 2.0, "rear axle", {"front": tiny_routes.camera()}, ("rgb", "bev", "lidar"))
    frames = [
        pack.Frame(
            {"front": rng.integers(0, 255, (4, 6, 3), np.uint8)}, lidar=rng.random((i % 4, 4), np.float32),
            bev=rng.integers(0, 255, (15, 8, 8), np.uint8), boxes=rng.random((i % 3, 9)),
            ids=[f"{i}.{k}" for k in range(i % 3)],
        )
        for i in range(N)
    ]  # fmt: skip
    columns = {
        "frame": np.arange(N),
        "time_s": np.arange(N) / 2,
        "pose": tiny_routes.poses(N),
        "speed_ms": np.full(N, 6.0),
    }
    pack.write(path, head, columns | {"windows": pack.windows(np.arange(N), 4)}, frames)
    return frames


def test_what_was_put_in_comes_out(tmp_path):
    frames = written(tmp_path / "a" / "route.h5")
    route = pack.read(tmp_path / "a" / "route.h5", split="train")
    assert route.name == "a" and route.cameras["front"].size == tiny_routes.SIZE and route.control is None
    for rows in ([3, 1, 20, 1], [20], np.array([], int), slice(2, 5)):
        numbers = np.arange(N)[rows] if isinstance(rows, slice) else rows
        images = route.images("front", rows)
        assert len(images) == len(numbers)
        assert all((one == frames[i].images["front"]).all() for one, i in zip(images, numbers, strict=True))
    assert all((route.lidar(i) == frames[i].lidar).all() for i in range(N))
    assert (route.bev([17])[0] == frames[17].bev.astype(np.float32) / 255).all()
    boxes, ids = route.agents(5)
    assert ids == ["5.0", "5.1"] and boxes == pytest.approx(frames[5].boxes, abs=1e-6)


@pytest.mark.slow
def test_equal_contents_are_equal_bytes(tmp_path):
    """Also in another second: HDF5 notes the time of some groups."""
    for name in "ab":
        written(tmp_path / name)
        began = int(time.time())
        while int(time.time()) == began:
            time.sleep(0.05)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_a_source_lacks_is_absent_and_said(tmp_path):
    written(tmp_path / "a" / "route.h5")
    with pytest.raises(BadInput, match="has no 'seg/front'; it has rgb, bev, lidar"):
        pack.read(tmp_path / "a" / "route.h5").seg("front")


def test_after_the_end_and_at_a_missing_moment_no_way_is_invented(tmp_path):
    """Rows 0 to 3 are frames 0, 1, 2 and 4."""
    pose = np.column_stack([3.0 * np.array([0, 1, 2, 4]), np.zeros(4), np.zeros(4)])
    numbers = np.array([0, 1, 2, 4])
    columns = {"frame": numbers, "time_s": numbers / 2, "pose": pose, "speed_ms": np.full(4, 6.0)}
    head = pack.Head("town01", "tiny", 2.0, "rear axle", {}, ())
    pack.write(tmp_path / "route.h5", head, columns | {"windows": np.zeros(0, int)}, [pack.Frame()] * 4)
    found = pack.read(tmp_path / "route.h5").waypoints(np.array([0, 1, 3]), 2)
    np.testing.assert_allclose(found[0], [[3, 0], [6, 0]])
    assert found[1, 0].tolist() == [3, 0] and np.isnan(found[1, 1]).all() and np.isnan(found[2]).all()


def test_waypoints_of_an_arc_bend_to_the_left(tmp_path):
    """Each step of half a second is 3 m along a circle of 60 m."""
    written(tmp_path / "a" / "route.h5")
    route = pack.read(tmp_path / "a" / "route.h5")
    ahead = route.waypoints(route.windows)
    angle = 0.05 * np.arange(1, 5)
    assert ahead == pytest.approx(
        np.tile(np.column_stack([60 * np.sin(angle), 60 * (1 - np.cos(angle))]), (len(ahead), 1, 1))
    )


@given(st.sets(st.integers(0, 40), min_size=0, max_size=41), st.integers(4, 6))
def test_a_window_has_every_moment_from_the_one_before_to_the_last_one_planned(there, horizon):
    frame = np.array(sorted(there), int)
    found = {int(frame[row]) for row in pack.windows(frame, horizon)}
    assert found == {t for t in there if all(t + step in there for step in range(-1, horizon + 1))}
