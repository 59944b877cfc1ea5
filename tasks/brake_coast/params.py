"""What can be set under `brake_coast:` in params.yaml, one section a step; units are in the names."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from models.brake_coast.variants import VARIANTS, parse
from tasks.yard.detector.section import TrainDetector
from tasks.yard.params import Section
from tasks.yard.sources.section import Dated, FromSource
from tasks.yard.splits import PINNED
from tasks.yard.training.sections import Engine, Optimizer
from tasks.yard.tuning.section import Tuning

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]


def _rising(ends: list[float]) -> list[float]:
    if ends[0] >= ends[1]:
        raise ValueError(f"{ends} must be [lowest, highest]")
    return ends


Range = Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(_rising)]


class Download(Dated):
    WORLD = "highway"

    layout: Literal["auto", "native", "carla", "carobd", "video"] = Field(
        description="of what the source holds; auto looks"
    )
    piece_minutes: float | None = Field(
        ge=0.5, description="cut every drive into pieces of about so long; null: only the drives of a source of too few"
    )
    carla_hz: float | None = Field(
        gt=0, description="measurements a second of CARLA drives; null: what way, speed and stamps say, else 2"
    )
    guard_s: float = Field(ge=0, description="left out between two pieces: a window and the longest horizon")
    min_recordings: int = Field(
        ge=1, description="fewer usable ones are an error: 3 to train, validate and test; 1 to annotate"
    )


class Roi(Section):
    pattern: str = Field(description="shell pattern of recording names")
    image_size_px: Annotated[list[Positive], Field(min_length=2, max_length=2)] | None = Field(
        description="[width, height]: the rule is for this camera only; null: for any"
    )
    roi_px: Annotated[list[int], Field(min_length=4, max_length=4)] | None = Field(
        description="[x, y, w, h]; null: whole image"
    )

    @model_validator(mode="after")
    def _has_area(self) -> Roi:
        if self.roi_px and (min(self.roi_px[:2]) < 0 or min(self.roi_px[2:]) < 1):
            raise ValueError(
                f"roi_px = {self.roi_px} must be [x, y, w, h] with x, y of at least 0 and w, h of at least 1"
            )
        return self


class Annotate(Section):
    NO_DETECTOR: ClassVar = "none"

    weights: str | None = Field(
        description="the .pt file of any YOLO detector, or the name of published weights such as yolo12n.pt; "
        "null: what train_detector made; none: no detector, for drives without a camera"
    )
    imgsz: Positive = Field(multiple_of=32, description="longer side of the network's input in px")
    roi: list[Roi] = Field(description="the first rule that fits a recording holds; whole image if none does")
    classes: dict[str, str] = Field(
        min_length=1, description="the network's class -> ours; one that is not here is dropped"
    )
    confidence: dict[str, Share] = Field(
        description="lowest confidence of each of our classes, in the order of class_id"
    )
    iou: Share = Field(description="of two boxes of a class that overlap more, the less confident one is dropped")
    max_detections: Positive = Field(description="of a frame; those with the largest confidence x area are kept")
    batch: Positive = Field(description="images the network sees at once")
    threads: Positive | None = Field(description="each reads and sees a batch on one core; null: one a core")
    device: str = Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto: the GPU if there is one")

    @model_validator(mode="after")
    def _each_class_has_a_threshold(self) -> Annotate:
        if set(self.confidence) != set(self.classes.values()):
            raise ValueError(
                f"confidence is given for {', '.join(self.confidence) or 'nothing'}, but the values of classes are "
                f"{', '.join(sorted(set(self.classes.values())))}; they must be the same"
            )
        return self


class Label(Section):
    tolerance_ms: int = Field(
        ge=0,
        description="how far from t + h its row may be where rows come every 500 ms; in proportion where more slowly",
    )
    max_gap_ms: int = Field(gt=0, description="a longer step ends a segment; a true 500 ms shows as at most 600")
    coast_threshold_pct: float = Field(gt=0, le=100, description="released: less than this share of the travel")
    pedal_rest_pct: float | None = Field(ge=0, le=100, description="level of the released pedal; null: estimated")
    pedal_travel_pct: float | None = Field(gt=0, le=100, description="from rest to full; null: estimated")
    pedal_rest_max_pct: float = Field(ge=0, le=100, description="no pedal rests above this: an estimate may not either")
    min_speed_kmh: float | None = Field(gt=0, description="coasting is faster than this; null: a car that stands, too")

    @model_validator(mode="after")
    def _one_row_is_nearest(self) -> Label:
        if 2 * self.tolerance_ms >= self.max_gap_ms:
            raise ValueError(
                f"tolerance_ms = {self.tolerance_ms} must be less than half of max_gap_ms = {self.max_gap_ms}, "
                "or rows on both sides of a gap could answer for one moment"
            )
        return self


class Ranges(Section):
    """[lowest, highest] of each input; it becomes 0..1, and what lies outside saturates and is counted."""

    speed_kmh: Range = Field(description="of the car, in km/h")
    rpm: Range = Field(description="of the engine, in turns a minute")
    pedal_pct: Range = Field(description="of the accelerator pedal, in per cent")
    load_pct: Range = Field(description="of the engine, in per cent")


class Shares(Section):
    train: float = Field(gt=0, lt=1, description="share to train on")
    val: float = Field(gt=0, lt=1, description="share to validate on")
    test: float = Field(gt=0, lt=1, description="share that is judged on")

    @model_validator(mode="after")
    def _whole(self) -> Shares:
        if abs(self.train + self.val + self.test - 1) > 1e-6:
            raise ValueError(f"train + val + test = {self.train + self.val + self.test:g}, must be 1")
        return self


class Pack(Section):
    window_frames: int = Field(ge=2, description="frames in a window")
    window_stride: Positive = Field(description="frames from one listed window's start to the next")
    max_detections: Positive = Field(description="slots of a frame; the largest boxes are kept")
    fill_limit_s: float = Field(ge=0, description="how long the last reply stands in for a missing one")
    brake_signal: bool = Field(description="the brake signal of now as eleventh telemetry feature")
    ranges: Ranges
    shares: Shares = Field(description="share of the windows in each split")
    guard_s: float = Field(
        ge=0, description="left out between drives of one day in two splits, where there are too few days"
    )
    splits: str | None = Field(description=PINNED)
    seed: int = Field(ge=0, description="of the split search where there are too many groups to try every assignment")


def _known_variants(names: list[str] | str) -> list[str]:
    """`all`, alone or in a list beside others, stands for the twelve that see everything."""
    names = ["all"] if names == "all" else names
    if not isinstance(names, list):
        return names
    every = [name for item in names for name in (VARIANTS if item == "all" else [item])]
    for name in every:
        parse(str(name))
    return list(dict.fromkeys(every))


class Task(Section):
    name: str = Field(description="a label of the pack step: brake_1s..5s, coast_1s..5s, brake_onset_1s..5s")
    weight: float = Field(gt=0, description="of its loss, and of its PR-AUC where the best epoch is chosen")
    alpha: Share = Field(description="focal loss: weight of positives, negatives weigh 1 - alpha")
    gamma: float = Field(ge=0, description="focal loss: how much less an easy example counts")


class Model(Section):
    embedding: Positive = Field(description="channels of a frame's embeddings; a multiple of 2 x heads")
    hidden: Positive = Field(description="channels of the fusion and the decoder; a multiple of 2 x heads")
    heads: Positive = Field(description="of each attention")
    layers: Positive = Field(description="of the decoder")
    dropout: float = Field(ge=0, lt=1, description="share of activations left out in training")
    queries: Positive = Field(description="learned questions of the query fusion")

    @model_validator(mode="after")
    def _heads_divide(self) -> Model:
        for name in ("embedding", "hidden"):
            if getattr(self, name) % (2 * self.heads):
                raise ValueError(f"{name} = {getattr(self, name)} must be a multiple of 2 x heads = {2 * self.heads}")
        return self


class Loss(Section):
    kind: Literal["bce", "focal"] = Field(
        description="bce: binary cross-entropy; focal: what is already right counts less"
    )
    positive_weight_power: Share = Field(
        description="bce: positives weigh (negatives / positives) to this power, logits corrected"
    )


class Augment(Section):
    random_shift: bool = Field(
        description="begin the strided training windows 0..stride-1 frames later, anew each epoch"
    )
    positive_share: float | None = Field(
        gt=0, lt=1, description="draw so that this share holds an event; null: as it comes"
    )
    balance_by: Literal["window", "event"] = Field(
        description="what has an equal part in positive_share: each window with an event, or each event, long or short"
    )
    flip: Share = Field(description="share of windows whose boxes are mirrored left to right")
    detection_dropout: float = Field(ge=0, lt=1, description="share of detections taken away")
    speed_jitter: float = Field(ge=0, lt=1, description="a window's speed is scaled by 1 - this .. 1 + this")


Crop = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=4, max_length=4)]


class Boxy(Section):
    """What only the layout of the Boxy dataset, and with it the highway world, needs."""

    label_scale: float = Field(gt=0, description="labels are given at this multiple of the images' size; Boxy's at 2")
    side_px: float | None = Field(
        ge=0,
        description="classes left, front and right instead of vehicle: front where rear and outline agree within so "
        "many label pixels (the original's: 10); null: one class",
    )


class NuImages(Section):
    cameras: list[str] = Field(min_length=1, description="channels of the sensor table, such as CAM_FRONT")


class DetectorData(FromSource):
    WORLD = "highway"

    source: str = Field(
        min_length=1,
        description="synth://highway?..., a folder or an archive, https://, s3://, or a .txt with one of these a line: "
        "an archive a sequence, and the labels",
    )
    layout: Literal["auto", "boxy", "nuimages", "coco", "yolo"] = Field(
        description="of what the source holds; auto looks"
    )
    boxy: Boxy
    nuimages: NuImages
    classes: dict[str, str | None] = Field(
        description="class of nuImages, COCO or YOLO data -> ours; of a name with dots the longest part that is here "
        "decides; what is null or not here is dropped"
    )
    roi_px: Crop | None = Field(
        description="x, y, width, height of the crop that annotate will show the detector; null: whole image"
    )
    min_box_px: float = Field(ge=0, description="a box with a shorter side in the crop is no example")
    min_area_share: Share = Field(
        description="a smaller box, as share of the whole image, is no example; the original's: 0.015 squared"
    )
    min_inside_share: Share = Field(description="of a box's area that the crop must hold")
    background_share: float | None = Field(
        ge=0, lt=1, description="largest share of the training images without a vehicle; null: all are kept"
    )
    hard_negative_share: Share = Field(
        description="of the training images with vehicles that also give a crop without any, as near to one as can be"
    )
    max_broken_share: Share = Field(
        description="of the label entries that may be unusable and are left out; more is an error"
    )
    shares: Shares = Field(
        description="share of the images in each split; a sequence is never divided, splits of the source stay"
    )
    guard_images: int = Field(
        ge=0, description="images left out beside another split, where runs of neighbouring names are divided"
    )
    splits: str | None = Field(description=PINNED)
    seed: int = Field(ge=0, description="of the split, and of the draw of backgrounds and hard negatives")

    @model_validator(mode="after")
    def _some_class_is_ours(self) -> DetectorData:
        if not any(self.classes.values()):
            raise ValueError("classes maps nothing to a class of ours")
        return self

    @model_validator(mode="after")
    def _crop_has_an_area(self) -> DetectorData:
        if self.roi_px is not None and 0 in self.roi_px[2:]:
            raise ValueError(f"roi_px = {self.roi_px} is x, y, width, height: width and height must be positive")
        return self


class Train(Section):
    variants: Annotated[list[str], Field(min_length=1), BeforeValidator(_known_variants)] = Field(
        description="networks to train, or the word all: <encoder>_<fusion>_<decoder>, and -telemetry or "
        "-detections for a blind one"
    )
    tasks: list[Task] = Field(min_length=1, description="what a network predicts, each with a loss of its own")
    model: Model
    loss: Loss
    optimizer: Optimizer
    engine: Engine
    augment: Augment


class Evaluate(Section):
    batch: Positive = Field(description="windows predicted at once; no influence on the results")
    calibration_bins: int = Field(
        ge=2, description="equally wide bins of probability, for ECE and the reliability curve"
    )
    refractory_s: float = Field(ge=0, description="no second alarm, and no second onset, so soon after the first")
    max_lead_s: float = Field(
        gt=0, description="an alarm earlier than this before an onset does not count as its warning"
    )

    @model_validator(mode="after")
    def _an_alarm_that_stays_up_is_heard(self) -> Evaluate:
        if self.refractory_s > self.max_lead_s:
            raise ValueError(
                f"refractory_s = {self.refractory_s} must not exceed max_lead_s = {self.max_lead_s}, "
                "or a score that is high all along could miss an onset"
            )
        return self


class Report(Section):
    video_frames: int = Field(ge=2, description="frames of the test drive shown, at most; 2 are one second of driving")
    video_fps: int = Field(ge=1, le=60, description="frames shown a second: 6 plays a 2 Hz drive three times as fast")


ANALYSES = ("misses", "attention", "calibration", "horizons", "ablation", "cost")


class Misses(Section):
    shown: Positive = Field(description="pictures on a contact sheet, at most")
    refractory_s: float = Field(ge=0, description="as in evaluate: the events counted there are the ones looked at")
    max_lead_s: float = Field(gt=0, description="as in evaluate")


class Attention(Section):
    windows: Positive = Field(description="true positives, and as many negatives, that a mean is over, at most")
    frames: Positive = Field(description="camera pictures on which the weights of the boxes are drawn")


class Calibration(Section):
    batch: Positive = Field(description="windows predicted at once; no influence on the results")
    bins: int = Field(ge=2, description="equally wide bins of probability, for ECE and the reliability curve")


class Horizons(Section):
    replicates: int = Field(
        ge=100, description="draws of the test recordings behind its intervals, in place of yard.reporting's"
    )


class Cost(Section):
    windows: Positive = Field(description="test windows, one at a time, that the latencies are of")


class Analyse(Section):
    items: list[Literal[ANALYSES]] = Field(description=f"which are made: {', '.join(ANALYSES)}")
    misses: Misses
    attention: Attention
    calibration: Calibration
    horizons: Horizons
    cost: Cost


class Export(Section):
    batch: Positive = Field(description="windows predicted at once where the exported network is checked")
    compared_windows: Positive = Field(
        description="test windows, spread evenly, on which the runtimes are held to torch"
    )
    max_difference: float = Field(gt=0, description="of a probability from torch's, at most; more is an error")
    detector_max_difference_px: float = Field(
        gt=0, description="of a box's side from torch's, at most; more is an error"
    )
    int8_max_loss: float = Field(
        ge=0, description="of mean PR-AUC on validation that the int8 network may lose and still be kept"
    )
    frames: Positive = Field(description="test frames, one at a time, that the latencies are of")
    threads: Positive = Field(description="of each runtime while it is timed")


class Tune(Tuning):
    variant: str = Field(description="the network that is trained in every trial")

    @model_validator(mode="after")
    def _known_variant(self) -> Tune:
        parse(self.variant)
        return self


class Line(Section):
    NOT_NEEDED: ClassVar = dict.fromkeys(("detector_data", "train_detector"), "annotate.weights")

    download: Download
    detector_data: DetectorData
    train_detector: TrainDetector
    annotate: Annotate
    label: Label
    pack: Pack
    train: Train
    evaluate: Evaluate
    report: Report
    analyse: Analyse
    export: Export
    tune: Tune

    @model_validator(mode="after")
    def _the_same_events_are_looked_at(self) -> Line:
        for key in ("refractory_s", "max_lead_s"):
            judged, looked_at = getattr(self.evaluate, key), getattr(self.analyse.misses, key)
            if judged != looked_at:
                raise ValueError(f"analyse.misses.{key} = {looked_at} must be evaluate.{key} = {judged}: set both")
        return self

    @model_validator(mode="after")
    def _pieces_share_nothing(self) -> Line:
        needed_s = self.pack.window_frames / 2 + 5
        if self.download.guard_s < needed_s:
            raise ValueError(
                f"download.guard_s = {self.download.guard_s} must be at least {needed_s:g}: "
                f"a window of {self.pack.window_frames} frames at 2 Hz and the horizon of 5 s"
            )
        return self
