"""A thing stands there in every frame, people walk by."""

from __future__ import annotations

import numpy as np

from tasks.yard.metrics.standing import groups


def grouped(places: list[list[float]], reach: float = 0.5) -> list[list[tuple[int, float]]]:
    """`places`: of each frame where something is -> of each group its (frame, place)."""
    frame = np.repeat(np.arange(len(places)), list(map(len, places)))
    place = np.array([x for of in places for x in of])
    near = np.abs(place[:, None] - place[None]) <= reach
    return [[(int(frame[i]), float(place[i])) for i in mine] for mine in groups(near, frame, len(places))]


def test_what_is_in_most_frames_is_found_and_what_moves_is_not():
    walks = [float(n) for n in range(10)]
    pillar = [50.0, 50.1, 50.0, 50.2, 50.0, 50.0, 50.1, 50.0]  # missed in the last two of ten frames
    places = [[walks[n], *pillar[n : n + 1], 80.0] for n in range(10)]
    first, second = grouped(places)
    assert [place for _, place in first] == [80.0] * 10 and [place for _, place in second] == pillar
    assert grouped([of[:1] for of in places]) == []
    assert len(grouped([[7.0]] * 4 + [[]] * 6)) == 1 and grouped([[7.0]] * 4 + [[]] * 7) == []


def test_twice_in_one_frame_counts_once_and_few_frames_say_nothing():
    assert grouped([[5.0, 5.1]] * 3) == [] and len(grouped([[5.0, 5.1]] * 4)) == 1
    assert grouped([[5.0, 5.1, 5.2]] * 2 + [[]] * 4) == [] and grouped([[]] * 5) == [] and grouped([]) == []
