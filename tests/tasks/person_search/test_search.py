"""Finding somebody: known answers for boxes and vectors by hand, sightings, films and sheets, what users do wrong."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor

from tasks.person_search.judging.sightings import sightings
from tasks.person_search.page import search_video
from tasks.yard.files import read_json, write_json
from tasks.yard.layouts.images import write_image
from tasks.yard.step import BadInput
from tests.tasks.person_search import real_layouts, tiny_yard
from tests.tasks.person_search.tiny_yard import Yard, like, vector, write_camera, write_index, write_query

ANN, BOB = 7, 8
BOX, FAR = [20, 16, 34, 52], [90, 16, 104, 52]
ASKED = "0007_c1s1_000001_00.png"


@pytest.fixture(scope="module")
def train_detector(tmp_path_factory) -> Path:
    return tiny_yard.write_detector(tmp_path_factory.mktemp("train_detector"))


@pytest.fixture
def yard(tmp_path, train_detector) -> Yard:
    return Yard(tmp_path, train_detector)


def results(yard: Yard, query: str = ASKED) -> dict:
    return read_json(yard.root / "search" / Path(query).stem / "results.json")


def listed(yard: Yard, query: str = ASKED) -> list[dict]:
    with (yard.root / "search" / Path(query).stem / "results.csv").open() as file:
        return list(csv.DictReader(file))


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def ann(yard) -> np.ndarray:
    """Three cameras with films of 8 frames at 2 fps; Ann is asked for with an image of camera 1."""
    for number in (1, 2, 3):
        write_camera(yard.download, number, 8, asked={ASKED: ANN} if number == 1 else None, people={ANN: {0: 20}})
    return vector(yard, yard.download / "yard-c1/queries" / ASKED)


def test_detections_are_grouped_into_sightings_of_each_camera(yard, ann):
    write_index(yard, {
        "yard-c1": [(3, BOX, like(ann, 0.3))],
        "yard-c2": [(0, BOX, like(ann, 0.91)), (1, BOX, like(ann, 0.95)), (1, FAR, like(ann, 0.93)),
                    (4, FAR, like(ann, 0.98)), (5, FAR, like(ann, 0.5))],
        "yard-c3": [(6, BOX, like(ann, 0.92)), (7, FAR, like(ann, 0.2))],
    })  # fmt: skip
    metrics = yard.search(gap_s=1.0)
    answer = results(yard)
    seen = [(s["unit"], s["from_frame"], s["to_frame"], s["frames"], s["best"]["frame"]) for s in answer["sightings"]]
    assert seen == [("yard-c2", 4, 4, 1, 4), ("yard-c2", 0, 1, 2, 1), ("yard-c3", 6, 6, 1, 6)]
    second = answer["sightings"][1]
    assert (second["from_s"], second["to_s"]) == (0, 0.5)
    assert second["best"]["box"] == BOX and second["best"]["similarity"] == pytest.approx(0.95, abs=1e-4)
    assert answer["found"] and "found in 2 of 3 cameras, yard-c2, yard-c3" in answer["says"]
    assert metrics["found"] == 1 and metrics["detections"] == 8
    lines = listed(yard)
    by_hand = [0.98, 0.95, 0.93, 0.92, 0.91, 0.5, 0.3, 0.2]
    assert [float(line["similarity"]) for line in lines] == pytest.approx(by_hand, abs=1e-4)
    two = [(line["unit"], line["frame"], line["above"]) for line in lines[:2]]
    assert two == [("yard-c2", "4", "1"), ("yard-c2", "1", "1")]
    assert [line["above"] for line in lines[-3:]] == ["0", "0", "0"]
    yard.search(gap_s=1.5, results=3)  # frames 1 and 4 are 1.5 s apart
    assert [(s["from_frame"], s["to_frame"], s["frames"]) for s in results(yard)["sightings"]] == [(0, 4, 3), (6, 6, 1)]
    assert listed(yard) == lines[:3]


MARKET = [f"0007_c9s1_{stamp:06d}_01.jpg" for stamp in (1051, 1076, 1101, 14901)]


def stills(yard: Yard, fps: str | None, names: list[str]) -> np.ndarray:
    """A camera `door` that download brought from a folder of stills, all of Ann; returns her vector."""
    home = yard.root / "source"
    for name in names:
        write_query(home / "cameras/door" / name, ANN)
    if fps is not None:
        (home / "cameras/door/camera.json").write_text(f'{{"fps": {fps}}}')
    asked = write_query(home / "queries/ann.png", ANN)
    real_layouts.fetched(yard.root, home)
    ann = vector(yard, asked)
    frames = sorted(int(path.stem) for path in (yard.download / "source-camera-door/frames").iterdir())
    write_index(yard, {"source-camera-door": [(n, BOX, like(ann, 0.95 - 0.01 * k)) for k, n in enumerate(frames)]})
    return ann


def test_stills_keep_their_names_and_get_no_times_that_nobody_told(yard):
    """Market's stamps are 25 a second and days apart: four stills are four sightings, and none is `0.0 to 1.5 s`."""
    stills(yard, None, MARKET)
    yard.search(gap_s=100.0, sheet_queries=1, video_queries=1)
    answer = results(yard, "ann.png")
    seen = [(s["best"]["file"], s["frames"], s["from_s"], s["to_s"], s["best"]["time_s"]) for s in answer["sightings"]]
    assert seen == [(name, 1, None, None, None) for name in MARKET]
    assert answer["says"].endswith(f"the most similar is 0.950, in source-camera-door, {MARKET[0]}")
    assert [(line["file"], line["time_s"]) for line in listed(yard, "ann.png")] == [(name, "") for name in MARKET]
    with (yard.root / "search/queries.csv").open() as file:
        line = next(csv.DictReader(file))
    assert (line["best_file"], line["best_time_s"], line["cameras"], line["cameras_right"]) == (MARKET[0], "", "1", "")
    with av.open(str(yard.root / "search/ann/search.mp4")) as film:  # one after the other, not 14901 apart
        assert film.streams.video[0].frames == 4


