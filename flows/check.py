"""Asks all that a run of a line needs of the world around it, within seconds: before anything is run or deleted.

    python -m flows check <line>

A line a thing: ok, a warning that a run can bear, or an error with the fix.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dvc.config import Config
from dvc.exceptions import DvcException

from flows import database, notify
from tasks.yard import login, ray_address
from tasks.yard import params as params_file
from tasks.yard import stage as stages
from tasks.yard.files import write_text
from tasks.yard.sources import local as sources
from tasks.yard.sources import uri as source_uri
from tasks.yard.sources.present import PATHS, PUBLISHED, URIS, places
from tasks.yard.step import BadInput
from tasks.yard.tracking import health, sqlite_file, store

LIMIT_S = 10.0  # for all that is asked over a network, which is asked at once
LEAST_B = 200e6  # of free room: databases, logs and temporary files want some
FREES = ", `dvc gc -w` frees what dvc.lock does not name"  # of DVC's cache
ARTIFACTS = "artifacts of MLflow,"
BUCKETS = ("s3", "gs")
PORTS = {"http": 80, "https": 443, "webdav": 80, "webdavs": 443, "ssh": 22}


@dataclass(frozen=True)
class Finding:
    what: str
    fault: str | None = None  # with the fix
    bearable: bool = False  # a run does without it

    def __str__(self) -> str:
        if self.fault is None:
            return f"ok: {self.what}"
        return f"{'warning' if self.bearable else 'error'}: {self.fault}"


def findings(
    line: str, assignments: Sequence[str] = (), force: Sequence[str] = (), only: Sequence[str] | None = None
) -> Iterator[Finding]:
    """What a run of the line would meet, with what `--set` would write and the steps that `--force` names; `only`: the
    stages that it is about, all by default."""
    try:
        now, values = params_file.load(), _values(assignments)
        config = Config(".dvc")
    except (BadInput, DvcException) as error:
        yield Finding("settings", str(error))
        return
    try:
        notify.wanted()
    except BadInput as error:
        yield Finding("TRAINYARD_NOTIFY_ON", str(error))
    yield Finding("params.yaml")
    yield from room(folders(config))
    outside = _outside(line, values)
    if only is not None:
        outside = {what: (name, uri) for what, (name, uri) in outside.items() if name in only}
    questions: dict[str, Callable[[], str | None]] = {f"MLflow, {store.shown()}": store.fault}
    if api := os.environ.get("PREFECT_API_URL"):
        questions[f"Prefect, PREFECT_API_URL={source_uri.redacted(api)}"] = partial(prefect_fault, api)
    elif database.told():  # of the server that this command will start
        questions[f"Prefect, {database.shown()}"] = database.fault
    if server := store.server_url():
        questions[f"{ARTIFACTS} {store.shown()}"] = partial(health.artifacts_fault, server)
    if ray_address.told():
        questions[f"Ray, {ray_address.VARIABLE}={ray_address.told()}"] = ray_address.fault
    if name := config["core"].get("remote"):
        questions[f"DVC remote {name}"] = partial(remote_fault, name, config["remote"].get(name, {}))
    questions |= {what: partial(source_fault, what, uri) for what, (_, uri) in outside.items()}
    answers = _asked(questions)
    if answers[f"MLflow, {store.shown()}"]:  # said once
        answers = {what: fault for what, fault in answers.items() if not what.startswith(ARTIFACTS)}
    for what, fault in answers.items():
        # Listing a large bucket takes its time, and a remote is asked again, with more of it, when it is needed.
        large = fault == _late(what) and (what in outside or what.startswith("DVC remote"))
        if fault and (large or what.startswith(ARTIFACTS)):  # which are owed then
            yield Finding(what, fault, bearable=True)
        elif fault and what in outside and _can_wait(line, outside[what][0], now, values, force):
            yield Finding(what, f"{fault}; its stage is up to date and keeps what it has", bearable=True)
        else:
            yield Finding(what, fault)


def _late(what: str) -> str:
    return f"{what}: no answer within {LIMIT_S:.0f} s; connect it, or wait until it is less busy"


def _asked(questions: Mapping[str, Callable[[], str | None]]) -> dict[str, str | None]:
    """The fault that each question finds, None if it finds none. All are asked at once."""
    answers: dict[str, str | None] = {what: _late(what) for what in questions}

    def ask(what: str, question: Callable[[], str | None]) -> None:
        try:
            answers[what] = question()
        except Exception as error:  # of httpx, fsspec, botocore, paramiko, ...
            answers[what] = f"{what}: {' '.join(str(error).split()) or type(error).__name__}"

    # One that gets no answer must not hold up the end of this process.
    threads = [threading.Thread(target=ask, args=each, daemon=True) for each in questions.items()]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + LIMIT_S
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(answers)


def _values(assignments: Sequence[str]) -> params_file.Params:
    """params.yaml as `--set` would leave it. A `--set` that is refused is told by who writes it."""
    if not assignments:
        return params_file.load()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "params.yaml")
        write_text(copy, Path("params.yaml").read_text(encoding="utf-8"))
        try:
            params_file.set_values(list(assignments), copy)
            return params_file.load(copy)
        except BadInput:
            return params_file.load()


def prefect_fault(api: str) -> str | None:
    import httpx

    shown = f"PREFECT_API_URL={source_uri.redacted(api)}"
    way_out = "start that server, or unset the variable to use one that runs as long as the command"
    asked = f"{api.rstrip('/')}/admin/version"  # unlike /health it asks for the login
    try:
        reply = httpx.get(asked, timeout=LIMIT_S / 2, follow_redirects=True, headers=login.of_prefect())
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return f"{shown} does not answer ({error}); {way_out}"
    if reply.status_code in (401, 403):
        if "PREFECT_API_KEY" in os.environ:  # a proxy or a cloud that has its own way of asking
            return None
        return f"{shown} refuses us ({reply.status_code}); set {login.NAME}, or PREFECT_API_AUTH_STRING"
    if reply.status_code != 200:
        return f"{shown} answers, but not as Prefect does ({reply.status_code}); its address ends with /api"
    return None


def remote_fault(name: str, remote: dict) -> str | None:
    """Of the DVC remote that a run pulls from and pushes to."""
    url = remote.get("url", "")
    shown = f"DVC remote {name} ({source_uri.redacted(url)})"
    way_out = "connect it, or run without it: `dvc remote default --unset`"
    place = urlsplit(remote.get("endpointurl") or url)
    if place.scheme in PORTS:
        try:
            socket.create_connection((place.hostname or "", place.port or PORTS[place.scheme]), LIMIT_S / 2).close()
        except OSError as error:
            return f"{shown} does not answer ({error}); {way_out}"
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            far = repo.cloud.get_remote(name)
            if far.fs.protocol == "local":  # the first push makes the folder, but not the disk that it lies on
                if not Path(far.path).parent.is_dir():
                    return f"{shown}: no such folder; {way_out}"
                fault = lack(Path(far.path))
                return fault and f"{shown}: {fault}"
            bucket = far.path.lstrip("/").partition("/")[0]
            if not far.fs.exists(far.path) and far.fs.protocol in BUCKETS and not far.fs.exists(bucket):
                return f"{shown}: there is no bucket {bucket}, or we may not look into it; make it, or mend the address"
    except Exception as error:  # of the library of that kind of remote
        return f"{shown}: {' '.join(str(error).split()) or type(error).__name__}; {way_out}"
    return None


def folders(config: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """What a run writes into, with what makes room there: the checkout, DVC's cache, the folder of MLflow's file and
    the temporary one. Raises `BadInput` if there is none of the last that takes a file."""
    cache, file = config["cache"].get("dir"), sqlite_file.of(store.uri())
    try:
        temporary = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise BadInput(
            f"{error.strerror}: the disk is full, or TMPDIR names a folder that nobody may write to"
        ) from None
    stored = [file.parent] if file and not file.resolve().is_relative_to(Path.cwd()) else []
    cached = [Path(), *([Path(cache)] if cache else [])]
    return [*((folder, FREES) for folder in cached), *((folder, "") for folder in (*stored, temporary))]


def lack(folder: Path, frees: str = "", least_b: float = LEAST_B) -> str | None:
    """Why the folder, or what it will be made in, takes no file or has no room for one. `frees`: what makes room."""
    place = _standing(folder)
    if not os.access(place, os.W_OK):
        return f"{place} takes no file (a read-only disk, or no permission); mend that, or name another folder"
    free_b = shutil.disk_usage(place).free
    return f"only {free_b / 1e6:.0f} MB are free; make room{frees}" if free_b < least_b else None


def _standing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def room(folders: Sequence[tuple[Path, str]], least_b: float = LEAST_B) -> Iterator[Finding]:
    """Whether each folder takes files and has room for them; beside it stands what makes room there."""
    for folder, frees in folders:
        what, fault = f"{folder.absolute()}", lack(folder, frees, least_b)
        free_b = shutil.disk_usage(_standing(folder)).free
        yield Finding(f"{what}, {free_b / 1e9:.1f} GB are free", fault and f"{what}: {fault}")


def _outside(line: str, values: params_file.Params) -> dict[str, tuple[str, str]]:
    """{the key with what it holds: (stage, source)} of the sources, weights and queries that a line's params name."""
    found = {}
    for name in stages.entries():
        step = name.removeprefix(f"{line}-")
        wanted = step != name and not params_file.not_needed(line, step, values)
        section = getattr(getattr(values, line), step, None) if wanted else None
        for key in (*URIS, *PATHS):
            for uri in places(section, key):
                found[f"{line}.{step}.{key}: {source_uri.redacted(uri)}"] = name, uri
    return found


