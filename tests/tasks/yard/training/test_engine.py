from __future__ import annotations

import json
import signal

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, CosineAnnealingWarmRestarts, MultiStepLR, StepLR

from tasks.yard.files import folder_hash
from tasks.yard.step import BadInput
from tasks.yard.training import checkpoint, optimizers
from tasks.yard.training.accelerator import cpu_has_bf16
from tasks.yard.training.engine import Diverged
from tasks.yard.training.schedule import share_of_peak
from tasks.yard.training.sections import Optimizer
from tests.tasks.yard.forked import code_of_two, forked, in_two_processes
from tests.tasks.yard.training.toy_job import OPTIMIZER, ROWS, fit

pytestmark = pytest.mark.slow

STEPS = 24  # 4 epochs of 6


def same(a, b) -> bool:
    """Bit for bit, through dicts and lists."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_a_killed_run_ends_with_the_bits_of_an_uninterrupted_one(tmp_path):
    """On both sides of the border where the model's body begins to move: step 12."""
    settings = {"ema_decay": 0.9, "accumulate": 2, "schedule": "plateau", "kind": "amsgrad", "norm": True, "still": 2}
    fit(tmp_path / "whole", **settings)
    # Two micro-batches a step: killed in step 8 with the last checkpoint at step 6, and in step 16 right after one.
    killed = {"epoch": {"kill_at": 17}, "step": {"kill_at": 33, "checkpoint_every_s": 0}}
    for name, kill in killed.items():
        process = forked(fit, tmp_path / name, **settings, **kill)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        left = json.loads((tmp_path / name / "last.json").read_text())
        assert (left["epoch"], left["batch"]) == {"epoch": (1, 0), "step": (2, 4)}[name]
        fit(tmp_path / name, **settings)
        for kind in ("last", "best"):
            whole, resumed = (torch.load(tmp_path / run / f"{kind}.pt", weights_only=True) for run in ("whole", name))
            assert same(whole, resumed)
            assert (tmp_path / "whole" / f"{kind}.pt").read_bytes() == (tmp_path / name / f"{kind}.pt").read_bytes()
            assert (tmp_path / "whole" / f"{kind}.json").read_bytes() == (tmp_path / name / f"{kind}.json").read_bytes()
        assert (tmp_path / "whole" / "history.jsonl").read_bytes() == (tmp_path / name / "history.jsonl").read_bytes()


@pytest.mark.parametrize(
    "settings",
    [
        {"norm": True, "still": 2},  # batch norm and the border of what stands still included
        # The second step of an epoch has one row, so that a process has none. A step of sgd is as long as its gradient.
        {"batch": ROWS - 1, "kind": "sgd", "learning_rate": 0.3, "clip_norm": None},
    ],
    ids=["norm", "no row left"],
)
def test_two_processes_take_the_steps_of_one(tmp_path, settings):
    alone = fit(tmp_path / "alone", dropout=0.0, **settings)
    in_two_processes(fit, tmp_path / "both", dropout=0.0, **settings)
    both = [json.loads(line) for line in (tmp_path / "both" / "history.jsonl").read_text().splitlines()]
    for a, b in zip(alone, both, strict=True):
        assert b["train"] == pytest.approx(a["train"], rel=1e-5)
        assert b["val"] == pytest.approx(a["val"], rel=1e-5)


