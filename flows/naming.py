"""What a run is called: its line, its day, and which run of the line in this checkout it is."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from filelock import FileLock

from flows.environment import STATE
from tasks.yard import params
from tasks.yard.files import write_text


def run_name() -> str:
    """Of the flow run that begins. Prefect asks for it once a run."""
    from prefect.runtime import flow_run

    given = flow_run.parameters
    part = next((f" {word} {given[word]}" for word in ("until", "only") if given.get(word)), "")
    return named(str(given.get("line") or "brake_coast")) + part


def named(line: str, state: Path = STATE) -> str:
    """`brake_coast 2026-11-29 #12`. The day is that of this machine. Without a number where none can be kept: a name is
    no reason to end a run."""
    day = datetime.now().astimezone().date().isoformat()
    if line not in params.lines():  # of a deployment that is misspelt: the flow says so
        return f"{line} {day}"
    try:
        kept = state / "numbers" / line
        kept.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(state / "numbers.lock", timeout=10):
            known = kept.read_text(encoding="utf-8").strip() if kept.exists() else ""
            number = int(known) + 1 if known.isdecimal() else 1
            write_text(kept, f"{number}\n")
    except (OSError, TimeoutError):
        return f"{line} {day}"
    return f"{line} {day} #{number}"
