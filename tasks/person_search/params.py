"""What can be set under `person_search:` in params.yaml, one section a step; units are in the names."""

from __future__ import annotations

from functools import partial
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from models.person_search.variants import NETWORKS
from tasks.yard.detector.section import TrainDetector
from tasks.yard.params import Section, known
from tasks.yard.sources.section import Dated
from tasks.yard.splits import PINNED
from tasks.yard.training.sections import Engine, Optimizer
from tasks.yard.tuning.section import Tuning

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Name = Annotated[str, Field(min_length=1)]


class Coco(Section):
    categories: list[Name] = Field(min_length=1, description="of a COCO source, those that count as persons")
    drop_crowd_images: bool = Field(description="leave out images with a crowd box; else only these boxes")


class Download(Dated):
    WORLD = "street"

    extra_sources: list[Name] = Field(
        description="further sources of re-ID or detector data or cameras; people of two data sets are never the same"
    )
    coco: Coco
    frames_fps: float = Field(
        gt=0, description="frames a second taken from a camera's video; a folder of stills says its own in camera.json"
    )
    max_broken_share: Share = Field(
        description="of the label entries of a data set that may be unusable and are left out; more is an error"
    )
    min_units: int = Field(ge=1, description="fewer usable data sets and cameras are an error")


class SplitShares(Section):
    val: float = Field(gt=0, lt=0.5, description="share to validate on")
    test: float = Field(gt=0, lt=0.5, description="share that is judged on")


class DetectorData(Section):
    classes: list[Name] = Field(
        min_length=1, description="shell patterns, in any case, of the names in data.yaml that are persons"
    )
    shares: SplitShares = Field(description="of the images of a data set, for a split that its source lacks")
    guard_images: int = Field(
        ge=0, description="images left out beside another split, where runs of neighbouring names are divided"
    )
    splits: str | None = Field(description=PINNED)
    seed: int = Field(ge=0, description="of the splits that are made")


class Pack(Section):
    height_px: Positive = Field(description="of the crops that networks see")
    width_px: Positive = Field(description="of the crops that networks see")
    val_share: float = Field(ge=0, lt=1, description="of the training identities, as people to validate with")
    seed: int = Field(ge=0, description="of which identities validate, and which of their images are the queries")
    splits: str | None = Field(description=PINNED)
    threads: Positive | None = Field(description="that read crops; null: one a core")


class Augment(Section):
    """The share of images each is done to, under torchreid's names, and how strong a change of colour may be."""

    random_flip: Share = Field(description="mirrored left to right")
    random_crop: Share = Field(description="a window out of the image made larger by an eighth")
    random_patch: Share = Field(description="a rectangle of another image of the batch is pasted in")
    color_jitter: Share = Field(description="the colours change, by the four below")
    brightness: float = Field(
        ge=0, le=1, description="color_jitter: a factor of 1 - this to 1 + this; so are the next two"
    )
    contrast: float = Field(ge=0, le=1, description="color_jitter: a factor of 1 - this to 1 + this")
    saturation: float = Field(ge=0, le=1, description="color_jitter: a factor of 1 - this to 1 + this")
    hue: float = Field(ge=0, le=0.5, description="color_jitter: of the hue circle, either way")
    random_gray_scale: Share = Field(description="made grey")
    random_erase: Share = Field(description="a rectangle is made the mean colour")


class Loss(Section):
    softmax: float = Field(ge=0, description="weight of telling the training identities apart by the classifier")
    label_smoothing: float = Field(
        ge=0, lt=1, description="share of the target that is spread over all identities, in softmax"
    )
    triplet: float = Field(ge=0, description="weight of the batch-hard triplet loss on the embedding")
    margin: float | None = Field(
        gt=0,
        description="by which the nearest other person should be farther than the farthest own image; null: a soft one",
    )

    @model_validator(mode="after")
    def _something_is_learnt(self) -> Loss:
        if not self.softmax and not self.triplet:
            raise ValueError("softmax and triplet are both 0: give at least one of them a weight")
        return self


