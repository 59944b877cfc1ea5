"""The page, the film and the table, from a finished small project with a camera and one without."""

from __future__ import annotations

import copy
import re
import shutil
from html.parser import HTMLParser

import av
import cv2
import h5py
import numpy as np
import pandas as pd
import pytest

from tasks.brake_coast import evaluate, label, pack, report
from tasks.brake_coast.page import charts, video
from tasks.brake_coast.params import ANALYSES
from tasks.yard.files import folder_hash, read_json, write_json
from tasks.yard.reporting.charts import INK
from tests.tasks.brake_coast import drives
from tests.tasks.brake_coast.test_evaluate import RUNS, cells, train_tiny
from tests.tasks.yard.shared import reporting

pytestmark = pytest.mark.slow

PARAMS = drives.section("report", video_frames=24)
FEW = reporting(bootstrap_replicates=100)
STEPS = ("download", "annotate", "label", "pack", "train_detector", "evaluate")
SIZE_PX = (320, 180)
GREY = np.full((180, 320, 3), 90, np.uint8)


def finished(root, *, camera: bool, brake: bool):
    """Every step but download and annotate is the real one, run on six small drives."""
    for i in range(6):
        table = drives.drive(150, seed=i, start_ms=drives.START_MS + i * 86_400_000)
        if not brake:
            table["BRAKE_SIGNAL"] = ""
        name = f"2025-04-{3 + i:02d}_19-33-31"
        about = {"has_images": camera, "annotate": root / "annotate", "seed": i, "size_px": SIZE_PX}
        drives.write_drive(root / "download", name, table, **about)
        if camera:
            scaled = drives.detections(table, i)
            scaled[["x1", "y1", "x2", "y2"]] /= 6
            drives.write_annotations(root / "annotate", name, scaled, roi_px=(0, 40, 320, 96))
            for time in table["Time"]:
                cv2.imwrite(str(root / "download" / name / f"{time}.jpg"), GREY)
        else:
            write_json(root / "annotate" / name / "annotations.json", {"frames": 0, "boxes": 0, "roi_px": None})
    write_json(root / "download" / "quarantine.json", {"2025-05-01_10-00-00": "telemetry.csv: the file is <empty>"})
    label.run(drives.section("label"), root / "label", download=root / "download")
    inputs = {step: root / step for step in ("download", "annotate", "label")}
    pack.run(drives.section("pack"), root / "pack", **inputs)
    train_tiny(root / "pack", root / "train", RUNS)
    judging = {"pack": root / "pack", "train": cells(root / "train"), "reporting_params": FEW}
    evaluate.run(drives.section("evaluate"), root / "evaluate", **judging)
    return root


def run(root, out, **changes):
    inputs = {"train": cells(root / "train"), **{step: root / step for step in STEPS}}
    return report.run(PARAMS, out, reporting_params=reporting(**changes), **inputs)


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    root = finished(tmp_path_factory.mktemp("seen"), camera=True, brake=True)
    return root, run(root, root / "report")


@pytest.fixture(scope="module")
def unseen(tmp_path_factory):
    root = finished(tmp_path_factory.mktemp("unseen"), camera=False, brake=False)
    return root, run(root, root / "report")


def project_of(seen_root, root, layout: str, frames: int, *, without=()) -> None:
    """The finished project again, as if its drives were of this layout and its windows so many frames long."""
    for step in (*STEPS, "train"):
        if step in ("download", "annotate", "pack"):  # to be changed
            shutil.copytree(seen_root / step, root / step)
        elif step not in without:
            (root / step).symlink_to(seen_root / step)
    for file in (root / "download").glob("*/recording.json"):
        write_json(file, {**read_json(file), "layout": layout, "source": "highway" if layout == "synth" else "a.zip"})
    config = root / "pack/dataset_config.json"
    write_json(config, {**read_json(config), "sequence_length": frames})


def assert_said_of(layout: str, frames: int, text: str) -> None:
    assert f"Predicted from {frames / 2:g} seconds" in text and f"{frames} frames, {frames / 2:g} seconds." in text
    assert ("Rendered world: a computer drew" in text) == (layout == "synth")
    assert "The still is one of its best moments" in text


class Page(HTMLParser):
    """Unbalanced tags, and everything a browser would fetch."""

    VOID = ("meta", "link", "img", "br", "input", "source")

    def __init__(self, text: str):
        super().__init__()
        self.open, self.unbalanced, self.fetched, self.ids = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.open += [] if tag in self.VOID else [tag]
        self.fetched += [value for name, value in attrs if name in ("src", "poster")]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_startendtag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)


def page_of(root) -> tuple[str, Page]:
    text = (root / "report" / "report.html").read_text()
    return text, Page(text)


