"""A step with curves and a device, in one process a scale."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.yard.files import write_json, write_text
from tasks.yard.step import Context


def run(params, out, ctx=Context(), *, scale: str, square, collect) -> dict:
    score = int((square / "sum.txt").read_text()) * params.scale * int(scale)
    score += int(Path(params.weights).read_text()) if params.weights else 0
    write_json(out / "score.json", score)
    write_text(
        out / "history.jsonl", "".join(json.dumps({"epoch": e, "loss": score / (e + 1)}) + "\n" for e in range(3))
    )
    return {"score": score, "undefined": None}
