"""The line from packed routes of the town to plans: teacher, training, plans, the planner behind the wheel, ONNX."""

from __future__ import annotations

import json
import shutil
import signal
from functools import partial

import h5py
import numpy as np
import pytest
import torch

from tasks.open_loop_driving import evaluate, export, plan, teacher, train
from tasks.open_loop_driving.formats import pack as packed
from tasks.open_loop_driving.formats import plans
from tasks.open_loop_driving.formats.plans import Observation
from tasks.open_loop_driving.learning.batches import Rows, assembled, mirrored, motions
from tasks.open_loop_driving.learning.drives import Drives
from tasks.open_loop_driving.learning.features import NAMES, Features
from tasks.open_loop_driving.learning.planner import Planner
from tasks.yard.files import read_json, write_json
from tasks.yard.step import BadInput
from tests.tasks.open_loop_driving.packs import write_packs
from tests.tasks.open_loop_driving.roads import REPORTING, straight, write_manifest, write_route
from tests.tasks.open_loop_driving.shared import section
from tests.tasks.yard.forked import in_two_processes
from tests.tasks.yard.shared import machine, reporting
from tests.tasks.yard.training import child

SPLITS = {"town01_r000": "train", "town03_r000": "train", "town02_r000": "val", "town05_r000": "test"}
NAME, CAMERAS = "thinktwice_small", ["front", "back"]


def short(step: str, **changes):
    """A section with few epochs and small batches."""
    of = section(step)
    few = of.engine.model_copy(update={"epochs": 2, "batch": 4, "threads": 1})
    return of.model_copy(update={"engine": few, **changes})


TRAIN = short("train", evaluate_every=1, blind_epochs=2)
fit = partial(train.run, machine_params=machine())


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return write_packs(tmp_path_factory.mktemp("pack"), SPLITS)


@pytest.fixture(scope="module")
def taught(pack, tmp_path_factory):
    out = tmp_path_factory.mktemp("teacher")
    found = teacher.run(short("teacher"), out, pack=pack, machine_params=machine())
    assert found["routes"] == 4
    return out


@pytest.fixture(scope="module")
def trained(pack, taught, tmp_path_factory):
    out = tmp_path_factory.mktemp("train")
    fit(TRAIN, out / NAME, network=NAME, pack=pack, teacher=taught)
    return out


def history_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def test_key_frames_are_drawn_as_often_as_said_and_without_a_weight_every_moment_is_once(tmp_path):
    """Who sets out does something new, who goes on at his speed or stands does not."""
    stands = np.zeros((24, 3))
    stands[12:, 0] = 2.5 * np.arange(1, 13)
    write_route(tmp_path, "town01_r000", straight(24, 5.0))
    write_route(tmp_path, "town01_r001", stands)
    write_manifest(tmp_path, {"town01_r000": "train", "town01_r001": "train"})
    rows = Rows(Drives(tmp_path, ("train",)), "blind", (), 4, told=())
    new = rows.surprise_m()
    goes_on, waits = rows.windows < 24, (rows.windows >= 24) & (rows.windows + 4 < 24 + 12)
    assert new[goes_on].max() < 1e-6 and new[waits].max() < 1e-6
    assert new[rows.windows == 24 + 10] == pytest.approx(7.5)

    engine = TRAIN.engine.model_copy(update={"batch": 1})
    drawn = torch.cat([train.Order(new, 5.0, engine)(epoch) for epoch in range(400)])
    often = np.bincount(drawn.numpy(), minlength=len(new))
    assert often[new > train.KEY_M].mean() == pytest.approx(5 * often[new < 1e-6].mean(), rel=0.1)
    for epoch in range(2):
        assert sorted(train.Order(new, 1.0, engine)(epoch).tolist()) == list(range(len(new)))


@pytest.mark.slow
def test_the_teacher_knows_every_frame_and_its_mirror(pack, taught):
    with h5py.File(taught / "town05_r000.h5") as file, h5py.File(packed.path(pack, "town05_r000")) as route:
        n = len(route["frame"])
        assert [file[f"features/{k}"].shape for k in range(4)] == [(n, 16, 21, 21), (n, 32, 10, 10), (n, 64, 4, 4),
                                                                  (n, 128, 2, 2)]  # fmt: skip
        assert file["alpha"].shape == (n, 2) and (file["alpha"][:] > 0).all()
        assert not np.array_equal(file["features/0"][:], file["mirrored/0"][:])


