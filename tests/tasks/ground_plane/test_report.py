"""From known detections to what is looked at: the film, its middle frame, the heatmaps, and the page."""

from __future__ import annotations

import base64
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import av
import h5py
import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageColor

from tasks.ground_plane import evaluate, report, visualize
from tasks.ground_plane.formats import scenes
from tasks.ground_plane.formats.detections import FILE, SPLITS, read_detections, write_detections
from tasks.ground_plane.formats.scenes import Scene
from tasks.ground_plane.page import drawing
from tasks.ground_plane.page.remarks import of_standing
from tasks.yard.files import folder_hash, read_json, write_json
from tasks.yard.reporting import charts
from tests.tasks.brake_coast.test_report import Page
from tests.tasks.ground_plane.tiny_project import CELL_M, WIDTH, section, write_network, write_pack
from tests.tasks.yard.shared import reporting

pytestmark = pytest.mark.slow

SIZE, FPS = (640, 360), 4
HERE, LEFT, BEHIND, ALONE, LATE, NOBODY = (
    np.array(cell) * CELL_M + CELL_M / 2 for cell in ((6, 4), (17, 4), (12, 12), (4, 13), (20, 12), (21, 8))
)  # column, row
THERE = {45: [HERE], 50: [HERE, LEFT, BEHIND, ALONE], 55: [HERE, LATE]}
FOUND = {
    45: [(HERE, 0.9)],
    50: [(np.add(HERE, [0.1, 0]), 0.9), (LEFT, 0.8), (BEHIND, 0.7), (NOBODY, 0.6), (ALONE, 0.3)],  # ALONE is not kept
    55: [],
}  # fmt: skip
GLOWS = {45: [HERE], 50: [HERE, LEFT, BEHIND], 55: [HERE]}  # cells of .9 in the maps, on 0
NUMBERS = {"moda": 1 - (1 + 3) / 7, "modp": (1 + 0.8 + 1 + 1) / 4, "precision": 4 / 5, "recall": 4 / 7}


def colour(camera: str, frame: int) -> tuple[int, int, int]:
    """Each camera's image of each frame is of one colour."""
    return 60 * int(camera[-1]), 30 + frame // 5 % 3 * 80, 90


