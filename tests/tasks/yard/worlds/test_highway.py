import cv2
import numpy as np
import pandas as pd
import pytest

from tasks.brake_coast.formats import recording
from tasks.yard.files import folder_hash
from tasks.yard.step import BadInput
from tasks.yard.worlds import highway
from tasks.yard.worlds.highway import traffic

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world():
    return highway.parse("synth://highway?recordings=3&minutes=0.5&seed=1&detector_images=6")


@pytest.fixture(scope="module")
def drive(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("highway") / "drive"
    highway.write_recording(world, highway.recording_names(world)[0], folder)
    return folder


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


def test_more_recordings_change_none_of_the_earlier_ones(world, drive, tmp_path):
    more = highway.parse("synth://highway?recordings=9&minutes=0.5&seed=1")
    name = highway.recording_names(more)[0]
    assert name == highway.recording_names(world)[0]
    highway.write_recording(more, name, tmp_path / "again")
    assert folder_hash(tmp_path / "again") == folder_hash(drive)


def test_a_recording_is_read_like_a_real_one(drive):
    telemetry = recording.read_telemetry(drive)
    rows = telemetry.rows
    frames = recording.images(drive)
    assert set(frames) == set(rows.time)
    assert len(rows) + telemetry.error_rows == 60
    assert rows.t_ms.diff().median() in (500, 400, 600)
    assert rows.speed_kmh.between(0, 200).all()
    assert rows.pedal_pct.dropna().between(0, 100).all()
    assert cv2.imread(str(next(iter(frames.values())))).shape == (360, 640, 3)


def test_gears_fit_the_ratios_of_the_car(drive):
    rows = recording.read_telemetry(drive).rows.dropna()
    driving = rows[rows.gear > 0]
    ratio = driving.speed_kmh / driving.rpm * 1000
    nominal = np.array([9.5, 16.5, 27.5, 40.5, 53.5])[driving.gear.astype(int) - 1]
    assert len(driving) > 0.7 * len(rows)
    assert (np.abs(ratio - nominal) < 1 + 0.026 * ratio).all()


def test_true_boxes_lie_where_the_picture_shows_a_vehicle(drive):
    """The rear of the leader differs from the road in front of it; and a nearer vehicle is a larger one."""
    truth = pd.read_csv(drive / "truth.csv")
    boxes = truth[["x1", "y1", "x2", "y2"]]
    assert boxes.min().min() >= 0
    assert boxes[["x1", "x2"]].max().max() <= 640
    assert boxes[["y1", "y2"]].max().max() <= 360
    cars = truth[(truth.kind == "car") & truth.rear_x1.gt(1) & truth.rear_x2.lt(639)]
    # A pinhole camera: size x distance is constant.
    width = (cars.rear_x2 - cars.rear_x1) * (cars.distance_m + 1.8)
    assert width.between(0.99 * width.median(), 1.01 * width.median()).all()

    leaders = truth[(truth.leader == 1) & (truth.distance_m < 60)].dropna()
    assert len(leaders)
    differences = []
    for row in leaders.itertuples():
        picture = cv2.imread(str(drive / f"{row.Time}.jpg")).astype(float)
        x1, y1, x2, y2 = (int(v) for v in (row.rear_x1, row.rear_y1, row.rear_x2, row.rear_y2))
        inside = picture[y1:y2, x1:x2].std()
        road = picture[y2 + 4 : y2 + 4 + (y2 - y1) // 2, x1:x2].std()
        differences.append(inside - road)
    assert np.median(differences) > 8


def test_the_default_world_brakes_and_coasts_as_often_as_the_original():
    """Brake 2..5 %, coast 6..12 %. Twelve drives, because one says little."""
    times_s = np.arange(0, 300, 0.5)
    drives = [traffic.simulate(np.random.default_rng([0, number, 2]), times_s)[0] for number in range(12)]
    braking, pedal = (np.concatenate([getattr(d, name) for d in drives]) for name in ("braking", "pedal"))
    onsets = sum(int(np.count_nonzero(d.braking[1:] & ~d.braking[:-1])) for d in drives)
    assert 0.02 <= braking.mean() <= 0.05
    assert 0.06 <= (pedal < 0.075).mean() <= 0.12
    assert onsets / len(drives) >= 4


def test_nobody_drives_through_anybody():
    drive, _ = traffic.simulate(np.random.default_rng([3, 0, 2]), np.arange(0, 120, 0.5))
    followed = drive.leader >= 0
    gaps = drive.distance_m[np.flatnonzero(followed), drive.leader[followed]]
    assert gaps.min() > 0


def test_the_leader_closes_before_the_driver_brakes():
    """What a camera is for: a second before an onset the gap shrinks, and the foot is still on the pedal."""
    before, always, lifted = [], [], []
    for number in range(4):
        drive, _ = traffic.simulate(np.random.default_rng([0, number, 2]), np.arange(0, 300, 0.5))
        rows = np.arange(len(drive.t_s))
        closing = np.where(drive.leader >= 0, drive.speed_mps - drive.other_speed_mps[rows, drive.leader], np.nan)
        onsets = np.flatnonzero(drive.braking[1:] & ~drive.braking[:-1]) + 1
        before += list(closing[onsets[onsets > 2] - 2])
        lifted += list(drive.pedal[onsets[onsets > 2] - 2] < 0.075)
        always += list(closing[~drive.braking])
    assert np.nanmedian(before) > np.nanmedian(always) + 1.0
    assert np.mean(lifted) < 0.2


def test_detector_images_are_of_drives_of_their_own(world, tmp_path):
    highway.write_detector_images(world, tmp_path)
    (labels,) = tmp_path.glob("*.json")
    assert [path.parent.name for path in tmp_path.glob("*/*.jpg")] == [labels.stem] * 6
    recorded = {start.date() for n in range(100) if (start := highway.start_of(world.seed, n))}
    assert highway.start_of(world.seed, highway.DETECTOR_DRIVES).date() not in recorded
