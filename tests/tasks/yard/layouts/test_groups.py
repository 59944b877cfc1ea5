"""What belongs together by its name: copies of one picture, frames of one film, films of one trip."""

from __future__ import annotations

import pytest

from tasks.yard.layouts import groups

TRIPS = {
    "BlackVue": ["20240501_081500_NF", "20240501_081500_NR", "20240501_081600_EF"],
    "Viofo": ["2024_0501_081500_0001F", "2024_0501_081800_0002F"],
    "Viofo without a rule": ["20240501081500_000123F", "20240501081800_000124F"],
    "Nextbase": ["240501_081500_001_FH", "240501_081800_002_FH"],
    "Tesla": ["2024-05-01_08-15-00-front", "2024-05-01_08-16-00-front"],
    "Thinkware": ["REC_2024_05_01_08_15_00_F", "REC_2024_05_01_08_16_00_F"],
    "a phone": ["VID_20240501_081500", "PXL_20240501_081500123"],
    "over midnight": ["20240501_235900_NF", "20240502_000100_NF"],
    "chapters of GoPro": ["GH010042", "GH020042"],
    "a folder a day": ["20240501/000001", "20240501/000002"],
}
APART = {
    "two days": ["20240501_081500_NF", "20240502_081500_NF"],
    "two films of GoPro": ["GH010042", "GH010043"],
    "two cameras": ["c1s1_000451", "c2s1_000451"],
    "no date": ["drive_20241301", "drives_20241301"],
}


@pytest.mark.parametrize("names", TRIPS.values(), ids=TRIPS)
def test_films_of_one_trip_are_one_group(names):
    assert len(set(groups.groups(names).values())) == 1


@pytest.mark.parametrize("names", APART.values(), ids=APART)
def test_what_does_not_belong_together_is_apart(names):
    assert len(set(groups.groups(names).values())) == len(names)


def test_copies_of_one_picture_are_one_whatever_their_hash_is():
    copies = ["10_jpg.rf.b856d766823c1978", "10_jpg.rf.ffe8d51b8df84a88", "10.rf.0123456789abcdef", "10"]
    assert {groups.picture_of(name) for name in copies} == {"10"}
    found = groups.runs(f"{n}_jpg.rf.{9 - n}{k}aa" for n in range(9) for k in range(3))
    assert all(len({found[f"{n}_jpg.rf.{9 - n}{k}aa"] for k in range(3)}) == 1 for n in range(9))
    assert len(set(found.values())) == 9
    frames = groups.groups(["a_mp4-12_jpg.rf.0a1", "a_mp4-13_jpg.rf.ffb", "b_mp4-13_jpg.rf.ffb"])
    assert list(frames.values()) == ["a_mp4", "a_mp4", "b_mp4"]


def test_copies_in_several_splits_are_named():
    placed = [("10_jpg.rf.aa", "train"), ("10_jpg.rf.bb", "val"), ("11_jpg.rf.aa", "train"), ("11_jpg.rf.bb", "train")]
    assert groups.divided_copies(placed) == ["10"]


def test_runs_stay_when_pictures_come_and_are_a_guard_apart():
    names = [f"{n:03d}" for n in range(40)]
    first = groups.runs(names)
    assert list(dict.fromkeys(first.values()))[:2] == ["000 to 003", "004 to 007"]
    then = groups.runs([*names, "0021", "100", "101"], first.values())
    assert first.items() <= then.items()
    assert then["100"] == then["101"] == "100 to 101" and then["0021"] == "020 to 023"
    of_others = [f"{drive}_{n}" for drive in ("a", "b") for n in range(9)]
    assert set(groups.runs([*names, *of_others], first.values()).values()) - set(first.values()) == {
        "a_0 to a_8", "b_0 to b_8",
    }  # fmt: skip
    assert groups.were_runs([*names[:5], *of_others], set(first.values()))
    assert not groups.were_runs(of_others, set(first.values()))
    splits = {run: "test" if run == "020 to 023" else "train" for run in first.values()}
    assert groups.guard(first, splits, 5) == {"019", "024"}  # a quarter of a run, of those to train on
    assert groups.guard(first, dict.fromkeys(splits, "train"), 5) == set()
