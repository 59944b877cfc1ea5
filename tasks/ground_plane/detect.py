"""Who stands where in every labelled frame of validation and test, as one network sees it; and in sequences that nobody
has labelled.

Reads    pack/, train/<network>/best.pt
Writes   detect/<network>/model_evaluation.hdf5   see detections.py; validation first, then test
         detect/<network>/unlabelled/             the same of every frame of the sequences that nobody has labelled, if
                                                  there are any; its split is 0
         detect/<network>/summary.json            threshold (of the checkpoint) and counts; what cannot be looked at
Alone    python -m tasks ground_plane-detect@<network>

A killed run goes on after the last block of frames it wrote.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.ground_plane.formats import scenes
from tasks.ground_plane.formats.detections import FILE, SPLITS, UNSPLIT, write_detections
from tasks.ground_plane.formats.scenes import Scene
from tasks.ground_plane.learning.batches import normalised
from tasks.ground_plane.learning.network import fits, load_network, on_its_grid
from tasks.ground_plane.learning.peaks import peaks
from tasks.ground_plane.params import Decode, Detect
from tasks.yard.files import digest, file_hash, read_json, replacing, write_json
from tasks.yard.geometry import camera as geometry
from tasks.yard.step import BadInput, Context
from tasks.yard.training.accelerator import accelerator

log = logging.getLogger(__name__)
BLOCK_FRAMES = 40  # a kill loses about so many at most
BLOCKS = ".blocks"
Work = list[tuple[Scene, int, int]]  # scene, place in its frames, split
Columns = dict[str, np.ndarray]


def appearance(
    scene: Scene, xy: np.ndarray, present: np.ndarray, ground: Tensor, views: Tensor, most: int
) -> np.ndarray:
    """Ground features (C, rows, columns), view features (V, D, h, w) -> (n, most * D + C) float32 of places (n, 2).

    `present` (V) bool: the frame has an image of the view. `most`: views of the scene with the most of them.
    """
    found = np.zeros((len(xy), most, views.shape[1]), np.float32)
    for number, view in enumerate(scene.views):
        at, visible = geometry.looked_up(view.camera, scene.plane, xy)
        if present[number] and visible.any():
            place = torch.from_numpy(at[visible])[None, None].to(views)
            values = F.grid_sample(views[number : number + 1], place, align_corners=False)[0, :, 0]
            found[visible, number] = values.T.cpu().numpy()
    column, row = np.clip(np.floor(xy / scene.cell_m).astype(int), 0, np.array(scene.grid[::-1]) - 1).T
    below = ground[:, torch.from_numpy(row), torch.from_numpy(column)].T.cpu().numpy()
    return np.concatenate([found.reshape(len(xy), most * views.shape[1]), below], axis=1).astype(np.float32)


def batches(work: Work, size: int) -> list[Work]:
    """Runs of neighbours of one scene, at most `size` frames each."""
    found: list[Work] = []
    for item in work:
        if found and len(found[-1]) < size and found[-1][-1][0] is item[0]:
            found[-1].append(item)
        else:
            found.append([item])
    return found


def inputs(scene: Scene, rows: Sequence[int], config: dict, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """What `network.features` takes for frames of a scene. A view without an image of a frame sees no cell of it."""
    fits(config, scene)
    pairs = [scene.images(int(scene.frames[row])) for row in rows]
    images = torch.from_numpy(np.stack([shown for shown, _ in pairs])).to(device)
    present = torch.from_numpy(np.stack([there for _, there in pairs])).to(device)
    at, visible = (torch.from_numpy(values).to(device) for values in scene.looked_up)
    seen = visible[None] & present[..., None, None]
    return normalised(images, config["mean"], config["std"]), at.expand(len(rows), *at.shape), seen


@torch.inference_mode()
def detected(batch: Work, network: nn.Module, config: dict, floor: float, most: int) -> Columns:
    """A batch of frames of one scene, in columns: those of the file, `count` for NbDetection."""
    scene, decode = batch[0][0], Decode.model_validate(config["decode"])
    images, sampling, visible = inputs(scene, [row for _, row, _ in batch], config, device_of(network))
    logits, ground, views = network.features(images, sampling, visible)
    present = visible.flatten(2).any(2).cpu().numpy()
    scores = logits.float().sigmoid().cpu().numpy()
    places = [peaks(one, scene.mask, scene.cell_m, decode, floor) for one in scores]
    vectors = [
        appearance(scene, xy, present[i], ground[i].float(), views[i].float(), most) for i, (xy, _) in enumerate(places)
    ]
    return {
        "count": np.array([len(xy) for xy, _ in places], np.int32),
        "xy": np.concatenate([xy for xy, _ in places]).astype(np.float32),
        "confidence": np.concatenate([confidence for _, confidence in places]).astype(np.float32),
        "appearance": np.concatenate(vectors),
        "scores": scores,
    }


def cut_to(scores: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Maps (n, rows, columns) on another grid from the same corner: beyond the plane nobody is."""
    rows, columns = np.minimum(scores.shape[1:], grid)
    found = np.zeros((len(scores), *grid), scores.dtype)
    found[:, :rows, :columns] = scores[:, :rows, :columns]
    return found


