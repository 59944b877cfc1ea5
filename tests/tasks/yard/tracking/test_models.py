"""A champion behind MLflow's own server: what it carries, and that it answers with the numbers that `apply` gives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flows.environment import free_port
from tasks.brake_coast import evaluate
from tasks.brake_coast.formats import windows
from tasks.brake_coast.learning import served as windows_served
from tasks.ground_plane import apply
from tasks.ground_plane.formats import scenes
from tasks.ground_plane.learning import served as scenes_served
from tasks.yard import params
from tasks.yard.applying import Model, made_with
from tasks.yard.files import file_hash, write_json
from tasks.yard.stage import Stage
from tasks.yard.tracking import fetched, models, registry, runs, store
from tests.flows.waiting import wait_until
from tests.tasks.brake_coast import drives
from tests.tasks.brake_coast import tiny_pack as tiny_drives
from tests.tasks.brake_coast.test_evaluate import RUNS, cells, train_tiny
from tests.tasks.brake_coast.test_train import in_units
from tests.tasks.ground_plane.tiny_project import write_network, write_pack
from tests.tasks.yard.shared import reporting

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_store")]

ROOT = Path(__file__).parents[4]
LINE = params.load(ROOT / "params.yaml").ground_plane
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # as in an environment that is activated
CLEAN = {"PATH": PATH, "PYTHONPATH": "", "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}


@contextmanager
def serving(line: str, folder: Path) -> Iterator[str]:
    """`mlflow models serve` of a champion, far from the code of this checkout."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{line}@champion"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **CLEAN}, stdout=log, stderr=log, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return urllib.request.urlopen(f"{url}/ping", timeout=5).status == 200
        except OSError:
            assert process.poll() is None, (folder / "log").read_text()
            return False

    try:
        wait_until(answers, "the model", every_s=0.3)
        yield url
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def asked(url: str, request: dict) -> dict:
    inputs = {name: np.asarray(values).tolist() for name, values in request.items()}
    body = json.dumps({"inputs": inputs}).encode()
    sent = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(sent, timeout=60) as reply:
        return {name: np.array(values) for name, values in json.loads(reply.read())["predictions"].items()}


def tracked(line: str, step: str, item: str | None) -> None:
    """What a run of that stage leaves in MLflow, once it is done."""
    entry = {"deps": [], "matrix": {"network": [item]}} if item else {"deps": []}
    stage = Stage(f"{line}-{step}" + (f"@{item}" if item else ""), line, step, item, entry)
    with runs.stage_run(stage, {}, None, {}) as log:
        log({"done": 1})


