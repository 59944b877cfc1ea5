"""Training a YOLO detector: the dataset as ultralytics may have it, and a trainer that can be killed at any moment."""

# Private parts of ultralytics, which is pinned because of them: check_amp of its trainer's module; of DetectionTrainer
# the methods _setup_train, _close_dataloader_mosaic, _handle_nan_recovery, save_model, final_eval, setup_model and
# preprocess_batch as overridden here, and stopper, scheduler, ema, tloss, lr, loss, fitness, train_loader; of its
# loader reset and generator; of its dataset transforms, collate_fn,
# buffer, ims and cache; of a network criterion and
# init_criterion; unwrap_model and RANK.

from __future__ import annotations

import json
import logging
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import yaml
from torch.utils.data import get_worker_info
from ultralytics.engine import trainer as engine_trainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import RANK
from ultralytics.utils.torch_utils import unwrap_model

from tasks.yard.detector.network import save_network, settle
from tasks.yard.files import replacing, write_text
from tasks.yard.step import BadInput

log = logging.getLogger(__name__)

STATE, EPOCHS = "state.pt", "epochs"  # in a training's folder of work
IMAGES = (".jpg", ".jpeg", ".png")


def view(dataset: Path, folder: Path) -> tuple[Path, list[str]]:
    """A stand-in for a YOLO dataset that ultralytics may write its caches into; returns its dataset.yaml and splits.

    Images are links one by one (ultralytics resolves a linked folder and would then write beside the originals).
    """
    try:
        description = yaml.safe_load((dataset / "dataset.yaml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{dataset}/dataset.yaml: no such file; {dataset} has to be a YOLO dataset") from None
    shutil.rmtree(folder, ignore_errors=True)
    splits = []
    for split in ("train", "val", "test"):
        if split not in description:
            if split == "test":
                continue
            raise BadInput(f"{dataset}/dataset.yaml: no key {split!r}, the folder of its images")
        folder_of_images = dataset / description[split]
        images = sorted(path for path in folder_of_images.glob("*") if path.suffix in IMAGES)
        if not images:
            raise BadInput(f"{dataset}/dataset.yaml: {split}: {description[split]} holds no images")
        labels = dataset / description[split].replace("images", "labels", 1)
        for kind, files in (("images", images), ("labels", sorted(labels.glob("*.txt")))):
            (folder / kind / split).mkdir(parents=True)
            for file in files:
                (folder / kind / split / file.name).symlink_to(file.absolute())
        description[split] = f"images/{split}"
        splits.append(split)
    target = folder / "dataset.yaml"
    target.write_text(yaml.safe_dump({**description, "path": str(folder.absolute())}), encoding="utf-8")
    return target, splits


class Transform(Protocol):
    """Changes a training sample of ultralytics' while it is pixels: `img` (height, width, 3) uint8 BGR, `im_file`."""

    epoch: int  # set before each epoch: what is drawn at random has to be a function of it and of the image

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]: ...


class SharedMemoryFull(Exception):
    """What a loader's worker could not hand over. No RuntimeError, so that it is told from others on this side."""


class HandedOver:
    """Collates samples and puts the batch where the processes share memory, in a loader's worker.

    Torch would do so in a thread that sends. What fails there is printed and lost, and the training waits for that
    batch for ever: seen where /dev/shm is full.
    """

    def __init__(self, collate: Callable[[list[dict]], dict]) -> None:
        self.collate = collate

    def __call__(self, samples: list[dict]) -> dict:
        batch = self.collate(samples)
        if get_worker_info():
            try:
                for tensor in filter(torch.is_tensor, batch.values()):
                    tensor.share_memory_()
            except RuntimeError as error:
                raise SharedMemoryFull(str(error)) from error
        return batch


