"""Runs the benchmarks of this folder, each in a process of its own, and prints what each one prints. Unless they are
named, the long ones and those that need a GPU are left out."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import time

from tasks.yard.step import cores

# Minutes on two quiet cores, generously; of what is LONG they depend on what was made before.
TAKES_MIN = {
    "annotate": 3,
    "apply": 1,
    "embed": 5,
    "ground_plane": 2,
    "label": 0.5,
    "pack": 1,
    "ranking": 2,
    "ray": 3,
    "splits": 1.5,
    "train": 5,
}
LONG = {
    "bike_parts": "some minutes, trains both ways three times",
    "coco": "two minutes, nearly all of them those of pycocotools",
    "gpu": "needs a GPU, 12 minutes there",
    "joint": "an hour, needs a finished run of brake_coast",
    "open_loop_driving": "10 minutes or more, and 7 GB of memory for one moment at the published sizes",
    "overhead": "a whole flow of brake_coast from nothing",
    "quality": "half an hour, needs a finished run of brake_coast",
    "rates": "ten minutes, nearly all of them drawing films, needs a finished run of brake_coast",
    "size": "half an hour, flows over up to 1,024 recordings",
    "tune": "five minutes, trains six searches",
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="on so little that the figures mean nothing")
    every = [*TAKES_MIN, *LONG]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(every)}")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(every):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(every)}")
    return chosen


def main() -> None:
    chosen = arguments()
    if len(chosen.names) == 1:
        importlib.import_module(f"tests.benchmarks.{chosen.names[0]}").main(tiny=chosen.tiny)
        return
    names = chosen.names or list(TAKES_MIN)
    print(f"{cores()} cores. Ratios are medians of interleaved runs; single figures depend on the machine.")
    if not chosen.names:
        if not chosen.tiny:
            print(f"About {sum(TAKES_MIN.values()):.0f} minutes on two quiet cores. ", end="")
        print("Left out unless named:", "; ".join(f"{name} ({why})" for name, why in LONG.items()))
    failed = []
    for name in names:
        print(f"\n== {name}", flush=True)
        began = time.monotonic()
        command = [sys.executable, "-m", "tests.benchmarks", name, *(["--tiny"] if chosen.tiny else [])]
        if subprocess.run(command).returncode:
            failed.append(name)
        print(f"-- {name}: {time.monotonic() - began:.0f} s", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