@pytest.mark.parametrize("project", ["seen", "unseen"])
def test_the_page_is_whole_and_fetches_nothing(project, request):
    root, _ = request.getfixturevalue(project)
    text, page = page_of(root)
    assert not page.unbalanced and not page.open
    assert len(page.ids) == len(set(page.ids))
    assert all(url.startswith("data:") for url in page.fetched)
    assert not re.search(r"url\((?!#)|@import|<script|<link", text)
    assert "nan" not in re.sub(r"<[^>]*>", " ", text).lower().split()
    for other in ("export", *(f"analyse/{name}" for name in ANALYSES)):
        assert f'href="../{other}/report.html"' in text


def test_the_page_says_what_was_recorded_split_and_refused(seen):
    root, _ = seen
    text, _ = page_of(root)
    config = read_json(root / "pack" / "dataset_config.json")
    for held in config["splits"].values():
        assert all(name in text for name in held["recordings"])
    assert "the file is &lt;empty&gt;" in text  # a reason is text, not markup
    details = read_json(root / "evaluate" / "details.json")
    assert f"{details[RUNS[0]]['brake_1s']['all']['pr_auc']:.3f}" in text
    assert "persistence" in text and "the camera to simple_concat_lstm-telemetry" in text


def test_a_film_of_a_test_drive_plays_in_browsers(seen):
    root, _ = seen
    with av.open(str(root / "report" / "drive.mp4")) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    assert len(frames) == PARAMS.video_frames and stream.average_rate == PARAMS.video_fps
    inside_roi = frames[5][120:280, 300:420]  # of the camera's picture: grey as it was written, boxes apart
    assert abs(int(np.median(inside_roi)) - 90) < 6
    assert np.abs(frames[5].astype(int) - frames[15]).max() > 50  # it moves


def test_without_a_camera_and_a_brake_signal_the_page_still_stands(unseen):
    root, metrics = unseen
    text, _ = page_of(root)
    assert "No recording has a brake signal" in text and "this source has no camera" in text
    assert (root / "report" / "drive.mp4").stat().st_size > 5000
    assert "coast_1s/pr_auc" in metrics and "brake_1s/pr_auc" not in metrics


def test_a_rendered_world_is_said_at_the_top_and_a_frame_that_cannot_be_read_is_left_out_of_the_film(seen, tmp_path):
    project_of(seen[0], tmp_path, "synth", frames=20)
    for folder in sorted((tmp_path / "evaluate" / "predictions").glob("*.csv")):
        for path in list((tmp_path / "download" / folder.stem).glob("*.jpg")):
            path.write_bytes(path.read_bytes()[:100])
        table = pd.read_csv(tmp_path / "annotate" / folder.stem / "annotations.csv", dtype=str).drop_duplicates("Time")
        drives.write_annotations(tmp_path / "annotate", folder.stem, table.assign(status="unreadable"))
    run(tmp_path, tmp_path / "report")
    text, _ = page_of(tmp_path)
    assert_said_of("synth", 20, text)
    assert text.index("Rendered world") < text.index("Will the driver brake")
    assert (tmp_path / "report" / "drive.mp4").exists()


def test_the_table_names_every_run_beside_the_baselines(seen):
    root, _ = seen
    summary = read_json(root / "report" / "summary.json")
    text = report.table(summary)
    for run_ in (*RUNS, "prevalence", "persistence", *summary["tasks"]):
        assert run_ in text
    held = summary["tasks"]["brake_1s"]["all"]
    assert f"{held['positives']} / {held['windows']}" in text
    best = max(held["pr_auc"].values())
    assert f"**{best:.3f}**" in text
    assert summary["leader"] == RUNS[0]  # never a blind run while one sees everything
    told = read_json(root / "report" / "headline.json")
    assert told["brake_1s_pr_auc"] == round(held["pr_auc"][RUNS[0]], 4) and len(told) <= 8