def cell(xy: np.ndarray) -> tuple[int, int]:
    return int(xy[1] // CELL_M), int(xy[0] // CELL_M)


def write_found(root: Path, scene: Scene) -> None:
    """detect/one/ as that step leaves it, of people who are known; on validation everybody is found."""
    frames = [(scene.name, int(scene.frames[row]), SPLITS[name]) for name in SPLITS for row in scene.rows(name)]
    truth = {
        int(frame): [(xy, 0.9) for xy in who[:, 1:]] for frame, who in zip(scene.frames, scene.people, strict=True)
    }
    found = [FOUND.get(frame, truth[frame]) for _, frame, _ in frames]
    scores = np.zeros((len(frames), *scene.grid), np.float32)
    for i, (_, frame, _) in enumerate(frames):
        for xy in GLOWS.get(frame, []):
            scores[i][cell(xy)] = 0.9
    block = root / "block.npz"
    np.savez(
        block, count=np.array(list(map(len, found)), np.int32), scores=scores,
        xy=np.array([xy for of in found for xy, _ in of], np.float32),
        confidence=np.array([sure for of in found for _, sure in of], np.float32),
        appearance=np.zeros((sum(map(len, found)), 4), np.float32),
    )  # fmt: skip
    write_detections(root / "detect/one" / FILE, frames, [block], scene.grid)


def shown(root: Path, out: str = "visualize", **changes) -> dict:
    params = section("visualize", **{"height_px": SIZE[1], "fps": FPS, **changes})
    inputs = {"pack": root / "pack", "detect": {"one": root / "detect/one"}, "evaluate": root / "evaluate"}
    return visualize.run(params, root / out, **inputs)


def paged(root: Path, out: str = "report", **changes) -> dict:
    (root / out).mkdir(exist_ok=True)
    inputs = {step: root / step for step in ("check_data", "pack", "evaluate", "visualize")}
    return report.run(
        None, root / out, train={"one": root / "train/one"}, reporting_params=reporting(**changes), **inputs
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Evaluate, visualize and report of three test frames; of the middle one cam3 has no image."""
    root = tmp_path_factory.mktemp("project")
    write_pack(root, missing=["tiny/1-annotation/train/cam3/cam3_50.png"])
    about = read_json(root / "pack/scenes.json")
    of = about["scenes"]["tiny"]
    for frame, who in THERE.items():
        of["people"][of["frames"].index(frame)] = [[i, *xy.tolist()] for i, xy in enumerate(who)]
    write_json(root / "pack/scenes.json", about)
    (scene,) = scenes.load(root / "pack")
    for view in scene.views:
        with h5py.File(view.path, "r+") as file:
            for frame, row in view.row.items():
                file["images"][row] = np.uint8(colour(view.name, frame))
    folder = write_network(root, "one", threshold=0.5)
    rows = [{"epoch": n, "train": {"loss": 2.0 - n}, "val": {"moda": n / 2}, "best": True} for n in (0, 1)]
    (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_found(root, scene)
    inputs = {"pack": root / "pack", "train": {"one": folder}, "detect": {"one": root / "detect/one"}}
    evaluate.run(None, root / "evaluate", reporting_params=reporting(bootstrap_replicates=200), **inputs)
    return root, scene, shown(root), paged(root)


def film(path: Path) -> tuple[list[np.ndarray], float]:
    with av.open(str(path)) as container:
        (stream,) = container.streams.video
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)], float(stream.average_rate)


def tile(picture: np.ndarray, camera: str, frame: int) -> tuple[int, int, int, int] | None:
    """x0, y0, x1, y1 of what is shown of a camera, by its colour."""
    y, x = np.nonzero((picture == colour(camera, frame)).all(-1))
    return (int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1) if len(x) > 100 else None


def test_the_film_has_every_test_frame_in_order_and_can_be_played(project):
    root, _, told, _ = project
    frames, rate = film(root / "visualize/plane.mp4")
    assert told == {"frames": 3, "scenes": 1} and rate == FPS
    assert [frame.shape for frame in frames] == [(SIZE[1], SIZE[0], 3)] * 3
    still = np.asarray(Image.open(root / "visualize/frame.png").convert("RGB"))
    x0, y0, x1, y1 = tile(still, "cam1", 50)
    seen = [np.median(frame[y0:y1, x0:x1], axis=(0, 1)) for frame in frames]
    np.testing.assert_allclose(seen, [colour("cam1", frame) for frame in THERE], atol=12)  # films are lossy
    off = [np.abs(frame.astype(int) - still).mean() for frame in frames]
    assert off[1] < 6 and off[1] < min(off[0], off[2]) / 2  # the MODA of the three frames is 1, .5 and 0
    shown_still = {"scene": "tiny", "frame": 50, "says": "3 of 4 found, 1 where nobody is"}
    assert read_json(root / "visualize/summary.json") == {
        "leader": "one", "threshold": 0.5, "scenes": {"tiny": 3}, "still": shown_still, "standing": {}, "empty": None,
    }  # fmt: skip
    text = (root / "report/report.html").read_text(encoding="utf-8")
    assert "tiny, frame 50: the middle one" in text


def moment(found: list, right: list[bool]) -> drawing.Moment:
    xy = np.reshape(np.array(found, float), (-1, 2))
    return drawing.Moment(np.zeros((2, 2)), xy, np.array(right, bool), np.empty((0, 2)), np.empty(0, bool))


def test_what_is_found_at_one_place_all_the_time_and_is_nobody_is_explained():
    """A pillar at (2, 3), 5 cm off now and then; somebody who is there is right; a ghost walks by."""
    moments = [
        moment([[2 + 0.05 * (n % 2), 3], [5, 5], [0.8 * n, 7]], [False, True, False]) for n in range(5)
    ]  # fmt: skip
    (still,) = visualize.standing(moments)
    assert (still["frames"], still["of"]) == (5, 5) and (still["x_m"], still["y_m"]) == (2, 3)
    assert [visualize.standing_in(m, [still]) for m in moments] == [1] * 5
    (told,) = of_standing({"plaza": [still]})
    assert "(2.0, 3.0) m in 5 of 5 frames" in told and "taken for a person" in told
    assert visualize.standing(moments[:3]) == []  # somebody may stand so long
    assert visualize.standing([moment([], [])] * 5) == []


def test_the_page_of_a_rendered_world_says_so_at_its_top(project, tmp_path):
    root, *_ = project
    for step in ("pack", "evaluate", "visualize", "train"):
        (tmp_path / step).symlink_to(root / step)
    shutil.copytree(root / "check_data", tmp_path / "check_data")
    check = read_json(root / "check_data/check.json")
    for layout in ("plaza", "marmot"):
        for unit in check["units"].values():
            unit["layout"] = layout
        write_json(tmp_path / "check_data/check.json", check)
        paged(tmp_path)
        text = (tmp_path / "report/report.html").read_text(encoding="utf-8")
        assert ("Rendered world: a computer drew" in text) == (layout == "plaza")
        assert layout == "marmot" or text.index("Rendered world") < text.index("Who stands where?")


def test_the_titles_of_the_heatmaps_are_whole_and_large(project):
    root, scene, *_ = project
    name = "a sequence of the market place of an early morning in October, part two"
    frames = read_detections(root / "detect/one" / FILE)[-3:]
    renamed = [replace(one, scene=f"{k} {name}") for one in frames for k in range(4)]
    with matplotlib.rc_context(charts.STYLE):
        figure = visualize.heatmaps(renamed, {f"{k} {name}": scene for k in range(4)})
    figure.draw_without_rendering()
    titled = [axis for axis in figure.axes if axis.get_title()]
    page_px = 1100 / figure.get_size_inches()[0]  # of an inch, on a page 1180 px wide
    assert len(titled) == 8
    for axis in titled:
        box, whole = axis.title.get_window_extent(), figure.bbox
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 and box.y1 <= whole.y1
        assert axis.title.get_fontsize() / 72 * page_px > 16
    boxes = [axis.title.get_window_extent() for axis in titled[:2]]
    assert boxes[0].x1 < boxes[1].x0  # beside, not over each other


def test_a_film_is_no_longer_than_it_may_be(project):
    root, *_ = project
    assert shown(root, "short", seconds=0.5)["frames"] == 2
    assert len(film(root / "short/plane.mp4")[0]) == 2


def test_a_moment_is_judged_as_the_numbers_are(project):
    """Above the threshold, one to one within reach: so many are right and so many missed as are counted."""
    root, scene, *_ = project
    rights = misses = 0
    for one in read_detections(root / "detect/one" / FILE)[-3:]:
        moment = visualize.moment_of(scene, scene.frames.tolist().index(one.frame), one, 0.5, 0.5)
        assert moment.people.tolist() == [xy.tolist() for xy in THERE[one.frame]]
        kept = [xy for xy, sure in FOUND[one.frame] if sure > 0.5]
        np.testing.assert_allclose(moment.found, np.reshape(kept, (-1, 2)), atol=1e-6)
        rights, misses = rights + moment.right.sum(), misses + moment.missed.sum()
        if one.frame == 50:
            assert moment.right.tolist() == [True, True, True, False]
            assert moment.missed.tolist() == [False, False, False, True]
    of = read_json(root / "evaluate/details.json")["runs"]["one"]
    assert (rights, misses) == (of["tp"], of["fn"]) == (4, 3)


def test_found_missed_and_wrong_are_drawn_back_into_every_camera_that_has_the_frame(project):
    root, scene, *_ = project
    picture = np.asarray(Image.open(root / "visualize/frame.png").convert("RGB"))
    found = [xy for xy, sure in FOUND[50] if sure > 0.5]
    inks = [drawing.RIGHT] * 3 + [drawing.WRONG, drawing.MISSED]
    assert tile(picture, "cam3", 50) is None and tile(picture, "cam1", 45) is None
    drawn = 0
    for view in scene.views[:2]:
        x0, y0, x1, y1 = tile(picture, view.name, 50)
        scale = (x1 - x0) / WIDTH
        for xy, ink in zip([*found, ALONE], inks, strict=True):
            x, y = scene.plane.to_world(xy)
            ends, depth = view.camera.project(np.array([[x, y, 0.0], [x, y, 1.75]]))
            middle = ends[:, 0].mean()
            for v in ends[:, 1] if view.camera.sees(ends[:1], depth[:1])[0] else ():  # foot and head
                column, row = round((middle + 0.5) * scale + x0), round((v + 0.5) * scale + y0)
                if y0 + 3 < row < y1 - 3 and x0 + 3 < column < x1 - 3:
                    around = picture[row - 2 : row + 3, column - 2 : column + 3]
                    assert (around == ImageColor.getrgb(ink)).all(-1).any(), (view.name, xy)
                    drawn += 1
    assert drawn >= 10


def test_on_the_plane_discs_are_found_people_and_rings_true_ones(project):
    """Found by their colours: the disc of somebody who is not there, the ring of one missed, the glow of a cell."""
    _, scene, *_ = project
    scores = np.zeros(scene.grid, np.float32)
    scores[cell(HERE)] = 1
    yes, no = np.array([True]), np.array([False])
    moment = drawing.Moment(scores, NOBODY[None], no, ALONE[None], yes)
    shown = drawing.map_of(scene, moment, (600, 600))
    picture = np.asarray(shown.convert("RGB"))
    assert shown.width == 600 and shown.height == 600 * scene.grid[0] // scene.grid[1]
    glow = tuple((255 * np.array(matplotlib.colormaps["magma"](1.0)[:3])).astype(int).tolist())
    inks = {drawing.WRONG: NOBODY, drawing.MISSED: ALONE, glow: HERE}
    for ink, place in inks.items():
        rows, columns = np.nonzero((picture == (ink if isinstance(ink, tuple) else ImageColor.getrgb(ink))).all(-1))
        at = np.array([columns.mean() + 0.5, shown.height - rows.mean() - 0.5]) / 600 * scene.grid[1] * CELL_M
        np.testing.assert_allclose(at, place, atol=0.03)
    other = np.asarray(drawing.map_of(scene, drawing.Moment(scores, NOBODY[None], yes, ALONE[None], no), (600, 600)))
    for ink, there in ((drawing.RIGHT, True), (drawing.TRUE, True), (drawing.WRONG, False), (drawing.MISSED, False)):
        assert (other == ImageColor.getrgb(ink)).all(-1).any() == there


def panels(picture: np.ndarray, grid: tuple[int, int]) -> list[np.ndarray]:
    """(rows, columns, 3) of each map in a figure, its lowest row first; maps are mostly of magma's black."""
    dark = (picture < 8).all(-1)
    edges = np.flatnonzero(np.diff(np.pad(dark.mean(0) > 0.3, 1).astype(int)))
    found = []
    for x0, x1 in edges.reshape(-1, 2):
        rows = np.flatnonzero(dark[:, x0:x1].mean(1) > 0.3)
        y0, y1 = rows.min(), rows.max() + 1
        row, column = ((np.arange(n) + 0.5) / n for n in grid)
        y, x = (y1 - row * (y1 - y0)).astype(int), (x0 + column * (x1 - x0)).astype(int)
        found.append(picture[np.ix_(y, x)])
    return found


def test_the_heatmaps_are_brightest_where_people_stand(project):
    root, scene, *_ = project
    assert scene.mask.all()
    mean, there = panels(np.asarray(Image.open(root / "visualize/heatmap.png").convert("RGB")).astype(int), scene.grid)
    magma = matplotlib.colormaps["magma"]
    for found, sometimes in ((mean, [LEFT, BEHIND]), (there, [LEFT, BEHIND, ALONE, LATE])):
        wanted = np.zeros(scene.grid)
        for xy in sometimes:
            wanted[cell(xy)] = 1 / 3  # in one frame of three
        wanted[cell(HERE)] = 1
        np.testing.assert_allclose(found, 255 * magma(wanted)[..., :3], atol=4)


def page_of(out: Path) -> tuple[str, Page]:
    text = (out / "report.html").read_text(encoding="utf-8")
    return text, Page(text)


def whole(text: str, page: Page) -> None:
    assert not page.unbalanced and not page.open and len(page.ids) == len(set(page.ids))
    assert all(url.startswith("data:") for url in page.fetched)
    assert not re.search(r"url\((?!#)|@import|<script|<link", text)
    words = re.sub(r"<style.*?</style>|<[^>]*>", " ", text, flags=re.S)
    assert not {"nan", "none", "undefined"} & set(words.lower().split())
    assert set(re.findall(r'href="#([a-z]+)"', text)) <= set(page.ids)  # every entry of the menu leads somewhere


def test_the_page_is_whole_fetches_nothing_and_shows_the_film(project):
    root, *_ = project
    text, page = page_of(root / "report")
    whole(text, page)
    assert {"film", "board", "threshold", "training", "data", "meaning"} <= set(page.ids)
    (video,) = [url for url in page.fetched if url.startswith("data:video/mp4;base64,")]
    assert base64.b64decode(video.partition(",")[2]) == (root / "visualize/plane.mp4").read_bytes()
    assert sum(url.startswith("data:image/jpeg") for url in page.fetched) == 3  # a frame, heatmap, threshold


def test_the_numbers_stand_beside_the_baselines_and_controls(project):
    root, _, _, told = project
    details = read_json(root / "evaluate/details.json")
    assert {key: told[key] for key in NUMBERS} == pytest.approx(NUMBERS, abs=1e-6)
    text, _ = page_of(root / "report")
    rows = {row.split("</td>")[0]: row for row in re.findall(r"<tr class=[^>]*><td>(.*?)</tr>", text, flags=re.S)}
    cameras = [f"{kind}_cam{n}" for kind in ("only", "without") for n in (1, 2, 3)]
    assert set(rows) == {"one", "blind", "empty", "shuffled", "off_1px", "off_5px", *cameras}
    for run, of in details["runs"].items():
        for key in NUMBERS:
            assert ("\N{EN DASH}" if of[key] is None else f">{of[key]:.3f}") in rows[run]
    between = details["runs"]["one"]["intervals"]["moda"]
    for said in ("0.429", "0.950", "0.800", "0.571", ">4<", ">1<", ">3<"):  # the last three: found, false, missed
        assert said in rows["one"]
    assert f"{between['low']:.2f}\N{EN DASH}{between['high']:.2f}" in rows["one"]
    assert next(iter(rows)) == "one" and "3 test frames of 1 scene: the numbers are worth little." in text
    assert "1 finding" in text and "cam3: frame 50 is missing" in text
    table = [line.split("|") for line in (root / "report/table.md").read_text(encoding="utf-8").splitlines()]
    names = [row[1].strip() for row in table if len(row) > 2][2:]
    assert set(names) == set(rows) and names[-1] == "one" and set(names[:2]) == {"blind", "empty"}
    assert [cell.strip() for row in table if len(row) > 2 and row[1].strip() == "one" for cell in row[2:6]] == [
        "0.429", "0.950", "0.800", "0.571",
    ]  # fmt: skip
    assert read_json(root / "report/summary.json")["leader"] == "one"
    told = read_json(root / "report/headline.json")
    assert sorted(told) == ["moda", "modp", "precision", "recall"] and round(told["moda"], 3) == 0.429


def test_same_input_same_bytes_and_a_large_film_lies_beside_the_page(project):
    root, *_ = project
    (root / "again").mkdir()
    for name in ("old.png", "old.mp4"):
        (root / "again" / name).write_bytes(b"left by an earlier run")
    paged(root, "again")
    assert folder_hash(root / "again") == folder_hash(root / "report")
    paged(root, "again", embed_mb=0, source_url="https://example.org/yard")
    text, page = page_of(root / "again")
    assert '<a href="https://example.org/yard">' in text  # AGPL-3.0, section 13
    assert [url for url in page.fetched if not url.startswith("data:")] == ["plane.mp4"]
    assert (root / "again/plane.mp4").read_bytes() == (root / "visualize/plane.mp4").read_bytes()


def test_with_nobody_leading_there_is_no_film_and_the_page_says_so(project, tmp_path):
    root, *_ = project
    for step in ("pack", "check_data", "train", "detect"):
        (tmp_path / step).symlink_to(root / step)
    shutil.copytree(root / "evaluate", tmp_path / "evaluate")
    details = read_json(root / "evaluate/details.json")
    why = "several networks, and nobody on validation to choose by"
    blank = {"leader": None, "leader_from": None, "threshold": None, "remarks": [f"No network leads: {why}."]}
    write_json(tmp_path / "evaluate/details.json", details | blank)
    assert shown(tmp_path) == {"frames": 0, "scenes": 0}
    assert read_json(tmp_path / "visualize/summary.json")["empty"] and not list((tmp_path / "visualize").glob("*.mp4"))
    assert set(paged(tmp_path)) == {"page_mb"}
    text, page = page_of(tmp_path / "report")
    whole(text, page)
    assert "film" not in page.ids and why in text and "<td>one" in text
