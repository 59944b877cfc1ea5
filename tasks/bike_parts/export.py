"""The network that was best on validation, for onnxruntime; how alike the two are, and how fast.

Reads    train/<network>/best.pt, split/test_coco.json and photographs in download/
Writes   model.onnx      photo (H, W, 3) uint8 RGB, a canvas as learning/batches.py fits a photograph into ->
                         boxes (n, 4) x1, y1, x2, y2 px of the canvas, parts (n) 1..K, scores (n), states (n, 4);
                         overlaps are suppressed within; its metadata names parts, states, canvas and licence
         export.json     differences from torch
         latency.json    one photograph at a time, on each runtime
         report.html     all of these numbers on one page
Alone    python -m tasks bike_parts-export

Latencies differ from run to run, so latency.json and the page alone are not the same bytes again.
"""

from __future__ import annotations

import json
import logging
import platform
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from models.bike_parts.detector import PartDetector
from tasks.bike_parts.formats import photos as photos_of
from tasks.bike_parts.formats.photos import STATES
from tasks.bike_parts.learning import batches
from tasks.bike_parts.learning.network import canvas_of, load_network
from tasks.bike_parts.params import Export
from tasks.yard.detector.network import LICENCE
from tasks.yard.files import read_json, replacing, write_json
from tasks.yard.metrics.boxes import ious
from tasks.yard.metrics.rounding import rounded
from tasks.yard.params import Reporting
from tasks.yard.reporting import sheet
from tasks.yard.reporting.words import rendered
from tasks.yard.step import BadInput, Context

log = logging.getLogger(__name__)
OPSET = 18
OUTPUTS = ("boxes", "parts", "scores", "states")
TORCH, ORT = "torch", "onnxruntime"
WARM_UP = 3  # photographs: the first calls allocate
SAME_BOX = 0.9  # overlap from which a box of the two runtimes is the same
Runner = Callable[[np.ndarray], list[np.ndarray]]  # canvas (H, W, 3) uint8 -> OUTPUTS


class OnePhoto(nn.Module):
    """Bytes in, what is found out."""

    def __init__(self, network: PartDetector):
        super().__init__()
        self.network = network

    def forward(self, photo: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        (found,) = self.network(batches.normalised(photo[None]))
        return found["boxes"], found["labels"], found["scores"], found["states"]


def write_onnx(model: OnePhoto, example: Tensor, about: dict[str, Any], path: Path) -> None:
    """By torch's tracing exporter: its successor knows no suppression of overlaps. Raises RuntimeError if the graph is
    not valid ONNX."""
    rows = {name: {0: "found"} for name in OUTPUTS}
    with warnings.catch_warnings(), replacing(path) as temporary:
        warnings.simplefilter("ignore")  # deprecation, fixed shapes: the result is compared with torch's
        torch.onnx.export(
            model, (example,), temporary, dynamo=False, opset_version=OPSET, input_names=["photo"],
            output_names=list(OUTPUTS), dynamic_axes=rows,
        )  # fmt: skip
        graph = onnx.load(temporary)
        props = {"license": LICENCE, **about}
        onnx.helper.set_model_props(graph, {key: json.dumps(value, sort_keys=True) for key, value in props.items()})
        try:
            onnx.checker.check_model(graph, full_check=True)
        except onnx.checker.ValidationError as error:
            raise RuntimeError(f"{path}: the exported graph is not valid ONNX: {error}") from error
        onnx.save(graph, temporary)


def on_torch(model: OnePhoto) -> Runner:
    @torch.inference_mode()
    def run(photo: np.ndarray) -> list[np.ndarray]:
        return [of.numpy() for of in model(torch.from_numpy(photo))]

    return run


def on_onnxruntime(path: Path, threads: int) -> Runner:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda photo: session.run(None, {"photo": photo})


def difference(a: Sequence[np.ndarray], b: Sequence[np.ndarray], floor: float) -> float:
    """The largest in a score or a state between boxes of `a` and the same ones of `b`; 1 where one has none.

    Of two boxes that are as sure as each other the order may differ, and one near the floor may be missing: those
    within a hundredth of it do not count.
    """
    worst = 0.0
    for one, other in ((a, b), (b, a)):
        for i in np.flatnonzero(one[2] >= floor + 0.01):
            there = np.flatnonzero((ious(one[0][i : i + 1], other[0]) > SAME_BOX) & (other[1] == one[1][i]))
            apart = [max(abs(one[2][i] - other[2][j]), np.abs(one[3][i] - other[3][j]).max()) for j in there]
            worst = max(worst, min(map(float, apart), default=1.0))
    return worst


def leader(train: dict[str, Path]) -> str:
    """The network with the best score on validation; the first one where none has a score."""

    def score(name: str) -> float:
        found = load_network(train[name] / "best.pt")[2].get("score")
        return float("-inf") if found is None else found

    return max(train, key=score)


def spread(count: int, most: int) -> list[int]:
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int)).tolist() if count else []


