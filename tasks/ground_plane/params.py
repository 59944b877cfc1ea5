"""What can be set under `ground_plane:` in params.yaml, one section a step; units are in the names."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from models.ground_plane.variants import NETWORKS
from tasks.yard.params import Section, known
from tasks.yard.sources.section import Dated
from tasks.yard.splits import PINNED
from tasks.yard.training.sections import Engine, Optimizer
from tasks.yard.tuning.section import Tuning

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]


class Download(Dated):
    WORLD = "plaza"

    metres_per_unit: float = Field(
        gt=0, description="of a MARMOT source's T and labels; 0.01: centimetres, as it is made"
    )
    use_alpha_undistort: bool = Field(
        description="MARMOT's switch of this name: its ROI is drawn on images undistorted with K_new, not with K"
    )
    annotation_offset: int | None = Field(
        description="of WILDTRACK and MultiviewX: image i belongs to annotation i + this; null: what joins more, "
        "and where two join as many, what the pictures say"
    )
    min_units: int = Field(ge=1, description="fewer usable sequences are an error")


class CheckData(Section):
    max_reprojection_px: float = Field(
        gt=0,
        description="median distance between labelled boxes' feet and the labelled places, above which a camera "
        "is reported as badly calibrated; where a label has boxes",
    )
    refuse_shifted: bool = Field(
        description="a sequence whose images clearly fit the labels of the frames before or after them is not used"
    )
    pictures: int = Field(ge=0, description="sequences whose cameras and plane are drawn, evenly spread over all")


class Shares(Section):
    """Of a sequence that its source does not divide: contiguous parts, training first."""

    val: float = Field(gt=0, lt=0.5, description="share of its labelled frames to validate on")
    test: float = Field(gt=0, lt=0.5, description="share of its labelled frames that is judged on")


class Pack(Section):
    height_px: Positive = Field(description="of the images that networks see, undistorted")
    width_px: Positive = Field(description="of the images that networks see, undistorted")
    cell_m: float = Field(gt=0, description="edge of a cell of the ground plane")
    shares: Shares
    guard_frames: int = Field(
        ge=0, description="labelled frames left out between two splits of one sequence; fewer of a short one"
    )
    splits: str | None = Field(description=PINNED)


class SceneAugment(Section):
    """Moves the ground under all views alike, so that they stay aligned."""

    share: Share = Field(description="of the frames it is done to")
    rotate_deg: float = Field(ge=0, le=180, description="either way")
    translate: float = Field(ge=0, le=1, description="of the plane's size")
    scale: float = Field(ge=0, lt=1, description="0.2: by a factor of 0.8 to 1.2")
    shear_deg: float = Field(ge=0, lt=45, description="either way")
    flip: Share = Field(description="share of the frames that are mirrored")


class ViewAugment(Section):
    """Crops and resizes the image of one view, and the way from the ground to it by the same matrix."""

    share: Share = Field(description="of the views it is done to")
    scale: float = Field(ge=0, lt=1, description="0.2: shows a window of 0.8 to 1 of the image")
    flip: Share = Field(description="share of the views that are mirrored")
    brightness: float = Field(ge=0, le=1, description="a factor of 1 - this to 1 + this; so is the next")
    contrast: float = Field(ge=0, le=1, description="a factor of 1 - this to 1 + this")
    colour: float = Field(ge=0, le=1, description="the same of red, green and blue, each by itself")
    drop: Share = Field(description="share of the views that are taken away, never all of a frame")


class Augment(Section):
    scene: SceneAugment
    view: ViewAugment


class Loss(Section):
    kind: str = Field(pattern="^(focal|mse)$", description="focal: CenterNet's; mse: the original's")
    radius_cells: float = Field(gt=0, description="of the Gaussian around a person; sigma = (2 radius + 1) / 6")
    views: float = Field(ge=0, description="weight of the feet in each view; 0: no such head")


class Decode(Section):
    """How a heatmap becomes people; stands in the checkpoint, so that later steps do as training did."""

    match_m: float = Field(gt=0, description="a detection farther than this from a person is not that person")
    nms_m: float = Field(gt=0, description="of two detections closer than this the more confident one stays")
    max_detections: Positive = Field(description="of a frame; the most confident are kept")


class Train(Section):
    networks: Annotated[list[str], Field(min_length=1), BeforeValidator(partial(known, there=NETWORKS))] = Field(
        description="networks to train, by their names in models/ground_plane/variants.py"
    )
    pretrained: bool = Field(description="ResNet encoders start from ImageNet weights, which are downloaded once")
    evaluate_every: Positive = Field(description="epochs; the last one is judged in any case")
    decode: Decode
    loss: Loss
    optimizer: Optimizer
    engine: Engine
    augment: Augment


class Detect(Section):
    floor: Share = Field(description="confidence below which no detection is written; the threshold, where it is lower")
    batch: Positive = Field(description="frames at once; no influence on the results")


class Visualize(Section):
    seconds: float = Field(gt=0, description="of film, at most")
    fps: float = Field(gt=0, description="frames a second of the film")
    height_px: int = Field(ge=160, le=4320, description="of the film")


class Tune(Tuning):
    network: Annotated[str, AfterValidator(lambda name: known([name], NETWORKS)[0])] = Field(
        description="the network that is trained in every trial"
    )


class Line(Section):
    download: Download
    check_data: CheckData
    pack: Pack
    train: Train
    detect: Detect
    visualize: Visualize
    tune: Tune
