"""Labelled images through the step: which boxes become persons, how splits come about, and what is refused."""

from __future__ import annotations

import re
import shutil
from itertools import pairwise

import numpy as np
import pytest
import yaml

from tasks.person_search import train_detector
from tasks.yard.detector.section import TrainDetector
from tasks.yard.detector.trainer import view
from tasks.yard.files import folder_hash, read_json
from tasks.yard.params import Machine
from tasks.yard.step import BadInput
from tests import sections
from tests.tasks.person_search.real_layouts import coco, detector, fetched, market, yolo
from tests.tasks.yard import films


def images(out):
    """{split: names of images}."""
    folders = (out / "detector_data/images").iterdir()
    return {folder.name: sorted(path.stem for path in folder.iterdir()) for folder in folders}


def test_persons_of_many_classes_clipped_and_in_the_splits_they_came_in(tmp_path):
    splits = {"train": ["a", "b"], "val": ["c"], "test": ["d"]}
    names = ("car", "Person", "pedestrian_far", "dog")
    source = yolo(tmp_path / "town", splits, names, "1 0.5 0.5 0.5 0.5\n2 0.9 0.5 0.4 0.5\n0 0.5 0.5 0.1 0.1\n")
    dataset = detector(tmp_path, source)
    expected = "0 0.500000 0.500000 0.500000 0.500000\n0 0.850000 0.500000 0.300000 0.500000\n"
    assert {p.read_text() for p in (tmp_path / "detector_data/labels").rglob("*.txt")} == {expected}
    assert images(tmp_path) == {s: [f"town-detect__{stem}" for stem in stems] for s, stems in splits.items()}
    assert dataset["boxes_of_other_classes"] == 4 and dataset["datasets"]["town"]["how"] == "the source's own"
    assert dataset["splits"]["train"] == {"images": 2, "boxes": 4, "background": 0} and dataset["empty"] is None
    only = detector(tmp_path, source, classes=["dog"])
    assert only["splits"]["train"] == {"images": 2, "boxes": 0, "background": 2}
    with pytest.raises(BadInput, match=r"data.yaml: none of its classes \(car, Person, .* is a person by"):
        detector(tmp_path, source, classes=["rider"])


def test_the_detector_takes_it_as_it_is(tmp_path):
    detector(tmp_path, yolo(tmp_path / "town", {"train": ["a", "b"], "val": ["c"], "test": ["d"]}))
    description, splits = view(tmp_path / "detector_data", tmp_path / "view")
    assert splits == ["train", "val", "test"] and yaml.safe_load(description.read_text())["names"] == {0: "person"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("there", "wanted"), [(("train",), 4), (("train", "val"), 8)])
def test_missing_splits_are_made_of_whole_sequences_and_said_so(tmp_path, there, wanted, seed):
    """Six sequences of four images; of 24 (48) images .15 are 3.6 (7.2), which one sequence (two) is nearest to."""
    stems = {s: [f"c{c + 10 * (s == 'val')}s1_{n:06d}" for c in range(6) for n in range(4)] for s in there}
    dataset = detector(tmp_path, yolo(tmp_path / "town", stems), seed=seed)
    found = images(tmp_path)
    groups = [{stem.rpartition("_")[0] for stem in found[split]} for split in ("train", "val", "test")]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 6 * len(there)
    made = [s for s in ("test", "val") if s not in there]
    assert dataset["datasets"]["town"]["how"].startswith(f"{' and '.join(made)} made from train by groups")
    assert all(len(found[s]) == wanted for s in made)


def test_a_source_without_training_images_is_divided_anew(tmp_path):
    source = coco(tmp_path / "photos", [{"bbox": [10, 10, 40, 20]}], images=12, file="instances_val2017.json")
    dataset = detector(tmp_path, source)
    assert "made from all images by runs of neighbouring names" in dataset["datasets"]["photos"]["how"]
    assert {s: c["images"] for s, c in dataset["splits"].items()} == {"train": 8, "val": 2, "test": 2}


@pytest.mark.slow
def test_where_names_show_no_sequences_neighbours_stay_together_and_it_says_so(tmp_path):
    detector(tmp_path, yolo(tmp_path / "film", {"train": [f"{n:06d}" for n in range(60)]}))
    how = (tmp_path / "detector_data/dataset.json").read_text()
    assert "runs of neighbouring names, as the names show 1 sequence(s) only" in how
    assert re.search(r"only; train of the source; [1-4] images are left out beside runs of another split", how)
    numbers = {s: sorted(int(stem[-6:]) for stem in stems) for s, stems in images(tmp_path).items()}
    for split in ("val", "test"):
        breaks = sum(b - a > 1 for a, b in pairwise(numbers[split]))
        assert 6 <= len(numbers[split]) <= 12 and breaks <= 1
        beside = {number + step for number in numbers[split] for step in (-1, 1)} - set(numbers[split])
        assert not beside & set(numbers["train"])  # a guard, of a quarter of a run
    assert 56 <= len(set().union(*numbers.values())) < 60


def test_a_wrong_label_line_costs_its_image_is_named_and_too_many_are_an_error(tmp_path):
    source = yolo(tmp_path / "town", {"train": ["a", "b"], "val": ["c"], "test": ["d"]})
    (source / "labels/train/b.txt").write_text("0 0.5 0.5 0.4 0.4\n\n0 0.5 0.5 0.4\n")
    says = r"1 of 4 label entries .*first labels/train/b.txt, line 3: 4 values; .*download.max_broken_share \(0.01\)"
    with pytest.raises(BadInput, match=says):
        fetched(tmp_path, source)
    report = fetched(tmp_path, source, max_broken_share=0.25)
    assert list(report["units"]["town-detect"]["said"]["broken_entries"]) == ["labels/train/b.txt, line 3"]
    assert report["totals"]["broken_entries"] == 1
    dataset = detector(tmp_path, source, download={"max_broken_share": 0.25})
    assert dataset["splits"]["train"] == {"images": 1, "boxes": 1, "background": 0}


