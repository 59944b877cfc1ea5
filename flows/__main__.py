"""Run a line, see what is out of date, view a recording, apply a model, serve the UIs and the schedules."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import logging
import os
import sys
import time
import webbrowser
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from flows import deployments, environment, lock
from tasks.yard import ending, imports, params, ray_address
from tasks.yard import stage as stages
from tasks.yard.step import BadInput, Context, plain, suggestion

HELD = 3  # exit status: another run holds this checkout


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m flows", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="bring a line up to date", description=_run.__doc__)
    run.add_argument("line", help=f"one of: {', '.join(params.lines())}")
    run.add_argument(
        "--set", action="append", default=[], metavar="LINE.STEP.KEY=VALUE", help="write a value into params.yaml"
    )
    run.add_argument("--force", action="append", default=[], metavar="STEP", help="run this step again, from scratch")
    part = run.add_mutually_exclusive_group()
    part.add_argument(
        "--until",
        metavar="STEP",
        help="run this step and what it needs, and nothing after it; several with commas between them",
    )
    part.add_argument("--only", metavar="STEP", help="run this step alone, on what lies there")
    run.add_argument(
        "--from", dest="first", metavar="DATE", help="take what the source has from this day on, in blocks"
    )
    run.add_argument("--to", dest="last", metavar="DATE", help="take it up to this day, which is included")
    run.add_argument(
        "--block",
        metavar="SIZE",
        help="with --from or --to: 7d for 7 days a block, 50 for 50 recordings; 30d by default",
    )
    run.add_argument("--dry-run", action="store_true", help="say what would run, and why; run and write nothing")
    run.add_argument("--wait", action="store_true", help="wait for another run that holds this checkout")
    status = commands.add_parser(
        "status", help="which stages are up to date, and why the others are not", description=_status.__doc__
    )
    status.add_argument("line", nargs="?", help="all lines by default")
    status.add_argument("--json", action="store_true", help="for scripts: reasons and seconds of each stage, by line")
    check = commands.add_parser(
        "check",
        help="is all there that a run of a line needs: MLflow, remote, room, sources",
        description=_check.__doc__,
    )
    check.add_argument("line", help=f"one of: {', '.join(params.lines())}")
    view = commands.add_parser("view", help="look through a result in the browser", description=_view.__doc__)
    view.add_argument("line", help="a line that has a viewer")
    view.add_argument("recording", help="its name: a drive, query, sequence, ride, photograph or route")
    view.add_argument("--out", type=Path, metavar="FILE", help="the page; data/<line>/view/<recording>.html by default")
    view.add_argument(
        "--embed-mb", type=float, default=40, metavar="MB", help="pictures in the page, up to so many MB; 40"
    )
    view.add_argument("--no-open", action="store_true", help="write the page, do not open it")
    apply = commands.add_parser(
        "apply",
        help="the champion of a line, or other weights, on new input without labels",
        description=_apply.__doc__,
    )
    apply.add_argument("line", help="a line that can be applied")
    apply.add_argument("input", nargs="+", help="a folder, file, archive or address, as the line's download reads")
    apply.add_argument(
        "--model", metavar="NAME", help="models:/<line>@champion by default, or models:/<line>/<version>"
    )
    apply.add_argument("--weights", metavar="FILE", help="these instead of a registered model")
    apply.add_argument("--out", type=Path, metavar="FOLDER", help="data/<line>/apply by default; a folder an input")
    apply.add_argument("--detector", metavar="FILE", help="of a line that looks by one: instead of the model's own")
    apply.add_argument(
        "--query", nargs="+", metavar="IMAGE", help="of person_search: whom to find, a photograph of one person each"
    )
    apply.add_argument("--no-film", action="store_true", help="numbers alone, which take a fraction of the time")
    apply.add_argument(
        "--set", action="append", default=[], metavar="LINE.STEP.KEY=VALUE", help="for this call alone; see params.yaml"
    )
    champion = commands.add_parser("champion", help="who is served; change it by hand", description=_champion.__doc__)
    champion.add_argument("line", help=f"one of: {', '.join(params.lines())}")
    by_hand = champion.add_mutually_exclusive_group()
    by_hand.add_argument("--promote", metavar="VERSION", help="make this registered version champion")
    by_hand.add_argument("--rollback", action="store_true", help="back to who was champion before")
    champion.add_argument("--because", default="", metavar="TEXT", help="kept with the version")
    compare = commands.add_parser("compare", help="this run of a line against that one", description=_compare.__doc__)
    compare.add_argument("line", help=f"one of: {', '.join(params.lines())}")
    compare.add_argument("run", nargs="*", help="its number, name or MLflow id; the newest that ended well by default")
    tidy = commands.add_parser(
        "tidy", help="remove old runs, versions, and what nobody needs of DVC's cache", description=_tidy.__doc__
    )
    tidy.add_argument("line", nargs="?", help="all lines by default; the cache is one for all")
    tidy.add_argument("--runs", type=int, default=50, metavar="N", help="so many of the newest stay; 50 by default")
    tidy.add_argument("--versions", type=int, default=10, metavar="N", help="so many stay; 10 by default")
    tidy.add_argument("--dry-run", action="store_true", help="say what would go; delete nothing")
    serve = commands.add_parser(
        "serve", help="front page, Prefect UI, MLflow UI and the schedules of prefect.yaml, until Ctrl-C"
    )
    serve.add_argument(
        "part", nargs="*", metavar="PART", help="prefect, mlflow, nights or front, for one host of a team; all of them"
    )
    commands.add_parser("deploy", help="register prefect.yaml with a Prefect server, and make its work pools")
    worker = commands.add_parser("worker", help="take the runs of a work pool, until Ctrl-C or SIGTERM")
    worker.add_argument("--pool", default="trainyard", metavar="NAME", help="trainyard by default")
    worker.add_argument("--limit", type=int, default=1, metavar="N", help="runs at once; a clone holds one")
    return made


def main(arguments: list[str] | None = None) -> int:
    imports.kept_to_the_end()
    chosen = parser().parse_args(arguments)
    environment.prepare()
    if chosen.command not in ("serve", "worker"):  # which end others first
        ending.on_signals()
    try:
        doors = {
            "run": _run, "status": _status, "check": _check, "view": _view, "apply": _apply, "champion": _champion,
            "compare": _compare, "tidy": _tidy, "serve": _serve, "deploy": _deploy, "worker": _worker,
        }  # fmt: skip
        return doors[chosen.command](chosen)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        ending.leave()
    except Exception as error:
        if ending.is_told():
            ending.leave()
        if (said := plain(error)) is None:
            raise
        print(f"error: {said}", file=sys.stderr)
        return 1


def _run(chosen: argparse.Namespace) -> int:
    """Bring a line up to date. Each stage of dvc.yaml that has changed runs as a Prefect task; the others are shown as
    up to date."""
    from flows import check

    params.refuse_unknown_line(chosen.line)
    params.load()
    if chosen.set:  # refused before a flow has it as a parameter, which Prefect would keep
        params.set_values(chosen.set, write=False)
    if not chosen.wait:
        try:
            lock.refuse_if_held(environment.STATE)
        except lock.Held as error:
            print(f"error: {error}", file=sys.stderr)
            return HELD
    about = stages.chosen_entries(chosen.line, chosen.until, chosen.only)
    stages.asked_for(chosen.line, [step.partition("@")[0] for step in chosen.force], about)
    parts = _parts(chosen)
    if chosen.dry_run:
        return _would_run(chosen, parts)
    began = time.monotonic()
    check.refuse(chosen.line, chosen.set, chosen.force, about)
    with environment.server():
        with imports.kept():  # while the server starts: they take as long as the start
            from prefect.exceptions import PrefectHTTPStatusError

            from flows import step_server, worker
            from flows.line import STOPPED, run_line

        step_server.fork()
        if not (Path("dvc.lock").exists() or chosen.wait):  # nothing was ever made here: it will be needed
            worker.warm_up(any(stages.wants_device(stages.entries()[name]) for name in about))
        environment.wait()
        environment.guarded()  # also before the run has the checkout
        try:
            for number, part in enumerate(parts, 1):
                if part.said:
                    print(part.said, flush=True)
                state = run_line(
                    chosen.line, part.set, part.force, chosen.wait, part.until, chosen.only, return_state=True
                )
                environment.unguard()
                if not state.is_completed():
                    break
                if number < len(parts):
                    made = state.result().made
                    print(f"{len(made)} stages ran; killed now, the same command goes on from here.", flush=True)
        except PrefectHTTPStatusError as error:  # mostly because its database cannot be written
            said = (
                f"error: Prefect's server failed ({error.response.status_code}): is its disk full? Its log says why "
                f"(of the embedded one {environment.STATE / 'server.log'}); what is finished is kept, run again"
            )
            ending.hurry(said, 2)
            ending.leave()  # Prefect would try for a minute to tell that server more
        except RuntimeError as error:
            if not str(error).startswith("Failed to reach API"):  # Prefect's words, and no class of its own
                raise
            said = f"error: PREFECT_API_URL = {os.environ['PREFECT_API_URL']}: the server has ended; run again with it"
            ending.hurry(said, 1)
            ending.leave()
        if state.name == STOPPED:
            ending.leave()
        outcome = state.result(raise_on_failure=False)
        all_is_sent = environment.flush_logs()
    code = _told(chosen, parts, state, outcome, began)
    if not all_is_sent:  # nobody waits for its threads
        sys.stdout.flush()
        os._exit(code)
    return code


def _told(chosen: argparse.Namespace, parts: list[Part], state: Any, outcome: Any, began: float) -> int:
    """Say how a run ended; returns the exit status."""
    from flows import results
    from tasks.yard.tracking import owed

    if not state.is_completed():
        print(f"error: {state.message}", file=sys.stderr)
        return HELD if state.name == "Held" else 1
    wall_s, inside_s = time.monotonic() - began, results.inside_steps_s(outcome.made)
    if outcome.whole:
        print(f"\n{results.table(chosen.line)}")
    if outcome.champion:
        print(f"Champion: {outcome.champion}.")
    print(
        f"{len(outcome.made)} of {len(outcome.states)} stages ran, the others were up to date or restored: "
        f"{wall_s:.0f} s, of which {inside_s:.0f} s in steps."
    )
    if said := results.longest(outcome.made):
        print(said)
    if said := owed.said():
        print(said[0].upper() + said[1:] + ".")
    if chosen.last:
        print(f"Later days are not taken: {parts[-1].set[-1]}; null takes every day.")
    if not outcome.whole:
        print(f"Next: a run without --until and --only brings the rest of {chosen.line} up to date.")
        return 0
    print(f"Next: open {results.report(chosen.line) / 'report.html'}; `make serve` for the Prefect and MLflow pages.")
    return 0


@dataclass(frozen=True)
class Part:
    """One run of the command: there are several where the days of a source are taken in blocks."""

    set: list[str]
    force: list[str]
    until: str | None
    said: str = ""


def _parts(chosen: argparse.Namespace) -> list[Part]:
    if not chosen.first and not chosen.last:
        if chosen.block:
            raise BadInput("--block is the size of the blocks of --from and --to: name one of these, or both")
        return [Part(chosen.set, chosen.force, chosen.until)]
    from flows import backfill

    if chosen.only:
        raise BadInput("--from and --to take new recordings, which --only does not bring; --until goes with them")
    wanted = backfill.asked(chosen.first, chosen.last)
    blocks = backfill.plan(chosen.line, wanted, chosen.block or "30d", chosen.set)
    step, parts = backfill.source_step(chosen.line), []
    for number, block in enumerate(blocks, 1):
        last = number == len(blocks)
        days = f"{chosen.line}.{step}.dates={json.dumps(block.dates)}"
        until = chosen.until if last else backfill.steps(chosen.line, chosen.until)
        said = f"block {number} of {len(blocks)}: {block.days}, {block.recordings} recordings"
        parts.append(Part([*(chosen.set if number == 1 else []), days], chosen.force if last else [], until, said))
    return parts


def _would_run(chosen: argparse.Namespace, parts: list[Part]) -> int:
    """What a run would do, by what is known before it."""
    from flows import status

    print(*(part.said for part in parts if part.said), sep="\n", end="\n" if parts[0].said else "")
    assignments = [*chosen.set, *(parts[-1].set if parts[-1].said else [])]
    changes = params.set_values(assignments, write=False) if assignments else {}
    plan = status.plan(chosen.line, changes, chosen.force, chosen.until, chosen.only)
    for name, reasons in plan.items():
        print(f"{name:48} {'; '.join(reasons) or 'up to date'}")
    print(f"{sum(map(bool, plan.values()))} of {len(plan)} stages would run, or come back from DVC's run cache.")
    return 0


def _status(chosen: argparse.Namespace) -> int:
    """List the stages: each one is up to date, has changed (param, code, dependency or output), or has never run."""
    from flows import status
    from tasks.yard.tracking import owed

    params.load()
    if chosen.line is not None:
        params.refuse_unknown_line(chosen.line)
    if chosen.json:
        told = {**status.told(chosen.line), "owed": owed.said() or None, "ray": ray_address.told() or None}
        told["deployments"] = deployments.fault()
        print(json.dumps(told, indent=1))
        return 0
    for _, name, reasons in status.stages([chosen.line] if chosen.line else params.lines()):
        print(f"{name:48} {'; '.join(reasons) or 'up to date'}")
    if said := owed.said():
        print(said)
    if ray_address.told():
        print(f"work over recordings goes to Ray: {ray_address.fault() or f'{ray_address.told()} answers'}")
    deployments.described()  # says which of them cannot run
    return 0


def _check(chosen: argparse.Namespace) -> int:
    """Ask all that a run needs of the world around it, and change nothing: a line a thing, and exit status 2 if a run
    could not be."""
    from flows import check

    params.refuse_unknown_line(chosen.line)
    found = list(check.findings(chosen.line))
    print(*found, sep="\n")
    return 2 if any(finding.fault and not finding.bearable for finding in found) else 0


def _view(chosen: argparse.Namespace) -> int:
    """Write a page that shows one recording with what the line says of it, and open it if there is a display."""
    module = f"tasks.{chosen.line}.view"
    params.refuse_unknown_line(chosen.line)
    if importlib.util.find_spec(module) is None:
        raise BadInput(f"the line {chosen.line} has no viewer; it would be tasks/{chosen.line}/view.py")
    section = getattr(params.load(), chosen.line)
    out = chosen.out or Path("data", chosen.line, "view", f"{Path(chosen.recording).name}.html")
    ctx = Context(progress=partial(tqdm, leave=False))
    notes = importlib.import_module(module).write(
        chosen.recording, out, section, Path("data", chosen.line), ctx, embed_mb=chosen.embed_mb
    )
    print("\n".join([*notes, f"{out} ({out.stat().st_size / 1e6:.1f} MB)"]))
    display = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if display and not chosen.no_open:
        webbrowser.open(out.resolve().as_uri())
    return 0


def _apply(chosen: argparse.Namespace) -> int:
    """Apply a model to new input. Each input has a folder of results below --out, with apply.json: what was found, what
    was left out and why, and which model it was. Exit status 1: parts were left out; 2: nothing could be used."""
    from flows import apply

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    options = {"detector": chosen.detector, "no_film": chosen.no_film, "query": chosen.query}
    return apply.main(chosen.line, chosen.input, chosen.model, chosen.weights, chosen.out, chosen.set, options)


def _champion(chosen: argparse.Namespace) -> int:
    """List the registered versions of a line, the newest first, with their scores and why each was champion. The next
    models challenge whoever was promoted; what was taken back challenges nobody any more."""
    from tasks.yard.tracking import by_hand, judged

    params.refuse_unknown_line(chosen.line)
    if chosen.promote or chosen.rollback:
        with lock.checkout(environment.STATE, wait=True):  # a run may be about to crown somebody
            told = (
                by_hand.promote(chosen.line, chosen.promote, chosen.because)
                if chosen.promote
                else by_hand.roll_back(chosen.line, chosen.because)
            )
        print(told)
    print("\n".join(by_hand.table(chosen.line)) or f"{chosen.line} has no registered version yet")
    if why := judged.uncrowned(chosen.line):
        print(f"Now {why}.")
    return 0


def _compare(chosen: argparse.Namespace) -> int:
    """Two runs of a line beside each other: commit, data, the params that differ, and the numbers that people compare.
    Without a run, the last two that ended well; with one, that one and the newest other."""
    from tasks.yard.tracking import compared

    params.refuse_unknown_line(chosen.line)
    if len(chosen.run) > 2:
        raise BadInput("compare takes two runs at most")
    print(*compared.lines(chosen.line, chosen.run), sep="\n")
    return 0


def _tidy(chosen: argparse.Namespace) -> int:
    """Old runs and registered versions go from MLflow with their files, and from DVC's cache what nobody needs any
    more. Never what the champion, the one before it, dvc.lock as it is, or a branch, tag or experiment of git uses;
    nor a run or version with the tag `keep`."""
    from flows import tidy

    return tidy.main(chosen.line, chosen.runs, chosen.versions, chosen.dry_run)


def _serve(chosen: argparse.Namespace) -> int:
    from flows import serve

    for part in chosen.part:
        if part not in serve.PARTS:
            raise BadInput(f"serve has no part {part}; {suggestion(part, serve.PARTS, 'its parts')}")
    return serve.main(chosen.part)


def _deploy(_chosen: argparse.Namespace) -> int:
    from flows import pools

    return pools.deploy()


def _worker(chosen: argparse.Namespace) -> int:
    from flows import pools

    return pools.work(chosen.pool, chosen.limit)


if __name__ == "__main__":
    sys.exit(main())
