"""The viewer's page: what it says of a finished small project, and what it does in a browser."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.brake_coast import label, pack, view
from tasks.yard import params
from tasks.yard.files import read_json, write_json
from tasks.yard.step import BadInput
from tests.browser import CHROMIUM, PHONE_PX, told
from tests.browser import needed as browser
from tests.flows.conftest import make_yard
from tests.tasks.brake_coast import drives
from tests.tasks.brake_coast.test_evaluate import RUNS
from tests.tasks.brake_coast.test_report import SIZE_PX, finished

pytestmark = pytest.mark.slow

LINE = params.load(drives.REPO / "params.yaml").brake_coast


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = finished(tmp_path_factory.mktemp("project") / "data" / "brake_coast", camera=True, brake=True)
    for path in root.glob("annotate/*/annotations.json"):
        write_json(path, {**read_json(path), "image_width_px": SIZE_PX[0], "image_height_px": SIZE_PX[1]})
    shutil.copy(drives.REPO / "params.yaml", root.parents[1])
    return root


def in_split(data: Path, split: str) -> list[str]:
    return read_json(data / "pack" / "dataset_config.json")["splits"][split]["recordings"]


@pytest.fixture(scope="module")
def page(data, tmp_path_factory) -> Path:
    """Of the first test drive."""
    out = tmp_path_factory.mktemp("view") / "drive.html"
    view.write(in_split(data, "test")[0], out, LINE, data)
    return out


def held(page: Path) -> dict:
    """What the page has to show."""
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="drive">(.*?)</script>', text)[1])


def numbers(p: list) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in p])


def flows_view(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "flows", "view", *arguments]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(drives.REPO), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def opened(page: Path, address: str = "", budget_ms: int = 1500) -> dict[str, str]:
    """The body's data-* attributes once the page has been open for `budget_ms`, and where the cursor stands."""
    profile = page.with_name("profile")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--dump-dom"]
    command += [f"--virtual-time-budget={budget_ms}", page.as_uri() + address]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout
    found = dict(re.findall(r'data-(\w+)="([^"]*)"', re.search(r"<body[^>]*>", dom)[0]))
    cursor = re.search(r'<line class="cursor" x1="([^"]+)"', dom)[1]
    return {key: html.unescape(value) for key, value in found.items()} | {"cursor": cursor}


