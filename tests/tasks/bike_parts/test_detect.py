"""What a network finds in every photograph: where it stands in the file, a kill in the middle, what cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.bike_parts import detect
from tasks.bike_parts.formats import detections
from tasks.bike_parts.formats import photos as photos_of
from tasks.bike_parts.learning import network as networks
from tasks.yard.files import folder_hash, read_json
from tasks.yard.layouts import images
from tasks.yard.step import BadInput, Context
from tests.tasks.bike_parts.tiny_photos import CLOSER, PARTS, section, write_network, write_split
from tests.tasks.yard import killed


def detected(root: Path, out: str = "detect/small", ctx: Context = Context(), network: str = "small", **params) -> dict:
    train = {network: root / "train" / network}
    folders = {"download": root / "download", "split": root / "split"}
    return detect.run(section("detect", **params), root / out, ctx, network=network, train=train, **folders)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    write_split(folder, train=0, val=3, test=5, height=80, width=120)  # larger than the canvas
    for name in ("small", "small_points"):
        write_network(folder, name, name)
        detected(folder, f"detect/{name}", network=name)
    write_network(folder, "closer", "small_points", close=CLOSER)
    detected(folder, "detect/closer", network="closer")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small", "small_points", "closer"])
def test_the_file_holds_what_the_network_finds_in_pixels_of_the_photographs(root, name):
    model, config, _ = networks.load_network(root / "train" / name / "best.pt")
    counts = read_json(root / "detect" / name / "summary.json")
    for split in detect.SPLITS:
        photos = photos_of.read(root / "split", split)
        found, true = detections.read(root / "detect" / name / detections.FILE, split)
        shown = [images.decoded(root / "download" / photo.name) for photo in photos.photos]
        alone = networks.looked(model, config, shown)
        order = [photo.id for photo in photos.photos for _ in range(20)]
        assert [i for i in order if i in found.image] and sorted(found.image, key=order.index) == found.image.tolist()
        for photo, of in zip(photos.photos, alone, strict=True):
            mine = found.image == photo.id
            assert (np.diff(found.score[mine]) <= 0).all()
            np.testing.assert_allclose(found.score[mine], of.score, atol=1e-5)
            np.testing.assert_allclose(found.box[mine], of.box, atol=1e-2)
        assert set(found.part.tolist()) <= set(range(1, len(PARTS) + 1))
        assert (found.box >= 0).all() and (found.box[:, 0] + found.box[:, 2] <= 120.01).all()
        np.testing.assert_allclose(found.states.sum(1), 1, atol=1e-5)
        assert sorted(true.annotation) == sorted(photos.id) and len(true.states) == len(photos.id)
        np.testing.assert_allclose(found.presence, found.score * (1 - found.states[:, 2]))
        assert counts[f"{split}/photographs"] == len(photos.photos) and counts[f"{split}/boxes"] == len(found.part)


@pytest.mark.parametrize("name", ["small", "closer"])
def test_the_oracle_looks_at_the_true_box(root, name):
    """The long way round: each true box by itself."""
    model, config, _ = networks.load_network(root / f"train/{name}/best.pt")
    photos = photos_of.read(root / "split", "val")
    _, true = detections.read(root / "detect" / name / detections.FILE, "val")
    states = dict(zip(true.annotation.tolist(), true.states, strict=True))
    photo = photos.photos[1]
    canvas = networks.canvas_of(config)
    fitted = networks.fitted(images.decoded(root / "download" / photo.name), canvas)
    for i in np.flatnonzero(photos.photo == photo.id):
        box, part = photos.box[i : i + 1], photos.part[i : i + 1]
        _, (alone,) = networks.looked_with_truth(model, [fitted], [box], [part])
        np.testing.assert_allclose(states[int(photos.id[i])], alone[0], atol=1e-5)


@pytest.mark.slow
def test_a_kill_in_the_middle_is_made_good_to_the_byte(root, tmp_path, monkeypatch):
    for folder in ("download", "split", "train"):
        (tmp_path / folder).symlink_to(root / folder)
    monkeypatch.setattr(detect, "BLOCK_BATCHES", 1)
    killed.run(detected, tmp_path, batch=2, done=5)
    blocks = tmp_path / "detect/small/.blocks"
    assert len(list(blocks.rglob("*.npz"))) == 3 and not (tmp_path / "detect/small" / detections.FILE).exists()
    looked: list[int] = []
    look = detect.Look.__call__
    monkeypatch.setattr(
        detect.Look, "__call__", lambda self, photos, rows: looked.append(len(rows)) or look(self, photos, rows)
    )
    metrics = detected(tmp_path, batch=2)
    assert sum(looked) == 3  # of 8: gone on, not begun anew
    assert detected(tmp_path, "detect/whole", batch=2) == metrics
    assert folder_hash(tmp_path / "detect/small") == folder_hash(tmp_path / "detect/whole")


def test_a_network_of_other_parts_is_named(root, tmp_path):
    for folder in ("download", "split"):
        (tmp_path / folder).symlink_to(root / folder)
    write_network(tmp_path, parts=["bell", "chain"])
    with pytest.raises(
        BadInput, match=r"best\.pt: was trained on other parts \(bell, chain\) than those of .*val_coco"
    ):
        detected(tmp_path)
    with pytest.raises(BadInput, match="run it again"):
        detections.read(tmp_path / "detect/small" / detections.FILE, "val")


def test_without_photographs_the_file_is_empty(root, tmp_path):
    write_split(tmp_path, train=1, val=0, test=0)
    (tmp_path / "train").symlink_to(root / "train")
    assert detected(tmp_path)["test/photographs"] == 0
    found, true = detections.read(tmp_path / "detect/small" / detections.FILE, "test")
    assert len(found.part) == len(true.annotation) == 0
