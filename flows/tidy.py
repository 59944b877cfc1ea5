"""`python -m flows tidy`: old runs and versions go from MLflow, and from DVC's cache what nobody needs any more.

Stays in the cache: what dvc.lock of this checkout names, each branch, tag and experiment of git, and what the kept
versions of all lines were made from and are; the champion's among them. See tasks/yard/tracking/retention.py.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from flows import lock
from flows.environment import STATE
from tasks.yard import params
from tasks.yard.step import BadInput
from tasks.yard.tracking import retention, store

SHOWN = 5  # names of runs


def main(line: str | None, runs: int, versions: int, dry_run: bool) -> int:
    if line is not None:
        params.refuse_unknown_line(line)
    if runs < 1 or versions < 1:
        raise BadInput("--runs and --versions: at least 1 stays")
    if dry_run:
        return _tidy(line, runs, versions, dry_run=True)
    with lock.checkout(STATE, wait=False):
        return _tidy(line, runs, versions, dry_run=False)


def _tidy(line: str | None, runs: int, versions: int, *, dry_run: bool) -> int:
    asked = {line} if line else set(params.lines())
    try:  # of all lines, for the cache is one: of a line that is not asked for, all stays
        plans = [
            retention.plan(one, *((runs, versions) if one in asked else (sys.maxsize, sys.maxsize)))
            for one in params.lines()
        ]
    except Exception as error:
        if not store.is_fault(error):
            raise
        raise BadInput(f"{error}; who is champion is not known, so nothing is deleted") from None
    word = "would go" if dry_run else "gone"
    for plan in (plan for plan in plans if plan.line in asked):
        names = [name for _, name in plan.runs]
        print(
            f"{plan.line}: {len(names)} runs {word}{_some(names)}; {plan.kept_runs} stay. "
            f"{len(plan.versions)} versions {word}{_some(plan.versions)}; {len(plan.kept_versions)} stay"
            f"{_some(plan.kept_versions)}."
        )
        if not dry_run:
            if left := retention.carry_out(plan):
                print(f"{plan.line}: {left}")
            for number in plan.versions:
                for folder in (STATE / "models" / plan.line).glob(f"{number}-*"):
                    shutil.rmtree(folder)
    hashes = {md5 for plan in plans for md5 in plan.hashes}
    count, size = cache({commit for plan in plans for commit in plan.commits}, hashes, dry_run=dry_run)
    print(f"DVC's cache: {count} files {word} ({size / 1e6:,.1f} MB).")
    return 0


def _some(names: list[str]) -> str:
    return f" ({', '.join(names[:SHOWN])}{', ...' if names[SHOWN:] else ''})" if names else ""


def cache(commits: Iterable[str], hashes: Iterable[str], *, dry_run: bool, root: Path = Path()) -> tuple[int, int]:
    """Remove from the cache of this checkout what nobody needs; how many files that is, and how many bytes.

    `hashes`: DVC's, of what is needed though no dvc.lock of git may name it.
    """
    from dvc.repo import Repo
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

    logging.getLogger("dvc").setLevel(logging.ERROR)  # of revisions that nothing had been run in yet
    repo = Repo(str(root))
    store_of = repo.cache.local
    if not Path(store_of.path).resolve().is_relative_to(Path(repo.root_dir).resolve() / ".dvc"):
        print(
            f"DVC's cache is {store_of.path}, which other checkouts may use: it stays; `dvc gc --projects` tidies it."
        )
        return 0, 0
    with repo.lock:
        known = [commit for commit in sorted(commits) if _is_there(commit, root)]
        used = repo.used_objs(all_branches=True, all_tags=True, all_experiments=True, revs=known)
        needed = {of.value for found in used.values() for of in found}
        for md5 in hashes:
            needed.add(md5)
            if md5.endswith(".dir") and store_of.exists(md5):
                needed |= {of.value for _, _, of in Tree.load(store_of, HashInfo("md5", md5))}
        paths = [Path(store_of.oid_to_path(md5)) for md5 in store_of.all() if md5 not in needed]
        size = sum(path.stat().st_size for path in paths if path.exists())
        for path in [] if dry_run else paths:
            path.unlink(missing_ok=True)
    return len(paths), size


def _is_there(commit: str, root: Path) -> bool:
    """In a shallow clone a commit may not be."""
    return not subprocess.run(
        ["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=root, capture_output=True
    ).returncode