def test_stills_of_a_camera_that_says_its_rate_have_times(yard):
    names = ["first.jpg", "fourth.jpg", "second.jpg", "third.jpg"]  # as sorted: names without a number
    stills(yard, "2", names)
    yard.search(gap_s=1.0)
    answer = results(yard, "ann.png")
    assert [(s["from_s"], s["to_s"], s["best"]["file"]) for s in answer["sightings"]] == [(0, 1.5, names[0])]
    assert answer["says"].endswith("in source-camera-door, first.jpg, 0.0 s")
    assert [(line["file"], line["time_s"]) for line in listed(yard, "ann.png")][3] == (names[3], "1.500")


@pytest.mark.parametrize(
    ("names", "expected"), [(["7.png", "9.png"], ["7.png", "9.png"]), (["000007.jpg"], ["000007.jpg"])]
)
def test_a_still_that_download_renames_is_called_as_its_source_calls_it(yard, names, expected):
    stills(yard, None, names)
    yard.search()
    assert [(line["frame"], line["file"]) for line in listed(yard, "ann.png")] == [
        (str(int(Path(name).stem)), name) for name in expected
    ]  # fmt: skip


def test_a_frame_of_a_film_is_a_moment_of_that_film(yard, ann):
    folder = yard.download / "yard-c2"
    write_json(folder / "camera.json", {**read_json(folder / "camera.json"), "film": "door.mp4"})
    write_index(yard, {"yard-c2": [(5, BOX, like(ann, 0.95))]})
    yard.search()
    best = results(yard)["sightings"][0]["best"]
    assert (best["file"], best["frame"], best["time_s"]) == ("door.mp4", 5, 2.5)
    assert results(yard)["says"].endswith("in yard-c2, 2.5 s of door.mp4")


def test_a_camera_that_shows_another_person_is_not_counted_as_one_that_found_them(yard, ann):
    found = {"yard-c1": [], "yard-c2": [(0, BOX, like(ann, 0.95))], "yard-c3": [(6, FAR, like(ann, 0.97))]}
    truth = {"yard-c1": [], "yard-c2": [(0, BOX, like(ann, 0.95), ANN, 1)], "yard-c3": [(6, BOX, ann, ANN, 0)]}
    write_index(yard, found, truth)
    yard.search()
    assert results(yard)["says"].startswith(
        "found in 1 of 3 cameras, yard-c2; another person is taken for them in 1, yard-c3; the most similar is 0.970"
    )
    with (yard.root / "search/queries.csv").open() as file:
        line = next(csv.DictReader(file))
    assert (line["found"], line["cameras"], line["cameras_right"]) == ("1", "2", "1")
    write_index(yard, found | {"yard-c2": []}, truth)
    yard.search()
    assert results(yard)["says"].startswith("found in none of 3 cameras: another person is taken for them in 1, ")


