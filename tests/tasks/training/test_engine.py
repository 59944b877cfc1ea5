from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
import torch

from tasks.training import checkpoint
from tasks.training.engine import Diverged
from tasks.training.schedule import share_of_peak
from tasks.training.sections import Optimizer
from tests.tasks.training.toy_job import OPTIMIZER, fit

STEPS = 24  # 4 epochs of 6


def child(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", *arguments], stderr=subprocess.PIPE, text=True)


def same(a, b) -> bool:
    """Bit for bit, through dicts and lists."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_a_killed_run_ends_with_the_bits_of_an_uninterrupted_one(tmp_path):
    settings = {"ema_decay": 0.9, "accumulate": 2, "schedule": "plateau"}
    fit(tmp_path / "whole", **settings)
    options = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    # Two micro-batches a step: killed in step 8 with the last checkpoint at step 6, and in step 16 right after one.
    killed = {"epoch": ["kill_at=17"], "step": ["kill_at=33", "checkpoint_every_s=0"]}
    toy = "tests.tasks.training.toy_job"
    children = {name: child(toy, str(tmp_path / name), *options, *kill) for name, kill in killed.items()}
    for name, process in children.items():
        assert process.wait(200) == -signal.SIGKILL, process.stderr.read()
        left = json.loads((tmp_path / name / "last.json").read_text())
        assert (left["epoch"], left["batch"]) == {"epoch": (1, 0), "step": (2, 4)}[name]
        fit(tmp_path / name, **settings)
        for kind in ("last", "best"):
            whole, resumed = (torch.load(tmp_path / run / f"{kind}.pt", weights_only=True) for run in ("whole", name))
            assert same(whole, resumed)
            assert (tmp_path / "whole" / f"{kind}.json").read_bytes() == (tmp_path / name / f"{kind}.json").read_bytes()
        assert (tmp_path / "whole" / "history.jsonl").read_bytes() == (tmp_path / name / "history.jsonl").read_bytes()


def test_two_processes_take_the_steps_of_one(tmp_path):
    alone = fit(tmp_path / "alone", dropout=0.0)
    torchrun = ["torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "tests.tasks.training.toy_job"]
    process = child(*torchrun, str(tmp_path / "both"), "dropout=0.0")
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    both = [json.loads(line) for line in (tmp_path / "both" / "history.jsonl").read_text().splitlines()]
    for a, b in zip(alone, both, strict=True):
        assert b["train"] == pytest.approx(a["train"], rel=1e-5)
        assert b["val"] == pytest.approx(a["val"], rel=1e-5)


def test_micro_batches_change_memory_not_the_result(tmp_path):
    whole, parts = (fit(tmp_path / str(n), dropout=0.0, accumulate=n) for n in (1, 3))
    for a, b in zip(whole, parts, strict=True):
        assert b["train"] == pytest.approx(a["train"], rel=1e-5)


def test_a_finished_run_is_left_as_it_is_and_other_data_start_over(tmp_path):
    first = fit(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert fit(tmp_path) == first
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    again = fit(tmp_path, fingerprint="other data", epochs=2)
    assert len(again) == 2 and json.loads((tmp_path / "last.json").read_text())["fingerprint"] == "other data"


def test_a_torn_checkpoint_is_not_resumed(tmp_path):
    whole = fit(tmp_path)
    (tmp_path / "last.pt").write_bytes((tmp_path / "last.pt").read_bytes()[:1000])
    assert fit(tmp_path) == whole


def test_nan_stops_training_and_names_the_loss_term(tmp_path):
    with pytest.raises(Diverged, match=r"step 10: .*right = nan; that is 3 steps in a row") as error:
        fit(tmp_path, bad_from=8)
    assert "left" not in str(error.value)
    weights = torch.load(tmp_path / "last.pt", weights_only=True)["model"]
    assert all(value.isfinite().all() for value in weights.values())


def test_early_stopping_keeps_the_best_epoch(tmp_path):
    scores = [0.1, 0.5, 0.4, 0.3, 0.9, 0.9]
    history = fit(tmp_path, epochs=6, patience=2, score=lambda epoch: scores[epoch])
    assert [row["best"] for row in history] == [True, True, False, False]
    best = torch.load(tmp_path / "best.pt", weights_only=True)
    assert best["epoch"] == 1 and best["config"] == {"width": 32}


def test_averaged_weights_are_the_ones_kept(tmp_path):
    fit(tmp_path, epochs=1, ema_decay=0.99)
    last, best = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("last", "best"))
    assert same(best["model"], last["average"]) and not same(best["model"], last["model"])


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_it_learns(tmp_path, precision):
    history = fit(tmp_path, epochs=12, precision=precision, learning_rate=0.03)
    assert history[-1]["val"]["loss"] < 0.25 < history[0]["val"]["loss"]
    assert (tmp_path / "curves.png").stat().st_size > 10_000


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["32", "bf16", "fp16"])
def test_it_learns_on_a_gpu(tmp_path, precision):
    history = fit(tmp_path, epochs=12, accelerator="cuda", precision=precision, learning_rate=0.03)
    assert history[-1]["val"]["loss"] < 0.25


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_graph_of_launches_takes_the_same_steps(tmp_path):
    settings = {"accelerator": "cuda", "epochs": 6, "ema_decay": 0.9}
    plain, graphed = (fit(tmp_path / str(graph), cuda_graph=graph, **settings) for graph in (False, True))
    for a, b in zip(plain, graphed, strict=True):
        assert b["train"] == pytest.approx(a["train"], rel=1e-4)
        assert b["val"] == pytest.approx(a["val"], rel=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_graph_leaves_a_bad_step_out(tmp_path):
    with pytest.raises(Diverged, match=r"right = nan"):
        fit(tmp_path, accelerator="cuda", cuda_graph=True, bad_from=0)


def test_the_learning_rate_follows_its_schedule():
    def at(schedule: str, step: int, done: float, cuts: int = 0) -> float:
        params = Optimizer(**{**OPTIMIZER, "schedule": schedule, "warmup_steps": 4, "final_share": 0.1})
        return share_of_peak(params, step, done, cuts)

    assert [at("constant", step, 0.0) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert [at("cosine", 100, done) for done in (0.0, 0.5, 1.0)] == pytest.approx([1, 0.55, 0.1])
    assert [at("plateau", 100, 0.5, cuts) for cuts in (0, 1, 2, 9)] == [1, 0.5, 0.25, 0.1]
    assert [at("one_cycle", 0, done) for done in (0.0, 0.3, 1.0)] == pytest.approx([0.04, 1, 1e-5])


def test_a_file_that_is_no_checkpoint_is_named(tmp_path):
    (tmp_path / "best.pt").write_text("hello")
    with pytest.raises(ValueError, match=r"best\.pt: not a checkpoint"):
        checkpoint.load(tmp_path / "best.pt")
