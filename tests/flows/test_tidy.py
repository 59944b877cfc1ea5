"""What goes from DVC's cache, and that nothing goes that anybody may ask for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from flows import tidy


def git(root: Path, *command: str) -> str:
    named = ["git", "-c", "user.name=t", "-c", "user.email=t@t", *command]
    return subprocess.run(named, cwd=root, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> tuple[Path, dict[str, Path]]:
    """A folder that DVC has seen in five states: {state: a file of the cache that only this state needs}"""
    from dvc.repo import Repo

    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "-q", "-b", "main")
    repo = Repo.init(".")
    held: dict[str, Path] = {}
    for state in ("tagged", "commit", "champion", "nobody", "now"):
        Path("data").mkdir(exist_ok=True)
        Path("data/file.txt").write_text(state)
        repo.add("data")
        md5 = Path("data.dvc").read_text().split("md5: ")[1].split()[0]
        held[f"{state}.dir"] = Path(repo.cache.local.oid_to_path(md5))
        held[state] = next(
            path for path in Path(".dvc/cache/files").rglob("*") if path.is_file() and path.read_text() == state
        )
        if state in ("tagged", "commit"):
            git(tmp_path, "add", "-A")
            git(tmp_path, "commit", "-qm", state)
        if state == "tagged":
            git(tmp_path, "tag", "v1")
    commit = git(tmp_path, "rev-parse", "HEAD")
    git(tmp_path, "reset", "-q", "--soft", "HEAD~1")  # of no branch any more; a run in MLflow names it
    (tmp_path / "commit").write_text(commit)
    return tmp_path, held


def test_the_cache_keeps_what_the_checkout_git_and_the_champion_need(checkout):
    root, held = checkout
    commit = (root / "commit").read_text()
    champion = held["champion.dir"].parent.name + held["champion.dir"].name
    given = {"commits": [commit, "0" * 40], "hashes": [champion, "f" * 32], "root": root}
    count, size = tidy.cache(**given, dry_run=True)
    assert count == 2 and size > 6 and all(path.exists() for path in held.values())
    assert tidy.cache(**given, dry_run=False) == (count, size)
    assert {name for name, path in held.items() if not path.exists()} == {"nobody", "nobody.dir"}
    assert tidy.cache(**given, dry_run=False) == (0, 0)


def test_a_yard_is_tidied_by_one_command_that_first_says_what_would_go(yard_copy):
    before = yard_copy.outputs()
    said = yard_copy.flow("tidy", "--dry-run")
    assert said.returncode == 0 and not said.stderr, said.stderr
    assert "toy: 0 runs would go; 1 stay. 0 versions would go; 0 stay." in said.stdout
    assert "DVC's cache: 0 files would go (0.0 MB)." in said.stdout
    refused = yard_copy.flow("tidy", "toy", "--runs", "0")
    assert refused.returncode == 2 and "at least 1 stays" in refused.stderr
    assert yard_copy.outputs() == before