def test_somebody_in_none_of_the_cameras_is_not_found(yard, ann):
    write_index(yard, {"yard-c1": [(3, BOX, like(ann, 0.3))], "yard-c2": [(5, BOX, like(ann, 0.62))], "yard-c3": []})
    assert yard.search()["found"] == 0
    answer = results(yard)
    assert answer["found"] is False and answer["sightings"] == []
    assert answer["says"].startswith("not found in 3 cameras") and "0.620, in yard-c2, frame 5" in answer["says"]
    assert yard.search(threshold=0.6)["found"] == 1  # a user's own
    assert [s["unit"] for s in results(yard)["sightings"]] == ["yard-c2"]
    write_index(yard, {"yard-c1": [], "yard-c2": [], "yard-c3": []})
    yard.search(sheet_queries=1, video_queries=1)
    assert results(yard)["says"] == "not found: nobody was detected in 3 cameras" and listed(yard) == []


def test_without_a_calibrated_threshold_nobody_is_claimed(yard, ann):
    write_index(yard, {"yard-c2": [(5, BOX, like(ann, 0.99))]})
    tiny_yard.write_leader(yard.root / "evaluate", threshold=None)
    assert "found" not in yard.search(sheet_queries=1, video_queries=1)
    answer = results(yard)
    assert answer["found"] is None and answer["sightings"] == [] and answer["cameras"][0]["best"]["above"] is None
    assert "no threshold (no pairs)" in answer["says"] and listed(yard)[0]["above"] == ""


def test_the_search_is_judged_by_hand_computed_numbers(yard, ann):
    """Ann is in cameras 2 (frames 0, 1) and 3 (frame 6, which the detector missed), and in her own, which is no answer.

    Without camera 1 the ranks are: 1 Ann in c2, 2 somebody, 3 Ann in c2. AP = (1/1 + 2/3) / 3 boxes.
    With the true boxes: Ann .95, .92 and .6, Bob .7: (1 + 1 + 3/4) / 3.
    """
    detections = {
        "yard-c1": [(0, BOX, like(ann, 0.99))],
        "yard-c2": [(0, BOX, like(ann, 0.95)), (1, BOX, like(ann, 0.8)), (1, FAR, like(ann, 0.1))],
        "yard-c3": [(6, FAR, like(ann, 0.9))],
    }
    truth = {
        "yard-c1": [(0, BOX, like(ann, 0.99), ANN, 1)],
        "yard-c2": [(0, BOX, like(ann, 0.95), ANN, 1), (1, BOX, like(ann, 0.92), ANN, 1)],
        "yard-c3": [(6, BOX, like(ann, 0.6), ANN, 0), (6, FAR, like(ann, 0.7), BOB, 1)],
    }
    write_index(yard, detections, truth)
    metrics = yard.search(threshold=0.92)  # .02 and .03 beside the nearest: no last bit of a float32 decides
    assert metrics["map"] == pytest.approx(5 / 9, abs=1e-6) and metrics["top1"] == 1
    assert metrics["oracle_map"] == pytest.approx(2.75 / 3, abs=1e-6) and metrics["oracle_top1"] == 1
    assert metrics["detector_recall"] == pytest.approx(4 / 5) and metrics["judged_queries"] == 1
    # the two answers are 2 of the 4 detections elsewhere: by chance the first is right every second time
    assert 0.2 < metrics["chance_top1"] < 0.8 and metrics["chance_map"] < metrics["map"] + 0.01
    assert results(yard)["judged"] == {"ap": pytest.approx(5 / 9, abs=1e-6), "first": 1, "boxes": 3, "boxes_found": 2}
    best = {c["unit"]: (c["own"], c["there"], c["best"]["right"]) for c in results(yard)["cameras"]}
    assert best == {"yard-c1": (True, True, True), "yard-c2": (False, True, True), "yard-c3": (False, True, False)}
    said = read_json(yard.root / "search/search.json")["metrics"]["open_set"]
    assert said == {
        "there": 1, "found_right": 1.0, "sightings": 1, "sightings_right": 1.0, "nowhere": 0, "said_not_found": None
    }  # fmt: skip


