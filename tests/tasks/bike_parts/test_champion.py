"""Who is served: the challenge is over the same draws of bikes that neither network has learnt from."""

from __future__ import annotations

from functools import partial

import pytest

from tasks.bike_parts import champion, detect
from tasks.bike_parts.formats import photos
from tasks.yard.files import write_json
from tasks.yard.step import BadInput
from tests.tasks.bike_parts.judged_photos import evaluate
from tests.tasks.bike_parts.tiny_photos import section, write_network, write_split
from tests.tasks.yard.shared import reporting

REPORTING = reporting(bootstrap_replicates=100)


@pytest.mark.slow
def test_the_challenge_is_over_the_same_draws_of_the_same_bikes(tmp_path):
    write_split(tmp_path, train=4, val=4, test=8)
    for seed, item in enumerate(("one", "other")):
        write_network(tmp_path, item, seed=seed)
    train = {item: tmp_path / "train" / item for item in ("one", "other")}
    for item in train:
        detect.run(section("detect"), tmp_path / "detect" / item, network=item, train=train,
                   download=tmp_path / "download", split=tmp_path / "split")  # fmt: skip
    _, details = evaluate(tmp_path)
    leader = champion.challenger(tmp_path)
    assert leader.item == details["leader"] and set(leader.scores["test"]) == {leader.item, *details["baselines"]}
    details["runs"][leader.item]["validation"]["score"] = 0.0
    details["runs"]["mean_box"]["validation"]["score"] = 0.1
    write_json(tmp_path / "evaluate/details.json", details)
    assert "on validation is 0.000, no better than 0.100 of mean_box" in champion.challenger(tmp_path).unfit
    assert champion.challenger(tmp_path / "nowhere") is None

    compare = partial(champion.compare, data=tmp_path, section=None, reporting=REPORTING)
    one, other = (folder / "best.pt" for folder in train.values())
    found = compare(one, other)
    runs = details["runs"]
    assert (found.challenger, found.champion) == pytest.approx((runs["one"]["score"], runs["other"]["score"]), abs=1e-6)
    test = photos.read(tmp_path / "split", "test")
    assert list(found.groups) == [photo.group for photo in test.photos] and "8 test photographs" in found.metric
    assert compare(other, one).error == pytest.approx(found.error)
    itself = compare(one, one)
    assert itself.error == 0 and itself.lead == 0

    seen = {photo.group: None for photo in test.photos[:3]}
    old = write_network(tmp_path, "old", learnt=seen) / "best.pt"
    part = compare(one, old)
    assert list(part.groups) == [photo.group for photo in test.photos[3:]] and "5 of 8 test photographs" in part.metric
    with pytest.raises(BadInput, match=r"no verdict: of 8 test photographs none is left"):
        compare(one, write_network(tmp_path, "all", learnt=dict.fromkeys(found.groups)) / "best.pt")
    with pytest.raises(BadInput, match=r"the challenger knows other parts \(bell, chain\)"):
        compare(write_network(tmp_path, "few", parts=["bell", "chain"]) / "best.pt", one)
