"""Reading one drive: times, replies and the rows that are none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.brake_coast.formats import recording
from tasks.brake_coast.importers import native
from tasks.yard.files import write_json
from tasks.yard.step import BadInput
from tests.tasks.brake_coast import drives

HEADER = ",".join(recording.COLUMNS)


def read(tmp_path, *rows: str, header: str = HEADER) -> recording.Telemetry:
    (tmp_path / "telemetry.csv").write_text("\n".join([header, *rows]) + "\n")
    return recording.read_telemetry(tmp_path)


def test_one_digit_of_a_second_is_tenths():
    t_ms = recording.parse_times(pd.Series(["2025-04-03 22-54-19-9", "2025-04-03 22-54-19-05", "No Frame", ""]))
    assert t_ms[0] - t_ms[1] == 850
    assert t_ms.isna().tolist() == [False, False, True, True]


@given(st.integers(0, 4_000_000_000_000))
def test_times_survive_writing_to_the_millisecond(t_ms):
    assert recording.parse_times(pd.Series([recording.format_time(t_ms, digits=3)]))[0] == t_ms
    assert recording.parse_times(pd.Series([recording.format_time(t_ms)]))[0] == t_ms // 100 * 100


def test_text_in_the_brake_column_does_not_brake(tmp_path):
    cells = ["True", "False", "1", "0", " true", "", "No Data", "maybe", "1.0"]
    telemetry = read(tmp_path, *(f"2025-04-03 10-00-0{i}-0,100,2500,20,50,{cell},5" for i, cell in enumerate(cells)))
    np.testing.assert_array_equal(telemetry.rows["brake"], [1, 0, 1, 0, 1, np.nan, np.nan, np.nan, 1])
    assert telemetry.missing_replies["brake"] == 3


def test_error_rows_duplicates_and_disorder_are_counted_and_mended(tmp_path):
    telemetry = read(
        tmp_path,
        "2025-04-03 10-00-01-0,101,2500,20,50,False,5",
        "No Frame,No Data,No Data,No Data,No Data,No Data,No Data",
        "2025-04-03 10-00-01-0,199,2500,20,50,False,5",
        "2025-04-03 10-00-00-5,100,nan,inf,-,False,5",
        "Incomplete Data,No Data,No Data,No Data,No Data,No Data,No Data",
    )
    assert (telemetry.error_rows, telemetry.duplicate_rows, telemetry.out_of_order_rows) == (2, 1, 1)
    assert telemetry.rows["speed_kmh"].tolist() == [100, 101]  # by time, the first of two with one stamp
    assert telemetry.missing_replies == dict(speed_kmh=0, rpm=1, pedal_pct=1, load_pct=1, gear=0, brake=0)


def test_more_columns_trailing_commas_and_a_cut_last_line_are_fine(tmp_path):
    telemetry = read(
        tmp_path,
        '2025-04-03 10-00-00-0,100,2500,20,50,True,5,"[(1.0, 2.0)]",',
        '2025-04-03 10-00-00-5,100,2500,20,50,True,5,"[]",',
        "2025-04-03 10-00-01-0,100,25",
        header="\ufeff" + HEADER + ",PRE_BRAKING",
    )
    assert telemetry.rows["rpm"].tolist() == [2500, 2500, 25]
    assert telemetry.rows["brake"].tolist()[:2] == [1, 1] and np.isnan(telemetry.rows["brake"][2])


def test_of_further_columns_only_a_drive_that_is_written_as_it_is_keeps_the_cells(tmp_path):
    """Of the others there are the names, and whether rows of one coarse stamp were only written twice."""
    path, table, even = tmp_path / "telemetry.csv", drives.drive(frames=60), np.arange(60)
    table.assign(FUEL=even, NOTE="x").to_csv(path, index=False)
    assert native.read(tmp_path).table[["FUEL", "NOTE"]].iloc[7].tolist() == ["7", "x"]
    twice = table.loc[even // 2].assign(FUEL=even, NOTE="x")
    for fuel, step_ms in ((even, 500), (even // 2, 0)):
        twice.assign(FUEL=fuel, Time=[recording.format_time(1000 * (i // 2)) for i in even]).to_csv(path, index=False)
        rows = recording.read_rows(path)
        assert list(rows.table) == recording.COLUMNS and rows.names == [*recording.COLUMNS, "FUEL", "NOTE"]
        assert rows.t_ms[41] - rows.t_ms[40] == step_ms
    fast = drives.drive(frames=600, step_ms=100).assign(FUEL=1)
    fast["Time"] = [recording.format_time(drives.START_MS + 100 * i) for i in range(600)]
    fast.to_csv(path, index=False)
    read = native.read(tmp_path)
    assert list(read.table) == recording.COLUMNS and "further columns are left out: FUEL" in read.notes
    table.drop(columns="RPM").assign(FUEL=even).to_csv(path, index=False)
    with pytest.raises(BadInput, match=r"missing column RPM; found Time, .*, GEAR, FUEL$"):
        recording.read_telemetry(tmp_path)


ODD_STAMPS = ["2024-02-29 23-59-59-9", "2025-02-29 10-00-00-1", "2025-04-31 10-00-00-12", "2025-04-03 24-00-00-0",
              "2025-04-03 22-60-00-0", "2025-04-03 22-54-60-0", "2025-04-03 22-54-19-123456", "2025-04-03 22-54-19",
              "1899-12-31 10-00-00-0", "2025-4-3 1-2-3-4", " 2025-04-03 22-54-19-9", "", "No Frame"]  # fmt: skip


def test_a_stamp_is_the_same_moment_whatever_stands_beside_it():
    """A column of nothing but native stamps is read by a shorter way."""
    beside_odd_ones = recording.parse_times(pd.Series([*ODD_STAMPS, "something else"]))
    alone = [recording.parse_times(pd.Series([stamp]))[0] for stamp in ODD_STAMPS]
    assert [*map(str, alone)] == [*map(str, beside_odd_ones[:-1])]
    assert sum(moment is not pd.NA for moment in alone) >= 4


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "the file is empty"),
        (b"Time,SPEED\n", "missing column RPM, ACCELERATOR_POS_D"),
        (HEADER.encode() + b"\n", "none of its 0 rows has a Time that is understood"),
        (HEADER.encode() + b"\nNo Frame,No Data,No Data,No Data,No Data,No Data,No Data\n", "none of its 1 rows"),
        (b"\xff\xfe\x00\x01\x02" * 9, "not a readable CSV|missing column"),
        (HEADER.encode() + b'\n"2025-04-03 10-00-00-0,100', "not a readable CSV|none of its"),
    ],
)
def test_what_cannot_be_used_names_file_and_fault(tmp_path, content, fault):
    (tmp_path / "telemetry.csv").write_bytes(content)
    with pytest.raises(BadInput, match=rf"telemetry.csv: .*({fault})"):
        recording.read_telemetry(tmp_path)


def test_a_power_cut_leaves_zero_bytes_at_the_end(tmp_path):
    good = "2025-04-03 10-00-00-0,100,2500,20,50,True,5\n"
    (tmp_path / "telemetry.csv").write_bytes((HEADER + "\n" + good).encode() + b"\0" * 512)
    telemetry = recording.read_telemetry(tmp_path)
    assert len(telemetry.rows) == 1 and telemetry.error_rows == 1


def test_images_by_time_and_only_finished_recordings(tmp_path):
    drives.write_drive(tmp_path, "2025-04-03_a")
    write_json(tmp_path / "2025-04-03_b.part" / "recording.json", {})  # a killed download
    assert list(recording.recordings(tmp_path)) == ["2025-04-03_a"]
    folder = tmp_path / "2025-04-03_a"
    for name in ("2025-04-03 10-00-00-0.jpg", "2025-04-03 10-00-00-5.PNG"):
        (folder / name).touch()
    assert set(recording.images(folder)) == {"2025-04-03 10-00-00-0", "2025-04-03 10-00-00-5"}
    assert recording.description(folder)["group"] == "2025-04-03_a"
