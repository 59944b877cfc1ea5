"""What can be set under `bike_parts:` in params.yaml, one section a step; units are in the names."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from models.bike_parts.variants import NETWORKS, UNPUBLISHED
from tasks.yard.params import Section, known
from tasks.yard.sources.section import Dated
from tasks.yard.splits import PINNED
from tasks.yard.training.sections import Engine, Optimizer
from tasks.yard.tuning.section import Tuning

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Name = Annotated[str, Field(min_length=1)]


def _each_once(names: list[str] | None) -> list[str] | None:
    for name in names or []:
        if not name.strip():
            raise ValueError("a part has no name")
        if names and names.count(name) > 1:
            raise ValueError(f"part {name!r} stands there twice")
    return names


def _with_a_group(pattern: str | None) -> str | None:
    try:
        if pattern is not None and re.compile(pattern).groups != 1:
            raise ValueError("it needs one pair of parentheses, around what names the bike")
    except re.error as error:
        raise ValueError(f"not a regular expression ({error})") from None
    return pattern


class Download(Dated):
    WORLD = "bikes"

    parts: Annotated[list[str] | None, Field(min_length=1), AfterValidator(_each_once)] = Field(
        description="names of the parts, whose order is that of their ids; null: what the source has, by the alphabet"
    )
    other_parts: Literal["refuse", "drop"] = Field(
        description="what becomes of parts that `parts` does not name: refuse them by name, or leave their boxes out"
    )
    damage_categories: list[str] = Field(
        description="of a COCO source: categories that say where damage is, not a part; states then follow from them"
    )
    damage_overlap: float = Field(
        gt=0, le=1, description="of a damage's box that lies within a part's box: from this share on it is damaged"
    )
    group_by: Annotated[str | None, AfterValidator(_with_a_group)] = Field(
        description="a regular expression on a photograph's name without suffix; what its parentheses hold names the "
        "bike (^(bike\\d+)_), which stays in one split; null: pairs, copies, days and bikes, as far as names show them"
    )
    max_broken_share: Share = Field(
        description="of all photographs: those that cannot be read or whose labels cannot be used; more is an error"
    )
    min_photos: Positive = Field(description="fewer usable photographs are an error")


class CheckData(Section):
    min_trust: Share = Field(description="a box of less trust is left out")
    outlier_limit: float = Field(
        gt=0, description="robust standard deviations off its part's usual place or size: such a box is shown"
    )
    pictures: int = Field(ge=0, description="photographs that are shown with their boxes, and outliers likewise")


class Shares(Section):
    """Of the photographs, where the source publishes no such split."""

    val: float = Field(gt=0, lt=0.5, description="share that chooses thresholds")
    test: float = Field(gt=0, lt=0.5, description="share that is judged on")


class Split(Section):
    shares: Shares
    seed: int = Field(ge=0, description="of the splits that are made")
    swaps: int = Field(ge=0, description="rounds of the search for the most even split; 0: plain chance")
    splits: str | None = Field(description=PINNED)


class Canvas(Section):
    """What a network sees: each photograph is brought to fit, in its own shape, into the upper left corner."""

    height_px: int = Field(ge=32, multiple_of=32, description="of what the network sees")
    width_px: int = Field(ge=32, multiple_of=32, description="of what the network sees")


class StateParams(Section):
    knows: Literal["nothing", "embedding", "outputs", "both"] = Field(
        description="of the part, by the head of states: nothing, as published; an embedding of it; outputs of its own"
    )
    weight: float = Field(ge=0, description="of the loss of states beside that of the detection")
    dropout: float = Field(ge=0, lt=1, description="share of inputs that the head of states misses in training")
    gamma: float = Field(ge=0, description="of the focal loss; 0: cross-entropy")
    balance: Share = Field(
        description="0: every box counts alike; 1: every state does, however rare; between: by that power"
    )
    true_boxes: bool = Field(description="states are learnt from the true boxes besides, not from found ones alone")


class CloseParams(Section):
    """A closer look: each box is cut out of the whole photograph, and a network of its own tells the state."""

    shrink: Annotated[int, Field(ge=1, le=8)] = Field(
        description="the detector sees the canvas so many times smaller; divides its edges"
    )
    edge_px: int = Field(ge=16, le=128, multiple_of=8, description="of a cut-out, whatever the size of the box")
    margin: float = Field(ge=0, le=1, description="around the box, of its edges")
    weight: float = Field(gt=0, description="of its loss beside that of the detector")


class Keep(Section):
    """How boxes are kept; stands in the checkpoint, so that later steps do as training did."""

    floor: Share = Field(description="score below which no box is told")
    nms: Share = Field(
        description="of two boxes of one part that overlap more than this the surer one stays; small_points needs none"
    )
    max_detections: Positive = Field(description="of a photograph")


class Augment(Section):
    scale: float = Field(ge=0, lt=1, description="0.2: by a factor of 0.8 to 1.2")
    shift: float = Field(ge=0, le=1, description="of the canvas")
    flip: Share = Field(description="share of the photographs that are mirrored; parts are front and back, not left")
    brightness: float = Field(ge=0, le=1, description="a factor of 1 - this to 1 + this; so is the next")
    contrast: float = Field(ge=0, le=1, description="a factor of 1 - this to 1 + this")
    colour: float = Field(ge=0, le=1, description="the same of red, green and blue, each by itself")
    erase: Share = Field(
        description="share of the photographs in which something is covered by a piece of another; a part that was "
        "there is occluded then"
    )
    erase_size: Share = Field(description="largest edge of the cover, of the canvas")


class Train(Section):
    networks: Annotated[list[str], Field(min_length=1), BeforeValidator(partial(known, there=NETWORKS))] = Field(
        description="networks to train, by their names in models/bike_parts/variants.py"
    )
    weights: str | None = Field(
        description="what they start from: null; coco or imagenet, which torchvision downloads once; or a file of it, "
        "of either kind, or of an earlier training; small starts from nothing or from an earlier training"
    )
    canvas: Canvas
    evaluate_every: Positive = Field(description="epochs; the last one is judged in any case")
    states: StateParams
    close: CloseParams | None = Field(
        description="null: states are told from what the detector has seen, as published; else by a closer look"
    )
    keep: Keep
    optimizer: Optimizer
    engine: Engine
    augment: Augment

    @model_validator(mode="after")
    def _shrinks_evenly(self) -> Train:
        for key, edge in self.canvas.model_dump().items():
            if self.close is not None and edge % self.close.shrink:
                raise ValueError(f"close.shrink = {self.close.shrink} does not divide canvas.{key} = {edge}")
        return self

    @model_validator(mode="after")
    def _weights_there_are(self) -> Train:
        bare = [name for name in self.networks if name in UNPUBLISHED]
        if bare and self.weights in ("coco", "imagenet"):
            raise ValueError(f"weights = {self.weights}: there are none for {bare[0]}; take null, or another network")
        return self


class Detect(Section):
    batch: Positive = Field(description="photographs at once; no influence on the results")


class Evaluate(Section):
    recall: float = Field(
        gt=0,
        lt=1,
        description="of parts that are there: the threshold of presence is the highest that finds so many "
        "of them on validation",
    )
    false_claims: float = Field(
        ge=0, description="of changes, a pair of photographs: what the threshold of claims allows on validation"
    )


class Crop(Section):
    """Of a bicycle that is small in its photograph; only with a detector."""

    classes: list[Name] = Field(min_length=1, description="what the detector calls a bicycle")
    confidence: Share = Field(description="below which a bicycle is not believed")
    imgsz: Positive = Field(multiple_of=32, description="longer side of the detector's input in px")
    below: Share = Field(description="share of the picture below which the box of a bicycle is small")
    margin: float = Field(ge=0, le=1, description="around the box, of its sides")


class Inspect(Section):
    photos: Name | None = Field(
        description="what to look at: a folder, an archive, an image or a URI as of download.source; null: the "
        "photographs of the test split"
    )
    pairs: Name | None = Field(
        description="a table with the columns before and after; null: pairs.csv beside the photographs, or by their "
        "names, <name>_before and <name>_after"
    )
    detector: Name | None = Field(
        description="weights of a YOLO detector that finds the bicycle where it is small in the picture; null: none"
    )
    crop: Crop
    batch: Positive = Field(description="photographs at once; no influence on the results")
    pictures: int = Field(ge=0, description="photographs, or pairs of them, that the page shows, the worst first")


class Export(Section):
    compared_photos: Positive = Field(description="photographs of the test data on which the runtimes are compared")
    max_difference: float = Field(
        gt=0, description="from torch, in a score or the probability of a state; more is an error"
    )
    timed_photos: Positive = Field(description="photographs of the test data, one at a time on each runtime")
    threads: Positive = Field(description="of each runtime")


class Tune(Tuning):
    network: Annotated[str, AfterValidator(lambda name: known([name], NETWORKS)[0])] = Field(
        description="the network that is trained in every trial"
    )


class Line(Section):
    download: Download
    check_data: CheckData
    split: Split
    train: Train
    detect: Detect
    evaluate: Evaluate
    inspect: Inspect
    export: Export
    tune: Tune