def test_the_open_set_is_judged_too(yard, ann):
    """Bob walks nowhere: once he is not claimed, and once he is. Ann's only match is another person."""
    write_query(yard.download / "yard-c2/queries/0008_c2s1_000001_00.png", BOB)
    bob = vector(yard, yard.download / "yard-c2/queries/0008_c2s1_000001_00.png")
    truth = {"yard-c1": [], "yard-c2": [(0, BOX, like(ann, 0.5), ANN, 0)], "yard-c3": []}
    nobody = {"yard-c1": [], "yard-c3": []}
    for found, right, refused in ((like(ann, 0.99), 0.0, 1.0), (like(bob, 0.99), 0.0, 0.0)):
        write_index(yard, nobody | {"yard-c2": [(0, FAR, found)]}, truth)
        said = yard.search(threshold=0.98)
        assert (said["found_right"], said["said_not_found"], said["judged_queries"]) == (right, refused, 1)


def test_a_whole_scene_instead_of_one_person_is_spoken_of(yard, ann, tmp_path):
    write_index(yard, {"yard-c2": [(0, BOX, like(ann, 0.95))]})
    person = write_query(tmp_path / "own/ann.png", ANN)
    with Image.open(person) as image:
        image.resize((300, 120)).save(tmp_path / "own/square.png")
    assert yard.search(queries=str(tmp_path / "own"))["queries"] == 2
    assert read_json(yard.root / "search/search.json")["wide"] == [str(tmp_path / "own/square.png")]


def test_nothing_is_judged_where_nothing_is_known(yard, ann, tmp_path):
    found = {"yard-c2": [(0, BOX, like(ann, 0.95))]}
    write_index(yard, found)
    assert set(yard.search()) == {"queries", "cameras", "detections", "found"}
    about = read_json(yard.root / "search/search.json")
    assert about["metrics"] is None and "truth.csv" in about["metrics_null_because"]
    write_index(yard, found, {"yard-c2": [(0, BOX, like(ann, 0.95), ANN, 1)]})
    own = write_query(tmp_path / "own" / ASKED, ANN)  # called like Ann, but in a data set that nobody knows
    metrics = yard.search(queries=str(own))
    assert metrics["found"] == 1 and "map" not in metrics
    assert results(yard)["person"] is None and results(yard)["cameras"][0]["best"]["right"] is None
    assert "Market" in read_json(yard.root / "search/search.json")["metrics_null_because"]


def test_cameras_of_two_data_sets_with_one_number_and_one_pid_are_kept_apart(yard, ann):
    write_camera(yard.download, 1, 8, dataset="mall")
    write_camera(yard.download, 2, 8, dataset="mall")
    zero = np.zeros_like(ann)  # equally similar on every processor: 0, to the last bit
    place = [(0, BOX, zero)]
    true = [(0, BOX, zero, ANN, 1)]
    units = ("mall-c1", "mall-c2", "yard-c2")
    write_index(yard, dict.fromkeys(units, place), dict.fromkeys(units, true))
    metrics = yard.search()
    assert results(yard)["judged"]["boxes"] == 1  # that of her own data set alone
    assert metrics["map"] == pytest.approx(1 / 3)  # three are equally similar, and the mall's cameras come first
    assert {c["unit"]: (c["own"], c["there"]) for c in results(yard)["cameras"]} == {
        "mall-c1": (False, False), "mall-c2": (False, False), "yard-c2": (False, True)
    }  # fmt: skip


