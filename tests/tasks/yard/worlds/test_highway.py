import numpy as np
import pandas as pd
import pytest

from tasks.yard.step import BadInput
from tasks.yard.worlds import highway
from tasks.yard.worlds.highway.drive import Drive, simulate

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def drives() -> list[Drive]:
    """Ten of the default world, because one says little."""
    return [simulate(np.random.default_rng([0, number, 2]), np.arange(0, 200, 0.5))[0] for number in range(10)]


def test_a_uri_gives_the_world_and_what_it_leaves_out_has_a_default():
    world = highway.parse("synth://highway?recordings=4&minutes=1.5")
    assert (world.recordings, world.minutes, world.seed) == (4, 1.5, 0)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("recording=4", "'recording'; did you mean 'recordings'"),
        ("recordings=few", "recordings = 'few'"),
        ("minutes=nan", "minutes = nan must be from"),
        ("recordings=0", "recordings = 0 must be from 1"),
        ("seed=", "seed = ''"),
    ],
)
def test_a_wrong_query_is_named(query, says):
    with pytest.raises(BadInput, match=says):
        highway.parse(f"synth://highway?{query}")


def test_another_world_is_refused():
    with pytest.raises(BadInput, match="expected synth://highway"):
        highway.parse("synth://city?seed=0")


def test_names_are_dates_of_several_days_some_with_several_drives():
    names = highway.recording_names(highway.parse("synth://highway?recordings=16"))
    days = pd.Series([name[:10] for name in names])
    assert len(set(names)) == 16
    assert names == sorted(names)
    assert days.nunique() >= 5
    assert days.value_counts().max() >= 2


def test_the_default_world_brakes_and_coasts_as_often_as_the_original(drives):
    """Brake 2..5 %, coast 6..12 %."""
    braking, pedal = (np.concatenate([getattr(d, name) for d in drives]) for name in ("braking", "pedal"))
    onsets = sum(int(np.count_nonzero(d.braking[1:] & ~d.braking[:-1])) for d in drives)
    assert 0.02 <= braking.mean() <= 0.05
    assert 0.06 <= (pedal < 0.075).mean() <= 0.12
    assert onsets / len(drives) >= 4


def test_nobody_drives_through_anybody():
    drive, _ = simulate(np.random.default_rng([3, 0, 2]), np.arange(0, 120, 0.5))
    followed = drive.leader >= 0
    gaps = drive.distance_m[np.flatnonzero(followed), drive.leader[followed]]
    assert gaps.min() > 0


def test_the_leader_closes_before_the_driver_brakes(drives):
    """What a camera is for: a second before an onset the gap shrinks, and the foot is still on the pedal."""
    before, always, lifted = [], [], []
    for drive in drives[:4]:
        rows = np.arange(len(drive.t_s))
        closing = np.where(drive.leader >= 0, drive.speed_mps - drive.other_speed_mps[rows, drive.leader], np.nan)
        onsets = np.flatnonzero(drive.braking[1:] & ~drive.braking[:-1]) + 1
        before += list(closing[onsets[onsets > 2] - 2])
        lifted += list(drive.pedal[onsets[onsets > 2] - 2] < 0.075)
        always += list(closing[~drive.braking])
    assert np.nanmedian(before) > np.nanmedian(always) + 1.0
    assert np.mean(lifted) < 0.2
