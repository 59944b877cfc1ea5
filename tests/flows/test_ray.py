"""The same line on this machine and on a Ray cluster of two nodes, which are killed, joined and left alone."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from flows import environment, slots
from tasks.yard.files import folder_hash
from tasks.yard.stage import Stage
from tests.flows.conftest import ROOT, Yard, copied, make_yard
from tests.flows.waiting import wait_until
from tests.tasks.brake_coast.tiny_pack import write_pack
from tests.tasks.yard.forked import in_two_processes
from tests.tasks.yard.shared import machine
from tests.tasks.yard.training import test_devices

NUMBERS = {f"n{number:02}": str(number) for number in range(12)}
EVERY = [*NUMBERS, "one", "two", "three", "bad"]
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}
DIES = """import os

def number(text: str) -> int:
    if text in ("killed", "crashed"):
        os.kill(os.getpid(), 9 if text == "killed" else 11)
    return int(text)
"""


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator:
    """Ray's own start fails now and then on a busy machine, and its workers stand back for all others there."""
    os.environ |= {"RAY_worker_niceness": "0", "RAY_raylet_start_wait_time_s": "120"}
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed: requirements/cluster.in")
    for left in reversed(range(4)):
        try:
            head = {**NODE, "num_gpus": 1, "ray_client_server_port": environment.free_port()}
            cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
            cluster.client = f"ray://127.0.0.1:{head['ray_client_server_port']}"
            break
        except Exception:
            if not left:
                pytest.skip("Ray did not start in four tries: the machine is too busy for it")
            time.sleep(2)
    cluster.add_node(**NODE)
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Yard:
    """A yard whose first step ran on this machine's processes."""
    yard = make_yard(tmp_path_factory.mktemp("here") / "yard")
    for name, text in NUMBERS.items():
        yard.add_number(name, text)
    assert yard.call("python", "-m", "tasks", "toy-collect").returncode == 0
    return yard


def fresh(yard: Yard, root: Path, *, gates: bool = False) -> Yard:
    """A copy in which nothing has been made."""
    copy = copied(yard, root)
    shutil.rmtree(copy.root / "data")
    if gates:
        copy.edit("params.yaml", "gates: null", f"gates: {copy.gates()}")
    return copy


def at_work(yard: Yard) -> list[psutil.Process]:
    """The workers of nodes that have a recording of this yard in their hands."""
    found = []
    for process in psutil.process_iter(["name", "cwd"]):
        if process.info["cwd"] == str(yard.root) and process.info["name"].startswith("ray::"):
            found.append(process)
    return found


def on_ray(yard: Yard, address: str, *command: str):
    run = yard.start(*(command or ("python", "-m", "tasks", "toy-collect")), TRAINYARD_RAY=address)
    started.append(run)
    return run


started: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def _nobody_is_left_behind() -> Iterator[None]:
    """A run that waits at its gates holds the nodes of all other tests."""
    yield
    for run in started:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
    started.clear()


def done(yard: Yard) -> int:
    return len(list(yard.root.glob("data/toy/collect/*/.done.json")))


def let_through(yard: Yard, count: int) -> None:
    """So many recordings at least: those that workers wait with, whichever Ray has handed out first."""

    def enough() -> bool:
        if (there := done(yard)) < count:
            yard.gates(*(path.stem for path in yard.root.glob("data/toy/collect/*.part")))
        return there >= count

    wait_until(enough, f"{count} recordings")


def collected(yard: Yard) -> dict[str, bytes]:
    return {name: content for name, content in yard.outputs().items() if name.startswith("toy/collect/")}


def made_of(yard: Yard) -> dict[str, bytes]:
    """Without the fingerprints, of which code is a part."""
    return {name: content for name, content in collected(yard).items() if not name.endswith(".done.json")}


