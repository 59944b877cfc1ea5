"""The page of the line: what stands on it is what the steps found, beside what has to be said of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks.bike_parts import report
from tasks.bike_parts.page.remarks import remarks_of
from tasks.bike_parts.page.ride_pictures import kind_of
from tasks.yard.files import folder_hash, read_json, write_json
from tests.tasks.bike_parts.tiny_photos import PARTS
from tests.tasks.bike_parts.tiny_rides import NETWORK, folders, inspected, write_project
from tests.tasks.yard.shared import reporting

pytestmark = pytest.mark.slow
CHECKED = {"dropped": {"boxes of trust below 0.5": 3}, "remarks": ["3 boxes of trust below 0.5 are left out"]}


def paged(root: Path, out: str = "report") -> dict:
    (root / out).mkdir(exist_ok=True)
    steps = folders(root, "download", "check_data", "split", "evaluate", "inspect")
    return report.run(None, root / out, reporting_params=reporting(), **steps)


def write_all(root: Path, states: bool = True) -> Path:
    write_project(root, states, found=states)
    inspected(root)
    write_json(root / "check_data/details.json", CHECKED)
    rows = [
        '{"epoch": 0, "train": {"loss": 2.0}, "val": {"ap50": 0.1, "state_macro_f1": null, "loss": 2.5}, "best": true}',
        '{"epoch": 1, "train": {"loss": 1.0}, "val": {"ap50": 0.2, "state_macro_f1": 0.3, "loss": 1.5}, "best": true}',
    ]
    (root / "train" / NETWORK / "history.jsonl").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = write_all(tmp_path_factory.mktemp("project"))
    paged(folder)
    return folder


def words_of(root: Path) -> str:
    text = (root / "report/report.html").read_text(encoding="utf-8").partition("<body>")[2]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def test_the_page_says_what_evaluate_found(root):
    details, shown = read_json(root / "evaluate/details.json"), words_of(root)
    for name, of in details["runs"].items():
        assert f"{name} {of['ap50']:.3f}" in shown
    assert "Rendered world" in shown and "3 boxes of trust below 0.5" in shown
    for part in PARTS:
        assert part in shown
    for split in ("train", "val", "test"):
        count = details["counts"][split]
        assert f"{split} {count['photos']} {count['groups']} {count['pairs']} {count['parts']}" in shown
    counts = [count for row in details["runs"][NETWORK]["oracle"]["confusion"] for count in row]
    assert all(f" {count} " in shown for count in counts)


def test_headline_and_table_are_the_leaders_numbers(root):
    top = read_json(root / "evaluate/details.json")["runs"][NETWORK]
    headline = read_json(root / "report/headline.json")
    assert 4 <= len(headline) <= 8
    assert headline["ap50"] == pytest.approx(top["ap50"], abs=1e-4)
    table = (root / "report/table.md").read_text()
    assert table.startswith("| on test") and f"{top['ap50']:.3f}" in table and "8 photographs of 4 vehicles" in table


def test_pictures_are_of_the_page_and_nothing_is_fetched(root):
    text = (root / "report/report.html").read_text(encoding="utf-8")
    assert text.count("data:image/jpeg") >= 4 and text.count("<svg") == 3
    links = set(re.findall(r'(?:src|href)="([^"]*)"', text))
    outside = {link for link in links if not link.startswith(("data:", "#"))}
    assert {link for link in outside if not link.startswith("http")} == {
        "../inspect/report.html", "../check_data/report.html", "../export/report.html",
    }  # fmt: skip


def test_twice_is_the_same(root):
    before = folder_hash(root / "report")
    paged(root)
    assert folder_hash(root / "report") == before


def test_a_source_without_states_has_a_page(tmp_path):
    root = write_all(tmp_path, states=False)
    paged(root)
    assert "No state is labelled: parts are judged, states are not." in words_of(root)
    assert "state_macro_f1" not in read_json(root / "report/headline.json")


def test_photographs_of_a_stranger_do_not_stand_among_the_results(root, tmp_path):
    for step in ("download", "split", "train", "detect", "evaluate", "check_data"):
        (tmp_path / step).symlink_to(root / step)
    inspected(tmp_path, photos=str(root / "download/unit/images"))
    paged(tmp_path)
    assert "What was done" not in words_of(tmp_path)


def test_remarks_name_what_the_numbers_cannot_bear(root):
    details = read_json(root / "evaluate/details.json")
    said = " ".join(remarks_of(details, CHECKED))
    assert "The test split is 8 photographs of 4 vehicles" in said
    top = details["runs"][NETWORK]
    top |= {"ap50": 0.4, "state_macro_f1": 0.2}
    details["runs"]["blind"] = {"ap50": 0.3}
    details["runs"]["majority_state"]["state_macro_f1"] = 0.22
    said = " ".join(remarks_of(details, CHECKED))
    assert "no better than majority_state" in said and "knows the usual layout" in said
    details["leader"], details["leader_null_because"] = None, "nothing to choose by"
    assert remarks_of(details, CHECKED)[0] == "No network leads: nothing to choose by."


def test_a_ride_is_found_missed_made_up_or_quiet():
    def pair(claimed: list[str], truth: list[str]) -> dict:
        return {"changes": [{"part": part, "claimed": True} for part in claimed], "truth": truth}

    kinds = [kind_of(pair(*of)) for of in ((["bell"], ["bell"]), ([], ["bell"]), (["lock"], ["bell"]), ([], []))]
    assert kinds == ["found", "missed", "made up", "quiet"]
