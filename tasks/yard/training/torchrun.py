"""Processes that share one training on this machine: torchrun starts them, this one waits and draws their progress.
They end with it, however it ends."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tasks.yard.files import replacing
from tasks.yard.step import Context

TELLS = "trainyard-progress "  # begins a line that is not meant for people
ROOT = Path(__file__).absolute().parents[3]


def launch(module: str, told: Path, processes: int, progress: Callable[..., Any]) -> None:
    """`take_part(told)` of a module in so many processes. Raises what they refuse, or `RuntimeError`."""
    refused = told.with_name(f"{told.name}.refused")
    refused.unlink(missing_ok=True)
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "--no-python"]
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
    bar, said = None, deque[str](maxlen=60)
    assert process.stdout is not None and process.stdin is not None
    try:
        for line in process.stdout:
            if not line.startswith(TELLS):
                said.append(line.rstrip())
                continue
            call, values = json.loads(line.removeprefix(TELLS))
            if call == "begin":
                bar = progress(**values)
            else:
                getattr(bar, call)(**values)
        code = process.wait()
    finally:
        process.terminate()
        process.stdin.close()
        process.wait()
        process.stdout.close()
        if bar is not None:
            bar.close()
    if refused.exists():
        error = pickle.loads(refused.read_bytes())  # ours: written a moment ago
        refused.unlink()
        raise error
    if code:
        raise RuntimeError(f"training in {processes} processes failed:\n" + "\n".join(filter(None, said)))


class Telling:
    """A progress bar that is drawn by the process at the other end of stdout."""

    def __init__(self, **values: Any) -> None:
        self._tell("begin", values)

    def _tell(self, call: str, values: Mapping[str, Any]) -> None:
        print(f"\n{TELLS}{json.dumps([call, values])}", flush=True)

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


def part(told: Path, work: Callable[[Callable[..., Any]], object], plain: tuple[type[Exception], ...]) -> None:
    """In each of the processes: `work(progress)`. Of these exceptions nobody needs a traceback: they go back."""
    threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
    try:
        work(Telling if os.environ["RANK"] == "0" else Context().progress)
    except plain as error:
        with replacing(told.with_name(f"{told.name}.refused")) as file:
            file.write_bytes(pickle.dumps(error))
        sys.exit(1)