def test_a_node_and_a_worker_killed_half_way_a_node_that_joins_and_not_a_byte_differs(ray_cluster, here, tmp_path):
    yard = fresh(here, tmp_path / "yard", gates=True)
    run = on_ray(yard, ray_cluster.address)
    wait_until(lambda: len(at_work(yard)) == 2, "both nodes at work")
    let_through(yard, 3)
    wait_until(lambda: len(at_work(yard)) == 2, "both nodes at work again")
    ray_cluster.remove_node(ray_cluster.list_all_nodes()[-1], allow_graceful=False)
    wait_until(lambda: len(at_work(yard)) == 1, "one node at work")
    before = at_work(yard)
    before[0].send_signal(signal.SIGKILL)
    wait_until(lambda: len(now := at_work(yard)) == 1 and now != before, "a new worker")
    ray_cluster.add_node(**NODE)
    wait_until(lambda: len(at_work(yard)) == 2, "the node that joined at work")
    yard.gates(*EVERY)
    _, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    assert collected(yard) == collected(here) and len(collected(here)) > 2 * len(NUMBERS)
    # Whose worker went with its node hears of either, whichever Ray notices first.
    assert err.count("its node was lost (") + err.count("its worker died (") >= 2, err
    assert f"work goes to Ray at {ray_cluster.address}: 2 nodes, 2 CPUs, 1 GPUs" in err and "(raylet)" not in err
    assert not list((yard.root / ".trainyard").glob("ray-*"))


def test_a_node_that_has_just_ended_and_is_still_listed_is_done_without(ray_cluster, here, tmp_path):
    yard = fresh(here, tmp_path / "yard")
    ray_cluster.remove_node(ray_cluster.add_node(**NODE), allow_graceful=False)
    run = on_ray(yard, ray_cluster.address)
    _, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    assert collected(yard) == collected(here)


