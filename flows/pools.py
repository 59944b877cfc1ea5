"""Prefect's work pools: `python -m flows deploy` registers prefect.yaml, `python -m flows worker` takes work.

    python -m flows deploy                 makes the pools that are not there, then `prefect deploy --all`
    python -m flows worker [--pool NAME]   on any machine with a clone; ends in seconds when it is told to

Both want PREFECT_API_URL. `prefect deploy --all` and `prefect worker start` do the same where the pool is there.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import yaml

from flows import check, clone, deployments
from tasks.yard.step import BadInput

if TYPE_CHECKING:
    from prefect.client.schemas.objects import WorkPool

POOL = "trainyard"
PACKAGES = {"docker": "prefect-docker", "kubernetes": "prefect-kubernetes"}
SERVER_S = 60.0  # a machine that starts anew starts its server beside its worker
WORKER_IN_CLUSTER = Path("deploy/kubernetes/worker.yaml")
GRACE_S = 20.0  # a flow run ends in seconds when it is told to


def kind(pool: str) -> str:
    """Of a pool to be made, by its name: trainyard-docker and trainyard-kubernetes, process otherwise."""
    return next((known for known in PACKAGES if pool.endswith(f"-{known}")), "process")


def _refuse_without_server() -> None:
    if not (api := os.environ.get("PREFECT_API_URL")):
        raise BadInput("PREFECT_API_URL is not set; a work pool belongs to a server, such as http://<host>:4200/api")
    deadline = time.monotonic() + SERVER_S
    while said := check.prefect_fault(api):
        if time.monotonic() > deadline:
            raise BadInput(said)
        time.sleep(1)


def fitted(template: dict[str, Any], kind: str) -> dict[str, Any]:
    """A base job template of Prefect with what a run needs besides: a worker hands on Prefect's own settings alone.

    A container gets its worker's variables: the template names them, and the worker puts its values in when the run
    starts, so that no server keeps them. A pod gets what the worker of deploy/kubernetes has: secret, claim and room.
    """
    made = copy.deepcopy(template)
    if kind == "docker":
        env = made["variables"]["properties"]["env"]
        env["default"] = {name: f"{{{{ ${name} }}}}" for name in clone.handed_on()} | (env.get("default") or {})
    if kind == "kubernetes":
        worker = yaml.safe_load(WORKER_IN_CLUSTER.read_text(encoding="utf-8"))["spec"]["template"]["spec"]
        pod = made["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
        pod |= {key: worker[key] for key in ("securityContext", "volumes")}
        pod["initContainers"] = [{**first, "image": "{{ image }}"} for first in worker["initContainers"]]
        (container,) = worker["containers"]
        keys = ("workingDir", "env", "envFrom", "resources", "volumeMounts")
        pod["containers"][0] |= {key: container[key] for key in keys}
    return made


def make(pool: str) -> None:
    """Make the pool if the server has none of that name: `prefect deploy` fails where it is missing. One that is there
    stays as it is: somebody may have fitted it to a cluster by hand."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.base import BaseWorker

    by_name = kind(pool)
    if (there := _there(pool)) is not None:
        if there.type != by_name:
            print(f"the work pool {pool} is of type {there.type} on the server; by its name it would be {by_name}")
        if not _is_fitted(there.base_job_template, there.type):
            print(f"the work pool {pool} is not as it would be made now; delete it to have it made anew")
        return
    worker = BaseWorker.get_worker_class_from_type(by_name)
    if worker is None:
        raise BadInput(f"the pool {pool} wants {PACKAGES[by_name]}, which is not installed: pip install it here")
    template = fitted(worker.get_default_base_job_template(), by_name)
    with get_client(sync_client=True) as server, contextlib.suppress(ObjectAlreadyExists):  # another was faster
        server.create_work_pool(WorkPoolCreate(name=pool, type=by_name, base_job_template=template))
        print(f"made the work pool {pool} ({by_name})")


def _there(pool: str) -> WorkPool | None:
    """As the server has it."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as server, contextlib.suppress(ObjectNotFound):
        return server.read_work_pool(pool)
    return None


def _is_fitted(template: dict[str, Any], kind: str) -> bool:
    try:
        return fitted(template, kind) == template
    except (KeyError, IndexError, TypeError):  # written by hand, in another shape than Prefect's own
        return False


def refuse_unset(found: Sequence[deployments.Deployment]) -> None:
    """What a pool's variables take from the environment is put in when they are deployed; Prefect would leave it out,
    and a volume would have no folder."""
    for one in found:
        for name in re.findall(r"\{\{\s*\$(\w+)\s*\}\}", json.dumps(one.work_pool)):
            if not os.environ.get(name):
                raise BadInput(f"{deployments.PREFECT_YAML}: {one.name} wants {name}, which is not set")


def deploy() -> int:
    """Register the deployments of prefect.yaml with their pools."""
    found = deployments.described()
    refuse_unset(found)
    _refuse_without_server()
    named = [one.work_pool["name"] for one in found if one.work_pool]
    if not named:
        raise BadInput(f"{deployments.PREFECT_YAML}: no deployment has a work_pool; add work_pool: {{name: {POOL}}}")
    for pool in dict.fromkeys(named):
        make(pool)
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    return subprocess.run(command, stdin=subprocess.DEVNULL).returncode


def work(pool: str, limit: int) -> int:
    """Take the runs of a pool until told to end. A clone holds one run at a time: more than one wants another pool."""
    _refuse_without_server()
    clone.start()  # says what is wrong with it before the first night does
    os.environ.setdefault("TRAINYARD_CHECKOUT", str(Path.cwd()))
    of = there.type if (there := _there(pool)) else kind(pool)
    if of == "process" and not Path(os.environ["TRAINYARD_CHECKOUT"], "dvc.yaml").is_file():
        raise BadInput(f"TRAINYARD_CHECKOUT={os.environ['TRAINYARD_CHECKOUT']} is no clone of this yard")
    make(pool)
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", of]
    worker = subprocess.Popen([*command, "--limit", str(limit)])
    told: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda which, _: told.append(which))
    while worker.poll() is None and not told:
        time.sleep(0.2)
    if not told:
        print(f"error: the worker ended with {worker.returncode}", file=sys.stderr)
        return 1
    end(worker)
    print("stopped")
    return 0


def end(worker: subprocess.Popen) -> None:
    """Prefect's own worker waits for its runs for minutes, and these are in groups of their own: each is told."""
    family = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
    for process in reversed(family):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(family, timeout=GRACE_S)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    worker.wait()
