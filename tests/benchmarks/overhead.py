"""What share of `make demo` is spent outside the steps: a flow run from nothing in a copy of this checkout."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main(tiny: bool = False) -> None:
    if tiny:
        print("no tiny form: this one needs a whole flow from nothing")
        return
    with tempfile.TemporaryDirectory() as folder:
        ignored = shutil.ignore_patterns(
            ".venv", ".git", ".trainyard", "data", "cache", "tmp", "mlruns", "mlflow.db", "dvc.lock"
        )
        shutil.copytree(ROOT, Path(folder, "yard"), ignore=ignored)
        subprocess.run(["git", "init", "-q"], cwd=Path(folder, "yard"), check=True)
        command = [sys.executable, "-m", "flows", "run", "brake_coast"]
        run = subprocess.run(command, cwd=Path(folder, "yard"), capture_output=True, text=True, check=True)
    wall_s, inside_s = map(
        float, re.search(r"up to date or restored: (\d+) s, of which (\d+) s in steps", run.stdout).groups()
    )
    print(f"brake_coast from nothing: {wall_s:.0f} s, {(wall_s - inside_s) / wall_s:.0%} of it outside the steps")
    print("(server start, imports, task runs, hashing, recording in dvc.lock)")