def test_the_same_image_in_every_camera_is_one_query_and_names_are_kept_apart(yard, ann, tmp_path):
    for number in (2, 3):
        write_query(yard.download / f"yard-c{number}/queries/{ASKED}", ANN)
    write_query(yard.download / "yard-c3/queries/someone in red.png", BOB)
    write_camera(yard.download, 1, 8, dataset="mall", asked={ASKED: BOB})
    write_index(yard, {"yard-c2": [(0, BOX, like(ann, 0.95))], "yard-c3": [], "yard-c1": [], "mall-c1": []})
    assert yard.search()["queries"] == 3
    assert sorted(read_json(yard.root / "search/search.json")["queries"]) == [
        "0007_c1s1_000001_00", "someone-in-red", "yard-0007_c1s1_000001_00"
    ]  # fmt: skip
    yard.search(queries=str(write_query(tmp_path / "own/me.png", ANN)))  # the folders of the others go
    assert sorted(path.name for path in (yard.root / "search").iterdir() if path.is_dir()) == ["me"]


def test_a_user_who_names_no_image_is_told_where_to_put_one(yard, ann, tmp_path):
    write_index(yard, {"yard-c2": []})
    empty = tmp_path / "nobody"
    empty.mkdir()
    (empty / "notes.txt").write_text("no image")
    for place in (empty, tmp_path / "nowhere", empty / "notes.txt"):
        with pytest.raises(BadInput) as error:
            yard.search(queries=str(place))
        assert str(place) in str(error.value)
    (empty / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(BadInput, match=r"broken\.jpg: of 1 images of whom to find none can be read"):
        yard.search(queries=str(empty))
    write_query(empty / "ann.png", ANN)
    assert yard.search(queries=str(empty))["queries"] == 1
    assert read_json(yard.root / "search/search.json")["skipped"] == [str(empty / "broken.jpg")]


def test_images_called_as_the_files_of_the_step_are_asked_too(yard, ann, tmp_path):
    write_index(yard, {"yard-c2": [(5, BOX, like(ann, 0.97))]})
    for name in ("search.json.png", "queries.csv.png", "._ann.png"):  # the last one is macOS's, and no image
        write_query(tmp_path / "asked" / name, ANN)
    (tmp_path / "asked/._ann.png").write_bytes(b"\0\5\x16\7")
    assert yard.search(queries=str(tmp_path / "asked"))["queries"] == 2
    about = read_json(yard.root / "search/search.json")
    assert set(about["queries"]) == {"search.json-2", "queries.csv-2"} and about["skipped"] == []
    with (yard.root / "search/queries.csv").open() as file:
        assert [line["query"] for line in csv.DictReader(file)] == ["queries.csv-2", "search.json-2"]


def test_cameras_without_anybody_to_find_are_no_error(yard, ann):
    write_index(yard, {"yard-c1": [(0, BOX, like(ann, 0.95))]})
    yard.search()
    (yard.download / "yard-c1/queries" / ASKED).unlink()
    assert yard.search() == {"queries": 0, "cameras": 0}
    assert "put some in queries/" in read_json(yard.root / "search/search.json")["empty"]
    assert [path.name for path in (yard.root / "search").iterdir() if path.is_dir()] == []


def test_an_index_of_another_network_is_not_searched(yard, ann):
    write_index(yard, {"yard-c1": [(0, BOX, like(ann, 0.95))]})
    tiny_yard.write_network(yard.root / "train", seed=5)
    with pytest.raises(BadInput, match="run person_search-index again"):
        yard.search()


def test_without_cameras_the_result_is_empty_and_says_so(yard):
    yard.index()
    assert yard.search() == {"queries": 0, "cameras": 0}
    about = read_json(yard.root / "search/search.json")
    assert "no camera" in about["empty"] and about["metrics"] is None
    assert (yard.root / "search/queries.csv").read_text().startswith("query,person,found")


@pytest.mark.slow
def test_sheets_and_a_film_of_the_person_in_all_cameras(yard, ann):
    found = [(2, BOX, like(ann, 0.97)), (3, FAR, like(ann, 0.1))]
    write_index(
        yard,
        {"yard-c1": [(0, FAR, like(ann, 0.2))], "yard-c2": found, "yard-c3": []},
        {"yard-c1": [], "yard-c2": [(2, BOX, like(ann, 0.97), ANN, 1)], "yard-c3": []},
    )
    yard.search(sheet_queries=1, video_queries=1)
    folder = yard.root / "search" / Path(ASKED).stem
    first = everything(yard.root / "search")
    sheet = np.asarray(Image.open(folder / "sheet.png").convert("RGB")).reshape(-1, 3)
    assert (sheet == (15, 138, 106)).all(axis=1).sum() > 2000  # the green border of the right answer
    assert not (sheet == (194, 38, 58)).all(axis=1).sum() > 2000  # and no red one
    with av.open(str(folder / "search.mp4")) as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.average_rate, float(stream.duration * stream.time_base)) == (2, 4)
        amber = []
        for picture in film.decode(stream):
            pixels = picture.to_ndarray(format="rgb24")[:, search_video.PANEL_PX :].astype(int)
            amber.append(int((np.abs(pixels - (242, 181, 68)).sum(axis=2) < 60).sum()))
    assert np.argmax(amber) == 2 and amber[2] > 500 and max(amber[:2] + amber[3:]) < 20  # marked in frame 2 alone
    assert first == (yard.search(sheet_queries=1, video_queries=1) and everything(yard.root / "search"))
    yard.search()  # asked for neither: the old ones would be lies
    assert not (folder / "sheet.png").exists() and not (folder / "search.mp4").exists()


