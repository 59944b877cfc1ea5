"""What belongs together by its name."""

from __future__ import annotations

import pytest

from tasks.yard.layouts import grouping


def test_copies_of_a_picture_in_a_split_that_is_judged_on_are_left_out():
    images = [
        ("train/a", "street-12_jpg.rf.0a1b2c3d4e5f60718293a4b5c6d7e8f9", "train"),
        ("train/b", "street-12_jpg.rf.ffffffffffffffffffffffffffffffff", "train"),
        ("val/c", "street-12_jpg.rf.1234567890abcdef1234567890abcdef", "val"),
        ("train/d", "street-13_png.rf.1234567890abcdef1234567890abcdef", "train"),
        ("test/e", "street-12", "test"),  # a name that says nothing of copies
    ]
    left_out = grouping.copies_elsewhere(images)
    assert set(left_out) == {"train/a", "train/b"}
    assert left_out["train/a"] == "a copy of the picture street-12, which is in val too"


@pytest.mark.parametrize(
    "names",
    [
        [
            "video-20240501_081500_NF",
            "video-20240501_081600_NF",
            "video-20240501_081600_NR",
        ],  # BlackVue, front and rear
        ["video-2024_0501_081500_0001F", "video-2024_0501_081800_0002F"],  # Viofo
        ["video-20240501081500_000123F", "video-20240501081800_000124F"],
        ["video-240501_081500_001_FH", "video-240501_081800_002_FH"],  # Nextbase
        ["2024-05-01_08-15-00", "2024-05-01_23-10-00"],  # the native layout: a day
        ["video-GX010123", "video-GX020123"],  # chapters of a GoPro
        ["video-GOPR0123", "video-GP010123"],
        ["video-20240501_235900_NF", "video-20240502_000000_NF", "video-20240502_173000_NF"],  # a trip over midnight
    ],
)
def test_films_of_one_trip_are_one_group(names):
    groups = grouping.trips([*names, "video-20240611_120000_NF", "video-GX010124"])
    assert len({groups[name] for name in names}) == 1
    assert len(set(groups.values())) == 3


def test_a_name_that_is_no_date_is_a_group_of_its_own():
    names = ["carobd-live1", "carobd-live2", "video-99991399_999999", "video-20241399_081500"]
    assert grouping.trips(names) == {name: name for name in names}