def loaded_alone(line: str, folder: Path) -> list[str]:
    """The modules of this project that a process has which has nothing but the model's own code."""
    import mlflow

    place = mlflow.artifacts.download_artifacts(f"models:/{line}@champion", dst_path=str(folder))
    code = (
        f"import sys, mlflow; model = mlflow.pyfunc.load_model({place!r}); model.predict(model.input_example)\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] in ('tasks', 'models', 'flows')"
        " and getattr(m, '__file__', None)), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={**os.environ, **CLEAN}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert all(str(folder) in name for name in done.stdout.split()), done.stdout
    return done.stdout.split()


def test_a_champion_of_ground_plane_answers_with_what_apply_writes(tmp_path):
    import mlflow

    data = Path("data/ground_plane")
    write_pack(data, learnt={"splits": ["train"]}, tested={"splits": ["test"]})
    weights = write_network(data, "one", threshold=0.002) / "best.pt"
    tracked("ground_plane", "train", "one")
    (version,) = registry.enter("ground_plane", "ground_plane-train@one", data / "train/one")
    registry.crown("ground_plane", version, "the only one")

    Path("belongings").mkdir()
    write_json(Path("belongings/known.json"), {"threshold": 0.5})
    fetched.keep("ground_plane", version, Path("belongings"), ("known.json",))
    fetched_anew = mlflow.artifacts.download_artifacts("models:/ground_plane@champion", dst_path=str(tmp_path / "anew"))
    assert sorted(path.name for path in Path(fetched_anew, "data").iterdir()) == ["best.pt", "known.json"]
    Path("belongings/known.json").unlink()
    model = Model("mine", weights, Path("belongings"), sha256=file_hash(weights))
    apply.run(str(data / "download/tested"), model, Path("out"), made_with(LINE, model, {}), no_film=True)
    theirs = pd.read_csv("out/sequences/tested/detections.csv")
    (scene,) = scenes.load(Path("out/steps/pack"))
    frames = [int(frame) for frame in scene.frames]
    with serving("ground_plane", tmp_path / "server") as url:
        ours = asked(url, scenes_served.request(scene, frames))
        assert len(theirs) and [frames[moment] for moment in ours["moment"]] == theirs["frame"].tolist()
        for name in scenes_served.COLUMNS[1:]:
            np.testing.assert_allclose(ours[name], theirs[name], atol=1e-4, err_msg=name)
        with pytest.raises(urllib.error.HTTPError) as refused:
            asked(url, {**scenes_served.request(scene, frames[:1]), "plane": [0, 0, 1]})
        assert "plane: expected corner" in refused.value.read().decode()
    assert len(models.needed(scenes_served)) < 40  # of 500; that server had no others on its path


def test_a_champion_of_brake_coast_answers_with_what_evaluate_judged_and_its_page_says_so(tmp_path):
    data, item = Path("data/brake_coast"), RUNS[0]
    pack = tiny_drives.write_pack(data / "pack", {"train": 2, "val": 1, "test": 2}, frames=200)
    train = cells(train_tiny(pack, data / "train", (item,)))
    tracked("brake_coast", "train", item)
    told = reporting(bootstrap_replicates=100)
    evaluate.run(drives.section("evaluate"), data / "evaluate", pack=pack, train=train, reporting_params=told)
    tracked("brake_coast", "evaluate", None)
    client = store.client()
    assert not client.search_model_versions("name = 'brake_coast'"), "to be judged is no challenge yet"
    registry.enter("brake_coast", f"brake_coast-train@{item}", data / "train" / item)
    (version,) = client.search_model_versions("name = 'brake_coast'")
    registry.crown("brake_coast", version.version, "the only one")
    of_training = client.get_run(version.run_id).data
    assert of_training.tags["stage"] == f"brake_coast-train@{item}"
    assert 0 <= of_training.metrics["test/brake_1s/pr_auc"] <= 1 and of_training.tags["network"] == item
    assert f"| **{item}**" in of_training.tags["mlflow.note.content"]
    registry.score("brake_coast", version.version, "mean PR-AUC on 2 test drives", 0.25, (0.125, 0.5))
    registry.describe("brake_coast", version.version)
    said = client.get_model_version("brake_coast", version.version).description
    assert (
        said.startswith(f"{item}: 0.250 (95 %: 0.125 to 0.500), mean PR-AUC on 2 test drives") and "persistence" in said
    )
    assert of_training.tags[f"dvc.out.data/brake_coast/train/{item}"] in said
    asks = client.get_registered_model("brake_coast").description
    assert "mlflow models serve -m models:/brake_coast@champion" in asks and '"telemetry": (n, frames' in asks

    frames = windows.load(pack / "test.h5")
    of = windows_served.Served(str(data / "train" / item / "best.pt"))
    rows = windows.window_starts(frames.segment, frames.window_frames)[:40, None] + np.arange(frames.window_frames)
    request = {"telemetry": in_units(frames.telemetry[rows], of), "boxes": frames.detections[rows][..., :5]}
    theirs = pd.read_csv(data / "evaluate/predictions/test-0.csv")[:40]
    with serving("brake_coast", tmp_path / "server") as url:
        ours = asked(url, request)
    for task in of.tasks:
        np.testing.assert_allclose(ours[task], theirs[f"{item}/{task}"], atol=2e-6, err_msg=task)
    modules = loaded_alone("brake_coast", tmp_path / "alone")
    assert len(modules) < 40 and not any("train.py" in name for name in modules)
    needed = (tmp_path / "alone/requirements.txt").read_text()
    assert "torch==" in needed and not any(name in needed for name in ("trainyard", "prefect", "ultralytics"))
    example = json.loads((tmp_path / "alone/serving_input_example.json").read_text())
    assert example["inputs"].keys() == request.keys()
