"""Crops through the step: who is in which split and role, how they are resized, and that the bytes are the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import functional as transforms

from tasks.person_search.formats import crops
from tasks.yard.files import file_hash, read_json, write_json
from tasks.yard.step import BadInput
from tests.tasks.person_search.real_layouts import fetched, market, packed, picture

SPLITS = ("train", "val", "test")
TRAIN, QUERY, GALLERY = 0, 1, 2
SEEN = st.dictionaries(st.integers(1, 4), st.integers(1, 3), min_size=1)  # {camera: images}


def split(out: Path, name: str) -> dict[str, np.ndarray]:
    with h5py.File(out / f"pack/{name}.h5") as file:
        return {key: values.asstr()[:] if key == "path" else values[:] for key, values in file.items()}


def queries(out: Path) -> set[str]:
    val = split(out, "val")
    return set(val["path"][val["role"] == QUERY])


def people(config: dict, rows: dict, name: str) -> list[str]:
    return [None if n < 0 else config["identities"][name][n] for n in rows["identity"]]


@pytest.mark.slow
def test_every_row_says_who_where_and_what_for(tmp_path):
    source = market(tmp_path / "crops", train=range(1, 11), test=(21, 22))
    picture(source / "bounding_box_test/0000_c2s1_000001_00.jpg", 1)
    picture(source / "bounding_box_test/-1_c2s1_000001_00.jpg", 2)
    config = packed(tmp_path, source, height_px=32, width_px=16, val_share=0.2)
    found = {name: split(tmp_path, name) for name in SPLITS}
    assert [config["counts"][name]["identities"] for name in SPLITS] == [8, 2, 2]
    for name, rows in found.items():
        assert rows["images"].shape == (len(rows["path"]), 32, 16, 3) and rows["images"].dtype == np.uint8
        for path, who, camera in zip(rows["path"], people(config, rows, name), rows["camera"], strict=True):
            stem = Path(path).name
            assert (tmp_path / "download" / path).is_file() and int(stem[6]) == camera
            assert who == (None if stem.startswith("0000") else f"crops:{stem[:4]}")
        held = rows["identity"][rows["identity"] >= 0]
        assert sorted(set(held)) == list(range(len(config["identities"][name])))
    assert (found["train"]["role"] == TRAIN).all() and len(found["train"]["path"]) == 8 * 6
    assert not set(config["identities"]["train"]) & set(config["identities"]["val"])
    test = found["test"]
    assert (test["identity"] == -1).sum() == 1 and test["role"][test["identity"] == -1] == GALLERY
    assert all((role == QUERY) == ("/query/" in path) for role, path in zip(test["role"], test["path"], strict=True))
    # the reader of training and evaluation
    assert np.array_equal(crops.load(tmp_path / "pack/val.h5").images, found["val"]["images"])


@pytest.mark.slow
@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(SEEN, min_size=3, max_size=8), st.integers(0))
def test_every_query_of_validation_has_an_answer_in_another_camera(tmp_path_factory, seen, seed):
    """`seen`: how many images of each person each camera has."""
    root = tmp_path_factory.mktemp("seen")
    for person, cameras in enumerate(seen, start=1):
        for camera, images in cameras.items():
            for n in range(images):
                name = f"{person:04d}_c{camera}s1_{n:06d}_01.jpg"
                picture(root / "crops/bounding_box_train" / name, (person, camera, n), (4, 8))
    config = packed(root, root / "crops", height_px=8, width_px=4, val_share=0.5, seed=seed)
    val = split(root, "val")
    several = {f"crops:{person:04d}" for person, cameras in enumerate(seen, start=1) if len(cameras) > 1}
    assert set(config["identities"]["val"]) <= several and len(config["identities"]["train"]) >= 2
    assert config["counts"]["val"]["queries_without_match"] == 0
    for who in range(len(config["identities"]["val"])):
        mine = val["identity"] == who
        asking, answering = mine & (val["role"] == QUERY), mine & (val["role"] == GALLERY)
        assert asking.any() and len(set(val["camera"][asking])) == asking.sum()
        assert all(set(val["camera"][answering]) - {camera} for camera in val["camera"][asking])


@pytest.mark.slow
def test_nobody_changes_sides_whoever_comes_and_a_file_pins_who_does(tmp_path):
    source = market(tmp_path / "crops", train=range(1, 21))
    before = packed(tmp_path, source, height_px=8, width_px=4)["identities"]
    asking = queries(tmp_path)
    market(source, train=range(30, 60), test=[])
    after = packed(tmp_path, source, height_px=8, width_px=4)["identities"]
    assert [len(people["val"]) for people in (before, after)] == [4, 10]
    assert all(set(before[split]) <= set(after[split]) for split in SPLITS) and asking <= queries(tmp_path)
    manifest = read_json(tmp_path / "pack/splits.json")
    assert {split: manifest[split] for split in SPLITS} == after and "absent" not in manifest

    for path in (source / "bounding_box_train").glob("003*"):
        path.unlink()
    pinned = [f"crops:{person:04d}" for person in (1, 2, 3)]
    write_json(tmp_path / "pinned.json", {"train": [], "val": pinned, "test": []})
    packed(tmp_path, source, height_px=8, width_px=4, splits=str(tmp_path / "pinned.json"))
    manifest = read_json(tmp_path / "pack/splits.json")
    assert set(pinned) <= set(manifest["val"]) and len(manifest["absent"]) == 10
    (tmp_path / "pinned.json").write_text('{"train": []}')
    with pytest.raises(BadInput, match=r"pinned.json: expected .*; mend it"):
        packed(tmp_path, source, splits=str(tmp_path / "pinned.json"))


def test_a_crop_that_is_judged_on_is_not_learnt_from(tmp_path):
    source = market(tmp_path / "crops")
    shutil.copy(source / "query/0005_c1s1_000000_01.jpg", source / "bounding_box_train/0001_c1s1_000009_01.jpg")
    config = packed(tmp_path, source, height_px=16, width_px=8)
    (name,) = config["left_out"]
    assert name == "crops-reid/bounding_box_train/0001_c1s1_000009_01.jpg"
    assert "same bytes as crops-reid/query/0005_c1s1_000000_01.jpg" in config["left_out"][name]
    assert config["counts"]["train"]["images"] + config["counts"]["val"]["images"] == 24


@pytest.mark.parametrize("size", [(20, 50), (300, 700)])
def test_crops_are_resized_as_torchvision_does(tmp_path, size):
    source = market(tmp_path / "crops", train=[1, 2], test=[3])
    path = source / "query/0003_c1s1_000000_01.jpg"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8)).save(path, quality=95)
    packed(tmp_path, source, height_px=128, width_px=64)
    test = split(tmp_path, "test")
    mine = test["images"][list(test["path"]).index("crops-reid/query/0003_c1s1_000000_01.jpg")]
    given_ = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)
    theirs = transforms.resize(given_, [128, 64], antialias=True).permute(1, 2, 0).numpy()
    assert np.abs(mine.astype(int) - theirs).max() <= 1


def test_the_bytes_are_the_same_whatever_the_threads(tmp_path):
    source = market(tmp_path / "crops")
    hashes = []
    for threads in (1, 3):
        packed(tmp_path, source, threads=threads, height_px=16, width_px=8)
        hashes.append([file_hash(tmp_path / "pack" / f"{name}.h5") for name in SPLITS])
        assert not list((tmp_path / "pack").glob(".*"))
    assert hashes[0] == hashes[1]


def test_a_crop_that_cannot_be_read_is_left_out_by_name(tmp_path):
    source = market(tmp_path / "crops")
    for name in ("bounding_box_test/0005_c1s1_000001_01.jpg", "bounding_box_test/0006_c2s1_000002_01.jpg"):
        (source / name).write_bytes((source / name).read_bytes()[:-150])
    (source / "bounding_box_test/0005_c2s1_000001_01.jpg").write_bytes(b"no image")
    config = packed(tmp_path, source, height_px=16, width_px=8)
    assert sorted(config["left_out"]) == [
        "crops-reid/bounding_box_test/0005_c1s1_000001_01.jpg", "crops-reid/bounding_box_test/0005_c2s1_000001_01.jpg",
        "crops-reid/bounding_box_test/0006_c2s1_000002_01.jpg",
    ]  # fmt: skip
    assert len(split(tmp_path, "test")["path"]) == 12 - 3 and config["counts"]["test"]["gallery"] == 5


def test_people_of_two_data_sets_are_never_the_same(tmp_path):
    config = packed(tmp_path, market(tmp_path / "a"), market(tmp_path / "b", images=2), val_share=0.0)
    train = split(tmp_path, "train")
    assert config["identities"]["train"] == [f"{name}:000{n}" for name in "ab" for n in (1, 2, 3, 4)]
    assert config["datasets"] == ["a", "b"] and [(train["dataset"] == n).sum() for n in (0, 1)] == [24, 16]
    assert all((train["identity"] < 4) == (train["dataset"] == 0)) and config["counts"]["val"]["images"] == 0
    assert "val_share = 0" in config["missing"]["val"]


def test_no_room_on_the_disk_is_said_before_anything_is_written(tmp_path):
    source = market(tmp_path / "crops")
    with pytest.raises(BadInput, match=r"no room for \d+ MB of crops"):
        packed(tmp_path, source, height_px=300_000, width_px=300_000)
    assert not list((tmp_path / "pack").glob("*.h5"))


def test_a_source_of_training_people_only_says_what_is_missing(tmp_path):
    config = packed(tmp_path, market(tmp_path / "crops", test=()))
    assert config["missing"] == {"test": "no crop in query/ and bounding_box_test/"} and config["empty"] is None
    assert read_json(tmp_path / "download/report.json")["totals"]["query_images"] == 0
    assert fetched(tmp_path, tmp_path / "crops")["parts"] == ["reid"]