def test_numbers_of_mostly_unknown_labels_are_marked_on_the_console_and_the_page(seen, tmp_path):
    root, _ = seen
    for step in (*STEPS, "train"):
        (tmp_path / step).symlink_to(root / step) if step not in ("pack", "evaluate", "train_detector") else None
    shutil.copytree(root / "pack", tmp_path / "pack")
    with h5py.File(tmp_path / "pack/test.h5", "r+") as file:
        labels = file["frames/labels"][:]
        labels[np.arange(len(labels)) % 5 < 2, list(file["frames/labels"].attrs["names"]).index("coast_1s")] = -1
        file["frames/labels"][:] = labels
    judging = {"pack": tmp_path / "pack", "train": cells(root / "train"), "reporting_params": FEW}
    evaluate.run(drives.section("evaluate"), tmp_path / "evaluate", **judging)
    metrics = run(tmp_path, tmp_path / "report")
    share = read_json(tmp_path / "evaluate/details.json")[RUNS[0]]["coast_1s"]["all"]["unknown_share"]
    assert metrics["coast_1s/not_meaningful"] == 1 and metrics["coast_1s/unknown_share"] == share > 0.4
    assert metrics["brake_1s/not_meaningful"] == 0
    lines = (tmp_path / "report/table.md").read_text().splitlines()
    column = lines[2].split("|").index(next(cell for cell in lines[2].split("|") if "coast_1s" in cell))
    cells_ = [line.split("|")[column].strip() for line in lines[4:] if line.startswith("|")][:5]
    assert cells_[-1] == "" or all("(!)" in cell and "**" not in cell for cell in cells_ if "." in cell)
    assert any("unknown labels" in line and f"{100 * share:.1f} % (!)" in line for line in lines)
    assert any(line.startswith("(!) not meaningful: more than 30 %") for line in lines)
    text, page = page_of(tmp_path)
    assert not page.unbalanced and f"coast_1s, all: not meaningful: {100 * share:.1f} % unknown" in text
    assert "(!) coast_2s, all" not in text and "Unknown labels" in text


def test_that_the_test_drives_would_have_chosen_another_network_is_said(seen):
    details = read_json(seen[0] / "evaluate/details.json")
    alone = report.table(report.summarise(details))
    assert f"Leader: {RUNS[0]}, best on the validation drives." in alone and "leads all the same" not in alone
    other = details["simple_concat_transformer"] = copy.deepcopy(details[RUNS[0]])
    for task in other.values():
        task["validation"]["pr_auc"] *= 0.9
        for subset in ("all", "not_yet"):
            task[subset]["pr_auc"] *= 1.01
    columns = 2 * len(other)
    assert (
        f"drives. simple_concat_transformer is above {RUNS[0]} in {columns} of the {columns} test columns, and "
        f"{RUNS[0]} leads all the same: validation chooses"
    ) in report.table(report.summarise(details))


def test_the_page_counts_what_is_lost_by_its_cause(unseen):
    root, _ = unseen
    text, _ = page_of(root)
    told = [read_json(path) for path in sorted((root / "label").glob("*/labels.json"))]
    ends = sum(of["unknown_because"]["coast_2s"]["drive_end"] for of in told)
    row = re.search(r"<tr><td>coast_2s</td><td class=\"num\">(.*?)</tr>", text.split("Unknown labels</h3>")[1])[1]
    assert f'<td class="num">{ends}</td>' in row and "end of drive" in text
    assert "rows that count as coasting" in text


def test_same_input_same_bytes(seen, tmp_path):
    root, _ = seen
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "old.png").write_bytes(b"left by an earlier version")
    run(root, tmp_path / "report")
    assert folder_hash(tmp_path / "report") == folder_hash(root / "report")


def test_of_recorded_drives_a_large_film_stays_beside_the_page_and_a_detector_is_shown(seen, tmp_path):
    root, _ = seen
    project_of(root, tmp_path, "native", frames=30, without=["train_detector"])
    (tmp_path / "train_detector").mkdir()
    write_json(tmp_path / "train_detector" / "metrics.json", {"test": {"map50": 0.875, "images": 40}, "epochs": 3})
    shutil.copy(root / "report" / "pr.png", tmp_path / "train_detector" / "samples.png")
    run(tmp_path, tmp_path / "report", embed_mb=0.001, source_url="https://example.org/yard")
    text, page = page_of(tmp_path)
    assert_said_of("native", 30, text)
    assert '<a href="https://example.org/yard">' in text  # AGPL-3.0, section 13
    assert "drive.mp4" in page.fetched and "0.875" in text and "samples" in text


def test_ids_and_inks_of_a_figure_are_the_pages(seen):
    root, _ = seen
    details = read_json(root / "evaluate" / "details.json")
    svg = charts.reliability(root / "reliability.png", details, ["brake_1s"])
    ids = set(re.findall(r' id="([^"]+)"', svg))
    used = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg))
    assert {a or b for a, b in used} <= ids
    assert "var(--ink)" in svg and INK not in svg


def test_the_busiest_stretch_is_of_one_segment_with_the_onsets_inside():
    braking = np.zeros(60, int)
    braking[[5, 6, 30, 31, 40, 41, 42]] = 1
    rows = pd.DataFrame({"segment": [0] * 20 + [1] * 40, "braking": braking})
    chosen = video.busiest(rows, 20)
    assert chosen.stop - chosen.start == 20 and chosen.start >= 20
    assert {30, 40} <= set(range(chosen.start, chosen.stop))
    assert video.busiest(rows, 500) == slice(20, 60)
