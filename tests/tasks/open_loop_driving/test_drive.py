"""The drive steps: who drives which routes, what is written, and what a second run does again."""

import json

import pytest

from tasks.open_loop_driving import drive, drive_rules
from tasks.open_loop_driving.judging import drives
from tasks.open_loop_driving.params import Drive
from tasks.yard.files import folder_hash
from tasks.yard.step import BadInput
from tasks.yard.worlds import town
from tasks.yard.worlds.town import judge
from tests.tasks.open_loop_driving.networks import write_checkpoint
from tests.tasks.open_loop_driving.roads import REPORTING, straight, write_manifest, write_route
from tests.tasks.yard import killed

WORLD = town.parse("synth://town?routes=12&seconds=8&cameras=1&height=32&width=56")
SOURCE = town.uri(WORLD)
SPLITS = {"town01_r000": "train", "town02_r000": "val", "town05_r000": "test", "town05_r001": "test"}
PARAMS = Drive.model_validate(
    {"routes": {"val": 1, "test": 2}, "traffic": 1, "begin_s": 0.0, "plan_every_s": 0.5, "follow": "both",
     "creep_s": None}
)  # fmt: skip


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Who stands or is slow is stopped sooner."""
    monkeypatch.setattr(judge, "BLOCKED_S", 1.5)
    monkeypatch.setattr(judge, "LATE_S", 0.0)
    monkeypatch.setattr(judge, "SLOWEST_MPS", 20.0)


def pack_of(folder, source=SOURCE, splits=SPLITS):
    for name in splits:
        write_route(folder, name, straight(8, 5.0), source=source)
    return write_manifest(folder, splits)


def read(folder):
    return json.loads((folder / drives.FILE).read_text())


@pytest.mark.slow
def test_the_expert_arrives_and_constant_velocity_stands(tmp_path, monkeypatch):
    for name, value in {"BLOCKED_S": 25.0, "LATE_S": 40.0, "SLOWEST_MPS": 1.6}.items():  # longer than any light is red
        monkeypatch.setattr(judge, name, value)
    pack = pack_of(tmp_path / "pack")
    numbers = drive_rules.run(None, tmp_path / "out", pack=pack, drive_params=PARAMS, reporting_params=REPORTING)
    assert numbers["expert/test/driving_score"] == 100 and numbers["expert/test/all_infractions_a_km"] == 0
    assert numbers["constant_velocity/test/driving_score"] == 0 and numbers["constant_velocity/val/driving_score"] == 0
    told = read(tmp_path / "out" / "expert")
    assert list(told["routes"]) == ["town02_r000_traffic1", "town05_r000_traffic1", "town05_r001_traffic1"]
    assert told["simulator"] and told["splits"]["test"]["routes"] == 2 and told["splits"]["test"]["completed"] == 2
    way = (tmp_path / "out" / "expert" / "town02_r000_traffic1" / "way.csv").read_text().splitlines()
    assert way[0].startswith("time_s,x,y,yaw") and len(way) > 10
    assert told["splits"]["test"]["km"] == pytest.approx(sum(r["km"] for r in list(told["routes"].values())[1:]))


@pytest.mark.slow
def test_a_network_drives_and_what_is_driven_is_kept(tmp_path):
    pack, train = pack_of(tmp_path / "pack"), {"tcp_small": tmp_path / "train"}
    write_checkpoint(tmp_path / "train", "tcp_small", WORLD)
    (out := tmp_path / "out").mkdir()

    def again(params=PARAMS):
        return drive.run(params, out, network="tcp_small", pack=pack, train=train, reporting_params=REPORTING)

    numbers = again()
    assert set(numbers) >= {"val/driving_score", "test/driving_score", "test/route_completion"}
    first = read(out)
    assert first["agent"] == "tcp_small" and all(of["traffic"] == 1 for of in first["routes"].values())
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("*/drive.json")}
    lost = out / "town05_r000_traffic1"
    (lost / ".done.json").unlink()  # as a kill leaves it
    assert again() == numbers and read(out) == first
    kept = [path for path, stamp in stamps.items() if path.stat().st_mtime_ns == stamp]
    assert len(kept) == 2 and lost / "drive.json" not in kept
    write_checkpoint(tmp_path / "train", "tcp_small", WORLD, seed=1)
    again()  # another network: every route anew
    assert all(path.stat().st_mtime_ns != stamp for path, stamp in stamps.items())
    stamps = {path: path.stat().st_mtime_ns for path in stamps}
    again(PARAMS.model_copy(update={"creep_s": 1.0}))  # another way to drive
    assert all(path.stat().st_mtime_ns != stamp for path, stamp in stamps.items()) and read(out)["creep_s"] == 1.0
    fewer = PARAMS.model_copy(update={"routes": PARAMS.routes.model_copy(update={"test": 0})})
    again(fewer)
    assert list(read(out)["routes"]) == ["town02_r000_traffic1"] and not lost.exists()
    assert read(out)["splits"]["test"] == {}


@pytest.mark.slow
def test_killed_between_routes_it_ends_with_the_same_bytes_and_drives_none_twice(tmp_path):
    pack, train = pack_of(tmp_path / "pack"), {"blind": tmp_path / "train"}
    write_checkpoint(tmp_path / "train", "blind", WORLD)
    given = {"network": "blind", "pack": pack, "train": train, "reporting_params": REPORTING}
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    drive.run(PARAMS, tmp_path / "whole", **given)
    out = tmp_path / "killed"
    killed.run(drive.run, PARAMS, out, done=2, **given)
    made = {path: path.stat().st_mtime_ns for path in out.glob("*/drive.json")}
    assert 1 <= len(made) < 3 and not (out / drives.FILE).exists()
    drive.run(PARAMS, out, **given)
    assert folder_hash(out) == folder_hash(tmp_path / "whole")
    kept = [path for path, stamp in made.items() if path.stat().st_mtime_ns == stamp]
    assert kept, "what was driven is not driven again"


@pytest.mark.slow
@pytest.mark.parametrize("network", ["thinktwice_small", "blind"])
def test_every_kind_of_network_drives(network, tmp_path):
    pack = pack_of(tmp_path / "pack", splits={"town05_r000": "test"})
    write_checkpoint(tmp_path / "train", network, WORLD)
    numbers = drive.run(
        PARAMS, tmp_path, network=network, pack=pack, train={network: tmp_path / "train"}, reporting_params=REPORTING
    )
    assert numbers["routes"] == 1 and 0 <= numbers["test/driving_score"] <= 100


def test_routes_that_were_recorded_have_no_simulator_and_that_is_said(tmp_path):
    pack = pack_of(tmp_path / "pack", source="/data/carla_route", splits={"route_0": "val", "route_1": "test"})
    (out := tmp_path / "out").mkdir()
    numbers = drive_rules.run(None, out, pack=pack, drive_params=PARAMS, reporting_params=REPORTING)
    told = read(out / "expert")
    assert numbers["expert/routes"] == 0 and not told["simulator"] and "no simulator" in told["why_not"]
    assert told["routes"] == {} and told["splits"] == {"val": {}, "test": {}}


def test_a_camera_that_the_world_lacks_is_named(tmp_path):
    pack = pack_of(tmp_path / "pack", splits={"town05_r000": "test"})
    two = town.parse("synth://town?routes=12&seconds=8&cameras=2&height=32&width=56")
    write_checkpoint(tmp_path / "train", "thinktwice_small", two, cameras=("front", "back"))
    args = {"pack": pack, "train": {"thinktwice_small": tmp_path / "train"}, "reporting_params": REPORTING}
    with pytest.raises(BadInput, match="needs the camera back; the world has front"):
        drive.run(PARAMS, tmp_path, network="thinktwice_small", **args)


def test_packs_of_two_worlds_are_refused(tmp_path):
    pack = pack_of(tmp_path / "pack", splits={"town05_r000": "test"})
    other = town.parse("synth://town?seed=7")
    write_route(pack, "town02_r000", straight(8, 5.0), source=town.uri(other))
    write_manifest(pack, {"town05_r000": "test", "town02_r000": "val"})
    with pytest.raises(BadInput, match="routes of 2 worlds in one pack"):
        drive_rules.run(None, tmp_path, pack=pack, drive_params=PARAMS, reporting_params=REPORTING)
