"""WILDTRACK and MultiviewX through the step: places and cameras known from outside, and what is wrong with a file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from tasks.ground_plane.formats import sequence
from tasks.ground_plane.importers import offsets
from tasks.ground_plane.judging import moments
from tasks.yard.geometry import camera as geometry
from tasks.yard.step import BadInput
from tests.tasks.ground_plane.sources import REAL, changed, fetched, film, matrix, picture, xml
from tests.tasks.ground_plane.tiny_scene import looking

NAMES = ("CVLab1", "CVLab2", "CVLab3", "CVLab4", "IDIAP1", "IDIAP2", "IDIAP3")
NOBODY = {"xmin": -1, "ymin": -1, "xmax": -1, "ymax": -1}
EYE_M = (0.0, -12.0, 2.5)


def annotation(path: Path, people: list[tuple[int, int]], views: int, seen: dict | None = None) -> None:
    """(personID, positionID) of each; `seen`: the box of everybody in the last view, which is listed first."""
    rows = []
    for person, position in people:
        boxes = [{"viewNum": view, **NOBODY} for view in range(views)]
        boxes[-1] |= seen or {}
        rows.append({"personID": person, "positionID": position, "views": boxes[::-1]})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))


def calibrations(root: Path, numbers=(1, 3), dist=None) -> None:
    """Cameras side by side, 2.5 m up, that look along Y; text as WILDTRACK has it, in cm."""
    for number in numbers:
        eye = np.add(EYE_M, [number, 0, 0])
        R, T = looking(eye, np.add(eye, [0, 10, -2]))
        words = [" ".join(map(repr, values.ravel().tolist())) for values in (cv2.Rodrigues(R)[0], T * 100)]
        name = NAMES[number - 1]
        turn, way = f"<rvec>\n{words[0]}</rvec>", f"<tvec>\n{words[1]}</tvec>"
        xml(root / f"calibrations/extrinsic/extr_{name}.xml", turn, way)
        nodes = [matrix("camera_matrix", [[150, 0, 96], [0, 150, 54], [0, 0, 1]], 3, 3)]
        nodes += [] if dist is None else [matrix("distortion_coefficients", dist, 5)]
        xml(root / f"calibrations/intrinsic_zero/intr_{name}.xml", *nodes)


def wildtrack(root: Path, frames=(0, 5, 15), numbers=(1, 3), **lens) -> Path:
    calibrations(root, numbers, **lens)
    for frame in frames:
        for number in numbers:
            picture(root / f"Image_subsets/C{number}/{frame:08d}.png")
        people = [(4, 100 + 480 * 200), (8, 479 + 480 * 1439)]
        annotation(root / f"annotations_positions/{frame:08d}.json", people, 7)
    return root


def test_places_are_those_of_the_grid_and_cameras_keep_their_names(tmp_path):
    source = wildtrack(tmp_path / "Wildtrack")
    box = {"xmin": 10, "ymin": 20, "xmax": 30, "ymax": 60}
    rows = json.loads((source / "annotations_positions/00000005.json").read_text())
    rows[0]["views"] = [{"viewNum": 2, **box}, {"viewNum": 0, **NOBODY}]
    (source / "annotations_positions/00000005.json").write_text(json.dumps(rows))
    report = fetched(tmp_path, source)
    assert report["units"]["Wildtrack"]["splits"] == ["train", "val", "test"]
    found = sequence.read(tmp_path / "download/Wildtrack")
    assert found.plane == geometry.Plane((-3.0, -9.0), (12.0, 36.0)) and found.joined == [0, 5, 15]
    # The toolkit: X = -300 + 2.5 (id % 480), Y = -900 + 2.5 (id // 480) cm.
    np.testing.assert_allclose(found.people(5), [[4, -0.5, -4.0], [8, 8.975, 26.975]], atol=1e-9)
    assert list(found.calibrations) == ["cam1", "cam3"]
    np.testing.assert_allclose(found.calibrations["cam3"].camera().centre, np.add(EYE_M, [3, 0, 0]), atol=1e-6)
    assert found.boxes(5)["cam3"].tolist() == [[4, 10, 20, 30, 60]] and not len(found.boxes(5)["cam1"])
    copy, original = found.frames["cam3"][15], source / "Image_subsets/C3/00000015.png"
    assert copy.name == "cam3_15.png" and copy.read_bytes() == original.read_bytes()


def test_a_lens_bends_only_where_its_coefficients_show(tmp_path):
    fetched(tmp_path, wildtrack(tmp_path / "rounding", dist=[-1e-6, 3e-6, 0, 3e-7, -1e-6]))
    fetched(tmp_path / "2", wildtrack(tmp_path / "bent", dist=[-0.2, 0.05, 0, 0, 0]))
    assert not sequence.read(tmp_path / "download/rounding").calibrations["cam1"].dist.any()
    bent = sequence.read(tmp_path / "2/download/bent").calibrations["cam1"]
    assert bent.dist.tolist() == [-0.2, 0.05, 0, 0, 0] and np.array_equal(bent.K, bent.K_new)


BOMB = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "1 2 3">]><opencv_storage><rvec>&b;</rvec></opencv_storage>'


def define_entities(root):
    (root / "calibrations/extrinsic/extr_CVLab1.xml").write_text(BOMB)


def bloat(root):
    with (root / "calibrations/extrinsic/extr_CVLab1.xml").open("a") as file:
        file.write(" " * (1 << 17))


def lose_key(root):
    path = root / "calibrations/intrinsic_zero/intr_CVLab3.xml"
    path.write_text(path.read_text().replace("camera_matrix", "matrix"))


def spoil_number(root):
    path = root / "calibrations/extrinsic/extr_CVLab1.xml"
    path.write_text(path.read_text().replace("<tvec>\n", "<tvec>\nnan "))


def turn_round(root):
    path = root / "calibrations/extrinsic/extr_CVLab1.xml"
    start, _, rest = path.read_text().partition("<tvec>\n")
    words, _, end = rest.partition("</tvec>")
    negative = " ".join(repr(-float(word)) for word in words.split())
    path.write_text(f"{start}<tvec>\n{negative}</tvec>{end}")


def lose_intrinsic(root):
    (root / "calibrations/intrinsic_zero/intr_CVLab1.xml").unlink()


def lose_calibration(root):
    (root / "calibrations/intrinsic_zero/intr_CVLab1.xml").unlink()
    (root / "calibrations/extrinsic/extr_CVLab1.xml").unlink()


def lose_images(root):
    shutil.rmtree(root / "Image_subsets/C3")


def lose_all_images(root):
    shutil.rmtree(root / "Image_subsets")


def break_annotation(root):
    (root / "annotations_positions/00000005.json").write_text("[{")


def spoil_position(root):
    changed(root / "annotations_positions/00000005.json", lambda rows: rows[1].update(positionID=float("nan")))


def spoil_box(root):
    changed(root / "annotations_positions/00000005.json", lambda rows: rows[1]["views"][0].pop("xmax"))


SPOILT = [
    (define_entities, r"extrinsic/extr_CVLab1.xml: .*entities of its own"),
    (bloat, r"extrinsic/extr_CVLab1.xml: .*larger than 65536 bytes"),
    (lose_key, r"intrinsic_zero/intr_CVLab3.xml: key 'camera_matrix' is missing"),
    (spoil_number, r"extrinsic/extr_CVLab1.xml: 'tvec' is not 3 finite numbers"),
    (turn_round, r"extrinsic/extr_CVLab1.xml: the bottom of the camera's image shows no ground below it"),
    (lose_intrinsic, r"intrinsic_zero/intr_CVLab1.xml: is missing, but .*extrinsic/extr_CVLab1.xml is there"),
    (lose_calibration, r"Image_subsets/C1: images of a camera without a calibration"),
    (lose_images, r"extrinsic/extr_CVLab3.xml: a calibration without images"),
    (lose_all_images, r"Image_subsets: holds no folder of images; wildtrack has C1 to C7"),
]
SPOILT_LABELS = [
    (break_annotation, r"cannot be read as JSON"),
    (spoil_position, r"person 1: 'positionID' is nan; expected a whole number"),
    (spoil_box, r"person 1: 'views' needs viewNum, xmin, ymin, xmax, ymax"),
]


@pytest.mark.parametrize(("spoil", "message"), SPOILT)
def test_what_is_wrong_is_said_with_file_and_frame(tmp_path, spoil, message):
    spoil(wildtrack(tmp_path / "W"))
    with pytest.raises(BadInput, match=rf"{tmp_path}/W/.*{message}"):
        fetched(tmp_path, tmp_path / "W")


@pytest.mark.parametrize(("spoil", "why"), SPOILT_LABELS)
def test_a_label_that_cannot_be_read_is_left_out_and_said(tmp_path, spoil, why):
    spoil(wildtrack(tmp_path / "W"))
    said = fetched(tmp_path, tmp_path / "W")["units"]["W"]
    (line,) = said["left_out"]
    assert line.startswith(f"annotations_positions/00000005.json: frame 5: {why}") and said["labels"] == 2


TURN = [1.0313882807621200e-06, -2.0165616786097962, -2.4089596950516627]
SHIFT = [6.6700118705312574, 2.9786739997332018e-01, -1.5875007945159126e01]
K = [[90, 0, 96], [0, 90, 54], [0, 0, 1]]


def multiviewx(root: Path, images, annotations) -> Path:
    """One camera of MultiviewX's; its calibration is the first one's, of a left-handed world."""
    for n in images:
        picture(root / f"Image_subsets/C1/{n:04d}.png")
    for n in annotations:
        annotation(root / f"annotations_positions/{n:05d}.json", [(n, 200 + 1000 * 40)], 1)
    xml(
        root / "calibrations/extrinsic/extr_Camera1.xml",
        matrix("rvec", TURN),
        matrix("tvec", SHIFT),
    )
    xml(root / "calibrations/intrinsic/intr_Camera1.xml", matrix("camera_matrix", K, 3, 3))
    return root


JOINED = [
    (range(4), (1, 2, 4), {0: 1, 1: 2, 3: 4}),  # from 1, images from 0: as its generator numbers them
    (range(4), (0, 1, 2), {0: 0, 1: 1, 2: 2}),
    (range(1, 5), range(1, 5), {1: 1, 2: 2, 3: 3, 4: 4}),
    (range(360, 364), range(360, 364), {360: 360, 361: 361, 362: 362, 363: 363}),  # the last frames of a set
    (range(360, 364), range(361, 365), {360: 361, 361: 362, 362: 363, 363: 364}),
    (range(1, 5), range(4), {1: 0, 2: 1, 3: 2, 4: 3}),  # as nobody is known to number them
]


@pytest.mark.parametrize(("images", "annotations", "joined"), JOINED)
def test_images_are_joined_to_annotations_as_their_numbers_fit_best(tmp_path, images, annotations, joined):
    report = fetched(tmp_path, multiviewx(tmp_path / "X", images, annotations))
    found = sequence.read(tmp_path / "download/X")
    assert {frame: int(found.people(frame)[0, 0]) for frame in found.joined} == joined
    image, annotation_ = next(iter(joined.items()))
    assert report["units"]["X"]["image_0_has_annotation"] == found.annotation_offset == annotation_ - image
    np.testing.assert_allclose(found.people(found.joined[0])[0, 1:], [5.0, 15.0])  # its Y of 1 m, from the other side
    np.testing.assert_allclose(found.calibrations["cam1"].camera().centre, [6.67, 16 - 15.68, 2.5], atol=0.01)


def test_wildtrack_numbered_a_frame_apart_is_joined_and_said(tmp_path, caplog):
    source = wildtrack(tmp_path / "W", frames=range(0, 40, 5))
    for path in sorted((source / "annotations_positions").iterdir(), reverse=True):
        path.rename(path.with_name(f"{int(path.stem) + 5:08d}.json"))
    report = fetched(tmp_path, source)
    assert report["units"]["W"]["joined"] == 8 and report["units"]["W"]["image_0_has_annotation"] == 5
    assert "image i is joined to annotation i + 5, which joins 8 frames and equal numbers 7" in caplog.text


def walk_in_the_hall(moment: int) -> list[tuple[float, float]]:
    """Four people who go half a metre a frame, in MultiviewX's own left-handed metres."""
    return [(4 + 0.5 * moment, 10), (11 - 0.5 * moment, 9), (6.5, 5 + 0.5 * moment), (9, 11.5 - 0.5 * moment)]