def took_ms(runner: Runner, photos: Sequence[np.ndarray]) -> dict[str, float]:
    for photo in photos[:WARM_UP]:
        runner(photo)
    found = []
    for photo in photos:
        begin = time.perf_counter()
        runner(photo)
        found.append(1000 * (time.perf_counter() - begin))
    return {"median": float(np.median(found)), "p95": float(np.quantile(found, 0.95))}


def run(
    params: Export,
    out: Path,
    ctx: Context = Context(),
    *,
    download: Path,
    split: Path,
    train: dict[str, Path],
    reporting_params: Reporting,
) -> dict[str, float]:
    """Returns the largest difference from torch, and latencies."""
    name = leader(train)
    network, config, scores = load_network(train[name] / "best.pt")
    photos = photos_of.read(split, "test")
    if not photos.photos:
        raise BadInput(f"{photos_of.path_of(split, 'test')}: holds no photograph to compare the runtimes on; add some")

    def canvases(most: int) -> list[np.ndarray]:
        rows = spread(len(photos.photos), most)
        return [batches.read(download / photos.photos[row].name, canvas_of(config)).picture for row in rows]

    model, compared = OnePhoto(network).eval(), canvases(params.compared_photos)
    about = {
        "network": name, "parts": config["parts"], "states": list(STATES), **config["canvas"],
        "input": "RGB bytes; the photograph in the upper left corner of the canvas",
    }  # fmt: skip
    threads = torch.get_num_threads()
    torch.set_num_threads(params.threads)
    try:
        write_onnx(model, torch.from_numpy(compared[0]), about, out / "model.onnx")
        runners = {TORCH: on_torch(model), ORT: on_onnxruntime(out / "model.onnx", params.threads)}
        found = {key: [runner(photo) for photo in compared] for key, runner in runners.items()}
        floor = config["keep"]["floor"]
        worst = max(difference(a, b, floor) for a, b in zip(found[TORCH], found[ORT], strict=True))
        if not worst <= params.max_difference:
            raise RuntimeError(
                f"{out / 'model.onnx'}: {ORT} differs from torch by {worst:.2g} in a score or state of the test "
                f"photographs, more than bike_parts.export.max_difference = {params.max_difference:g}"
            )
        timed = canvases(params.timed_photos)
        took = {key: took_ms(runner, timed) for key, runner in runners.items()}
    finally:
        torch.set_num_threads(threads)
    told = {
        "network": name, "scores_on_validation": scores, "compared_photos": len(compared), "opset": OPSET,
        "compared_boxes": sum(len(of[0]) for of in found[TORCH]), "max_difference_from_torch": worst,
        "bytes": (out / "model.onnx").stat().st_size, "parts": config["parts"], "canvas": config["canvas"],
    }  # fmt: skip
    write_json(out / "export.json", rounded(told))
    machine = {
        "machine": platform.machine(), "threads": params.threads, "photos": len(timed), "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
    }  # fmt: skip
    write_json(out / "latency.json", rounded({"measured_on": machine, "ms": took}))
    speeds = {f"{key}_ms_{q}": value for key, of in took.items() for q, value in of.items()}
    numbers = {key: round(float(value), 8) for key, value in {"max_difference": worst, **speeds}.items()}
    lead = f"{name}, the best network on validation, for onnxruntime: how alike it is to torch, and how fast."
    units = [read_json(file) for file in sorted(download.glob("*/unit.json"))]
    world = rendered(("bikes" if unit["rendered"] else "photographs" for unit in units), "batches")
    sheet.write(out, "bike_parts-export", "bike_parts: export", lead, numbers, reporting_params.source_url, world)
    return numbers
