"""The params section of a `train_detector` step; a line that trains a detector embeds it in its own params."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.yard.params import Section

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Index = Annotated[int, Field(ge=0)]


class DetectorWeather(Section):
    """The highway augmentation: the share of training images seen in each weather or light; several may meet in one."""

    rain: Share = Field(description="streaks of one slant before a paler scene")
    fog: Share = Field(description="patchy, thickest at the horizon")
    night: Share = Field(description="dusk to night: dark, bluish and noisy, lamps stay bright")
    glare: Share = Field(description="a low sun, or an oncoming lamp, that veils what is around it")
    motion_blur: Share = Field(description="nearly level, up to a fortieth of the width")
    strength: Share = Field(description="of the strongest, 1 being as thick as is still worth learning from")


class DetectorAugment(Section):
    """Under ultralytics' own names; shares and probabilities unless said otherwise."""

    hsv_h: Share = Field(description="of the hue circle, either way")
    hsv_s: Share = Field(description="saturation: a factor of 1 - this to 1 + this")
    hsv_v: Share = Field(description="brightness: a factor of 1 - this to 1 + this")
    degrees: float = Field(ge=0, le=180, description="rotation, either way")
    translate: Share = Field(description="shift, either way, of the image's size")
    scale: float = Field(ge=0, lt=1, description="gain from 1 - this to 1 + this")
    shear: float = Field(ge=0, le=180, description="degrees, either way")
    perspective: float = Field(ge=0, le=0.001, description="per pixel, either way")
    flipud: Share = Field(description="of the images turned upside down")
    fliplr: Share = Field(description="of the images mirrored left to right")
    mosaic: Share = Field(description="of the images put together of four; not with rect")
    mixup: Share = Field(description="of the images laid over another; not with rect")
    cutmix: Share = Field(description="of the images with a piece of another; not with rect")
    copy_paste: Share = Field(description="of the objects with an outline; labels that are only boxes have none")
    close_mosaic: int = Field(ge=0, description="epochs at the end without mosaic")
    weather: DetectorWeather


class TrainDetector(Section):
    """Under ultralytics' own names where it has one."""

    weights: str | None = Field(
        description="what to start from: null is our own small network, a .yaml another one, both untrained; "
        "a .pt file, or the name of published weights such as yolo12n.pt, is trained further; "
        "without images to train on it is handed over as it is"
    )
    resume: bool = Field(description="a killed run goes on after its last whole epoch; false: from the start")
    imgsz: Positive = Field(multiple_of=32, description="longer side of the network's input in px")
    rect: bool = Field(description="batches as flat as the images, instead of square ones; not on several GPUs")
    single_cls: bool = Field(description="all classes are one, which is then named item")
    epochs: Positive = Field(description="passes over the training images, at most")
    patience: Positive | None = Field(description="stop after so many epochs without a better score; null: never")
    save_period: Positive | None = Field(description="keep the weights of every so many epochs, in epochs/; null: none")
    batch: Positive = Field(description="images a step learns from, over all GPUs")
    optimizer: Literal["SGD", "Adam", "AdamW", "NAdam", "RAdam", "RMSProp", "MuSGD"] = Field(
        description="the rule by which weights follow the gradient"
    )
    lr0: float = Field(gt=0, le=1, description="learning rate after the warm-up")
    lrf: float = Field(gt=0, le=1, description="the last learning rate is this share of lr0")
    cos_lr: bool = Field(description="cosine between them, instead of a line")
    momentum: float = Field(ge=0, lt=1, description="of SGD, MuSGD and RMSProp; of the others the first beta")
    warmup_epochs: float = Field(ge=0, description="in which rate and momentum come to their values; a part of one too")
    warmup_momentum: float = Field(ge=0, lt=1, description="where it starts; only of SGD, MuSGD and RMSProp")
    warmup_bias_lr: float = Field(ge=0, description="learning rate of the biases at the very start")
    weight_decay: float = Field(ge=0, description="of all weights but biases and norms")
    box: float = Field(ge=0, description="weight of the boxes' overlap in the loss")
    cls: float = Field(ge=0, description="weight of the classes in the loss")
    dfl: float = Field(ge=0, description="weight of the distribution of the boxes' sides in the loss")
    freeze: Index | list[Index] | None = Field(
        description="layers that stay as they are: the first so many, or these; null: none"
    )
    multi_scale: float = Field(ge=0, lt=1, description="imgsz varies by this share from batch to batch")
    device: str | list[Index] = Field(
        description="auto: the GPU if there is one; cpu; cuda:1 or 1; several GPUs as [0, 1] or '0,1'"
    )
    workers: int = Field(ge=0, description="processes that load images for a GPU; a CPU needs none")
    cache: Literal["ram", "disk"] | None = Field(
        description="decoded images are kept: in memory, or beside the unfinished training; null: decoded anew"
    )
    seed: int = Field(ge=0, description="of first weights, the order of images and their augmentation")
    augment: DetectorAugment

    @model_validator(mode="after")
    def _devices_that_there_may_be(self) -> TrainDetector:
        if isinstance(self.device, str) and not re.fullmatch(r"auto|cpu|cuda(:\d+)?|\d+(,\d+)*", self.device):
            raise ValueError(f"device = {self.device!r} must be auto, cpu, cuda, cuda:1, 1, '0,1' or [0, 1]")
        gpus = str(self.device).count(",") + 1
        if self.device == [] or (gpus > 1 and len(set(re.findall(r"\d+", str(self.device)))) < gpus):
            raise ValueError(f"device = {self.device!r} must name at least one GPU, and none twice")
        if gpus > 1 and self.rect:
            raise ValueError(f"device = {self.device!r}: several GPUs see square batches; set rect to false")
        if self.batch % gpus:
            raise ValueError(f"batch = {self.batch} must be a multiple of the {gpus} GPUs of device")
        return self
