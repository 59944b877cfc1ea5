"""One network as ONNX, checked against torch on moments of test, or of validation where test has none.

Reads    train/<network>/best.pt, pack/
Writes   export/model.onnx    the tensors that models/open_loop_driving/factory.py names in, of one or more moments;
                              waypoints (layers, n, steps, 2), alpha and beta (layers, n, steps, 2) out
         export/export.json   its inputs, its size, and the largest difference from torch
         export/report.html   these numbers on one page
Alone    python -m tasks open_loop_driving-export

Voxels are an input: points of two sweeps have no fixed number. `learning/batches.assembled` makes all of them.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from models.open_loop_driving.decoders import beta_of
from models.open_loop_driving.factory import layers_of
from models.open_loop_driving.variants import needs
from tasks.open_loop_driving.formats import pack as packs
from tasks.open_loop_driving.learning import untrained
from tasks.open_loop_driving.learning.batches import TOLD, Rows, assembled
from tasks.open_loop_driving.learning.drives import Drives
from tasks.open_loop_driving.learning.network import load_network
from tasks.open_loop_driving.learning.suited import EVERY, suited, unsuited
from tasks.open_loop_driving.params import Export
from tasks.yard.files import replacing, write_json
from tasks.yard.metrics.rounding import rounded
from tasks.yard.params import Reporting
from tasks.yard.reporting import sheet
from tasks.yard.reporting.words import rendered
from tasks.yard.step import BadInput, Context

log = logging.getLogger(__name__)
OPSET = 18
OUTPUTS = ("waypoints", "alpha", "beta")
LICENCE = "AGPL-3.0"
COMPARED = 8  # moments, evenly spread
MOST = 1e-3  # difference, in metres or of a Beta's parameter, from which the two are not the same


class Exported(nn.Module):
    def __init__(self, network: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = self.network(**dict(zip(self.names, inputs, strict=True)))
        return found["waypoints"], *beta_of(found["raw"])


def write_onnx(model: Exported, inputs: dict[str, Tensor], about: dict, path: Path) -> None:
    """Raises RuntimeError if the graph is not valid ONNX."""
    axes = {name: {0: "moments"} for name in inputs} | {name: {1: "moments"} for name in OUTPUTS}
    with warnings.catch_warnings(), replacing(path) as temporary:
        warnings.simplefilter("ignore")  # deprecation, fixed shapes: the result is compared with torch's
        torch.onnx.export(
            model, tuple(inputs.values()), temporary, dynamo=False, opset_version=OPSET, input_names=list(inputs),
            output_names=list(OUTPUTS), dynamic_axes=axes,
        )  # fmt: skip
        graph = onnx.load(temporary)
        props = {key: json.dumps(value, sort_keys=True) for key, value in {"license": LICENCE, **about}.items()}
        onnx.helper.set_model_props(graph, props)
        try:
            onnx.checker.check_model(graph, full_check=True)
        except onnx.checker.ValidationError as error:
            raise RuntimeError(f"{path}: the exported graph is not valid ONNX: {error}") from error
        onnx.save(graph, temporary)


def moments(pack: Path, name: str, config: dict) -> dict[str, Tensor]:
    """Some of test, or of validation where test has none, as the network takes them."""
    for split in ("test", "val"):
        drives = suited(Drives(pack, (split,)), name, list(config["cameras"]))
        if drives.routes:
            told = config.get("told", TOLD)
            rows = Rows(drives, name, list(config["cameras"]), config["network"]["steps"], told=told)
            some = np.linspace(0, len(rows) - 1, min(COMPARED, len(rows))).astype(int)
            return assembled(rows.raw(rows.windows[some]), name)
    why = unsuited(Drives(pack, EVERY), name, list(config["cameras"])) or "add routes for test"
    raise BadInput(f"{pack / 'manifest.json'}: no moment to compare torch and ONNX on; {why}")


def largest(model: Exported, inputs: dict[str, Tensor], path: Path) -> float:
    """The largest difference of any output, on one moment alone and on all at once."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for part in ({name: value[:1] for name, value in inputs.items()}, inputs):
        with torch.inference_mode():
            expected = [of.numpy() for of in model(*part.values())]
        found = session.run(None, {name: value.numpy() for name, value in part.items()})
        worst = max(worst, *(float(np.abs(a - b).max()) for a, b in zip(expected, found, strict=True)))
    return worst


def write_page(out: Path, name: str, numbers: dict[str, float], pack: Path, reporting: Reporting) -> None:
    exported = f"{name} as ONNX: how alike it is to torch, on moments that it has not learnt from."
    lead = exported if numbers else f"{name} is not exported, for it is not trained."
    world = rendered(["town"] if packs.manifest(pack).get("rendered") else [], "routes")
    title = "open_loop_driving: export"
    sheet.write(out, "open_loop_driving-export", title, lead, numbers, reporting.source_url, world)


def first(train: Mapping[str, Path]) -> str:
    """Of the networks that could be trained, in the order of train.networks, the first that sees; else the first."""
    there = [name for name, folder in train.items() if untrained.why_not(folder) is None] or list(train)
    return next((name for name in there if needs(name)), there[0])


def run(
    params: Export,
    out: Path,
    ctx: Context = Context(),
    *,
    pack: Path,
    train: dict[str, Path],
    reporting_params: Reporting,
) -> dict[str, float]:
    """Returns the largest difference from torch."""
    name = params.network or first(train)
    if name not in train:
        raise BadInput(f"open_loop_driving.export.network = {name}: it was not trained; there are: {', '.join(train)}")
    if why := untrained.why_not(train[name]):
        untrained.say(out, name, why, "is not exported")
        write_page(out, name, {}, pack, reporting_params)
        return {}
    network, config, scores = load_network(train[name] / "best.pt")
    inputs = moments(pack, name, config)
    model = Exported(network, list(inputs)).eval()
    about = {"network": config["network"], "layers": layers_of(name), "cameras": config["cameras"]}
    # What is traced must not hold a single moment: a shape of 1 would be spread where others are not.
    write_onnx(model, inputs, about, out / "model.onnx")
    worst = largest(model, inputs, out / "model.onnx")
    if not worst <= MOST:
        raise RuntimeError(f"{out / 'model.onnx'}: onnxruntime differs from torch by {worst:.2g}, more than {MOST:g}")
    told = {
        "network": name, "scores_on_validation": scores, "opset": OPSET, "max_difference_from_torch": worst,
        "compared_moments": len(inputs["state"]), "bytes": (out / "model.onnx").stat().st_size,
        "inputs": {name: ["n", *value.shape[1:]] for name, value in inputs.items()}, "outputs": list(OUTPUTS),
    }  # fmt: skip
    write_json(out / "export.json", rounded(told))
    numbers = {"max_difference": round(worst, 8)}
    write_page(out, name, numbers, pack, reporting_params)
    return numbers
