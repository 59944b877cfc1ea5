"""Download: small true sources of every layout through the step, with all that can be wrong with a recording."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.brake_coast import download
from tasks.brake_coast.formats import recording
from tasks.brake_coast.importers import carobd, drivetrain
from tasks.brake_coast.importers.drives import Drive, cut, find
from tasks.brake_coast.importers.resample import Reading
from tasks.brake_coast.params import Line
from tasks.yard.files import folder_hash, read_json
from tasks.yard.layouts.images import decoded
from tasks.yard.step import BadInput
from tests.tasks.brake_coast import drives

REAL = drives.REPO.parent / "shared" / "real"
DAY_MS = 86_400_000


def params(source: Path | str, **changes):
    return drives.section("download", source=str(source), **changes)


def image(value: int = 90) -> bytes:
    return cv2.imencode(".jpg", np.full((36, 64, 3), value, np.uint8))[1].tobytes()


def native(source: Path, number: int, *, frames: int = 60, every: int = 6, **changes) -> Path:
    """A drive in the native layout on a day of its own, with a camera frame every `every` rows."""
    table = drives.drive(frames=frames, seed=number, start_ms=drives.START_MS + number * DAY_MS).assign(**changes)
    folder = source / recording.format_time(drives.START_MS + number * DAY_MS)[:-2].replace(" ", "_")
    folder.mkdir(parents=True)
    table.to_csv(folder / "telemetry.csv", index=False)
    for time in table["Time"][::every]:
        (folder / f"{time}.jpg").write_bytes(image(number))
    return folder


@pytest.fixture
def source(tmp_path):
    for number in range(3):
        native(tmp_path / "source", number)
    return tmp_path / "source"


def report(out: Path) -> dict:
    return read_json(out / "report.json")


def test_native_drives_arrive_unchanged(source, tmp_path):
    out = tmp_path / "out"
    metrics = download.run(params(source), out)
    assert (metrics["recordings"], metrics["quarantined"], metrics["rows"], metrics["images"]) == (3, 0, 180, 30)
    for name, folder in recording.recordings(out).items():
        assert (folder / "telemetry.csv").read_bytes() == (source / name / "telemetry.csv").read_bytes()
        for image_ in recording.images(source / name).values():
            assert recording.images(folder)[image_.stem].read_bytes() == image_.read_bytes()
        about = recording.description(folder)
        assert about["group"] == name[:10] and about["rate_hz"] == 2.0 and about["has_brake_signal"]
        assert (about["image_width_px"], about["image_height_px"]) == (64, 36)


def test_the_outputs_do_not_depend_on_when_or_where(source, tmp_path):
    download.run(params(source), tmp_path / "a")
    elsewhere = tmp_path / "elsewhere" / "source"
    shutil.copytree(source, elsewhere, copy_function=shutil.copyfile)
    download.run(params(elsewhere), tmp_path / "b")
    assert folder_hash(tmp_path / "a") == folder_hash(tmp_path / "b")


def test_one_more_recording_makes_only_that_one(source, tmp_path):
    out = tmp_path / "out"
    download.run(params(source), out)
    before = {name: (folder / "telemetry.csv").stat().st_ino for name, folder in recording.recordings(out).items()}
    new = native(source, 7)
    changed = source / sorted(before)[0]
    next(iter(recording.images(changed).values())).write_bytes(image(200))
    download.run(params(source), out)
    after = {name: (folder / "telemetry.csv").stat().st_ino for name, folder in recording.recordings(out).items()}
    assert after.keys() - before.keys() == {new.name}
    assert {name for name in before if after[name] != before[name]} == {changed.name}
    shutil.rmtree(new)
    download.run(params(source), out)
    assert new.name not in recording.recordings(out)


def spoil_zero_bytes(folder):
    (folder / "telemetry.csv").write_bytes(b"")


def spoil_missing_column(folder):
    table = pd.read_csv(folder / "telemetry.csv").drop(columns=["SPEED", "RPM"])
    table.to_csv(folder / "telemetry.csv", index=False)


def spoil_no_telemetry(folder):
    (folder / "telemetry.csv").unlink()


def spoil_all_rows(folder):
    table = pd.read_csv(folder / "telemetry.csv").assign(Time="No Frame")
    table.to_csv(folder / "telemetry.csv", index=False)


def spoil_rate(folder):
    table = drives.drive(frames=60, step_ms=1500)
    table.to_csv(folder / "telemetry.csv", index=False)


def spoil_gaps(folder):
    table = pd.read_csv(folder / "telemetry.csv")
    table[table.index % 15 != 0].to_csv(folder / "telemetry.csv", index=False)


def spoil_pedal_unit(folder):
    table = pd.read_csv(folder / "telemetry.csv")
    table.assign(ACCELERATOR_POS_D=table["ACCELERATOR_POS_D"] / 100).to_csv(folder / "telemetry.csv", index=False)


def spoil_speed_unit(folder):
    table = pd.read_csv(folder / "telemetry.csv")
    table.assign(SPEED=table["SPEED"] * 10).to_csv(folder / "telemetry.csv", index=False)


def spoil_images(folder):
    for path in recording.images(folder).values():
        path.write_bytes(path.read_bytes()[:200])


def spoil_names(folder):
    for n, path in enumerate(recording.images(folder).values()):
        path.rename(folder / f"2020-01-01 00-00-{n:02}-0.jpg")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_zero_bytes, "telemetry.csv: the file is empty"),
        (spoil_missing_column, "telemetry.csv: missing column SPEED, RPM"),
        (spoil_no_telemetry, "telemetry.csv: no telemetry.csv in this recording"),
        (spoil_all_rows, "telemetry.csv: none of its 60 rows has a Time that is understood"),
        (spoil_rate, "telemetry.csv: a row comes every 1500 ms, wanted is 500"),
        (spoil_gaps, "telemetry.csv: no gap-free run of 20 rows, the longest has 14"),
        (spoil_pedal_unit, "telemetry.csv: pedal_pct never exceeds 1"),
        (spoil_speed_unit, "telemetry.csv: 60 of 60 values of speed_kmh are not in 0..320"),
        (spoil_images, ": not one of its 10 images can be used"),
        (spoil_names, ": no image is named like a Time of telemetry.csv"),
    ],
)
def test_a_bad_recording_is_quarantined_and_the_others_go_on(source, tmp_path, spoil, reason):
    bad = native(source, 3)
    spoil(bad)
    out = tmp_path / "out"
    metrics = download.run(params(source), out)
    assert metrics["recordings"] == 3 and metrics["quarantined"] == 1
    said = read_json(out / "quarantine.json")[bad.name]
    assert said.startswith(bad.name) and reason in said and str(tmp_path) not in said
    assert report(out)["quarantined"] == {bad.name: said}


def test_too_few_usable_recordings_stop_the_step_and_say_why(source, tmp_path):
    spoil_zero_bytes(sorted(source.iterdir())[0])
    with pytest.raises(BadInput, match=r"usable recordings: 2, needed are 3(.|\n)*the file is empty"):
        download.run(params(source), tmp_path / "out")
    assert len(report(tmp_path / "out")["recordings"]) == 2
    assert download.run(params(source, min_recordings=1), tmp_path / "out")["recordings"] == 2


@pytest.mark.slow
def test_a_run_that_fails_takes_nothing_away(source, tmp_path):
    out = tmp_path / "out"
    download.run(params(source), out)
    before = {name: folder_hash(folder) for name, folder in recording.recordings(out).items()}
    told = report(out)
    one = native(tmp_path / "other", 0, frames=50)  # a recording of this name is there, and it is another
    with pytest.raises(BadInput, match=r"usable recordings: 1, needed are 3.*`python -m flows view brake_coast <rec"):
        download.run(params(tmp_path / "other"), out)
    assert {name: folder_hash(folder) for name, folder in recording.recordings(out).items()} == before
    assert report(out) == told and one.name in before
    assert download.run(params(tmp_path / "other", min_recordings=1), out)["rows"] == 50
    assert list(recording.recordings(out)) == [one.name]


def test_what_is_odd_is_counted_and_kept(source, tmp_path):
    folder = native(source, 3, every=1)
    table = pd.read_csv(folder / "telemetry.csv", dtype=str)
    table.loc[5, "ACCELERATOR_POS_D"] = "nan"
    table.loc[6, "ACCELERATOR_POS_D"] = ""
    errors = pd.DataFrame([["No Frame", *["No Data"] * 6]] * 2, columns=table.columns)
    pd.concat([table[:10], errors, table[10:], table[20:21]]).to_csv(folder / "telemetry.csv", index=False)
    times = table["Time"].tolist()
    (folder / f"{times[0]}.jpg").unlink()
    (folder / f"{times[1]}.jpg").write_bytes(image()[:-40])
    (folder / f"{times[2]}.jpg").write_bytes(b"")
    (folder / "2025-04-06 23-00-00-0.jpg").write_bytes(image())
    (folder / "backup_1743708811.jpg").write_bytes(image())
    download.run(params(source), tmp_path / "out")
    found = report(tmp_path / "out")["recordings"][folder.name]
    assert found["rows"] == 60 and found["error_rows"] == 2 and found["duplicate_rows"] == 1
    assert found["missing_replies"]["pedal_pct"] == 2 and found["missing_replies"]["speed_kmh"] == 0
    assert found["images"] == 60 and found["unreadable_images"] == 2
    assert found["rows_without_image"] == 1 and found["images_without_telemetry"] == 1
    assert f"2 images cannot be used, the first is {times[1]}.jpg: it was cut off: it has no end" in found["warnings"]
    said = "1 images are not called by a Time and passed over, the first is backup_1743708811.jpg"
    assert said in found["warnings"]


def test_a_speed_in_metres_a_second_is_noticed(source, tmp_path):
    folder = native(source, 3)
    table = pd.read_csv(folder / "telemetry.csv")
    table.assign(SPEED=table["SPEED"] / 3.6).to_csv(folder / "telemetry.csv", index=False)
    download.run(params(source), tmp_path / "out")
    warned = {n for n, found in report(tmp_path / "out")["recordings"].items() if "m/s" in str(found["warnings"])}
    assert warned == {folder.name}


@pytest.mark.slow
def test_a_lone_drive_is_cut_into_pieces_with_a_guard_between(tmp_path):
    folder = native(tmp_path / "source", 0, frames=600, every=1)
    download.run(params(tmp_path / "source"), tmp_path / "out")
    made = recording.recordings(tmp_path / "out")
    assert list(made) == [f"{folder.name}-{k}" for k in range(1, 6)]
    last = None
    for name, piece in made.items():
        t_ms = recording.read_telemetry(piece).rows["t_ms"]
        assert set(recording.images(piece)) == set(recording.read_telemetry(piece).rows["time"])
        assert last is None or t_ms.iloc[0] - last >= 15_000
        last = t_ms.iloc[-1]
        assert recording.description(piece)["group"] == name
    assert report(tmp_path / "out")["totals"]["rows"] >= 600 - 4 * 31


@settings(deadline=None, max_examples=60)
@given(rows=st.integers(1, 900), guard_s=st.floats(0, 40), piece_s=st.floats(30, 200))
def test_pieces_never_come_closer_than_the_guard(rows, guard_s, piece_s):
    start = drives.START_MS
    times = pd.Series([recording.format_time(start + 500 * i) for i in range(rows)])

    class Whole(Drive):
        @property
        def importer(self):
            return type("Layout", (), {"table": lambda path: pd.DataFrame({"Time": times})})

    drive = Whole("a-1", "native", Path(), "", "a-1")
    pieces = cut(drive, guard_s, piece_s=piece_s)
    if len(pieces) == 1:
        assert pieces[0] is drive
        return
    spans = [piece.span_ms for piece in pieces]
    assert spans[0][0] == start and abs(spans[-1][1] - (start + 500 * (rows - 1))) <= 1
    lengths = [(b - a) / 1000 for a, b in spans]
    assert min(lengths) >= 24.9 and max(lengths) - min(lengths) < 0.01
    assert all(b[0] - a[1] >= 1000 * guard_s - 2 for a, b in pairwise(spans))


def cut_of(t_ms: np.ndarray, guard_s: float = 15.0, **how) -> list[Drive]:
    """The pieces of a drive with rows at these times."""
    times = pd.DataFrame({"Time": [recording.format_time(int(t), digits=3) for t in t_ms]})

    class Timed(Drive):
        def read(self):
            return Reading(times, {})

    return cut(Timed("a-1", "native", Path(), "a", "a-1"), guard_s, **how)


def rows_in(pieces: list[Drive], t_ms: np.ndarray) -> list[int]:
    return [int(((t_ms >= piece.span_ms[0]) & (t_ms <= piece.span_ms[1])).sum()) for piece in pieces]


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [0, 4_102_444_800_000], ids=["1970", "2100"])
def test_a_row_with_a_wrong_date_makes_no_empty_piece(tmp_path, wrong):
    good = drives.START_MS + 500 * np.arange(600)
    t_ms = np.insert(good, 300, wrong)
    assert rows_in(cut_of(t_ms, pieces=5), good) == rows_in(cut_of(good, pieces=5), good) == [96] * 5
    folder = native(tmp_path / "source", 0, frames=600)
    table = pd.read_csv(folder / "telemetry.csv", dtype=str)
    table.loc[300, "Time"] = recording.format_time(wrong)
    table.to_csv(folder / "telemetry.csv", index=False)
    metrics = download.run(params(tmp_path / "source"), tmp_path / "out")
    assert (metrics["recordings"], metrics["quarantined"]) == (5, 0) and metrics["hours"] < 0.1


def test_pauses_make_no_piece_longer_and_every_piece_holds_a_window():
    hour = 3_600_000
    parts = [drives.START_MS + k * hour + 500 * np.arange(120) for k in range(5)]  # a minute each, an hour apart
    t_ms = np.concatenate(parts)
    pieces = cut_of(t_ms, pieces=5)
    assert len(pieces) == 5 and min(rows_in(pieces, t_ms)) >= 90
    assert all(b.span_ms[0] - a.span_ms[1] >= 15_000 for a, b in pairwise(pieces))
    scraps = np.concatenate([drives.START_MS + k * hour + 500 * np.arange(19) for k in range(50)])
    assert len(cut_of(scraps, pieces=5)) == 1  # no window fits anywhere: making it says so
    assert rows_in(cut_of(np.concatenate([scraps + 9 * hour * 10, t_ms]), pieces=5), t_ms) == rows_in(pieces, t_ms)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    runs=st.lists(
        st.tuples(st.integers(1, 200), st.sampled_from([700, 5_000, 60_000, 10**10])), min_size=1, max_size=9
    ),
    guard_s=st.floats(0, 40),
    pieces=st.integers(2, 9),
)
def test_every_piece_of_a_drive_with_pauses_holds_a_window_and_keeps_its_distance(runs, guard_s, pieces):
    steps = np.concatenate([np.r_[pause, np.full(rows - 1, 500)] for rows, pause in runs])
    t_ms = np.cumsum(steps)
    found = cut_of(t_ms, guard_s, pieces=pieces)
    if len(found) == 1:
        return
    segment = np.cumsum(steps > 601)
    for piece in found:
        inside = (t_ms >= piece.span_ms[0]) & (t_ms <= piece.span_ms[1])
        assert np.unique(segment[inside], return_counts=True)[1].max() >= 20
    assert all(b.span_ms[0] - a.span_ms[1] >= 1000 * guard_s - 2 for a, b in pairwise(found))


def test_a_guard_shorter_than_a_window_and_the_horizon_is_refused():
    values = {name: drives.section(name) for name in Line.model_fields}
    with pytest.raises(ValueError, match=r"guard_s = 14.0 must be at least 15"):
        Line(**{**values, "download": drives.section("download", guard_s=14.0)})


def test_the_gear_rule():
    def gear(speed, rpm, pedal=20, load=40):
        return drivetrain.gear(*(np.array([v], dtype=float) for v in (speed, rpm, pedal, load)))[0]

    assert gear(33, 2000) == 2 and gear(107, 2000) == 5 and gear(55, 2000) == 3
    assert gear(5.9, 621) == 0  # below 6 km/h
    assert gear(44, 2000) == 0  # between two gears: the clutch is down
    assert gear(11, 950, pedal=0, load=20) == 0 and gear(9.0, 950, pedal=5) == 1  # rolling with the engine idling
    assert np.isnan(gear(50, 0)) and np.isnan(gear(np.nan, 2000))
    rpm, load = drivetrain.engine(np.array([0.0, 26, 120]), np.array([0.0, 75, 0]))
    assert rpm.tolist() == pytest.approx([920, 26 / 0.0165, 120 / 0.0535]) and load.tolist() == [20, 75, 0]


def carla_route(folder: Path, frames: int = 360) -> None:
    for name in ("rgb", "measurements"):
        (folder / name).mkdir(parents=True)
    for i in range(frames):
        measured = {"speed": 5 + 2 * np.sin(i / 9), "throttle": 0.5 * (i % 40 > 20), "brake": i % 40 < 5, "theta": 0.1}
        (folder / "measurements" / f"{i:04}.json").write_text(json.dumps(measured))
        (folder / "rgb" / f"{i:04}.png").write_bytes(PNG)


PNG = cv2.imencode(".png", np.zeros((36, 64, 3), np.uint8))[1].tobytes()


@pytest.mark.slow
def test_a_carla_route_becomes_telemetry_and_keeps_its_pngs(tmp_path):
    route = tmp_path / "town01"
    carla_route(route)
    (route / "measurements" / "0003.json").write_text("{ cut o")
    download.run(params(route), tmp_path / "out")
    made = recording.recordings(tmp_path / "out")
    assert next(iter(made)) == "carla-town01-1" and len(made) == 4  # 180 s
    first = made["carla-town01-1"]
    rows = recording.read_telemetry(first).rows
    assert rows["time"].tolist()[:4] == [f"2000-01-01 00-00-0{s}" for s in ("0-0", "0-5", "1-0", "2-0")]
    assert rows["speed_kmh"].iloc[2] == pytest.approx(3.6 * (5 + 2 * np.sin(2 / 9)), abs=0.01)
    assert rows["brake"].tolist()[:5] == [1, 1, 1, 1, 0] and rows["pedal_pct"].iloc[24] == 50
    assert recording.read_telemetry(first).error_rows == 1
    assert (
        recording.images(first)["2000-01-01 00-00-01-5"].read_bytes() == PNG
    )  # a frame without telemetry is kept and counted
    assert report(tmp_path / "out")["totals"]["images_without_telemetry"] == 1
    assert recording.description(first)["derived"] == ["RPM", "ENGINE_LOAD", "GEAR"]


@given(row_s=st.floats(0.45, 0.55), reads=st.integers(2, 5), pause_s=st.integers(8, 100))
@settings(deadline=None, max_examples=40)
def test_the_coarse_clock_of_a_log_gives_even_rows(row_s, reads, pause_s):
    """The clock is read every `reads` rows and cut to whole seconds; after 240 rows the log pauses."""
    true = row_s * np.arange(400) + np.where(np.arange(400) >= 240, pause_s, 0)
    clock = np.floor(true[reads * (np.arange(400) // reads)])
    times = carobd.row_times_s(clock)
    step = np.diff(times)
    assert np.allclose(np.delete(step, 239), row_s, rtol=0.01)
    assert step[239] == pytest.approx(pause_s + row_s, abs=3)


CAROBD = ["ENGINE_RUN_TINE ()", "ENGINE_RPM ()", "VEHICLE_SPEED ()", "ENGINE_LOAD ()", "PEDAL_D ()"]


def carobd_log(path: Path, rows: int = 300) -> None:
    clock = np.floor(0.492 * (4 * (np.arange(rows) // 4)))
    lines = [f"{c:.6f}, {1500 + i:.6f}, {30 + i % 7:.6f}, 40.000000, 16.078432," for i, c in enumerate(clock)]
    path.write_text(",".join(CAROBD) + "\n" + "\n".join(lines) + "\n")


def test_obd_logs_have_no_camera_and_an_unknown_brake(tmp_path):
    (tmp_path / "logs").mkdir()
    for n in range(3):
        carobd_log(tmp_path / "logs" / f"drive{n}.csv")
    (tmp_path / "logs" / "drive9.csv").write_bytes(b"")
    metrics = download.run(params(tmp_path / "logs"), tmp_path / "out")
    assert metrics["recordings"] == 3 and metrics["quarantined"] == 1 and metrics["images"] == 0
    folder = recording.recordings(tmp_path / "out")["carobd-drive0"]
    rows = recording.read_telemetry(folder).rows
    assert len(rows) == 300 and rows["brake"].isna().all() and rows["pedal_pct"].unique().tolist() == [16.08]
    assert rows["rpm"].iloc[7] == 1507 and rows["speed_kmh"].iloc[7] == 30
    assert np.diff(rows["t_ms"]).mean() == pytest.approx(492, rel=0.01)
    about = recording.description(folder)
    assert not about["has_images"] and not about["has_brake_signal"] and about["image_width_px"] is None


def video(path: Path, seconds: float, fps: int = 25) -> None:
    """Frame i is as bright as its time: 10 grey levels a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "5", "g": "50"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(round(seconds * fps)):
            grey = np.full((48, 64, 3), round(20 + 10 * i / fps), np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(grey, format="bgr24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def test_a_link_to_a_folder_above_it_makes_no_drive_twice(tmp_path):
    native(tmp_path / "drives", 1)
    (tmp_path / "drives" / "again").symlink_to(tmp_path / "drives")
    assert len(find(tmp_path, "auto")) == 1
    native(tmp_path / "beside", 1)  # of another year, which nobody has asked for
    (tmp_path / "drives" / "all").symlink_to(tmp_path)
    assert len(find(tmp_path / "drives", "auto")) == 1


def test_folders_that_link_to_each_other_are_walked_once_by_their_own_paths(tmp_path):
    native(tmp_path / "in" / "b", 1)
    (tmp_path / "in" / "a").mkdir()
    (tmp_path / "in" / "a" / "other").symlink_to(tmp_path / "in" / "b")
    (tmp_path / "in" / "b" / "other").symlink_to(tmp_path / "in" / "a")
    native(tmp_path / "elsewhere", 1)
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    found = [drive.path.parent.relative_to(tmp_path).as_posix() for drive in find(tmp_path / "in", "auto")]
    assert found == ["in/b", "in/linked"]


@pytest.mark.slow
def test_a_video_gives_the_frames_of_every_half_second(tmp_path):
    (tmp_path / "cam").mkdir()
    video(tmp_path / "cam" / "dash.mp4", 12)
    video(tmp_path / "cam" / "2025-04-03_19-33-31.mp4", 12)
    pd.DataFrame({"Time": np.arange(0, 12, 0.1), "SPEED": np.arange(0, 120)}).to_csv(
        tmp_path / "cam" / "2025-04-03_19-33-31.csv", index=False
    )
    metrics = download.run(params(tmp_path / "cam", min_recordings=2), tmp_path / "out")
    assert metrics["images"] == 48 and metrics["rows_without_image"] == 0
    made = recording.recordings(tmp_path / "out")
    for name, start in (("video-dash", "2000-01-01 00-00-"), ("2025-04-03_19-33-31", "2025-04-03 19-33-")):
        images = recording.images(made[name])
        assert all(time.startswith(start) for time in images)
        levels = np.array([decoded(path).mean() for path in images.values()])
        assert np.allclose(levels - levels[0], 5 * np.arange(24), atol=2)
    rows = recording.read_telemetry(made["2025-04-03_19-33-31"]).rows
    # ten rows a second: of each moment the mean of the last five
    assert rows["speed_kmh"].tolist() == [0, *range(3, 118, 5)] and rows["rpm"].isna().all()
    assert not recording.description(made["video-dash"])["has_telemetry"]


@pytest.mark.slow
def test_a_piece_of_a_video_has_the_frames_of_its_own_time(tmp_path):
    (tmp_path / "cam").mkdir()
    video(tmp_path / "cam" / "dash.mp4", 22, fps=10)
    (tmp_path / "cam" / "broken.mp4").write_bytes(b"\0" * 1000)
    download.run(params(tmp_path / "cam", min_recordings=1), tmp_path / "out")
    assert "not a readable video" in read_json(tmp_path / "out" / "quarantine.json")["video-broken"]
    span_ms = (recording.NO_DATE_MS + 12_000, recording.NO_DATE_MS + 15_000)
    piece = Drive("video-dash-2", "video", tmp_path / "cam" / "dash.mp4", "dash.mp4", "dash", span_ms)
    (tmp_path / "piece").mkdir()
    download.make(piece, tmp_path / "piece", world=None)
    levels = np.array([decoded(path).mean() for path in recording.images(tmp_path / "piece").values()])
    first = decoded(recording.images(tmp_path / "out" / "video-dash")["2000-01-01 00-00-00-0"]).mean()
    assert np.allclose(levels - first, 120 + 5 * np.arange(7), atol=4)


@pytest.mark.slow
def test_the_world_gives_drives_that_do_not_depend_on_their_number(tmp_path):
    source = "synth://highway?recordings={}&minutes=0.25&seed=3"
    metrics = download.run(params(source.format(1), min_recordings=1), tmp_path / "out")
    assert metrics["recordings"] == 1 and metrics["images"] == 30 and metrics["unreadable_images"] == 0
    before = {p: p.stat().st_ino for p in (tmp_path / "out").glob("*/telemetry.csv")}
    download.run(params(source.format(2), min_recordings=1), tmp_path / "out")
    after = {p: p.stat().st_ino for p in (tmp_path / "out").glob("*/telemetry.csv")}
    assert len(after) == 2 and before.items() <= after.items()
    with pytest.raises(BadInput, match="did you mean 'recordings'"):
        download.run(params("synth://highway?recording=3"), tmp_path / "out")


def test_a_folder_without_recordings_says_what_was_looked_for(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(BadInput, match=r"native or carla or carobd or video in it; it holds notes\.txt"):
        download.run(params(tmp_path), tmp_path / "out")


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="needs the third-party inputs in ../shared/real")
def test_the_real_carla_route(tmp_path):
    metrics = download.run(params(REAL / "carla_route"), tmp_path / "out")
    assert metrics["recordings"] == 5 and metrics["quarantined"] == 0
    assert metrics["rows"] == metrics["images"] == 352  # of 472; the rest is the four guards
    for folder in recording.recordings(tmp_path / "out").values():
        speed = recording.read_telemetry(folder).rows["speed_kmh"]
        assert speed.min() >= 0 and 10 < speed.max() < 26


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="needs the third-party inputs in ../shared/real")
def test_the_real_obd_logs(tmp_path):
    metrics = download.run(params(REAL / "car_obd"), tmp_path / "out")
    assert metrics["recordings"] == 5 and metrics["rows"] == 15_816
    assert metrics["hours"] == pytest.approx(2.16, abs=0.01)
    for found in report(tmp_path / "out")["recordings"].values():
        assert found["ranges"]["pedal_pct"][0] == 16.08 and found["rate_hz"] == 2.033
        assert any("replies are slow" in warning for warning in found["warnings"])


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="needs the third-party inputs in ../shared/real")
def test_the_real_video(tmp_path):
    metrics = download.run(params(REAL / "highway_video", min_recordings=1), tmp_path / "out")
    assert metrics["images"] == 18  # 221 frames at 25 Hz are 8.84 s
