"""The best network, and the detector before it, for runtimes other than torch; how alike they are, and how fast.

Reads    evaluate/details.json (which run is best on validation), train/<run>/best.pt, pack/{val,test}.h5, the
         detector's weights (train_detector/best.pt, or annotate.weights), and for real frames download and annotate
Writes   model.onnx         telemetry (N, T, F), detections (N, T, S, 6), detection_masks (N, T, S) -> probabilities
                            (N, tasks); its metadata names the tasks, the features, their ranges and the licence
         model.int8.onnx    the same with int8 weights, where it keeps its PR-AUC on validation
         detector.onnx      images (N, 3, height, width) in 0..1 -> what Detector.detect reads; if there are pictures
         export.json        differences from torch, PR-AUC, sizes
         latency.json, latency.png    one frame at a time, through the detector and the network, on each runtime
         report.html        the picture and all numbers on one page
Alone    python -m tasks brake_coast-export

Latencies differ from run to run, so of these the last three alone are not the same bytes again. Int8 PR-AUC on the test
drives is told; what decides is validation.
"""

from __future__ import annotations

import copy
import json
import logging
import platform
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import torch
from matplotlib.figure import Figure
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from tasks.brake_coast.annotate import detector_of, look
from tasks.brake_coast.formats.windows import Split
from tasks.brake_coast.judging.analyses.inputs import Inputs
from tasks.brake_coast.judging.runs import split_name
from tasks.brake_coast.learning.inference import Windows, load_model
from tasks.brake_coast.page import data_card
from tasks.brake_coast.params import Annotate, Export
from tasks.yard.detector.look import Detector, Frame
from tasks.yard.detector.network import LICENCE
from tasks.yard.files import file_hash, replacing, write_json
from tasks.yard.layouts.images import decoded
from tasks.yard.metrics import binary
from tasks.yard.metrics.rounding import rounded
from tasks.yard.params import Reporting
from tasks.yard.reporting import charts, sheet
from tasks.yard.reporting.words import rendered
from tasks.yard.step import BadInput, Context

log = logging.getLogger(__name__)
OPSET = 18
INPUTS = ("telemetry", "detections", "detection_masks")
TORCH, ORT, INT8, VINO = "torch", "onnxruntime", "onnxruntime int8", "openvino"
COLOURS = {TORCH: "#c2410c", ORT: "#2b6be4", INT8: "#8b3fd1", VINO: "#0f8a6a"}
WARM_UP = 10  # frames: the first calls allocate
CHECKED_FRAMES = 16  # on which the detectors are compared
Runner = Callable[..., np.ndarray]  # arrays in the order of INPUTS -> output


class Probabilities(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, telemetry: Tensor, boxes: Tensor, mask: Tensor) -> Tensor:
        return torch.sigmoid(self.network(telemetry, boxes, mask))


