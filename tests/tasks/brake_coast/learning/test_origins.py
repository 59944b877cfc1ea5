"""A drive is known again when the splits, the pieces or the days are other ones."""

from __future__ import annotations

from tasks.brake_coast.formats import windows
from tasks.brake_coast.learning import origins
from tasks.yard.training.learnt import learnt_from, unseen
from tests.tasks.brake_coast.tiny_pack import write_pack


def test_another_drive_of_a_day_and_another_cut_of_a_drive_are_known_again(tmp_path):
    pack = write_pack(tmp_path, {"train": 2, "test": 3}, frames=100)  # 50 s each
    train, test = (windows.load(pack / f"{split}.h5") for split in ("train", "test"))
    learnt = {"train-0": origins.origin("train-0", {"monday"}, False), "train-1": origins.origin("trip-2", set(), True)}
    config = {"learnt": learnt_from(origins.items(train, {"origins": learnt}))}
    assert config["learnt"] == {"monday": None, "train-0": None, "trip": [[0, 49_500]]}
    today = {
        "test-0": origins.origin("test-0", {"monday"}, False),
        "test-1": origins.origin("trip-7", set(), True),  # of the same seconds, by another number
        "test-2": origins.origin("test-2", {"tuesday"}, False),
    }
    kept = unseen([*origins.items(test, {"origins": today})] * 2, {"the champion": config}, "test drives").kept
    assert kept.tolist() == [False, False, True] * 2
