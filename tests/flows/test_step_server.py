"""The server of steps that is forked from the command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from flows import step_server
from tests.flows.waiting import wait_until

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not step_server.POSSIBLE, reason="here each run starts a server of its own")

STEP = """
import os, sys
def step(to):
    to.send((getattr(sys, "loaded", None), "colorsys" in sys.modules, os.environ.get("TOLD")))
"""
COMMAND = """
import os, sys, threading
from flows import step_server
from tasks.yard.workers import fork_server
import step
if __name__ == "__main__":
    sys.loaded = "once"
    held, other = os.pipe()
    if "thread" in sys.argv:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    step_server.fork()
    os.close(other)
    print("closed", os.read(held, 1), flush=True)
    if "waits" in sys.argv:
        print(step_server._waiting.pid, flush=True)
        threading.Event().wait()
    os.environ["TOLD"] = "later"
    step_server.start(["colorsys"])
    ours, theirs = fork_server.Pipe()
    process = fork_server.Process(target=step.step, args=[theirs])
    process.start()
    theirs.close()
    print(*ours.recv())
    process.join()
"""


def command(folder: Path, *words: str) -> subprocess.Popen:
    (folder / "step.py").write_text(STEP)
    (folder / "command.py").write_text(COMMAND)
    return subprocess.Popen(
        [sys.executable, str(folder / "command.py"), *words], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={"PYTHONPATH": f"{ROOT}:{folder}", "PATH": ""},
    )  # fmt: skip


def ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_step_finds_loaded_what_the_command_has_loaded_and_holds_none_of_its_files(tmp_path):
    """Had the waiting server kept the end of the pipe that the command closes, the command would read for ever."""
    out, err = command(tmp_path).communicate(timeout=60)
    assert (out, err) == ("closed b''\nonce True None\n", "")  # the environment of then: a step gets its own


def test_where_a_thread_runs_the_server_is_one_of_its_own(tmp_path):
    out, err = command(tmp_path, "thread").communicate(timeout=60)
    assert (out, err) == ("closed b''\nNone True later\n", "")


def test_it_does_not_outlive_a_command_that_is_killed_before_it_says_what_to_load(tmp_path):
    run = command(tmp_path, "waits")
    assert run.stdout and run.stdout.readline() == "closed b''\n"
    waiting = int(run.stdout.readline())
    assert psutil.Process(waiting).status() != psutil.STATUS_ZOMBIE
    run.kill()
    run.communicate()
    wait_until(lambda: ended(waiting), "nobody left")