class FirstOutput(nn.Module):
    """A YOLO network in eval mode also returns what its loss needs."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        output = self.network(images)
        return output[0] if isinstance(output, (list, tuple)) else output


def write_onnx(
    module: nn.Module,
    example: tuple[Tensor, ...],
    inputs: Sequence[str],
    output: str,
    about: dict[str, Any],
    path: Path,
) -> None:
    """An ONNX file that takes any number of rows; its metadata holds `about` and the licence.

    Raises RuntimeError if the graph is not valid ONNX.

    By torch's tracing exporter: its successor gives the same numbers, takes longer and one package more.
    """
    # In ONNX since opset 9, but not known to torch's exporter.
    torch.onnx.register_custom_op_symbolic("aten::asinh", lambda graph, x: graph.op("Asinh", x), OPSET)
    rows = {name: {0: "rows"} for name in (*inputs, output)}
    with warnings.catch_warnings(), replacing(path) as temporary:
        warnings.simplefilter("ignore")  # deprecation, fixed shapes: the result is compared with torch's
        torch.onnx.export(
            module, example, temporary, dynamo=False, opset_version=OPSET, input_names=list(inputs),
            output_names=[output], dynamic_axes=rows,
        )  # fmt: skip
        graph = onnx.load(temporary)
        props = {"license": LICENCE, **about}
        onnx.helper.set_model_props(
            graph, {key: json.dumps(value, sort_keys=True) for key, value in sorted(props.items())}
        )
        try:
            onnx.checker.check_model(graph, full_check=True)
        except onnx.checker.ValidationError as error:
            raise RuntimeError(f"{path}: the exported graph is not valid ONNX: {error}") from error
        onnx.save(graph, temporary)


def write_int8(source: Path, path: Path) -> None:
    with replacing(path) as temporary:
        before = logging.root.level
        logging.root.setLevel(logging.ERROR)  # it advises a pre-processing that changes nothing here
        try:
            quantize_dynamic(source, temporary, weight_type=QuantType.QInt8)
        finally:
            logging.root.setLevel(before)


def on_onnxruntime(path: Path, threads: int) -> Runner:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return lambda *arrays: session.run(None, dict(zip(names, arrays, strict=True)))[0]


def on_openvino(path: Path, threads: int, rows: int = -1) -> Runner:
    """In float32: where the processor has bf16 it would else take that, with other numbers. `rows` -1: any number.

    Compiled in a thread of its own: OpenVINO 2026.4 gives the thread that loads its plugin an 11.5 KB stack for
    signals, which a signal's frame alone fills on a processor with AMX: the next SIGCHLD or Ctrl-C would be a
    segmentation fault.
    """
    model = openvino.Core().read_model(path)
    model.reshape({value: [rows, *list(value.partial_shape)[1:]] for value in model.inputs})
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    with ThreadPoolExecutor(1) as thread:
        compiled = thread.submit(openvino.Core().compile_model, model, "CPU", options).result()
    request = compiled.create_infer_request()
    return lambda *arrays: next(iter(request.infer(list(arrays)).values()))


def on_torch(module: nn.Module) -> Runner:
    @torch.inference_mode()
    def run(*arrays: np.ndarray) -> np.ndarray:
        return module(*map(torch.from_numpy, arrays)).numpy()

    return run


@dataclass(frozen=True)
class Data:
    """The windows of a split, as every runtime takes them."""

    split: Split
    gather: Windows

    @classmethod
    def of(cls, split: Split) -> Data:
        return cls(split, Windows(split.frames, split.frames.window_frames))

    def window(self, starts: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(tensor.contiguous().numpy() for tensor in self.gather(torch.from_numpy(np.asarray(starts))))

    def probabilities(self, runner: Runner, batch: int, tasks: int, some: int | None = None) -> np.ndarray:
        """(windows, tasks) of all windows, or of `some` spread evenly over them."""
        starts = self.split.starts
        if some is not None:
            starts = starts[np.unique(np.linspace(0, len(starts) - 1, min(some, len(starts))).astype(int))]
        parts = [runner(*self.window(starts[at : at + batch])) for at in range(0, len(starts), batch)]
        return np.concatenate([np.empty((0, tasks), np.float32), *parts])

    def pr_auc(self, p: np.ndarray, tasks: Sequence[str]) -> dict[str, float | None]:
        """Of each task, None where the split has no positive."""
        found = {}
        for k, task in enumerate(tasks):
            y = self.split.labels(task)
            found[task] = binary.scores(y[y >= 0], p[y >= 0, k].astype(float))["pr_auc"]
        return found


def mean_area(found: dict[str, float | None]) -> float | None:
    areas = [area for area in found.values() if area is not None]
    return float(np.mean(areas)) if areas else None


def export_network(params: Export, inputs: Inputs, out: Path) -> tuple[dict, dict[str, Runner]]:
    """Writes model.onnx and model.int8.onnx; returns what export.json says of them, and each runtime to be timed."""
    network, config = load_model(inputs.checkpoint(inputs.leader))
    model, tasks = Probabilities(network).eval(), config["tasks"]
    val, test = Data.of(inputs.val), Data.of(inputs.test)
    about = {"run": inputs.leader, "tasks": tasks, "window": network.config.window, **config["data"]}
    example = tuple(map(torch.from_numpy, test.window(test.split.starts[:2])))
    write_onnx(model, example, INPUTS, "probabilities", about, out / "model.onnx")

    runners = {TORCH: on_torch(model)}
    runners |= {
        ORT: on_onnxruntime(out / "model.onnx", params.threads),
        VINO: on_openvino(out / "model.onnx", params.threads),
    }
    p = {
        name: test.probabilities(of, params.batch, len(tasks), params.compared_windows) for name, of in runners.items()
    }
    differences = {name: float(np.abs(p[name] - p[TORCH]).max()) for name in (ORT, VINO)}
    for name, difference in differences.items():
        if not difference <= params.max_difference:
            raise RuntimeError(
                f"{out / 'model.onnx'}: {name} differs from torch by {difference:.2g} in a probability of the test "
                f"windows, more than brake_coast.export.max_difference = {params.max_difference:g}"
            )

    write_int8(out / "model.onnx", out / "model.int8.onnx")
    int8 = on_onnxruntime(out / "model.int8.onnx", params.threads)
    areas = {
        split: {
            name: data.pr_auc(data.probabilities(runner, params.batch, len(tasks)), tasks)
            for name, runner in ((TORCH, runners[TORCH]), (INT8, int8))
        }
        for split, data in (("validation", val), ("test", test))
    }
    before, after = (mean_area(areas["validation"][name]) for name in (TORCH, INT8))
    loss = None if before is None or after is None else before - after
    kept = loss is not None and loss <= params.int8_max_loss
    sizes = {name: (out / name).stat().st_size for name in ("model.onnx", "model.int8.onnx")}
    because = (
        "validation has no positive to judge by" if loss is None
        else f"mean PR-AUC on validation {before:.4f} -> {after:.4f}: a loss of {loss:+.4f}, "
        f"{'within' if kept else 'above'} int8_max_loss = {params.int8_max_loss:g}"
    )  # fmt: skip
    runners[VINO] = on_openvino(out / "model.onnx", params.threads, rows=1)  # as it is used at its fastest
    if kept:
        runners[INT8] = int8
    else:
        (out / "model.int8.onnx").unlink()
    found = {
        "run": inputs.leader, "tasks": tasks, "test_windows": len(test.split.starts), "compared_windows": len(p[TORCH]),
        "max_difference_from_torch": differences,
        "int8": {"kept": kept, "because": because, "validation_loss": loss}, "pr_auc": areas, "bytes": sizes,
        "opset": OPSET,
    }  # fmt: skip
    return found, runners


def seen_frames(inputs: Inputs, model: Detector, count: int) -> list[tuple[int, Frame]]:
    """At most `count` test windows with a picture at their end, evenly over the drives: (start, picture to detect on).

    All of one canvas, that of the first: cameras of different sizes need a detector.onnx each.
    """
    starts, last = inputs.test.starts, inputs.test.frames.window_frames - 1
    chosen: list[tuple[int, Frame]] = []
    for start in starts[np.unique(np.linspace(0, len(starts) - 1, min(count, len(starts))).astype(int))].tolist():
        path, roi = inputs.image(start + last), inputs.roi_px(start + last)
        image = decoded(path) if path is not None and roi is not None else None
        if image is None:
            continue
        size = image.shape[1], image.shape[0]
        frame = look(path, model=model, size_px=size, roi_px=list(roi))
        if frame is not None and (not chosen or frame.pixels.shape == chosen[0][1].pixels.shape):
            chosen.append((start, frame))
    return chosen


class Elsewhere:
    """Stands in for the network of a `Detector`: the same call, by another runtime."""

    def __init__(self, runner: Runner):
        self.runner = runner

    def __call__(self, images: Tensor) -> Tensor:
        return torch.from_numpy(self.runner(images.contiguous().numpy()))


def export_detector(
    params: Export, model: Detector, weights: Path, frames: list[Frame], out: Path
) -> tuple[dict, dict[str, Detector]]:
    """Writes detector.onnx for the canvas of `frames`; returns what export.json says of it, and a detector a
    runtime."""
    height, width = frames[0].pixels.shape[:2]
    network = FirstOutput(model.network).eval()
    about = {
        "classes": list(model.network.names.values()),
        "input": "RGB in 0..1",
        "weights_sha256": file_hash(weights),
    }
    path = out / "detector.onnx"
    write_onnx(network, (torch.zeros(1, 3, height, width),), ("images",), "boxes", about, path)
    detectors = {TORCH: model}
    for name, runner in (
        (ORT, on_onnxruntime(path, params.threads)),
        (VINO, on_openvino(path, params.threads, rows=1)),
    ):
        detectors[name] = copy.copy(model)
        detectors[name].network = Elsewhere(runner)

    some = frames[:: -(-len(frames) // CHECKED_FRAMES)]
    images = torch.from_numpy(np.stack([frame.pixels for frame in some])).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        networks = {name: network if name == TORCH else of.network for name, of in detectors.items()}
        raw = {name: torch.cat([of(image) for image in images.split(1)]).numpy() for name, of in networks.items()}
    # With the suppression of overlaps inside it, a network's rows are ranked by confidence and may change places.
    boxes = (slice(None), slice(0, 4)) if not model.end2end else (slice(None), slice(None), slice(0, 4))
    differences = {name: float(np.abs(raw[name][boxes] - raw[TORCH][boxes]).max()) for name in (ORT, VINO)}
    for name, difference in differences.items():
        if not model.end2end and not difference <= params.detector_max_difference_px:
            raise RuntimeError(
                f"{path}: {name} differs from torch by {difference:.2g} px in a box, more than "
                f"brake_coast.export.detector_max_difference_px = {params.detector_max_difference_px:g}"
            )
    found = {
        "weights": str(weights), "canvas_px": [width, height], "compared_frames": len(some),
        "bytes": path.stat().st_size, "max_box_difference_from_torch_px": differences,
    }  # fmt: skip
    return found, detectors


def latencies_ms(
    networks: dict[str, Runner], detectors: dict[str, Detector], windows: list[tuple], frames: list[Frame], threads: int
) -> dict[str, dict[str, np.ndarray]]:
    """{runtime: {"detector": (frames), "network": (frames)}}: each frame by every runtime, another one first each time.

    The detector's time holds the suppression of overlaps, which is torch's everywhere. Int8 is of the network alone:
    its detector is ONNX Runtime's.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    names = list(networks)
    took: dict[str, dict[str, list[float]]] = {name: {"detector": [], "network": []} for name in names}
    try:
        for i in range(-min(WARM_UP, len(windows)), len(windows)):
            turn = i % len(names)
            for name in names[turn:] + names[:turn]:
                spent = {}
                began = time.perf_counter()
                if frames:
                    detectors[ORT if name == INT8 else name].detect([frames[i]])
                spent["detector"] = time.perf_counter() - began
                began = time.perf_counter()
                networks[name](*windows[i])
                spent["network"] = time.perf_counter() - began
                if i >= 0:
                    for part, seconds in spent.items():
                        took[name][part].append(1000 * seconds)
    finally:
        torch.set_num_threads(before)
    return {name: {part: np.array(values) for part, values in parts.items()} for name, parts in took.items()}