class Trainer(DetectionTrainer):
    """Ultralytics' trainer that can be killed at any moment and ends as if it had not been.

    Its own resume restarts from half precision averaged weights with another order of images. Here all that an epoch
    draws at random is a function of (seed, epoch), and the full state is kept after each.
    """

    def __init__(self, overrides: dict[str, Any], transform: Transform | None) -> None:
        self.transform = transform
        super().__init__(overrides=overrides)
        # On a CPU ultralytics would augment here, from the global random state that other threads draw from too.
        self.args.workers = max(1, overrides["workers"])

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None):
        dataset = super().build_dataset(img_path, mode, batch)
        dataset.collate_fn = HandedOver(dataset.collate_fn)
        if mode == "train" and self.transform:
            dataset.transforms.insert(-1, self.transform)  # before the one that makes tensors of pixels
        return dataset

    def _close_dataloader_mosaic(self) -> None:
        super()._close_dataloader_mosaic()  # builds the transforms anew
        if self.transform:
            self.train_loader.dataset.transforms.insert(-1, self.transform)

    def setup_model(self):
        checkpoint = super().setup_model()
        freeze, layers = self.args.freeze, len(self.model.model)
        frozen = set(range(freeze) if isinstance(freeze, int) else freeze or [])
        if frozen and (max(frozen) >= layers or len(frozen) == layers):
            raise BadInput(f"freeze = {freeze}: the network has layers 0 to {layers - 1}, and one has to learn")
        return checkpoint

    def _setup_train(self) -> None:
        super()._setup_train()
        if self.device.type == "cpu":  # ultralytics does this on GPUs only
            self.model.to(memory_format=torch.channels_last)
        self.state_file, self.history = self.save_dir / STATE, []
        if not self.state_file.exists():
            return
        state = torch.load(self.state_file, map_location="cpu", weights_only=True)
        network = unwrap_model(self.model)  # on several GPUs the model is wrapped
        network.load_state_dict(state["model"])
        self.ema.ema.load_state_dict(state["ema"])
        self.ema.updates = state["ema_updates"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.best_fitness, self.history = state["best_fitness"], state["history"]
        vars(self.stopper).update(state["stopper"])
        self.start_epoch = state["epoch"] + 1
        self.scheduler.last_epoch = self.start_epoch - 1
        network.criterion = network.init_criterion()
        if hasattr(network.criterion, "update"):  # two-headed models shift weight between the heads epoch by epoch
            network.criterion.updates = self.start_epoch - 1
            network.criterion.update()
        log.info("resumed after epoch %d of %d", self.start_epoch, self.epochs)

    def begin_epoch(self) -> None:
        seed = self.args.seed * 1_000_003 + self.epoch + max(RANK, 0) * 15_485_863
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        self.train_loader.reset()
        self.train_loader.generator.manual_seed(seed)
        if self.transform:
            self.transform.epoch = self.epoch  # loaders are forked anew for every epoch
        dataset = self.train_loader.dataset
        if dataset.cache != "ram":  # mosaics are made of the images in this buffer
            for index in dataset.buffer:
                dataset.ims[index] = None
            dataset.buffer.clear()

    def preprocess_batch(self, batch: dict) -> dict:
        batch = super().preprocess_batch(batch)
        batch["img"] = batch["img"].contiguous(memory_format=torch.channels_last)
        return batch

    def save_model(self) -> bool:
        if self.fitness == self.best_fitness:
            save_network(self.ema.ema, self.best, {"imgsz": self.args.imgsz})
        if self.save_period > 0 and (self.epoch + 1) % self.save_period == 0:
            kept = self.save_dir / EPOCHS / f"epoch_{self.epoch + 1:04d}.pt"
            save_network(self.ema.ema, kept, {"imgsz": self.args.imgsz})
        measured = {**self.label_loss_items(self.tloss), **self.metrics, **self.lr, "fitness": self.fitness}
        record = {key.replace("/", "_").removeprefix("metrics_").removesuffix("(B)"): v for key, v in measured.items()}
        self.history.append({"epoch": self.epoch + 1} | {key: round(float(value), 6) for key, value in record.items()})
        state = {
            "epoch": self.epoch,
            "ended": bool(self.stop),
            "model": unwrap_model(self.model).state_dict(),
            "ema": self.ema.ema.state_dict(),
            "ema_updates": self.ema.updates,
            "optimizer": self.optimizer.state_dict(),
            "best_fitness": float(self.best_fitness),
            "stopper": {"best_fitness": float(self.stopper.best_fitness), "best_epoch": self.stopper.best_epoch},
            "history": self.history,
        }
        with replacing(self.state_file) as temporary:
            torch.save(state, temporary)
        write_text(self.save_dir / "history.jsonl", "".join(json.dumps(one) + "\n" for one in self.history))
        return True

    def _handle_nan_recovery(self, epoch: int) -> bool:
        if not torch.isfinite(self.loss):
            raise BadInput(f"the detector's loss is {float(self.loss)} in epoch {epoch + 1}; lower its lr0")
        return False

    def final_eval(self) -> None:
        """Left out: `scores.judge` does it, on each split, after the training."""


def train(
    start: str,
    data: Path,
    work: Path,
    settings: Mapping[str, Any],
    progress: Callable[..., Any],
    transform: Transform | None = None,
    fit: Callable[[dict[str, Any], Transform | None, Callable[..., Any]], None] | None = None,
) -> tuple[Path, list[dict]]:
    """Train from `start`, a .pt file or a network's .yaml, on `view`'s data; returns the best weights and the history.

    `work` keeps what a killed run needs: called again with the same arguments it goes on after the last whole epoch.
    It also gets `epochs/`, the weights of every `save_period`th epoch. `settings` are ultralytics' train arguments; for
    several devices `fit` has to be `launch.fit`. A record of the history holds the epoch, the losses, P, R and
    mAP.
    """
    fixed = {
        "model": start, "data": str(data), "save_dir": str(work.absolute()), "plots": False, "verbose": False,
        "nbs": settings["batch"],  # no gradient accumulation, whose rest a resumed run would have lost
    }  # fmt: skip
    state = work / STATE
    if not (state.exists() and torch.load(state, map_location="cpu", weights_only=True)["ended"]):
        (fit or fit_here)({**settings, **fixed}, transform, progress)
    return work / "weights" / "best.pt", torch.load(state, map_location="cpu", weights_only=True)["history"]


def fit_here(overrides: dict[str, Any], transform: Transform | None, progress: Callable[..., Any]) -> None:
    """Train in this process, or this process's part of a training that torchrun shares among several."""
    settle()
    engine_trainer.check_amp = lambda _model: True  # before fp16 it would download a model to compare with
    trainer = Trainer(overrides, transform)
    bar = None

    def begin(trainer: Trainer) -> None:
        nonlocal bar
        trainer.begin_epoch()
        if bar is None:
            batches = len(trainer.train_loader)
            done = trainer.start_epoch * batches
            bar = progress(total=trainer.epochs * batches, initial=done, desc="detector", unit="batch")

    def report(trainer: Trainer) -> None:
        bar.set_postfix(epoch=trainer.epoch + 1, mAP50=f"{trainer.history[-1]['mAP50']:.3f}")

    trainer.add_callback("on_train_epoch_start", begin)
    trainer.add_callback("on_train_batch_end", lambda trainer: bar.update())
    trainer.add_callback("on_model_save", report)
    try:
        trainer.train()
    except SharedMemoryFull as error:  # its text is the worker's whole traceback
        reason = str(error).rstrip().rpartition("\n")[2].rpartition(f"{SharedMemoryFull.__name__}: ")[2]
        raise BadInput(
            f"the loaders of the detector's training found no room in the memory that processes share, /dev/shm "
            f"({reason}); make room or enlarge it (docker run --shm-size=1g), or lower the training's batch or imgsz"
        ) from None
    finally:
        if bar is not None:
            bar.close()
