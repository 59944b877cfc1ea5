"""A worker's own clone: how a night of a work pool begins there, and where its dvc.lock goes.

TRAINYARD_CHECKOUT   the clone; the folder that this code lies in, unless it is set
TRAINYARD_NIGHTS     such as origin/main: each night begins at that branch, and its dvc.lock goes to night/<line> there;
                     unset: a night works in the checkout as it stands and commits nothing
TRAINYARD_PROPOSE    a shell command after that, with TRAINYARD_BRANCH and TRAINYARD_LINE: a pull request, for example

What the last night made and nobody has merged yet is taken along, stage by stage: a stage that main has changed since
is main's.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import yaml

from flows import environment, lock
from tasks.yard.sources import uri as source_uri
from tasks.yard.step import BadInput

log = logging.getLogger(__name__)
HERE = Path(__file__).resolve().parents[1]
KEPT = ("dvc.lock", "params.yaml")  # what a night writes of what git knows
LIMIT_S = 600
# What a run in a container of its own needs of its worker's environment; Prefect hands on its own settings alone.
HANDED_ON = (
    "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN",
    "TRAINYARD_LOGIN", "TRAINYARD_NIGHTS", "TRAINYARD_PROPOSE", "TRAINYARD_NOTIFY", "TRAINYARD_NOTIFY_ON",
    "TRAINYARD_DEVICE_SLOTS", "TRAINYARD_RAY", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "GH_TOKEN",
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL",
    "AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION",
)  # fmt: skip


def handed_on() -> list[str]:
    """The names of `HANDED_ON`, and those that `${NAME}` in params.yaml takes."""
    values = json.dumps(yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8")), default=str)
    return sorted({*HANDED_ON, *source_uri.NAMED.findall(values)})


def enter(directory: str = "", line: str = "") -> dict[str, str]:
    """The pull step of prefect.yaml: go to the clone and bring it to where the night begins. Raises `BadInput`.

    `directory` is what a deployment says for all workers, and `prefect deploy` takes variables in it from its own
    environment: the worker's TRAINYARD_CHECKOUT goes before it.
    """
    told = "" if directory.startswith("{{") else directory  # an unset variable stays as it is written
    folder = Path(os.environ.get("TRAINYARD_CHECKOUT") or told or HERE).expanduser()
    if not (folder / "dvc.yaml").is_file():
        raise BadInput(f"TRAINYARD_CHECKOUT: {folder} is no clone of this yard; set it to one where this worker starts")
    if folder.resolve() != HERE:
        raise BadInput(
            f"this worker runs the code of {HERE}, and TRAINYARD_CHECKOUT is {folder}; start it there, in its own "
            "environment"
        )
    os.chdir(folder)
    for name in handed_on():
        if os.environ.get(name) == "":  # a container is handed every name, empty where its worker has nothing
            del os.environ[name]
    environment.prepare()
    if start():
        with lock.checkout(environment.STATE, wait=True):
            begin(line or _line())
    return {"directory": str(folder)}


def _line() -> str:
    from prefect.runtime import flow_run

    return str(flow_run.parameters.get("line") or "brake_coast")


def start() -> tuple[str, str] | None:
    """The remote and the branch of TRAINYARD_NIGHTS."""
    text = os.environ.get("TRAINYARD_NIGHTS", "").strip()
    if not text:
        return None
    remote, slash, branch = text.partition("/")
    if not (remote and slash and branch):
        raise BadInput(f"TRAINYARD_NIGHTS={text} has to be <remote>/<branch>, such as origin/main")
    return remote, branch


def begin(line: str) -> None:
    """Check out night/<line> anew, at the branch that nights begin at, with what the last night has left."""
    remote, branch = start() or ("", "")
    _keep_unfinished()
    _git("fetch", "--quiet", "--prune", remote)
    main, ours = f"{remote}/{branch}", f"night/{line}"
    nights = [(_base(commit, main), _lock_at(commit)) for commit in _last(ours, remote)]
    _git("checkout", "--quiet", "--force", "-B", ours, main)
    merged = _lock_at(main)
    if (taken := carried(merged, nights, line)) != merged:
        from dvc.utils.serialize import dump_yaml

        dump_yaml("dvc.lock", taken)
        log.info("%s: what the last nights made is not in %s yet, and is taken along", line, main)


def carried(main: dict, nights: list[tuple[dict, dict]], line: str) -> dict[str, Any]:
    """dvc.lock of a new night: main's, with those stages of the line that earlier nights made and main has not touched
    since. `nights`: dvc.lock where each parted from main, and as it left it, the older first. A stage's entry is never
    mixed from two."""
    known = main.get("stages", {})
    stages = dict(known)
    for base, night in nights:
        for name, entry in night.get("stages", {}).items():
            before = base.get("stages", {}).get(name)
            if (name == "code" or name.startswith(f"{line}-")) and entry != before and known.get(name) == before:
                stages[name] = entry
    return {**(main or {"schema": "2.0"}), "stages": stages} if stages else main


def _base(commit: str, main: str) -> dict[str, Any]:
    base = _git("merge-base", commit, main, bearable=True)
    return _lock_at(base) if base else {}


def propose(line: str) -> None:
    """After a night that ended well and whose data are in the DVC remote: its dvc.lock on night/<line>. Never raises:
    what cannot be sent is sent by the next night."""
    if not start() or _git("branch", "--show-current", bearable=True) != f"night/{line}":
        return
    remote, branch = start() or ("", "")
    ours = f"night/{line}"
    try:
        _commit(f"{line}: dvc.lock of a night")
        if _git("rev-parse", "HEAD^{tree}") == _git("rev-parse", f"{remote}/{branch}^{{tree}}"):
            return  # nothing is new
        _git("push", "--quiet", "--force-with-lease", remote, f"HEAD:refs/heads/{ours}")
    except (BadInput, subprocess.TimeoutExpired) as error:
        log.warning(
            "dvc.lock of this night is on the branch %s of this clone alone, the next one sends it: %s", ours, error
        )
        return
    log.info("dvc.lock of this night is on %s of %s", ours, remote)
    if command := os.environ.get("TRAINYARD_PROPOSE"):
        known = {**os.environ, "TRAINYARD_BRANCH": ours, "TRAINYARD_LINE": line}
        try:
            done = subprocess.run(command, shell=True, env=known, capture_output=True, text=True, timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            log.warning("TRAINYARD_PROPOSE was stopped after %d s", LIMIT_S)
            return
        if done.returncode:
            log.warning("TRAINYARD_PROPOSE ended with %d: %s", done.returncode, _plain(done.stderr or done.stdout))


def _keep_unfinished() -> None:
    """Commit what a night left that failed or was killed; refuse what a person has edited."""
    changed = [entry[3:] for entry in _git("status", "--porcelain", "--untracked-files=no", strip=False).splitlines()]
    if strange := [name for name in changed if name not in KEPT]:
        raise BadInput(
            f"{Path.cwd()}: {', '.join(strange[:3])} edited here; commit that, or give the worker a clone of its own"
        )
    if changed and not _git("branch", "--show-current").startswith("night/"):
        raise BadInput(f"{Path.cwd()}: {', '.join(changed)} edited on a branch of yours; commit or restore it first")
    _commit("What a night made that did not end well")


def _commit(text: str) -> None:
    _git("add", "--", *[name for name in KEPT if Path(name).exists()])
    if _git("status", "--porcelain", "--untracked-files=no"):
        known = _git("config", "user.email", bearable=True)
        who = [] if known else ["-c", "user.name=Trainyard", "-c", f"user.email=trainyard@{socket.gethostname()}"]
        _git(*who, "commit", "--quiet", "--no-verify", "-m", text)


def _last(ours: str, remote: str) -> list[str]:
    """The commits of the last night of this clone and of the last one that was sent, which may be another worker's; the
    older first."""
    refs = f"refs/heads/{ours}", f"refs/remotes/{remote}/{ours}"
    commits = {_git("rev-parse", "--verify", "--quiet", ref, bearable=True) for ref in refs} - {""}
    return sorted(commits, key=lambda commit: int(_git("show", "--no-patch", "--format=%ct", commit)))


def _lock_at(commit: str) -> dict[str, Any]:
    return yaml.safe_load(_git("show", f"{commit}:dvc.lock", bearable=True) or "{}") or {}


def _git(*words: str, bearable: bool = False, strip: bool = True) -> str:
    """What git says; raises `BadInput` with its reason, or returns "" if a failure is bearable."""
    settings = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}  # nobody is there to type a password
    done = subprocess.run(["git", *words], capture_output=True, text=True, env=settings, timeout=LIMIT_S)
    if done.returncode and not bearable:
        verb = next((word for word in words if not word.startswith("-") and "=" not in word), "")
        raise BadInput(f"git {verb} in {Path.cwd()}: {_plain(done.stderr)}")
    return "" if done.returncode else (done.stdout.strip() if strip else done.stdout)


def _plain(text: str) -> str:
    """In a line, without the login that an address may hold."""
    return re.sub(r"://[^@/\s]+@", "://", " ".join(text.split()))[:300]
