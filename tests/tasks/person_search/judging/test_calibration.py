"""Searches among people of validation whose answers are known by construction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.person_search.formats.cameras import Camera, Indexed
from tasks.person_search.judging import calibration
from tasks.person_search.judging.calibration import Asked
from tasks.yard.files import write_json

PEOPLE, SIZE = 12, 40


def box(person: int) -> list[float]:
    return [40.0 * person, 0.0, 40.0 * person + 20, 50.0]


def camera(number: int) -> Camera:
    return Camera(f"c{number}", Path("nowhere"), "yard", number, f"c{number}", 2.0)


def vector(person: int, like: dict[int, float] | None = None) -> np.ndarray:
    """Of length 1, with these cosines to other people's."""
    out = np.zeros(SIZE, np.float32)
    for other, cosine in (like or {}).items():
        out[other] = cosine
    out[person] = np.sqrt(1 - (out**2).sum())
    return out


def indexed(number: int, people, vectors, confidence=None, boxes=None) -> Indexed:
    """One frame in which everybody stands apart; detections are the true boxes unless others are given."""
    count = len(vectors)
    truth = {
        "frame": np.zeros(len(people), np.int32), "identity": np.array(people, np.int32),
        "box": np.array([box(person) for person in people], np.float32),
    }  # fmt: skip
    rows = {
        "frame": np.zeros(count, np.int32), "box": np.array(boxes or truth["box"], np.float32),
        "confidence": np.array(confidence or [0.9] * count, np.float32), "embedding": np.array(vectors, np.float32),
    }  # fmt: skip
    oracle = truth | {"embedding": rows["embedding"][: len(people)], "found": np.ones(len(people), np.uint8)}
    return Indexed(camera(number), rows, oracle)


def asked(people, cameras=(1, 2)) -> Asked:
    pairs = [(person, number) for person in people for number in cameras]
    vectors = np.array([vector(person) for person, _ in pairs])
    return Asked(vectors, ["yard"] * len(pairs), [p for p, _ in pairs], [c for _, c in pairs])


@pytest.fixture
def neighbours() -> list[Indexed]:
    """Each person looks like the one before by 0.02 times their number, in both cameras."""
    people = list(range(1, PEOPLE + 1))
    vectors = [vector(p, {p - 1: 0.02 * p} if p > 1 else {}) for p in people]
    return [indexed(number, people, vectors) for number in (1, 2)]


def test_of_each_search_the_most_similar_other_is_kept_and_never_the_person(neighbours):
    found = calibration.calibrated(asked(range(1, PEOPLE + 1)), neighbours)
    by_hand = sorted([0.02 * (p + 1) for p in range(1, PEOPLE)] + [0.0])  # the last one is like nobody
    assert found["impostors"]["best"] == pytest.approx(np.repeat(by_hand, 2), abs=1e-5)
    assert found["impostors"]["searches"] == 24 and found["impostors"]["people"] == PEOPLE
    assert found["impostors"]["detections"] == 2 * (PEOPLE - 1)
    strict = found["promised"][1]
    assert strict["rate"] == 0.05 and strict["threshold"] == pytest.approx(0.24, abs=1e-4)
    assert strict["claimed"] == 0 and strict["found_right"] == 1.0 and found["there"] == 24


def test_a_piece_of_the_person_is_no_stranger(neighbours):
    one = neighbours[0]
    x1, y1, x2, _ = box(3)
    rows = {
        "frame": np.append(one.rows["frame"], np.int32(0)),
        "box": np.vstack([one.rows["box"], np.float32([x1, y1, x2, y1 + 15])]),
        "confidence": np.append(one.rows["confidence"], np.float32(0.4)),
        "embedding": np.vstack([one.rows["embedding"], vector(3)]),
    }  # fmt: skip
    people = asked(range(1, PEOPLE + 1))
    with_piece = calibration.calibrated(people, [replace(one, rows=rows), neighbours[1]])
    assert with_piece["impostors"]["best"] == calibration.calibrated(people, neighbours)["impostors"]["best"]


def test_who_is_in_no_frame_is_searched_for_among_all(neighbours):
    strangers = asked([20, 21, 22, 23], cameras=range(1, 7))
    found = calibration.calibrated(strangers, neighbours)
    assert found["impostors"]["searches"] == 24 and found["impostors"]["detections"] == 2 * PEOPLE
    assert found["there"] == 0 and found["promised"][0]["found_right"] is None


def test_too_few_searches_say_nothing_and_why(neighbours):
    found = calibration.calibrated(asked([1, 2, 3]), neighbours)
    assert found["strangers"] is None and found["promised"] is None
    assert found["null_because"].startswith("6 searches among people of validation: a rate of errors takes 20")


