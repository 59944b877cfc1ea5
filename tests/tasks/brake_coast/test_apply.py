"""Drives that nobody has labelled: the same numbers as `evaluate` judged, what is scaled or refused, and alarms."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest
from torch.nn.modules.module import register_module_forward_pre_hook

from models.brake_coast.factory import Network
from tasks.brake_coast import annotate, apply, download, evaluate, label, pack
from tasks.brake_coast.formats import recording
from tasks.brake_coast.learning import scaling
from tasks.brake_coast.learning.served import Served
from tasks.brake_coast.page import video
from tasks.yard import params
from tasks.yard.applying import Model, made_with
from tasks.yard.files import file_hash, read_json, write_json
from tasks.yard.step import BadInput, Context
from tests.tasks.brake_coast import drives, scenes
from tests.tasks.brake_coast.test_evaluate import RUNS, cells, train_tiny
from tests.tasks.yard import films
from tests.tasks.yard.shared import reporting

pytestmark = pytest.mark.slow

RUN = RUNS[0]
UNITS = {**{column: sensor for sensor, column in scaling.CONTINUOUS.items()}, "gear": "GEAR", "brake": scaling.BRAKE}
SIZE = (128, 64)
LINE = params.load(drives.REPO / "params.yaml").brake_coast


def write_source(root: Path, name: str, frames: int = 60, seed: int = 0, size: tuple[int, int] = SIZE) -> Path:
    """A drive as a logger leaves it: a table of telemetry, and a picture a row."""
    table = drives.drive(frames, seed, drives.START_MS + 86_400_000 * seed)
    folder, rng = root / name, np.random.default_rng(seed)
    folder.mkdir(parents=True)
    table.to_csv(folder / "telemetry.csv", index=False)
    for time in table["Time"]:
        cv2.imwrite(str(folder / f"{time}.jpg"), scenes.scene(rng, *SIZE, cars=1)[0])
        if size != SIZE:
            image = cv2.imread(str(folder / f"{time}.jpg"))
            cv2.imwrite(str(folder / f"{time}.jpg"), cv2.resize(image, size, interpolation=cv2.INTER_NEAREST))
    return folder


def sighted():
    """The line's params with a detector that can see so small pictures, in a region of them."""
    roi = [{"pattern": "*", "image_size_px": list(SIZE), "roi_px": [0, 16, 128, 48]}]
    small = {"imgsz": 64, "roi": roi, "confidence": {"vehicle": 0.0}, "device": "cpu", "max_detections": 3}
    looking = drives.section("annotate", **small)
    return LINE.model_copy(update={"annotate": looking, "report": drives.section("report", video_frames=20)})


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> tuple[Path, Path]:
    """(data/brake_coast after all the stages, the drives that it was made from)."""
    root = tmp_path_factory.mktemp("project")
    data, source, line = root / "data", root / "source", sighted()
    for seed in range(3):
        write_source(source, f"2025-04-0{3 + seed}_19-33-31", seed=seed)
    scenes.write_weights(data / "train_detector" / "best.pt")
    write_json(data / "train_detector" / "learnt_from.json", {"sequences": {}, "pictures": {}})
    came = line.download.model_copy(update={"source": str(source)})
    folders = {step: data / step for step in ("download", "annotate", "label")}
    download.run(came, folders["download"])
    annotate.run(
        line.annotate, folders["annotate"], download=folders["download"], train_detector=data / "train_detector"
    )
    label.run(line.label, folders["label"], download=folders["download"])
    pack.run(line.pack, data / "pack", **folders)
    trained = cells(train_tiny(data / "pack", data / "train", (RUN,)))
    told = reporting(bootstrap_replicates=100)
    evaluate.run(line.evaluate, data / "evaluate", pack=data / "pack", train=trained, reporting_params=told)
    return data, source


