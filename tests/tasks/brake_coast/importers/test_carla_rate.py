"""CARLA drives of other rates than 2 Hz: the measurements tell the rate, and what contradicts it is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tasks.brake_coast import download
from tasks.brake_coast.formats import recording
from tasks.yard.files import read_json
from tasks.yard.step import BadInput
from tests.tasks.brake_coast import drives

JPEG = cv2.imencode(".jpg", np.full((36, 64, 3), 90, np.uint8))[1].tobytes()
SECONDS = 24


def speed_mps(seconds):
    return 8 + 4 * np.sin(np.asarray(seconds) / 6)


def route(
    folder: Path,
    hz: float,
    *,
    moves: bool = True,
    stamp: Callable[[float], float] | None = None,
    factor: float = 1.0,
    step: int = 1,
    zipped: bool = False,
) -> None:
    """24 s at this rate; frame k is numbered k times `step`, the image of second s ends in the byte s."""
    for name in ("rgb", "measurements"):
        (folder / name).mkdir(parents=True)
    x = 0.0
    for i in range(int(SECONDS * hz)):
        speed = float(speed_mps(i / hz))
        x += speed / hz
        measured = {"speed": factor * speed, "throttle": 0.4, "brake": i % (10 * hz) < hz}
        measured |= {"x": x, "y": -3.0} if moves else {}
        measured |= {"timestamp": stamp(i / hz)} if stamp else {}
        data = json.dumps(measured).encode()
        name = f"{i * step:04d}.json" + ".gz" * zipped
        (folder / "measurements" / name).write_bytes(gzip.compress(data) if zipped else data)
        (folder / "rgb" / f"{i * step:04d}.jpg").write_bytes(JPEG + bytes([int(i / hz)]))


def made(root: Path, hz: float = 2, **changes) -> dict:
    """What was found in the one drive of this rate, whose telemetry and images must be those of its true times."""
    download.run(drives.section("download", source=str(root / "in"), min_recordings=1, **changes), root / "out")
    ((name, found),) = read_json(root / "out" / "report.json")["recordings"].items()
    rows = recording.read_telemetry(root / "out" / name).rows
    ms = rows["t_ms"].to_numpy() - recording.NO_DATE_MS
    np.testing.assert_array_equal(ms, np.arange(0, 1000 * SECONDS, 500))
    half_second = ms[:, None] / 1000 - np.arange(hz / 2) / hz  # ends with the moment
    speed = np.where(half_second >= 0, 3.6 * speed_mps(half_second), np.nan)
    np.testing.assert_allclose(rows["speed_kmh"], np.nanmean(speed, axis=1), atol=0.15)  # one may be broken
    np.testing.assert_array_equal(rows["brake"], ms / 1000 % 10 < 1)
    images = recording.images(root / "out" / name)
    assert [path.read_bytes()[-1] for path in images.values()] == (ms // 1000).tolist()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("hz", [2, 4, 10])
@pytest.mark.parametrize("told", ["way", "stamps", "both"])
def test_the_rate_is_that_of_the_measurements(tmp_path, hz, told):
    stamp = None if told == "way" else (lambda s: 12.5 + s)
    route(tmp_path / "in" / "town", hz, moves=told != "stamps", stamp=stamp, zipped=told == "both")
    found = made(tmp_path, hz)
    assert (f"came at {hz} Hz" in str(found["warnings"])) == (hz != 2)


def test_numbers_of_the_simulator_are_no_measurements(tmp_path):
    route(tmp_path / "in" / "town", 2, step=10)
    made(tmp_path)


def test_a_speed_in_kilometres_an_hour_is_seen(tmp_path):
    route(tmp_path / "in" / "town", 4, stamp=lambda s: s, factor=3.6)
    assert "speed is in km/h, as way and stamps say" in made(tmp_path, 4)["warnings"]


@pytest.mark.slow
def test_where_nothing_tells_the_rate_it_is_said_and_can_be_set(tmp_path):
    route(tmp_path / "in" / "town", 2, moves=False)
    assert "nothing in it tells its rate: 2 Hz" in str(made(tmp_path)["warnings"])
    route(tmp_path / "other" / "in" / "town", 10, moves=False)
    made(tmp_path / "other", 10, carla_hz=10.0)


@pytest.mark.parametrize(
    ("of_route", "params", "said"),
    [
        ({"stamp": lambda s: 2 * s}, {}, "by its stamps a measurement comes every 0.5 s, by way and speed every 0.2"),
        ({}, {"carla_hz": 2.0}, "measured rate 4.* Hz, but download.carla_hz = 2"),
        ({"factor": 3.6}, {}, "14.4 measurements a second, which is no usual rate; is speed in m/s"),
    ],
)
def test_a_rate_that_the_data_contradicts_is_refused(tmp_path, of_route, params, said):
    route(tmp_path / "in" / "town", 4, **of_route)
    with pytest.raises(BadInput, match=said):
        made(tmp_path, **params)


def test_measurements_that_cannot_be_read_are_counted(tmp_path):
    route(tmp_path / "in" / "town", 10)
    folder = tmp_path / "in" / "town" / "measurements"
    (folder / "0007.json").write_text("{ cut o")
    (folder / "0107.json").write_text('{"speed": null, "throttle": 0.4, "brake": false}')
    (folder / "0207.json").write_text('{"speed": 8.0}')
    assert "3 of 240 measurements cannot be read, the first is 0007.json" in made(tmp_path, 10)["warnings"]
