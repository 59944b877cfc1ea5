"""The page and the table, from a small project: with cameras and detector, without, and with nobody to find."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.person_search import report
from tasks.yard.files import folder_hash, read_json, write_json
from tests.figures import measured
from tests.tasks.brake_coast.test_report import Page
from tests.tasks.person_search.test_evaluate import PARAMS, evaluated, train_tiny, trained
from tests.tasks.person_search.tiny_pack import People, write_pack
from tests.tasks.yard.shared import reporting

pytestmark = pytest.mark.slow

STEPS = ("download", "pack", "train_detector", "evaluate", "calibrate", "index", "search")
QUERY = "1000_c1s1_000000_00"
SAYS = "found in 1 of 2 cameras, door <1>"


def photo(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (60, 80, 3), np.uint8)).save(path)


def write_search(root: Path) -> None:
    """Index, search and detector as those steps leave them."""
    camera = {
        "dataset": "tiny",
        "frames": 6,
        "detections": 12,
        "unreadable": [],
        "true_boxes": 8,
        "true_boxes_found": 6,
    }
    write_json(root / "index" / "index.json", {"cameras": {"door <1>": camera}, "empty": None})
    score = {"map": 0.4321, "top1": 0.5, "top5": 0.75, "top10": 1.0, "box_recall": 0.9, "queries": 4, "skipped": 0}
    oracle = score | {"map": 0.8768, "box_recall": 1.0}
    metrics = {
        "detector": score, "oracle": oracle, "chance": {"map": 0.0123, "top1": 0.1}, "detector_recall": 0.75,
        "open_set": {"there": 4, "found_right": 0.5, "nowhere": 4, "said_not_found": 0.25},
    }  # fmt: skip
    write_json(root / "search" / "search.json", {
        "threshold": 0.6123, "threshold_from": "0.05 of the searches", "calibrated": True, "detections": 12,
        "cameras": ["door <1>", "b"], "queries": {QUERY: {"says": SAYS, "found": True}}, "empty": None, "skipped": [],
        "metrics": metrics, "metrics_null_because": None, "sheets": [QUERY], "videos": [QUERY],
        "standing": {
            "door <1>": [{"box": [10, 20, 30, 80], "frames": 6, "of": 6, "person": False}],
            "b": [{"box": [x, 20, x + 9, 80], "frames": 5, "of": 6, "person": False} for x in (0, 10, 20, 30)],
            "c": [],
        },
    })  # fmt: skip
    promised = [{"rate": 0.05, "threshold": 0.6543, "beyond": True, "claimed": 0, "found_right": 0.375}]
    tried = [
        {"confidence": c, "weight": 0.15, "map": m, "box_recall": 0.5, "detections": 9}
        for c, m in ((0.1, 0.531), (0.25, 0.519))
    ]
    write_json(root / "calibrate" / "calibration.json", {
        "confidence": 0.1, "confidence_weight": 0.15, "confidences": tried,
        "impostors": {"searches": 89, "people": 24, "detections": 1107.4},
        "promised": promised, "there": 16, "null_because": None,
    })  # fmt: skip
    Image.new("RGB", (64, 36)).save(root / "search" / "still.jpg")
    photo(root / "search" / QUERY / "sheet.png")
    (root / "search" / "still.jpg").rename(root / "search" / QUERY / "search.jpg")
    (root / "search" / QUERY / "search.mp4").write_bytes(bytes(range(256)) * 8)
    write_json(
        root / "train_detector" / "metrics.json", {"test": {"map50": 0.8642, "images": 12, "boxes": 40}, "epochs": 3}
    )
    photo(root / "train_detector" / "samples.png")
    bad = [{"file": "labels/train/a.txt", "line": 7, "why": "4 numbers <instead of 5>"}]
    unit = {
        "layout": "yolo",
        "parts": ["detect"],
        "detect": {"bad_label_lines": bad, "images_without_labels": [], "unreadable": ["images/x.jpg"]},
    }
    write_json(root / "download" / "report.json", {
        "parts": ["detect"], "totals": {}, "datasets": {}, "units": {"shop": unit},
        "same_images": [{"splits": ["query", "train"], "images": ["a.jpg", "b.jpg"]}],
        "quarantined": {"door 9": "no frame"},
    })  # fmt: skip


def run(root: Path, out: Path, **changes) -> dict:
    out.mkdir(parents=True, exist_ok=True)
    inputs = {step: root / step for step in STEPS}
    return report.run(None, out, train=trained(root), reporting_params=reporting(**changes), **inputs)


def page_of(out: Path) -> tuple[str, Page]:
    text = (out / "report.html").read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    write_pack(root, {"tiny": People(test=6)})
    train_tiny(root / "pack", root / "train" / "young", 1)
    evaluated(root, root / "pack", trained(root), PARAMS)
    write_search(root)
    return root, run(root, root / "report")


@pytest.fixture(scope="module")
def bare(tmp_path_factory, project):
    """No detector, no cameras, no report of download, nobody to be judged on."""
    root = tmp_path_factory.mktemp("bare")
    write_pack(root, {"tiny": People(test=0)})
    (root / "train").symlink_to(project[0] / "train")
    evaluated(root, root / "pack", trained(root), PARAMS)
    return root, run(root, root / "report")


@pytest.mark.parametrize("which", ["project", "bare"])
def test_the_page_is_whole_and_fetches_nothing(which, request):
    root, _ = request.getfixturevalue(which)
    text, page = page_of(root / "report")
    assert not page.unbalanced and not page.open
    assert len(page.ids) == len(set(page.ids))
    assert all(url.startswith("data:") for url in page.fetched)
    assert not re.search(r"url\((?!#)|@import|<script|<link", text)
    assert not {"nan", "none", "undefined"} & set(
        re.sub(r"<style.*?</style>|<[^>]*>", " ", text, flags=re.S).lower().split()
    )
    linked = set(re.findall(r'href="#([a-z]+)"', text))
    assert linked <= set(page.ids)  # every entry of the menu leads somewhere


def test_the_page_shows_every_run_the_search_the_detector_and_what_was_odd(project):
    root, numbers = project
    text, page = page_of(root / "report")
    details = read_json(root / "evaluate" / "details.json")
    for run_, told in details["runs"].items():
        assert run_ in text and f"{told['test']['map']:.3f}" in text
        assert f"{told['test']['intervals']['map']['low']:.2f}" in text
    for shown in (
        "0.432",
        "0.877",
        "0.012",
        "75.0",
        "0.864",
    ):  # search, true boxes, chance, recall of a camera, detector
        assert shown in text
    assert "found in 1 of 2 cameras, door &lt;1&gt;" in text
    assert "shop/labels/train/a.txt, line 7: 4 numbers &lt;instead of 5&gt;" in text
    assert "shop/images/x.jpg" in text and "a.jpg = b.jpg" in text and "no frame" in text
    assert sum(url.startswith("data:video/mp4") for url in page.fetched) == 1
    told = read_json(root / "report" / "headline.json")
    assert told["search_map_detector"] == 0.4321 and told["map"] == round(numbers["map"], 4) and len(told) <= 8
    assert numbers["search_map_detector"] == 0.4321 and numbers["map"] == details["runs"]["young"]["test"]["map"]
    said = measured.person_search(root)["said"]
    assert said["Of 4 searches for somebody whom no camera saw, claimed to be found"] == 0.75
    assert said["Share of the people in these frames whom the detector finds"] == 0.75


def test_honest_remarks_come_from_the_counts(project):
    root, _ = project
    told = read_json(root / "report" / "summary.json")["remarks"]
    assert any("18 queries of 6 people: these numbers mean little" in line for line in told)
    assert any("chosen on 3 people of validation" in line for line in told)
    assert any("12 images: its numbers mean little" in line for line in told)
    assert any("Of 4 queries whose person no camera saw, 3 were said to be found" in line for line in told)
    assert any("1 image is in two splits" in line for line in told)
    text, _ = page_of(root / "report")
    assert "18 queries of 6 people: these numbers mean little" in text


def words(text: str) -> str:
    return " ".join(re.sub(r"<style.*?</style>|<[^>]*>", " ", text, flags=re.S).split())


def test_a_rate_of_pairs_and_a_rate_of_searches_are_told_apart(project):
    """1 % of pairs beside 3 of 4 strangers found: one camera with 12 detections makes 12 pairs of every query."""
    root, _ = project
    text = words(page_of(root / "report")[0])
    tile = text[text.index("Strangers said to be found 3 of 4 no camera saw them;") :][:250]
    assert (
        "of 4 searches for somebody who is there 50.0 % find them; among 12 detections, from a similarity of 0.612"
        in tile
    )
    assert "of single pairs on test" in text and not re.search("% false accepts(?! of single pairs)", text)
    assert "3 of 4 queries whose person no camera saw were said to be found." in text
    table = (root / "report" / "table.md").read_text(encoding="utf-8")
    assert "Of 4 searches for somebody whom no camera saw 3 claimed to have found them; of 4 searches for" in table
    assert "whom another camera saw 50% found them there (among 12 detections)." in table


def test_how_often_a_search_errs_stands_with_the_number_of_detections(project):
    root, _ = project
    text = words(page_of(root / "report")[0])
    errs = text[text.index("89 searches for 24 people of validation, each with that person taken out") :][:1500]
    assert "among 1,107 detections" in errs and "The search uses 0.612: 0.05 of the searches" in errs
    assert "0.654 beyond all that was seen 0 of 89 37" in errs and "of 16" in errs
    assert "0.1 0.15 0.531 0.500 9" in errs and "0.25 0.15 0.519 0.500 9" in errs
    assert "its cosine times its confidence to the power of 0.15" in errs
    (root / "calibrate").rename(root / "gone")
    run(root, root / "again")
    assert "searches for 24 people" not in page_of(root / "again")[0]
    (root / "gone").rename(root / "calibrate")


def test_the_detector_is_told_by_the_frames_that_are_searched_too(project):
    root, _ = project
    text = words(page_of(root / "report")[0])
    tile = text[text.index("Detector: mAP50, and recall where it searches") :][:300]
    assert "0.86, 0.75 mAP50 on 12 images of its test split, 3.3 people each;" in tile
    assert "in the 6 frames that are searched, 1.3 people each, it finds 6 of 8" in tile
    assert "In the frames that are searched it finds 6 of 8 people." in (root / "report" / "table.md").read_text()


def test_a_thing_that_is_detected_all_the_time_is_explained(project):
    root, _ = project
    remarks = read_json(root / "report" / "summary.json")["remarks"]
    others, told = [line for line in remarks if "in one place" in line]
    assert "In door <1> " in told and "(10, 20, 30, 80 px) in 6 of 6 frames. No person is there" in told
    assert others.startswith("In b 4 detections ") and "(20, 20, 29, 80 px) in 5 of 6 frames, and 1 more." in others


def test_the_still_of_a_film_is_said_to_be_its_best_moment(project):
    root, _ = project
    text, _ = page_of(root / "report")
    assert any(url.startswith("data:image/jpeg") for url in re.findall(r'poster="([^"]*)"', text))
    assert "The still is its best moment" in text


@pytest.mark.parametrize(("layout", "said"), [("street", "Rendered world: "), ("yolo", None)])
def test_the_page_of_a_rendered_world_says_so_at_its_top(project, tmp_path, layout, said):
    root, _ = project
    for step in (*STEPS, "train"):
        (tmp_path / step).symlink_to(root / step) if step != "download" else shutil.copytree(
            root / step, tmp_path / step
        )
    report_ = read_json(root / "download" / "report.json")
    report_["units"]["shop"]["layout"] = layout
    write_json(tmp_path / "download" / "report.json", report_)
    run(tmp_path, tmp_path / "report")
    text = words(page_of(tmp_path / "report")[0])
    assert ("endered world" in text) == bool(said)
    if said:
        assert text.index(said) < text.index("Where is this person?")


def test_the_table_has_every_run_beside_the_baselines(project):
    root, _ = project
    text = (root / "report" / "table.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "chance",
        "raw_pixels",
        "colour_stripes",
        "young-untrained",
        "young",
    ]
    assert len({len(line) for line in lines}) == 1
    assert "true boxes 0.877, the detector's boxes 0.432" in text and "mAP50 0.864" in text


def test_with_nothing_to_show_the_page_still_says_why(bare):
    root, numbers = bare
    text, page = page_of(root / "report")
    assert "no crop in query/ and bounding_box_test/" in text
    assert not {"search", "detector", "ranked"} & set(page.ids) and "map" not in numbers
    assert "-" in (root / "report" / "table.md").read_text(encoding="utf-8")


def test_given_weights_and_several_data_sets_have_their_rows(project, tmp_path):
    write_pack(tmp_path, {"here": People(train=8, test=4), "<away>": People(train=0, test=4)})
    shutil.copytree(project[0] / "train", tmp_path / "train")
    shutil.copy(tmp_path / "train" / "young" / "best.pt", tmp_path / "train" / "young" / "start.pt")
    _, details = evaluated(tmp_path, tmp_path / "pack", trained(tmp_path), PARAMS)
    run(tmp_path, tmp_path / "report")
    assert "| young-start " in (tmp_path / "report" / "table.md").read_text(encoding="utf-8")
    text, page = page_of(tmp_path / "report")
    assert "<td>young-start <span" in text and "young-untrained" not in text and not page.unbalanced
    rows = text[text.index("The threshold by data set") :]
    for name, shown in (("here", "here"), ("<away>", "&lt;away&gt;")):
        assert f'<td>{shown}</td><td class="num">{details["threshold"]["by_dataset"][name]["far"] * 100:.2f}' in rows


def test_same_input_same_bytes_and_nothing_stale(project, tmp_path):
    root, _ = project
    photo(tmp_path / "old.png")
    (tmp_path / "old.mp4").write_bytes(b"left by an earlier version")
    run(root, tmp_path)
    assert folder_hash(tmp_path) == folder_hash(root / "report")


def test_a_large_film_lies_beside_the_page_and_a_search_without_its_json_is_shown(project, tmp_path):
    root, _ = project
    for step in (*STEPS, "train"):
        (tmp_path / step).symlink_to(root / step) if step != "search" else shutil.copytree(root / step, tmp_path / step)
    (tmp_path / "search" / "search.json").unlink()
    run(tmp_path, tmp_path / "report", embed_mb=0.001, source_url="https://example.org/yard")
    text, page = page_of(tmp_path / "report")
    assert '<a href="https://example.org/yard">' in text  # AGPL-3.0, section 13
    assert f"{QUERY}.mp4" in page.fetched
    assert (tmp_path / "report" / f"{QUERY}.mp4").read_bytes() == (root / "search" / QUERY / "search.mp4").read_bytes()
    assert sum(url.startswith("data:image/jpeg") for url in page.fetched) >= 2
