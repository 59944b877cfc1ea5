"""Films that nobody has labelled: what `search` found, whatever form the films have, and what cannot be used."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from models.person_search.factory import build
from tasks.person_search import apply, download, index, search
from tasks.person_search.formats.cameras import crops_of, shrunk
from tasks.person_search.judging.search_metrics import ious
from tasks.person_search.learning.embed import load_network
from tasks.person_search.learning.served import Served
from tasks.yard import params, serving
from tasks.yard.applying import Model, made_with
from tasks.yard.files import file_hash, read_json, write_json, write_text
from tasks.yard.step import BadInput
from tests.tasks.person_search import tiny_yard
from tests.tasks.person_search.real_layouts import REAL
from tests.tasks.person_search.tiny_yard import LIGHT, NETWORK, draw, write_query

pytestmark = pytest.mark.slow

ANN, BOB = 7, 8
LINE = params.load(tiny_yard.REPO / "params.yaml").person_search
ERRORS = "split,threshold,false_accepts,false_rejects\nvalidation,-1,1,0\nvalidation,0.5,0.2,0.1\nvalidation,0.9,0,1\n"


def sighted():
    """The line's params with a detector that can see so small pictures."""
    looking = LINE.index.model_copy(update={**LIGHT, "imgsz": None})
    return LINE.model_copy(update={"index": looking, "search": LINE.search.model_copy(update={"results": 5})})


def write_cameras(root: Path) -> Path:
    """Two cameras whose true boxes are known, and who is asked for, as a source of the line."""
    for number in (1, 2):
        folder = root / "cameras" / f"c{number}"
        folder.mkdir(parents=True)
        rows = ["frame,pid,x1,y1,x2,y2"]
        for frame in range(3):
            image = np.full((64, 128, 3), 90 + 10 * number, np.uint8)
            for person, x in ((ANN, 20 + 10 * frame), (BOB, 90)):
                rows.append(",".join(map(str, [frame, person, *draw(image, person, x, 16)])))
            cv2.imwrite(str(folder / f"{frame:06d}.png"), image)
        write_text(folder / "truth.csv", "\n".join(rows) + "\n")
        write_json(folder / "camera.json", {"camera": number, "fps": 2.0, "name": f"door {number}"})
    write_query(root / "queries" / "0007_c1s1_000000_00.png", ANN)
    write_query(root / "queries" / "0009_c1s1_000000_00.png", 9)
    return root


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> tuple[Path, Path]:
    """(data/person_search after the stages, the source that it was made from)."""
    root = tmp_path_factory.mktemp("project")
    data, source, line = root / "data", write_cameras(root / "yard"), sighted()
    tiny_yard.write_detector(data / "train_detector")
    tiny_yard.write_network(data / "train")
    threshold = {"threshold": 0.8, "from": "by hand", "null_because": None, "validation": {"different_pairs": 99}}
    write_json(data / "evaluate/details.json", {"leader": NETWORK, "threshold": threshold})
    write_text(data / "evaluate/plots/errors.csv", ERRORS)
    train, evaluate = {NETWORK: data / "train" / NETWORK}, data / "evaluate"
    download.run(line.download.model_copy(update={"source": str(source)}), data / "download")
    index.run(
        line.index, data / "index", download=data / "download", train_detector=data / "train_detector", train=train,
        evaluate=evaluate, calibrate=data / "calibrate",
    )  # fmt: skip
    (data / "search").mkdir()
    search.run(
        line.search,
        data / "search",
        download=data / "download",
        index=data / "index",
        evaluate=evaluate,
        train=train,
        calibrate=data / "calibrate",
    )
    return data, source


@pytest.fixture(scope="module")
def model(project, tmp_path_factory) -> Model:
    """The network as the registry would give it: with all that belongs to it, and nothing else."""
    folder = tmp_path_factory.mktemp("model")
    weights = shutil.copy(project[0] / "train" / NETWORK / "best.pt", folder / "best.pt")
    (folder / "belongings").mkdir()
    apply.belongings(project[0], NETWORK, sighted(), folder / "belongings")
    return Model("models:/person_search/1", Path(weights), folder / "belongings", sha256=file_hash(Path(weights)))


@pytest.fixture
def bare(model, tmp_path) -> Model:
    """Weights by themselves."""
    (tmp_path / "nothing").mkdir()
    return replace(model, name="best.pt", belongings=tmp_path / "nothing")


def applied(source: Path, model: Model, out: Path, **options):
    """In a checkout whose params are others: those of the model count."""
    return apply.run(str(source), model, out, made_with(LINE, model, {}), **{"no_film": True, **options})