def test_a_detection_that_stands_still_and_is_no_person_is_told(yard, ann):
    """A sign in all eight frames of camera 2; in camera 3 somebody who does not walk, and Ann who does."""
    sign = [(n, [90 + n % 2, 16, 104, 52], like(ann, 0.95)) for n in range(8)]
    here = [(n, FAR, like(ann, 0.2)) for n in range(8)]
    walk = [(n, [10 + 9 * n, 16, 24 + 9 * n, 52], like(ann, 0.3)) for n in range(8)]
    truth = {"yard-c1": [], "yard-c2": [], "yard-c3": [(n, FAR, ann, BOB, 1) for n in range(8)]}
    found = {"yard-c1": [], "yard-c2": sign, "yard-c3": sorted([*here, *walk], key=lambda one: one[0])}
    write_index(yard, found, truth)
    yard.search()
    still = read_json(yard.root / "search/search.json")["standing"]
    assert still == {"yard-c2": [{"box": [90.5, 16, 104, 52], "frames": 8, "of": 8, "person": False}]}
    best = {c["unit"]: c["best"] for c in results(yard)["cameras"]}
    assert best["yard-c2"]["standing"] is True and best["yard-c3"]["standing"] is False
    (yard.root / "index/yard-c2/oracle.h5").unlink()  # nobody knows who is who
    yard.search()
    still = read_json(yard.root / "search/search.json")["standing"]
    assert still["yard-c2"][0]["person"] is None and set(still) == {"yard-c2"}


@pytest.mark.slow
def test_in_the_film_a_wrong_person_is_red_and_the_still_shows_the_right_one(yard, ann):
    found = [(2, BOX, like(ann, 0.93)), (5, FAR, like(ann, 0.99))]
    truth = {"yard-c1": [], "yard-c2": [(2, BOX, ann, ANN, 1)]}
    write_index(yard, {"yard-c1": [], "yard-c2": found}, truth)
    yard.search(video_queries=1)
    folder = yard.root / "search" / Path(ASKED).stem
    with av.open(str(folder / "search.mp4")) as film:
        pictures = [picture.to_ndarray(format="rgb24").astype(int) for picture in film.decode(video=0)]

    def count(picture: np.ndarray, ink: tuple[int, int, int]) -> int:
        return int((np.abs(picture[:, search_video.PANEL_PX :] - ink).sum(axis=2) < 60).sum())

    amber, red = (242, 181, 68), (229, 72, 77)
    assert count(pictures[2], amber) > 500 > 20 > count(pictures[2], red)
    assert count(pictures[5], red) > 300 and count(pictures[5], amber) < 20
    still = np.asarray(Image.open(folder / "search.jpg").convert("RGB")).astype(int)
    off = [np.abs(picture - still).mean() for picture in pictures]
    assert np.argmin(off) == 2
    yard.search()
    assert not (folder / "search.jpg").exists()


def test_a_bad_frame_does_not_stop_the_film(yard, ann):
    write_index(yard, {"yard-c2": [(2, BOX, like(ann, 0.97))], "yard-c1": []})
    (yard.download / "yard-c2/frames/000004.png").write_bytes(b"")
    (yard.download / "yard-c1/frames/000003.png").unlink()
    yard.search(video_queries=1)
    assert (yard.root / "search" / Path(ASKED).stem / "search.mp4").stat().st_size > 2000