def hall(root: Path, images, annotations, first_annotation: int) -> Path:
    """MultiviewX in which image i shows what annotation i + first_annotation says."""
    multiviewx(root, [], [])
    film(root, images, {1: (TURN, SHIFT, K)}, walk_in_the_hall)
    for number in annotations:
        walkers = walk_in_the_hall(number - first_annotation)
        people = [(n, round(x * 40) + 1000 * round(y * 40)) for n, (x, y) in enumerate(walkers)]
        annotation(root / f"annotations_positions/{number:05d}.json", people, 1)
    return root


@pytest.mark.parametrize("first", [0, 1])
def test_where_numbers_fit_in_two_ways_the_pictures_decide(tmp_path, first):
    """Twelve images and eleven annotations, 1 to 11: the first of an equal set is lost, or the last of the other."""
    report = fetched(tmp_path, hall(tmp_path / "X", range(12), range(1, 12), first))["units"]["X"]
    assert report["image_0_has_annotation"] == first and report["annotation_offset_by"] == "pictures"
    assert report["joined"] == 11


def test_where_the_pictures_do_not_tell_a_person_is_asked(tmp_path):
    source = multiviewx(tmp_path / "X", range(6), range(1, 6))
    asked = r"1 to 5, and images 0 to 5 .* join 5 frames each.* Set ground_plane.download.annotation_offset to 1 or 0"
    with pytest.raises(BadInput, match=asked):
        fetched(tmp_path, source)
    for offset in (0, 1, 0):  # what a run before it made is made anew
        report = fetched(tmp_path, source, annotation_offset=offset)["units"]["X"]
        found = sequence.read(tmp_path / "download/X")
        assert report["joined"] == 5 and int(found.people(2)[0, 0]) == 2 + offset


