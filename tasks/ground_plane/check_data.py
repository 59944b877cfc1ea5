"""Do frames, labels and calibrations fit together? Said in numbers, in pictures and in words.

Reads    download/<unit>/ (sequence.py)
Writes   check_data/check.json               {verdict, usable: [units], parts: {part: counts}, units: {unit: {counts,
                                             cameras, reprojection_px: {camera: median}, findings, usable, why}}}
         check_data/<unit>-cameras.png       what each camera sees without distortion, its region of interest, the
                                             plane's outline and the labelled people, of `pictures` units
         check_data/<unit>-plane.png         the ground from above: plane, cameras, their regions, everybody labelled
Alone    python -m tasks ground_plane-check_data

A finding names the file and the frame and says what to do; it ends nothing. A sequence is not usable if it cannot be
read, or has fewer labelled frames with an image than it needs to be divided; where others are trained on, such a short
one is test. No usable sequence is an error.

Labels are compared with the pictures (judging/moments.py): if people move where the labels of the next or the last
frame have them, and not where their own have them, all labels are a frame late or early. A calibration is judged by
the labels: the middle of the lower edge of a person's box, in the image as filmed, against
the place on the ground that the same label gives them, seen through lens and calibration. Boxes that end at the image's
edge show no feet and do not count.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tasks.ground_plane.formats import sequence
from tasks.ground_plane.formats.sequence import Sequence
from tasks.ground_plane.judging import regions, shifts
from tasks.ground_plane.page import check_pictures
from tasks.ground_plane.params import CheckData
from tasks.yard.files import read_json, write_json
from tasks.yard.geometry.lens import Calibration
from tasks.yard.layouts.images import image_size
from tasks.yard.step import BadInput, Context

log = logging.getLogger(__name__)

NAMED = 5  # findings of one kind that are named; of the others the number is said
TOLD = 10  # findings on the console
MAX_ROUND_TRIP_PX = 0.5
EDGE_PX = 1.0
UNLABELLED = "nobody has labelled it"
MIN_LABELLED = 2  # frames of a sequence
COUNTS = ("frames", "images", "labelled", "people", "outside", "unseen")


class Findings:
    """What was found, by kind, in the order in which it was found."""

    def __init__(self, root: Path) -> None:
        self.root, self.kinds = root, defaultdict(list)

    def add(self, kind: str, path: Path, text: str) -> None:
        self.kinds[kind].append(f"{path.relative_to(self.root).as_posix()}: {text}")

    def lines(self) -> list[str]:
        more = {kind: len(found) - NAMED for kind, found in self.kinds.items()}
        return [
            line
            for kind, found in self.kinds.items()
            for line in [*found[:NAMED], *([f"{kind}: {more[kind]} more"] if more[kind] > 0 else [])]
        ]


def readable_images(found: Sequence, findings: Findings) -> dict[str, list[int]]:
    """{camera: frames whose image is whole and of the calibration's size}."""
    usable: dict[str, list[int]] = {}
    for camera, images in found.frames.items():
        height, width = found.calibrations[camera].size
        usable[camera] = []
        for frame, path in images.items():
            size = image_size(path)
            if size is None:
                findings.add("unreadable images", path, f"frame {frame}: no whole image; it is left out: bring it anew")
            elif size != (width, height):
                findings.add(
                    "images of another size", path, f"frame {frame}: {size[0]} x {size[1]} px, the calibration of "
                    f"{camera} is for {width} x {height}; it is left out: bring image or 'size' to the other's"
                )  # fmt: skip
            else:
                usable[camera].append(frame)
        folder = found.folder / sequence.ANNOTATION / found.part / camera
        if not images:
            findings.add("cameras without images", folder, "has no image camN_<frame>.png; the camera is left out")
            continue
        for frame in found.frame_ids:
            if frame not in images:
                findings.add("missing frames", folder, f"frame {frame} is missing, which another camera has; add it")
    return usable


def labelled_people(found: Sequence, findings: Findings) -> dict[int, np.ndarray]:
    """{frame with a readable label: (n, 3) person id, X, Y in world metres}, whether or not it has an image."""
    people = {}
    for frame, path in found.labels.items():
        try:
            people[frame] = found.people(frame)
        except BadInput as error:
            findings.add("unreadable labels", path, f"{str(error).replace(str(path), '').lstrip(': ')}")
            continue
        inside = found.plane.holds(found.plane.to_plane(people[frame][:, 1:]))
        who, times = np.unique(people[frame][:, 0], return_counts=True)
        for person in who[times > 1]:
            findings.add("people labelled twice", path, f"frame {frame}: person {person:.0f} stands twice; remove one")
        for person, x, y in people[frame][~inside]:
            findings.add(
                "labels outside the plane", path, f"frame {frame}: person {person:.0f} at ({x:.2f}, {y:.2f}) m is "
                "outside the plane and left out: mend the label, or 'plane' in scene.json"
            )  # fmt: skip
    return people


def alone(found: Sequence, findings: Findings) -> None:
    """Labels without an image and images without a label."""
    frames = set(found.frame_ids)
    for frame, path in found.labels.items():
        if frame not in frames:
            findings.add("labels without an image", path, f"frame {frame} has no image in any camera; add one")
    for frame in found.frame_ids:
        if frame not in found.labels:
            path = next(images[frame] for images in found.frames.values() if frame in images)
            findings.add("images without a label", path, f"frame {frame} has no label; neither learnt from nor judged")


def feet_off(found: Sequence, people: dict[int, np.ndarray]) -> dict[str, np.ndarray]:
    """{camera: (n, 2) px from the labelled place to the foot of the box}, of boxes with their feet in the image.

    A person in the image whose place is behind the camera is off by the image.
    """
    off: dict[str, list[np.ndarray]] = {camera: [] for camera in found.calibrations}
    for frame, who in people.items():
        places = {int(person): (x, y, 0.0) for person, x, y in who}
        for camera, boxes in found.boxes(frame).items():
            calibration = found.calibrations[camera]
            height, width = calibration.size
            boxes = boxes[(boxes[:, 1] >= EDGE_PX) & (boxes[:, 3:] <= np.subtract([width, height], 1 + EDGE_PX)).all(1)]
            if len(boxes):
                feet = np.column_stack([(boxes[:, 1] + boxes[:, 3]) / 2, boxes[:, 4]])
                pixels, depth = calibration.camera().project(np.array([places[int(person)] for person in boxes[:, 0]]))
                away = feet - calibration.as_filmed(np.where((depth > 0)[:, None], pixels, 0))
                off[camera].append(np.where((depth > 0)[:, None], away, [width, height]))
    return {camera: np.concatenate(rows) if rows else np.empty((0, 2)) for camera, rows in off.items()}


def round_trip_px(of: Calibration) -> float:
    """The farthest that a pixel comes back from where it was, without distortion -> as filmed -> without."""
    height, width = of.size
    u, v = np.meshgrid(np.linspace(0, width - 1, 25), np.linspace(0, height - 1, 25))
    pixels = np.column_stack([u.ravel(), v.ravel()])
    filmed = of.as_filmed(pixels)
    shown = ((filmed >= 0) & (filmed <= [width - 1, height - 1])).all(1)
    if not shown.any():
        return float(np.hypot(height, width))
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-9)
    back = cv2.undistortPoints(filmed[shown][:, None], of.K, of.dist, R=None, P=of.K_new, criteria=stop).reshape(-1, 2)
    return float(np.nan_to_num(np.linalg.norm(back - pixels[shown], axis=1), nan=np.hypot(height, width)).max())