def summary(took: dict[str, dict[str, np.ndarray]], has_detector: bool) -> dict[str, dict[str, dict[str, float]]]:
    """{runtime: {detector, network, frame: {p50, p95}}} in ms; without a detector only the network's."""
    found = {}
    for name, parts in took.items():
        whole = (
            {**parts, "frame": parts["detector"] + parts["network"]} if has_detector else {"network": parts["network"]}
        )
        found[name] = {
            part: dict(zip(("p50", "p95"), np.quantile(values, [0.5, 0.95]).tolist(), strict=True))
            for part, values in whole.items()
        }
    return found


def picture(found: dict[str, dict]) -> Figure:
    parts = list(next(iter(found.values())))
    titles = {"detector": "detector", "network": "network", "frame": "both: a frame"}
    figure = Figure(figsize=(3.4 * len(parts) + 0.8, 0.42 * len(found) + 1.3))
    for axis, part in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts, strict=True):
        widest = max(of[part]["p95"] for of in found.values())
        for y, (name, of) in enumerate(reversed(found.items())):
            p50, p95 = of[part]["p50"], of[part]["p95"]
            axis.barh(y, p50, color=COLOURS[name], height=0.55)
            axis.hlines(y, p50, p95, color=charts.INK, linewidth=1.2)
            axis.text(p95 + 0.02 * widest, y, f"{p50:.2f}", va="center", fontsize=8)
        axis.set(title=titles[part], xlabel="ms: bar p50, line to p95", xlim=(0, 1.22 * widest))
        axis.set_yticks(range(len(found)), list(reversed(found)) if part == parts[0] else [""] * len(found))
        axis.grid(axis="y", visible=False)
    return figure