def test_the_confidence_with_the_best_search_is_chosen():
    """At 0.3 half of the people are missing; at 0.02 things that look like everybody come before them."""
    people = list(range(1, 7))
    vectors = [vector(person) for person in people]
    sure = [0.5, 0.5, 0.5, 0.1, 0.1, 0.1]
    things = [np.full(SIZE, 1, np.float32) for _ in people]
    boxes = [*map(box, people), *([[600.0 + 40 * n, 0, 620.0 + 40 * n, 40] for n in range(6)])]
    cameras = [
        indexed(number, people, [*vectors, *(3 * thing for thing in things)], [*sure, *[0.03] * 6], boxes)
        for number in (1, 2)
    ]
    best, weight, tried = calibration.chosen(asked(people), cameras, [0.3, 0.02, 0.1])
    assert (best, weight) == (0.1, 0.0)
    assert {one["confidence"]: round(one["map"], 3) for one in tried}[0.3] == 0.5
    assert [one["detections"] for one in tried] == [24, 12, 6]
    assert calibration.chosen(asked(people), cameras, [0.05, 0.1])[0] == 0.1, "of equals the highest"


def test_what_is_hardly_a_person_counts_less_where_that_finds_more():
    """At 0.02 everybody has a detection, and a lamp of confidence 0.02 is a little more like each of them."""
    people = list(range(1, 7))
    true = [0.8 * vector(person) for person in people]
    lamps = [0.9 * vector(person) for person in people]
    boxes = [*map(box, people), *([[600.0 + 40 * n, 0, 620.0 + 40 * n, 40] for n in range(6)])]
    cameras = [
        indexed(number, people, [*true, *lamps], [*[0.9] * 3, *[0.1] * 3, *[0.02] * 6], boxes) for number in (1, 2)
    ]
    best, weight, tried = calibration.chosen(asked(people), cameras, [0.02, 0.5], [0.0, 0.2, 0.3])
    assert (best, weight) == (0.02, 0.2) and tried[0]["map"] == 1.0, "of equal weights the lowest"
    assert calibration.search_map(asked(people), cameras, 0.0)["map"] == 0.5
    assert tried[1]["map"] == 0.5 and tried[1]["weight"] == 0.0, "of the surest half no weight finds more"


def test_the_threshold_is_of_the_similarity_that_searches_use(neighbours):
    """Of half the confidence and weight 1 everybody is half as similar: strangers too, and so the threshold."""
    half = [replace(one, rows=one.rows | {"confidence": np.full(PEOPLE, 0.5, np.float32)}) for one in neighbours]
    people = asked(range(1, PEOPLE + 1))
    plain, weighed = (calibration.calibrated(people, half, weight) for weight in (0.0, 1.0))
    assert weighed["impostors"]["best"] == pytest.approx(np.multiply(plain["impostors"]["best"], 0.5), abs=1e-6)
    assert weighed["promised"][1]["threshold"] == pytest.approx(plain["promised"][1]["threshold"] / 2, abs=1e-4)


def test_strangers_and_thresholds_come_back_from_the_file(tmp_path, neighbours):
    assert calibration.read(tmp_path / "none.json") == calibration.NOTHING
    told = calibration.calibrated(asked(range(1, PEOPLE + 1)), neighbours)
    write_json(
        tmp_path / "calibration.json", {"confidence": 0.2, "confidence_weight": 0.1, "weights_sha256": "abc", **told}
    )
    known = calibration.read(tmp_path / "calibration.json")
    assert (known.confidence, known.detector, known.weight) == (0.2, "abc", 0.1)
    small, large = (calibration.threshold_of(known, 0.2, count)[0] for count in (22, 2200))
    assert small < large <= 1
    assert "among 2,200 detections" in calibration.threshold_of(known, 0.2, 2200)[1]
    assert calibration.chance_of(known, small, 22) == pytest.approx(0.2, abs=0.041)
    # 24 searches of 22 others each; 2 of them are at least 0.24 alike
    assert known.strangers.pairs == 24 * 22
    assert known.strangers.expected(1.0, 22) == pytest.approx(22 / (24 * 22 + 1))


def test_people_of_test_and_what_is_detected_of_them_are_left_out(neighbours):
    tested = {"yard:0011", "yard:0012", "elsewhere:0001"}
    kept, lost = calibration.without(neighbours, tested)
    assert lost == 4
    rest = list(range(1, PEOPLE - 1))
    vectors = [vector(p, {p - 1: 0.02 * p} if p > 1 else {}) for p in rest]
    people = asked(rest)
    expected = calibration.calibrated(people, [indexed(number, rest, vectors) for number in (1, 2)])
    assert calibration.calibrated(people, kept) == expected
    assert expected["impostors"]["best"] != calibration.calibrated(people, neighbours)["impostors"]["best"]


def test_where_nothing_is_calibrated_confidence_has_no_weight(tmp_path, neighbours):
    told = {"confidence": 0.1, "confidence_weight": 0.5}
    for count, weight in ((3, 0.0), (PEOPLE, 0.5)):
        write_json(tmp_path / "it.json", told | calibration.calibrated(asked(range(1, count + 1)), neighbours))
        known = calibration.read(tmp_path / "it.json")
        assert known.weight == weight and (known.impostors is None) == (weight == 0)