def lines(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def write_film(path: Path, frames: int = 4) -> Path:
    images = []
    for frame in range(frames):
        image = np.full((64, 128, 3), 100, np.uint8)
        for person, x in ((ANN, 20 + 10 * frame), (BOB, 90)):
            draw(image, person, x, 16)
        images.append(image)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=2, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv444p"
        for image in images:
            film.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        film.mux(stream.encode())
    return path


def test_of_the_searched_cameras_the_results_are_those_of_the_stage_to_the_last_byte(project, model, tmp_path):
    data, source = project
    done = applied(source, model, tmp_path, no_film=False)
    assert set(done.results) == {"0007_c1s1_000000_00", "0009_c1s1_000000_00"} and not done.quarantined
    theirs = [path for path in sorted((data / "search").rglob("*")) if path.suffix in (".csv", ".json", ".png")]
    assert len(theirs) == 8
    for path in theirs:
        if path.name != "search.json":
            assert (tmp_path / "search" / path.relative_to(data / "search")).read_bytes() == path.read_bytes(), path
    ours, stage = (read_json(folder / "search/search.json") for folder in (tmp_path, data))
    assert ours["metrics"] == stage["metrics"] is not None and ours["threshold"] == stage["threshold"] == 0.8
    for name, one in done.results.items():
        assert one["says"] == ours["queries"][name]["says"] and all((tmp_path / file).exists() for file in one["files"])
        assert f"search/{name}/ranked.jpg" in one["files"] and f"search/{name}/search.mp4" in one["files"]


def test_beside_each_answer_stands_what_strangers_would_give_by_the_validation_of_the_model(project, model, tmp_path):
    applied(project[1], model, tmp_path)
    found = read_json(tmp_path / "search/0007_c1s1_000000_00/results.json")
    count = found["detections"]
    assert count == 18 and found["expected_false"] == pytest.approx(18 * 21 / 100)  # 0.2 of 99 pairs, and one
    for row in lines(tmp_path / "search/0007_c1s1_000000_00/results.csv"):
        level, expected = float(row["similarity"]), float(row["expected_false"])
        share = 1 / 100 if level >= 0.9 else 21 / 100 if level >= 0.5 else 1
        assert expected == pytest.approx(18 * share, abs=1e-4)
    seen = lines(tmp_path / "sightings.csv")
    assert all(row["found"] == "1" and float(row["similarity"]) >= 0.8 for row in seen)
    said = [one["says"] for one in (found,)]
    assert "of 18 detections 3.8 would reach the threshold by chance" in said[0]


def test_a_film_a_folder_of_stills_films_in_folders_and_archives_of_them_are_cameras(model, tmp_path, monkeypatch):
    film = write_film(tmp_path / "in" / "monday" / "door.mp4")
    asked = write_query(tmp_path / "ann.png", ANN)
    alone = applied(film, model, tmp_path / "alone", query=[asked])
    (of,) = alone.results.values()
    assert of["image"] == str(asked) and of["best"]["unit"] == "door" and of["best"]["file"] == "door.mp4"
    shutil.copy(film, tmp_path / "in" / "gate.mp4")
    (tmp_path / "in" / "yard").mkdir()
    for n in range(2):
        cv2.imwrite(str(tmp_path / "in" / "yard" / f"{n}.png"), np.full((64, 128, 3), 99, np.uint8))
    done = applied(tmp_path / "in", model, tmp_path / "all", query=[asked])
    cameras = read_json(tmp_path / "all/search/ann/results.json")["cameras"]
    assert [one["unit"] for one in cameras] == ["gate", "monday-door", "yard"]
    first = {one["unit"]: one["best"]["similarity"] for one in cameras}
    assert first["gate"] == first["monday-door"] == of["best"]["similarity"]
    assert any("yard" in text and "fps" in text for text in done.said)
    (tmp_path / "in" / "gate.mp4").unlink()
    packed = shutil.make_archive(str(tmp_path / "films"), "zip", tmp_path / "in")
    monkeypatch.chdir(tmp_path)  # archives are unpacked below data/
    applied(packed, model, tmp_path / "packed", query=[asked])
    cameras = read_json(tmp_path / "packed/search/ann/results.json")["cameras"]
    assert [one["unit"] for one in cameras] == ["monday-door", "yard"]


def test_the_product_of_served_vectors_is_the_similarity_that_apply_writes(model, tmp_path):
    folder = tmp_path / "in/yard"
    folder.mkdir(parents=True)
    picture = np.full((64, 128, 3), 100, np.uint8)
    draw(picture, ANN, 20, 16)
    cv2.imwrite(str(folder / "0.png"), picture)
    done = applied(tmp_path / "in", model, tmp_path / "out", query=[write_query(tmp_path / "ann.png", ANN)])
    (best,) = [one["best"] for one in done.results.values()]
    of = Served(str(model.weights))
    detected = crops_of(picture, np.array([best["box"]], np.float32), of.config)[0]
    asked = shrunk(Image.open(tmp_path / "ann.png"), of.config)
    vectors = of.predict({"images": np.array([serving.text_of(image) for image in (asked, detected)])})["vectors"]
    assert vectors[0] @ vectors[1] == pytest.approx(best["similarity"], abs=1e-3)


def test_what_is_done_is_not_done_again(model, tmp_path):
    write_film(tmp_path / "in" / "door.mp4")
    asked = write_query(tmp_path / "ann.png", ANN)
    applied(tmp_path / "in", model, tmp_path / "out", query=[asked])
    made = tmp_path / "out/steps/index/door/detections.h5"
    before = made.stat().st_mtime_ns
    write_film(tmp_path / "in" / "gate.mp4", frames=2)
    done = applied(tmp_path / "in", model, tmp_path / "out", query=[asked, write_query(tmp_path / "bob.png", BOB)])
    assert made.stat().st_mtime_ns == before and list(done.results) == ["ann", "bob"]
    assert (tmp_path / "out/steps/index/gate/detections.h5").exists()


def test_cameras_of_far_other_sizes_and_rates_than_the_models_are_said(model, tmp_path):
    """Those were of 128 x 64 px at 2 frames a second."""
    write_film(tmp_path / "in" / "door.mp4")
    for number, (name, width, fps) in enumerate((("gate", 320, 2.0), ("hall", 256, 10.0)), 7):
        folder = tmp_path / "in/cameras" / name
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "000000.png"), np.full((64, width, 3), 99, np.uint8))
        write_json(folder / "camera.json", {"camera": number, "fps": fps, "name": name})
    shutil.move(tmp_path / "in/door.mp4", tmp_path / "in/cameras")
    done = applied(tmp_path / "in", model, tmp_path / "out", query=[write_query(tmp_path / "ann.png", ANN)])
    told = [text for text in done.said if "the model's cameras" in text]
    assert len(told) == 2, done.said
    assert "gate: the longer side of its pictures is 320 px, that of the model's cameras 128" in told[0]
    assert "hall: 10 frames a second, of the model's cameras 2" in told[1]


