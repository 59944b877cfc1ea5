"""Let the world around a flow run fail at random moments, and see that nothing is lost.

    python -m tests.faults                              # the toy line, each fault at 20 moments: three hours on 2 cores
    python -m tests.faults toy ground_plane             # and a small real line, whose runs take minutes: a day
    python -m tests.faults toy bike_parts --moments 3 --faults mlflow SIGTERM
    python -m tests.faults --team 20                    # the toy line beside a team's stores, struck 20 times

A trial is a yard of its own: a run that a fault meets, then the fault is mended, then a second run. It must hold that

    the first run ends by itself, after a signal within --limit seconds, and leaves no process behind
    one that fails says so in a line that begins with `error:`, without a traceback (a killed one says nothing)
    the second run succeeds, and DVC then has nothing to do
    every file of data/ has the bytes of an undisturbed run (what two of these do not agree on, timings, is left out)
    MLflow has a finished run of each tracked stage, none that stands as running, and nothing is owed to it

With --team there is one yard, with Postgres under Prefect and MLflow, and S3 under DVC and MLflow's artifacts. Its runs
are struck at random moments: the run is killed, or a process of it; MLflow is, while a stage trains or while its end is
told; Prefect's server is; S3 refuses all writes for --refuse seconds; Postgres is restarted. Servers are started again
before the next run. A line that is done before all has happened is made anew, from nothing. Then nothing strikes any
more, and what is above must hold of all runs and of a last one; and what another clone pulls from S3 is whole.

Prints a row a fault, or a run; lists what did not hold, keeps the folders of those trials, and ends with status 1.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import pytest
from tqdm import tqdm

from tests.faults import team
from tests.faults.faults import FAULTS
from tests.faults.trial import Reference, Trial, reference, run
from tests.faults.yards import LINES


def moments(count: int, duration_s: float, seed: int) -> list[float]:
    """Random, and spread over the whole run: one in each of `count` equal parts of it."""
    rng = random.Random(seed)
    return [duration_s * (i + rng.random()) / count for i in range(count)]


def row(fault: str, trials: list[Trial]) -> str:
    met = [trial for trial in trials if trial.met]
    ends = [trial.ended_s for trial in met]
    good = sum(not trial.failures for trial in trials)
    seconds = f"median {median(ends):5.1f} s, longest {max(ends):5.1f} s" if ends else "-"
    return f"{fault:10} {good:3} of {len(trials):3} held, {len(met):3} met the run; from the fault to its end {seconds}"


def team_of(line: str, chosen: argparse.Namespace, folder: Path, undisturbed: Reference) -> bool:
    """Did anything not hold?"""
    root = folder / line / "team"
    try:
        told = team.struck(line, chosen.team, root, undisturbed, chosen.limit, chosen.seed, chosen.refuse)
    except pytest.skip.Exception as missing:
        sys.exit(f"error: {missing}; `make setup` installs it")
    for kind, count in told.met.items():
        print(f"{kind:45} {count:3} times")
    print(f"{told.runs} runs were struck, of which {told.well} ended well; {len(told.failures)} things did not hold")
    for failure in told.failures:
        print(f"  {root}: {failure}", flush=True)
    return bool(told.failures)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = f"of {', '.join(LINES)}; toy by default, give a real one beside it"
    parser.add_argument("lines", nargs="*", default=["toy"], help=which)
    parser.add_argument("--faults", nargs="+", choices=list(FAULTS), default=list(FAULTS), help="all by default")
    parser.add_argument("--moments", type=int, default=20, help="trials of each fault")
    parser.add_argument("--limit", type=float, default=10, metavar="S", help="from a signal to the end of the run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="trials at once; with more the limit is soon too short")
    parser.add_argument("--team", type=int, metavar="N", help="strike a team's yard N times, in place of the trials")
    parser.add_argument("--refuse", type=float, default=60, metavar="S", help="with --team: S3 takes no writes")
    parser.add_argument("--folder", type=Path, help="where the yards are made; a temporary folder by default")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else the servers beside the runs stay
    if unknown := set(chosen.lines) - LINES.keys():
        parser.error(f"no line {', '.join(sorted(unknown))}; there are {', '.join(LINES)}")
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="faults-"))
    failed = False
    for line in chosen.lines:
        undisturbed: Reference = reference(line, folder / line, 1 if chosen.team else chosen.jobs)
        print(f"\n== {line}: {undisturbed.duration_s:.0f} s undisturbed, {len(undisturbed.outputs)} files", flush=True)
        if chosen.team:
            failed |= team_of(line, chosen, folder, undisturbed)
            continue
        for fault in chosen.faults:
            times = moments(chosen.moments, undisturbed.duration_s, chosen.seed)
            places = [folder / line / f"{fault}-{i:02d}" for i in range(len(times))]
            with ThreadPoolExecutor(chosen.jobs) as pool:
                jobs = [
                    pool.submit(run, line, fault, at_s, place, undisturbed, chosen.limit)
                    for at_s, place in zip(times, places, strict=True)
                ]
                try:
                    trials = [job.result() for job in tqdm(jobs, desc=f"{line} {fault}", unit="trial", leave=False)]
                except KeyboardInterrupt:  # those at work clean up behind them, no other begins
                    pool.shutdown(wait=True, cancel_futures=True)
                    raise
            print(row(fault, trials), flush=True)
            for trial, place in zip(trials, places, strict=True):
                for failure in trial.failures:
                    failed = True
                    print(f"  at {trial.at_s:.1f} s ({place}): {failure}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