def test_the_door_writes_the_page_and_opens_nothing_without_a_display(data):
    name = in_split(data, "test")[0]
    done = flows_view(data.parents[1], "brake_coast", f"data/brake_coast/download/{name}")
    assert done.returncode == 0, done.stderr
    assert f"data/brake_coast/view/{name}.html" in done.stdout and "no run has learned from it" in done.stdout
    text = (data / "view" / f"{name}.html").read_text()
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)|url\(|@import|https?://(?!www\.w3\.org/2000/svg)""", text)


def test_an_unknown_recording_names_the_nearest_and_a_line_without_a_viewer_says_so(data, tmp_path):
    name = in_split(data, "test")[0]
    with pytest.raises(BadInput, match=f"no recording '{name[:-1]}' .* nearest: {name}"):
        view.write(name[:-1], tmp_path / "page.html", LINE, data)
    with pytest.raises(BadInput, match="run the line first"):
        view.write(name, tmp_path / "page.html", LINE, tmp_path)
    toy = make_yard(tmp_path / "yard").flow("view", "toy", "one")
    assert toy.returncode == 2 and "the line toy has no viewer" in toy.stderr


def test_a_drive_that_came_alone_is_predicted_without_being_packed(data, tmp_path):
    """A customer's single drive, annotated and labelled, and networks that were trained on others before."""
    alone = tmp_path / "brake_coast"
    for step in ("train", "evaluate", "pack"):
        (alone / step).parent.mkdir(parents=True, exist_ok=True)
        (alone / step).symlink_to(data / step)
    table = drives.drive(120, seed=77, start_ms=drives.START_MS + 99 * 86_400_000)
    drives.write_drive(alone / "download", "2025-07-11_single", table, annotate=alone / "annotate", seed=7)
    label.run(LINE.label, alone / "label", download=alone / "download")
    inputs = {step: alone / step for step in ("download", "annotate", "label")}
    with pytest.raises(BadInput, match="`python -m flows view brake_coast 2025-07-11_single` plays it"):
        pack.run(LINE.pack, tmp_path / "pack", **inputs)
    notes = view.write("2025-07-11_single", tmp_path / "page.html", LINE, alone)
    assert "Drive of no split: predicted now by the best run" in notes[0]
    shown = held(tmp_path / "page.html")
    p = np.array(numbers(shown["runs"][shown["best"]]["brake_1s"]["p"]))
    assert np.flatnonzero(np.isfinite(p)).tolist() == list(range(19, 120))  # wherever a window ends
    assert 0 <= np.nanmin(p) < np.nanmax(p) <= 1 and shown["split"] is None
    (alone / "label/2025-07-11_single/labels.csv").unlink()
    notes = view.write("2025-07-11_single", tmp_path / "page.html", LINE, alone)
    assert "No probabilities: this drive is not in the pack (label/2025-07-11_single/labels.csv: no labels" in notes[0]


def test_events_are_those_that_evaluate_counted(data, tmp_path):
    details = read_json(data / "evaluate" / "details.json")
    pages = []
    for name in in_split(data, "test"):
        view.write(name, tmp_path / f"{name}.html", LINE, data)
        pages.append(held(tmp_path / f"{name}.html")["runs"])
    for run in RUNS:
        for task, shown in pages[0][run].items():
            counted = details[run][task]["events"]
            tasks = [of[run][task] for of in pages]
            assert shown["threshold"] == details[run][task]["threshold"]
            for ours, theirs in {"alarms": "alarms", "false": "false_alarms", "warned": "recalled"}.items():
                assert sum(len(of[ours]) for of in tasks) == counted[theirs], (run, task, ours)
            assert sum(len(of["missed"]) for of in tasks) == counted["events"] - counted["recalled"]
            leads_s = [lead for of in tasks for _, lead in of["warned"]]
            assert not leads_s or np.isclose(np.median(leads_s), counted["lead_s_median"], atol=0.01)


def test_probabilities_and_labels_stand_at_their_frames(data, page):
    name, shown = in_split(data, "test")[0], held(page)
    labels = pd.read_csv(data / "label" / name / "labels.csv")
    foretold = pd.read_csv(data / "evaluate" / "predictions" / f"{name}.csv").set_index("t_ms").reindex(labels["t_ms"])
    assert shown["start_ms"] + 1000 * shown["t_s"][-1] == labels["t_ms"].iloc[-1]
    for run in RUNS:
        for task, of in shown["runs"][run].items():
            assert np.allclose(numbers(of["p"]), foretold[f"{run}/{task}"], atol=1e-4, equal_nan=True)
            assert np.array_equal(numbers(shown["labels"][task]), labels[task], equal_nan=True)
    assert all(shown["labels"]["braking"][i] == 1 for i in shown["onsets"]["brake"]) and shown["onsets"]["brake"]


def test_boxes_lie_in_the_picture_where_the_detector_found_them_in_its_part(data, page):
    name, shown = in_split(data, "test")[0], held(page)["camera"]
    about = read_json(data / "annotate" / name / "annotations.json")
    found = pd.read_csv(data / "annotate" / name / "annotations.csv").query("status == 'ok'")
    x, y, width, height = about["roi_px"]
    in_px = np.array([box for boxes in shown["boxes"] for box in boxes]) * [1, *SIZE_PX, *SIZE_PX]
    assert np.allclose(in_px, found[["confidence", "x1", "y1", "x2", "y2"]] + [0, x, y, x, y], atol=0.02) and y > 0
    assert np.allclose(np.array(shown["roi"]) * [*SIZE_PX, *SIZE_PX], [x, y, x + width, y + height], atol=0.02)


def test_a_drive_that_evaluate_did_not_judge_is_predicted_now_and_says_by_what(data, page, tmp_path):
    train = in_split(data, "train")[0]
    (note,) = view.write(train, tmp_path / "train.html", LINE, data)
    shown = held(tmp_path / "train.html")
    assert list(shown["runs"]) == [shown["best"]] == [held(page)["best"]]
    assert shown["best"] in note and "learned from this drive" in note
    assert html.escape(note) in (tmp_path / "train.html").read_text()

    # What is predicted now is what evaluate would have: shown on a drive of which both are known.
    name, judged = in_split(data, "test")[0], held(page)["runs"][shown["best"]]
    for step in ("download", "annotate", "label", "pack", "train"):
        (tmp_path / step).symlink_to(data / step)
    shutil.copytree(data / "evaluate", tmp_path / "evaluate")
    (tmp_path / "evaluate" / "predictions" / f"{name}.csv").unlink()
    view.write(name, tmp_path / "again.html", LINE, tmp_path)
    again = held(tmp_path / "again.html")["runs"][shown["best"]]
    for task, of in judged.items():
        assert np.allclose(numbers(again[task]["p"]), numbers(of["p"]), atol=2e-4, equal_nan=True)


def test_too_many_pictures_lie_beside_the_page_and_come_back_into_it(data, page, tmp_path):
    name, out = in_split(data, "test")[0], tmp_path / "drive.html"
    view.write(name, out, LINE, data, embed_mb=0.001)
    beside = held(out)["camera"]["pictures"]
    assert all((tmp_path / src).read_bytes()[:2] == b"\xff\xd8" for src in beside) and len(beside) == 150
    if CHROMIUM:
        assert opened(out, "#frame=7")["painted"] == "7"
    view.write(name, out, LINE, data)
    assert out.read_bytes() == page.read_bytes()  # the same drive, the same bytes
    assert not (tmp_path / "drive_frames").exists()


def test_a_picture_that_cannot_be_read_leaves_the_others(data, tmp_path):
    name = in_split(data, "test")[0]
    for step in ("label", "pack", "evaluate"):
        (tmp_path / step).symlink_to(data / step)
    shutil.copytree(data / "download" / name, tmp_path / "download" / name)
    images = sorted((tmp_path / "download" / name).glob("*.jpg"))
    images[3].write_bytes(images[3].read_bytes()[:200])
    images[5].unlink()
    notes = view.write(name, tmp_path / "drive.html", LINE, tmp_path)
    missing = [i for i, src in enumerate(held(tmp_path / "drive.html")["camera"]["pictures"]) if src is None]
    assert missing == [3, 5] and any("No boxes" in note for note in notes)


@browser
def test_the_page_plays(page):
    shown = opened(page, "#frame=20&speed=8&play", budget_ms=3000)
    frame = int(shown["frame"])
    assert frame >= 24 and shown["playing"] == "true"
    assert float(shown["cursor"]) == held(page)["t_s"][frame]


DRIVEN = """<script>
const seen = {}, press = (key, shiftKey = false) => dispatchEvent(new KeyboardEvent('keydown', { key, shiftKey }));
const record = name => { seen[name] = state.frame; };
setTimeout(() => {
  seen.address = [state.frame, +document.body.dataset.event, +document.querySelector('line.cursor').getAttribute('x1')];
  press('Home'); press('b'); record('first brake onset');
  press('b'); record('second'); press('b', true); record('back');
  press('Home'); press('m'); record('first miss');
  press('Home'); press('f'); record('first false alarm');
  press('ArrowRight'); record('right of it');
  document.querySelector('[data-kind=coast] button:last-of-type').click(); record('coast button');
  const slider = document.getElementById('scrub');
  slider.value = 30; slider.dispatchEvent(new Event('input')); record('scrubbed');
  const plot = document.querySelector('.plot svg'), box = plot.getBoundingClientRect();
  const half = { clientX: box.left + box.width / 2, clientY: box.top + 3, pointerId: 1, buttons: 1 };
  plot.setPointerCapture = () => {};  // there is no such pointer here
  plot.dispatchEvent(new PointerEvent('pointermove', half)); record('middle');
  press('End'); press(' '); press(' '); record('from the start again');
}, 100);
setTimeout(() => { show(BOXED); }, 300);
setTimeout(() => {
  const [, x1, y1, x2, y2] = drive.camera.boxes[BOXED][0], canvas = document.getElementById('camera');
  const at = (x, y) => [...canvas.getContext('2d').getImageData(x * canvas.width, y * canvas.height, 1, 1).data];
  seen.box = at((x1 + x2) / 2, y2); seen.camera = at(0.004, 0.5); seen.size = [canvas.width, canvas.height];
  document.body.dataset.seen = JSON.stringify(seen);
}, 700);
</script></body>"""


@browser
def test_the_address_keys_buttons_and_the_mouse_move_it_and_boxes_are_drawn_over_the_picture(page, tmp_path):
    shown = held(page)
    boxes = shown["camera"]["boxes"]
    boxed = next(i for i, of in enumerate(boxes) if len(of) == 1 and of[0][1] > 0.05 and of[0][4] < 0.72)
    driven = tmp_path / "driven.html"
    driven.write_text(page.read_text().replace("</body>", DRIVEN.replace("BOXED", str(boxed))))
    every = {(run, task): found for run, tasks in shown["runs"].items() for task, found in tasks.items()}
    run, task = next(key for key, found in every.items() if found["missed"] and found["false"])
    seen = json.loads(opened(driven, f"#run={run}&task={task}&event=2")["seen"])
    of, onsets = shown["runs"][run][task], shown["onsets"]
    second = sorted([*onsets["brake"], *onsets["coast"], *of["false"]])[1]
    assert seen["address"] == [second, 2, shown["t_s"][second]]
    assert [seen["first brake onset"], seen["second"], seen["back"]] == [*onsets["brake"][:2], onsets["brake"][0]]
    assert seen["first miss"] == of["missed"][0] and seen["first false alarm"] == of["false"][0]
    assert seen["right of it"] == of["false"][0] + 1
    assert seen["coast button"] == next(i for i in onsets["coast"] if i > seen["right of it"])
    assert seen["scrubbed"] == 30 and abs(seen["middle"] - 74.5) <= 1 and seen["from the start again"] == 0
    assert seen["size"] == list(SIZE_PX)
    assert abs(seen["camera"][0] - 90) < 6  # the grey of the picture, inside the ROI
    red, green, blue, _ = seen["box"]
    assert green > red + 40 and blue > red + 40, seen["box"]


def test_a_drive_of_a_rendered_world_says_so(data, tmp_path):
    name = in_split(data, "test")[0]
    for step in ("annotate", "label", "pack", "train", "evaluate"):
        (tmp_path / "data" / step).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / step).symlink_to(data / step)
    shutil.copytree(data / "download" / name, tmp_path / "data/download" / name)
    assert not any("endered world" in note for note in view.write(name, tmp_path / "a.html", LINE, tmp_path / "data"))
    file = tmp_path / "data/download" / name / "recording.json"
    write_json(file, {**read_json(file), "layout": "synth", "source": "highway"})
    assert any("Rendered world" in note for note in view.write(name, tmp_path / "b.html", LINE, tmp_path / "data"))


@browser
def test_it_fits_a_phone(page, tmp_path):
    assert int(told(page, tmp_path)["wide"]) <= PHONE_PX


@browser
def test_telemetry_alone_plays(data, tmp_path):
    name = in_split(data, "test")[0]
    (tmp_path / "download" / name).mkdir(parents=True)
    for file in ("telemetry.csv", "recording.json"):
        shutil.copy(data / "download" / name / file, tmp_path / "download" / name)
    notes = view.write(name, tmp_path / "drive.html", LINE, tmp_path)
    assert len(notes) == 3 and any("telemetry only" in note for note in notes)
    shown = opened(tmp_path / "drive.html", "#frame=5&play", budget_ms=2500)
    assert int(shown["frame"]) > 5 and shown["playing"] == "true" and "painted" not in shown
