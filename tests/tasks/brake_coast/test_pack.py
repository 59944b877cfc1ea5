"""Packing through the step: what is in the files, what never is, and what happens on bad input and a full disk."""

from __future__ import annotations

import json
import resource
import shutil
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.brake_coast import label, pack
from tasks.brake_coast.formats import windows
from tasks.brake_coast.learning import origins
from tasks.yard.files import write_json
from tasks.yard.step import BadInput
from tasks.yard.training.learnt import learnt_from, unseen
from tests.tasks.brake_coast import drives

pytestmark = pytest.mark.slow

PARAMS = drives.section("pack")
SPLITS = ("train", "val", "test")
DAY_MS = 86_400_000


def yard(root: Path, tables: dict[str, pd.DataFrame | None], **kwargs) -> None:
    for seed, (name, table) in enumerate(tables.items()):
        table = drives.drive(seed=seed, start_ms=drives.START_MS + seed * DAY_MS) if table is None else table
        drives.write_drive(root / "download", name, table, annotate=root / "annotate", seed=seed, **kwargs)


def packed(root: Path, params=PARAMS) -> dict[str, float]:
    label.run(drives.section("label"), root / "label", download=root / "download")
    upstream = {step: root / step for step in ("download", "annotate", "label")}
    return pack.run(params, root / "pack", **upstream)


def config(root: Path) -> dict:
    return json.loads((root / "pack" / "dataset_config.json").read_text())


def frames_of(root: Path, name: str) -> windows.Frames:
    """One recording's frames, from whichever split holds it."""
    for split in SPLITS:
        frames = windows.load(root / "pack" / f"{split}.h5")
        if name in frames.recordings:
            keep = frames.recording == frames.recordings.index(name)
            return type(frames)(**{**vars(frames), **{key: getattr(frames, key)[keep] for key in windows.ARRAYS}})
    raise KeyError(name)


