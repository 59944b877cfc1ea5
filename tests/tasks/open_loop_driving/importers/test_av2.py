"""Argoverse 2: poses at any rate, interpolated to two a second; gaps and damage are named; the published log's
numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pytest

from tasks.open_loop_driving.formats import frames
from tasks.open_loop_driving.importers import av2
from tasks.yard.step import BadInput
from tests.tasks.open_loop_driving.sources import REAL, brought, fetched

LOGS = REAL / "av2_logs"
START_NS = 315966253660357000


def log(folder, stamps, boxes=False, until_s=np.inf):
    """A car that turns left at 6 m/s, by 0.1 rad/s, and somebody who stands at (20, 5) in the city."""
    folder.mkdir(parents=True)
    yaw = 0.1 * stamps
    x, y = 60 * np.sin(yaw), 60 * (1 - np.cos(yaw))
    zero = np.zeros(len(stamps))
    table = {
        "timestamp_ns": START_NS + (stamps * 1e9).astype(np.int64), "qw": np.cos(yaw / 2), "qx": zero, "qy": zero,
        "qz": np.sin(yaw / 2), "tx_m": x, "ty_m": y, "tz_m": zero,
    }  # fmt: skip
    feather.write_feather(pa.table(table), folder / av2.POSES, compression="uncompressed")
    if boxes:
        tenth = np.arange(0, min(until_s, stamps[-1]), 0.1)
        pose = np.column_stack([60 * np.sin(0.1 * tenth), 60 * (1 - np.cos(0.1 * tenth)), 0.1 * tenth])
        at = frames.ego_from_world(np.array([20.0, 5.0]), pose)
        ones, none = np.ones(len(tenth)), np.zeros(len(tenth))
        table = {
            "timestamp_ns": START_NS + (tenth * 1e9).astype(np.int64), "track_uuid": ["me"] * len(tenth),
            "category": ["PEDESTRIAN"] * len(tenth), "length_m": 0.6 * ones, "width_m": 0.5 * ones,
            "height_m": 1.8 * ones, "qw": ones, "qx": none, "qy": none, "qz": none, "tx_m": at[:, 0], "ty_m": at[:, 1],
            "tz_m": 0.9 * ones,
        }  # fmt: skip
        feather.write_feather(pa.table(table), folder / av2.ANNOTATIONS, compression="uncompressed")
    return folder


def test_a_bend_to_the_left_at_two_a_second(tmp_path):
    rng = np.random.default_rng(0)
    stamps = np.concatenate([[0.0], np.sort(rng.uniform(0, 8.1, 1200)), [8.1]])
    log(tmp_path / "source", stamps, boxes=True)
    (name,) = fetched(tmp_path, tmp_path / "source")["routes"]
    route = brought(tmp_path, name)
    yaw = 0.05 * np.arange(17)
    exact = np.column_stack([60 * np.sin(yaw), 60 * (1 - np.cos(yaw)), yaw])
    assert route.pose == pytest.approx(exact, abs=1e-3) and set(route.sensors) == {"boxes"}
    assert route.columns["speed_ms"] == pytest.approx(6.0, abs=0.01)
    boxes = [route.boxes[frame][0][0] for frame in range(16)]
    still = [frames.world_from_ego(box[1:3], pose) for box, pose in zip(boxes, route.pose, strict=False)]
    assert np.array(still) == pytest.approx(np.tile([20.0, 5.0], (16, 1)), abs=5e-3)
    assert max(box[8] for box in boxes) < 0.02 and boxes[0][0] == 1


def test_frames_that_nobody_labelled_are_left_out_and_are_not_empty_streets(tmp_path):
    log(tmp_path / "source", np.arange(0, 8.2, 0.01), boxes=True, until_s=6.3)
    (name,) = fetched(tmp_path, tmp_path / "source")["routes"]
    route = brought(tmp_path, name)
    assert route.frames.tolist() == list(range(13)) == sorted(route.boxes) and route.about["usable"] == 13
    lines = [line for line in route.about["remarks"] if "label" in line]
    assert lines == ["4 frames have no label within 50 ms and are left out: 6.5 s, 7.0 s, 7.5 s and 1 more"]
    assert route.about["faults"][-1] == "annotations.feather: no label within 50 ms of 8.0 s"


def test_a_gap_among_the_poses_is_named(tmp_path):
    log(tmp_path / "source" / "good", np.arange(0, 8, 0.01))
    log(tmp_path / "source" / "holes", np.r_[np.arange(0, 3, 0.01), np.arange(4, 8, 0.01)])
    report = fetched(tmp_path, tmp_path / "source")
    assert list(report["routes"]) == ["good"] and "1.01 s between two poses" in report["quarantined"]["holes"]


def test_a_damaged_file_is_named(tmp_path):
    file = log(tmp_path / "source", np.arange(0, 8, 0.01)) / av2.POSES
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(BadInput, match=f"{av2.POSES}: cannot be read as a feather file"):
        fetched(tmp_path, tmp_path / "source")


# Computed from the files by others: constant velocity over the last half second, at 1, 2, 3 s and the mean up to them.
KNOWN = {
    "3b3570b4": ([0.938, 2.878, 5.344], [0.631, 1.487, 2.559]),
    "7fab2350": ([0.866, 2.817, 5.707], [0.580, 1.422, 2.590]),
}


@pytest.mark.skipif(not LOGS.exists(), reason="needs ../shared/real: two logs of Argoverse 2")
@pytest.mark.parametrize("short", KNOWN)
def test_constant_velocity_on_the_real_logs(short):
    (folder,) = LOGS.glob(f"{short}*")
    _, poses = av2.poses(folder / av2.POSES)
    rows, steps = np.arange(2, len(poses) - 6), np.arange(1, 7)
    truth = frames.ego_from_world(poses[rows[:, None] + steps][..., :2], poses[rows][:, None])
    step = -frames.ego_from_world(poses[rows - 1][:, :2], poses[rows])
    off = np.linalg.norm(step[:, None] * steps[:, None] - truth, axis=-1).mean(0)
    at, up_to = KNOWN[short]
    assert len(rows) == 24
    assert off[[1, 3, 5]] == pytest.approx(at, abs=0.02)
    assert [off[:end].mean() for end in (2, 4, 6)] == pytest.approx(up_to, abs=0.02)