def track(fps: float, frames: int, found: list[int]) -> search_video.Track:
    count = len(found)
    paths = {n: Path() for n in range(frames)}
    return search_video.Track("door", fps, paths, np.array(found, int), np.zeros((count, 4)), np.ones(count))


def test_the_film_boxes_those_who_surely_are_people_and_whoever_is_found(tmp_path):
    """Who is searched for is shown at any confidence; of the others, whom the detector hardly believes in is not."""
    write_image(tmp_path / "0.png", np.full((100, 200, 3), 40, np.uint8))
    boxes = np.array([[10, 20, 40, 90], [80, 20, 110, 90], [150, 20, 180, 90]], float)
    of = search_video.Track(
        "door", 2.0, {0: tmp_path / "0.png"}, np.zeros(3, int), boxes, np.ones(3), np.array([0.05, 0.3, 0.05])
    )
    image = Image.new("RGB", (240, 160))
    search_video.draw_camera(image, of, 0, (0, 0, 240, 160), {0: 2})
    inks = {ImageColor.getrgb(ink): 0 for ink in (search_video.OTHER, search_video.FOUND)}
    lefts = {ink: set() for ink in inks}
    for x in range(20, 220):
        if (colour := image.getpixel((x, 90))) in lefts:
            lefts[colour].add(x)
    other, found = lefts.values()
    assert len(other) == 2, "both sides of one box"
    assert found and min(found) > max(other)


def test_of_a_long_recording_the_stretch_with_the_person_is_shown():
    tracks = [track(2.0, 2000, [40, 1200, 1202, 1204]), track(10.0, 9000, [])]
    begin, end = search_video.stretch(tracks, 0.5, 20.0)
    assert end - begin == 20 and begin <= 600 and end >= 602
    assert search_video.stretch([track(2.0, 20, [])], 0.5, 20.0) == (0, 10)
    begin, end = search_video.stretch([track(2.0, 2000, [1998])], 0.5, 20.0)
    assert (begin, end) == (980, 1000)
    assert search_video.stretch([track(2.0, 2000, [])], 0.5, 20.0) == (0, 20)


@given(
    frames=st.lists(st.integers(0, 60), max_size=25),
    seed=st.integers(0, 99),
    gap_s=st.floats(0, 5),
    fps=st.sampled_from([0.5, 2.0, 7.0]),
)
def test_sightings_hold_every_frame_above_the_threshold_once_and_are_apart(frames, seed, gap_s, fps):
    frame = np.sort(np.array(frames, np.int32))
    similarity = np.random.default_rng(seed).uniform(0, 1, len(frames)).astype(np.float32)
    found = sightings(frame, similarity, threshold=0.5, fps=fps, gap_s=gap_s)
    held = [int(frame[row]) for one in found for row in one.rows]
    assert held == sorted(set(frame[similarity >= 0.5].tolist()))
    most = max(gap_s * fps + 1e-6, 1)
    for one in found:
        assert (np.diff(frame[one.rows]) <= most).all() and similarity[one.best] == similarity[one.rows].max()
        for row in one.rows:
            assert similarity[row] == similarity[frame == frame[row]].max()
    for one, other in pairwise(found):
        assert frame[other.rows[0]] - frame[one.rows[-1]] > most - 2e-6


@pytest.mark.slow
@pytest.mark.parametrize("fps", [2.0, None])
def test_from_frames_to_the_answer_with_an_index_that_the_step_made(yard, fps):
    """An untrained detector sees boxes anywhere; the true boxes find their person to the bit, in another camera too."""
    for number in (1, 2):
        asked = {f"0007_c{number}s1_000000_00.png": ANN}
        write_camera(yard.download, number, 4, people={ANN: {1: 20, 2: 60}, BOB: {1: 80}}, asked=asked, fps=fps)
    yard.index()
    metrics = yard.search()
    assert metrics["oracle_map"] == metrics["oracle_top1"] == 1
    assert metrics["judged_queries"] == 2 and metrics["detections"] == 24
    json.dumps(read_json(yard.root / "search/search.json"), allow_nan=False)
