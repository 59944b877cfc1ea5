"""The evaluate step on trained (tiny) networks: what it says can be computed again from the embeddings it leaves."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image, ImageColor

from models.person_search.factory import build
from tasks.person_search import champion, evaluate, train
from tasks.person_search.formats import crops
from tasks.person_search.judging.leader import leader_of
from tasks.person_search.judging.runs import NAIVE
from tasks.person_search.judging.sides import rank, sides_of
from tasks.person_search.judging.vectors import NORM_CROPS, SEED
from tasks.person_search.learning.embed import embed, load_network
from tasks.person_search.page import pictures, remarks
from tasks.person_search.params import Line
from tasks.yard.files import folder_hash, read_json
from tasks.yard.step import BadInput
from tests.figures import measured
from tests.tasks.person_search.judging.test_rerank import published
from tests.tasks.person_search.textbook import textbook
from tests.tasks.person_search.tiny_pack import People, section, write_pack
from tests.tasks.yard.shared import machine, reporting

pytestmark = pytest.mark.slow

PARAMS = section("evaluate", false_accept_rate=0.05, batch=64)
REPORTING = reporting(bootstrap_replicates=200)
NAMES = ("grown", "young")  # one network after four epochs and after one
PEOPLE = People(train=14, test=8, cameras=3, images=4)


def train_tiny(pack: Path, out: Path, epochs: int, weights: Path | None = None, rate: float | None = None) -> Path:
    """A network of the real step."""
    values = section("train").model_dump()
    values["engine"] |= {"epochs": epochs, "batch": 8}
    values["optimizer"] |= {"learning_rate": rate} if rate else {}
    values |= {"images_per_identity": 4, "weights": str(weights) if weights else None, "networks": ["stripe_cnn"]}
    params = type(section("train")).model_validate(values)
    train.run(params, out, network="stripe_cnn", pack=pack, machine_params=machine())
    return out


def trained(root: Path) -> dict[str, Path]:
    """What the runner hands to a step that reads a matrix."""
    return {path.name: path for path in sorted((root / "train").iterdir())}


def evaluated(root: Path, pack: Path, networks: dict[str, Path], params=PARAMS) -> tuple[dict, dict]:
    """(what the step returns, details.json)."""
    (root / "evaluate").mkdir(parents=True, exist_ok=True)
    flat = evaluate.run(params, root / "evaluate", pack=pack, train=networks, reporting_params=REPORTING)
    return flat, read_json(root / "evaluate" / "details.json")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    write_pack(root, {"tiny": PEOPLE})
    for name, epochs in zip(NAMES, (4, 1), strict=True):
        train_tiny(root / "pack", root / "train" / name, epochs)
    flat, details = evaluated(root, root / "pack", trained(root))
    return root, flat, details


def embedded(root: Path, run: str):
    """(query vectors, gallery vectors, labels as `textbook` takes them) from embeddings.h5 alone."""
    with h5py.File(root / "evaluate" / "embeddings.h5") as file:
        vectors, who, camera, role = (file[name][:] for name in (f"embeddings/{run}", "identity", "camera", "role"))
    q, g = role == crops.QUERY, role == crops.GALLERY
    return vectors[q], vectors[g], (who[q], camera[q], who[g], camera[g])


@pytest.mark.parametrize("run", NAMES)
def test_the_numbers_can_be_computed_again_from_the_embeddings(project, run):
    root, flat, details = project
    query, gallery, labels = embedded(root, run)
    expected = textbook(1 - query @ gallery.T, *labels).numbers()
    told = details["runs"][run]["test"]
    for key, value in expected.items():
        assert told[key] == pytest.approx(value, abs=1e-6)
    assert flat[f"test/{run}/map"] == told["map"] == read_json(root / "evaluate" / "metrics" / f"{run}.json")["map"]
    assert (told["people"], told["queries"], told["gallery"], told["distractors"]) == (8, 24, 76, 4)
    for key, span in told["intervals"].items():
        assert span["low"] - 1e-6 <= told[key] <= span["high"] + 1e-6
    again = published(query, gallery, **PARAMS.rerank.model_dump())
    assert details["runs"][run]["reranked"]["map"] == pytest.approx(textbook(again, *labels).map, abs=1e-4)


def test_the_embeddings_say_whose_and_where_they_are(project):
    root, _, _ = project
    with h5py.File(root / "evaluate" / "embeddings.h5") as file, h5py.File(root / "pack" / "test.h5") as pack:
        for name in ("identity", "camera", "role", "dataset", "path"):
            assert (file[name][:] == pack[name][:]).all()
        assert set(file["embeddings"]) == set(NAMES) and file["embeddings/grown"].dtype == np.float32
        assert list(file.attrs["datasets"]) == ["tiny"]
        np.testing.assert_allclose(np.linalg.norm(file["embeddings/grown"][:], axis=1), 1, rtol=1e-5)


def test_baselines_stand_beside_every_network(project):
    root, _, details = project
    untrained = {f"{name}-untrained" for name in NAMES}
    assert {path.stem for path in (root / "evaluate" / "metrics").iterdir()} == {*NAIVE, *NAMES, *untrained}
    assert set(details["baselines"]) == {*NAIVE, *untrained}
    grown, chance = details["runs"]["grown"], details["runs"]["chance"]["test"]["map"]
    assert chance < 0.35  # an eighth of the gallery is right
    for other, lead in grown["over"].items():
        assert lead["difference"] == pytest.approx(
            grown["test"]["map"] - details["runs"][other]["test"]["map"], abs=2e-6
        )
        assert lead["interval"]["low"] <= lead["difference"] <= lead["interval"]["high"]
    assert set(details["threshold"]["baselines"]) == {*NAIVE, f"{details['leader']}-untrained"}


def test_an_untrained_network_is_one_whose_norms_have_seen_a_batch(project):
    root, _, details = project
    _, config = load_network(root / "train" / "grown" / "best.pt")
    test = crops.load(root / "pack" / "test.h5")
    torch.manual_seed(SEED)
    network = build(**config["network"]).double()
    some = crops.floats(torch.from_numpy(test.images[:NORM_CROPS])).double()
    torch.optim.swa_utils.update_bn([crops.normalised(some, config["mean"], config["std"])], network)
    found = rank(sides_of(test, embed(network.float().eval(), test.images, config)))
    assert details["runs"]["grown-untrained"]["test"]["map"] == pytest.approx(found.map, abs=1e-4)


def test_what_training_started_from_is_the_baseline_and_a_training_that_harms_is_told(project, tmp_path):
    root, _, details = project
    source = root / "train" / "grown" / "best.pt"
    train_tiny(root / "pack", tmp_path / "train" / "ruined", 1, weights=source, rate=0.1)
    _, found = evaluated(tmp_path, root / "pack", trained(tmp_path))
    assert set(found["baselines"]) == {*NAIVE, "ruined-start"} == set(found["threshold"]["baselines"])
    for split in ("test", "validation"):
        assert found["runs"]["ruined-start"][split] == details["runs"]["grown"][split]
    assert {path.stem for path in (tmp_path / "evaluate" / "metrics").iterdir()} == {*found["baselines"], "ruined"}
    assert set(found["runs"]["ruined"]["over"]) == set(found["baselines"])
    now, was = (found["runs"][run]["validation"]["map"] for run in ("ruined", "ruined-start"))
    told = remarks.remarks(found, {}, {}, {})
    assert now < was
    assert any(line.startswith("Training has made ruined worse") and f"{was:.3f}" in line for line in told)
    assert any("no better than ruined-start, its weights before training" in line for line in told)
    assert not any("worse" in line for line in remarks.remarks(details, {}, {}, {}))


def test_each_query_on_the_sheet_stands_before_what_is_nearest_to_it(project):
    root, _, details = project
    query, gallery, labels = embedded(root, details["leader"])
    distance = 1 - query @ gallery.T
    found = textbook(distance, *labels)
    sheet = np.asarray(Image.open(root / "evaluate" / "ranked.png").convert("RGB"))
    inks = {ImageColor.getrgb(pictures.RIGHT): True, ImageColor.getrgb(pictures.WRONG): False}
    x = pictures.LEFT_PX + pictures.SLOT_PX + 2 * pictures.GAP_PX + 1
    y = 5
    for rows in pictures.chosen_queries(found, **evaluate.LISTED).values():
        y += 24  # the heading
        for q in rows:
            own = (labels[2] == labels[0][q]) & (labels[3] == labels[1][q])
            near = np.argsort(np.where(own, np.inf, distance[q]), kind="stable")[: evaluate.LIST_RANKS]
            shown = [inks[tuple(sheet[y, x + rank * pictures.SLOT_PX].tolist())] for rank in range(len(near))]
            assert shown == (labels[2][near] == labels[0][q]).tolist()
            y += pictures.CROP_HEIGHT_PX + 2 * pictures.BORDER_PX + pictures.LINES * pictures.LINE_PX + 10


def test_the_threshold_is_set_on_validation_and_checked_on_test(project):
    root, _, details = project
    of, run = details["threshold"], details["leader"]
    query, gallery, (who, where, theirs, there) = embedded(root, run)
    crossing, same = where[:, None] != there, who[:, None] == theirs
    for kind in ("eer", "at_far"):
        told, threshold = of["test"][kind], np.float32(of["validation"][kind]["threshold"])
        accepted = query @ gallery.T >= threshold
        assert told["different_pairs"] == (crossing & ~same).sum()
        assert told["false_accepts"] == pytest.approx((accepted & crossing & ~same).sum(), abs=1)
        assert told["false_rejects"] == pytest.approx((~accepted & crossing & same).sum(), abs=1)
        assert told["far"] == pytest.approx(told["false_accepts"] / told["different_pairs"], abs=1e-6)
    assert of["validation"]["at_far"]["far"] <= PARAMS.false_accept_rate
    found = leader_of(root / "evaluate")  # as the search reads it
    assert (found.network, found.threshold) == (run, of["validation"]["at_far"]["threshold"])


def test_the_test_people_choose_nothing(project, tmp_path):
    root, _, details = project
    shutil.copytree(root / "pack", tmp_path / "pack")
    with h5py.File(tmp_path / "pack" / "test.h5", "r+") as file:
        file["identity"][:] = np.random.default_rng(0).permutation(file["identity"][:])
    _, other = evaluated(tmp_path, tmp_path / "pack", trained(root))
    assert other["leader"] == details["leader"] == max(NAMES, key=lambda n: details["runs"][n]["validation"]["map"])
    assert other["threshold"]["threshold"] == details["threshold"]["threshold"]
    assert other["runs"]["grown"]["test"]["map"] < details["runs"]["grown"]["test"]["map"]


def test_same_input_same_bytes_and_nothing_stale(project, tmp_path):
    root, _, _ = project
    for stale in ("metrics/gone.json", "plots/gone.csv", "gone.png"):
        (tmp_path / "evaluate" / stale).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "evaluate" / stale).write_text("left by an earlier run")
    evaluated(tmp_path, root / "pack", trained(root))
    assert folder_hash(tmp_path / "evaluate") == folder_hash(root / "evaluate")


def test_data_sets_are_judged_apart_and_told_whether_they_were_learnt_from(project, tmp_path):
    """`away` has people to be tested on only: a network of this pack has never seen anyone of it."""
    root, _, _ = project
    pack = write_pack(tmp_path, {"away": People(train=0, test=4), "tiny": People(train=8, test=4)})
    state = torch.load(root / "train" / "grown" / "best.pt", weights_only=True)
    state["config"]["datasets"] = ["away", "tiny"]  # as train names those of its pack
    (tmp_path / "train" / "grown").mkdir(parents=True)
    torch.save(state, tmp_path / "train" / "grown" / "best.pt")
    flat, details = evaluated(tmp_path, pack, trained(tmp_path))
    told = details["runs"]["grown"]
    assert told["learnt"] == ["tiny"] and set(told["by_dataset"]) == {"away", "tiny"}
    query, gallery, labels = embedded(tmp_path, "grown")
    with h5py.File(tmp_path / "evaluate" / "embeddings.h5") as file:
        of, role = file["dataset"][:], file["role"][:]
    for number, name in enumerate(("away", "tiny")):
        q, g = of[role == crops.QUERY] == number, of[role == crops.GALLERY] == number
        mine = (labels[0][q], labels[1][q], labels[2][g], labels[3][g])
        expected = textbook(1 - query[q] @ gallery[g].T, *mine)
        assert told["by_dataset"][name]["map"] == pytest.approx(expected.map, abs=1e-6)
        assert flat[f"test/grown/{name}/map"] == told["by_dataset"][name]["map"]
    # Nobody is in two data sets, and their pictures differ as a whole: a pair across them would be an easy one.
    who, theirs = labels[0][:, None], labels[2]
    crossing = (labels[1][:, None] != labels[3]) & (of[role == crops.QUERY][:, None] == of[role == crops.GALLERY])
    pairs, at = details["threshold"]["test"]["eer"], details["threshold"]["threshold"]
    assert pairs["same_pairs"] == crossing[who == theirs].sum()
    assert pairs["different_pairs"] == crossing[who != theirs].sum()
    accepted = query @ gallery.T >= np.float32(at)
    for number, name in enumerate(("away", "tiny")):
        mine = crossing & (of[role == crops.QUERY] == number)[:, None]
        found = details["threshold"]["by_dataset"][name]
        assert found["far"] == pytest.approx(accepted[mine & (who != theirs)].mean(), abs=1e-6)
        assert found["frr"] == pytest.approx(1 - accepted[mine & (who == theirs)].mean(), abs=1e-6)
        assert flat[f"threshold/{name}/test_far"] == found["far"]


NOBODY = {
    "no test people": (People(test=0), "no crop in query/ and bounding_box_test/"),
    "one camera": (People(cameras=1), "none of 6 queries has a match on another camera"),
}


@pytest.mark.parametrize("people, why", NOBODY.values(), ids=NOBODY)
def test_with_nobody_to_find_it_says_so(project, tmp_path, people, why):
    root, _, _ = project
    pack = write_pack(tmp_path, {"tiny": people})
    flat, details = evaluated(tmp_path, pack, {"grown": root / "train" / "grown"})
    assert details["test_null_because"] == why and not any("test/" in key and "map" in key for key in flat)
    assert read_json(tmp_path / "evaluate" / "metrics" / "grown.json")["map"] is None
    assert details["leader"] == "grown"  # alone, it has nobody to be compared with
    assert not (tmp_path / "evaluate" / "ranked.png").exists()


def test_without_validation_one_network_leads_without_a_threshold_and_several_do_not(project, tmp_path):
    root, _, _ = project
    pack = write_pack(tmp_path, {"tiny": People(train=2)})
    _, details = evaluated(tmp_path, pack, {"grown": root / "train" / "grown"})
    assert (details["leader"], details["leader_from"]) == ("grown", "the only network")
    assert leader_of(tmp_path / "evaluate").threshold is None
    assert details["threshold"]["null_because"] and details["runs"]["grown"]["test"]["map"] is not None
    _, details = evaluated(tmp_path, pack, trained(root))
    assert details["leader"] is None and "no person of" in details["leader_null_because"]
    with pytest.raises(BadInput, match="no network leads"):
        leader_of(tmp_path / "evaluate")


def test_a_network_of_another_size_and_none_at_all_are_named(project, tmp_path):
    root, _, _ = project
    state = torch.load(root / "train" / "young" / "best.pt", weights_only=True)
    state["config"]["height_px"] = 64
    (tmp_path / "train" / "young").mkdir(parents=True)
    torch.save(state, tmp_path / "train" / "young" / "best.pt")
    with pytest.raises(BadInput, match=r"young/best\.pt: crops of 32x16 px for a network trained on 64x16"):
        evaluated(tmp_path, root / "pack", trained(tmp_path))
    (tmp_path / "train" / "young" / "best.pt").unlink()
    with pytest.raises(BadInput, match=r"none of young has a best\.pt"):
        evaluated(tmp_path, root / "pack", trained(tmp_path))


def test_the_challenge_is_over_the_same_draws_of_the_same_people(project, tmp_path):
    root, flat, details = project
    values = {**{name: section(name).model_dump() for name in Line.model_fields}, "evaluate": PARAMS.model_dump()}
    line = Line.model_validate(values)
    compare = partial(champion.compare, section=line, reporting=REPORTING)
    best, other = (root / "train" / name / "best.pt" for name in ("grown", "young"))
    figures = measured.person_search(root)
    rows = dict(figures["rows"])
    assert set(rows) == set(details["runs"]) and "people held out" in figures["on"]
    assert rows["grown"]["mAP"] == details["runs"]["grown"]["test"]["map"]
    leader = champion.challenger(root)
    assert leader.item == details["leader"] and leader.unfit is None
    found = compare(best, other, root)
    assert (found.challenger, found.champion) == pytest.approx(
        (flat["test/grown/map"], flat["test/young/map"]), abs=1e-6
    )
    again = compare(other, best, root)
    assert found.error > 0 and again.error == pytest.approx(found.error)
    assert compare(best, best, root).error == 0

    config = read_json(root / "pack/dataset_config.json")
    state = torch.load(other, weights_only=True)
    expected = [*config["identities"]["train"], *config["identities"]["val"]]
    assert state["config"]["learnt"] == dict.fromkeys(sorted(expected))
    people = config["identities"]["test"]
    state["config"]["learnt"] |= dict.fromkeys(people[:3])  # they were training people once
    torch.save(state, tmp_path / "old.pt")
    part = compare(best, tmp_path / "old.pt", root)
    assert list(part.groups) == people[3:] and f"on {len(people) - 3} of {len(people)} test people (they" in part.metric
    assert part.champion != found.champion

    write_pack(tmp_path, {"tiny": People(test=1)})
    assert compare(best, other, tmp_path).error is None  # of one person nothing can be told
    write_pack(tmp_path / "nobody", {"tiny": People(test=0)})
    with pytest.raises(BadInput, match="nobody to find in the test split: no query"):
        compare(best, other, tmp_path / "nobody")
