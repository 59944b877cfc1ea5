"""What train would refuse is refused before the teacher trains, in the same words."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tasks.open_loop_driving import teacher, train
from tasks.open_loop_driving.learning import trainable
from tasks.yard import params, runner
from tasks.yard.step import BadInput, Context
from tests.tasks.open_loop_driving.packs import write_packs
from tests.tasks.yard.shared import machine

pytestmark = pytest.mark.slow
REPO = Path(__file__).parents[3]
LINE, NAME = "open_loop_driving", "thinktwice_small"
SPLITS = {"town01_r000": "train", "town02_r000": "val", "town05_r000": "test"}


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return write_packs(tmp_path_factory.mktemp("pack"), SPLITS)


@pytest.fixture
def project(tmp_path, monkeypatch, packed):
    for name in ("tasks", "models"):
        (tmp_path / name).symlink_to(REPO / name)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(REPO / name, tmp_path)
    shutil.copytree(packed, tmp_path / "data" / LINE / "pack")
    monkeypatch.chdir(tmp_path)
    params.set_values([f"{LINE}.train.engine.batch=4"])
    return tmp_path / "data" / LINE


def refused(*changes: str) -> str:
    """By the stage teacher as both doors run it."""
    params.set_values([f"{LINE}.{change}" for change in changes])
    with pytest.raises(BadInput) as said:
        runner.run(f"{LINE}-teacher", Context())
    return str(said.value)


def begins(project: Path, *changes: str) -> None:
    params.set_values([f"{LINE}.{change}" for change in changes])
    given = {"pack": project / "pack", "machine_params": machine()}
    teacher.refuse_in_vain(params.load().open_loop_driving, project / "teacher", **given)


def by_train(project: Path, name: str) -> str:
    section = trainable.section_of(params.load().open_loop_driving.train, name)
    given = {"network": name, "pack": Path("data", LINE, "pack"), "teacher": Path("data", LINE, "teacher")}
    with pytest.raises(BadInput) as said:
        train.run(section, project / "train" / name, machine_params=machine(), **given)
    return str(said.value)


@pytest.mark.parametrize(
    "wrong", ["train.cameras=[left]", "train.engine.batch=500", "train.engine.accumulate=3", "train.steps=6"]
)
def test_what_no_network_can_be_trained_by_is_refused_before_the_teacher_trains(project, wrong):
    said = refused(f"train.networks=[{NAME}]", wrong)
    assert not (project / "teacher").exists()
    assert said == by_train(project, NAME)


def test_where_one_network_of_two_is_refused_the_teacher_trains_and_says_it(project, caplog):
    begins(project, "train.cameras=[left]")
    assert "no route has a camera 'left', but back, front" in caplog.text


def test_a_teacher_whose_maps_no_network_wants_is_not_trained(project):
    said = refused(f"train.networks=[{NAME}, {NAME}-lidar]", "teacher.sizes=thinktwice")
    assert f"maps are of other sizes than those of {NAME}; set open_loop_driving.teacher.sizes to {NAME}" in said
    begins(project, "teacher.sizes=thinktwice_small")
