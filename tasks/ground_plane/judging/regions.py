"""Do the plane and the regions of interest lie where labelled people stand?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.ground_plane.formats.sequence import Sequence
from tasks.yard.geometry import camera as geometry
from tasks.yard.geometry.camera import Plane
from tasks.yard.geometry.lens import carried

MIN_PLACES = 50  # of fewer people nothing is known
HELD = 0.98  # share of the places that a plane must hold to be the right one
MUCH_SMALLER = 0.85  # share of the area
FILLED, FILLED_PLACES = 0.4, 200  # less of the plane's area in which so many people stand is reported
SEEN_OUTSIDE = 0.2  # share of a camera's people with a box who stand outside of its region


@dataclass(frozen=True)
class Fit:
    people_m: list[float] | None  # sides of the part of the plane in which everybody stands
    held: float | None  # share of the places inside the plane
    finding: str | None


def plane_of(found: Sequence, other: bool) -> Plane | None:
    """The smallest rectangle around all regions; `other`: if their pixels were the other camera matrix's."""
    corners = []
    for of in found.calibrations.values():
        if of.roi is not None:
            pixels = of.roi
            if other:
                # Read in K_new's, they would be those of K as they stand in the file; and the other way round.
                one, two = (of.K, of.K_new) if found.use_alpha_undistort else (of.K_new, of.K)
                pixels = carried(pixels, one, two)
            corners.append(geometry.polygon_on_ground(of.camera(), pixels))
    points = np.concatenate(corners) if corners else np.empty((0, 2))
    return Plane.around(points) if len(points) >= 3 else None


def share_held(plane: Plane, places: np.ndarray) -> float:
    return float(plane.holds(plane.to_plane(places)).mean())


def fit(found: Sequence, places: np.ndarray) -> Fit:
    """`places`: (n, 2) world metres of everybody labelled."""
    if not len(places):
        return Fit(None, None, None)
    xy = found.plane.to_plane(places)
    inside = xy[found.plane.holds(xy)]
    people_m = np.ptp(inside, axis=0) if len(inside) else np.zeros(2)
    said = Fit([round(float(side), 2) for side in people_m], share_held(found.plane, places), None)
    if len(places) < MIN_PLACES:
        return said
    return Fit(said.people_m, said.held, other_pixels(found, places) or too_wide(found, people_m, len(places)))


def shown(sides: tuple[float, float] | np.ndarray) -> str:
    return " x ".join(f"{side:.2f}" for side in sides)


def other_pixels(found: Sequence, places: np.ndarray) -> str | None:
    """Would people fit the regions better if those were in the other camera matrix's pixels?"""
    this, that = plane_of(found, other=False), plane_of(found, other=True)
    if this is None or that is None:
        return None
    held, area = [share_held(plane, places) for plane in (this, that)], [np.prod(p.size_m) for p in (this, that)]
    tighter = held[1] >= HELD and area[1] < MUCH_SMALLER * area[0]
    if not tighter and not (held[0] < HELD <= held[1]):
        return None
    now, right = ("K_new", "K") if found.use_alpha_undistort else ("K", "K_new")
    return (
        f"regions of interest read in the pixels of {now} make a plane of {shown(this.size_m)} m that holds "
        f"{100 * held[0]:.0f} % of the labelled places; in those of {right} it is {shown(that.size_m)} m and holds "
        f"{100 * held[1]:.0f} %: set ground_plane.download.use_alpha_undistort to "
        f"{'false' if found.use_alpha_undistort else 'true'}"
    )


def too_wide(found: Sequence, people_m: np.ndarray, places: int) -> str | None:
    if places < FILLED_PLACES or np.prod(people_m) >= FILLED * np.prod(found.plane.size_m):
        return None
    return (
        f"the plane is {shown(found.plane.size_m)} m, and everybody labelled stands in {shown(people_m)} m of it: if "
        "nobody can stand in the rest, draw the regions of interest closer, or mend 'plane' in scene.json"
    )


def outside_region(found: Sequence, camera: str, boxes: np.ndarray, places: dict[int, np.ndarray]) -> tuple[int, int]:
    """(people with a box in a camera's image, those of them who stand outside of its region of interest)."""
    of = found.calibrations[camera].camera()
    flat = np.array([[*places[int(person)], 0.0] for person in boxes[:, 0]])
    pixels, depth = of.project(flat)
    height, width = of.size
    image = (depth > 0) & (np.abs(pixels + 0.5 - [width / 2, height / 2]) <= [width / 2, height / 2]).all(1)
    return int(image.sum()), int((image & ~of.sees(pixels, depth)).sum())
