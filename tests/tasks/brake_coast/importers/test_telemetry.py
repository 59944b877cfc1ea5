"""Telemetry as other programs write it, through download in every layout that reads it: the values are known."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest

from tasks.brake_coast import download, label
from tasks.brake_coast.formats import recording
from tasks.brake_coast.judging.events import Drive, summary, tally
from tasks.yard.files import read_json
from tasks.yard.step import BadInput
from tests.tasks.brake_coast import drives

T0 = 1_777_622_400_000  # 2026-05-01 08-00-00
NAME = "2026-05-01_08-00-00"
JPEG = cv2.imencode(".jpg", np.full((36, 64, 3), 90, np.uint8))[1].tobytes()


DASHES = str.maketrans(":.", "--")


def speed_kmh(ms):
    return 60 + 20 * np.sin(np.asarray(ms) / 17_000)


def presses(ms):
    return (np.asarray(ms) // 1000) % 10 < 2


def log(ms, *, stamp: Callable[[int], str] | None = None, brake: Callable[[bool], str] = str) -> pd.DataFrame:
    """Rows at these milliseconds of one drive, as text; the brake is on for the first two of ten seconds."""
    ms = np.asarray(ms)
    iso = np.datetime_as_string((T0 + ms.astype(int)).astype("datetime64[ms]"))  # 2026-05-01T08:00:00.500
    native = [f"{text[:10]} {text[11:].translate(DASHES)}" for text in iso.tolist()]
    return pd.DataFrame(
        {
            "Time": [stamp(int(t)) for t in ms] if stamp else native,
            "SPEED": [f"{v:.2f}" for v in speed_kmh(ms)],
            "RPM": [f"{v / 40.5 * 1000:.1f}" for v in speed_kmh(ms)],
            "ACCELERATOR_POS_D": ["20.5"] * len(ms),
            "ENGINE_LOAD": ["40.0"] * len(ms),
            "BRAKE_SIGNAL": [brake(bool(b)) for b in presses(ms)],
            "GEAR": ["4"] * len(ms),
        }
    )


def known_by(row_ms, ms, within_ms: int = 500) -> list[np.ndarray]:
    """Of each moment the rows of the time that ends with it."""
    return [row_ms[(row_ms > t - within_ms) & (row_ms <= t)] for t in ms]


def mean_speed(row_ms, ms) -> list[float]:
    return [speed_kmh(rows).mean() for rows in known_by(row_ms, ms)]


HALVES = np.arange(0, 60_000, 500)


@cache
def film_of_a_minute() -> bytes:
    file = BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=2, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(120):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def write(path: Path, data: str | bytes | pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = data.to_csv(index=False) if isinstance(data, pd.DataFrame) else data
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def native(root: Path, data, name: str = "telemetry.csv") -> None:
    write(root / "in" / NAME / name, data)


def film(root: Path, data, name: str = f"{NAME}.csv") -> None:
    write(root / "in" / name, data)
    write(root / "in" / f"{NAME}.mp4", film_of_a_minute())


LAYOUTS = {"native": native, "film": film}
EACH = ["native", pytest.param("film", marks=pytest.mark.slow)]  # a film has to be written first


def made(root: Path, **changes) -> tuple[pd.DataFrame, dict]:
    """(rows, what was found) of the one recording."""
    download.run(drives.section("download", source=str(root / "in"), min_recordings=1, **changes), root / "out")
    ((name, found),) = read_json(root / "out" / "report.json")["recordings"].items()
    return recording.read_telemetry(root / "out" / name).rows, found


def refused(root: Path) -> str:
    """Why the one recording beside a good one was not used."""
    write(root / "in" / "2026-05-09_08-00-00" / "telemetry.csv", log(HALVES))
    download.run(drives.section("download", source=str(root / "in"), min_recordings=1), root / "out")
    ((_, reason),) = read_json(root / "out" / "quarantine.json").items()
    return reason


def assert_true(rows: pd.DataFrame, ms=None, tolerance: float = 0.02) -> None:
    """Speed and brake are those of their moments."""
    ms = rows["t_ms"].to_numpy() - T0 if ms is None else ms
    np.testing.assert_allclose(rows["speed_kmh"], speed_kmh(ms), atol=tolerance)
    np.testing.assert_allclose(rows["rpm"], speed_kmh(ms) / 40.5 * 1000, atol=50 * tolerance)
    np.testing.assert_array_equal(rows["pedal_pct"], 20.5)
    np.testing.assert_array_equal(rows["brake"], presses(ms))


def german(table: pd.DataFrame) -> str:
    numbers = ["SPEED", "RPM", "ACCELERATOR_POS_D", "ENGINE_LOAD"]
    return table.assign(**{n: table[n].str.replace(".", ",") for n in numbers}).to_csv(index=False, sep=";")


WRITTEN = {
    "semicolons and decimal commas": (german(log(HALVES)), "separated by semicolons"),
    "decimal commas in quotes": (
        log(HALVES).assign(SPEED=lambda t: t["SPEED"].str.replace(".", ",")),
        "decimal commas",
    ),
    "thousands": (log(HALVES).assign(RPM=lambda t: [f"{float(v):,.1f}" for v in t["RPM"]]), "thousands have commas"),
    "UTF-16": (log(HALVES).to_csv(index=False, sep="\t").encode("utf-16"), "UTF-16"),
    "UTF-16 without a mark": (log(HALVES).to_csv(index=False).encode("utf-16-le"), "UTF-16"),
    "Windows and a preamble": ("Fahrzeug: Käfer, 5 °C\n" + log(HALVES).to_csv(index=False)).encode("cp1252"),
    "lower case": log(HALVES).rename(columns=str.lower),
    "a unit in the header": (
        log(HALVES).assign(SPEED=speed_kmh(HALVES) / 1.609344).rename(columns={"SPEED": "Speed [mph]"}),
        "converted from mph",
    ),
    "units in the cells": log(HALVES).assign(
        SPEED=lambda t: t["SPEED"] + " km/h", RPM=lambda t: t["RPM"] + " 1/min", ENGINE_LOAD="40 %"
    ),
    "WAHR": log(HALVES, brake=lambda b: "WAHR" if b else "FALSCH"),
    "ON": log(HALVES, brake=lambda b: "ON" if b else "OFF"),
    "a share": (log(HALVES, brake=lambda b: "0,35" if b else "0"), "pressed above 0, that is in 24 of 120 rows"),
    "a percentage": (log(HALVES, brake=lambda b: "35 %" if b else "0 %"), "pressed above 0, that is in 24 of 120 rows"),
    "whole seconds for two rows": (
        log(HALVES, stamp=lambda t: recording.format_time(T0 + t // 1000 * 1000)),
        "60 rows have the stamp of the row before",
    ),
    "epoch": (log(HALVES, stamp=lambda t: f"{(T0 + t) / 1000:.1f}"), "counts from 1970"),
    "epoch in milliseconds": (log(HALVES, stamp=lambda t: str(T0 + t)), "counts from 1970"),
    "ISO": log(HALVES, stamp=lambda t: pd.Timestamp(T0 + t, unit="ms").isoformat()),
    "ISO with a zone": log(HALVES, stamp=lambda t: f"{pd.Timestamp(T0 + t, unit='ms').isoformat()}+02:00"),
    "German dates": log(HALVES, stamp=lambda t: pd.Timestamp(T0 + t, unit="ms").strftime("%d.%m.%Y %H:%M:%S,%f")),
    "time of day": log(HALVES, stamp=lambda t: pd.Timestamp(T0 + t, unit="ms").strftime("%H:%M:%S.%f")),
    "seconds": log(HALVES, stamp=lambda t: f"{t / 1000}"),
    "milliseconds": log(HALVES, stamp=str),
    "a header again": (
        log(HALVES[:60]).to_csv(index=False) + log(HALVES[60:]).to_csv(index=False),
        "the header comes again in line 62",
    ),
    "other columns after a restart": log(HALVES[:60]).to_csv(index=False)
    + log(HALVES[60:])[["Time", "BRAKE_SIGNAL", "RPM", "SPEED", "GEAR", "ENGINE_LOAD", "ACCELERATOR_POS_D"]].to_csv(
        index=False
    ),
    "the last row first": (log(HALVES)[::-1], "runs backwards"),
    "a month in words": log(HALVES, stamp=lambda t: pd.Timestamp(T0 + t, unit="ms").strftime("%d-%b-%Y %H:%M:%S.%f")),
    "no marks in a date": log(
        HALVES, stamp=lambda t: pd.Timestamp(T0 + t, unit="ms").strftime("%Y%m%dT%H%M%S.%f")[:-3]
    ),
    "only digits": log(HALVES, stamp=lambda t: pd.Timestamp(T0 + t, unit="ms").strftime("%Y%m%d%H%M%S%f")[:-3]),
    "days of a spreadsheet": (log(HALVES, stamp=lambda t: f"{(T0 + t) / 86.4e6 + 25_569:.8f}"), "days from 1900"),
    "units below the header": (
        log(HALVES)
        .assign(SPEED=speed_kmh(HALVES) / 1.609344)
        .to_csv(index=False)
        .replace("\n", "\ns,mph,1/min,%,%,-,-\n", 1),
        "converted from mph",
    ),
}


# A film's telemetry is read by the same reader; what may differ is the clock: it is held against the film.
BESIDE_A_FILM = ["semicolons and decimal commas", "whole seconds for two rows", "epoch", "epoch in milliseconds", "ISO"]
BESIDE_A_FILM += ["ISO with a zone", "German dates", "time of day", "seconds", "milliseconds", "a header again"]
BESIDE_A_FILM += ["the last row first", "only digits", "days of a spreadsheet"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "written"), [*(("native", of) for of in WRITTEN), *(("film", of) for of in BESIDE_A_FILM)]
)
def test_what_other_programs_write_is_read(tmp_path, layout, written):
    data, said = WRITTEN[written] if isinstance(WRITTEN[written], tuple) else (WRITTEN[written], "")
    LAYOUTS[layout](tmp_path, data)
    rows, found = made(tmp_path)
    assert len(rows) == 120 and found["gaps"] == 0
    assert_true(rows)
    assert said in str(found["warnings"])


@pytest.mark.parametrize("layout", EACH)
@pytest.mark.parametrize(
    ("column", "cells", "said"),
    [
        ("SPEED", ["54 furlongs"] * 120, "SPEED: 120 of 120 cells are not understood, such as '54 furlongs'"),
        ("BRAKE_SIGNAL", ["gedrückt", "frei"] * 60, "BRAKE_SIGNAL: 120 of 120 cells are not understood"),
        ("BRAKE_SIGNAL", ["36", "4"] * 60, "BRAKE_SIGNAL is never 0"),
        ("BRAKE_SIGNAL", ["0", "1", "2"] * 40, "BRAKE_SIGNAL holds the codes 0, 1, 2"),
        ("Time", ["05/01/2026 08:00:01"] * 120, "is the day or the month first?"),
    ],
)
def test_what_is_not_understood_is_no_missing_reply(tmp_path, layout, column, cells, said):
    LAYOUTS[layout](tmp_path, log(HALVES).assign(**{column: cells}))
    assert said in refused(tmp_path)


@pytest.mark.parametrize("layout", EACH)
def test_one_cell_that_is_not_understood_is_told(tmp_path, layout):
    table = log(HALVES)
    table.loc[7, "SPEED"] = "??17"
    LAYOUTS[layout](tmp_path, table)
    rows, found = made(tmp_path)
    assert rows["speed_kmh"].isna().sum() == 1
    assert "SPEED: 1 of 120 cells are not understood, such as '??17'; they count as missing" in found["warnings"]


@pytest.mark.parametrize("layout", EACH)
def test_a_power_cut_costs_the_row_it_cut(tmp_path, layout):
    before, after = (log(part).to_csv(index=False).encode() for part in (HALVES[:60], HALVES[60:]))
    LAYOUTS[layout](tmp_path, before[:-20] + bytes(700) + after.split(b"\n", 1)[1])
    rows, found = made(tmp_path)
    known = rows.dropna(subset=["speed_kmh"])
    assert len(known) == 119 and set(HALVES) - set(known["t_ms"] - T0) == {29_500}
    assert_true(known)
    assert "1 damaged rows are left out, the first in line 61" in found["warnings"]


def test_decimal_commas_between_commas_are_seen(tmp_path):
    table = log(HALVES)
    lines = [",".join([row[0], *(cell.replace(".", ",") for cell in row[1:])]) for row in table.to_numpy()]
    native(tmp_path, ",".join(table) + "\n" + "\n".join(lines))
    assert "rows have more cells than the 7 of the header" in refused(tmp_path)


@pytest.mark.parametrize("hz", [4, 10, 13.8, 83, 100])
@pytest.mark.parametrize("layout", EACH)
def test_a_fast_logger_is_resampled_aloud(tmp_path, layout, hz):
    row_ms = np.arange(0, 60_000, 1000 / hz)
    LAYOUTS[layout](tmp_path, log(row_ms))
    rows, found = made(tmp_path)
    ms = rows["t_ms"].to_numpy() - T0
    np.testing.assert_array_equal(ms, HALVES)
    # of what came after a moment it knows nothing
    np.testing.assert_allclose(rows["speed_kmh"], mean_speed(row_ms, ms), atol=0.02)
    np.testing.assert_array_equal(rows["brake"], [presses(of[-1]) for of in known_by(row_ms, ms)])
    assert (
        f"came at {hz:.3g} Hz: resampled to 2 Hz (numbers are means of the half second before" in found["warnings"][0]
    )
    assert found["rate_hz"] == 2
    assert rows["gear"].unique().tolist() == [4]


def test_images_of_a_fast_logger_go_to_the_nearest_row(tmp_path):
    native(tmp_path, log(np.arange(0, 60_000, 72.5)))
    for ms in range(130, 60_000, 200):  # a camera of its own clock
        write(tmp_path / "in" / NAME / f"{recording.format_time(T0 + ms, digits=3)}.jpg", JPEG + bytes([ms // 1000]))
    _, found = made(tmp_path)
    (folder,) = recording.recordings(tmp_path / "out").values()
    images = recording.images(folder)
    assert len(images) == found["images"] == 120 and found["images_without_telemetry"] == 0
    for time, path in images.items():
        moment = int(recording.parse_times(pd.Series([time]))[0]) - T0
        nearest = min(range(130, 60_000, 200), key=lambda ms, at=moment: abs(ms - at))
        assert path.read_bytes()[-1] == nearest // 1000
    assert "180 of 300 images are the nearest to no row: left out" in found["warnings"]


@pytest.mark.parametrize("layout", EACH)
@pytest.mark.parametrize("hz", [0.92, 1, 1.25, 1.5, 1.66])
def test_of_a_slow_logger_a_reply_stands_until_the_next(tmp_path, layout, hz):
    row_ms = np.arange(0, 120_000, 1000 / hz).round()
    row_ms = np.delete(row_ms, 40)  # one is lost
    LAYOUTS[layout](tmp_path, log(row_ms))
    rows, found = made(tmp_path)
    ms = rows["t_ms"].to_numpy() - T0
    last = [of[-1] if len(of) else np.nan for of in known_by(row_ms, ms, 1500 / hz)]
    known = np.isfinite(last)
    np.testing.assert_allclose(rows["speed_kmh"], np.where(known, speed_kmh(last), np.nan), atol=0.01)
    np.testing.assert_array_equal(rows["brake"][known], presses(np.array(last)[known]))
    assert rows["brake"].isna().sum() <= 1 and len(rows) >= ms[-1] // 500
    assert "resampled to 2 Hz (a reply stands until the next, at most 1.5 times" in str(found["warnings"])


@pytest.mark.parametrize("hz", [0.92, 1, 1.5])
def test_the_brakings_of_a_slow_logger_are_onsets_and_what_cries_wolf_is_false(tmp_path, hz):
    """60 brakings in 10 minutes, and alarms without end."""
    native(tmp_path, log(np.arange(0, 600_000, 1000 / hz).round()))
    made(tmp_path)
    label.run(drives.section("label"), tmp_path / "label", download=tmp_path / "out")
    (file,) = (tmp_path / "label").glob("*/labels.csv")
    table = pd.read_csv(file)
    drive = Drive(*(table[n].fillna(-1).to_numpy() for n in ("t_ms", "segment", "braking")), np.ones(len(table)))
    found = summary([tally(drive, 0.5, refractory_s=3, max_lead_s=4)])
    assert found["events"] + found["events_unjudged"] == 59 and found["recall"] == 1
    assert found["false_alarms"] > 0 and found["alarms_unjudged"] <= 1
    assert set(table["brake_onset_1s"].dropna()) == {0, 1}


def test_pieces_of_a_fast_drive_are_pieces_of_its_half_seconds(tmp_path):
    native(tmp_path, log(np.arange(0, 200_000, 100)))
    download.run(drives.section("download", source=str(tmp_path / "in"), piece_minutes=1), tmp_path / "out")
    made_ = recording.recordings(tmp_path / "out")
    assert len(made_) == 3
    for folder in made_.values():
        rows = recording.read_telemetry(folder).rows
        assert set(np.diff(rows["t_ms"])) == {500}
        ms = rows["t_ms"].to_numpy() - T0
        np.testing.assert_allclose(rows["speed_kmh"], mean_speed(np.arange(0, 200_000, 100), ms), atol=0.02)


def test_a_fault_of_a_piece_names_its_file(tmp_path):
    native(tmp_path, log(np.arange(0, 200_000, 500)).assign(SPEED="900"))
    said = rf"{NAME}/telemetry.csv, piece 1 of 3 of it: .* of speed_kmh are not in 0..320"
    with pytest.raises(BadInput, match=said):
        download.run(drives.section("download", source=str(tmp_path / "in"), piece_minutes=1), tmp_path / "out")


def stamps_set_back(ms: int, at: int, by: int) -> str:
    return recording.format_time(T0 + ms - (by if ms >= at else 0))


@pytest.mark.slow
@pytest.mark.parametrize("off", [0, 200])
def test_the_end_of_summer_time_mixes_nothing(tmp_path, off):
    """80 minutes with the clock an hour back after 40; `off`: the stamps do not even repeat."""
    ms = np.arange(0, 80 * 60_000, 500)
    ms = np.where(ms >= 40 * 60_000, ms + off, ms)
    native(tmp_path, log(ms, stamp=lambda t: stamps_set_back(t, 40 * 60_000, 3_600_000)))
    rows, found = made(tmp_path)
    np.testing.assert_array_equal(rows["t_ms"] - T0, ms)
    np.testing.assert_allclose(rows["speed_kmh"], speed_kmh(ms), atol=0.02)
    assert found["duplicate_rows"] == 0 and "the clock goes back by 1 h" in str(found["warnings"])


def test_a_clock_set_back_by_any_time_keeps_passes_and_images_apart(tmp_path):
    table = log(HALVES, stamp=lambda t: stamps_set_back(t, 30_000, 7_300))
    native(tmp_path, table)
    for number, time in enumerate(table["Time"]):
        write(tmp_path / "in" / NAME / f"{time}.jpg", JPEG + bytes([number]))
    rows, found = made(tmp_path)
    np.testing.assert_allclose(rows["speed_kmh"], speed_kmh(HALVES), atol=0.02)  # in the order of the file
    assert found["gaps"] == 1 and "the clock goes back by 7.3 s" in str(found["warnings"])
    (folder,) = recording.recordings(tmp_path / "out").values()
    images = recording.images(folder)
    assert [images[time].read_bytes()[-1] for time in rows["time"]] == list(range(120))


def test_an_image_that_may_be_of_either_pass_is_left_out(tmp_path):
    table = log(HALVES, stamp=lambda t: stamps_set_back(t, 30_000, 10_000))
    native(tmp_path, table)
    for time in set(table["Time"]):
        write(tmp_path / "in" / NAME / f"{time}.jpg", JPEG)
    _, found = made(tmp_path)
    assert "20 of 100 images have a stamp that comes twice: left out" in str(found["warnings"])
    assert found["images"] == 80 and found["rows_without_image"] == 40


def test_a_few_wrong_dates_are_left_out_aloud(tmp_path):
    table = log(HALVES)
    table.loc[50:53, "Time"] = [f"2080-01-01 00-00-0{i}-0" for i in range(4)]
    native(tmp_path, table)
    rows, found = made(tmp_path)
    assert len(rows) == 116 and found["duration_s"] == 59.5
    assert_true(rows)
    assert "4 rows with stamps that leap away and back" in str(found["warnings"])


def test_a_clock_without_a_date_does_not_last_for_decades(tmp_path):
    table = log(HALVES)
    table.loc[:39, "Time"] = [recording.format_time(500 * i) for i in range(40)]
    native(tmp_path, table)
    rows, found = made(tmp_path)
    np.testing.assert_allclose(rows["speed_kmh"], speed_kmh(HALVES), atol=0.02)
    assert found["duration_s"] < 130 and "the clock leaps by 20574 days" in str(found["warnings"])


def test_a_code_for_no_reply_is_no_speed(tmp_path):
    table = log(HALVES)
    table.loc[5::7, "SPEED"] = "255"
    native(tmp_path, table)
    assert "17 values of speed_kmh leap by more than 80 and back, such as 255" in refused(tmp_path)


def test_windows_that_late_rows_cost_are_counted(tmp_path):
    late = np.arange(1, 241) // 30 * 80  # each thirtieth row
    native(tmp_path, log(np.arange(240) * 542 + late))
    _, found = made(tmp_path)
    assert "8 rows come late, 601 to 1000 ms after the one before: 87 of 221 windows" in str(found["warnings"])


def test_a_time_of_day_without_marks_is_no_number_of_seconds(tmp_path):
    ms = np.arange(0, 150_000, 500)
    native(tmp_path, log(ms, stamp=lambda t: pd.Timestamp(T0 + t, unit="ms").strftime("%H%M%S.%f")))
    rows, found = made(tmp_path)
    assert_true(rows)
    assert found["gaps"] == 0 and "read as hours, minutes and seconds" in str(found["warnings"])


def test_a_clock_that_loses_its_date_in_a_drive_leaves_the_rows_before_where_they_are(tmp_path):
    table = log(np.arange(0, 120_000, 500))
    table.loc[80:159, "Time"] = [recording.format_time(946_684_800_000 + 500 * i) for i in range(80)]
    native(tmp_path, table)
    rows, found = made(tmp_path)
    np.testing.assert_allclose(rows["speed_kmh"], speed_kmh(np.arange(0, 120_000, 500)), atol=0.02)
    assert rows["t_ms"].iloc[0] == T0 and found["gaps"] == 2 and found["duration_s"] < 300


def test_a_counter_that_begins_anew_goes_on_behind(tmp_path):
    native(tmp_path, log(HALVES, stamp=lambda t: str(5000 + t / 1000 if t < 30_000 else t / 1000 - 30)))
    rows, found = made(tmp_path)
    np.testing.assert_allclose(rows["speed_kmh"], speed_kmh(HALVES), atol=0.02)
    assert "the clock goes back by 5030" in str(found["warnings"])


@pytest.mark.parametrize(
    ("brake", "said"),
    [
        (lambda b: "1" if b else "", "pressed or blank (96 rows) and never released"),
        (lambda b: "TRUE" if b else "", "pressed or blank (96 rows) and never released"),
        (None, "does it rest a little above 0"),
    ],
)
def test_a_brake_that_is_never_released_is_asked_about(tmp_path, brake, said):
    table = log(HALVES, brake=brake or str)
    if brake is None:  # a pressure that trembles where it rests
        table["BRAKE_SIGNAL"] = np.where(presses(HALVES), "30", (HALVES // 500 % 7 / 100).astype(str))
    native(tmp_path, table)
    assert said in refused(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("film_name", "csv_name"), [("a.MP4", "a.CSV"), ("Dash.mp4", "dash.csv")])
def test_telemetry_in_any_case_is_used(tmp_path, film_name, csv_name):
    write(tmp_path / "in" / csv_name, log(HALVES, stamp=lambda t: str(t / 1000)))
    write(tmp_path / "in" / film_name, film_of_a_minute())
    rows, found = made(tmp_path)
    assert found["has_telemetry"]
    assert_true(rows, HALVES)


def test_native_telemetry_in_any_case_is_used(tmp_path):
    native(tmp_path, log(HALVES), "Telemetry.CSV")
    assert_true(made(tmp_path)[0])


@pytest.mark.slow
def test_telemetry_that_is_not_used_is_named(tmp_path):
    write(tmp_path / "in" / "obd.csv", log(HALVES))
    write(tmp_path / "in" / f"{NAME}.mp4", film_of_a_minute())
    _, found = made(tmp_path)
    assert (
        not found["has_telemetry"]
        and f"not read: obd.csv beside it; telemetry of this film is called {NAME}.csv" in (found["warnings"])
    )


def test_a_csv_without_our_columns_is_no_telemetry(tmp_path):
    film(tmp_path, "Time,V\n0,1\n1,2\n")
    assert "none of the columns SPEED, RPM" in refused(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("late_ms", [3000, -3000])
def test_stamps_are_laid_on_the_film_by_its_name(tmp_path, late_ms):
    film(tmp_path, log(np.arange(late_ms, 60_000, 500)))
    rows, found = made(tmp_path)
    known = rows.dropna(subset=["speed_kmh"])
    assert_true(known)
    assert len(known) == (114 if late_ms > 0 else 120) and "by its stamps it begins 3.0 s" in str(found["warnings"])


CAROBD = ["ENGINE_RUN_TINE ()", "VEHICLE_SPEED ()", "ENGINE_RPM ()", "PEDAL_D ()", "ENGINE_LOAD ()"]


def obd_log(ms) -> pd.DataFrame:
    table = log(ms)
    values = [[str(t // 1000) for t in np.asarray(ms)], *(table[n] for n in table.columns[1:5])]
    return pd.DataFrame(dict(zip(CAROBD, values, strict=True)))


@pytest.mark.parametrize("written", ["plain", "semicolons", "upper case", "UTF-16", "units", "fast", "power cut"])
def test_an_obd_log_is_read_by_the_same_rules(tmp_path, written):
    table, name = obd_log(HALVES), "drive1.csv"
    text = {
        "semicolons": lambda: table.apply(lambda c: c.str.replace(".", ",")).to_csv(index=False, sep=";"),
        "upper case": lambda: table.rename(columns=str.lower),
        "UTF-16": lambda: table.to_csv(index=False).encode("utf-16"),
        "units": lambda: table.assign(**{CAROBD[1]: [f"{v / 3.6:.4f} m/s" for v in speed_kmh(HALVES)]}),
        "fast": lambda: obd_log(np.arange(0, 60_000, 100)),
        "power cut": lambda: table.to_csv(index=False).encode() + bytes(512),
    }.get(written, lambda: table)()
    write(tmp_path / "in" / (name.upper() if written == "upper case" else name), text)
    rows, found = made(tmp_path)
    ms = rows["t_ms"].to_numpy() - recording.NO_DATE_MS
    assert len(rows) == 120
    np.testing.assert_allclose(ms, HALVES, atol=60)  # its clock is whole seconds
    was = mean_speed(np.arange(0, 60_000, 100), HALVES) if written == "fast" else speed_kmh(HALVES)
    np.testing.assert_allclose(rows["speed_kmh"], was, atol=0.06)
    assert ("came at 10 Hz" in str(found["warnings"])) == (written == "fast")


def test_cells_of_an_obd_log_that_are_not_understood_are_refused(tmp_path):
    write(tmp_path / "in" / "drive1.csv", obd_log(HALVES).assign(**{CAROBD[1]: "schnell"}))
    assert "120 of 120 cells are not understood, such as 'schnell'" in refused(tmp_path)


def test_nothing_unforeseen_ends_the_download_of_the_others(tmp_path, monkeypatch):
    """Whatever is raised is that recording's: here its telemetry is a folder."""
    write(tmp_path / "in" / NAME / f"{log([0])['Time'][0]}.jpg", JPEG)
    (tmp_path / "in" / NAME / "telemetry.csv").mkdir()
    assert f"{NAME}: cannot be used: IsADirectoryError" in refused(tmp_path)


def test_a_folder_with_the_name_of_an_image_is_none(tmp_path):
    native(tmp_path, log(HALVES))
    (tmp_path / "in" / NAME / f"{log([0])['Time'][0]}.jpg").mkdir()
    assert made(tmp_path)[1]["images"] == 0


def test_a_car_of_eight_gears_keeps_its_drive(tmp_path):
    gears = [str(1 + k % 8) for k in range(len(HALVES))]
    native(tmp_path, log(HALVES).assign(GEAR=gears))
    rows, found = made(tmp_path)
    np.testing.assert_array_equal(rows["gear"], [float(gear) for gear in gears])  # pack saturates those above 5
    assert found["ranges"]["gear"][2] == 8


@pytest.mark.slow
def test_minutes_beside_a_film_are_told_by_its_length(tmp_path):
    film(tmp_path, log(HALVES, stamp=lambda t: f"{t / 60_000:.5f}"))
    rows, found = made(tmp_path)
    assert_true(rows, ms=np.arange(len(rows)) * 500, tolerance=0.2)
    assert "Time is read as minutes" in found["warnings"]
