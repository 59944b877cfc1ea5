"""Run a line, see what is out of date, view a recording, serve the UIs and the schedules."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import time
import webbrowser
from functools import partial
from pathlib import Path

from tqdm import tqdm

from flows import deployments, environment, lock
from tasks.yard import ending, params
from tasks.yard import stage as stages
from tasks.yard.step import BadInput, Context

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
    run.add_argument("--wait", action="store_true", help="wait for another run that holds this checkout")
    status = commands.add_parser(
        "status", help="which stages are up to date, and why the others are not", description=_status.__doc__
    )
    status.add_argument("line", nargs="?", help="all lines by default")
    check = commands.add_parser(
        "check",
        help="is all there that a run of a line needs: MLflow, remote, room, sources",
        description=_check.__doc__,
    )
    check.add_argument("line", help=f"one of: {', '.join(params.lines())}")
    view = commands.add_parser("view", help="play a recording in the browser", description=_view.__doc__)
    view.add_argument("line", help="a line that has a viewer")
    view.add_argument("recording", help="its name: a folder in data/<line>/download")
    view.add_argument("--out", type=Path, metavar="FILE", help="the page; data/<line>/view/<recording>.html by default")
    view.add_argument("--no-open", action="store_true", help="write the page, do not open it")
    commands.add_parser("serve", help="Prefect UI, MLflow UI and the schedules of prefect.yaml, until Ctrl-C")
    return made


def main(arguments: list[str] | None = None) -> int:
    chosen = parser().parse_args(arguments)
    environment.prepare()
    if chosen.command != "serve":  # which ends its servers first
        ending.on_signals()
    try:
        return {"run": _run, "status": _status, "check": _check, "view": _view, "serve": _serve}[chosen.command](chosen)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        ending.leave()


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
    stages.asked_for(chosen.line, [step.partition("@")[0] for step in chosen.force], stages.entries())
    began = time.monotonic()
    check.refuse(chosen.line, chosen.set, chosen.force)
    with environment.server():
        # Imported while the server starts: the import takes as long as the start.
        from prefect.exceptions import PrefectHTTPStatusError

        from flows import results
        from flows.line import STOPPED, run_line
        from tasks.yard.tracking import owed

        environment.wait()
        try:
            state = run_line(chosen.line, chosen.set, chosen.force, chosen.wait, return_state=True)
        except PrefectHTTPStatusError as error:  # mostly because its database cannot be written
            said = (
                f"error: Prefect's server failed ({error.response.status_code}): is its disk full? Its log says why "
                f"(of the embedded one {environment.STATE / 'server.log'}); what is finished is kept, run again"
            )
            ending.hurry(said, 2)
            ending.leave()  # Prefect would try for a minute to tell that server more
        if state.name == STOPPED:
            ending.leave()
        outcome = state.result(raise_on_failure=False)
        environment.flush_logs()
    if not state.is_completed():
        print(f"error: {state.message}", file=sys.stderr)
        return HELD if state.name == "Held" else 1
    wall_s, inside_s = time.monotonic() - began, results.inside_steps_s(outcome.made)
    print(f"\n{results.table(chosen.line)}")
    if outcome.champion:
        print(f"Champion: {outcome.champion}.")
    print(
        f"{len(outcome.made)} of {len(outcome.states)} stages ran, the others were up to date or restored: "
        f"{wall_s:.0f} s, of which {inside_s:.0f} s in steps."
    )
    if said := owed.said():
        print(said[0].upper() + said[1:] + ".")
    print(f"Next: open {results.report(chosen.line) / 'report.html'}; `make serve` for the Prefect and MLflow pages.")
    return 0


def _status(chosen: argparse.Namespace) -> int:
    """List the stages: each one is up to date, has changed (param, code, dependency or output), or has never run."""
    from flows.graph import Graph
    from tasks.yard.tracking import owed

    params.load()
    if chosen.line is not None:
        params.refuse_unknown_line(chosen.line)
    shown: set[str] = set()
    for line in [chosen.line] if chosen.line else params.lines():
        graph = Graph(line)
        for name in [name for name in graph.stages if name not in shown]:
            shown.add(name)
            print(f"{name:48} {'; '.join(graph.why(name)) or 'up to date'}")
    if said := owed.said():
        print(said)
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
    """Write a page that plays one recording, with the predictions of the runs, and open it if there is a display."""
    module = f"tasks.{chosen.line}.view"
    params.refuse_unknown_line(chosen.line)
    if importlib.util.find_spec(module) is None:
        raise BadInput(f"the line {chosen.line} has no viewer; it would be tasks/{chosen.line}/view.py")
    section = getattr(params.load(), chosen.line)
    out = chosen.out or Path("data", chosen.line, "view", f"{Path(chosen.recording).name}.html")
    ctx = Context(progress=partial(tqdm, leave=False))
    notes = importlib.import_module(module).write(chosen.recording, out, section, Path("data", chosen.line), ctx)
    print("\n".join([*notes, f"{out} ({out.stat().st_size / 1e6:.1f} MB)"]))
    display = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if display and not chosen.no_open:
        webbrowser.open(out.resolve().as_uri())
    return 0


def _serve(_chosen: argparse.Namespace) -> int:
    from flows import serve

    return serve.main()


if __name__ == "__main__":
    sys.exit(main())