@pytest.fixture(scope="module")
def model(project, tmp_path_factory) -> Model:
    """The trained network as the registry would give it: with all that belongs to it, and nothing else."""
    folder = tmp_path_factory.mktemp("model")
    weights = shutil.copy(project[0] / "train" / RUN / "best.pt", folder / "best.pt")
    (folder / "belongings").mkdir()
    line, theirs = sighted(), {"layout": "carla", "carla_hz": 10.0}  # its own drives were others than it is asked of
    line = line.model_copy(update={"download": line.download.model_copy(update=theirs)})
    apply.belongings(project[0], RUN, line, folder / "belongings")
    return Model("models:/brake_coast/1", weights, folder / "belongings", sha256=file_hash(weights))


def applied(source: Path, model: Model, out: Path, ctx: Context = Context(), no_film: bool = True):
    """In a checkout whose params are others: those of the model count."""
    return apply.run(str(source), model, out, made_with(LINE, model, {}), ctx, no_film=no_film)


def probabilities(out: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(out / "recordings" / name / "probabilities.csv", dtype={"Time": str})


def test_a_test_drive_has_the_numbers_that_evaluate_judged_to_the_last_digit(project, model, tmp_path):
    data, source = project
    judged = sorted((data / "evaluate" / "predictions").glob("*.csv"))
    assert judged
    done = applied(source, model, tmp_path)
    assert len(done.results) == 3 and not done.quarantined
    for file in judged:
        ours = probabilities(tmp_path, file.stem)
        theirs = pd.read_csv(file, dtype={"Time": str}).rename(columns=lambda name: name.removeprefix(f"{RUN}/"))
        pd.testing.assert_frame_equal(ours[theirs.columns], theirs, check_exact=True)


def test_mlflows_server_is_asked_in_the_units_of_the_drive_and_answers_with_the_same_numbers(project, model, tmp_path):
    name, of = "2025-04-03_19-33-31", Served(str(model.weights))
    applied(project[1] / name, model, tmp_path)
    rows = recording.read_telemetry(tmp_path / "steps/download" / name).rows.rename(columns=UNITS)
    folder = tmp_path / "steps/annotate" / name
    found = pd.read_csv(folder / "annotations.csv", dtype={"Time": str})
    width, height = read_json(folder / "annotations.json")["roi_px"][2:]
    boxes = np.zeros((len(rows), 12, 5))
    for frame, time in enumerate(rows["time"]):
        seen = found[(found["Time"] == time) & (found["status"] == "ok")]
        boxes[frame, : len(seen)] = seen[["confidence", "x1", "y1", "x2", "y2"]] / [1, width, height, width, height]
    theirs = probabilities(tmp_path, name)
    ends = np.searchsorted(rows["t_ms"], theirs["t_ms"])
    windows = ends[:, None] + np.arange(-of.model.config.window + 1, 1)
    ours = of.predict({"telemetry": rows[of.sensors].to_numpy()[windows], "boxes": boxes[windows]})
    assert (boxes[..., 0] > 0).sum() > 20
    for task in of.tasks:
        np.testing.assert_allclose(ours[task], theirs[task], atol=1.5e-6, err_msg=task)


def test_without_a_label_alone_and_with_one_that_is_broken_the_numbers_are_the_same(project, model, tmp_path):
    name = "2025-04-03_19-33-31"
    for to in ("bare", "broken"):
        shutil.copytree(project[1] / name, tmp_path / "in" / name if to == "bare" else tmp_path / "in" / to)
    table = pd.read_csv(tmp_path / "in" / name / "telemetry.csv", dtype=str)
    table.drop(columns="BRAKE_SIGNAL").to_csv(tmp_path / "in" / name / "telemetry.csv", index=False)
    (tmp_path / "in" / "broken" / "telemetry.csv").write_text("Time\n")
    done = applied(tmp_path / "in", model, tmp_path / "out", no_film=False)
    assert list(done.results) == [name] and len(done.quarantined) == 1
    assert "broken" in next(iter(done.quarantined.values()))
    applied(project[1] / name, model, tmp_path / "whole")
    tasks = [task["name"] for task in LINE.model_dump()["train"]["tasks"]]
    ours, theirs = probabilities(tmp_path / "out", name), probabilities(tmp_path / "whole", name)
    assert ours[tasks].equals(theirs[tasks])
    with av.open(str(tmp_path / "out" / "recordings" / name / "drive.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 60


def test_alarms_are_raised_at_the_thresholds_that_came_with_the_model(project, model, tmp_path):
    name = "2025-04-03_19-33-31"
    write_json(tmp_path / "belongings" / "thresholds.json", {"brake_1s": 0.0})
    for file in model.belongings.iterdir():
        if file.name != "thresholds.json":
            shutil.copy(file, tmp_path / "belongings")
    other = Model("mine", model.weights, tmp_path / "belongings", sha256=model.sha256)
    done = applied(project[1] / name, other, tmp_path / "out")
    rows = probabilities(tmp_path / "out", name)
    alarm = rows["brake_1s_alarm"] == 1
    assert alarm.sum() == done.results[name]["alarms"]["brake_1s"] > 1
    between = np.diff(rows["t_ms"][alarm])
    assert between.min() > 1000 * LINE.evaluate.refractory_s, "a score that stays up is not heard on every frame"
    assert rows["coast_1s_alarm"].isna().all() and done.results[name]["alarms"]["coast_1s"] is None


def test_a_drive_alone_has_the_pedal_of_its_car(project, model, tmp_path):
    """Whose travel other drives tell; of another car the drives at hand tell it, and that is said."""
    cars = read_json(model.belongings / "pedals.json")
    assert len(cars) == 1
    name = "2025-04-03_19-33-31"
    shutil.copytree(project[1] / name, tmp_path / "in" / name)
    table = pd.read_csv(tmp_path / "in" / name / "telemetry.csv")
    table["ACCELERATOR_POS_D"] = table["ACCELERATOR_POS_D"].clip(upper=26.0)  # this time nobody pressed it down
    table.to_csv(tmp_path / "in" / name / "telemetry.csv", index=False)
    shutil.copytree(tmp_path / "in" / name, tmp_path / "other" / "2025-07-01_10-00-00")
    table.assign(ACCELERATOR_POS_D=table["ACCELERATOR_POS_D"] - 6).to_csv(
        tmp_path / "other/2025-07-01_10-00-00/telemetry.csv", index=False
    )
    for source, ours in (("in", True), ("other", False)):
        done = applied(tmp_path / source, model, tmp_path / "out" / source)
        (file,) = (tmp_path / "out" / source / "steps/label").glob("*/labels.json")
        assert (read_json(file)["pedal"] == cars[0]) == ours
        assert any("not seen to rest where that of a car" in text for text in done.said) != ours


def test_the_film_lights_and_marks_alarms_and_its_time_goes_on_from_page_to_page():
    rows = pd.DataFrame({
        "Time": ["a", "b", "c"], "t_ms": [80_000, 80_500, 81_000], "speed_kmh": 30.0, "pedal_pct": 20.0,
        "braking": [0, 1, -1], "coasting": 0, "brake_1s": 0.9, "brake_1s_alarm": [1, 0, 0],
    })  # fmt: skip
    stretch = video.Stretch("drive", "a/long/path/" * 20, rows, {"brake_1s": 0.5}, {}, {}, begin_ms=0)
    bar = video.GAUGES_ALONE[0] + 28 + 110 + 5, 24 + 30 + 72 + 40 + 8
    lit = [image.getpixel(bar) == (255, 93, 93) for image in video.frames(stretch)]
    assert lit == [True, False, True], "who brakes already is not told"
    page, _ = video.timeline(stretch, video.TIMELINE)
    unmarked = replace(stretch, rows=rows.assign(brake_1s_alarm=0))
    assert page != video.timeline(unmarked, video.TIMELINE)[0]
    assert page != video.timeline(replace(stretch, begin_ms=None), video.TIMELINE)[0]


def test_pictures_of_another_size_are_scaled_aloud_and_of_another_shape_refused(model, tmp_path):
    write_source(tmp_path / "in", "2025-05-01_10-00-00", size=(256, 128))
    write_source(tmp_path / "in", "2025-05-02_10-00-00", size=(128, 96))
    done = applied(tmp_path / "in", model, tmp_path / "out")
    assert list(done.results) == ["2025-05-01_10-00-00"]
    assert "256 x 128 px, the model was trained on 128 x 64: its region is scaled by 2" in " ".join(done.said)
    about = read_json(tmp_path / "out/steps/annotate/2025-05-01_10-00-00/annotations.json")
    assert about["roi_px"] == [0, 32, 256, 96]
    said = done.quarantined["2025-05-02_10-00-00"]
    assert "128 x 96 px, the model was trained on 128 x 64" in said and "--set" in said


def faster(folder: Path, to: Path, step_ms: int) -> Path:
    """The same drive as a logger of another rate would have told it; pictures at their old stamps."""
    shutil.copytree(folder, to)
    table = pd.read_csv(folder / "telemetry.csv")
    t = recording.parse_times(table["Time"]).astype(float).to_numpy()
    at = np.arange(t[0], t[-1] + 1, step_ms)
    told = {
        name: np.interp(at, t, table[name]).round(3) for name in ("SPEED", "RPM", "ACCELERATOR_POS_D", "ENGINE_LOAD")
    }
    brake = table["BRAKE_SIGNAL"].to_numpy()[np.searchsorted(t, at, side="right") - 1]
    made = pd.DataFrame(
        {"Time": [recording.format_time(int(x), 3) for x in at], **told, "BRAKE_SIGNAL": brake, "GEAR": 5}
    )
    made.to_csv(to / "telemetry.csv", index=False)
    return to


@pytest.mark.parametrize("hz", [13, 30])
def test_other_rates_are_resampled_aloud_and_give_nearly_the_same(project, model, tmp_path, hz):
    name = "2025-04-03_19-33-31"
    faster(project[1] / name, tmp_path / "in" / name, round(1000 / hz))
    done = applied(tmp_path / "in", model, tmp_path / "out")
    assert "Hz: resampled to 2 Hz" in " ".join(done.said)
    applied(project[1] / name, model, tmp_path / "slow")
    both = probabilities(tmp_path / "out", name).merge(probabilities(tmp_path / "slow", name), on="t_ms")
    assert len(both) > 30
    for task in ("brake_1s", "coast_1s"):
        off = (both[f"{task}_x"] - both[f"{task}_y"]).abs()
        assert off.max() < 0.05, off.max()


def test_a_drive_without_pictures_is_foretold_aloud_and_refused_by_a_network_that_sees_nothing_else(
    project, model, tmp_path
):
    name = "2025-04-03_19-33-31"
    (tmp_path / "in" / name).mkdir(parents=True)
    shutil.copy(project[1] / name / "telemetry.csv", tmp_path / "in" / name)
    done = applied(tmp_path / "in", model, tmp_path / "out")
    assert list(done.results) == [name]
    assert f"{name}: has no pictures; {RUN} was trained with a camera, and takes the road for empty" in done.said[-1]
    found = apply.without_pictures(f"{RUN}-detections", [name], tmp_path / "out/steps/download")
    assert found == ({name: f"{name}: has no pictures, and {RUN}-detections looks at nothing else"}, [])
    assert apply.without_pictures(f"{RUN}-telemetry", [name], tmp_path / "out/steps/download") == ({}, [])


def test_a_film_alone_is_refused_with_the_fix(model, tmp_path):
    films.write(tmp_path / "in" / "drive.mp4", np.arange(0, 15, 0.1), rate=10)
    line = made_with(LINE, model, {"annotate.roi": []})
    with pytest.raises(BadInput, match=r"drive: has no telemetry; put a table beside it, <name of the film>\.csv"):
        apply.run(str(tmp_path / "in"), model, tmp_path / "out", line, no_film=True)


def test_a_source_of_which_no_drive_can_be_used_takes_nothing_away_and_names_each(project, model, tmp_path):
    name = "2025-04-03_19-33-31"
    applied(project[1] / name, model, tmp_path / "out")
    before = probabilities(tmp_path / "out", name)
    foretold = sorted((tmp_path / "out/steps/foretell" / name).iterdir())
    for film in ("one", "two"):
        films.write(tmp_path / "in" / f"{film}.mp4", np.arange(0, 15, 0.1), rate=10)
    line = made_with(LINE, model, {"annotate.roi": []})
    with pytest.raises(BadInput, match=r"one: has no telemetry; .*; video-two: has no telemetry"):
        apply.run(str(tmp_path / "in"), model, tmp_path / "out", line, no_film=True)
    assert probabilities(tmp_path / "out", name).equals(before)
    assert foretold and all(path.exists() for path in foretold)


def test_another_lines_weights_or_a_model_without_its_detector_are_refused(project, model, tmp_path):
    source = project[1] / "2025-04-03_19-33-31"
    (tmp_path / "none").mkdir()
    bare = Model("best.pt", model.weights, tmp_path / "none", sha256=model.sha256)
    with pytest.raises(BadInput, match="without the detector whose boxes it was trained on; give --detector"):
        apply.run(str(source), bare, tmp_path / "out", LINE)
    foreign = Model("yolo.pt", project[0] / "train_detector" / "best.pt", model.belongings)
    with pytest.raises(BadInput, match="not a checkpoint"):
        applied(source, foreign, tmp_path / "out")
    with pytest.raises(BadInput, match="no recording of the layout"):
        applied(tmp_path / "none", model, tmp_path / "out")


def test_a_model_of_drives_without_a_camera_needs_no_detector(project, model, tmp_path):
    line = sighted()
    line = line.model_copy(update={"annotate": line.annotate.model_copy(update={"weights": "none"})})
    (tmp_path / "belongings").mkdir()
    apply.belongings(project[0], RUN, line, tmp_path / "belongings")
    assert not (tmp_path / "belongings" / apply.DETECTOR).exists()
    blind = Model("of no camera", model.weights, tmp_path / "belongings", sha256=model.sha256)
    name = "2025-04-03_19-33-31"
    shutil.copytree(project[1] / name, tmp_path / "in" / name)
    for picture in (tmp_path / "in" / name).glob("*.jpg"):
        picture.unlink()
    shutil.copytree(project[1] / "2025-04-04_19-33-31", tmp_path / "in" / "2025-04-04_19-33-31")
    done = applied(tmp_path / "in", blind, tmp_path / "out")
    assert list(done.results) == [name]
    assert "60 pictures, and no detector to look at them" in done.quarantined["2025-04-04_19-33-31"]
    assert probabilities(tmp_path / "out", name)["brake_1s"].between(0, 1).all()


def test_what_is_done_is_not_done_again(project, model, tmp_path):
    applied(project[1], model, tmp_path)
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("annotations.csv")}
    shutil.copytree(project[1], tmp_path / "in")
    write_source(tmp_path / "in", "2025-06-01_10-00-00", seed=7)
    looked = []

    def note(module, _inputs):
        looked.extend([module] if isinstance(module, Network) else [])

    with register_module_forward_pre_hook(note):
        done = applied(tmp_path / "in", model, tmp_path)
    assert len(made) == 3 and len(done.results) == 4
    assert all(path.stat().st_mtime_ns == at for path, at in made.items())
    assert len(looked) == 1, "of four drives one is new, and its windows are one batch"


def test_other_params_of_the_windows_are_not_answered_with_what_lies_there(project, model, tmp_path):
    name = "2025-04-03_19-33-31"
    table = pd.read_csv(project[1] / name / "telemetry.csv")
    table.loc[30:33, "RPM"] = np.nan
    shutil.copytree(project[1] / name, tmp_path / "in" / name)
    table.to_csv(tmp_path / "in" / name / "telemetry.csv", index=False)
    counts = []
    for changes in ({"pack.fill_limit_s": 0.0}, {"pack.fill_limit_s": 5.0}):
        line = made_with(LINE, model, changes)
        done = apply.run(str(tmp_path / "in"), model, tmp_path / "out", line, no_film=True)
        counts.append(done.results[name]["windows"])
    assert counts[0] < counts[1]