def test_one_bad_photograph_or_film_is_named_and_the_others_go_on(model, tmp_path):
    write_film(tmp_path / "in" / "door.mp4")
    (tmp_path / "in" / "gate.mp4").write_bytes(b"no film")
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff no picture")
    Image.new("RGB", (640, 480)).save(tmp_path / "wall.png")
    asked = [write_query(tmp_path / "ann.png", ANN), tmp_path / "torn.jpg", tmp_path / "wall.png"]
    done = applied(tmp_path / "in", model, tmp_path / "out", query=asked)
    assert list(done.results) == ["ann"]
    said = done.quarantined
    assert "gate" in said and "torn.jpg" in said[str(asked[1])]
    assert "nobody is seen in it (640 x 480 px)" in said[str(asked[2])]
    with pytest.raises(BadInput, match=r"torn\.jpg: .*give another image of whom to find.* \(and 1 more\)"):
        applied(tmp_path / "in", model, tmp_path / "none", query=asked[1:])
    assert not (tmp_path / "none/steps/index").exists(), "no film is looked through for nobody"


def test_what_cannot_be_applied_is_refused_with_the_fix(model, bare, project, tmp_path):
    film, asked = write_film(tmp_path / "in" / "door.mp4"), write_query(tmp_path / "ann.png", ANN)
    with pytest.raises(BadInput, match="says not whom to find; give --query IMAGE"):
        applied(film, model, tmp_path / "out")
    with pytest.raises(BadInput, match="comes without a detector of people; give --detector FILE"):
        applied(film, bare, tmp_path / "out", query=[asked])
    foreign = replace(model, name="yolo.pt", weights=project[0] / "train_detector" / "best.pt")
    with pytest.raises(BadInput, match=r"best\.pt: holds no tensors by name.*give a best\.pt of person_search"):
        applied(film, foreign, tmp_path / "out", query=[asked])
    torch.save({"model": {}, "config": {"network": {"variant": "of another line"}}}, tmp_path / "other.pt")
    other = replace(model, weights=tmp_path / "other.pt")
    with pytest.raises(BadInput, match=r"other\.pt: made by another line.*give a best\.pt of person_search"):
        applied(film, other, tmp_path / "out", query=[asked])
    with pytest.raises(BadInput, match=r"gone\.pt: no such file; give --weights another"):
        applied(film, replace(model, weights=tmp_path / "gone.pt"), tmp_path / "out", query=[asked])
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="holds nothing, and no known layout"):
        applied(tmp_path / "empty", model, tmp_path / "out", query=[asked])
    with pytest.raises(BadInput, match=r"neither a film .* nor an archive nor a folder"):
        applied(write_query(tmp_path / "no_film.png", ANN), model, tmp_path / "out", query=[asked])