@pytest.mark.slow
def test_every_term_is_a_curve_and_every_layer_is_judged(trained):
    rows = history_of(trained / NAME)
    assert {"waypoints", "control", "map 21", "refined map", "taught ahead", "classes", "depth"} <= set(
        rows[0]["train"]
    )
    assert {"l2_mean", "brake_f1", "l2_mean_layer_0", "l2_mean_layer_2"} <= set(rows[-1]["val"])


@pytest.mark.slow
def test_killed_within_an_epoch_it_ends_with_the_same_bytes(pack, taught, trained, tmp_path):
    steps, out = read_json(trained / NAME / "last.json")["step"] // 2, tmp_path / NAME
    given = {"network": NAME, "pack": pack, "teacher": taught}
    assert child.killed_at(steps + 1, fit, TRAIN, out, **given) == -signal.SIGKILL
    assert read_json(out / "last.json")["step"] == steps, "the epoch that was whole is kept"
    fit(TRAIN, out, **given)
    for name in ("best.pt", "last.pt", "history.jsonl"):
        assert (out / name).read_bytes() == (trained / NAME / name).read_bytes(), name


def weights_of(folder) -> dict[str, torch.Tensor]:
    return torch.load(folder / "last.pt", weights_only=True)["model"]


@pytest.mark.slow
def test_two_processes_and_micro_batches_take_the_steps_of_one_batch(pack, taught, tmp_path):
    """Augmentation, whose draws differ, is off. Of a source without classes, whose head has then nothing to learn."""
    bare = shutil.copytree(pack, tmp_path / "pack")
    for name in SPLITS:
        with h5py.File(packed.path(bare, name), "a") as file:
            del file["seg"]
    still = section("train").augment.model_copy(
        update={"mirror": 0.0, "brightness": 0.0, "contrast": 0.0, "colour": 0.0}
    )
    once = short("train").engine.model_copy(update={"epochs": 1})
    one = short("train", augment=still).model_copy(update={"engine": once})
    parts = one.model_copy(update={"engine": once.model_copy(update={"accumulate": 2})})
    given = {"network": NAME, "pack": bare, "teacher": taught}
    fit(one, tmp_path / "one", **given)
    fit(parts, tmp_path / "parts", **given)
    in_two_processes(fit, one, tmp_path / "two", **given)
    whole = weights_of(tmp_path / "one")
    for name in ("two", "parts"):
        rows = zip(history_of(tmp_path / "one"), history_of(tmp_path / name), strict=True)
        assert all(b["train"] == pytest.approx(a["train"], rel=2e-3, abs=1e-4) for a, b in rows), name
        weights = weights_of(tmp_path / name)
        assert weights.keys() == whole.keys()
        for key in whole:
            torch.testing.assert_close(weights[key], whole[key], rtol=5e-3, atol=1e-3)


@pytest.mark.slow
def test_maps_are_the_same_held_in_memory_and_read_from_disk(pack, taught):
    held, read = (Features(Drives(pack, ("train",), held_bytes=most), taught) for most in (10**9, 0))
    frames, mirror = np.array([7, 2, 2, 13]), np.array([True, False, True, False])
    assert held.held and not read.held and held.shapes == read.shapes
    assert [held.shapes[f"features/{name}"][0] for name in NAMES] == [16, 32, 64, 128, 64]
    for a, b in zip(held(frames, mirror), read(frames, mirror), strict=True):
        assert a.dtype == np.float16 and a.any() and np.array_equal(a, b)
    with h5py.File(taught / "town01_r000.h5") as file:
        assert np.array_equal(read(frames[:1], mirror[:1])[0][0], file["mirrored/0"][7])


def lacking(pack, folder, **columns):
    """A copy of the pack in which these routes lack these columns."""
    bare = shutil.copytree(pack, folder)
    for name, gone in columns.items():
        with h5py.File(packed.path(bare, name), "a") as file:
            for column in gone:
                del file[column]
    return bare