class Train(Section):
    networks: Annotated[list[str], Field(min_length=1), BeforeValidator(partial(known, there=NETWORKS))] = Field(
        description="networks to train, by their names in models/person_search/variants.py"
    )
    embedding: Positive | None = Field(
        description="length of the vector that stands for a person; null: the network's own"
    )
    weights: str | None = Field(
        description="a torchreid file, or a best.pt of this line, to start from; null: untrained"
    )
    fixbase_epochs: int = Field(ge=0, description="so many epochs at first only the new classifier is trained")
    freeze_backbone: bool = Field(description="the classifier alone is trained, from first to last")
    images_per_identity: Annotated[int, Field(ge=2)] | None = Field(
        description="K of P x K batches, P = engine.batch / K; null: images as they come, for a loss without triplet"
    )
    evaluate_every: Positive = Field(description="epochs; the last one is judged in any case")
    loss: Loss
    optimizer: Optimizer
    engine: Engine
    augment: Augment

    @model_validator(mode="after")
    def _batches_hold_whole_identities(self) -> Train:
        size, images = self.engine.batch, self.images_per_identity
        if images is None and self.loss.triplet:
            raise ValueError(
                "images_per_identity = null leaves the triplet loss no pairs: set it, or loss.triplet to 0"
            )
        if images is not None and (size % images or size // images < 2):
            raise ValueError(
                f"engine.batch = {size} must be a multiple of images_per_identity = {images}, at least twice it"
            )
        if size // (images or 1) % self.engine.accumulate:
            raise ValueError(
                f"engine.accumulate = {self.engine.accumulate} must divide the {size // (images or 1)} of a batch"
            )
        return self

    @model_validator(mode="after")
    def _what_stands_still_was_trained(self) -> Train:
        if self.freeze_backbone or self.fixbase_epochs:
            if self.weights is None:
                raise ValueError("freeze_backbone and fixbase_epochs need weights: an untrained backbone tells nothing")
            if not self.loss.softmax:
                raise ValueError(
                    "freeze_backbone and fixbase_epochs train the classifier alone, which loss.softmax = 0 forgets"
                )
        return self


class Tune(Tuning):
    network: Annotated[str, AfterValidator(lambda name: known([name], NETWORKS)[0])] = Field(
        description="the network that is trained in every trial"
    )


class Rerank(Section):
    """Of k-reciprocal re-ranking; the paper's names and values."""

    k1: Positive = Field(description="neighbours that two images may share")
    k2: Positive = Field(description="neighbours over which each image's own are averaged")
    share: Share = Field(description="of the original distance in the new one (lambda)")


class Evaluate(Section):
    batch: Positive = Field(description="crops embedded at once; no influence on the results")
    false_accept_rate: float = Field(
        gt=0,
        lt=1,
        description="of the matching threshold, on validation; with too few pairs for it the equal error rate",
    )
    rerank: Rerank


class Calibrate(Section):
    confidences: list[Share] = Field(
        min_length=1,
        description="of a detection, tried on validation where index.confidence is null; the best search mAP wins",
    )
    confidence_weights: list[Annotated[float, Field(ge=0)]] = Field(
        min_length=1,
        description="powers of a detection's confidence, tried on validation: so much less similar is what is hardly a "
        "person; 0 is the cosine alone",
    )


class Index(Section):
    weights: str | None = Field(
        description="the .pt file of any YOLO detector, or the name of published weights such as yolo12n.pt; "
        "null: what train_detector made"
    )
    imgsz: Annotated[int, Field(gt=0, multiple_of=32)] | None = Field(
        description="longer side of the detector's input in px; null: as it was trained"
    )
    classes: list[Name] = Field(min_length=1, description="of the detector, those that are persons")
    confidence: Share | None = Field(
        description="lowest confidence of a detection; null: what validation likes best (calibrate), else 0.25"
    )
    iou: Share = Field(description="of two boxes that overlap more, the less confident one is dropped")
    max_detections: Positive = Field(description="of a frame; the most confident are kept")
    batch: Positive = Field(description="frames that the detector sees at once")
    threads: Positive | None = Field(description="each reads and sees a batch on one core; null: one a core")
    device: str = Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto: the GPU if there is one")


class Search(Section):
    queries: Name | None = Field(
        description="whom to find: an image or a folder of images, each a crop of one person; null: those of the source"
    )
    threshold: float | None = Field(
        ge=-1,
        le=1,
        description="similarity (cosine, less where the detector is not sure) from which on a detection is the person; "
        "null: by the next",
    )
    false_accept_rate: float = Field(
        gt=0,
        lt=1,
        description="of the searches for somebody who is not there, those that may find one, for an index of any size; "
        "without cameras for validation the threshold is evaluate's, of single pairs",
    )
    gap_s: float = Field(
        ge=0, description="of not being seen, that a sighting bridges; of stills without times each is a sighting"
    )
    results: Positive = Field(description="detections that a query's results.csv lists, the most similar ones")
    sheet_queries: int = Field(ge=0, description="so many queries get a contact sheet, evenly spread over all")
    video_queries: int = Field(ge=0, description="so many get an mp4 and a sheet: those that most cameras saw")
    video_seconds: float = Field(gt=0, description="of a longer recording the stretch that shows the person most")


class Line(Section):
    NOT_NEEDED: ClassVar = dict.fromkeys(("detector_data", "train_detector"), "index.weights")

    download: Download
    detector_data: DetectorData
    train_detector: TrainDetector
    pack: Pack
    train: Train
    evaluate: Evaluate
    calibrate: Calibrate
    index: Index
    search: Search
    tune: Tune