def test_weights_alone_rank_and_say_that_they_have_no_threshold(bare, project, tmp_path):
    film, asked = write_film(tmp_path / "door.mp4"), write_query(tmp_path / "ann.png", ANN)
    line = made_with(sighted(), bare, {})
    detector = project[0] / "train_detector" / "best.pt"
    done = apply.run(str(film), bare, tmp_path / "out", line, query=[asked], detector=detector, no_film=True)
    (of,) = done.results.values()
    assert of["found"] is None and "ranked only" in of["says"]
    assert any("--set person_search.search.threshold" in text for text in done.said)
    (row,) = lines(tmp_path / "out/sightings.csv")
    assert row["found"] == "" and float(row["similarity"]) == of["best"]["similarity"]
    claims = made_with(sighted(), bare, {"search.threshold": -1.0})
    done = apply.run(str(film), bare, tmp_path / "out", claims, query=[asked], detector=detector, no_film=True)
    assert done.results["ann"]["found"] is True and done.results["ann"]["sightings"] == 1


def test_torchreid_s_weights_are_recognised_and_take_crops_of_their_size(bare, tmp_path):
    torch.manual_seed(3)
    theirs = build("osnet_x0_25", identities=751)
    torch.save({f"module.{key}": value for key, value in theirs.state_dict().items()}, tmp_path / "osnet.pt")
    found = apply.network_of(replace(bare, weights=tmp_path / "osnet.pt"), tmp_path / "steps")
    network, config = load_network(found["osnet_x0_25"] / "best.pt")
    assert (config["height_px"], config["width_px"]) == (256, 128) and config["network"]["identities"] == 751
    images = torch.rand(2, 3, 256, 128)
    with torch.inference_mode():
        assert torch.equal(network(images), theirs.eval().to(memory_format=torch.channels_last)(images))


@pytest.mark.skipif(not (REAL / "multiviewx").exists(), reason="needs ../shared/real")
def test_two_photographs_and_a_film_by_weights_that_others_have_trained(bare, tmp_path):
    """MultiviewX says who stands where. Some of its people wear the same, so they are asked for in their own camera."""
    shown, weights = REAL / "multiviewx" / "Image_subsets" / "C1", REAL / "weights"
    with av.open(str(tmp_path / "square.mp4"), "w") as film:
        stream = film.add_stream("libx264", rate=2, options={"crf": "12", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for number in (0, 1):
            film.mux(stream.encode(av.VideoFrame.from_image(Image.open(shown / f"{number:04d}.jpg").convert("RGB"))))
        film.mux(stream.encode())
    people = {14: 13, 16: 15}  # by their number in market_style and in MultiviewX
    asked = [next((REAL / "market_style" / "query").glob(f"{who:04d}_c1s1_000001_*")) for who in people]
    model = replace(bare, name="osnet_x0_25_msmt17.pt", weights=weights / "osnet_x0_25_msmt17.pt")
    done = apply.run(
        str(tmp_path / "square.mp4"), model, tmp_path / "out", LINE, query=asked, detector=weights / "yolov8n.pt",
        no_film=True,
    )  # fmt: skip
    for one, who in zip(done.results.values(), people.values(), strict=True):
        labels = read_json(REAL / "multiviewx/annotations_positions" / f"{one['best']['frame'] + 1:05d}.json")
        (view,) = [label["views"][0] for label in labels if label["personID"] == who]
        box = [view[key] for key in ("xmin", "ymin", "xmax", "ymax")]
        assert ious(np.array([box], float), np.array([one["best"]["box"]]))[0] > 0.3, (
            box,
            one["best"],
        )  # theirs have no arms
        assert one["best"]["expected_false"] < 1