def test_an_annotation_before_the_first_image_is_left_out_and_two_of_a_number_are_refused(tmp_path):
    report = fetched(tmp_path, multiviewx(tmp_path / "X", range(4), range(4)), annotation_offset=2)["units"]["X"]
    assert report["left_out"] == [f"annotations_positions/0000{n}.json: belongs to no image: left out" for n in (0, 1)]
    shutil.copyfile(tmp_path / "X/annotations_positions/00002.json", tmp_path / "X/annotations_positions/2.json")
    with pytest.raises(BadInput, match=r"00002.json and .*2.json are of one frame"):
        fetched(tmp_path, tmp_path / "X")


def test_a_calibration_in_base64_is_the_same_as_in_text(tmp_path):
    source = multiviewx(tmp_path / "X", range(4), range(4))
    fetched(tmp_path, source)
    in_text = sequence.read(tmp_path / "download/X").calibrations["cam1"]
    nodes = {"extrinsic/extr_Camera1": {"rvec": TURN, "tvec": SHIFT}, "intrinsic/intr_Camera1": {"camera_matrix": K}}
    for file, values in nodes.items():
        store = cv2.FileStorage(str(source / f"calibrations/{file}.xml"), cv2.FILE_STORAGE_WRITE_BASE64)
        for key, value in values.items():
            store.write(key, np.array(value, float))
        store.release()
        assert 'type_id="binary"' in (source / f"calibrations/{file}.xml").read_text()
    fetched(tmp_path, source)
    found = sequence.read(tmp_path / "download/X").calibrations["cam1"]
    for key in ("K", "R", "T"):
        np.testing.assert_allclose(getattr(found, key), getattr(in_text, key), atol=1e-12)