def write_page(out: Path, numbers: dict[str, float], download: Path, reporting: Reporting) -> None:
    lead = "The best network, and the detector before it, for runtimes other than torch: how alike they are, how fast."
    world = rendered(data_card.layouts(download), "recordings")
    sheet.write(out, "brake_coast-export", "brake_coast: export", lead, numbers, reporting.source_url, world)


def run(
    params: Export,
    out: Path,
    ctx: Context = Context(),
    *,
    annotate_params: Annotate,
    download: Path,
    annotate: Path,
    pack: Path,
    train: dict[str, Path],
    evaluate: Path,
    train_detector: Path,
    reporting_params: Reporting,
) -> dict[str, float]:
    """Returns the differences from torch, PR-AUC of float and int8, and the median latencies."""
    inputs = Inputs(download, annotate, pack, train, evaluate)
    if not inputs.runs:
        raise BadInput(
            f"{evaluate}/details.json: no trained run was judged; run brake_coast-train and brake_coast-evaluate first"
        )
    if split_name(inputs.leader)[1]:
        write_json(
            out / "export.json", {"null_because": f"{evaluate}: every network that was judged is blind, and no product"}
        )
        write_page(out, {}, download, reporting_params)
        return {}
    found, networks = export_network(params, inputs, out)

    weights, model = detector_of(annotate_params.model_copy(update={"device": "cpu"}), train_detector) or (None, None)
    seen = seen_frames(inputs, model, params.frames) if model else []
    data = Data.of(inputs.test)
    if seen:
        starts, frames = [start for start, _ in seen], [frame for _, frame in seen]
        found["detector"], detectors = export_detector(params, model, weights, frames, out)
    else:
        every = inputs.test.starts
        starts, frames, detectors = every[np.linspace(0, len(every) - 1, params.frames).astype(int)].tolist(), [], {}
        found["detector"] = {"null_because": "the test drives have no picture to show a detector"}
        (out / "detector.onnx").unlink(missing_ok=True)
    write_json(out / "export.json", rounded(found))

    windows = [data.window(np.array([start])) for start in starts]
    took = summary(latencies_ms(networks, detectors, windows, frames, params.threads), bool(frames))
    machine = {
        "machine": platform.machine(), "threads": params.threads, "frames": len(windows), "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__, "openvino": openvino.__version__,
    }  # fmt: skip
    write_json(out / "latency.json", rounded({"measured_on": machine, "ms": took}))
    charts.save(out / "latency.png", lambda: picture(took))

    areas = {
        f"{split}/{name.replace(' ', '_')}/pr_auc": mean_area(of)
        for split, by in found["pr_auc"].items()
        for name, of in by.items()
    }
    speeds = {
        f"{name.replace(' ', '_')}/{part}_ms_{q}": value
        for name, parts in took.items() for part, of in parts.items() for q, value in of.items()
    }  # fmt: skip
    worst = max(found["max_difference_from_torch"].values())
    numbers = {"max_difference": worst, "int8_kept": int(found["int8"]["kept"]), **areas, **speeds}
    told = {name: round(float(value), 8) for name, value in numbers.items() if value is not None}
    write_page(out, told, download, reporting_params)
    return told