def unseen(found: Sequence, places: np.ndarray) -> int:
    """How many of the places (n, 2) in world metres no camera sees."""
    flat = np.column_stack([places, np.zeros(len(places))])
    cameras = [calibration.camera() for calibration in found.calibrations.values()]
    return int((~np.any([camera.sees(*camera.project(flat)) for camera in cameras], axis=0)).sum()) if len(flat) else 0


def outside_regions(beside: Mapping[str, np.ndarray], found: Sequence, findings: Findings) -> dict[str, float | None]:
    """{camera: share of the people with a box in its image who stand outside of its region}; None if it has none."""
    for name, (seen, outside, _) in beside.items():
        if seen >= regions.MIN_PLACES and outside > regions.SEEN_OUTSIDE * seen:
            findings.add(
                "regions of interest", found.folder / sequence.CALIBS / f"{name}.json", f"{outside} of {seen} people "
                f"with a box in its images stand outside of its 'ROI', and are not learnt from there; draw it anew, or "
                "mend ground_plane.download.use_alpha_undistort"
            )  # fmt: skip
    return {
        name: float(beside[name][1] / beside[name][0]) if name in beside and beside[name][0] else None
        for name in found.calibrations
    }


def judged_cameras(
    found: Sequence, off: dict[str, np.ndarray], usable: dict[str, list[int]], params: CheckData, findings: Findings
) -> dict[str, dict[str, Any]]:
    """Of each camera its size, images, and how well it is calibrated."""
    cameras = {}
    files = sequence.calibration_files(found.folder / sequence.CALIBS)
    for (name, calibration), path in zip(found.calibrations.items(), files.values(), strict=True):
        turn, feet = round_trip_px(calibration), off[name]
        median = float(np.median(np.linalg.norm(feet, axis=1))) if len(feet) else None
        if turn > MAX_ROUND_TRIP_PX:
            findings.add("lenses", path, f"undistorted and back a pixel is {turn:.1f} px off; 'dist' folds the image")
        if median is not None and median > params.max_reprojection_px:
            findings.add(
                "calibrations", path, f"labelled places are {median:.1f} px (median) from the feet of their boxes, "
                f"more than max_reprojection_px = {params.max_reprojection_px:g}; calibrate {name} anew, or bring its "
                "own calibration if that is another camera's"
            )  # fmt: skip
        cameras[name] = {
            "size": list(calibration.size), "images": len(usable[name]), "reprojection_px": median, "boxes": len(feet),
            "reprojection_vertical_px": float(np.median(np.abs(feet[:, 1]))) if len(feet) else None,
            "undistort_px": turn, "centre_m": calibration.camera().centre.tolist(),
            "region": calibration.roi is not None,
        }  # fmt: skip
    return cameras


