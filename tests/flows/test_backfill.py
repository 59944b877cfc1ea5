"""What a source had in some time, taken in blocks of days: `flows run <line> --from DATE --to DATE`."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest
import yaml

from tests.flows.conftest import copied
from tests.flows.waiting import wait_until

FROM_TO = ("--from", "2026-11-01", "--to", "2026-11-30")
DAYS = {"drive_2026-11-02": "1", "drive_20261103T101500": "2", "2026-11-12_c": "3", "2026-11-29": "4"}


@pytest.fixture
def dated(new_yard):
    """A yard whose source has numbers of four days in November, one of October, and one that no name dates."""
    for path in (new_yard.root / "numbers").iterdir():
        path.unlink()
    for name, text in {**DAYS, "2026-10-31": "100", "late": "200"}.items():
        new_yard.add_number(name, text)
    at = datetime(2026, 12, 5, tzinfo=UTC).timestamp()
    os.utime(new_yard.root / "numbers/late.txt", (at, at))
    return new_yard


def state(yard) -> tuple:
    """Stages stand in dvc.lock in the order in which they ended, which for two at once is any."""
    lock = yaml.safe_load((yard.root / "dvc.lock").read_text())
    return yard.outputs(), lock, (yard.root / "params.yaml").read_bytes()


def test_blocks_that_are_killed_end_as_one_run_over_all_days_and_make_nothing_twice(dated, tmp_path):
    whole = copied(dated, tmp_path / "whole")
    one = whole.flow("run", "toy", "--set", "toy.collect.dates=[2026-11-01..2026-11-30]")
    assert one.returncode == 0, one.stderr
    assert (whole.root / "data/toy/square/sum.txt").read_text() == "31"  # 1 + 4 + 9 + 16, and the offset
    assert "no date in the names or data of late.txt" in one.stderr

    params = dated.root / "params.yaml"
    gates = dated.gates("drive_2026-11-02", "drive_20261103T101500")
    params.write_text(params.read_text().replace("gates: null", f"gates: {gates.name}"))
    run = dated.begin("python", "-m", "flows", "run", "toy", *FROM_TO, "--block", "7d")
    second = dated.root / "data/toy/collect/2026-11-12_c.part"
    wait_until(lambda: second.exists() or run.poll() is not None, "the second block")
    run.kill()
    said, _ = run.communicate()
    assert "block 1 of 3: 2026-11-01..2026-11-07, 2 recordings" in said
    assert "block 2 of 3: 2026-11-08..2026-11-14, 1 recordings" in said
    first = dated.root / "data/toy/collect/drive_2026-11-02/number.txt"
    stamp = first.stat().st_mtime_ns
    assert not (dated.root / "data/toy/square").exists()  # of what is not kept recording by recording, once at the end
    assert "2026-11-01..2026-11-14" in params.read_text()

    params.write_text(params.read_text().replace(f"gates: {gates.name}", "gates: null"))
    again = dated.flow("run", "toy", *FROM_TO, "--block", "7d")
    assert again.returncode == 0, again.stderr
    assert "block 1 of 2: 2026-11-08..2026-11-14" in again.stdout and "block 2 of 2" in again.stdout
    assert first.stat().st_mtime_ns == stamp
    assert state(dated) == state(whole)
    assert set(dated.status().values()) == {"up to date"}


def test_later_days_and_days_to_come_are_added_to_those_that_are_in(dated):
    first = dated.flow("run", "toy", "--from", "2026-11-12")
    assert first.returncode == 0, first.stderr
    assert {path.parent.name for path in dated.root.glob("data/toy/collect/*/number.txt")} == {
        "2026-11-12_c", "2026-11-29", "late",
    }  # fmt: skip
    earlier = dated.flow(
        "run", "toy", "--from", "2026-11-01", "--to", "2026-11-11", "--block", "1", "--until", "collect"
    )
    assert earlier.returncode == 0 and "block 2 of 2" in earlier.stdout, earlier.stderr
    kept = {path.parent.name for path in dated.root.glob("data/toy/collect/*/number.txt")}
    assert kept == {*DAYS, "late"}
    assert "dates:\n    - 2026-11-01.." in (dated.root / "params.yaml").read_text()


def test_what_cannot_be_taken_so_is_said_in_a_sentence_and_nothing_is_written(dated):
    before = (dated.root / "params.yaml").read_bytes()
    for arguments, said in (
        (["--from", "2026-13-01"], "--from: '2026-13-01' is no day; write it as 2026-01-31"),
        (["--from", "2026-11-30", "--to", "2026-11-01"], "--from 2026-11-30 is after --to 2026-11-01"),
        (["--from", "2026-01-01", "--to", "2026-01-31"], "numbers: nothing in it is of 2026-01-01..2026-01-31; what it "
         "holds is of 2026-10-31 to 2026-12-05"),
        ([*FROM_TO, "--block", "week"], "--block week: write 7d"),
        ([*FROM_TO, "--only", "collect"], "--only does not bring"),
        (["--block", "7d"], "--block is the size of the blocks"),
        ([*FROM_TO, "--set", "toy.collect.dates=null"], "leave it out of --set"),
        ([*FROM_TO, "--set", "toy.collect.source=synth://toys?n=3"], "a synthetic world has no days"),
    ):  # fmt: skip
        told = dated.flow("run", "toy", *arguments)
        assert told.returncode == 2 and said in told.stderr and "Traceback" not in told.stderr, told.stderr
    plan = dated.flow("run", "toy", *FROM_TO, "--block", "2", "--dry-run")
    assert "block 2 of 2: 2026-11-04..2026-11-30, 2 recordings" in plan.stdout, plan.stdout + plan.stderr
    assert "4 of 5 stages would run" not in plan.stdout and before == (dated.root / "params.yaml").read_bytes()


def test_a_yard_that_takes_every_day_has_them_all(yard_copy):
    told = yard_copy.flow("run", "toy", *FROM_TO)
    assert told.returncode == 2 and "toy.collect.dates is null: every day of numbers is in already" in told.stderr
