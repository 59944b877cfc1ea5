"""The second look at rides, from detect to inspect: the same in both, in the photograph's pixels, and kept by ride."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from tasks.bike_parts.formats import detections, looked
from tasks.bike_parts.formats import photos as photos_of
from tasks.bike_parts.judging import layout, pairs, together
from tasks.bike_parts.learning import looking
from tasks.bike_parts.learning.again import layout_of_rides, looked_again
from tasks.bike_parts.learning.batches import fitted
from tasks.bike_parts.learning.network import canvas_of, load_network
from tasks.yard.files import folder_hash, read_json
from tasks.yard.layouts import images
from tests.tasks.bike_parts import tiny_rides
from tests.tasks.bike_parts.tiny_photos import PARTS, write_network
from tests.tasks.bike_parts.tiny_rides import NETWORK, inspected, write_project
from tests.tasks.yard.forked import forked

FILE = f"detect/{NETWORK}/{detections.FILE}"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Six rides to learn from, of four parts: enough here. The network of points, untrained, finds each of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "FEW_PAIRS", 5)
        patch.setattr(layout, "FEW_PARTS", 3)
        patch.setattr(together, "FEW", 8)
        patch.setattr(tiny_rides, "write_network", lambda folder: write_network(folder, NETWORK, "small_points"))
        folder = write_project(tmp_path_factory.mktemp("project"))
        inspected(folder)
        yield folder


@pytest.mark.slow
def test_detect_looks_again_at_every_ride_within_the_photograph(root):
    for split in ("val", "test"):
        photos, second = photos_of.read(root / "split", split), detections.read_again(root / FILE, split)
        assert second is not None and set(second.image.tolist()) == {photo.id for photo in photos.photos}
        assert second.part.reshape(-1, len(PARTS)).tolist() == [[1, 2, 3, 4]] * len(photos.photos)
        corner = second.box[:, :2] + second.box[:, 2:]
        assert (second.box >= 0).all() and (corner <= np.array([96, 64]) + 0.01).all()
        np.testing.assert_allclose(second.states.sum(1), 1, atol=1e-5)
        assert (second.off[np.isfinite(second.off)] >= 0).all()
    assert read_json(root / "detect" / NETWORK / "summary.json")["test/looked_again"] == 8


def test_inspect_sees_and_claims_what_evaluate_does(root):
    told, details = read_json(root / "inspect/verdicts.json"), read_json(root / "evaluate/details.json")
    of = details["changes"]["test"]
    assert details["together"] is not None
    assert told["judged"] == {key: of[key] for key in told["judged"]} and of["pairs"] == 4
    sides = [change[side] for pair in told["pairs"] for change in pair["changes"] for side in ("before", "after")]
    assert sides and all(side["confidence"] == max(side["states"].values()) and len(side["box"]) == 4 for side in sides)
    second = detections.read_again(root / FILE, "test")
    photos = {photo.name: photo.id for photo in photos_of.read(root / "split", "test").photos}
    kept = {
        pair: sides for file in (root / "inspect/again").glob("*/seen.json") for pair, sides in read_json(file).items()
    }
    assert len(kept) == 4
    apart = []
    for sides in kept.values():
        for key, said in sides.items():
            mine = pairs.again_in(second, photos[told["photos"][key]["file"]])
            apart += np.abs(looked.again_of(said).seen.states - mine.seen.states).ravel().tolist()
    assert np.median(apart) < 1e-4  # an untrained network jumps from cell to cell where a box is off by a hundredth


def test_within_a_window_it_sees_what_it_would_see_in_that_picture_alone(root):
    model, config, _ = load_network(root / "train" / NETWORK / "best.pt")
    test, train = photos_of.read(root / "split", "test"), photos_of.read(root / "split", "train")
    known, found = layout_of_rides(train), detections.read(root / FILE, "test")[0]
    (pair, *_) = pairs.pairs_of(test)
    paths = {photo.id: root / "download" / photo.name for photo in test.photos}
    shown = [images.decoded(paths[photo]) for photo in pair]
    sides = [pairs.seen_in(found, photo) for photo in pair]
    alone = looked_again(model, [fitted(one, canvas_of(config)) for one in shown], sides, known)
    large = [np.pad(one, ((30, 10), (50, 20), (0, 0))) for one in shown]
    window = [50, 30, 96, 64]
    eyes = looking.Eyes(model, config, None, None)
    there = eyes.look_again(large, [looking.moved(of, window) for of in sides], [window] * 2, known)
    for one, other in zip(alone, there, strict=True):
        np.testing.assert_allclose(other.seen.box, one.seen.box + np.array([50, 30, 0, 0]), atol=1e-3)
        np.testing.assert_allclose(other.seen.states, one.seen.states, atol=1e-5)


@pytest.mark.slow
def test_a_kill_at_a_ride_loses_that_ride_at_most(root, tmp_path, monkeypatch):
    own = tmp_path / "own"
    shutil.copytree(root / "download/unit/images", own)
    for file in own.iterdir():
        if int(file.stem.partition("_")[0].removeprefix("bike")) < 10:
            file.unlink()
    monkeypatch.setattr(looked, "MOST", 1)
    look, seen = looking.look_again_through, []

    def counted(block, folder: Path, **of) -> dict:
        if len(seen) == stop:
            os.kill(os.getpid(), signal.SIGKILL)
        seen.extend(pair.name for pair in block)
        return look(block, folder, **of)

    monkeypatch.setattr(looking, "look_again_through", counted)
    stop = 2
    process = forked(inspected, root, "killed", photos=str(own))
    process.join()
    assert process.exitcode == -signal.SIGKILL and not (root / "killed/report.html").exists()
    assert len(list((root / "killed/again").glob("*/.done.json"))) == 2
    stop = -1
    inspected(root, "killed", photos=str(own))
    assert len(seen) == 2
    inspected(root, "whole", photos=str(own))
    assert folder_hash(root / "killed") == folder_hash(root / "whole")
    seen.clear()
    shutil.copyfile(own / "bike10_0_before.png", own / "bike13_0_before.png")
    inspected(root, "killed", photos=str(own))
    assert seen == ["bike13_0"]


@pytest.mark.slow
def test_without_rides_to_learn_from_there_is_no_second_look(root, monkeypatch):
    monkeypatch.setattr(layout, "FEW_PAIRS", 7)
    project = root / "few"
    write_project(project)
    assert detections.read_again(project / FILE, "test") is None
    inspected(project)
    assert read_json(project / "evaluate/details.json")["together"] is None and not (project / "inspect/again").exists()