def fit(cameras: Iterable[Mapping[str, Any]], params: CheckData) -> int:
    """How many of the cameras whose labels have boxes fit them."""
    medians = [camera["reprojection_px"] for camera in cameras]
    return sum(median is not None and median <= params.max_reprojection_px for median in medians)


def examined(work: tuple[str, bool], *, download: Path, params: CheckData, out: Path) -> dict[str, Any]:
    """What check.json says of a unit, which is drawn if asked. Raises `BadInput` if it cannot be read."""
    name, drawn = work
    found = sequence.read(download / name)
    findings = Findings(download)
    usable = readable_images(found, findings)
    people = labelled_people(found, findings)
    neighbours = shifts.label_shifts(found, usable, people)
    if apart := shifts.numbered_apart(found, neighbours):
        findings.add("labels and images numbered apart", found.folder / sequence.LABELS / found.part, apart)
    elif found.labels:
        alone(found, findings)
    off = feet_off(found, people)
    cameras = judged_cameras(found, off, usable, params, findings)
    shown = {frame for frames in usable.values() for frame in frames}
    everybody = np.concatenate([np.empty((0, 3)), *people.values()])
    inside = found.plane.holds(found.plane.to_plane(everybody[:, 1:]))
    joined = sorted(shown & set(people))
    need = max(MIN_LABELLED, len(found.splits))
    distances = np.linalg.norm(np.concatenate(list(off.values())), axis=1)
    beside = regions.outside(found, people)
    fitted = regions.fit(found, everybody[:, 1:], beside)
    if fitted.finding:
        findings.add("plane and people", found.folder / sequence.SCENE, fitted.finding)
    outside = outside_regions(beside, found, findings)
    if drawn:
        check_pictures.cameras(out / f"{name}-cameras.png", found, usable, people, off)
        check_pictures.plane(out / f"{name}-plane.png", found, everybody[:, 1:], inside)
    lost = unseen(found, everybody[inside, 1:])
    why, too_short = None, len(joined) < need
    if not found.labels:
        why, too_short = UNLABELLED, False
    elif too_short:
        why = f"{len(joined)} labelled frames with an image; it needs {need}"
    elif lost and lost == inside.sum():
        why = f"no camera sees any of the {lost} labelled places; mend the calibrations, or the labels' unit"
    elif len(distances) and fit(cameras.values(), params) == 0:
        why = (
            f"no calibration fits the labels: feet are {np.median(distances):.1f} px off (median); bring both to one "
            "unit and one origin, or raise ground_plane.check_data.max_reprojection_px"
        )
    late = shifts.shifted(found, neighbours)
    if late:
        findings.add("labels of other frames", found.folder / sequence.LABELS / found.part, late)
        if params.refuse_shifted:
            why, too_short = late if too_short or why is None else why, False
    return {
        "part": found.part, "splits": list(found.splits), "layout": found.layout,
        "counts": {
            "frames": len(found.frame_ids), "images": sum(map(len, usable.values())), "labelled": len(joined),
            "people": len(everybody), "persons": len(np.unique(everybody[:, 0])), "outside": int((~inside).sum()),
            "unseen": lost,
        },
        "plane_m": list(found.plane.size_m), "people_m": fitted.people_m, "cameras": cameras,
        "outside_region": outside,
        "reprojection_px": {camera: said["reprojection_px"] for camera, said in cameras.items()},
        "reprojection_overall_px": float(np.median(distances)) if len(distances) else None,
        "label_shifts": {str(shift): evidence.document() for shift, evidence in neighbours.items()},
        "labels_late": late is not None, "unlabelled": not found.labels,
        "labels_fit_pictures": all(evidence.against for evidence in neighbours.values()),
        "findings": findings.lines(), "usable": why is None,
        "too_short": too_short, "why": why,
    }  # fmt: skip