def test_who_always_kills_its_worker_is_named_as_it_is_without_ray_and_the_others_are_done(ray_cluster, here, tmp_path):
    said = {}
    for place in ("here", "ray"):
        yard = fresh(here, tmp_path / place)
        (yard.root / "tasks/toy/reading.py").write_text(DIES)
        yard.add_number("n03", "killed")
        yard.add_number("n05", "crashed")
        run = on_ray(yard, ray_cluster.address if place == "ray" else "")
        _, err = run.communicate(timeout=120)
        told = re.findall(r"error: .*", err)  # wherever the progress bar has left the line
        assert run.returncode == 1 and told, err
        said[place] = told, collected(yard)
    assert "1 of 16 recordings failed, first n03: its worker process was killed, most" in said["ray"][0][0]
    assert b"n05: its worker process was ended by SIGSEGV" in said["ray"][1]["toy/collect/quarantine.json"]
    assert said["ray"] == said["here"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_ends_leaves_no_worker_at_work_and_is_taken_up_again(ray_cluster, here, tmp_path, number):
    yard = fresh(here, tmp_path / "yard", gates=True)
    run = on_ray(yard, ray_cluster.address)
    let_through(yard, 3)
    wait_until(lambda: len(at_work(yard)) == 2, "both nodes at work")
    kept = done(yard)
    os.killpg(run.pid, number)
    _, err = run.communicate(timeout=60)
    wait_until(lambda: not at_work(yard), "no worker left", seconds=20)
    if number == signal.SIGINT:
        assert err.splitlines()[-1] == "stopped; what is finished is kept, run again to continue"
        assert "Traceback" not in err
    yard.gates(*EVERY)
    again = on_ray(yard, ray_cluster.address)
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0 and f"{kept} of 16 recordings unchanged and kept" in err
    assert collected(yard) == collected(here)


def test_a_flow_on_ray_in_blocks_makes_the_same_bytes_and_says_where_work_runs(ray_cluster, finished_yard, new_yard):
    new_yard.edit("tasks/yard/workers.py", "BLOCKS = 1000", "BLOCKS = 3")
    run = on_ray(new_yard, ray_cluster.address, "python", "-m", "flows", "run", "toy")
    _, err = run.communicate(timeout=240)
    assert run.returncode == 0, err
    assert f"work goes to Ray at {ray_cluster.address}" in err
    assert "Task run 'toy-collect bad to one' - Finished in state Quarantined(\"bad.txt: 'four' is not a whole" in err
    kept = [{k: v for k, v in y.outputs().items() if k.startswith("toy/")} for y in (new_yard, finished_yard)]
    assert kept[0] == kept[1]
    status = on_ray(new_yard, ray_cluster.address, "python", "-m", "flows", "status", "toy").communicate()[0]
    assert f"work over recordings goes to Ray: {ray_cluster.address} answers" in status


def test_by_a_ray_address_the_recordings_of_a_stage_that_wants_the_device_go_to_gpus(ray_cluster, here, tmp_path):
    """One at a time on this machine, as many as there are GPUs in the cluster. Ray believes who counts them."""
    yard = fresh(here, tmp_path / "yard")
    yard.edit("tasks/toy/collect.py", "accept=accept)", "accept=accept, parallel=False)")
    yard.edit("dvc.yaml", "meta: {network: true}", "meta: {network: true, device: true}")
    yard.edit(
        "tasks/toy/collect.py", "value = number", "print(os.environ['CUDA_VISIBLE_DEVICES'])\n        value = number"
    )
    yard.edit("tasks/toy/collect.py", "import time", "import os\nimport time")
    run = on_ray(yard, ray_cluster.client)
    _, err = run.communicate(timeout=240)
    assert run.returncode == 0, err
    assert f"work goes to the GPUs of Ray at {ray_cluster.client}" in err
    assert made_of(yard) == made_of(here)


def test_who_kills_its_worker_on_a_gpu_twice_costs_itself_alone(ray_cluster, here, tmp_path):
    yard = fresh(here, tmp_path / "yard")
    yard.edit("tasks/toy/collect.py", "accept=accept)", "accept=accept, parallel=False)")
    yard.edit("dvc.yaml", "meta: {network: true}", "meta: {network: true, device: true}")
    (yard.root / "tasks/toy/reading.py").write_text(DIES)
    yard.add_number("n05", "crashed")
    run = on_ray(yard, ray_cluster.address)
    _, err = run.communicate(timeout=240)
    assert run.returncode == 0, err
    assert "quarantined n05: n05: its worker process on a GPU ended twice" in err
    assert done(yard) == done(here) - 1


def test_without_a_common_disk_recordings_are_sent_and_what_is_made_of_them_comes_back(ray_cluster, here, tmp_path):
    """The driver's checkout is on a disk that it alone has mounted. Whoever does not say what it needs stays there, and
    so does what went wrong elsewhere: its files may not all have been sent."""
    yard = fresh(here, tmp_path / "yard")
    yard.edit("tasks/toy/collect.py", "accept=accept)", "accept=accept, needs=list_of)")
    yard.edit("tasks/toy/collect.py", "def run(", "def list_of(path):\n    return [path]\n\n\ndef run(")
    hidden, out = tmp_path / "hidden", tmp_path / "out"
    hidden.mkdir()
    said = {}
    room = "tasks"  # of the copy: this checkout has no stage of that name
    for kind, word in (("sent", ", needs=list_of"), ("stays", "")):
        own = (
            f"mount -t tmpfs none {hidden} && cp -r {yard.root}/. {hidden} && cd {hidden} && export PYTHONPATH={hidden}"
        )
        work = f"python -m {room} toy-collect; code=$?; cp -r data/toy/collect {out}-{kind}; exit $code"
        run = yard.start("unshare", "--mount", "sh", "-c", f"{own} && {work}", TRAINYARD_RAY=ray_cluster.address)
        _, said[kind] = run.communicate(timeout=240)
        if "unshare failed" in said[kind] or "mount:" in said[kind]:
            pytest.skip("no mount namespaces for this user")
        assert run.returncode == 0, said[kind]
        made = Yard(tmp_path / f"made-{kind}")
        shutil.copytree(f"{out}-{kind}", made.root / "data/toy/collect")
        assert made_of(made) == made_of(here)
        if word:
            yard.edit("tasks/toy/collect.py", word, "")
    assert "no disk in common with" in said["sent"] and "recordings are sent" in said["sent"]
    assert re.findall(r"(\w+): not made there", said["sent"]) == ["bad"]
    assert "work goes" not in said["stays"] and "this work cannot be sent: it stays here" in said["stays"]


def test_an_address_that_does_not_answer_is_one_sentence_and_nothing_is_run(bare_yard):
    pytest.importorskip("ray")
    checked = on_ray(bare_yard, "127.0.0.1:1", "python", "-m", "flows", "check", "toy")
    out, _ = checked.communicate(timeout=60)
    assert checked.returncode == 2
    assert "error: TRAINYARD_RAY=127.0.0.1:1: 127.0.0.1:1 does not answer" in out
    run = on_ray(bare_yard, "127.0.0.1:1")
    _, err = run.communicate(timeout=60)
    assert run.returncode == 1 and err.splitlines()[-1].startswith("error: TRAINYARD_RAY=127.0.0.1:1: ")
    assert "Traceback" not in err


def test_without_the_variable_ray_is_not_even_imported(bare_yard):
    (bare_yard.root / "ray.py").write_text("raise SystemExit('ray was imported')")
    assert bare_yard.call("python", "-m", "tasks", "toy-collect").returncode == 0
    seen = on_ray(bare_yard, "127.0.0.1:1", "python", "-c", "from tasks.yard import cluster")
    assert "ray was imported" in seen.communicate()[1]


SEARCH = """
import logging, sys
from functools import partial
from pathlib import Path
from tests.tasks.yard.tuning import test_turns as t
logging.basicConfig(level=logging.INFO)
t.search(Path(sys.argv[1]), partial(t.unsteady, seed=int(sys.argv[2])), at_once=3)
"""


def searching(out: Path, seed: int, address: str) -> subprocess.Popen:
    run = Yard(ROOT).start("python", "-c", SEARCH, str(out), str(seed), TRAINYARD_RAY=address)
    started.append(run)
    return run


def test_the_trials_of_a_search_go_to_nodes_also_from_a_driver_that_was_killed(ray_cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINYARD_RAY", ray_cluster.address)
    tune = Stage("l-tune", "l", "tune", None, {"params": ["l.tune", "yard.machine"]})
    assert slots.wanted(tune, {"tune": {"trials": 9, "at_once": 3}}, machine(accelerator="cpu")) == 1
    found = {}
    for place in ("", ray_cluster.address):
        out = tmp_path / (place and "ray")
        if place:
            run = searching(out, 1, place)
            wait_until(lambda out=out: len(list(out.glob("runs/*/trial.json"))) > 3, "four trials")
            run.kill()
            run.communicate()
        _, err = (run := searching(out, 2, place)).communicate(timeout=240)
        assert run.returncode == 0, err
        assert (f"trials go to Ray at {place}" in err) == bool(place)
        found[place] = {file.relative_to(out): file.read_bytes() for file in out.rglob("*") if file.is_file()}
        shutil.rmtree(out)
    assert found[""] == found[ray_cluster.address] and len(found[""]) > 40


TRAIN = """
import logging, sys
from pathlib import Path
from tasks.yard.step import Context
from tests.tasks.yard.training.test_devices import STEP, Bar
logging.basicConfig(level=logging.INFO)

class Begun(Bar):
    def __init__(self, **values):
        logging.info("begins with step %d", values["initial"])

STEP(Path(sys.argv[1]), Context(progress=Begun), pack=Path(sys.argv[2]))
"""


def test_a_training_shared_by_nodes_loses_a_process_and_its_driver_and_ends_with_the_bytes_of_torchrun(
    ray_cluster, tmp_path
):
    """Two devices, of which this machine has one."""
    pack, out, alone = tmp_path / "pack", tmp_path / "out", Yard(ROOT)
    before = {*(ROOT / ".trainyard").glob("training-*")}
    write_pack(pack, {"train": 3, "val": 2}, frames=200)
    in_two_processes(test_devices.STEP, tmp_path / "hand", pack=pack)

    def places() -> list[psutil.Process]:
        return [process for process in at_work(alone) if "in_checkout" in process.name()]

    def training() -> subprocess.Popen:
        command = ("taskset", "-c", "0", "python", "-c", TRAIN, str(out), str(pack))
        started.append(alone.start(*command, TRAINYARD_RAY=ray_cluster.address))
        return started[-1]

    run = training()
    wait_until(lambda: (out / "last.pt").exists() or run.poll() is not None, "a checkpoint")
    first = places()
    assert len(first) == 2, run.communicate()[1]
    first[0].kill()
    killed_at = time.time()  # 3 s later at the earliest, when nobody of the first is left, others begin
    wait_until(lambda: (out / "last.pt").stat().st_mtime > killed_at + 3 or run.poll() is not None, "a later one")
    os.killpg(run.pid, signal.SIGKILL)
    _, err = run.communicate()
    assert "was lost (WorkerCrashedError); the training goes on from its last checkpoint" in err
    wait_until(lambda: not places(), "no worker left")
    _, err = (again := training()).communicate(timeout=240)
    assert re.search(r"begins with step [1-9]", err), err
    assert again.returncode == 0 and f"goes to 2 CPUs of Ray at {ray_cluster.address}" in err, err
    assert folder_hash(out) == folder_hash(tmp_path / "hand")
    assert {*(ROOT / ".trainyard").glob("training-*")} <= before


def test_an_item_of_a_matrix_goes_to_a_node_and_its_run_is_as_without(ray_cluster, here, tmp_path):
    """Its log comes back, and so does an error; what reads a file outside the checkout stays."""
    yard = copied(here, tmp_path / "yard")
    noted = "    logging.getLogger(__name__).info('by %s', open('/proc/self/comm').read())\n    score = int("
    yard.edit("tasks/toy/judge.py", "    score = int(", noted)
    yard.edit("tasks/toy/judge.py", "import json\n", "import json\nimport logging\n")
    judge = ("python", "-m", "tasks", "toy-judge@1")
    made = {}
    for place, name in (("", "python"), (ray_cluster.address, "ray::")):
        for stage in ("toy-square", "toy-judge@1"):
            run = on_ray(yard, place, "python", "-m", "tasks", stage)
            out, err = run.communicate(timeout=240)
            assert run.returncode == 0, err
        assert f"by {name}" in err and (f"toy-judge@1 goes to Ray at {place}" in err) == bool(place)
        made[place] = yard.outputs(), [line for line in out.splitlines() if line.startswith("score")]
        shutil.rmtree(yard.root / "data/toy/judge")
    assert made[""] == made[ray_cluster.address] and made[""][1]
    with closing(sqlite3.connect(yard.root / "mlflow.db")) as database:
        runs = database.execute("select count(*) from runs where name = 'judge@1' and status = 'FINISHED'").fetchone()
        curves = database.execute(
            "select run_uuid, count(*) from metrics where key = 'curve/loss' group by 1"
        ).fetchall()
    assert runs == (2,) and [count for _, count in curves] == [3, 3]
    yard.edit("tasks/toy/judge.py", "    score = int(", "    assert not square, 'broken there'\n    score = int(")
    broken = on_ray(yard, ray_cluster.address, *judge)
    _, err = broken.communicate(timeout=120)
    assert broken.returncode == 1 and "AssertionError: broken there" in err and "on its node: Traceback" in err
    (tmp_path / "weights").write_text("5")
    yard.edit("params.yaml", "weights: null", f"weights: {tmp_path / 'weights'}")
    yard.edit("tasks/toy/judge.py", "    assert not square, 'broken there'\n", "")
    _, err = on_ray(yard, ray_cluster.address, *judge).communicate(timeout=120)
    assert "by python" in err and "goes to Ray" not in err
