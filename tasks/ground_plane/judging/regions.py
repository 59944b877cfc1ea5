"""Do the plane and the regions of interest lie where labelled people stand?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tasks.ground_plane.formats.sequence import Sequence
from tasks.yard.geometry import camera as geometry
from tasks.yard.geometry.camera import Camera, Plane
from tasks.yard.geometry.lens import carried

MIN_PLACES = 50  # of fewer people nothing is known
HELD = 0.98  # share of the places that a plane must hold to be the right one
MUCH_SMALLER = 0.85  # share of the area
FILLED, FILLED_PLACES = 0.4, 200  # less of the plane's area in which so many people stand is reported
BESIDE, FEWER = 0.05, 3  # share of all people with a box beside regions; so many times fewer if read the other way
SEEN_OUTSIDE = 0.2  # share of a camera's people with a box who stand outside of its region


@dataclass(frozen=True)
class Fit:
    people_m: list[float] | None  # sides of the part of the plane in which everybody stands
    finding: str | None


def camera_of(found: Sequence, name: str, other: bool) -> Camera:
    """`other`: its region as if the file's pixels were those of the other camera matrix."""
    of = found.calibrations[name]
    if of.roi is None or not other:
        return of.camera()
    # What was read in K's pixels stands in the file as those; the same numbers are then taken for K_new's.
    one, two = (of.K, of.K_new) if found.use_alpha_undistort else (of.K_new, of.K)
    return replace(of.camera(), roi=carried(of.roi, one, two))


def plane_of(found: Sequence, other: bool) -> Plane | None:
    """The smallest rectangle around all regions."""
    cameras = [camera_of(found, name, other) for name in found.calibrations]
    corners = [geometry.polygon_on_ground(camera, camera.roi) for camera in cameras if camera.roi is not None]
    points = np.concatenate(corners) if corners else np.empty((0, 2))
    return Plane.around(points) if len(points) >= 3 else None


def outside(found: Sequence, people: Mapping[int, np.ndarray]) -> dict[str, np.ndarray]:
    """{camera with a region: (people with a box in its image, those of them who stand outside of its region, and how
    many would if its pixels were the other camera matrix's)}; `people`: {frame: (n, 3) person, X, Y}."""
    count = {name: np.zeros(3, int) for name, of in found.calibrations.items() if of.roi is not None}
    both = {name: [camera_of(found, name, other) for other in (False, True)] for name in count}
    for frame, who in people.items():
        places = {int(person): (x, y, 0.0) for person, x, y in who}
        for name, boxes in found.boxes(frame).items():
            if name in count and len(boxes):
                pixels, depth = both[name][0].project(np.array([places[int(person)] for person in boxes[:, 0]]))
                shown = replace(both[name][0], roi=None).sees(pixels, depth)
                beside = [int((shown & ~camera.sees(pixels, depth)).sum()) for camera in both[name]]
                count[name] += [int(shown.sum()), *beside]
    return count


def share_held(plane: Plane, places: np.ndarray) -> float:
    return float(plane.holds(plane.to_plane(places)).mean())


def fit(found: Sequence, places: np.ndarray, beside: Mapping[str, np.ndarray]) -> Fit:
    """`places`: (n, 2) world metres of everybody labelled; `beside`: what `outside` says."""
    if not len(places):
        return Fit(None, None)
    xy = found.plane.to_plane(places)
    inside = xy[found.plane.holds(xy)]
    people_m = np.ptp(inside, axis=0) if len(inside) else np.zeros(2)
    finding = None
    if len(places) >= MIN_PLACES:
        finding = other_pixels(found, places, beside) or too_wide(found, people_m, len(places))
    return Fit([round(float(side), 2) for side in people_m], finding)


def shown(sides: tuple[float, float] | np.ndarray) -> str:
    return " x ".join(f"{side:.2f}" for side in sides)


def other_pixels(found: Sequence, places: np.ndarray, beside: Mapping[str, np.ndarray]) -> str | None:
    """Would people fit the regions better if those were in the other camera matrix's pixels? By a plane that is smaller
    and holds them all the same, or holds them at last; or by cameras that see people beside their regions."""
    this, that = plane_of(found, other=False), plane_of(found, other=True)
    if this is None or that is None:
        return None
    held, area = [share_held(plane, places) for plane in (this, that)], [np.prod(p.size_m) for p in (this, that)]
    tighter = held[1] >= HELD and area[1] < MUCH_SMALLER * area[0]
    seen, now_beside, then_beside = np.sum(list(beside.values()), axis=0) if beside else (0, 0, 0)
    masked = seen >= MIN_PLACES and now_beside > BESIDE * seen and then_beside * FEWER < now_beside
    if not tighter and not masked and not (held[0] < HELD <= held[1]):
        return None
    now, right = ("K_new", "K") if found.use_alpha_undistort else ("K", "K_new")
    return (
        f"regions of interest read in the pixels of {now} make a plane of {shown(this.size_m)} m that holds "
        f"{100 * held[0]:.0f} % of the labelled places, and of {seen} people with a box {now_beside} stand beside "
        f"their camera's region; in those of {right} it is {shown(that.size_m)} m and holds {100 * held[1]:.0f} %, and "
        f"{then_beside} stand beside: set ground_plane.download.use_alpha_undistort to "
        f"{'false' if found.use_alpha_undistort else 'true'}"
    )


def too_wide(found: Sequence, people_m: np.ndarray, places: int) -> str | None:
    if places < FILLED_PLACES or np.prod(people_m) >= FILLED * np.prod(found.plane.size_m):
        return None
    return (
        f"the plane is {shown(found.plane.size_m)} m, and everybody labelled stands in {shown(people_m)} m of it: if "
        "nobody can stand in the rest, draw the regions of interest closer, or mend 'plane' in scene.json"
    )
