from __future__ import annotations

import logging
import os
import tarfile
import zipfile
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tasks.yard.sources import dates
from tasks.yard.sources.local import local
from tasks.yard.step import BadInput


@dataclass(frozen=True)
class Unit:
    path: Path


def files_of(unit: Unit) -> list[Path]:
    return sorted(unit.path.iterdir()) if unit.path.is_dir() else [unit.path]


def written(path: Path, day: str = "2026-05-05") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    at = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() + 3600
    os.utime(path, (at, at))
    return path


def test_the_day_is_that_of_the_name_then_of_the_folder_then_of_the_data_then_of_the_last_change(tmp_path):
    written(tmp_path / "2026-01-01/drive_20260203T101500/a.csv")
    written(tmp_path / "2026-01-02/b/a.csv")
    written(tmp_path / "c/2026-03-04 10-00-00-0.jpg")
    written(tmp_path / "c/2026-03-05 00-00-00-0.jpg")  # over midnight
    written(tmp_path / "d/x.csv", "2026-06-07")
    written(tmp_path / "d/y.csv", "2026-06-06")
    below = ("2026-01-01/drive_20260203T101500", "2026-01-02/b", "c", "d")
    found = dates.days([Unit(tmp_path / name) for name in below], tmp_path, files_of)
    assert [(str(one.day), one.by) for one in found] == [
        ("2026-02-03", "name"), ("2026-01-02", "name"), ("2026-03-04", "data"), ("2026-06-07", "change"),
    ]  # fmt: skip
    told = dates.days([Unit(tmp_path / "d")], tmp_path, files_of, lambda unit: date(2020, 1, 1))
    assert told == [dates.Dated(date(2020, 1, 1), "data")]


def test_what_is_taken_and_by_which_date_is_said(tmp_path, caplog):
    units = [Unit(written(tmp_path / name)) for name in ("2026-01-01.mp4", "2026-01-31.mp4", "2026-02-01.mp4", "x.mp4")]
    found = dates.days(units, tmp_path, files_of)
    with caplog.at_level(logging.INFO):
        kept, about = dates.chosen(units, found, ["2026-01-01..2026-01-31"], "films")
    assert [unit.path.name for unit in kept] == ["2026-01-01.mp4", "2026-01-31.mp4"]
    assert about["taken"] == 2 and about["of"] == 4 and about["by"] == {"change": 1, "name": 3}
    assert (
        "films: 2 of 4 recordings are of 2026-01-01..2026-01-31; 3 by a date in their names, 1 without" in caplog.text
    )
    assert "no date in the names or data of x.mp4" in caplog.text
    assert dates.chosen(units, [], None, "films") == (units, {})
    none, about = dates.chosen(units, found, ["2030-01-01.."], "films")
    with pytest.raises(
        BadInput, match=r"no recording is of 2030-01-01\.\.; those it holds are of 2026-01-01 to 2026-05"
    ):
        dates.refuse_none(none, [about], "films")


def test_days_that_meet_are_one_span():
    texts = ["2026-03-01..2026-03-05", "..2025-12-31", "2026-03-06", "2026-01-01", "2026-05-01.."]
    assert dates.plain(texts) == ["..2026-01-01", "2026-03-01..2026-03-06", "2026-05-01.."]


@pytest.mark.parametrize("text", ["2026-1-1", "2026-02-30", "..", "", "2026-02-01..2026-01-01", "20260101"])
def test_what_is_no_day_is_refused(text):
    with pytest.raises(BadInput, match="dates: "):
        dates.span(text)


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_files_of_an_archive_have_the_time_that_it_tells(tmp_path, suffix):
    made = written(tmp_path / "in/drive/x.csv", "2026-06-07")
    packed = tmp_path / f"drives{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(packed, "w") as into:
            into.writestr(zipfile.ZipInfo("drive/x.csv", (2026, 6, 7, 1, 0, 0)), made.read_text())
            into.writestr(zipfile.ZipInfo("other/x.csv"), "no time")
    else:
        with tarfile.open(packed, "w:gz") as into:
            into.add(made, "drive/x.csv")
            into.add(made, "other/x.csv")
    root = local(str(packed), cache=tmp_path / "cache")
    assert dates.days([Unit(root / "drive")], root, files_of) == [dates.Dated(date(2026, 6, 7), "change")]


@pytest.mark.parametrize(
    ("names", "left"),
    [
        (["2026-01-01/a.mp4", "2026-01-02/b.mp4"], ["2026-01-01/a.mp4"]),
        # A film, or a photograph, of the asked day below another day's folder: what lies beside may belong to it.
        (["2026-01-01/2026-01-02_0010.mp4", "2026-01-01/log.csv", "2026-01-03/a.mp4"], ["2026-01-03/a.mp4"]),
        # A drive over midnight, in a folder with its own telemetry.
        (["drive/2026-01-01/0.jpg", "drive/2026-01-02/1.jpg", "drive/telemetry.csv"], []),
        (["site/2026-01-01/a/0.jpg", "site/2026-01-02/a/0.jpg"], ["site/2026-01-01/a/0.jpg"]),
        (["2026-01-01_a.mp4", "2026-01-02_b.mp4", "c/d.mp4"], []),  # names of files alone keep nothing out
    ],
)
def test_of_other_days_is_what_lies_below_their_folders_and_nothing_that_may_belong_to_the_asked_ones(names, left):
    assert dates.elsewhere(names, ["2026-01-02"]) == set(left)