def test_files_with_a_byte_order_mark_are_read(tmp_path):
    source = wildtrack(tmp_path / "W")
    for path in source.rglob("*.*"):
        if path.suffix in (".json", ".xml"):
            path.write_text(path.read_text(), encoding="utf-8-sig")
    report = fetched(tmp_path, source)["units"]["W"]
    assert report["joined"] == 3 and report["people"] == 6 and report["left_out"] == []


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / "multiviewx").exists(), reason="needs ../shared/real: ten frames of MultiviewX")
def test_on_multiviewx_people_stand_at_the_feet_of_their_boxes_and_upright(tmp_path):
    report = fetched(tmp_path, REAL / "multiviewx")
    assert report["units"]["multiviewx"]["joined"] == 10 and report["totals"]["images"] == 60
    found = sequence.read(tmp_path / "download/multiviewx")
    feet_px, heads, inside = {camera: [] for camera in found.calibrations}, [], []
    for frame in found.joined:
        people = found.people(frame)
        inside += found.plane.holds(found.plane.to_plane(people[:, 1:])).tolist()
        places = {int(person): xy for person, *xy in people}
        for camera, boxes in found.boxes(frame).items():
            world = np.array([[*places[int(person)], 0.0] for person in boxes[:, 0]])
            feet, depth = found.calibrations[camera].camera().project(world)
            tops, _ = found.calibrations[camera].camera().project(np.add(world, [0, 0, 1.8]))
            assert (depth > 0).all()
            feet_px[camera] += np.abs(feet[:, 1] - boxes[:, 4])[boxes[:, 4] < 1079].tolist()
            heads += ((boxes[:, 4] - tops[:, 1]) / (boxes[:, 4] - boxes[:, 2])).tolist()
    assert len(feet_px) == 6 and min(map(len, feet_px.values())) > 100 and all(inside)
    assert all(np.median(errors) < 1 for errors in feet_px.values())
    assert 0.85 < np.median(heads) < 1.15  # somebody of 1.8 m fills the box, upwards
    for calibration in found.calibrations.values():
        assert 1.5 < calibration.camera().centre[2] < 4


