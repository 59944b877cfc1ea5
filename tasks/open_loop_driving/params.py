"""What can be set under `open_loop_driving:` in params.yaml, one section a step; units are in the names."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from models.open_loop_driving.variants import NETWORKS
from tasks.yard.params import Section, known
from tasks.yard.sources.section import Dated
from tasks.yard.splits import PINNED
from tasks.yard.training.sections import Engine, Optimizer
from tasks.yard.tuning.section import Tuning

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]


class Download(Dated):
    WORLD = "town"

    carla_hz: float | None = Field(
        gt=0,
        le=1000,
        description="measurements a second of a CARLA drive; null: by stamps, or by the way against the speed, and "
        "where nothing tells as published: 2, of Bench2Drive 10",
    )
    min_routes: int = Field(ge=1, description="fewer usable routes are an error")


class CheckData(Section):
    max_missing_share: float = Field(
        ge=0,
        le=1,
        description="of a route's frames that cannot be used, by a file or a number; above it the route is not",
    )
    pictures: int = Field(ge=0, description="routes whose cameras, boxes and lidar are drawn, evenly spread over all")


class HeldOut(Section):
    """Towns of which no route is trained on. Where a source has none of them, routes are drawn by `shares`."""

    val: list[str] = Field(description="towns to validate on")
    test: list[str] = Field(description="towns that are judged on")


class Shares(Section):
    """Of the routes, or of a source's only route in contiguous parts."""

    val: float = Field(gt=0, lt=0.5, description="share to validate on")
    test: float = Field(gt=0, lt=0.5, description="share that is judged on")


class Pack(Section):
    height_px: int | None = Field(gt=0, description="of packed pictures; null: as they were recorded")
    width_px: int | None = Field(gt=0, description="of packed pictures; null: as they were recorded")
    bev_px: int | None = Field(
        gt=0, description="side of packed masks, of whose pixels the brightest stays; null: as they were recorded"
    )
    horizon: int = Field(ge=4, le=6, description="steps of half a second that are planned ahead")
    subset: Literal["dev", "capped", "full"] = Field(
        description="dev: `dev_routes` of each split; capped: of each town as many routes as `cap_frames` hold; full: "
        "all. Which ones is drawn by `seed`"
    )
    dev_routes: Positive = Field(description="of each split, where subset is dev")
    cap_frames: Positive = Field(description="of a town; a route is taken whole")
    held_out: HeldOut
    shares: Shares
    guard_frames: int = Field(ge=0, description="left out between the parts of a source's only route")
    seed: int = Field(ge=0, description="of the splits that are drawn, and of which routes are packed")
    splits: str | None = Field(description=PINNED)


class Teacher(Section):
    """The privileged network, which sees the masks; only for routes whose source brings no maps of the expert's own of
    these sizes."""

    sizes: Literal["thinktwice", "thinktwice_small"] = Field(
        description="channels of its maps: those of the networks that are to learn from it"
    )
    mirror: Share = Field(description="share of the moments that are shown in a mirror")
    optimizer: Optimizer
    engine: Engine


class Loss(Section):
    """Times the original's weights, which stand in models/open_loop_driving/losses.py; 0 leaves a group out."""

    plan: Weight = Field(description="waypoints, and the Betas of acceleration and steer, of all layers")
    heads: Weight = Field(description="speed, value and the expert's vector")
    imitation: Weight = Field(description="the expert's maps: of now, refined, ahead")
    taught: Weight = Field(description="that a layer leaves the expert's plan as it is; 0: no teacher forcing")
    classes: Weight = Field(description="what every pixel shows")
    depth: Weight = Field(description="how far away it is")


class Augment(Section):
    """One draw a moment, alike in both frames; cameras keep fitting their images."""

    mirror: Share = Field(description="share of the moments that are shown in a mirror, plan and commands with them")
    brightness: float = Field(ge=0, le=1, description="a factor of 1 - this to 1 + this; so is the next")
    contrast: float = Field(ge=0, le=1, description="a factor of 1 - this to 1 + this")
    colour: float = Field(ge=0, le=1, description="the same of red, green and blue, each by itself")


