"""A detector's network and its file: find it, load it, save it; its classes, and the device it is to run on.

Ultralytics is kept from what it does unasked: no telemetry, no logger integrations, no settings in the user's home, no
downloads (fonts, a model for the AMP check), no packages installed, no pickled code run (checkpoints are read with
`weights_only`), nothing printed. Part of that is in __init__.py, since it has to come before ultralytics.
"""

# Private parts of ultralytics, which is pinned because of them: torch_safe_load and its message; the keys ema and model
# of a checkpoint; SETTINGS as a plain dict; the font's name in USER_CONFIG_DIR; GITHUB_ASSETS_NAMES and
# attempt_download_asset; check_yaml; of a network its criterion, args and yaml.

from __future__ import annotations

import copy
import io
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import torch
from ultralytics.nn.modules.head import Detect
from ultralytics.nn.tasks import torch_safe_load
from ultralytics.utils import SETTINGS, USER_CONFIG_DIR
from ultralytics.utils.checks import check_yaml
from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset

from tasks.yard.detector import CACHE
from tasks.yard.files import replacing
from tasks.yard.sources.turn import turn
from tasks.yard.step import BadInput

LICENCE = "AGPL-3.0"  # of Ultralytics, of the networks made with it, and of this project
DEFAULT_SIZE_PX = 640
INTEGRATIONS = ("sync", "clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")


def settle() -> None:
    """Turn integrations off, and put a font where ultralytics would download one."""
    # Past its own `update`, which would rewrite the settings file under other processes.
    dict.update(SETTINGS, dict.fromkeys(INTEGRATIONS, False))
    font = USER_CONFIG_DIR / "Arial.ttf"
    if not font.exists():
        with replacing(font) as temporary:
            shutil.copyfile(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), temporary)


def device_of(name: str | list[int]) -> str:
    """`auto` is the first GPU if there is one, else the CPU; `1` is GPU 1; several are `0,1`, as ultralytics has it.

    Torch's own names stay.
    """
    name = ",".join(map(str, name)) if isinstance(name, list) else name
    if name == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    return f"cuda:{name}" if name.isdigit() else name


def first_device_of(name: str | list[int]) -> str:
    """The device, as torch names it, that does what is not shared among several."""
    named = device_of(name)
    return device_of(named.split(",")[0]) if "," in named else named


def weights_file(weights: str | Path) -> Path:
    """The file of that path, or of Ultralytics' published weights of that name, downloaded once. Raises `BadInput`."""
    path, cached = Path(weights), CACHE / "weights" / weights
    if path.exists():
        return path
    if str(weights) not in GITHUB_ASSETS_NAMES:
        raise BadInput(f"{weights}: no such weights file; train one first, or give a file or a name like yolo12n.pt")
    with turn(cached, str(weights)):
        if not cached.exists():
            part = cached.parent / "part" / weights  # what is downloaded hangs on the name
            part.parent.mkdir(parents=True, exist_ok=True)
            part.unlink(missing_ok=True)  # of a killed download: ultralytics would take it for the whole file
            try:
                attempt_download_asset(part)
                part.replace(cached)
            except Exception as error:
                raise BadInput(f"{weights}: cannot be downloaded ({error}); give the path of a local file") from None
    return cached


def start_file(start: str) -> str:
    """What a training starts from: a network's .yaml (a file, or the name of one that ultralytics ships) or weights."""
    if not start.endswith((".yaml", ".yml")):
        path = weights_file(start)
        load_network(path)
        return str(path)
    shipped = Path(start).name == start and check_yaml(re.sub(r"(\d+)[nslmx]", r"\1", start), hard=False)
    if not Path(start).is_file() and not shipped:
        raise BadInput(f"{start}: no such network description; give a .yaml file, or a name like yolo12n.yaml")
    return start


def load_network(path: Path) -> torch.nn.Module:
    """The detection network of a checkpoint, float32 in eval mode. Raises `BadInput` if the file does not hold one."""
    remedy = "give the .pt file of an Ultralytics detection model"
    if path.suffix != ".pt":
        raise BadInput(f"{path}: not a .pt file; {remedy}")
    try:
        checkpoint, _ = torch_safe_load(path, safe_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0].removeprefix("ERROR ❌️ ")
        raise BadInput(f"{path}: not a model that can be read ({reason}); {remedy}") from None
    network = (checkpoint.get("ema") or checkpoint.get("model")) if isinstance(checkpoint, dict) else None
    if not isinstance(network, torch.nn.Module) or not isinstance(network.model[-1], Detect):
        raise BadInput(f"{path}: holds no YOLO detector; {remedy}")
    return network.float().eval()


def save_network(network: torch.nn.Module, path: Path, settings: Mapping[str, Any]) -> None:
    """Write weights that ultralytics can load. Equal networks give equal bytes: no dates, paths or optimizer state."""
    network = copy.deepcopy(network).half()
    network.criterion, network.args = None, {"task": "detect", **settings}
    network.yaml.pop("yaml_file", None)
    buffer = io.BytesIO()  # saved to a file, the archive would carry the file's name
    torch.save({"model": network, "train_args": network.args, "license": LICENCE}, buffer)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def trained_size(weights: Path) -> int:
    """The longer side, in px, of the images that a detector was trained on, as its file says; ultralytics' default for
    one that does not."""
    said = getattr(load_network(weights), "args", None)
    size = said.get("imgsz") if isinstance(said, Mapping) else getattr(said, "imgsz", None)
    return max(size) if isinstance(size, (list, tuple)) else int(size or DEFAULT_SIZE_PX)


def class_names(weights: Path) -> list[str]:
    """Class names of a detector, in the order of their numbers."""
    return list(load_network(weights).names.values())