def test_an_image_that_is_cut_off_is_left_out_by_name(tmp_path):
    source = yolo(tmp_path / "town", {"train": ["a", "b"], "val": ["c"], "test": ["d"]})
    image = source / "images/train/b.jpg"
    image.write_bytes(image.read_bytes()[:-300])
    with pytest.raises(BadInput, match=r"1 of 4 label entries .*first images/train/b.jpg: the image was cut off"):
        fetched(tmp_path, source)
    dataset = detector(tmp_path, source, download={"max_broken_share": 0.25})
    assert dataset["splits"]["train"]["images"] == 1
    report = read_json(tmp_path / "download/report.json")
    assert list(report["units"]["town-detect"]["said"]["broken_entries"]) == ["images/train/b.jpg"]


@pytest.mark.slow
def test_several_data_sets_become_one_and_twice_the_same(tmp_path):
    towns = [yolo(tmp_path / name, {"train": ["a", "b"], "val": ["c"], "test": ["d"]}) for name in ("one", "two")]
    photos = coco(tmp_path / "photos", [{"bbox": [10, 10, 40, 20]}], images=12)
    dataset = detector(tmp_path, *towns, photos)
    assert sum(s["images"] for s in dataset["splits"].values()) == 20
    assert set(dataset["datasets"]) == {"one", "two", "photos"}
    before = folder_hash(tmp_path / "detector_data")
    detector(tmp_path, *towns, photos)
    assert folder_hash(tmp_path / "detector_data") == before


@pytest.mark.slow
def test_groups_keep_their_split_when_others_come(tmp_path):
    def stems(first, last):
        return {"train": [f"c{c}s1_{n:06d}" for c in range(first, last) for n in range(4)]}

    detector(tmp_path, yolo(tmp_path / "town", stems(10, 20)))
    before = images(tmp_path)
    detector(tmp_path, yolo(tmp_path / "town", stems(10, 40)), seed=5)
    after = images(tmp_path)
    assert all(set(before[split]) < set(after[split]) for split in ("train", "val", "test"))
    manifest = read_json(tmp_path / "detector_data/splits.json")
    assert len(manifest["test"]) in (4, 5) and sum(len(manifest[split]) for split in before) == 30

    source = yolo(tmp_path / "film", {"train": [f"{n:06d}" for n in range(60)]})
    for more in (0, 40):
        detector(tmp_path / "of_film", yolo(source, {"train": [f"{n:06d}" for n in range(60 + more)]}))
        now = images(tmp_path / "of_film")
        before = now if not more else before
    assert all(set(before[split]) <= set(now[split]) for split in before)
    several = [f"{drive}_{n:06d}" for drive in ("b", "c", "d") for n in range(9)]
    dataset = detector(tmp_path / "of_film", yolo(source, {"train": [*(f"{n:06d}" for n in range(60)), *several]}))
    assert "as they were divided before" in dataset["datasets"]["film"]["how"]
    now = images(tmp_path / "of_film")
    assert all(set(before[split]) <= set(now[split]) for split in before), "what was cut into runs stays so"
    mine = [{split for split in now for stem in now[split] if f"__{drive}_" in stem} for drive in ("b", "c", "d")]
    assert all(len(splits) == 1 for splits in mine), "of what has come since a sequence is one run"


def test_an_image_that_is_judged_on_or_searched_is_not_learnt_from(tmp_path):
    source = yolo(tmp_path / "town", {"train": ["a", "b", "c"], "val": ["d"], "test": ["e"]})
    shutil.copy(source / "images/test/e.jpg", source / "images/train/a.jpg")
    frame = tmp_path / "town/cameras/door/1.jpg"
    frame.parent.mkdir(parents=True)
    shutil.copy(source / "images/train/b.jpg", frame)
    dataset = detector(tmp_path, source)
    assert images(tmp_path)["train"] == ["town-detect__c"]
    assert dataset["left_out"]["town-detect__a"] == "the same bytes are in test too"
    assert re.search(r"the same bytes as .*/frames/.*, which is searched", dataset["left_out"]["town-detect__b"])


def test_a_frame_of_a_film_that_is_searched_is_not_learnt_from_when_it_was_written_anew(tmp_path):
    frames = ["door_000010", "Door_mp4-0012_jpg.rf.b856d7", "gate_1"]
    source = yolo(tmp_path / "town", {"train": frames, "val": ["d"], "test": ["door_000020"]})
    films.write(tmp_path / "town/cameras/door.mp4", np.arange(30) / 10)
    dataset = detector(tmp_path, source)
    assert images(tmp_path)["train"] == ["town-detect__gate_1"]
    assert images(tmp_path)["test"] == ["town-detect__door_000020"]
    for name in frames[:2]:
        assert dataset["left_out"][f"town-detect__{name}"] == "by its name a frame of door.mp4, which is searched"


def test_why_there_are_no_images_reaches_who_trains(tmp_path):
    detector(tmp_path, market(tmp_path / "crops"))
    params = sections.values("person_search", "train_detector")
    done = train_detector.run(
        TrainDetector.model_validate(params), tmp_path / "out", detector_data=tmp_path / "detector_data",
        machine_params=Machine.model_validate(sections.values("yard", "machine")),
    )  # fmt: skip
    assert done == {"epochs": 0} and not (tmp_path / "out/best.pt").exists()
    reason = "the sources hold no labelled images (YOLO or COCO); nothing to train a detector on"
    assert read_json(tmp_path / "out/metrics.json")["reason"] == reason
