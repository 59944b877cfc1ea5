"""The lineage of a run: the git commit and what differs from it, DVC's hashes of what its stage reads and writes."""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
from pathlib import Path

import yaml

from tasks.yard.stage import DVC_YAML, Loader, Stage, entries

log = logging.getLogger(__name__)

DIFF_LIMIT = 200_000  # characters
CODE = ("tasks", "models", "flows", "dvc.yaml")  # what makes results; a file there that git does not know counts too
COMMIT, DATA = 10, 12  # characters of a hash that people read
NETWORKS = {"network", "variant"}  # keys of a matrix whose items are networks


def git_state(say: bool) -> tuple[str, str]:
    """The commit of the checkout, and what differs from it, cut at `DIFF_LIMIT`; "unknown" outside git.

    The commit is `-dirty` if more differs than params.yaml and dvc.lock, which every run may change: params are in the
    run, and in the diff, and dvc.lock is what the run makes. `say`: why git does not answer in a checkout of git.
    """
    head = _git("rev-parse", "HEAD")
    if head is None or head.returncode:
        reason = head.stderr.strip() if head else ""
        if say and reason and "not a git repository" not in reason:
            log.warning("the git commit of this run is unknown: %s", " ".join(reason.split()))
        return "unknown", ""
    dirty = _git("diff", "--quiet", "HEAD", "--", ".", ":(exclude)params.yaml", ":(exclude)dvc.lock")
    diff = _git("diff", "--no-ext-diff", "--no-color", "HEAD", "--", ".", ":(exclude)dvc.lock")
    text = diff.stdout if diff else ""
    new = _git("ls-files", "--others", "--exclude-standard", "--", *CODE)
    strange = new.stdout.splitlines() if new else []
    for name in strange:
        added = _git("diff", "--no-index", "--no-color", "--", "/dev/null", name)
        text += added.stdout if added else ""
    if len(text) > DIFF_LIMIT:
        text = f"{text[:DIFF_LIMIT]}\n(cut here: {len(text)} characters in all)\n"
    changed = strange or (dirty and dirty.returncode == 1)
    return head.stdout.strip() + ("-dirty" if changed else ""), text


def _git(*arguments: str) -> subprocess.CompletedProcess[str] | None:
    """None: there is no git."""
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, errors="replace")
    except FileNotFoundError:
        return None


def dvc_hash(path: Path) -> str:
    """What DVC will record for a file or folder: md5 of the bytes, or of the sorted listing of a folder (`.dir`)."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    files = {p.relative_to(path).as_posix(): p for p in path.rglob("*") if p.is_file()}
    listing = [{"md5": dvc_hash(file), "relpath": name} for name, file in sorted(files.items())]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"


def tags(stage: Stage, commit: str) -> dict[str, str]:
    """What people search runs by: the line stands in each run anyway."""
    of = {"stage": stage.name, "commit": commit[:COMMIT], **data_tag(stage.line)}
    return of | ({"network": stage.item} if stage.item and set(stage.entry.get("matrix", {})) & NETWORKS else {})


def data_tag(line: str) -> dict[str, str]:
    """Of the data that came into the line, as they are now; empty if nothing has been recorded yet."""
    for path, md5 in sources(line).items():
        return {"data": f"{Path(path).name} {md5[:DATA]}"}
    return {}


def sources(line: str) -> dict[str, str]:
    """DVC's hashes of what the line has brought in: the outs of its stages that read no other."""
    first = [name for name, entry in _entries().items() if name.startswith(f"{line}-")
             and not Stage(name, line, "", None, entry).data_deps()]  # fmt: skip
    outs = _locked()
    found = {name: f"data/{line}/{name.partition('-')[2]}" for name in first}
    return {path: outs[path] for path in found.values() if path in outs}


def _entries() -> dict[str, dict]:
    return entries() if DVC_YAML.exists() else {}


def _locked() -> dict[str, str]:
    """The outs that dvc.lock records, with their hashes."""
    lock = Path("dvc.lock")
    stages = (yaml.load(lock.read_text(encoding="utf-8"), Loader) or {}).get("stages", {}) if lock.exists() else {}
    return {out["path"]: out["md5"] for entry in stages.values() for out in entry.get("outs", []) if "md5" in out}


def locked_hashes(stage: Stage) -> dict[str, str]:
    """DVC's hashes of the data this stage reads: the outs that dvc.lock records for the stages before it."""
    outs, deps = _locked(), stage.data_deps()
    return {path: md5 for path, md5 in sorted(outs.items()) if any(path == d or path.startswith(f"{d}/") for d in deps)}