class Train(Section):
    networks: Annotated[list[str], Field(min_length=1), BeforeValidator(partial(known, there=NETWORKS))] = Field(
        description="networks to train, by their names in models/open_loop_driving/variants.py; blind is the baseline"
    )
    cameras: list[str] | None = Field(
        description="that networks see, the one that looks ahead first; null: what most of the routes to train on have"
    )
    steps: int = Field(ge=1, le=12, description="that are planned, half a second each; at most pack.horizon")
    pretrained: bool = Field(description="ResNets start from ImageNet weights, which are downloaded once")
    evaluate_every: Positive = Field(description="epochs; the last one is judged in any case")
    blind_epochs: Positive = Field(
        description="of the network blind, whose epochs cost next to nothing; its rate is its own too, 0.002"
    )
    keyframes: float = Field(
        ge=1,
        description="times as often as the others a moment is drawn at which the car does something new (Wen et al., "
        "2021); 1: all alike, and what is learnt is to go on as before, which stands for ever once it stands",
    )
    loss: Loss
    optimizer: Optimizer
    engine: Engine = Field(
        description="the original: 128 moments a step, rate 1e-4 over 60 epochs with 1000 steps of warm-up; with fewer "
        "GPUs keep the batch by accumulate, or lower the rate with the square root of the batch (3e-5 for 16)"
    )
    augment: Augment


class Plan(Section):
    batch: Positive = Field(description="moments at once; no influence on the results")


class DrivenRoutes(Section):
    """How many of a split's packed routes are driven, evenly spread over all; more than there are: all."""

    val: int = Field(ge=0, description="routes of validation")
    test: int = Field(ge=0, description="routes of test")


class Drive(Section):
    routes: DrivenRoutes
    traffic: int = Field(ge=0, description="which traffic, lights and walkers; 0: those that were recorded")
    begin_s: float = Field(
        ge=0,
        description="the expert drives so long first, whoever drives then: a recording's first frame, in which the car "
        "stands for no reason, is in no moment that is learnt from",
    )
    plan_every_s: float = Field(
        ge=0.05, le=0.5, description="a plan is followed so long; then the network looks and plans again"
    )
    follow: Literal["both", "waypoints", "controls"] = Field(
        description="what is driven of a plan; both: mixed as TCP's agent does"
    )
    creep_s: float | None = Field(
        gt=0,
        description="whoever has stood so long creeps on, unless its lidar sees something right ahead; null: never. A "
        "light of the town is red or yellow for 20 s at most",
    )


def _searched(name: str) -> str:
    if name == "blind":
        raise ValueError(
            "blind keeps epochs and a rate of its own, whatever a trial sets: name a network that sees; blind's epochs "
            "are open_loop_driving.train.blind_epochs"
        )
    return known([name], NETWORKS)[0]


class Tune(Tuning):
    network: Annotated[str, AfterValidator(_searched)] = Field(
        description="the network that is trained in every trial; blind is none of them"
    )


class Export(Section):
    network: Annotated[str, AfterValidator(lambda name: known([name], NETWORKS)[0])] | None = Field(
        description="the network that is written as ONNX, one of train.networks; null: the first trained one that "
        "sees, else the first trained one"
    )


class Visualize(Section):
    routes: int | None = Field(ge=1, description="of test that are filmed, evenly spread over all; null: each")
    seconds: float = Field(gt=0, description="of film a route, at most")
    fps: float = Field(gt=0, description="moments a second of film; twice the rate of the data plays at double speed")
    height_px: int = Field(ge=480, le=2160, description="of films and stills; below, words would cover each other")


class Line(Section):
    download: Download
    check_data: CheckData
    pack: Pack
    teacher: Teacher
    train: Train
    plan: Plan
    drive: Drive
    visualize: Visualize
    export: Export
    tune: Tune
