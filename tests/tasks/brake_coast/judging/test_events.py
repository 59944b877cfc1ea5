"""Alarms and onsets on drives short enough to count by hand; a frame every 500 ms."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.brake_coast.judging.events import Drive, Tally, summary, tally


def drive(state: str, score: str, segment: str | None = None) -> Drive:
    """One character a frame: state 1 on, 0 off, ? unknown; score ^ above the threshold, _ below, blank: none."""
    n = len(state)
    return Drive(
        t_ms=1_000_000 + 500 * np.arange(n),
        segment=np.array([int(c) for c in segment or "0" * n]),
        state=np.array([{"1": 1, "0": 0, "?": -1}[c] for c in state]),
        score=np.array([{"^": 0.9, "_": 0.1, " ": np.nan}[c] for c in score]),
    )


def count(*args, refractory_s: float = 2.0, max_lead_s: float = 3.0) -> Tally:
    return tally(drive(*args), 0.5, refractory_s=refractory_s, max_lead_s=max_lead_s)


def test_an_alarm_two_seconds_ahead_recalls_the_event_with_that_lead_time():
    found = count("00000000001110000000", "______^^^^^^^_______")
    assert (found.events, found.recalled, found.leads_s) == (1, 1, [2.0])
    assert (found.alarms, found.false_alarms, found.alarms_unjudged) == (1, 0, 0)


@pytest.mark.parametrize(
    ("score", "why"),
    [
        ("__________^^^_______", "on the onset's own frame is too late"),
        ("___^________________", "3.5 s before is too early, and a false alarm"),
        ("____________________", "no alarm at all"),
    ],
)
def test_events_that_are_missed(score, why):
    found = count("00000000001110000000", score)
    assert (found.events, found.recalled) == (1, 0), why
    assert found.false_alarms == ("early" in why)


def test_a_score_that_stays_up_raises_again_after_the_refractory_period():
    found = count("0" * 24, "__^^^^^^^^^^^^__________")  # 6 s up: alarms at 0, 2.5 and 5 s
    assert (found.alarms, found.false_alarms) == (3, 3)


def test_two_crossings_within_the_refractory_period_are_one_alarm():
    assert count("0" * 20, "__^_^_______________").alarms == 1


@pytest.mark.parametrize(("score", "alarms"), [("__^___^_____________", 1), ("__^____^____________", 2)])
def test_exactly_the_refractory_period_after_an_alarm_it_is_still_quiet(score, alarms):
    assert count("0" * 20, score).alarms == alarms  # 2 s and 2.5 s apart


@pytest.mark.parametrize(("score", "alarms"), [("_________^__________", 0), ("__________^_________", 1)])
def test_exactly_the_refractory_period_after_braking_it_is_still_quiet(score, alarms):
    assert count("00111100000000000000", score).alarms == alarms  # 2 s and 2.5 s after its last frame


def test_braking_raises_no_alarm_and_keeps_quiet_for_a_while_after():
    found = count("00001111000000000000", "_____^^^^^__________")
    assert (found.alarms, found.false_alarms) == (0, 0)


def test_a_pumped_brake_is_one_event():
    assert count("000010001100000000", "__________________").events == 1  # 2 s apart
    assert count("000010000011000000", "__________________").events == 2  # 3 s apart


def test_an_onset_after_an_unknown_state_is_no_event():
    assert count("000?110000", "__________").events == 0


def test_an_onset_on_a_segments_first_frame_is_no_event():
    assert count("0001110000", "__________", "0001111111").events == 0


def test_an_onset_before_any_score_is_not_judged():
    found = count("00110000000", "    _______")
    assert (found.events, found.events_unjudged) == (0, 1)


def test_an_alarm_does_not_reach_across_a_gap():
    found = count("00000000110000000", "_____^___________", "00000001111111111")
    assert (found.events, found.recalled) == (1, 0)
    assert (found.false_alarms, found.alarms_unjudged) == (0, 1)  # its segment ends a second after it: nobody knows


def test_an_alarm_followed_by_an_unknown_state_is_not_judged():
    found = count("0000?000000000", "__^___________")
    assert (found.false_alarms, found.alarms_unjudged) == (0, 1)


def test_frames_on_which_no_alarm_can_be_judged_are_no_time_without_a_false_one():
    blind = "0" * 30 + "0000?" * 40 + "0" * 14  # each third second a reply is missing
    found = summary([count(blind, "^" * len(blind))])
    # false can be alarms on frames 0 to 27, and from the last missing reply, 229, to the end's last 3 s
    assert found["false_alarms_per_hour"] == pytest.approx(found["false_alarms"] / ((28 + 9) * 0.5 / 3600))
    assert found["hours"] == pytest.approx(len(blind) * 0.5 / 3600)
    assert found["false_alarms"] == 6 + 2 and found["alarms_unjudged"] > 30


def test_summary_adds_recordings_up():
    one = count("00000000001110000000", "______^^^^^^^_______")
    two = count("0" * 20, "__^_________________")
    found = summary([one, two])
    assert found["events"] == 1 and found["recall"] == 1.0 and found["lead_s_median"] == 2.0
    assert found["hours"] == pytest.approx(40 * 0.5 / 3600)
    # of neither drive the last 3 s: an alarm there cannot be judged
    assert found["false_alarms_per_hour"] == pytest.approx(1 / (28 * 0.5 / 3600))
    # 37 frames not braking; in the 3 s after its alarm lie frames 7 to 9 of the first drive (then it brakes until after
    # frame 12, where they end) and frames 3 to 8 of the second
    assert found["chance_recall"] == pytest.approx((3 + 6) / 37)


def test_nothing_to_judge_is_none():
    found = summary([count("?" * 10, "_" * 10)])
    assert found["recall"] is None and found["lead_s_median"] is None and found["false_alarms_per_hour"] is None


def test_always_alarming_recalls_everything_and_chance_recall_says_why():
    state = np.tile(np.repeat([0, 1], [30, 4]), 5)
    t_ms = 500 * np.arange(len(state))
    always = Drive(t_ms, np.zeros(len(state), int), state, np.ones(len(state)))
    found = summary([tally(always, 0.5, refractory_s=2.0, max_lead_s=5.0)])
    assert found["recall"] == 1.0 and found["events"] == 5
    assert found["chance_recall"] > 0.8
