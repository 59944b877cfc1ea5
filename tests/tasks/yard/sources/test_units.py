from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tasks.yard.sources import units
from tasks.yard.step import BadInput, Context


@dataclass(frozen=True)
class Unit:
    path: Path
    where: str


def files_of(unit: Unit) -> list[Path]:
    return sorted(unit.path.iterdir())


def make(unit: Unit, folder: Path) -> dict:
    for file in files_of(unit):
        if file.read_text() == "bad":
            raise BadInput(f"{file} cannot be used, nor {folder / 'a.txt'}; see {unit.path.parent / 'notes.txt'}")
        if file.read_text() == "odd":
            int(f"{file}")
        units.copied(file, folder / file.name)
    return {"files": len(files_of(unit))}


@pytest.fixture
def source(tmp_path):
    """{name: unit} of a source with a good unit and a bad one."""
    for name, text in (("good", "fine"), ("bad", "bad")):
        (tmp_path / "source" / name).mkdir(parents=True)
        (tmp_path / "source" / name / "a.txt").write_text(text)
    root = tmp_path / "source"
    return {name: Unit(root / name, units.shown("s3://bucket/all/", root, root / name)) for name in ("good", "bad")}


def made(source, out: Path, root: Path | None = None):
    prints = dict.fromkeys(source, "1")
    return units.make_all(make, source, prints, out, Context(), root, accept=lambda done: None)


def test_too_few_take_nothing_away(source, tmp_path):
    made({"old": source["good"]}, tmp_path / "out")
    two = partial(units.refuse_too_few, needed=2, what="toys", uri="s3://bucket/all")
    with pytest.raises(BadInput, match="usable toys: 1"):
        units.make_all(make, source, dict.fromkeys(source, "1"), tmp_path / "out", Context(), accept=two)
    assert (tmp_path / "out/old/a.txt").exists()


def test_a_complaint_names_places_in_the_source(source, tmp_path):
    done = made(source, tmp_path / "out")
    notes = tmp_path / "source" / "notes.txt"
    there = "s3://bucket/all/bad"
    assert done.summaries == {"good": {"files": 1}}
    assert done.quarantined == {"bad": f"{there}/a.txt cannot be used, nor {there}/a.txt; see {notes}"}
    done = made({"bad": source["bad"]}, tmp_path / "again", tmp_path / "source")
    assert done.quarantined == {"bad": f"bad/a.txt cannot be used, nor {there}/a.txt; see notes.txt"}


def test_what_nobody_foresaw_costs_one_unit(source, tmp_path):
    (source["bad"].path / "a.txt").write_bytes(b"\xff\xfe\xff")  # no text: a UnicodeDecodeError in `make`
    done = made(source, tmp_path / "out")
    assert list(done.summaries) == ["good"]
    assert "s3://bucket/all/bad: cannot be used: UnicodeDecodeError" in done.quarantined["bad"]


def test_a_file_that_cannot_be_hashed_costs_one_unit(source, tmp_path):
    (source["bad"].path / "b.txt").symlink_to(tmp_path / "gone")
    hashes = units.content_hashes(list(source.values()), files_of)
    assert len(set(hashes)) == 2


def test_too_few_usable_units_stop_a_step_with_the_reasons(source, tmp_path):
    done = made(source, tmp_path / "out")
    units.refuse_too_few(done, 1, "toys", "s3://bucket/all")
    with pytest.raises(
        BadInput, match=r"^s3://bucket/all: usable toys: 1, two are needed\n  bad: s3://bucket/all/bad/a"
    ):
        units.refuse_too_few(done, 2, "toys", "s3://ada:hunter2@bucket/all?key=x", ", two are needed")


def test_a_hash_follows_names_and_contents_and_not_the_place(source, tmp_path):
    elsewhere = Unit(source["good"].path.rename(tmp_path / "moved"), "x")
    (before,) = units.content_hashes([elsewhere], files_of)
    back = Unit(elsewhere.path.rename(source["good"].path), "x")
    assert units.content_hashes([back, source["bad"]], files_of)[0] == before
    (back.path / "a.txt").rename(back.path / "b.txt")
    assert units.content_hashes([back], files_of) != [before]


def test_a_file_that_is_there_already_is_not_copied_again(tmp_path):
    (tmp_path / "a").write_text("one")
    (tmp_path / "b").write_text("two")
    units.copied(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "two"  # of the same length: an earlier run brought it
    (tmp_path / "b").write_text("tw")
    units.copied(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "one"


def test_a_source_that_is_a_unit_itself_is_shown_as_it_was_given(tmp_path):
    assert units.shown("../data", tmp_path, tmp_path) == "../data"
    assert units.shown("../data/", tmp_path, tmp_path / "a/b") == "../data/a/b"


def test_a_fault_that_no_check_foresaw_names_the_file_as_a_person_knows_it(source, tmp_path):
    (source["bad"].path / "a.txt").write_text("odd")
    done = made(source, tmp_path / "out")
    assert list(done.summaries) == ["good"]
    assert done.quarantined["bad"].startswith("s3://bucket/all/bad: cannot be used: ValueError: invalid literal")
    assert "'s3://bucket/all/bad/a.txt'" in done.quarantined["bad"] and str(tmp_path) not in done.quarantined["bad"]


def test_a_file_that_cannot_be_read_does_not_stop_the_hashing_of_the_others(source, tmp_path):
    (source["bad"].path / "a.txt").write_text("fine")
    (source["bad"].path / "gone.txt").symlink_to(tmp_path / "nowhere")
    good, bad = units.content_hashes(list(source.values()), files_of)
    assert good == units.content_hashes([source["good"]], files_of)[0] != bad
    done = made(source, tmp_path / "out")
    assert list(done.summaries) == ["good"] and "gone.txt" in done.quarantined["bad"]
