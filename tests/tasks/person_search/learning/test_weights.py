from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.person_search.factory import build
from tasks.person_search.formats import crops
from tasks.person_search.judging.sides import rank, sides_of
from tasks.person_search.learning.embed import embed
from tasks.person_search.learning.weights import load_into
from tasks.yard.step import BadInput
from tests.tasks.person_search.real_layouts import packed

REAL = Path(__file__).parents[5] / "shared/real"
MSMT17 = REAL / "weights/osnet_x0_25_msmt17.pt"
MARKET_STYLE = REAL / "market_style"
HERE = MSMT17.exists() and MARKET_STYLE.is_dir()
CLASSIFIER = ["classifier.weight", "classifier.bias"]


def network(name: str = "osnet_x0_25", identities: int = 7, seed: int = 0, **settings) -> nn.Module:
    torch.manual_seed(seed)
    return build(name, identities, **settings).eval()


def saved(path: Path, state: object) -> Path:
    torch.save(state, path)
    return path


def same(a: nn.Module, b: nn.Module, but: tuple[str, ...] = ()) -> bool:
    theirs = b.state_dict()
    return all(torch.equal(value, theirs[key]) for key, value in a.state_dict().items() if key not in but)


@pytest.mark.slow
@pytest.mark.skipif(not HERE, reason="needs ../shared/real: OSNet weights and Market-style crops")
def test_torchreids_osnet_scores_here_what_it_scores_there(tmp_path):
    """On crops that went the way of all crops: through download and pack."""
    packed(tmp_path, MARKET_STYLE, height_px=256, width_px=128)
    test = crops.load(tmp_path / "pack/test.h5")
    model = network(identities=13)
    assert load_into(model, MSMT17) == []  # the file has no classifier
    config = {"height_px": 256, "width_px": 128, "mean": crops.MEAN, "std": crops.STD}
    model.to(memory_format=torch.channels_last)
    ranking = rank(sides_of(test, embed(model, test.images, config, batch=64)))
    assert ranking.queries == 61
    assert ranking.cmc[1] == pytest.approx(0.443, abs=0.01) and ranking.map == pytest.approx(0.377, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("rank1", [np.float32(0.5), np.float64(0.5), 0.5])
def test_a_torchreid_checkpoint_of_other_identities_leaves_its_classifier_behind(tmp_path, rank1):
    theirs, ours = network(identities=7), network(identities=3, seed=1)
    state = {f"module.{key}": value for key, value in theirs.state_dict().items()}
    optimizer = torch.optim.Adam(theirs.parameters(), amsgrad=True).state_dict()
    beside = {"epoch": 60, "rank1": rank1, "optimizer": optimizer}
    path = saved(tmp_path / "model.pth.tar-60", {"state_dict": state, **beside})
    assert load_into(ours, path) == CLASSIFIER
    assert same(ours, theirs, but=tuple(CLASSIFIER))
    assert same(ours.classifier, network(identities=3, seed=1).classifier)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["osnet_x0_25", "stripe_cnn"])
def test_a_checkpoint_of_this_line_loads_whole_for_the_same_people(tmp_path, name):
    theirs, ours = network(name), network(name, seed=1)
    path = saved(tmp_path / "best.pt", {"model": theirs.state_dict(), "config": {"datasets": ["market"]}})
    assert load_into(ours, path) == []
    assert same(ours, theirs)


def test_a_file_from_before_norms_counted_their_batches(tmp_path):
    theirs, ours = network(), network(seed=1)
    state = {key: value for key, value in theirs.state_dict().items() if not key.endswith("num_batches_tracked")}
    assert load_into(ours, saved(tmp_path / "old.pth", state)) == []
    assert same(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("theirs", "ours", "key", "fix"),
    [
        (
            {"name": "osnet_x0_5"}, {"name": "osnet_x0_25"},
            "conv1.conv.weight is (32, 3, 7, 7), in the network (16, 3, 7, 7)", "they fit osnet_x0_5",
        ),
        (
            {"name": "osnet_ibn_x1_0"}, {"name": "osnet_x1_0"},
            "conv1.bn.running_mean (64,) is not in it", "they fit osnet_ibn_x1_0",
        ),
        (
            {"name": "osnet_x1_0"}, {"name": "osnet_ibn_x1_0"},
            "conv2.0.IN.weight (256,) is not in it", "they fit osnet_x1_0",
        ),
        (
            {"name": "osnet_x0_25", "embedding": 96}, {"name": "osnet_x0_25"},
            "fc.0.weight is (96, 128), in the network (512, 128)",
            "they fit osnet_x0_25 with person_search.train.embedding: 96",
        ),
        (
            {"name": "stripe_cnn", "embedding": 64}, {"name": "osnet_x0_25"},
            "conv1.conv.weight (16, 3, 7, 7) is not in it",
            "they fit stripe_cnn with person_search.train.embedding: 64",
        ),
    ],
)  # fmt: skip
def test_weights_of_another_network_say_where_they_part_and_whose_they_are(tmp_path, theirs, ours, key, fix):
    path = saved(tmp_path / "theirs.pt", {"state_dict": network(**theirs).state_dict()})
    model, untouched = network(seed=1, **ours), network(seed=1, **ours)
    with pytest.raises(BadInput) as error:
        load_into(model, path)
    assert str(error.value) == f"{path}: these weights are of another network: {key}; {fix}"
    assert same(model, untouched)


@pytest.mark.slow
def test_weights_of_a_network_that_is_none_of_ours(tmp_path):
    path = saved(tmp_path / "other.pt", {**network().state_dict(), "layer1.weight": torch.zeros(64, 64)})
    with pytest.raises(BadInput, match=r"layer1\.weight \(64, 64\) is not in the network; they fit none of osnet"):
        load_into(network(), path)


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


@pytest.mark.slow
def test_files_that_hold_no_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.pt").write_text("<html>quota exceeded</html>")
    saved(tmp_path / "trap.pt", {"state_dict": network().state_dict(), "rank1": Trap()})
    for name in ("page.pt", "trap.pt"):
        with pytest.raises(BadInput, match=rf"{name}: not a file of weights that torch can read safely"):
            load_into(network(), tmp_path / name)
    assert not (tmp_path / "sprung").exists()
    for state in ({"epoch": 3}, [torch.zeros(3)], {"state_dict": {}}, network().state_dict()["conv1.conv.weight"]):
        with pytest.raises(BadInput, match=r"other\.pt: holds no tensors by name"):
            load_into(network(), saved(tmp_path / "other.pt", state))
    with pytest.raises(BadInput, match=r"absent\.pt: no such file; give person_search\.train\.weights another"):
        load_into(network(), tmp_path / "absent.pt")
