import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from tasks.bike_parts.importers import bikes as importer
from tasks.yard.files import folder_hash, read_json
from tasks.yard.layouts.images import decoded, fault, image_size
from tasks.yard.worlds import bikes
from tasks.yard.worlds.bikes.anatomy import PARTS

QUERY = "bikes=18&seed=4"
NAME = "bikes-0000-0017"


@pytest.fixture(scope="module")
def world():
    return bikes.parse(f"synth://bikes?{QUERY}")


@pytest.fixture(scope="module")
def unit(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bikes")
    importer.write_unit(world, NAME, folder)
    return folder


@pytest.fixture(scope="module")
def said(unit):
    return read_json(unit / "annotations.json")


def every(said):
    return [(file, name, part) for file, entry in said.items() for name, part in entry["parts"].items()]


def test_a_world_is_cut_into_units_that_say_which_bikes_they_hold():
    names = importer.unit_names(bikes.parse("synth://bikes?bikes=65"))
    assert names == ["bikes-0000-0029", "bikes-0030-0059", "bikes-0060-0064"]
    assert importer.unit_names(bikes.parse("synth://bikes?bikes=900"))[:2] == names[:2]


@pytest.mark.slow
def test_a_unit_has_the_same_bytes_in_another_process_and_however_many_bikes_there_are(tmp_path, world):
    importer.write_unit(world, "bikes-0003-0004", tmp_path / "here")
    code = (
        "import sys, pathlib, numpy as np; from tasks.yard.worlds import bikes; np.random.seed(1);"
        "from tasks.bike_parts.importers import bikes as importer;"
        "world = bikes.parse('synth://bikes?bikes=777&seed=4');"
        "importer.write_unit(world, 'bikes-0003-0004', pathlib.Path(sys.argv[1]))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "there")], check=True, env=environment)
    assert folder_hash(tmp_path / "here") == folder_hash(tmp_path / "there")


def test_names_say_bike_ride_and_moment_and_a_group_is_a_bike(tmp_path):
    importer.write_unit(bikes.parse("synth://bikes?bikes=2&rides=2"), "bikes-0001-0001", tmp_path)
    files = {f"bike-0001_{ride}_{moment}.jpg" for ride in (0, 1) for moment in ("before", "after")}
    assert {path.name for path in (tmp_path / "images").iterdir()} == files
    assert read_json(tmp_path / "unit.json")["groups"] == dict.fromkeys(files, "bike-0001")


@pytest.mark.slow
def test_entries_have_the_keys_of_delftbikes(said, world):
    for entry in said.values():
        assert entry["image"] == {"width": world.width, "height": world.height, "channels": 3}
        assert set(entry["parts"]) <= set(PARTS)
    keys = {
        "part_name", "object_state", "object_state_class", "trust", "absolute_bounding_box", "relative_bounding_box"
    }  # fmt: skip
    for _, name, part in every(said):
        assert set(part) == keys
        assert part["part_name"] == name
        assert ("intact", "damaged", "absent", "occluded")[part["object_state_class"]] == part["object_state"]
        absolute, relative = part["absolute_bounding_box"], part["relative_bounding_box"]
        assert set(absolute) == set(relative) == {"left", "top", "width", "height"}
        for key, whole in (("left", 192), ("width", 192), ("top", 160), ("height", 160)):
            assert relative[key] * whole == pytest.approx(absolute[key], abs=0.01)
    assert {part["object_state"] for _, _, part in every(said)} == {"intact", "damaged", "absent", "occluded"}


def test_what_is_said_is_what_the_world_drew(said, unit, world):
    photo = bikes.Ridden(world, 2).photo(0, 1)
    shown = decoded(unit / "images" / "bike-0002_0_after.jpg")
    assert np.abs(shown.astype(int) - photo.picture).mean() < 8  # JPEG
    for name, part in said["bike-0002_0_after.jpg"]["parts"].items():
        assert part["object_state"] == photo.parts[name].state
        if float(part["trust"]) >= 0.5:
            box = [part["absolute_bounding_box"][key] for key in importer.BOX]
            assert box == pytest.approx(photo.parts[name].box, abs=0.051)


def test_trust_is_a_number_or_a_text_and_some_of_it_is_low(said):
    trusts = [part["trust"] for _, _, part in every(said)]
    kinds = Counter(type(trust) for trust in trusts)
    assert set(kinds) == {float, str}
    low = np.mean([float(trust) < 0.5 for trust in trusts])
    assert 0 < low < 0.04


def test_a_few_boxes_reach_out_of_the_picture(said):
    out = 0
    for _, _, part in every(said):
        box = part["absolute_bounding_box"]
        right, bottom = box["left"] + box["width"], box["top"] + box["height"]
        out += min(box["left"], box["top"]) < 0 or right > 192 or bottom > 160
    assert 0 < out < 0.03 * len(every(said))


def test_one_part_is_missing_from_the_json_and_one_photograph_cannot_be_read(said, unit):
    short = {file: set(PARTS) - set(entry["parts"]) for file, entry in said.items() if len(entry["parts"]) < 22}
    assert short == {"bike-0005_0_before.jpg": {"bell"}}
    broken = {file for file in said if fault(unit / "images" / file)}
    assert broken == {"bike-0013_0_before.jpg"}
    assert {image_size(unit / "images" / file) for file in set(said) - broken} == {(192, 160)}


def test_the_truth_of_pairs_follows_from_their_annotations(said, world):
    """What changed between the two is what the ride did, where neither photograph hides it."""
    found = 0
    for bike in range(world.bikes):
        before, after = (said[importer.file_of(bike, 0, moment)]["parts"] for moment in bikes.MOMENTS)
        known, then = bikes.Ridden(world, bike).conditions[0]
        happened = (then.absent - known.absent) | (set(then.damaged) - set(known.damaged))
        for part in set(before) & set(after):
            states = [said_of[part]["object_state"] for said_of in (before, after)]
            if "occluded" not in states:
                assert (states[0] != states[1]) == (part in happened), (bike, part)
                found += part in happened
    assert found >= 5
