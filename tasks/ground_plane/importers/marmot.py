"""A MARMOT data root, one of its parts at a time.

camN_new.json is taken before camN.json, of several annotators the one with most files. Lengths become centimetres. The
plane is that of the root's own scene.json, else the smallest rectangle around all regions of interest on the ground.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from math import isfinite
from pathlib import Path

import numpy as np

from tasks.ground_plane.formats import calibration, labels, sequence
from tasks.ground_plane.formats.calibration import CM
from tasks.ground_plane.importers import frames
from tasks.yard.files import replacing, write_json
from tasks.yard.geometry import camera as geometry
from tasks.yard.geometry.camera import Plane
from tasks.yard.geometry.lens import Calibration
from tasks.yard.step import BadInput


def plane_around(calibrations: dict[int, Calibration], files: dict[int, Path], root: Path) -> Plane:
    """The smallest rectangle around all regions of interest. Raises `BadInput` if that is none, or too large to map."""
    found, farthest = [], (0.0, None)
    for number, mine in calibrations.items():
        if mine.roi is not None:
            corners = geometry.polygon_on_ground(mine.camera(), mine.roi)
            found.append(corners)
            far = float(np.linalg.norm(corners - mine.camera().centre[:2], axis=1).max(initial=0))
            farthest = max(farthest, (far, files[number]), key=lambda pair: pair[0])
    points = np.concatenate(found) if found else np.empty((0, 2))
    if len(points) < 3:
        raise BadInput(
            f"{root / sequence.CALIBS}: no camera's 'ROI' meets the ground, so that the ground plane is unknown; draw "
            f"one, or write {sequence.SCENE} with splits, part and "
            f'"plane": {{"origin_m": [x, y], "size_m": [w, h], "angle_rad": 0}}'
        )
    plane = Plane.around(points)
    size = " x ".join(f"{side:.3g}" for side in plane.size_m)
    if max(plane.size_m) < sequence.MIN_PLANE_M:
        raise BadInput(
            f"{root / sequence.CALIBS}: by all 'ROI' the ground plane is {size} m: its lengths are in another unit; "
            "mend ground_plane.download.metres_per_unit (1: metres)"
        )
    # A region that comes near the horizon has corners kilometres away.
    if max(plane.size_m) > sequence.MAX_PLANE_M or min(plane.size_m) < sequence.MIN_PLANE_M:
        raise BadInput(
            f"{farthest[1]}: its 'ROI' reaches {farthest[0]:.0f} m away, the ground plane would be {size} m; draw it "
            "lower in the image, or mend metres_per_unit"
        )
    return plane


def bring_label(source: Path, target: Path, to_cm: float) -> None:
    """Byte by byte where its unit is the centimetre. Raises `BadInput` if it cannot be used."""
    labels.read(source)
    if to_cm == 1:
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)
        return
    header, rows = labels.rows(source)
    factors = [to_cm if name in ("Xw", "Yw", "Zw") else 1 for name in header]
    numbers = [[labels.number(value) for value in row] for row in rows]
    write_json(target, [header] + [
        [value * factor if isfinite(value) else None for value, factor in zip(row, factors, strict=False)]
        for row in numbers
    ])  # fmt: skip


def bring(source: Path, part: str, splits: tuple[str, ...], folder: Path, metres_per_unit: float, alpha: bool) -> dict:
    """Make the unit's folder but for where it is from; returns what is to be said about it. `alpha`: the regions of
    interest are drawn in the pixels of K_new. Raises `BadInput`."""
    files = sequence.calibration_files(source / sequence.CALIBS)
    images = sequence.ANNOTATION / part
    folders = sequence.camera_folders(source / images)
    frames.matched(files, folders, source / images)
    if not files:
        raise BadInput(f"{source}: neither {sequence.CALIBS}/camN.json nor {images}/camN/; MARMOT's data root has both")
    calibrations = {
        number: replace(calibration.read(path, metres_per_unit, alpha), name=f"cam{number}")
        for number, path in files.items()
    }
    if (source / sequence.SCENE).is_file():
        plane = sequence.described(source / sequence.SCENE)[0]
    else:
        plane = plane_around(calibrations, files, source)
    mine, annotators = labels.chosen(source / sequence.LABELS / part)
    for number, found in calibrations.items():
        calibration.above_ground(found, files[number])
    to_cm, labelled = round(metres_per_unit / CM, 12), folder / sequence.LABELS / part
    left_out = frames.labels_that_can_be_read(
        [partial(bring_label, path, labelled / path.name, to_cm) for path in mine.values()], source
    )
    remarks: list[str] = []
    for number, found in calibrations.items():
        write_json(folder / sequence.CALIBS / f"{found.name}.json", calibration.document(found))
        here = sequence.frame_files(folders[number])
        bad, said = frames.bring(found.name, here, folder / images / found.name, found.size, source)
        left_out, remarks = left_out + bad, remarks + said
    other = next(name for name in sequence.PARTS if name != part)
    filmed = sum(
        len(sequence.frame_files(path))
        for path in sequence.camera_folders(source / sequence.ANNOTATION / other).values()
    )
    if filmed and len(splits) == len(sequence.SPLITS[-1]):
        left_out.append(
            f"{sequence.ANNOTATION / other}: {filmed} images without labels: left out; {part} is divided instead"
        )
    said = sequence.scene_document(plane, splits, part, "marmot", str(source))
    write_json(folder / sequence.SCENE, {**said, "use_alpha_undistort": alpha})
    return {"left_out": left_out, "remarks": remarks, "annotators": annotators}
