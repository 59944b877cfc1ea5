"""Processes that share one training: torchrun starts them on this machine, this one waits and draws their progress.
They end with it, however it ends."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tasks.yard.files import replacing
from tasks.yard.step import Context

TELLS = "trainyard-progress "  # begins a line that is not meant for people
BY_SIGNAL = re.compile(r"exitcode\s*: -\d")  # in torchrun's report
ROOT = Path(__file__).absolute().parents[3]


class Killed(RuntimeError):
    """One of the processes was ended by a signal: out of memory, most likely."""


class Drawing:
    """A progress bar that another process tells of, a line a call."""

    def __init__(self, progress: Callable[..., Any]) -> None:
        self._progress, self._bar = progress, None

    def takes(self, line: str) -> bool:
        """Draws what a line tells; False for one that is meant for people."""
        if not line.startswith(TELLS):
            return False
        call, values = json.loads(line.removeprefix(TELLS))
        if call == "begin":
            self.close()
            self._bar = self._progress(**values)
        else:
            getattr(self._bar, call)(**values)
        return True

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def launch(
    module: str, told: Path, processes: int, progress: Callable[..., Any], joins: Sequence[str] = ("--standalone",)
) -> None:
    """`take_part(told)` of a module in so many processes; `joins`: torchrun's options of those on other machines.

    Raises what they refuse, or `RuntimeError`.
    """
    refused = told.with_name(f"{told.name}.refused")
    refused.unlink(missing_ok=True)
    torchrun = ["-m", "torch.distributed.run", *joins, f"--nproc_per_node={processes}", "--no-python"]
    part = f"import sys; from {module} import take_part; from pathlib import Path; take_part(Path(sys.argv[1]))"
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, *torchrun, sys.executable, "-c", part, str(told)],
        stdin=subprocess.PIPE,  # never written to; its end tells them that this process is gone, however it died
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    drawing, said = Drawing(progress), deque[str](maxlen=60)
    assert process.stdout is not None and process.stdin is not None
    try:
        for line in process.stdout:
            if not drawing.takes(line):
                said.append(line.rstrip())
        code = process.wait()
    finally:
        process.terminate()
        process.stdin.close()
        process.wait()
        process.stdout.close()
        drawing.close()
    if refused.exists():
        error = pickle.loads(refused.read_bytes())  # ours: written a moment ago
        refused.unlink()
        raise error
    if code:
        told_why = "\n".join(filter(None, said))
        kind = Killed if BY_SIGNAL.search(told_why) else RuntimeError
        raise kind(f"training in {processes} processes failed:\n{told_why}")


class Telling:
    """A progress bar that another process draws, see `Drawing`: `say` brings it a line."""

    def __init__(self, say: Callable[[str], None], **values: Any) -> None:
        self._say = say
        self._tell("begin", values)

    def _tell(self, call: str, values: Mapping[str, Any]) -> None:
        self._say(f"{TELLS}{json.dumps([call, values])}")

    def __enter__(self) -> Telling:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self) -> None:
        self._tell("update", {})

    def set_postfix(self, **values: Any) -> None:
        self._tell("set_postfix", values)

    def close(self) -> None:
        """Left to the process that draws."""


def _print(line: str) -> None:
    print(f"\n{line}", flush=True)


def part(told: Path, work: Callable[[Callable[..., Any]], object], plain: tuple[type[Exception], ...]) -> None:
    """In each of the processes: `work(progress)`. Of these exceptions nobody needs a traceback: they go back."""
    threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
    try:
        work(partial(Telling, _print) if os.environ["RANK"] == "0" else Context().progress)
    except plain as error:
        with replacing(told.with_name(f"{told.name}.refused")) as file:
            file.write_bytes(pickle.dumps(error))
        sys.exit(1)