def test_two_processes_killed_within_an_epoch_end_with_the_bits_of_an_uninterrupted_run(tmp_path):
    """Each has seen rows of its own when the checkpoint is made."""
    settings = {"batch": 2, "checkpoint_every_s": 0.0, "epochs": 2}
    in_two_processes(fit, tmp_path / "whole", **settings)
    assert code_of_two(fit, tmp_path / "killed", kill_at=ROWS // 2 + 20, **settings) != 0
    assert json.loads((tmp_path / "killed/last.json").read_text())["batch"] == 16
    in_two_processes(fit, tmp_path / "killed", **settings)
    assert folder_hash(tmp_path / "killed") == folder_hash(tmp_path / "whole")


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


def test_an_equal_score_does_not_replace_the_best(tmp_path):
    scores = [0.1, 0.5, 0.5, 0.5, 0.5]
    history = fit(tmp_path, epochs=5, patience=2, score=lambda epoch: scores[epoch])
    assert [row["best"] for row in history] == [True, True, False, False]
    assert torch.load(tmp_path / "best.pt", weights_only=True)["epoch"] == 1


def test_an_epoch_that_nobody_could_judge_does_not_replace_the_best(tmp_path):
    scores = [None, 0.5, None, 0.2, 0.6]
    history = fit(tmp_path, epochs=5, score=lambda epoch: scores[epoch])
    assert [row["best"] for row in history] == [True, True, False, False, True]
    never = fit(tmp_path / "never", epochs=3, score=lambda epoch: None)
    assert all(row["best"] for row in never), "where validation can never tell, the newest is kept"


def test_a_score_that_is_not_finite_ends_the_training_and_is_named(tmp_path):
    with pytest.raises(Diverged, match=r"epoch 2: on validation .*score not finite"):
        fit(tmp_path, epochs=4, score=lambda epoch: 0.5 if epoch == 0 else float("nan"))


def test_the_rate_is_cut_after_each_patience_of_epochs_without_a_better_score(tmp_path):
    """The rates at the ends of epochs: the cut after epoch 3 is seen in epoch 4, and two epochs later the next."""
    scores = [1, 2, 1, 1, 1, 1, 1, 1, 3, 1]
    plateau = {"schedule": "plateau", "plateau_patience": 2, "warmup_steps": 0, "epochs": len(scores)}
    score = {"score": lambda epoch: scores[epoch], "learning_rate": 0.01}
    history = fit(tmp_path / "whole", **plateau, **score)
    rates = [row["learning_rate"] / 0.01 for row in history]
    assert rates == pytest.approx([1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125])
    fit(tmp_path / "pieces", until=5, **plateau, **score)
    score["score"] = lambda epoch: scores[5 + epoch]
    assert fit(tmp_path / "pieces", **plateau, **score) == history


def test_averaged_weights_follow_the_latest_by_what_the_decay_leaves(tmp_path):
    average = None
    for epoch in range(3):  # of one step each
        fit(tmp_path, batch=ROWS, epochs=3, ema_decay=0.9, until=epoch + 1)
        state = torch.load(tmp_path / "last.pt", weights_only=True)
        for name, latest in state["model"].items() if average else ():
            expected = 0.9 * average[name] + 0.1 * latest
            torch.testing.assert_close(state["average"][name], expected, rtol=1e-5, atol=1e-7)
        average = state["average"]


def test_averaged_weights_are_the_ones_kept(tmp_path):
    fit(tmp_path, epochs=1, ema_decay=0.99)
    last, best = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("last", "best"))
    assert same(best["model"], last["average"]) and not same(best["model"], last["model"])


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_it_learns(tmp_path, precision):
    if precision == "bf16" and not cpu_has_bf16():
        with pytest.raises(BadInput, match="its CPU no bf16; set it to '32'"):
            fit(tmp_path, epochs=1, precision=precision)
        return
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
        return share_of_peak(params, step, done * 10, 10, cuts)

    assert [at("constant", step, 0.0) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert [at("cosine", 100, done) for done in (0.0, 0.5, 1.0)] == pytest.approx([1, 0.55, 0.1])
    assert [at("plateau", 100, 0.5, cuts) for cuts in (0, 1, 2, 9)] == [1, 0.5, 0.25, 0.1]
    assert [at("one_cycle", 0, done) for done in (0.0, 0.3, 1.0)] == pytest.approx([0.04, 1, 1e-5])


@pytest.mark.parametrize(
    ("settings", "torchs"),
    [
        ({"schedule": "step", "step_epochs": 20}, lambda o: StepLR(o, 20, 0.1)),
        ({"schedule": "step", "step_epochs": [5, 6, 9], "step_factor": 0.3}, lambda o: MultiStepLR(o, [5, 6, 9], 0.3)),
        (
            {"schedule": "cosine_restarts", "restart_epochs": 7, "final_share": 0.01},
            lambda o: CosineAnnealingWarmRestarts(o, 7, eta_min=0.01),
        ),
        ({"schedule": "cosine", "final_share": 0.01}, lambda o: CosineAnnealingLR(o, 50, eta_min=0.01)),
    ],
)
def test_the_learning_rate_of_every_epoch_is_that_of_torchs_scheduler(settings, torchs):
    params = Optimizer(**{**OPTIMIZER, "warmup_steps": 0, **settings})
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, rates = torchs(optimizer), []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert [share_of_peak(params, 0, epoch, 50, 0) for epoch in range(50)] == pytest.approx(rates)


OPTIMIZERS = [
    {"kind": "adam"},
    {"kind": "amsgrad", "beta2": 0.9},
    {"kind": "sgd", "learning_rate": 0.1, "nesterov": True},
    {"kind": "sgd", "learning_rate": 0.3, "momentum": 0.0},
]


@pytest.mark.parametrize("settings", OPTIMIZERS)
def test_every_optimizer_learns_and_resumes(tmp_path, settings):
    settings = {"learning_rate": 0.03, **settings}
    history = fit(tmp_path / "whole", epochs=12, **settings)
    assert history[-1]["val"]["loss"] < 0.3 < history[0]["val"]["loss"]
    fit(tmp_path / "pieces", epochs=12, until=5, **settings)
    assert fit(tmp_path / "pieces", epochs=12, **settings) == history
    whole, resumed = (torch.load(tmp_path / run / "last.pt", weights_only=True) for run in ("whole", "pieces"))
    assert same(whole, resumed)


def test_each_kind_takes_the_steps_that_torch_takes():
    def weights(make) -> torch.Tensor:
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 3, bias=False)
        optimizer = make(layer)
        for _ in range(3):
            optimizer.zero_grad()
            layer(torch.ones(2, 3)).square().sum().backward()
            optimizer.step()
        return layer.weight.detach()

    common = {"learning_rate": 0.02, "weight_decay": 0.1, "momentum": 0.8, "beta2": 0.95}
    for kind, torchs in {
        "adam": lambda p: torch.optim.Adam(p, lr=0.02, weight_decay=0.1, betas=(0.8, 0.95)),
        "amsgrad": lambda p: torch.optim.Adam(p, lr=0.02, weight_decay=0.1, betas=(0.8, 0.95), amsgrad=True),
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.1, betas=(0.8, 0.95)),
        "sgd": lambda p: torch.optim.SGD(p, lr=0.02, weight_decay=0.1, momentum=0.8, nesterov=True),
    }.items():
        params = Optimizer(**{**OPTIMIZER, **common, "kind": kind, "nesterov": kind == "sgd"})
        ours = weights(lambda layer, params=params: optimizers.build(params, layer, fused=True, graphed=False))
        torch.testing.assert_close(
            ours, weights(lambda layer, torchs=torchs: torchs(layer.parameters())), rtol=1e-5, atol=1e-6
        )