def refused(reason: str) -> dict[str, Any]:
    """The same of a unit that cannot be read."""
    return {"part": None, "splits": [], "layout": None, "counts": dict.fromkeys((*COUNTS, "persons"), 0), "cameras": {},
            "plane_m": None, "people_m": None, "outside_region": {}, "label_shifts": {},
            "labels_late": False, "unlabelled": False, "labels_fit_pictures": None,
            "reprojection_px": {},
            "reprojection_overall_px": None, "findings": [reason], "usable": False, "too_short": False,
            "why": reason}  # fmt: skip


def short_ones_as_test(units: Mapping[str, dict[str, Any]]) -> None:
    """A sequence too short to be divided serves as test, where another one is trained on."""
    if not any(said["usable"] and "train" in said["splits"] for said in units.values()):
        return
    for name, said in units.items():
        if said["too_short"] and said["counts"]["labelled"] >= MIN_LABELLED:
            said |= {"usable": True, "why": None, "splits": ["test"]}
            labelled = said["counts"]["labelled"]
            said["findings"].append(
                f"{name}: {labelled} labelled frames are too few to be divided: all of them are test"
            )


def unlabelled_ones_to_look_at(units: Mapping[str, dict[str, Any]]) -> None:
    """A sequence that nobody has labelled is in no split: beside others that can be used people are detected in it."""
    if any(said["usable"] for said in units.values()):
        for name, said in units.items():
            if said["unlabelled"]:
                said |= {"usable": True, "why": None, "splits": []}
                said["findings"].append(f"{name}: {UNLABELLED}: people are detected in it, and nobody is judged")


def kinds_of_cameras(units: Iterable[Mapping[str, Any]]) -> str:
    """Of how many cameras sequences are: "4 cameras", "3 to 6 cameras"."""
    seen = sorted({len(said["cameras"]) for said in units})
    count = str(seen[0]) if len(seen) == 1 else f"{seen[0]} to {seen[-1]}"
    return f"{count} camera{'' if count == '1' else 's'}"


