"""The submit script for SLURM, with a srun of our own that runs each task on this machine, and a Ray that notes."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.flows.waiting import wait_until

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "deploy/slurm/flows.sbatch"
STUBS = {
    "scontrol": "printf 'n1\\nn2\\nn3\\n'",
    # Options of srun up to the command; as many tasks as are asked for, each with the variables that SLURM sets.
    "srun": """
tasks=1
while [ "${1#--}" != "$1" ]; do case "$1" in --ntasks=*) tasks="${1#*=}";; esac; shift; done
for rank in $(seq 0 $((tasks - 1))); do SLURM_NTASKS=$tasks SLURM_PROCID=$rank "$@" & done
trap 'kill $(jobs -p)' TERM
wait""",
    "hostname": "echo 10.0.0.1 fe80::1",
    # As Ray's own: nobody is healthy before the head has started.
    "ray": """
[ "$1" != health-check ] || exec grep -q -- --head "$NOTES"
echo "ray $* NTASKS=${SLURM_NTASKS-none} TOKEN=${#RAY_AUTH_TOKEN} MODE=$RAY_AUTH_MODE" >> "$NOTES"
exec sleep 600""",
    # A run that ends once all three nodes are there: the script itself waits for the head alone.
    "python": """
[ "$1" = -m ] || exec PYTHON "$@"
until [ "$(grep -c "^ray start" "$NOTES")" = 3 ]; do sleep .1; done
[ -z "${LONG-}" ] || { sleep 600 & trap 'kill %1; echo told >> "$NOTES"; exit 130' TERM; }
echo "run $* RAY=$TRAINYARD_RAY NTASKS=${SLURM_NTASKS-none}" >> "$NOTES"
[ -z "${LONG-}" ] || wait
exit 3""",
}


def submitted(folder: Path, **more: str) -> subprocess.Popen:
    (folder / "bin").mkdir()
    for name, text in STUBS.items():
        file = folder / "bin" / name
        file.write_text(f"#!/bin/bash\n{text.strip().replace('PYTHON', sys.executable)}\n")
        file.chmod(0o755)
    given = {
        "SLURM_SUBMIT_DIR": str(folder), "SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "n[1-3]", "SLURM_NTASKS": "3",
        "SLURM_JOB_NUM_NODES": "3", "SLURM_CPUS_PER_TASK": "5", "NOTES": str(folder / "notes"),
        "TRAINYARD_PYTHON": str(folder / "bin/python"), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
    }  # fmt: skip
    command = ["bash", str(SCRIPT), "brake_coast", "--set", "brake_coast.tune.trials=4"]
    return subprocess.Popen(
        command, env={**os.environ, **given, **more}, start_new_session=True, stderr=subprocess.PIPE
    )


def at_work(group: int) -> list[psutil.Process]:
    """Of a job's processes, without those that nobody has waited for."""
    found = []
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(OSError):
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def notes(folder: Path) -> list[str]:
    file = folder / "notes"
    return file.read_text().splitlines() if file.exists() else []


def test_bash_reads_it():
    assert subprocess.run(["bash", "-n", str(SCRIPT)]).returncode == 0


@pytest.mark.slow
def test_a_job_starts_ray_on_each_node_and_the_run_whose_code_is_its_own(tmp_path):
    job = submitted(tmp_path)
    _, err = job.communicate(timeout=60)
    assert job.returncode == 3, err
    head = [line for line in notes(tmp_path) if "--head" in line]
    others = [line for line in notes(tmp_path) if "ray start --address" in line]
    (run,) = (line for line in notes(tmp_path) if line.startswith("run"))
    assert len(head) == 1 and "--node-ip-address=10.0.0.1 --port=20077 --num-cpus=5" in head[0]
    assert len(others) == 2 and all("--address=10.0.0.1:20077 --num-cpus=5" in line for line in others)
    assert all("NTASKS=none TOKEN=64 MODE=token" in line for line in (*head, *others))
    assert run == ("run -m flows run brake_coast --set brake_coast.tune.trials=4 RAY=10.0.0.1:20077 NTASKS=none")


@pytest.mark.slow
def test_a_job_whose_time_is_over_tells_the_run_and_leaves_nobody(tmp_path):
    job = submitted(tmp_path, LONG="yes")
    wait_until(lambda: sum(line.startswith(("run", "ray start")) for line in notes(tmp_path)) == 4, "all of it")
    job.send_signal(signal.SIGTERM)
    job.communicate(timeout=60)
    assert job.returncode == 130 and notes(tmp_path)[-1] == "told"
    wait_until(lambda: not at_work(job.pid), "nobody left")


def test_the_time_limit_reaches_the_script_itself():
    assert re.search(r"^#SBATCH --signal=B:TERM@\d+$", SCRIPT.read_text(), re.M)