NAMES = [f"2025-04-0{day}_10-00-00" for day in range(1, 6)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("plain")
    gappy = drives.drive(seed=1, start_ms=drives.START_MS + DAY_MS).drop(index=[60, 61, 130])
    yard(root, {**dict.fromkeys(NAMES), NAMES[1]: gappy})
    packed(root)
    return root


def test_windows_are_the_seeds_tensors_over_frames_stored_once(plain):
    for split in SPLITS:
        frames = windows.load(plain / "pack" / f"{split}.h5")
        starts = windows.window_starts(frames.segment, 20, 5)
        with h5py.File(plain / "pack" / f"{split}.h5") as file:
            for name, shape in (("telemetry", (20, 10)), ("detections", (20, 12, 6)), ("detection_masks", (20, 12))):
                assert file[name].shape == (len(starts), *shape) and file[name].is_virtual
                expected = getattr(frames, name)[starts[:, None] + np.arange(20)]
                np.testing.assert_array_equal(file[name][:], expected)
            for index, name in enumerate(frames.label_names):
                np.testing.assert_array_equal(file[f"labels/{name}"], frames.labels[starts + 19, index])
            assert file["metadata/end_indices"][0] - file["metadata/start_indices"][0] == 20
            assert file["frames/telemetry"].chunks is None
        assert frames.telemetry.min() >= 0 and frames.telemetry.max() <= 1
        assert (frames.telemetry[:, 4:10].sum(axis=1) == 1).all()


def test_the_windows_survive_a_rename(plain, tmp_path):
    copy = tmp_path / "elsewhere.h5"
    copy.write_bytes((plain / "pack" / "train.h5").read_bytes())
    with h5py.File(copy) as file:
        assert file["telemetry"][0].any()


def test_no_split_shares_a_frame_or_a_label_second_with_another(plain):
    seconds: dict[str, set] = {}
    for split in SPLITS:
        frames = windows.load(plain / "pack" / f"{split}.h5")
        starts = windows.window_starts(frames.segment, 20)
        spans = zip(starts, starts + 19, strict=True)
        seconds[split] = {
            (frames.recordings[frames.recording[first]], t_ms)
            for first, last in spans
            for t_ms in range(frames.t_ms[first], frames.t_ms[last] + 1000 * max(label.HORIZONS_S) + 251, 100)
        }
        assert (np.diff(frames.t_ms)[np.diff(frames.segment) == 0] <= 601).all()
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not seconds[one] & seconds[other]
        assert not {t for _, t in seconds[one]} & {t for _, t in seconds[other]}  # nor under another name


def test_a_day_is_never_torn_apart(tmp_path):
    for seed in range(8):
        table = drives.drive(seed=seed, start_ms=drives.START_MS + seed * DAY_MS)
        yard(tmp_path, {f"d-{seed}": table}, group=f"day {seed // 2}")
    packed(tmp_path)
    found = held(tmp_path).values()
    assert set.union(*found) == {f"d-{seed}" for seed in range(8)}
    assert all({f"d-{seed ^ 1}" for seed in map(int, (n[2:] for n in names))} == names for names in found)
    assert config(tmp_path)["split_by"] == "group"
    origins = config(tmp_path)["splits"]["train"]["origins"]  # what a checkpoint records of them
    for name, known in origins.items():
        assert {name, f"day {int(name[2:]) // 2}"} <= set(known["names"]) and not known["piece"]


def test_recordings_of_one_day_are_split_one_by_one_and_copies_stay_together(tmp_path, caplog):
    tables = {f"d-{seed}": drives.drive(seed=seed, start_ms=drives.START_MS + seed * DAY_MS) for seed in range(3)}
    yard(tmp_path, {**tables, "d-copy": tables["d-1"][100:]}, group="one day")
    packed(tmp_path)
    assert sorted(map(sorted, held(tmp_path).values())) == [["d-0"], ["d-1", "d-copy"], ["d-2"]]
    assert config(tmp_path)["split_by"] == "recording"
    assert "fewer than three days or trips" in caplog.text and "hold the same frames" in caplog.text


def held(root: Path) -> dict[str, set[str]]:
    return {split: set(config(root)["splits"][split]["recordings"]) for split in SPLITS}


def test_days_keep_their_split_when_drives_come_and_params_change_until_drawn_anew(tmp_path, caplog):
    yard(tmp_path, dict.fromkeys(NAMES))
    packed(tmp_path)
    first = held(tmp_path)
    more = [f"2025-04-{day:02}_10-00-00" for day in range(6, 9)]
    for seed, name in enumerate(more, start=5):
        table = drives.drive(seed=seed, start_ms=drives.START_MS + seed * DAY_MS)
        drives.write_drive(tmp_path / "download", name, table, annotate=tmp_path / "annotate", seed=seed)
    packed(tmp_path, drives.section("pack", shares={"train": 0.2, "val": 0.4, "test": 0.4}, seed=3))
    second = held(tmp_path)
    assert all(first[split] <= second[split] for split in SPLITS) and set().union(*second.values()) == {*NAMES, *more}
    manifest = json.loads((tmp_path / "pack/splits.json").read_text())
    assert {name for split in SPLITS for name in manifest[split]} == second["train"] | second["val"] | second["test"]

    for name in second["test"]:  # nothing is left to be tested on, and nothing moves there by itself
        shutil.move(tmp_path / "download" / name, tmp_path / name)
    before = (tmp_path / "pack/test.h5").read_bytes()
    with pytest.raises(BadInput, match=r"nothing is left for test: .*; or, .* delete .*pack/splits.json and run again"):
        packed(tmp_path)
    assert (tmp_path / "pack/test.h5").read_bytes() == before
    (tmp_path / "pack/splits.json").unlink()
    packed(tmp_path)
    assert all(held(tmp_path).values())


def test_drives_split_one_by_one_stay_so_when_a_third_day_comes(tmp_path):
    for seed in range(6):
        table = drives.drive(seed=seed, start_ms=drives.START_MS + seed * DAY_MS)
        yard(tmp_path, {f"d-{seed}": table}, group=f"day {seed // 3}")
    packed(tmp_path)
    first = held(tmp_path)
    table = drives.drive(seed=6, start_ms=drives.START_MS + 6 * DAY_MS)
    yard(tmp_path, {"d-6": table}, group="day 2")
    packed(tmp_path)
    assert config(tmp_path)["split_by"] == "recording"
    assert all(first[split] <= held(tmp_path)[split] for split in SPLITS)
    of = {
        split: origins.items(windows.load(tmp_path / f"pack/{split}.h5"), config(tmp_path)["splits"][split])
        for split in SPLITS
    }
    network = {"learnt": learnt_from([*of["train"], *of["val"]])}
    assert {"day 0", "day 1"} & set(network["learnt"])
    assert unseen(of["test"], {"the challenger": network}, "test drives").kept.all(), "it can be judged here"


def test_copies_that_come_to_light_are_no_longer_tested_on(tmp_path, caplog):
    yard(tmp_path, dict.fromkeys(NAMES))
    packed(tmp_path)
    first = held(tmp_path)
    (learnt_from, tested) = min(first["train"]), min(first["test"])
    both = [pd.read_csv(tmp_path / f"download/{name}/telemetry.csv", dtype=str) for name in (learnt_from, tested)]
    yard(tmp_path, {"2025-05-01_10-00-00": pd.concat([table[:100] for table in both])})
    yard(tmp_path, {"2025-05-02_10-00-00": drives.drive(seed=9, start_ms=drives.START_MS + 40 * DAY_MS)})
    packed(tmp_path)
    assert {learnt_from, tested, "2025-05-01_10-00-00"} <= held(tmp_path)["train"] and held(tmp_path)["test"]
    assert "belongs together and was divided" in caplog.text


@pytest.mark.parametrize("drawn_anew", [True, False])
def test_what_the_detector_has_learnt_from_is_not_tested_on(tmp_path, caplog, drawn_anew):
    yard(tmp_path, dict.fromkeys(NAMES))
    packed(tmp_path)
    tested = min(held(tmp_path)["test"])
    write_json(tmp_path / "annotate/detector_saw.json", {tested: {"split": "train", "pictures": 7}})
    more = [f"2025-04-{day:02}_10-00-00" for day in range(6, 9)]  # without them nothing would be left to test on
    yard(tmp_path, {
        name: drives.drive(seed=seed, start_ms=drives.START_MS + seed * DAY_MS) for seed, name in enumerate(more, 5)
    })  # fmt: skip
    if drawn_anew:
        (tmp_path / "pack/splits.json").unlink()
    packed(tmp_path)
    assert tested in held(tmp_path)["train"] and held(tmp_path)["test"]
    assert f"{tested} is not tested on: the detector has learnt from it (7 pictures)" in caplog.text
    assert "belongs together and was divided" not in caplog.text


def test_the_same_input_gives_the_same_bytes(plain):
    before = {path.name: path.read_bytes() for path in (plain / "pack").iterdir()}
    assert sorted(before) == ["dataset_config.json", "splits.json", "test.h5", "train.h5", "val.h5"]
    time.sleep(1.1)  # HDF5 stamps whole seconds where it stamps at all
    metrics = packed(plain)
    assert {path.name: path.read_bytes() for path in (plain / "pack").iterdir()} == before
    assert metrics["bytes"] == sum(len(image) for name, image in before.items() if name.endswith(".h5"))


def test_detections_are_the_largest_first_in_fractions_of_the_roi(tmp_path):
    yard(tmp_path, dict.fromkeys(NAMES[:3]))
    times = drives.drive()["Time"]  # of the first recording
    boxes = [drives.box_row(times[0], 0.5, 10 * i, 0, 10 * i + 5 + i, 57.5) for i in range(14)]
    boxes.append({"Time": times[1], "filename": "", "status": "unreadable"})
    boxes.append({"Time": times[2], "filename": "", "status": "empty"})
    boxes.append({"Time": "2001-01-01 00-00-00-0", "filename": "", "status": "empty"})
    drives.write_annotations(tmp_path / "annotate", NAMES[0], pd.DataFrame(boxes))
    packed(tmp_path)
    frames = frames_of(tmp_path, NAMES[0])
    expected = [0.5, 130 / 1920, 0, 148 / 1920, 0.1, 18 * 57.5 / (1920 * 575)]
    np.testing.assert_allclose(frames.detections[0, 0], expected, rtol=1e-5)
    assert frames.detection_masks[0].all() and (np.diff(frames.detections[0, :, 5]) < 0).all()
    assert frames.image_ok[:4].tolist() == [True, False, True, False]
    assert not frames.detection_masks[1:].any() and not frames.detections[1:].any()
    counts = [config(tmp_path)["splits"][split]["statistics"]["counts"] for split in SPLITS]
    assert sum(c["boxes_beyond_slots"] for c in counts) == 2
    assert sum(c["images_without_telemetry"] for c in counts) == 1


def test_missing_replies_are_filled_for_two_seconds_and_no_nan_gets_through(tmp_path):
    table = drives.drive().astype({"RPM": object, "GEAR": object})
    table.loc[50:53, "RPM"] = ""  # 2.0 s: filled
    table.loc[100:104, "RPM"] = "No Data"  # the fifth is 2.5 s old: out
    table.loc[150:160, "GEAR"] = ""
    yard(tmp_path, {NAMES[0]: table, NAMES[1]: None, NAMES[2]: None})
    packed(tmp_path)
    frames = frames_of(tmp_path, NAMES[0])
    missing = set(((frames.t_ms - drives.START_MS) // 500).tolist()) ^ set(range(200))
    assert missing == {104}
    assert np.isfinite(frames.telemetry).all()
    assert (frames.telemetry[50:54, 1] == frames.telemetry[49, 1]).all()
    assert np.unique(frames.segment).size == 2
    hot = frames.telemetry[:, 4:10].sum(axis=1)
    assert np.flatnonzero(hot == 0).tolist() == [153, 154, 155, 156, 157, 158, 159]  # rows 154 to 160: one frame is out


def test_values_outside_their_range_saturate_and_are_counted(tmp_path):
    table = drives.drive()
    table.loc[:9, "SPEED"], table.loc[5, "GEAR"] = 260.0, 7
    yard(tmp_path, {NAMES[0]: table, NAMES[1]: None, NAMES[2]: None})
    packed(tmp_path)
    frames = frames_of(tmp_path, NAMES[0])
    assert frames.telemetry[:10, 0].tolist() == [1.0] * 10 and frames.telemetry[5, 9] == 1
    counts = [config(tmp_path)["splits"][split]["statistics"]["counts"] for split in SPLITS]
    assert sum(c.get("saturated_SPEED", 0) for c in counts) == 10
    assert sum(c.get("saturated_gear_5", 0) for c in counts) == 1


def test_a_car_without_camera_and_brake_signal_has_only_coast_labels(tmp_path):
    tables = {name: drives.drive(seed=seed) for seed, name in enumerate(NAMES[:3])}
    yard(tmp_path, {name: t.assign(BRAKE_SIGNAL="", GEAR="") for name, t in tables.items()}, has_images=False)
    metrics = packed(tmp_path, drives.section("pack", brake_signal=True))
    frames = frames_of(tmp_path, NAMES[0])
    assert frames.telemetry.shape[1] == 11 and np.isfinite(frames.telemetry).all()
    assert not frames.image_ok.any() and not frames.detection_masks.any()
    assert (frames.labels[:, [name.startswith("brak") for name in frames.label_names]] == -1).all()
    assert metrics["train_coast_1s_rate"] > 0 and "train_brake_1s_rate" not in metrics
    absent = {k: v for split in SPLITS for k, v in config(tmp_path)["splits"][split]["absent_sensors"].items()}
    assert absent == {name: ["GEAR", "BRAKE_SIGNAL"] for name in NAMES[:3]}


def test_the_brake_signal_of_now_is_the_eleventh_feature(tmp_path):
    yard(tmp_path, dict.fromkeys(NAMES[:3]))
    packed(tmp_path, drives.section("pack", brake_signal=True))
    frames = frames_of(tmp_path, NAMES[0])
    assert frames.telemetry_features[10] == "BRAKE_SIGNAL"
    np.testing.assert_array_equal(frames.telemetry[:, 10], frames.labels[:, frames.label_names.index("braking")])


def test_what_cannot_be_packed_is_left_out_by_name_and_three_have_to_remain(tmp_path):
    yard(tmp_path, {**dict.fromkeys(NAMES[:4]), "2025-04-09_short": drives.drive(19)})
    (tmp_path / "annotate" / NAMES[3] / "annotations.csv").write_text("Time,filename\n")
    assert packed(tmp_path)["left_out"] == 2
    left_out = config(tmp_path)["left_out"]
    assert "no 20 frames in a row" in left_out["2025-04-09_short"]
    assert "annotations.csv: not annotations" in left_out[NAMES[3]]
    (tmp_path / "annotate" / NAMES[2] / "annotations.csv").write_text("")
    with pytest.raises(BadInput, match=f"2 usable recordings(.|\n)*left out {NAMES[2]}"):
        packed(tmp_path)


def test_one_drive_alone_is_told_what_can_be_done_with_it(tmp_path):
    yard(tmp_path, {NAMES[0]: None})
    with pytest.raises(BadInput) as refused:
        packed(tmp_path)
    said = str(refused.value)
    assert f"three splits need three or more: {NAMES[0]} is annotated and labelled, but cannot be trained on" in said
    assert f"flows view brake_coast {NAMES[0]}`" in said


def test_the_share_of_unknown_labels_stands_beside_their_rate(tmp_path):
    never = {name: drives.drive(seed=seed) for seed, name in enumerate(NAMES[:3])}
    for seed, table in enumerate(never.values()):  # no pedal at rest: what lies below 27.5 % may be coasting or not
        table["ACCELERATOR_POS_D"] = np.random.default_rng(seed).uniform(12, 40, len(table)).round(2)
    yard(tmp_path, never)
    metrics = packed(tmp_path)
    for split in SPLITS:
        of = config(tmp_path)["splits"][split]["statistics"]["labels"]["coast_1s"]
        total = of["positive"] + of["negative"] + of["unknown"]
        assert metrics[f"{split}_coast_1s_unknown_share"] == of["unknown"] / total > 0.3


def test_a_full_disk_is_a_clear_error_and_leaves_the_earlier_files(plain):
    before = {path.name: path.read_bytes() for path in (plain / "pack").iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    sizes = sorted(map(len, before.values()))
    upstream = {step: plain / step for step in ("download", "annotate", "label")}
    resource.setrlimit(resource.RLIMIT_FSIZE, (sizes[-1] - 1, limits[1]))  # all but the largest file fit
    try:
        with pytest.raises(BadInput, match=r"no room for .* MB \(File too large\)"):
            pack.run(PARAMS, plain / "pack", **upstream)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in (plain / "pack").iterdir()} == before


def test_a_file_that_is_not_a_split_is_named(tmp_path):
    (tmp_path / "train.h5").write_bytes(b"not HDF5")
    with pytest.raises(BadInput, match=r"train\.h5: not a split"):
        windows.load(tmp_path / "train.h5")


@given(st.lists(st.integers(1, 12), max_size=8), st.integers(1, 6), st.integers(1, 4))
def test_windows_never_cross_a_segment_and_none_is_forgotten(lengths, window, stride):
    segment = np.repeat(np.arange(len(lengths)), lengths)
    expected, begin = [], 0
    for length in lengths:
        expected += range(begin, begin + length - window + 1, stride)
        begin += length
    assert windows.window_starts(segment, window, stride).tolist() == expected