@pytest.mark.slow
def test_a_source_whose_own_maps_are_of_other_sizes_has_the_teachers_or_does_without(pack, tmp_path):
    """As the published data have them: 32 to 256 channels, which thinktwice_small does not."""
    bare = lacking(pack, tmp_path / "pack", town03_r000=["bev"])
    for name in ("town01_r000", "town03_r000"):
        with h5py.File(packed.path(bare, name), "a") as file:
            n = len(file["frame"])
            for place, (size, cells) in enumerate(zip((32, 64, 128, 256), (21, 10, 4, 2), strict=True)):
                file[f"supervision/map{place}"] = np.ones((n, size, cells, cells), np.float32)
            file["supervision/vector"] = np.ones((n, 256), np.float32)
    given = {"pack": bare, "machine_params": machine()}
    assert teacher.run(short("teacher"), tmp_path / "teacher", **given)["routes"] == 3
    without = read_json(tmp_path / "teacher/teacher.json")["without"]
    assert without == {"town03_r000": "has no masks and maps of other sizes"}
    fit(TRAIN, tmp_path / NAME, network=NAME, pack=bare, teacher=tmp_path / "teacher")
    assert "map 21" in history_of(tmp_path / NAME)[0]["train"]
    rows = partial(Rows, Drives(bare, ("train",)), cameras=CAMERAS, steps=4, teacher=tmp_path / "teacher", learn=True)
    assert rows(name=NAME).features.there.tolist() == [True, False]
    assert rows(name="thinktwice").features.there.all(), "for whose sizes the source's own are"
    assert teacher.run(short("teacher", sizes="thinktwice"), tmp_path / "large", **given) == {"routes": 0}


@pytest.mark.slow
def test_masks_of_a_route_without_pedals_teach_nobody(pack, tmp_path):
    """Somebody else's drives may have no folder supervision/, and nothing of the pedals."""
    gone = {"town03_r000": ["control", "supervision"]}
    bare = lacking(pack, tmp_path / "pack", **gone)
    out = tmp_path / "teacher"
    found = teacher.run(short("teacher"), out, pack=bare, machine_params=machine())
    assert found["routes"] == 3 and np.isfinite(found["val/action"])
    assert read_json(out / "teacher.json")["without"] == {"town03_r000": "has no pedals"}
    none = lacking(bare, tmp_path / "none", town01_r000=["control", "supervision", "command"])
    assert teacher.run(short("teacher"), out, pack=none, machine_params=machine()) == {"routes": 0}
    said = read_json(out / "teacher.json")["without"]
    assert said["town01_r000"] == "has no pedals, no command" and "no training route can" in said["town05_r000"]
    assert not list(out.glob("*.h5"))


@pytest.mark.slow
def test_plans_are_what_the_planner_says_behind_the_wheel(pack, trained, tmp_path):
    counts = plan.run(section("plan"), tmp_path, network=NAME, pack=pack, train={NAME: trained / NAME})
    found = plans.read(tmp_path / "plans.h5")
    of = found.splits["test"]
    assert found.layers == ("coarse", "1", "2") and counts["test/moments"] == len(of.t)
    planner = Planner.load(trained / NAME / "best.pt")
    assert planner.needs.sensors == ("rgb", "lidar") and planner.needs.cameras == ("front", "back")
    (route,) = packed.load(pack, "test")

    def seen(row: int) -> Observation:
        return Observation(
            tuple(route.pose[row]), float(route.speed_ms[row]), int(route.command[row]), tuple(route.target[row]),
            {camera: route.images(camera, [row])[0] for camera in CAMERAS}, route.lidar(row),
        )  # fmt: skip

    row = int(of.t[2])
    now = planner.plan(seen(row - 1), seen(row))
    assert np.allclose(now.waypoints, of.waypoints[:, 2], atol=1e-4) and np.allclose(
        now.alpha, of.alpha[:, 2], atol=1e-4
    )
    assert np.allclose(now.look, of.look[:, 2], atol=1e-4) and np.array_equal(of.look[0], of.waypoints[0])
    with pytest.raises(BadInput, match="needs the camera 'back'"):
        planner.plan(seen(row - 1), Observation((0, 0, 0), 1.0, 4, (9, 0), {"front": seen(row).images["front"]}))
    with pytest.raises(BadInput, match="command 7: must be one of 1 to 6"):
        planner.plan(seen(row - 1), Observation((0, 0, 0), 1.0, 7, (9, 0)))


