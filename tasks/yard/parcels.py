"""How work arrives on another machine; where that has no disk in common with this one, with its code and files, as tar,
and what was made comes back so."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from tasks.yard.fanout import DONE, Job, Making
from tasks.yard.step import attempt

CODE = ("tasks", "models", "params.yaml", "dvc.yaml")


def bootstrap() -> Callable[..., Any]:
    """What a node runs first. It is sent by value: a worker starts in the folder of `ray start`, without our code. With
    `code` it makes itself a checkout, which goes with the next worker of that node once this one has ended."""

    def in_checkout(
        checkout: str, probe: str, module: str, name: str, *arguments: Any, code: bytes | None = None
    ) -> Any:
        import importlib
        import io
        import os
        import shutil
        import sys
        import tarfile
        import tempfile
        from pathlib import Path

        if code is not None:
            place = Path(tempfile.gettempdir(), f"trainyard-{os.getpid()}")
            if str(place) not in sys.path:
                for other in place.parent.glob("trainyard-*"):
                    if other == place or not Path("/proc", other.name.removeprefix("trainyard-")).exists():
                        shutil.rmtree(other, ignore_errors=True)
                with tarfile.open(fileobj=io.BytesIO(code)) as tar:
                    tar.extractall(place, filter="data")
            checkout = str(place)
        elif not Path(probe).exists():  # the driver wrote it
            return None
        os.chdir(checkout)
        if checkout not in sys.path:
            sys.path.insert(0, checkout)
        return getattr(importlib.import_module(module), name)(*arguments)

    return in_checkout


def answer(path: str, text: str) -> str:
    """In a node: the driver's probe could be read; can this node's be read there?"""
    Path(path).write_text(text, encoding="utf-8")
    return text


def packed(paths: Iterable[Path]) -> bytes:
    """Of paths in this checkout. Raises `ValueError` for one that is outside."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in paths:
            tar.add(path, Path(path).absolute().relative_to(Path.cwd()).as_posix(), filter=_no_caches)
    return buffer.getvalue()


def _no_caches(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if member.name.endswith("__pycache__") else member


def unpacked(parcel: bytes, folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(parcel)) as tar:
        tar.extractall(folder, filter="data")


def makings(fn: Any, item: Any) -> tuple[Making | None, list[Job]]:
    """What is called, and for which recordings: `item` is one, or a block of them."""
    if isinstance(fn, partial):
        fn, jobs = fn.keywords.get("fn"), item
    else:
        jobs = [item]
    return (fn, jobs) if isinstance(fn, Making) and fn.needs else (None, [])


def sent(making: Making | None, jobs: list[Job]) -> bytes:
    assert making is not None and making.needs is not None
    return packed({path: None for _, item, _ in jobs for path in making.needs(item)})


def made_apart(fn: Any, item: Any, parcel: bytes) -> tuple[Any, dict[str, bytes]]:
    """On the other machine, in a folder of its own: the outcome, and each recording's folder. Nothing stays there."""
    making, jobs = makings(fn, item)
    assert making is not None
    unpacked(parcel, Path())
    outcome = attempt(fn, item)
    folders = {key: making.out / key for key, _, _ in jobs if (making.out / key / DONE).exists()}
    parcels = {key: _folder(folder) for key, folder in folders.items()}
    for path in Path().iterdir():
        if path.name not in CODE:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return outcome, parcels


def _folder(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(folder.iterdir(), key=lambda path: path.name == DONE):  # last: it says that all is there
            tar.add(path, path.name)
    return buffer.getvalue()


def placed(fn: Any, item: Any, outcome: Any, parcels: dict[str, bytes]) -> Any:
    """The outcome, with what was made in its place here; None if some of it has to be made here: what is bad on a
    machine that has not all of our files may be good on ours."""
    making, jobs = makings(fn, item)
    assert making is not None
    ends = outcome if isinstance(outcome, list) else [outcome]
    if any(not isinstance(end, dict) or key not in parcels for (key, _, _), end in zip(jobs, ends, strict=True)):
        return None
    for job, end in zip(jobs, ends, strict=True):
        making.place(job, end, partial(unpacked, parcels[job[0]]))
    return outcome