def device_of(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def blocks_of(work: Work, batch: int) -> list[list[Work]]:
    """Runs of whole batches, so that the batches after a kill are the same."""
    found: list[list[Work]] = []
    for part in batches(work, batch):
        if not found or sum(map(len, found[-1])) >= BLOCK_FRAMES:
            found.append([])
        found[-1].append(part)
    return found


def look_through(work: Work, blocks: Path, look: Callable[[Work], Columns], batch: int, ctx: Context) -> list[Path]:
    """A file in `blocks` for each run of frames; those that a killed run left are kept. Returns them all."""
    runs = blocks_of(work, batch)
    files = [blocks / f"{number:08d}.npz" for number in range(len(runs))]
    with ctx.progress(total=len(work), desc="detect", unit="frame") as bar:
        for file, parts in zip(files, runs, strict=True):
            if not file.exists():
                found = [look(part) for part in parts]
                with replacing(file) as temporary:
                    np.savez(temporary, **{key: np.concatenate([one[key] for one in found]) for key in found[0]})
            bar.update(sum(map(len, parts)))
    return files


def begun(blocks: Path, fingerprint: str) -> None:
    """Keeps the blocks of a killed run only if they were made from the same."""
    note = blocks / "begun.json"
    if not (note.exists() and read_json(note) == fingerprint):
        shutil.rmtree(blocks, ignore_errors=True)
        write_json(note, fingerprint)


def fingerprint_of(pack: Path, used: Iterable[Scene], settings: str) -> str:
    """Of all that detections are made from."""
    folders = {view.path.parent for scene in used for view in scene.views}
    files = sorted(path for folder in folders for path in (folder / "frames.h5", folder / "camera.json"))
    about = [path for name in ("scenes.json", scenes.UNLABELLED) if (path := pack / name).exists()]
    hashes = [(str(path.relative_to(pack)), file_hash(path)) for path in (*files, *about)]
    return digest(hashes, settings)


def detect(
    work: Work, weights: Path, params: Detect, out: Path, pack: Path, ctx: Context
) -> tuple[np.ndarray, float | None, float]:
    """Write model_evaluation.hdf5 of these frames. Returns how many detections each has, the checkpoint's threshold
    and the floor. The blocks in `BLOCKS` stay: whoever called takes them away once all is written."""
    model, config, scores = load_network(weights, accelerator())
    threshold = scores["threshold"]
    floor = params.floor if threshold is None else min(params.floor, threshold)
    most = max((len(scene.views) for scene, _, _ in work), default=0)
    used = {scene.name: scene for scene, _, _ in work}.values()
    shown = {scene.name: on_its_grid(config, scene) for scene in used}
    grid = work[0][0].grid if work else scenes.load(pack)[0].grid
    settings = digest(params.model_dump(), file_hash(weights), ctx.code)
    begun(out / BLOCKS, fingerprint_of(pack, used, settings))

    def look(part: Work) -> Columns:
        try:
            found = detected([(shown[scene.name], *which) for scene, *which in part], model, config, floor, most)
        except BadInput as error:
            raise BadInput(f"{weights}: {error}") from None
        return found | {"scores": cut_to(found["scores"], grid)}

    files = look_through(work, out / BLOCKS, look, params.batch, ctx)
    places = [(scene.name, int(scene.frames[row]), split) for scene, row, split in work]
    return write_detections(out / FILE, places, files, grid), threshold, floor


def run(
    params: Detect, out: Path, ctx: Context = Context(), *, network: str, pack: Path, train: dict[str, Path]
) -> dict[str, float]:
    """Returns counts of frames and detections, and the threshold if the checkpoint has one."""
    held = scenes.load(pack)
    work = [(scene, row, number) for name, number in SPLITS.items() for scene, row in scenes.of_split(held, name)]
    count, threshold, floor = detect(work, train[network] / "best.pt", params, out, pack, ctx)
    found = {"frames": len(work), "detections": int(count.sum())}
    for name, number in SPLITS.items():
        mine = np.array([split == number for _, _, split in work], bool)
        found |= {f"{name}/frames": int(mine.sum()), f"{name}/detections": int(count[mine].sum())}
    bare, left_out = [], {}
    config = load_network(train[network] / "best.pt")[1]
    for scene in scenes.unlabelled(pack):
        try:
            fits(config, scene)
            bare += [(scene, row, UNSPLIT) for row in range(len(scene.frames))]
        except BadInput as error:  # learning and judging go on
            log.warning("left out %s", error)
            left_out[scene.name] = str(error)
    if bare:
        count, _, _ = detect(bare, train[network] / "best.pt", params, out / "unlabelled", pack, ctx)
        found |= {"unlabelled/frames": len(bare), "unlabelled/detections": int(count.sum())}
        shutil.rmtree(out / "unlabelled" / BLOCKS)
    else:
        shutil.rmtree(out / "unlabelled", ignore_errors=True)
    write_json(
        out / "summary.json",
        {"network": network, "threshold": threshold, "floor": floor, "left_out": left_out, **found},
    )
    shutil.rmtree(out / BLOCKS)
    return found if threshold is None else {**found, "threshold": threshold}
