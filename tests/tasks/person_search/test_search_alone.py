"""A line with cameras alone and weights that others have trained: no stage asks for training data."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tasks.person_search import (
    calibrate,
    detector_data,
    download,
    evaluate,
    index,
    pack,
    report,
    search,
    train,
    train_detector,
)
from tasks.person_search.judging.leader import leader_of
from tasks.person_search.learning.embed import load_network
from tasks.yard import params
from tasks.yard.files import read_if_there, read_json
from tasks.yard.stage import Stage
from tasks.yard.step import BadInput
from tasks.yard.tracking import models
from tests.tasks.person_search import tiny_yard
from tests.tasks.person_search.tiny_pack import People, write_pack
from tests.tasks.person_search.tiny_yard import LIGHT, NETWORK, write_detector, write_network
from tests.tasks.yard.shared import machine, reporting

pytestmark = pytest.mark.slow

LINE = params.load(tiny_yard.REPO / "params.yaml").person_search


def given(weights: Path | None, **changes):
    changes = {"weights": weights and str(weights), "networks": [NETWORK], "embedding": 16, **changes}
    return LINE.train.model_copy(update=changes)


def hand_over(root: Path, packed: Path, weights: Path, **changes) -> dict:
    (root / NETWORK).mkdir(parents=True, exist_ok=True)
    return train.run(given(weights, **changes), root / NETWORK, network=NETWORK, pack=packed, machine_params=machine())


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    """data/ of a source that holds cameras alone, up to the two trainings; and weights beside."""
    from tests.tasks.person_search.test_apply import write_cameras

    root = tmp_path_factory.mktemp("alone")
    source = str(write_cameras(root / "yard"))
    download.run(LINE.download.model_copy(update={"source": source}), root / "download")
    for name in ("detector_data", "pack"):
        (root / name).mkdir()
    detector_data.run(LINE.detector_data, root / "detector_data", download=root / "download")
    pack.run(LINE.pack, root / "pack", download=root / "download")
    write_network(root / "given")
    write_detector(root / "detector")
    return root


def test_its_network_is_described_for_mlflow(begun, tmp_path, monkeypatch):
    """Without a crop of validation to show, which once cost the whole description of its run."""
    data = tmp_path / "data/person_search"
    hand_over(data / "train", begun / "pack", begun / "given" / NETWORK / "best.pt")
    (data / "pack").symlink_to(begun / "pack")
    monkeypatch.chdir(tmp_path)
    model = models.described(Stage(f"person_search-train@{NETWORK}", "person_search", "train", NETWORK, {}))
    assert len(model.example["images"]) == 1 and "vectors" in str(model.signature["outputs"])


def test_it_goes_through_from_download_to_report(begun, tmp_path):
    weights, train_folder = begun / "given" / NETWORK / "best.pt", {NETWORK: tmp_path / NETWORK}
    (tmp_path / "train_detector").mkdir()
    (tmp_path / "train_detector" / "best.pt").write_bytes(b"of an earlier training")
    told = train_detector.run(
        LINE.train_detector, tmp_path / "train_detector", detector_data=begun / "detector_data",
        machine_params=machine(),
    )  # fmt: skip
    assert told == {"epochs": 0} and not (tmp_path / "train_detector/best.pt").exists()
    assert hand_over(tmp_path, begun / "pack", weights)["epochs"] == 0
    evaluate.run(
        LINE.evaluate, tmp_path / "evaluate", pack=begun / "pack", train=train_folder,
        reporting_params=reporting(bootstrap_replicates=100),
    )  # fmt: skip
    details = read_json(tmp_path / "evaluate/details.json")
    assert (details["leader"], details["leader_from"]) == (NETWORK, "the only network")
    assert leader_of(tmp_path / "evaluate").threshold is None
    folders = {"download": begun / "download", "train": train_folder, "evaluate": tmp_path / "evaluate"}
    told = calibrate.run(
        LINE.calibrate, tmp_path / "calibrate", **folders, pack=begun / "pack",
        train_detector=tmp_path / "train_detector", index_params=LINE.index,
    )  # fmt: skip
    assert told == {"cameras": 0}
    folders["calibrate"] = tmp_path / "calibrate"
    asks = LINE.index.model_copy(update=LIGHT)
    with pytest.raises(BadInput, match=r"no detector .*no labelled images.*set person_search\.index\.weights"):
        index.run(asks, tmp_path / "index", **folders, train_detector=tmp_path / "train_detector")
    weights = {"weights": str(begun / "detector" / "best.pt")}
    found = index.run(
        asks.model_copy(update=weights), tmp_path / "index", **folders, train_detector=tmp_path / "train_detector"
    )
    assert found["cameras"] == 2 and found["detections"] == 18
    (tmp_path / "search").mkdir()
    quick = LINE.search.model_copy(update={"sheet_queries": 1, "video_queries": 0})
    found = search.run(quick, tmp_path / "search", **folders, index=tmp_path / "index")
    assert found["queries"] == 2 and found["oracle_top1"] == 1
    (tmp_path / "report").mkdir()
    report.run(
        None, tmp_path / "report", **folders, pack=begun / "pack", train_detector=tmp_path / "train_detector",
        index=tmp_path / "index", search=tmp_path / "search", reporting_params=reporting(),
    )  # fmt: skip
    page = (tmp_path / "report/report.html").read_text()
    assert "the sources hold no crops of people" in page and "0007_c1s1_000000_00" in page


def test_the_given_weights_are_best_pt_and_nothing_of_an_earlier_training_stays(begun, tmp_path):
    weights = begun / "given" / NETWORK / "best.pt"
    (tmp_path / NETWORK).mkdir()
    for stale in ("last.pt", "history.jsonl", "start.pt"):
        (tmp_path / NETWORK / stale).write_text("stale")
    hand_over(tmp_path, begun / "pack", weights)
    assert sorted(path.name for path in (tmp_path / NETWORK).iterdir()) == ["best.json", "best.pt"]
    ours, config = load_network(tmp_path / NETWORK / "best.pt")
    theirs, said = load_network(weights)
    assert all(torch.equal(a, theirs.state_dict()[key]) for key, a in ours.state_dict().items())
    assert (config["height_px"], config["width_px"]) == (said["height_px"], said["width_px"])
    assert "no crops of people" in read_if_there(tmp_path / NETWORK / "best.json")["handed_over"]


def test_what_does_not_fit_is_named(begun, tmp_path):
    weights = begun / "given" / NETWORK / "best.pt"
    with pytest.raises(BadInput, match=r"of another network.*person_search\.train\.networks asks for osnet_x0_25"):
        (tmp_path / "osnet").mkdir()
        train.run(
            given(weights), tmp_path / "osnet", network="osnet_x0_25", pack=begun / "pack", machine_params=machine()
        )
    with pytest.raises(BadInput, match=r"0 identities.*or set person_search\.train\.weights"):
        (tmp_path / "none").mkdir()
        train.run(given(None), tmp_path / "none", network=NETWORK, pack=begun / "pack", machine_params=machine())
    packed = write_pack(tmp_path, {"tested": People(train=0, test=2)})
    assert hand_over(tmp_path / "fits", packed, weights)["epochs"] == 0
    state = torch.load(weights, weights_only=True)
    state["config"]["height_px"] = 64
    torch.save(state, tmp_path / "tall.pt")
    with pytest.raises(BadInput, match=r"crops of 64x16 px, pack's are 32x16; set person_search\.pack\.height_px = 64"):
        hand_over(tmp_path / "tall", packed, tmp_path / "tall.pt")
