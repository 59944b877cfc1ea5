"""Runs every benchmark of this folder, or the named ones, and prints what each one prints."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from tasks.yard.step import cores


def main() -> None:
    every = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))
    chosen = sys.argv[1:] or every
    if unknown := set(chosen) - set(every):
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(every)}")
    print(f"{cores()} cores. Ratios are medians of interleaved runs; single figures depend on the machine.")
    for name in chosen:
        print(f"\n== {name}", flush=True)
        importlib.import_module(f"tests.benchmarks.{name}").main()


if __name__ == "__main__":
    main()
