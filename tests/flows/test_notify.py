"""A word on how a run ended, to a real HTTP receiver: on failure always, on success if somebody asks for it."""

from __future__ import annotations

import logging

import pytest

from flows import notify
from tasks.yard.files import write_json, write_text
from tasks.yard.step import BadInput
from tests.flows.receiving import SECRET, receiver

TABLE = "| on test | moda |\n|---------|------|\n| blind   | -0.1 |\n| `small` | 0.9  |\n"


def flows(yard, url: str, on: str, *arguments: str) -> tuple[int, str]:
    process = yard.flow(*arguments, TRAINYARD_NOTIFY=url, TRAINYARD_NOTIFY_ON=on)
    return process.returncode, process.stdout + process.stderr


def test_a_run_that_ended_well_is_told_of_once_with_its_table(yard_copy):
    write_text(yard_copy.root / "data/toy/report/table.md", TABLE)
    write_json(yard_copy.root / "data/toy/report/headline.json", {"moda": 0.9, "recall": 0.95})
    with receiver() as (url, bodies):
        assert flows(yard_copy, url, "failure, success", "run", "toy")[0] == 0
        (told,) = bodies
        assert told["title"].startswith("Trainyard: toy 20") and told["title"].endswith(" is done")
        assert "has ended well: all 5 stages were up to date." in told["message"]
        assert "moda 0.9, recall 0.95" in told["message"] and TABLE.strip() in told["message"]
        assert SECRET not in str(told) and "numbers" not in told["message"]
        bodies.clear()
        assert flows(yard_copy, url, "success", "run", "toy", "--only", "square")[0] == 0
        (told,) = bodies  # of a part: the table is of an earlier run
        assert "only square has ended well: all" in told["message"] and "moda" not in told["message"]


def test_a_run_that_failed_is_told_of_as_before_and_never_as_a_success(yard_copy):
    yard_copy.edit("tasks/toy/square.py", "int(path.read_text())", "int('none')")
    with receiver() as (url, bodies):
        assert flows(yard_copy, url, "failure,success", "run", "toy")[0] != 0
    assert [one["title"].endswith(" failed") for one in bodies] == [True]


def test_a_misspelt_word_is_refused_before_a_run(yard_copy):
    code, said = flows(yard_copy, "", "sucess", "check", "toy")
    assert code == 2 and "error: TRAINYARD_NOTIFY_ON: unknown 'sucess'; say failure, success" in said


def test_only_who_asks_hears_of_a_success_and_a_broken_receiver_costs_nothing(monkeypatch, caplog):
    said = "toy 2026-11-30 #3", ["toy-square"], 5, None, "", ""
    with receiver() as (url, bodies):
        monkeypatch.setenv("TRAINYARD_NOTIFY", url)
        notify.tell_of_success(*said)
        assert not bodies
        monkeypatch.setenv("TRAINYARD_NOTIFY_ON", "success")
        notify.tell_of_success(*said)
        notify.send("Trainyard: a night did not happen", "late")
    assert [body["title"] for body in bodies] == ["Trainyard: toy 2026-11-30 #3 is done"]
    with receiver(status=500) as (url, bodies), caplog.at_level(logging.ERROR):
        monkeypatch.setenv("TRAINYARD_NOTIFY", url)
        notify.tell_of_success(*said)
    told = " ".join(record.getMessage() for record in caplog.records if record.name == notify.__name__)
    assert bodies and "could not send the notification" in told and SECRET not in told


def test_a_long_table_is_cut_at_a_line_and_counted(monkeypatch):
    rows = "\n".join(f"| row {n:03d} | {'x' * 40} |" for n in range(200))
    text = notify.shortened(rows)
    assert len(text) < notify.LONGEST + 60 and text.splitlines()[-2] in rows
    kept = len(text.splitlines()) - 1
    assert text.endswith(f"... and {200 - kept} more lines: the report has them.")
    monkeypatch.setenv("TRAINYARD_NOTIFY_ON", "never")
    with pytest.raises(BadInput, match="unknown 'never'"):
        notify.wanted()