def test_a_bad_first_step_leaves_momentum_as_it_was(tmp_path):
    clean = fit(tmp_path / "clean", kind="sgd", epochs=1, max_bad_steps=9)
    fit(tmp_path / "bad", kind="sgd", epochs=1, max_bad_steps=9, bad_from=0, bad_until=2)
    weights = torch.load(tmp_path / "bad" / "last.pt", weights_only=True)["model"]
    assert clean and all(value.isfinite().all() and value.abs().max() < 10 for value in weights.values())


def moved(a: dict, b: dict) -> set[str]:
    """Which tensors of two states differ, by the number of the layer."""
    return {name.split(".")[0] for name in a if not torch.equal(a[name], b[name])}


def test_what_stands_still_keeps_weights_and_statistics_until_it_may_move(tmp_path):
    states = []
    for epochs in (1, 2, 3, 4):
        fit(tmp_path, norm=True, still=2, until=epochs, ema_decay=0.5)
        states.append(torch.load(tmp_path / "last.pt", weights_only=True))
    first, second, third, fourth = (state["model"] for state in states)
    assert moved(first, second) == {"3"} and moved(second, third) == moved(third, fourth) == {"0", "3"}
    average = states[0]["average"]
    assert torch.equal(average["0.1.running_var"], torch.ones(32)) and average["0.1.num_batches_tracked"] == 0
    after = states[3]["average"]
    assert not torch.equal(after["0.1.running_var"], torch.ones(32)) and after["0.1.num_batches_tracked"] == STEPS // 2


def test_what_stands_still_for_ever_is_as_it_came(tmp_path):
    fit(tmp_path / "one", norm=True, still="ever", until=1)
    fit(tmp_path / "all", norm=True, still="ever")
    first, last = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("one", "all"))
    assert moved(first["model"], last["model"]) == {"3"} and last["model"]["0.1.num_batches_tracked"] == 0
    assert len(last["optimizer"]["state"]) == 2  # the head's weight and bias


def test_epochs_that_are_not_judged_are_not_kept_but_the_last_one_is_judged(tmp_path):
    history = fit(tmp_path, epochs=5, evaluate_every=2, patience=1)
    assert [bool(row["val"]) for row in history] == [False, True, False, True, True]
    assert not history[0]["best"] and history[1]["best"]
    kept = [row["epoch"] for row in history if row["best"]][-1]
    assert torch.load(tmp_path / "best.pt", weights_only=True)["epoch"] == kept


def test_a_file_that_is_no_checkpoint_is_named(tmp_path):
    (tmp_path / "best.pt").write_text("hello")
    with pytest.raises(ValueError, match=r"best\.pt: not a checkpoint"):
        checkpoint.load(tmp_path / "best.pt")