def test_the_blind_network_needs_no_sensor(pack, taught, tmp_path):
    fit(TRAIN, tmp_path / "blind", network="blind", pack=pack, teacher=taught)
    planner = Planner.load(tmp_path / "blind/best.pt")
    assert planner.needs.sensors == () and planner.needs.cameras == ()
    standing = Observation((0.0, 0.0, 0.0), 0.0, 4, (20.0, 0.0))
    assert planner.plan(standing, standing).waypoints.shape == (1, 4, 2)


def rows_of(pack, taught) -> Rows:
    return Rows(Drives(pack, ("train",)), NAME, CAMERAS, 4, taught, learn=True)


def test_a_mirrored_moment_is_one_of_the_mirrored_world(pack, taught):
    """Twice is once; plan, wheel and commands change sides; a point lies where its image does in the other camera."""
    rows, ids = rows_of(pack, taught), torch.tensor([0, 3])
    plain, which = rows(ids), torch.tensor([True, False])
    other = mirrored(plain, which)
    assert torch.equal(other.raw.images[1], plain.raw.images[1])
    assert torch.equal(other.raw.images[0], plain.raw.images[0].flip(-2))
    assert torch.allclose(other.target["waypoints"][0], plain.target["waypoints"][0] * torch.tensor([1.0, -1.0]))
    assert torch.equal(other.target["alpha"][0, :, 1], plain.target["beta"][0, :, 1])
    back = mirrored(other, which)
    for name in ("images", "K", "camera_from_ego", "motion", "points", "target", "command"):
        assert torch.allclose(getattr(back.raw, name).float(), getattr(plain.raw, name).float(), atol=1e-5)
    point = torch.tensor([12.0, 3.0, 1.0, 1.0])
    turned = point * torch.tensor([1.0, -1, 1, 1])

    def pixel(raw, row, p):
        image = raw.K[row, 0] @ (raw.camera_from_ego[row, 0] @ p)[:3]
        return image[:2] / image[2]

    u, v = pixel(plain.raw, 0, point)
    assert torch.allclose(pixel(other.raw, 0, turned), torch.stack([48 - u, v]), atol=1e-3)


def test_a_standing_world_keeps_its_place_from_sweep_to_sweep(pack):
    """A point before, moved as the car did, is the point now."""
    poses = np.array([[3.0, 4.0, 0.3]]), np.array([[7.0, 5.0, 0.7]])
    place = np.array([15.0, 9.0])

    def local(pose):
        c, s = np.cos(pose[0, 2]), np.sin(pose[0, 2])
        return np.array([[c, s], [-s, c]]) @ (place - pose[0, :2])

    moved = motions(*poses)[0] @ [*local(poses[0]), 1.0, 1.0]
    assert np.allclose(moved[:2], local(poses[1]), atol=1e-5) and moved[2] == 1


def test_both_sweeps_lie_in_the_car_s_frame_of_now(pack, taught):
    """Of what stands, most lies in the same cells: more than if the motion is left out."""
    rows = rows_of(pack, taught)
    fast = int(np.argmax(rows.speed[rows.windows]))
    raw = rows.raw(rows.windows[[fast]])

    def common(of) -> float:
        one, other = (assembled(of, NAME)["voxels"][0, part].amax(0) > 0 for part in (slice(2, 7), slice(10, 15)))
        return float((one & other).sum() / (one | other).sum())

    assert common(raw) > 1.2 * common(raw.changed(motion=torch.eye(4)[None]))


def test_what_a_network_needs_and_a_route_lacks_is_named(pack, tmp_path):
    bare = shutil.copytree(pack, tmp_path / "pack")
    with h5py.File(packed.path(bare, "town03_r000"), "a") as file:
        del file["lidar"]
    with h5py.File(packed.path(bare, "town01_r000"), "a") as file:
        del file["lidar"]
    fit(TRAIN, tmp_path / "out", network=NAME, pack=bare, teacher=tmp_path)
    why = read_json(tmp_path / "out/untrained.json")["why"]
    assert why == "no route of train has all that it needs: town01_r000 has no lidar"
    with pytest.raises(BadInput, match=r"steps = 6; raise open_loop_driving\.pack\.horizon"):
        fit(short("train", steps=6), tmp_path / "out", network="blind", pack=pack, teacher=tmp_path)
    with pytest.raises(BadInput, match="no route has a camera 'left', but back, front"):
        fit(short("train", cameras=["left"]), tmp_path / "out", network="tcp_small", pack=pack, teacher=tmp_path)


