"""Runs that MLflow could not be told of are kept on disk, and told by the next run: tracking never costs a result.

What a stage has made is kept before it is recorded, so that whoever is killed before MLflow knows all of it owes it.

Writes .trainyard/owed/<run>/   run.json and a copy of each file that it names
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from pathlib import Path

from filelock import FileLock, Timeout

from tasks.yard.files import read_json
from tasks.yard.tracking import alive, described, sending, store
from tasks.yard.tracking.described import Run

log = logging.getLogger(__name__)
TOLD = "the run was told to end"
SENT = ".sent."  # begins the name of an entry that is being removed


def _folder() -> Path:
    return store.state() / "owed"


def entries() -> list[Path]:
    """In the order in which their runs began: who judged a network is told of after its training. What a run at work
    has kept it sends itself."""
    kept = [path for path in _folder().glob("[!.]*") if not alive.at_work(path.name)] if _folder().is_dir() else []
    return sorted(kept, key=_began)


def _began(path: Path) -> tuple[int, str]:
    try:
        return int(read_json(path / described.FILE)["began_ms"]), path.name
    except (OSError, ValueError, TypeError, KeyError):  # somebody has been at it: whoever sends it says so
        return 0, path.name


def deliver(run: Run) -> bool:
    """Tell MLflow of a run that has ended, or keep it; False if neither could be done. Never raises, unless told to
    end: the result is made, whatever MLflow thinks."""
    try:
        if run.judged and not run.parent:  # what it says of trainings finds no run of one that is still owed
            pay()  # a flow tells it again before the challenge
        sending.send(run)
        with contextlib.suppress(OSError):  # the next run sees that it was sent
            _forget(_folder() / run.id)
        return True
    except Exception as error:
        return keep(run, _plain(error))
    except BaseException:
        keep(run, TOLD)
        raise


def keep_first(run: Run) -> None:
    """Before anything else is done about a run that has ended. Never raises; `deliver` says if it cannot be kept."""
    try:
        _keep(run)
    except Exception as fault:
        log.debug("%s is not kept before it is sent: %s", run.name, fault)


def holds(run_id: str) -> bool:
    return (_folder() / run_id).exists()


def keep(run: Run, reason: str) -> bool:
    """For the next run to send it; False if it cannot be kept. Never raises."""
    try:
        if not holds(run.id):
            _keep(run)
        log.warning("%s is not in MLflow: %s. It is kept, and the next run sends it", run.name, reason)
        return True
    except Exception as fault:  # a full disk
        log.warning(
            "%s is not in MLflow (%s) and could not be kept for it (%s); the result itself is in its folder",
            run.name, reason, _plain(fault),
        )  # fmt: skip
        return False


def _plain(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if store.is_fault(error) else f"{type(error).__name__}: {text}"


def _keep(run: Run) -> None:
    """Whole or not at all: the folder gets its name last."""
    temporary = _folder() / f".{run.id}"
    temporary.mkdir(parents=True)
    try:
        described.write(run, temporary)
        temporary.replace(_folder() / run.id)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def forget_half(run_id: str) -> None:
    """Remove what is left of a run whose process was killed while it kept it."""
    shutil.rmtree(_folder() / f".{run_id}", ignore_errors=True)


def pay() -> None:
    """Tell MLflow of the runs that are owed. Never raises; what fails stays owed."""
    if not _folder().is_dir():
        return
    try:
        with FileLock(_folder().with_suffix(".lock"), timeout=0):
            for sent in _folder().glob(f"{SENT}*"):  # by one who was killed before all of it was removed
                shutil.rmtree(sent, ignore_errors=True)  # or by one who is at it
            for path in entries():
                _pay_one(path)
    except Timeout:
        log.info("another run is telling MLflow what is owed")
    except Exception as error:
        log.warning("%s: %s", said(), _plain(error))


def _pay_one(path: Path) -> None:
    """Raises where MLflow is gone; an entry that is no good must not stop the others."""
    try:
        sending.send(described.read(path))
        log.info("%s, which was owed, is in MLflow now", path.name)
        _forget(path)
    except store.Unavailable:
        raise
    except Exception as error:
        log.warning("%s stays owed: %s", path, _plain(error))


def _forget(path: Path) -> None:
    """Its name first: half a folder is no entry."""
    if path.exists():
        shutil.rmtree(path.replace(path.with_name(f"{SENT}{path.name}")))


def said() -> str | None:
    """What is owed, in a line; None if nothing is."""
    names = []
    for path in entries():
        try:
            names.append(described.read(path).name)
        except (OSError, ValueError, TypeError, KeyError):  # somebody has been at it
            names.append(f"{path} (cannot be read; remove it)")
    shown = ", ".join([*names[:4], *(["..."] if names[4:] else [])])
    return (
        f"owed to MLflow: {len(names)} run{'s'[: len(names) != 1]} ({shown}), sent by the next run" if names else None
    )
