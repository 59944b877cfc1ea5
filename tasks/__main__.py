"""`python -m tasks <stage>`: run one step alone, as `dvc repro` does. `python -m tasks` lists the stages."""

from __future__ import annotations

import argparse
import logging
import sys
from functools import partial

from tqdm import tqdm

from tasks.yard import ending, imports, runner, stage
from tasks.yard.step import Context, plain
from tasks.yard.tracking.runs import ranked_first
from tasks.yard.workers import processes


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m tasks", description=__doc__,
        epilog="Values stand in params.yaml; `python -m flows run <line> --set line.step.key=value` writes one.",
    )  # fmt: skip
    made.add_argument("stage", nargs="?", help="a stage of dvc.yaml, such as brake_coast-label")
    return made


def main() -> int:
    imports.kept_to_the_end()
    arguments = parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if arguments.stage is None:
        for name, entry in stage.entries().items():
            print(f"{name + ('@<item>' if 'matrix' in entry else ''):34}{entry.get('desc', '')}")
        return 0
    ending.on_signals()
    ending.with_dvc()
    try:
        this = stage.stage(arguments.stage)
        with imports.kept():
            this.module()
        metrics = runner.run(arguments.stage, Context(map=partial(processes, device=this.uses_device), progress=tqdm))
    except KeyboardInterrupt:
        ending.leave()
    except Exception as error:
        if ending.is_told():
            ending.leave()
        if (said := str(error) if isinstance(error, ConnectionError) else plain(error)) is None:
            raise
        print(f"error: {said}", file=sys.stderr)
        return 1
    for name, value in metrics.items() if ranked_first() else ():  # under torchrun one of them says it
        print(f"{name:48}{value if value is None or isinstance(value, int) else format(value, '.4f')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
