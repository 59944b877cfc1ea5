"""A person makes a version champion, and takes that back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.yard.files import write_json, write_text
from tasks.yard.step import BadInput
from tasks.yard.tracking import by_hand, registry, store
from tasks.yard.tracking.lineage import dvc_hash

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("own_store"),
]  # MLflow takes seconds to import and to make a store


def make_versions(line: str, count: int) -> None:
    client = store.client()
    client.create_registered_model(line)
    for _ in range(count):
        run = client.create_run(store.experiment(client, line), tags={"stage": f"{line}-train@net"}).info.run_id
        client.create_model_version(line, "somewhere", run_id=run)


def test_a_version_is_promoted_and_the_one_before_comes_back():
    make_versions("hand", 3)
    registry.crown("hand", "1", "the first")
    registry.score("hand", "1", "AP on 3 drives", 0.5, (0.4, 0.625))
    assert by_hand.promote("hand", "3", "looks better on snow") == "version 3 is champion, after version 1"
    assert registry.champion_version("hand") == "3"
    said = {str(of.version): of.description for of in store.client().search_model_versions("name = 'hand'")}
    assert "champion: promoted by" in said["3"] and said["1"].startswith(
        "net: 0.500 (95 %: 0.400 to 0.625), AP on 3 drives"
    )
    assert "was champion: the first" in said["1"]
    newest, _, first = by_hand.table("hand")
    assert "champion" in newest and "net" in newest and "looks better on snow" in newest
    assert "AP on 3 drives: 0.500 (0.400 to 0.625)" in first and "the first" in first

    told = by_hand.roll_back("hand", "blind at night")
    assert told.startswith("version 1 is champion again; version 3 is taken back")
    assert (
        registry.champion_version("hand") == "1" and "blind at night" in registry.tags("hand")["3"][registry.WITHDRAWN]
    )
    with pytest.raises(BadInput, match="no other version of hand was champion before version 1; use --promote"):
        by_hand.roll_back("hand", "")
    by_hand.promote("hand", "3", "")  # by name it comes back, and may be challenged and challenge again
    assert registry.champion_version("hand") == "3" and registry.WITHDRAWN not in registry.tags("hand")["3"]


def test_the_page_of_a_version_keeps_the_numbers_of_its_own_training():
    """data/ holds those of the last one, whose network may have the same name."""
    out = Path("data/hand/train/net")
    client = store.client()
    client.create_registered_model("hand")
    for number, area in enumerate((0.25, 0.75)):
        write_text(out / "best.pt", str(number))
        write_json(Path("data/hand/evaluate/metrics/net.json"), {"ap": area})
        tags = {"stage": "hand-train@net", f"dvc.out.{out}": dvc_hash(out)}
        run = client.create_run(store.experiment(client, "hand"), tags=tags).info.run_id
        client.create_model_version("hand", "somewhere", run_id=run)
        for version in range(number + 1):
            registry.describe("hand", str(version + 1))
    registry.crown("hand", "1", "by hand")
    registry.describe("hand", "1")
    said = {str(of.version): of.description for of in client.search_model_versions("name = 'hand'")}
    assert "0.250" in said["1"] and "0.750" not in said["1"] and "champion: by hand" in said["1"]
    assert "0.750" in said["2"] and "0.250" not in said["2"]


def test_what_is_not_there_is_named():
    with pytest.raises(BadInput, match="empty has no champion"):
        by_hand.roll_back("empty", "")
    make_versions("few", 1)
    with pytest.raises(BadInput, match="few has no version '7'"):
        by_hand.promote("few", "7", "")