def source_fault(what: str, uri: str) -> str | None:
    """Why a source, a file of weights or a folder of queries cannot be read now."""
    uri = source_uri.expanded(uri)
    if source_uri.scheme(uri) == "synth":
        return None
    if source_uri.scheme(uri):
        sources.fingerprint(uri)
        return None
    path = Path(uri).expanduser()
    published = PUBLISHED.fullmatch(uri) and path.suffix == ".pt"
    ours = path.resolve().is_relative_to(Path("data").resolve())  # another stage may make it in this run
    return (
        None
        if published or ours or path.exists()
        else f"{what}: no such file or folder; connect its disk, or mend the key"
    )


def _can_wait(line: str, name: str, now: params_file.Params, values: params_file.Params, force: Sequence[str]) -> bool:
    """Is the stage up to date, all cells of a matrix, and does neither `--set` nor `--force` touch it?"""
    from flows.graph import Graph

    step = name.removeprefix(f"{line}-")
    forced = {wanted.partition("@")[0] for wanted in force} & {name, step}
    if forced or getattr(getattr(now, line), step) != getattr(getattr(values, line), step):
        return False
    graph = Graph(line)
    return not any(graph.why(cell) for cell in graph.stages if cell.partition("@")[0] == name)


_asked_for: set[str] = set()


def refuse(line: str, assignments: Sequence[str], force: Sequence[str], only: Sequence[str] | None = None) -> None:
    """Raises `BadInput` with every fault that a run of the line cannot bear. Asks once a process: the command does so
    before it starts a server, and the flow again, which a schedule begins."""
    if line in _asked_for:
        return
    _asked_for.add(line)
    faults = [found.fault for found in findings(line, assignments, force, only) if found.fault and not found.bearable]
    if faults:
        raise BadInput("\nerror: ".join(faults))