@pytest.mark.slow
def test_a_network_does_without_the_routes_that_lack_its_sensor_and_is_exported(pack, tmp_path, caplog):
    """One to train on and one of test have no lidar: nothing stops, and every step says which they are."""
    pack = lacking(pack, tmp_path / "pack", town01_r000=["lidar"], town05_r000=["lidar"])
    more = write_packs(tmp_path / "more", {"town04_r000": "train", "town05_r001": "test"})
    told = read_json(pack / "manifest.json")
    told["routes"] |= read_json(more / "manifest.json")["routes"]
    write_json(pack / "manifest.json", told)
    for name in ("town04_r000", "town05_r001"):
        (more / name).rename(pack / name)
    train_folders = {name: tmp_path / "train" / name for name in (NAME, "blind")}
    planned = {name: tmp_path / "plan" / name for name in train_folders}
    for name, out in train_folders.items():
        fit(short("train"), out, network=name, pack=pack, teacher=tmp_path)
        plan.run(section("plan"), planned[name], network=name, pack=pack, train=train_folders)
    assert "thinktwice_small does without 2 of 6 routes, which lack what it needs: town01_r000 has no" in caplog.text
    learnt = Planner.load(train_folders[NAME] / "best.pt").config["learnt"]
    assert "town01_r000" not in str(learnt) and "town04_r000" in str(learnt)
    assert set(plans.read(planned[NAME] / plans.FILE).splits["test"].route) == {"town05_r001"}
    lacks = {"train": {"town01_r000": "has no lidar"}, "test": {"town05_r000": "has no lidar"}}
    assert read_json(planned[NAME] / "left_out.json") == lacks
    assert not (planned["blind"] / "left_out.json").exists()
    evaluate.run(None, tmp_path / "evaluate", pack=pack, plan=planned, reporting_params=REPORTING)
    said = read_json(tmp_path / "evaluate/details.json")
    assert said["runs"][NAME]["moments"] * 2 == said["runs"]["blind"]["moments"] == said["moments"]["test"]
    assert said["remarks"][0].startswith("thinktwice_small does without 2 routes, as town05_r000 has no lidar, ...: it")
    folders = {"blind": train_folders["blind"], NAME: train_folders[NAME]}
    given, out = {"pack": pack, "reporting_params": reporting()}, tmp_path / "export"
    found = export.run(section("export"), out, train=folders, **given)  # on the other of test
    assert read_json(out / "export.json")["network"] == NAME, "none is named: the first that sees"
    assert found["max_difference"] < 1e-4 and (out / "model.onnx").stat().st_size > 1e6
    assert "<td>max_difference</td>" in (out / "report.html").read_text()
    with pytest.raises(BadInput, match="was not trained; there are: blind"):
        export.run(section("export", network=NAME), out, train={"blind": folders["blind"]}, **given)


@pytest.mark.slow
def test_routes_without_masks_are_said_and_networks_learn_from_the_plan_alone(pack, tmp_path, caplog):
    bare = shutil.copytree(pack, tmp_path / "pack")
    for name in SPLITS:
        with h5py.File(packed.path(bare, name), "a") as file:
            del file["bev"], file["supervision"]
            if name == "town01_r000":
                del file["seg"]
    assert teacher.run(short("teacher"), tmp_path / "teacher", pack=bare, machine_params=machine()) == {"routes": 0}
    fit(TRAIN, tmp_path / "out", network=NAME, pack=bare, teacher=tmp_path / "teacher")
    first = json.loads((tmp_path / "out/history.jsonl").read_text().splitlines()[0])["train"]
    assert "waypoints" in first and "depth" in first and not {"map 21", "classes", "value"} & set(first)
    assert "learns no classes: of every camera 1 of 2 routes have them, and not town01_r000" in caplog.text
