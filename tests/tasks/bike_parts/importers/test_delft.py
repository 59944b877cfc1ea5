"""DelftBikes' layout through download: what is believed, what is mended aloud, what is refused by name."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from PIL import Image

from tasks.yard.files import read_json
from tasks.yard.step import BadInput
from tests.tasks.bike_parts.sources import (
    REAL,
    changed,
    checked,
    delft,
    divided,
    fetched,
    labelled,
    part_entry,
    picture,
)
from tests.tasks.yard import photos

ABSOLUTE, RELATIVE = "absolute_bounding_box", "relative_bounding_box"


def test_what_is_labelled_comes_through_and_what_is_missing_stays_missing(tmp_path):
    source = delft(tmp_path / "city", 2)

    def change(said):
        said["p0.jpg"]["parts"] = {
            "bell": part_entry("bell", 2, [10, 8, 4, 5], trust="0.25"),
            "chain": {"object_state": "Damaged", ABSOLUTE: {"left": 1, "top": 2, "width": 30, "height": 4}},
            "saddle": {"object_state_class": "3", "trust": 0.5,
                       RELATIVE: {"left": 0.25, "top": 0.5, "width": 0.5, "height": 0.25}},
            "steer": {"trust": 1, ABSOLUTE: {"left": "1", "top": "2.5", "width": 3, "height": 4}},
        }  # fmt: skip

    changed(source / "annotations.json", change)
    report = fetched(tmp_path, source)
    parts = labelled(tmp_path)["p0.jpg"]
    said = {key: (part["object_state"], part["trust"], list(part[ABSOLUTE].values())) for key, part in parts.items()}
    assert said == {  # sorted keys: height, left, top, width
        "bell": ("absent", 0.25, [5, 10, 8, 4]), "chain": ("damaged", 1.0, [4, 1, 2, 30]),
        "saddle": ("occluded", 0.5, [12, 16, 24, 32]), "steer": (None, 1.0, [4, 1, 2.5, 3]),
    }  # fmt: skip
    assert report["totals"]["states_not_labelled"] == 1
    told = " ".join(report["datasets"]["city"]["remarks"])
    assert "1 boxes have no trust" in told and "1 boxes have no state" in told
    assert len(labelled(tmp_path)["p1.jpg"]) == 8


def test_a_second_part_of_one_name_is_that_part(tmp_path):
    """DelftBikes has one box a name: others call the second saddle saddle_2."""
    source = delft(tmp_path / "tandems", 2)
    second = part_entry("saddle_2", 1, [20, 8, 6, 5])
    changed(source / "annotations.json", lambda said: said["p0.jpg"]["parts"].update(saddle_2=second))
    for number, parts in enumerate((None, ["saddle"])):
        report = fetched(tmp_path / str(number), source, parts=parts, other_parts="drop")
        assert "saddle_2" not in report["parts"]
        both = labelled(tmp_path / str(number))["p0.jpg"]
        assert both["saddle_2"]["part_name"] == "saddle" and both["saddle_2"]["object_state"] == "damaged"
    assert report["datasets"]["tandems"]["dropped"] == dict.fromkeys(
        sorted(set(read_json(source / "annotations.json")["p1.jpg"]["parts"]) - {"saddle"}), 2
    )


@pytest.mark.slow
@pytest.mark.parametrize("one_box", [False, True])
def test_labels_that_nobody_drew_are_left_out_and_test_is_drawn_from_train(tmp_path, one_box):
    source = delft(tmp_path / "delft", [f"p{n}" for n in range(30)], file="train_annotations.json")
    delft(source, [f"t{n}" for n in range(10)], seed=50, file="test_annotations.json")

    def invent(said):
        for entry in said.values():
            entry["parts"] = {
                part: part_entry(part, 0, [5.0, 6.0, 7.0, 8.0] if one_box else [n, n, 9.0, 9.0])
                for n, part in enumerate(entry["parts"])
            }

    changed(source / "test_annotations.json", invent)
    report = fetched(tmp_path, source)
    (remark,) = report["datasets"]["delft"]["remarks"]
    assert remark.startswith("test_annotations.json: all 10 photographs have the same boxes") and "left out" in remark
    assert report["totals"]["photos"] == 30 and "passed_over" not in report
    checked(tmp_path)
    assert all(name.startswith("p") for mine in divided(tmp_path).values() for name in mine)
    (source / "train_annotations.json").unlink()
    assert fetched(tmp_path / "alone", source)["totals"]["photos"] == 10  # check_data says what they are


def test_ids_are_the_places_in_the_params_or_the_alphabet(tmp_path):
    source = delft(tmp_path / "city", 2)
    assert fetched(tmp_path / "a", source, parts=None)["parts"][:3] == ["back_pedal", "back_wheel", "bell"]
    named = ["steer", "bell", "klaxon"]
    report = fetched(tmp_path / "b", source, parts=named, other_parts="drop")
    assert report["parts"] == named and report["parts_without_a_box"] == ["klaxon"]


def of_part(part="saddle", **values):
    return lambda said: said["p0.jpg"]["parts"][part].update(values)


def of_box(kind=ABSOLUTE, part="saddle", **values):
    return lambda said: said["p0.jpg"]["parts"][part][kind].update(values)


def without(*keys):
    def change(said):
        for key in keys:
            del said["p0.jpg"]["parts"]["saddle"][key]

    return change


def renamed(old, new):
    def change(said):
        parts = said["p0.jpg"]["parts"]
        parts[new] = parts.pop(old) | {"part_name": new}

    return change


SPOILT = [
    (of_part(object_state_class=7), r"parts.saddle.object_state_class is 7; expected 0 intact, 1 damaged"),
    (of_part(object_state="broken", object_state_class=1), r"parts.saddle.object_state is 'broken'; expected one of"),
    (of_part(object_state="dammaged"), r"parts.saddle.object_state is 'dammaged'; expected one of intact, damaged"),
    (of_part(object_state="damaged", object_state_class=2), r"parts.saddle: object_state 'damaged' is not .*class 2"),
    (of_part(object_state_class=float("nan")), r"parts.saddle.object_state_class is nan; expected a number"),
    (of_part(trust="high"), r"parts.saddle.trust is 'high'; expected a number"),
    (of_part(trust=95), r"parts.saddle.trust is 95; expected 0 to 1"),
    (of_part(part_name="bell"), r"parts.saddle.part_name is 'bell'; a part is called as its key"),
    (of_box(left="left"), rf"parts.saddle.{ABSOLUTE}.left is 'left'; expected a number"),
    (of_box(width=float("inf")), rf"parts.saddle.{ABSOLUTE}.width is inf; expected a number"),
    (of_box(height=-3), rf"parts.saddle.{ABSOLUTE} has the size .* x -3"),
    (of_part(**{ABSOLUTE: "12 3 4 5"}), rf"parts.saddle.{ABSOLUTE} is '12 3 4 5'; expected left, top"),
    (of_box(RELATIVE, left=0.9), rf"parts.saddle: {ABSOLUTE} is .*, and {RELATIVE} is \[57.6, .* px of 64 x 48"),
    (without(ABSOLUTE, RELATIVE), r"parts.saddle has no box; expected"),
    (renamed("saddle", "sadle"), r"the part 'sadle' is not in bike_parts.download.parts; did you mean 'saddle'"),
    (lambda said: said["p0.jpg"].update(parts=[1, 2]), r"expected an object with the object 'parts'"),
    (lambda said: said["p0.jpg"]["image"].update(width="wide"), r"image.width is 'wide'; expected a number"),
    (lambda said: said.update({"none.jpg": said.pop("p0.jpg")}), r"none.jpg: there is no such image"),
    (lambda said: said.update({"n" * 300: said.pop("p0.jpg")}), r"n{300}: there is no such image"),
]


@pytest.mark.parametrize(("spoil", "why"), SPOILT)
def test_a_photograph_with_a_bad_label_is_named_and_the_others_go_on(tmp_path, spoil, why):
    source = delft(tmp_path / "city", 3, seed=4)
    changed(source / "annotations.json", of_part(object_state="intact", object_state_class=0))
    changed(source / "annotations.json", spoil)
    report = fetched(tmp_path, source)
    (place, said), *others = report["datasets"]["city"]["left_out"].items()
    assert not others and report["totals"]["photos"] == 2
    assert re.search(rf"^annotations.json: .*{why}", f"{place}: {said}")
    with pytest.raises(BadInput, match=r"1 of 3 label entries cannot be used.*max_broken_share \(0.05\)"):
        fetched(tmp_path / "strict", source, max_broken_share=0.05)


def test_a_name_that_stands_there_twice_is_not_the_last_one(tmp_path):
    source = delft(tmp_path / "city", 3)
    said = read_json(source / "annotations.json")
    photo = json.dumps(said["p1.jpg"])
    twice = json.dumps(said["p0.jpg"]["parts"]["bell"])
    text = (source / "annotations.json").read_text()
    text = text.replace('"parts": {', f'"parts": {{"bell": {twice}, ', 1)
    (source / "annotations.json").write_text(text[:-1] + f', "p1.jpg": {photo}}}')
    left_out = fetched(tmp_path, source, max_broken_share=0.9)["datasets"]["city"]["left_out"]
    assert left_out["annotations.json: p0.jpg"] == "'bell' stands there twice; remove one of the two"
    assert left_out["annotations.json: p1.jpg"] == "it stands there twice; remove one of the two"


def test_a_size_that_the_boxes_contradict_is_the_pictures_own(tmp_path):
    source = delft(tmp_path / "city", 2)
    before = read_json(source / "annotations.json")["p0.jpg"]["parts"]["saddle"][ABSOLUTE]
    changed(source / "annotations.json", lambda said: said["p0.jpg"]["image"].update(width=640, height=480))
    report = fetched(tmp_path, source)
    assert "1 photographs state a size that their boxes contradict" in report["datasets"]["city"]["remarks"][0]
    assert labelled(tmp_path)["p0.jpg"]["saddle"][ABSOLUTE] == pytest.approx(before)


def test_boxes_follow_a_picture_that_was_made_smaller(tmp_path):
    source = delft(tmp_path / "city", 2)
    before = read_json(source / "annotations.json")["p0.jpg"]["parts"]["saddle"][ABSOLUTE]
    picture(source / "images/p0.jpg", 0, (32, 24))
    report = fetched(tmp_path, source)
    assert "1 photographs have another size than stated" in report["datasets"]["city"]["remarks"][0]
    after = labelled(tmp_path)["p0.jpg"]["saddle"][ABSOLUTE]
    assert after == pytest.approx({key: value / 2 for key, value in before.items()}, abs=2e-3)

    def only_absolute(said):
        for part in said["p0.jpg"]["parts"].values():
            del part[RELATIVE]

    changed(source / "annotations.json", only_absolute)
    why = fetched(tmp_path / "2", source)["datasets"]["city"]["left_out"]["images/p0.jpg"]
    assert why.startswith("the image is 32x24 and stated as 64x48, and no relative_bounding_box tells")


def test_a_photograph_that_exif_turns_is_labelled_as_it_is_shown(tmp_path):
    source = delft(tmp_path / "city", 3)
    shown = photos.upright(48, 64)
    photos.phone(source / "images/p0.jpg", shown)
    photos.phone(source / "images/p1.jpg", shown)

    def change(said):
        said["p0.jpg"]["image"].update(width=48, height=64)
        said["p0.jpg"]["parts"] = {"saddle": part_entry("saddle", 0, [6, 8, 10, 20], (48, 64))}

    changed(source / "annotations.json", change)
    report = fetched(tmp_path, source)["datasets"]["city"]
    assert list(labelled(tmp_path)["p0.jpg"]["saddle"][ABSOLUTE].values()) == [20, 6, 8, 10]
    with Image.open(tmp_path / "download/city/images/p0.jpg") as image:
        assert image.size == (48, 64) and image.getexif().get(0x0112, 1) == 1
        above = image.convert("L").crop((0, 0, 48, 30)).getextrema()[0]
        assert above > image.convert("L").crop((0, 34, 48, 64)).getextrema()[1]
    assert "as it is stored; label it as it is shown" in report["left_out"]["images/p1.jpg"]


def test_a_file_that_is_no_image_is_left_out_by_name(tmp_path):
    source = delft(tmp_path / "city", 3)
    (source / "images/p1.jpg").write_bytes(b"<html>404</html>")
    whole = (source / "images/p2.jpg").read_bytes()
    (source / "images/p2.jpg").write_bytes(whole[: len(whole) // 2])
    report = fetched(tmp_path, source, max_broken_share=0.9)["datasets"]["city"]
    assert report["left_out"]["images/p1.jpg"] == "the image is no image"
    assert report["left_out"]["images/p2.jpg"].startswith("the image was cut off")
    assert [path.name for path in (tmp_path / "download/city/images").iterdir()] == ["p0.jpg"]


def test_a_data_set_that_cannot_be_read_does_not_stop_the_other(tmp_path):
    broken = delft(tmp_path / "in/broken", 2) / "annotations.json"
    broken.write_text(broken.read_text()[:-40])
    with pytest.raises(BadInput, match=r"annotations.json: cannot be read as JSON"):
        fetched(tmp_path / "alone", tmp_path / "in/broken")
    delft(tmp_path / "in/sound", 2)
    report = fetched(tmp_path, tmp_path / "in")
    assert list(report["units"]) == ["sound"] and "annotations.json" in report["quarantined"]["broken"]


def test_two_label_files_of_one_image(tmp_path):
    source = delft(tmp_path / "city", 3, file="train.json")
    said = read_json(source / "train.json")
    (source / "more.json").write_text(json.dumps({"p0.jpg": said["p0.jpg"]}))
    with pytest.raises(BadInput, match=r"p0.jpg is in None \(more.json: p0.jpg\) and in train \(train.json: p0.jpg\)"):
        fetched(tmp_path / "1", source)
    (source / "more.json").rename(source / "train_2.json")
    assert fetched(tmp_path / "2", source)["totals"]["photos"] == 3, "it says the same"
    changed(source / "train_2.json", of_part(trust="0.1"))
    report = fetched(tmp_path / "3", source)
    assert report["totals"]["photos"] == 2
    assert "says something else of the same image" in next(iter(report["datasets"]["city"]["left_out"].values()))


def test_an_image_is_found_wherever_it_lies_if_its_name_is_the_only_one(tmp_path):
    source = delft(tmp_path / "city", 3)
    (source / "deep/er").mkdir(parents=True)
    (source / "images/p0.jpg").rename(source / "deep/er/p0.jpg")
    for folder in ("a", "b"):
        picture(source / folder / "p1.jpg", 1)
    (source / "images/p1.jpg").unlink()
    report = fetched(tmp_path, source)
    assert report["totals"]["photos"] == 2
    why = report["datasets"]["city"]["left_out"]["annotations.json: p1.jpg"]
    assert why == "2 images have this name, such as a/p1.jpg and b/p1.jpg; write the path of the one"


@pytest.mark.skipif(not (REAL / "car_parts_damage").exists(), reason="needs ../shared/real: photographs of cars")
def test_real_photographs_of_cars_by_params_alone(tmp_path):
    report = fetched(tmp_path, REAL / "car_parts_damage", parts=None)
    assert report["parts"] == ["door", "front_bumper", "headlamp", "hood", "rear_bumper"]
    states = Counter(part["object_state"] for parts in labelled(tmp_path).values() for part in parts.values())
    assert states == {"damaged": 78, "intact": 99} and report["totals"]["photos"] == 59
