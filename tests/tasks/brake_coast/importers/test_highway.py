import cv2
import numpy as np
import pandas as pd
import pytest

from tasks.brake_coast.formats import recording
from tasks.brake_coast.importers import drivetrain
from tasks.brake_coast.importers import highway as importer
from tasks.yard.files import folder_hash
from tasks.yard.worlds import highway
from tasks.yard.worlds.highway import obd

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world():
    return highway.parse("synth://highway?recordings=3&minutes=0.5&seed=1&detector_images=6")


@pytest.fixture(scope="module")
def drive(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("highway") / "drive"
    importer.write_recording(world, highway.recording_names(world)[0], folder)
    return folder


def test_more_recordings_change_none_of_the_earlier_ones(world, drive, tmp_path):
    more = highway.parse("synth://highway?recordings=9&minutes=0.5&seed=1")
    name = highway.recording_names(more)[0]
    assert name == highway.recording_names(world)[0]
    importer.write_recording(more, name, tmp_path / "again")
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


def test_detector_images_are_of_drives_of_their_own(world, tmp_path):
    importer.write_sequence(world, 0, tmp_path)
    (labels,) = tmp_path.glob("*.json")
    assert [path.parent.name for path in tmp_path.glob("*/*.jpg")] == [labels.stem] * 6
    recorded = {start.date() for n in range(100) if (start := highway.start_of(world.seed, n))}
    assert highway.start_of(world.seed, highway.DETECTOR_DRIVES).date() not in recorded


def test_the_world_drives_the_car_whose_gears_the_line_knows():
    assert obd.KMH_PER_RPM.tolist() == drivetrain.KMH_PER_RPM.tolist() and obd.IDLE_RPM == drivetrain.IDLE_RPM