def many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def verdict(units: dict[str, dict[str, Any]], params: CheckData) -> str:
    """A paragraph for a person."""
    good = [said for said in units.values() if said["usable"]]
    read = [said for said in units.values() if not said["usable"] and said["cameras"]]
    total = {key: sum(said["counts"][key] for said in good) for key in COUNTS}

    def holds(some: list[dict[str, Any]]) -> str:
        count = {key: sum(said["counts"][key] for said in some) for key in COUNTS}
        return (
            f"{kinds_of_cameras(some)}, {many(count['frames'], 'frame')}, of which {count['labelled']} are labelled, "
            f"with {count['people']} places of people."
        )

    words = [f"{len(good)} of {many(len(units), 'sequence')} can be used" + (f": {holds(good)}" if good else ".")]
    words += [f"Read and left out: {many(len(read), 'sequence')}: {holds(read)}"] if read else []
    if late := [name for name, said in units.items() if said["labels_late"]]:
        shown = ", ".join(late[:NAMED]) + (f" and {len(late) - NAMED} more" if len(late) > NAMED else "")
        words.append(f"The labels of {shown} belong to the frames beside theirs.")
    compared = [said for said in good if said["labels_fit_pictures"] is not None]
    if fits := sum(said["labels_fit_pictures"] for said in compared):
        rest = f"; of {len(compared) - fits} the pictures do not tell" if fits < len(compared) else ""
        words.append(
            f"People are seen where the labels of their own frame have them, in {many(fits, 'sequence')}{rest}."
        )
    medians = [m for said in good for m in said["reprojection_px"].values() if m is not None]
    if not medians:
        words.append("No label has boxes, so nothing shows whether the calibrations are right: look at the pictures.")
    elif max(medians) > params.max_reprojection_px:
        bad = sum(m > params.max_reprojection_px for m in medians)
        words.append(f"{many(bad, 'calibration')} of {len(medians)} do not fit the labels, by {max(medians):.1f} px.")
    else:
        words.append(f"The calibrations fit the labels: feet are {max(medians):.1f} px off (the worst median).")
    if total["outside"]:
        words.append(f"{many(total['outside'], 'place')} outside the plane left out.")
    if total["unseen"]:
        words.append(f"{many(total['unseen'], 'place')} in the plane seen by no camera.")
    findings = sum(len(said["findings"]) for said in units.values())
    words.append("Nothing else was found." if not findings else f"{many(findings, 'finding')}.")
    return " ".join(words)


def by_part(units: dict[str, dict[str, Any]]) -> dict[str, dict[str, int]]:
    parts = sorted({said["part"] for said in units.values()} - {None})
    mine = {part: [said["counts"] for said in units.values() if said["part"] == part] for part in parts}
    return {part: {key: sum(counts[key] for counts in held) for key in COUNTS} for part, held in mine.items()}


def run(params: CheckData, out: Path, ctx: Context = Context(), *, download: Path) -> dict[str, float]:
    """Returns the counts of all usable units, the number of findings, and the worst calibration."""
    out.mkdir(parents=True, exist_ok=True)
    names = sorted(path.parent.name for path in download.glob(f"*/{sequence.SCENE}"))
    units: dict[str, dict[str, Any]] = {}
    drawn = set(names[:: max(1, len(names) // params.pictures)][: params.pictures] if params.pictures else ())
    work = [(name, name in drawn) for name in names]
    results = ctx.map(partial(examined, download=download, params=params, out=out), work, names=names)
    for index, result in ctx.progress(results, total=len(names), desc="check_data", unit="sequence"):
        if isinstance(result, BadInput):
            result = refused(str(result).replace(f"{download}/", ""))
        elif isinstance(result, Exception):
            raise result
        units[names[index]] = result
    if (download / "quarantine.json").exists():
        units |= {name: refused(why) for name, why in read_json(download / "quarantine.json").items()}
    units = dict(sorted(units.items()))
    short_ones_as_test(units)
    unlabelled_ones_to_look_at(units)
    usable = [name for name, said in units.items() if said["usable"]]
    said = verdict(units, params)
    write_json(out / "check.json", {"verdict": said, "usable": usable, "parts": by_part(units), "units": units})
    log.info("%s", said)
    for name in units:
        if not units[name]["usable"]:
            log.warning("cannot use %s: %s", name, units[name]["why"])
    findings = [line for name in usable for line in units[name]["findings"]]
    for line in findings[:TOLD]:
        log.warning("%s", line)
    if len(findings) > TOLD:
        log.warning("%d more in %s", len(findings) - TOLD, out / "check.json")
    if not usable:
        first = next((f"{name}: {units[name]['why']}" for name in units), "there is none")
        raise BadInput(f"{download}: no sequence can be used; {first}")
    good = [units[name] for name in usable]
    counts = {key: sum(said["counts"][key] for said in good) for key in COUNTS}
    medians = [median for said in good for median in said["reprojection_px"].values() if median is not None]
    turns = [camera["undistort_px"] for said in good for camera in said["cameras"].values()]
    found = {"findings": sum(len(said["findings"]) for said in units.values()), "undistort_px": max(turns)}
    tall = [camera["reprojection_vertical_px"] for said in good for camera in said["cameras"].values()]
    tall = [median for median in tall if median is not None]
    worst = {"reprojection_px": max(medians), "reprojection_vertical_px": max(tall)} if medians else {}
    return {"units": len(units), "usable": len(usable), **counts, **found, **worst}
