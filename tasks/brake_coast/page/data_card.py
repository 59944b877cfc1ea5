"""What the report says of the data: recordings, what validation found, what was refused, splits and saturated inputs.

Reads the JSON files of download, annotate, label and pack; what one of them does not say stays None. Writes nothing.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tasks.brake_coast.formats import recording
from tasks.brake_coast.judging.runs import state_of
from tasks.yard.files import read_if_there


def drive_rows(download: Path, annotate: Path, label: Path, config: dict) -> list[dict]:
    """One row a recording: what was recorded, how often the driver braked and coasted, what the detector found."""
    checked = read_if_there(download / "report.json").get("recordings", {})
    split_of = {name: split for split, held in config["splits"].items() for name in held["recordings"]}
    rows = []
    for name, folder in recording.recordings(download).items():
        about, found = recording.description(folder), checked.get(name, {})
        labelled = read_if_there(label / name / "labels.json")
        annotated = read_if_there(annotate / name / "annotations.json") if about["has_images"] else {}
        frames, rates = labelled.get("rows", 0), labelled.get("labels", {})
        duration_s = found.get("duration_s") or (frames / about["rate_hz"] if about.get("rate_hz") else None)
        rows.append(
            {
                "name": name,
                "group": about["group"],
                "split": split_of.get(name, "left out"),
                "frames": frames,
                "rate_hz": about.get("rate_hz"),
                "hours": duration_s / 3600 if duration_s else None,
                "image": f"{about['image_width_px']} x {about['image_height_px']}" if about["has_images"] else None,
                "segments": labelled.get("segments"),
                "error_rows": labelled.get("error_rows"),
                "missing": sum(labelled.get("missing_replies", {}).values()),
                "pedal_rest_pct": labelled.get("pedal", {}).get("rest_pct"),
                "braking": rates.get("braking", {}).get("rate"),
                "coasting": rates.get("coasting", {}).get("rate"),
                "boxes_per_frame": annotated["boxes"] / annotated["frames"] if annotated.get("frames") else None,
                "unreadable": annotated.get("unreadable"),
            }
        )
    return rows


def split_note(config: dict, download: Path) -> str:
    """What keeps the splits apart, and what does not."""
    if config["split_by"] == "recording":
        return "By recording: there are too few days or trips for three splits of whole ones, so a day may be in two."
    names = [name for split in config["splits"].values() for name in split["recordings"]]
    if any(recording.description(download / name).get("piece") for name in names):
        return (
            "By piece of a drive, with a gap between pieces so that they share no window and no label. Car, driver and "
            "day are the same in every split: new drives will be harder."
        )
    return "By recording; recordings of one day or trip are never in two splits."


def findings(download: Path) -> list[dict]:
    """What validation found odd: every warning, and in how many recordings it was given."""
    checked = read_if_there(download / "report.json").get("recordings", {})
    counts = Counter(warning for found in checked.values() for warning in found.get("warnings", []))
    return [{"warning": warning, "recordings": count} for warning, count in sorted(counts.items())]


def refused(config: dict, *steps: Path) -> list[dict]:
    """The recordings that a step, or packing, could not use, with the reason it gave."""
    reasons = {step.name: read_if_there(step / "quarantine.json") for step in steps}
    reasons["pack"] = config.get("left_out", {})
    return [{"step": step, "name": n, "reason": reason} for step, of in reasons.items() for n, reason in of.items()]


def split_rows(config: dict) -> list[dict]:
    rows = []
    for split, held in config["splits"].items():
        counts = held["statistics"]
        known = {task: label for task, label in counts["labels"].items() if label["rate"] is not None}
        rates = {task: known[task]["rate"] for task in ("brake_1s", "coast_1s") if task in known}
        windows = counts.get("num_sequences_stride_1")
        rows.append({"split": split, "windows": windows, "names": held["recordings"], "rates": rates})
    return rows


def _labelled(label: Path, download: Path) -> list[dict]:
    return [found for name in recording.recordings(download) if (found := read_if_there(label / name / "labels.json"))]


CAUSES = {
    "drive_end": "end of drive",
    "gap": "across a gap",
    "no_row_near": "no row near",
    "no_reply": "no reply",
    "pedal_rest": "pedal's rest unknown",
}


def unknown_rows(label: Path, download: Path, tasks: list[str]) -> list[dict]:
    """Of each task, and of the states it is about, how many labels are unknown in all recordings, and why."""
    labelled, rows = _labelled(label, download), []
    total = sum(found["rows"] for found in labelled)
    for name in dict.fromkeys([*tasks, *map(state_of, tasks)]):
        counts = Counter[str]()
        for found in labelled:
            counts.update(found.get("unknown_because", {}).get(name, {}))
        share = sum(counts.values()) / total if total else None
        rows.append({"name": name, "share": share, "by": {title: counts[key] for key, title in CAUSES.items()}})
    return rows


def standing(label: Path, download: Path) -> dict[str, int]:
    """Rows that count as coasting, and how many of these stand still."""
    labelled = _labelled(label, download)
    coasting = sum(found["labels"]["coasting"]["positive"] for found in labelled)
    return {"coasting": coasting, "still": sum(found.get("standing", {}).get("coasting", 0) for found in labelled)}


def saturation(config: dict) -> list[dict]:
    """How often an input lay outside of its stated range and was cut, over all splits."""
    counts: dict[str, int] = {}
    for held in config["splits"].values():
        for key, n in held["statistics"].get("counts", {}).items():
            counts[key] = counts.get(key, 0) + n
    frames = counts.get("frames", 0)
    cut = {key.removeprefix("saturated_"): n for key, n in counts.items() if key.startswith("saturated_") and n}
    return [{"input": name, "frames": n, "share": n / frames if frames else None} for name, n in sorted(cut.items())]