@pytest.mark.skipif(not (REAL / "wildtrack").exists(), reason="needs ../shared/real: WILDTRACK's calibrations")
def test_on_wildtrack_seven_cameras_stand_above_the_ground_and_see_the_grid(tmp_path):
    source = tmp_path / "W"
    shutil.copytree(REAL / "wildtrack/calibrations", source / "calibrations")
    for number in range(1, 8):
        picture(source / f"Image_subsets/C{number}/00000000.jpg", (1080, 1920))
    annotation(source / "annotations_positions/00000000.json", [(1, 240 + 480 * 360)], 7)
    fetched(tmp_path, source)
    found = sequence.read(tmp_path / "download/W")
    cameras = [calibration.camera() for calibration in found.calibrations.values()]
    assert len(cameras) == 7 and all(1.5 < camera.centre[2] < 4 for camera in cameras)
    grid = geometry.cells(found.plane.grid(0.5), 0.5)
    seen = np.stack([geometry.looked_up(camera, found.plane, grid)[1] for camera in cameras])
    assert seen.any((1, 2)).all() and seen.any(0).mean() > 0.95  # each sees part of the grid, all together nearly all
    assert (seen.sum(0) >= 3).mean() > 0.5


@pytest.mark.parametrize(("errors", "offset"), [(9.0, 1), (-9.0, 2), (0.0, None)])
def test_an_offset_of_several_frames_that_joins_more_is_decided_by_the_pictures_or_asked(tmp_path, errors, offset):
    """Images 0 to 5, labels 2 to 7: i + 2 joins all of them, i + 1 all but one."""

    def by_pictures(one, other):
        assert (one, other) == (1, 2)
        return moments.Evidence(50, errors, errors)

    if offset is None:
        with pytest.raises(BadInput, match=r"i \+ 2 of image i joins 6 frames, i \+ 1 joins 5; .* to 2 or 1"):
            offsets.chosen(range(6), range(2, 8), (0, 1), tmp_path, by_pictures)
    else:
        found, by, said = offsets.chosen(range(6), range(2, 8), (0, 1), tmp_path, by_pictures)
        assert (found, by) == (offset, "pictures") and f"annotation i + {offset}" in said[0]
