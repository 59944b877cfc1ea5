"""Labels by time: against hand-made answers, against a slow reference on random drives, and through the step."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.brake_coast import label
from tasks.brake_coast.formats import recording
from tasks.brake_coast.learning.pedal import pedal_of, resting_level
from tasks.yard import parcels
from tasks.yard.files import folder_hash, read_json, write_json
from tasks.yard.step import BadInput, Context
from tests.tasks.brake_coast import drives

PARAMS = drives.section("label")
CAR_OBD = drives.REPO.parent / "shared" / "real" / "car_obd"


def labelled(brake: list, t_ms: list[int] | None = None, pedal: list | None = None, params=PARAMS) -> pd.DataFrame:
    """Labels of rows every 500 ms unless stamps are given; None is a missing reply."""
    stamps = np.array(t_ms if t_ms is not None else 500 * np.arange(len(brake)), dtype=np.int64)
    pedal = [50.0] * len(brake) if pedal is None else pedal
    rows = pd.DataFrame({"time": stamps.astype(str), "t_ms": stamps, "brake": brake, "pedal_pct": pedal})
    rows = rows.astype({"brake": float, "pedal_pct": float})
    return label.labels(rows, pedal_of(rows["pedal_pct"].to_numpy(), params), params)


def test_labels_look_ahead_by_time():
    table = labelled([0, 0, 0, 1, 1, 0, 0])
    assert table["brake_1s"].tolist() == [0, 1, 1, 0, 0, -1, -1]
    assert table["brake_2s"].tolist() == [1, 0, 0, -1, -1, -1, -1]
    assert table["braking"].tolist() == [0, 0, 0, 1, 1, 0, 0]
    assert table["time_to_brake_s"].tolist()[:5] == [1.5, 1.0, 0.5, 0.0, 0.0]
    assert table["time_to_brake_s"].isna().tolist()[5:] == [True, True]


def test_an_onset_counts_once_it_was_seen_and_its_absence_needs_every_reply():
    table = labelled([0, 0, 0, 1, 1, None, 0])
    assert table["brake_onset_1s"].tolist() == [0, 1, 1, -1, -1, -1, -1]
    assert table["brake_onset_5s"].tolist() == [1, 1, 1, -1, -1, -1, -1]  # seen, though the drive ends before t + 5 s


def test_staying_on_the_brake_is_no_onset():
    assert labelled([1, 1, 1, 1])["brake_onset_1s"].tolist() == [0, 0, -1, -1]


def test_an_onset_behind_a_missing_reply_is_somewhere_in_between():
    table = labelled([0, None, 1, 1, 1])
    assert table["brake_onset_1s"].tolist() == [1, -1, 0, -1, -1]


def test_nothing_is_known_across_a_gap():
    table = labelled([0, 0, 1, 1], t_ms=[0, 500, 1102, 1602])  # 602 ms between the second row and the third
    assert table["segment"].tolist() == [0, 0, 1, 1]
    assert table["brake_1s"].tolist() == [-1, -1, -1, -1]
    assert table["brake_onset_1s"].tolist() == [-1, -1, -1, -1]
    assert labelled([0, 0, 1, 1], t_ms=[0, 500, 1101, 1601])["brake_1s"].tolist() == [1, 1, -1, -1]


def test_jittered_rows_answer_within_the_tolerance_only():
    assert labelled([0, 0, 1], t_ms=[0, 600, 1200])["brake_1s"].tolist()[0] == 1  # 200 ms late
    strict = drives.section("label", tolerance_ms=166)  # 199 ms of a step of 600
    assert labelled([0, 0, 1], t_ms=[0, 600, 1200], params=strict)["brake_1s"].tolist()[0] == -1


@pytest.mark.parametrize("jitter_ms", [0, 50])
def test_a_slow_log_loses_no_horizon(tmp_path, jitter_ms):
    """Rows every 542 ms: t + 3 s lies 252 ms before a row and 290 ms after one, which a fixed 250 ms calls no row."""
    late = np.random.default_rng(0).integers(-jitter_ms // 2, jitter_ms // 2 + 1, 400)
    t_ms = drives.START_MS + 542 * np.arange(400) + late
    table = drives.drive(400).assign(Time=[recording.format_time(int(t), digits=3) for t in t_ms])
    drives.write_drive(tmp_path / "download", "2025-a", table)
    metrics = label.run(PARAMS, tmp_path / "label", download=tmp_path / "download")
    told = read_json(tmp_path / "label/2025-a/labels.json")["unknown_because"]
    for name in ("coast_3s", "brake_3s"):
        assert told[name] == {"drive_end": 6} and metrics[f"{name}_unknown_share"] == 6 / 400
    assert set(cause for of in told.values() for cause in of) == {"drive_end"}


def test_unknown_labels_are_counted_by_what_they_are_lost_to(tmp_path):
    table = drives.drive(200).astype({"ACCELERATOR_POS_D": object}).drop(index=range(100, 110))  # 5.5 s without a row
    table.loc[50, ["ACCELERATOR_POS_D", "BRAKE_SIGNAL"]] = ["", ""]
    drives.write_drive(tmp_path / "download", "2025-a", table)
    moved = table.copy()
    moved.loc[150, "Time"] = recording.format_time(drives.START_MS + 500 * 150 + 90, digits=3)
    drives.write_drive(tmp_path / "download", "2025-b", moved)
    label.run(drives.section("label", tolerance_ms=70), tmp_path / "label", download=tmp_path / "download")
    told = read_json(tmp_path / "label/2025-a/labels.json")["unknown_because"]
    assert told["coast_1s"] == told["brake_1s"] == {"drive_end": 2, "gap": 2, "no_reply": 1}
    assert told["coasting"] == {"no_reply": 1}
    assert told["coast_5s"] == {"drive_end": 10, "gap": 10, "no_reply": 1}
    told = read_json(tmp_path / "label/2025-b/labels.json")["unknown_because"]
    assert told["coast_1s"] == {"drive_end": 2, "gap": 2, "no_reply": 1, "no_row_near": 2}  # to the late row, from it


def test_a_drive_of_extremes_says_what_share_is_unknown_and_why(tmp_path, caplog):
    pedal = np.random.default_rng(0).triangular(12, 22, 48, 600).round(2)
    drives.write_drive(tmp_path / "download", "2025-a", drives.drive(600).assign(ACCELERATOR_POS_D=pedal))
    metrics = label.run(PARAMS, tmp_path / "label", download=tmp_path / "download")
    told = read_json(tmp_path / "label/2025-a/labels.json")
    between = int((pedal < 27.5).sum())
    assert told["unknown_because"]["coasting"] == {"pedal_rest": between}
    assert metrics["coasting_unknown_share"] == between / 600 > 0.3
    assert f"coasting: {100 * between / 600:.1f} % of the labels are unknown" in caplog.text
    assert "the pedal never rests" in caplog.text


def driven(root: Path, name: str, rest: float, top: float, source: str = "", piece: list | None = None) -> None:
    """A drive whose pedal rests at `rest` in a third of its rows and reaches `top`."""
    table = drives.drive(300)
    coasting = table["ACCELERATOR_POS_D"] < 17
    pressed = np.linspace(rest + 8, top, (~coasting).sum()).round(2)
    table.loc[coasting, "ACCELERATOR_POS_D"], table.loc[~coasting, "ACCELERATOR_POS_D"] = rest, pressed
    drives.write_drive(root / "download", name, table)
    about = root / "download" / name / "recording.json"
    write_json(about, {**read_json(about), "source": source or name, "piece": piece})


def thresholds(root: Path, **changes) -> dict[str, tuple]:
    label.run(drives.section("label", **changes), root / "label", download=root / "download")
    told = {path.parent.name: read_json(path)["pedal"] for path in (root / "label").glob("*/labels.json")}
    return {name: (of["rest_pct"], of["travel_pct"], of["yes_below_pct"]) for name, of in sorted(told.items())}


def test_one_car_has_one_definition_of_coasting(tmp_path, caplog):
    """As of the five logs of one carOBD car, whose travel seemed 15 to 29 % by the drive."""
    for name, top in (("d-1", 31.0), ("d-2", 34.1), ("d-3", 45.5)):
        driven(tmp_path, name, 16.08, top)
    assert set(thresholds(tmp_path).values()) == {(16.08, 29.0, 18.255)} and not caplog.text


def test_the_pieces_of_a_drive_have_one_pedal_and_one_that_never_rests_has_it_too(tmp_path, caplog):
    driven(tmp_path, "d-1", 16.08, 40.0, "drive.csv", [1, 3])
    driven(tmp_path, "d-2", 16.08, 46.1, "drive.csv", [2, 3])
    drives.write_drive(
        tmp_path / "download", "d-3", drives.drive(300).assign(ACCELERATOR_POS_D=np.linspace(25, 40, 300))
    )
    about = tmp_path / "download/d-3/recording.json"
    write_json(about, {**read_json(about), "source": "drive.csv", "piece": [3, 3]})
    assert set(thresholds(tmp_path).values()) == {(16.08, 30.0, 18.33)} and not caplog.text


@pytest.mark.slow
def test_drives_that_disagree_are_of_two_cars_and_that_is_said(tmp_path, caplog):
    driven(tmp_path, "a-1", 0.0, 80.0)
    driven(tmp_path, "b-1", 16.08, 40.1)
    driven(tmp_path, "b-2", 16.47, 46.0)  # the neighbouring code
    restless = drives.drive(300).assign(ACCELERATOR_POS_D=np.linspace(25, 40, 300))
    for name in ("c-1", "c-2", "c-3", "c-4"):
        drives.write_drive(tmp_path / "download", name, restless)
    found = thresholds(tmp_path)
    assert found["a-1"] == (0.0, 100.0, 7.5) and found["b-1"] == found["b-2"] != found["a-1"]
    assert found["c-1"][0] is None  # it may be of either car
    assert "the pedal rests at 0.0 % in a-1; at 16.1 % in b-1, b-2: taken for 2 cars" in caplog.text
    said = [one for one in caplog.messages if "never rests" in one]
    assert len(said) == 1  # however many they are
    assert said[0].startswith("c-1, c-2, c-3 and 1 more: the pedal never rests, and it may be of any of these cars")
    assert len(set(thresholds(tmp_path, pedal_rest_pct=16.08).values())) == 1


def test_a_drive_that_contradicts_the_others_is_of_another_car(tmp_path, caplog):
    driven(tmp_path, "a-1", 16.08, 46.0)
    low = np.r_[np.linspace(5, 15, 60), np.linspace(25, 40, 240)]  # 20 % of it lies below the rest of a-1
    drives.write_drive(tmp_path / "download", "b-1", drives.drive(300).assign(ACCELERATOR_POS_D=low))
    found = thresholds(tmp_path)
    assert found["a-1"][0] == 16.08 and found["b-1"][0] is None and "b-1: the pedal never rests" in caplog.text


def test_standing_still_is_counted_and_can_be_left_out_of_coasting(tmp_path, caplog):
    table = drives.drive(200)
    released = np.flatnonzero(table["ACCELERATOR_POS_D"] < 17)
    table.loc[released[:30], "SPEED"] = 0.0
    table.loc[released[30], "SPEED"] = 7.0
    drives.write_drive(tmp_path / "download", "2025-a", table)
    metrics = label.run(PARAMS, tmp_path / "label", download=tmp_path / "download")
    assert read_json(tmp_path / "label/2025-a/labels.json")["standing"] == {"rows": 30, "coasting": 30}
    assert metrics["standing_rows"] == 30
    assert metrics["coasting_standing_share"] == 30 / len(released) > 0.3
    assert f"{100 * 30 / len(released):.1f} % of the rows that count as coasting stand still" in caplog.text
    moving = drives.section("label", min_speed_kmh=5.0)
    metrics = label.run(moving, tmp_path / "moving", download=tmp_path / "download")
    assert metrics["coasting_standing_share"] == 0
    written = pd.read_csv(tmp_path / "moving/2025-a/labels.csv")
    assert np.flatnonzero(written["coasting"] == 1).tolist() == released[30:].tolist()
    assert (written["coasting"][released[:30]] == 0).all()


def test_the_earlier_of_two_rows_as_near_answers():
    assert labelled([0, 0, 1, 0], t_ms=[0, 400, 800, 1200])["brake_1s"].tolist()[0] == 1


@pytest.mark.parametrize("rest", [0.0, 16.078432])
def test_coasting_is_a_pedal_at_its_rest_wherever_that_is(rest):
    pedal = np.array([rest] * 30 + [rest + 20, rest + 30, rest + 40] * 20 + [None] + [rest] * 10, dtype=float)
    table = labelled([None] * len(pedal), pedal=pedal)
    assert (table["coasting"] == np.where(np.isnan(pedal), -1, pedal == rest)).all()
    assert (table[[name for name in label.NAMES if "brak" in name]] == -1).all(axis=None)


def test_a_calibrated_pedal_is_released_below_the_threshold_of_the_seed():
    table = labelled([0] * 42, pedal=[0.0] * 20 + [7.49] + [7.5] + [60.0] * 20)
    assert table["coasting"].tolist() == [1] * 20 + [1, 0] + [0] * 20


def test_resting_level_ignores_glitches_below_and_flicker_of_one_code():
    rng = np.random.default_rng(0)
    pedal = np.concatenate([[0, 0, 3], rng.choice([16.08, 16.47], 60), rng.uniform(20, 60, 900), [np.nan] * 40])
    assert resting_level(rng.permutation(pedal), 20) == pytest.approx(16.3, abs=0.3)


def test_a_pedal_that_never_rests_leaves_open_only_what_depends_on_its_rest():
    pedal = np.random.default_rng(0).triangular(12, 30, 48, 600)
    table = labelled([0] * 600, pedal=pedal)
    assert resting_level(pedal, 20) is None
    assert (table["coasting"] == np.where(pedal >= 27.5, 0, -1)).all()
    told = drives.section("label", pedal_rest_pct=14.0, pedal_travel_pct=80.0)
    assert (labelled([0] * 600, pedal=pedal, params=told)["coasting"] == (pedal < 20)).all()


def test_cruising_at_a_constant_pedal_is_not_rest():
    assert resting_level(np.full(600, 28.0), 20) is None
    assert resting_level(np.array([np.nan] * 5), 20) is None


stamps_and_replies = st.lists(
    st.tuples(st.sampled_from([0, 100, 300, 400, 500, 600, 601, 602, 900, 3000]), st.sampled_from([0, 0, 1, 1, None])),
    min_size=1,
    max_size=40,
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(stamps_and_replies)
def test_labels_equal_a_row_by_row_reference(steps):
    t_ms, brake = [], []
    for step, reply in steps:  # a step of 0 is a duplicate stamp, which reading drops
        if step or not t_ms:
            t_ms.append((t_ms[-1] if t_ms else 0) + step)
            brake.append(reply)
    table = labelled(brake, t_ms=t_ms)
    for i, row in table.iterrows():
        for h in label.HORIZONS_S:
            value, onset = reference(t_ms, brake, i, 1000 * h)
            assert (row[f"brake_{h}s"], row[f"brake_onset_{h}s"]) == (value, onset), (h, i)
            if row["braking"] == 0 and row[f"brake_{h}s"] == 1:
                assert row[f"brake_onset_{h}s"] == 1
        np.testing.assert_equal(row["time_to_brake_s"], reference_time_to_brake(t_ms, brake, i))


def reference(t_ms: list[int], brake: list, i: int, ahead_ms: int) -> tuple[int, int]:
    """brake_<h>s and brake_onset_<h>s of row i, by looking at one row after the other."""
    run = [i]
    while run[-1] + 1 < len(t_ms) and t_ms[run[-1] + 1] - t_ms[run[-1]] <= PARAMS.max_gap_ms:
        run.append(run[-1] + 1)
    off = {j: abs(t_ms[j] - t_ms[i] - ahead_ms) for j in run}
    target = min(run, key=lambda j: (off[j], j))
    steps = [b - a for a, b in pairwise(t_ms) if b - a <= PARAMS.max_gap_ms]
    local = [b - a for a, b in pairwise(t_ms[j] for j in run) if a < t_ms[i] + ahead_ms <= b]
    step = max(500, float(np.median(steps)) if steps else 0, *local)
    observed = off[target] <= PARAMS.tolerance_ms * step / 500
    value = brake[target] if observed and brake[target] is not None else -1
    span = [j for j in run if (j <= target if observed else t_ms[j] <= t_ms[i] + ahead_ms)]
    known = [brake[j] for j in span if brake[j] is not None]
    if any(a == 0 and b == 1 for a, b in pairwise(known)):
        return value, 1
    return value, 0 if observed and len(known) == len(span) else -1


def reference_time_to_brake(t_ms: list[int], brake: list, i: int) -> float:
    for j in range(i, len(t_ms)):
        if brake[j] is None or (j > i and t_ms[j] - t_ms[j - 1] > PARAMS.max_gap_ms):
            return np.nan
        if brake[j]:
            return (t_ms[j] - t_ms[i]) / 1000
    return np.nan


def test_the_step_counts_bad_rows_and_their_neighbours_keep_their_labels(tmp_path):
    table = drives.drive(200)
    clean, dirty = tmp_path / "clean", tmp_path / "dirty"
    drives.write_drive(clean, "2025-04-03_a", table)
    no_data = pd.DataFrame([["No Frame", *["No Data"] * 6]], columns=table.columns)
    drives.write_drive(dirty, "2025-04-03_a", pd.concat([table[:50], no_data, table[49:]], ignore_index=True))
    for name in (clean, dirty):
        metrics = label.run(PARAMS, name / "label", download=name)
    assert (metrics["error_rows"], metrics["duplicate_rows"], metrics["rows"]) == (1, 1, 200)
    one, other = (folder / "label" / "2025-04-03_a" / "labels.csv" for folder in (clean, dirty))
    assert one.read_bytes() == other.read_bytes()
    written = pd.read_csv(one)
    assert written.columns.tolist() == ["Time", "t_ms", "segment", *label.NAMES, "time_to_brake_s"]
    assert written["brake_1s"].isna().sum() == 2
    assert metrics["brake_1s_rate"] == pytest.approx((table["BRAKE_SIGNAL"][2:] == "True").mean())


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["", "nan", "No Data"])
def test_a_pedal_that_did_not_answer_leaves_coasting_unknown_and_braking_known(tmp_path, cell):
    table = drives.drive(200).astype({"ACCELERATOR_POS_D": object})
    drives.write_drive(tmp_path / "whole", "2025-04-03_a", table)
    gone = table.copy()
    gone.loc[60:63, "ACCELERATOR_POS_D"] = cell
    drives.write_drive(tmp_path / "holed", "2025-04-03_a", gone)
    for name in ("whole", "holed"):
        label.run(PARAMS, tmp_path / name / "label", download=tmp_path / name)
    whole, holed = (pd.read_csv(tmp_path / name / "label/2025-04-03_a/labels.csv") for name in ("whole", "holed"))
    for column in whole.columns[3:]:
        lost = np.flatnonzero(holed[column].isna() & whole[column].notna()).tolist()
        assert lost == {"coasting": [60, 61, 62, 63], "coast_1s": [58, 59, 60, 61]}.get(column, lost)
        assert "coast" in column or not lost
        kept = holed[column].notna()
        assert (holed[column][kept] == whole[column][kept]).all()


def test_a_drive_that_cannot_be_read_is_quarantined_with_file_and_fault(tmp_path):
    for name in ("2025-a", "2025-b", "2025-c"):
        drives.write_drive(tmp_path / "download", name)
    (tmp_path / "download" / "2025-a" / "telemetry.csv").write_text("")
    broken = tmp_path / "download" / "2025-b" / "telemetry.csv"
    broken.write_text(pd.read_csv(broken).drop(columns="BRAKE_SIGNAL").to_csv(index=False))
    metrics = label.run(PARAMS, tmp_path / "label", download=tmp_path / "download")
    reasons = json.loads((tmp_path / "label" / "quarantine.json").read_text())
    assert (metrics["recordings"], metrics["quarantined"]) == (1, 2)
    assert "2025-a/telemetry.csv: the file is empty" in reasons["2025-a"]
    assert "missing column BRAKE_SIGNAL" in reasons["2025-b"]
    (tmp_path / "download" / "2025-c" / "telemetry.csv").write_text("")
    with pytest.raises(BadInput, match="no recording could be labelled"):
        label.run(PARAMS, tmp_path / "label", download=tmp_path / "download")


def test_only_what_changed_is_labelled_again(tmp_path):
    download, out = tmp_path / "download", tmp_path / "label"
    for seed, name in enumerate(("2025-a", "2025-b")):
        drives.write_drive(download, name, seed=seed)
    label.run(PARAMS, out, download=download)
    before = {name: (out / name / "labels.csv").stat().st_ino for name in ("2025-a", "2025-b")}
    drives.write_drive(download, "2025-b", drives.drive(seed=9))
    drives.write_drive(download, "2025-c", seed=3)
    assert label.run(PARAMS, out, download=download)["recordings"] == 3
    assert (out / "2025-a" / "labels.csv").stat().st_ino == before["2025-a"]
    assert (out / "2025-b" / "labels.csv").stat().st_ino != before["2025-b"]


@pytest.mark.skipif(not CAR_OBD.is_dir(), reason="../shared/real/car_obd is not here")
def test_a_real_car_coasts_while_its_pedal_rests_at_16_percent():
    log = pd.read_csv(CAR_OBD / "drive4.csv", index_col=False).rename(columns=lambda name: name.split()[0])
    pedal = pedal_of(log["PEDAL_D"].to_numpy(), PARAMS)
    assert pedal.rest_pct == pytest.approx(16.078432)
    moving = log["VEHICLE_SPEED"] > 5
    coasting = log["PEDAL_D"] < pedal.yes_below_pct
    assert 0.2 < coasting[moving].mean() < 0.6
    speed_change = log["VEHICLE_SPEED"].diff()
    assert speed_change[moving & coasting].mean() < 0 < speed_change[moving & ~coasting].mean()


def test_what_a_drive_is_said_to_need_is_all_that_a_machine_without_this_disk_needs(tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    for number in range(2):
        drives.write_drive(here / "data/download", f"drive-{number}", drives.drive(60, seed=number))
    monkeypatch.chdir(here)

    def sent_away(fn, items, *, names, parallel=True):
        for index, job in enumerate(items):
            parcel = parcels.sent(*parcels.makings(fn, job))
            monkeypatch.chdir(there)
            outcome, made = parcels.made_apart(fn, job, parcel)
            assert not list(there.iterdir())
            monkeypatch.chdir(here)
            yield index, parcels.placed(fn, job, outcome, made)

    outs = {}
    for name, ctx in {"kept": Context(), "sent": Context(map=sent_away)}.items():
        label.run(PARAMS, Path("data", name), ctx, download=Path("data/download"))
        outs[name] = folder_hash(Path("data", name))
    assert outs["kept"] == outs["sent"]
