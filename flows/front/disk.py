"""What lies in data/ of a line: recordings, quarantine, headline numbers, and what a browser may be shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.yard import stage as stages
from tasks.yard.applying import RESULT
from tasks.yard.fanout import DONE
from tasks.yard.files import read_if_there, read_json
from tasks.yard.step import BadInput

PAGES, FILMS, PICTURES = (".html",), (".mp4",), (".png", ".jpg")
VIEW, APPLY = "view", "apply"  # where the viewer and `flows apply` write: no steps of these names
APPLIED, OF_EACH = 20, 24  # inputs that are listed, and files of each
KEPT = re.compile(r"files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")  # of DVC's cache, if it links by symlinks
NAMED = 50  # quarantined recordings


def steps(line: str) -> list[str]:
    """Of dvc.yaml, in its order."""
    return [name.removeprefix(f"{line}-") for name in stages.entries() if name.startswith(f"{line}-")]


def open_steps(line: str) -> list[str]:
    """Those whose pages and films are shown. What brings recordings in holds them as they came: nobody's page."""
    made = [step for step in steps(line) if stages.Stage("", line, step, None, stages.entries()[f"{line}-{step}"])
            .data_deps()]  # fmt: skip
    return [*made, VIEW]


def shown(line: str, data: Path) -> Iterator[PurePosixPath]:
    """Pages and films of a line, as paths below data/, the newest step last in the graph first."""
    for step in reversed(open_steps(line)):
        folder = data / line / step
        found = [path for path in sorted(folder.rglob("*")) if path.suffix in (*PAGES, *FILMS)]
        for path in found:
            below = PurePosixPath(path.relative_to(data).as_posix())
            if allowed(below, data) is not None:
                yield below


def allowed(below: PurePosixPath, data: Path) -> Path | None:
    """The file that a path below data/ may be answered with; None if it is nobody's page: other outputs, recordings,
    hidden files, and whatever a link leads to outside."""
    line, step, *_ = below.parts if len(below.parts) > 2 else ("", "", "")
    if any(part.startswith(".") or "\\" in part or "\0" in part for part in below.parts) or below.is_absolute():
        return None
    if not (data / line).is_dir() or f"{line}-" == "-" or step not in (*open_steps(line), APPLY):
        return None
    path = data.joinpath(*below.parts)
    if path.suffix not in (*PAGES, *FILMS, *PICTURES) or not path.is_file():
        return None
    if step == APPLY:
        of, *file = below.parts[2:]
        ours = "/".join(file) in _told(data / line / APPLY / of / RESULT)["files"]  # no input, and nothing of its steps
    else:
        ours = path.suffix not in PICTURES or any(path.parent.glob("*.html"))  # a picture of a page, not of the data
    if not ours:
        return None
    whole = path.resolve()
    inside = whole == data.resolve().joinpath(*below.parts)
    return path if inside or (path.is_symlink() and KEPT.search(whole.as_posix())) else None


def applied(line: str, data: Path) -> list[dict[str, Any]]:
    """What `flows apply` has made, the newest first: [{"name": of the folder, "at", "input", "model", "done": how many,
    "left_out", "failed": why a later call made nothing, or None, "files": pages, films and pictures below data/}]."""
    made = {path: path.stat().st_mtime for path in (data / line / APPLY).glob(f"*/{RESULT}")}
    found = []
    for path in sorted(made, key=lambda path: -made[path])[:APPLIED]:
        told, below = _told(path), path.parent.relative_to(data).as_posix()
        there = [f"{below}/{file}" for file in told["files"] if (path.parent / file).is_file()]
        found.append({**told, "name": path.parent.name, "at": made[path], "files": there[:OF_EACH]})
    return found


def _told(path: Path) -> dict[str, Any]:
    """Of an apply.json, the files that a browser may be shown among them."""
    return _read(path, path.stat().st_mtime_ns) if path.is_file() else {"files": []}


@lru_cache(maxsize=64)  # one of thousands of photographs takes a moment, and a film is asked for in many parts
def _read(path: Path, _changed_ns: int) -> dict[str, Any]:
    told = read_json(path)
    files = dict.fromkeys(file for one in told["results"].values() for file in one.get("files", []))
    return {
        "input": told["input"], "model": told["model"]["name"], "done": len(told["results"]),
        "left_out": len(told["quarantined"]),
        "failed": next(iter(told.get("failed", {}).get("quarantined", {}).values()), None),
        "files": [file for file in files if PurePosixPath(file).suffix in (*PAGES, *FILMS, *PICTURES)],
    }  # fmt: skip


def recordings(line: str, data: Path) -> dict[str, Any]:
    """{"steps": [{"step", "usable", "quarantined": {name: reason}}], "newest": name, "newest_at": s since the epoch} of
    the steps that work recording by recording."""
    found, newest, newest_at = [], None, None
    for step in steps(line):
        folder = data / line / step
        if not (folder / "quarantine.json").is_file():
            continue
        done = [path for path in folder.glob(f"*/{DONE}") if path.is_file()]
        bad = read_json(folder / "quarantine.json")
        found.append({
            "step": step, "usable": len(done), "quarantined": len(bad), "reasons": dict(list(bad.items())[:NAMED]),
        })  # fmt: skip
        if newest is None and done:
            last = max(done, key=lambda path: path.stat().st_mtime)
            newest, newest_at = last.parent.name, last.stat().st_mtime
    return {"steps": found, "newest": newest, "newest_at": newest_at}


def headline(line: str, data: Path) -> dict[str, float]:
    """The numbers that people compare, as the last report wrote them."""
    return read_if_there(data / line / "report" / "headline.json")


def leader(line: str, data: Path) -> str | None:
    return read_if_there(data / line / "report" / "summary.json").get("leader")


def of_line(line: str, data: Path) -> dict[str, Any]:
    try:
        pages = [str(path) for path in shown(line, data)]
        return {
            "recordings": recordings(line, data), "headline": headline(line, data), "leader": leader(line, data),
            "pages": [{"path": path, "at": data.joinpath(path).stat().st_mtime} for path in pages],
            "applied": applied(line, data),
        }  # fmt: skip
    except (OSError, ValueError, BadInput) as error:  # a run is writing there: the next look finds it
        return {"recordings": {"steps": []}, "headline": {}, "leader": None, "pages": [], "applied": [],
                "fault": str(error)}  # fmt: skip
