"""At what rate was a simulated drive recorded? The measurements say it: by stamps, or by the way against the speed.

Collectors write 2, 4, 10 or 20 measurements a second in one layout. A rate is believed only if nothing contradicts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tasks.yard.step import BadInput

LBC_HZ = 2.0  # of "Learning by cheating", whose layout this is
LBC = LBC_HZ, "Learning by cheating"
RATES_HZ = (1.0, 2.0, 2.5, 4.0, 5.0, 10.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 100.0)
NEAR_RATE, AGREE = 0.05, 0.15  # how far a measured rate may be from a usual one; two findings from one another
MOVING_MPS, FEWEST = 1.0, 10  # pairs of measurements in motion that tell a rate
LEAP, LEAP_M = 3.0, 5.0  # times what is due, of seconds and of metres; metres that no speed has to explain
STAMPS = ("timestamp", "game_time", "sim_time", "elapsed_seconds", "time")


def stamp_of(measured: dict) -> float:
    for name in STAMPS:
        if isinstance(value := measured.get(name), int | float) and not isinstance(value, bool):
            return float(value)
    return np.nan


def position_of(measured: dict) -> tuple[float, float]:
    """(x, y) in metres under the names that collectors give it, NaN if there is none."""
    x, y = measured.get("x"), measured.get("y")
    for name in ("pos_global", "location", "position", "ego_location"):
        place = measured.get(name)
        if isinstance(place, list) and len(place) >= 2:
            x, y = place[:2]
        elif isinstance(place, dict):
            x, y = place.get("x", x), place.get("y", y)
    matrix = measured.get("ego_matrix")
    if (
        isinstance(matrix, list)
        and len(matrix) >= 2
        and all(isinstance(row, list) and len(row) > 3 for row in matrix[:2])
    ):
        x, y = matrix[0][3], matrix[1][3]
    if isinstance(x, int | float) and isinstance(y, int | float):
        return float(x), float(y)
    return np.nan, np.nan


def _usual(hz: float) -> float | None:
    """The usual rate that this is, None if it is none of them."""
    nearest = min(RATES_HZ, key=lambda rate: abs(np.log(rate / hz)))
    return nearest if abs(nearest / hz - 1) <= NEAR_RATE else None


def _by_motion(frames: np.ndarray, places: np.ndarray, speed_mps: np.ndarray) -> float | None:
    """Seconds a frame number: way over speed, the median of the pairs in motion."""
    apart = np.diff(frames)
    way = np.hypot(*np.diff(places, axis=0).T)
    speed = (speed_mps[1:] + speed_mps[:-1]) / 2
    moving = (speed > MOVING_MPS) & (way > 0)
    return float(np.median(way[moving] / speed[moving] / apart[moving])) if moving.sum() >= FEWEST else None


def _by_stamps(frames: np.ndarray, stamps: np.ndarray) -> float | None:
    """Seconds a frame number by stamps that rise all along, in seconds or thousandths, millionths of one."""
    known = np.isfinite(stamps)
    if known.sum() < 2 or (np.diff(stamps[known]) <= 0).any():
        return None
    row, frame = np.diff(stamps[known]), np.diff(frames[known])
    units = [unit for unit in (1.0, 1e-3, 1e-6, 1e-9) if 0.004 <= unit * np.median(row) <= 5]
    return units[0] * float(np.median(row / frame)) if units else None


def leaps(
    frames: Sequence[int], stamps: np.ndarray, places: np.ndarray, speed_mps: np.ndarray, step_s: float
) -> dict[int, str]:
    """{number: in words} of the measurements that come far later, or far more away, than their numbers say. `step_s`:
    from one number to the next."""
    due_s, came = np.diff(np.asarray(frames, float)) * step_s, np.diff(stamps)
    usual = np.median((came / due_s)[np.isfinite(came)]) if np.isfinite(came).any() else np.nan
    took_s = came / usual if usual > 0 else np.full(len(due_s), np.nan)
    way = np.hypot(*np.diff(places, axis=0).T)
    far = way > LEAP * np.maximum(speed_mps[1:], speed_mps[:-1]) * due_s + LEAP_M
    found = {}
    for i in np.flatnonzero((took_s > LEAP * due_s) | far).tolist():
        later = f"{took_s[i]:.1f} s and " if np.isfinite(took_s[i]) else ""
        found[int(frames[i + 1])] = f"comes {later}{way[i]:.1f} m after the one before"
    return found


def seconds_a_frame(
    frames: Sequence[int],
    stamps: np.ndarray,
    places: np.ndarray,
    speed: np.ndarray,
    given_hz: float | None,
    where: Path,
    published: tuple[float, str] = LBC,
) -> tuple[float, float, list[str]]:
    """(seconds from one frame number to the next, factor from `speed` to m/s, what there is to say of it).

    `published`: the rate that is taken where nothing tells one, and whose it is. Raises `BadInput` if stamps, motion
    and the rate that was given contradict one another.
    """
    number = np.array(frames, dtype=np.float64)
    usual_step = float(np.median(np.diff(number))) if len(number) > 1 else 1.0
    set_it = "set download.carla_hz to the rate of its measurements"
    motion, by_stamps = _by_motion(number, places, speed), _by_stamps(number, stamps)
    if by_stamps is not None and motion is not None:
        ratio = motion / by_stamps
        for unit, factor in (("m/s", 1.0), ("km/h", 3.6)):  # speed in km/h makes the time 3.6 times shorter
            if abs(ratio * factor - 1) <= AGREE:
                motion, speed_factor, notes = by_stamps, 1 / factor, [f"speed is in {unit}, as way and stamps say"]
                notes = [] if unit == "m/s" else notes
                break
        else:
            if _usual(1 / (usual_step * motion)) is None or given_hz is None:
                every = f"every {usual_step * by_stamps:.4g} s, by way and speed every {usual_step * motion:.4g} s"
                also = ", or mend speed (m/s), x and y (m)"
                raise BadInput(f"{where}: by its stamps a measurement comes {every}; {set_it}{also}")
            speed_factor, notes = 1.0, ["its stamps are passed over: way and speed contradict them"]
            by_stamps = None
    else:
        speed_factor, notes = 1.0, []
    measured = by_stamps if by_stamps is not None else motion
    if measured is None:
        hz = given_hz or published[0]
        why = "as download.carla_hz says" if given_hz else f"as in {published[1]}, is taken; {set_it}"
        return 1 / hz / usual_step, speed_factor, [*notes, f"nothing in it tells its rate: {hz:g} Hz, {why}"]
    hz = 1 / (usual_step * measured)
    if given_hz is not None:
        if abs(given_hz / hz - 1) > AGREE:
            raise BadInput(f"{where}: measured rate {hz:.3g} Hz, but download.carla_hz = {given_hz:g}; set it to null")
        return 1 / given_hz / usual_step, speed_factor, notes
    if (usual := _usual(hz)) is not None:
        notes = notes if usual == LBC_HZ else [*notes, f"{usual:g} measurements a second, by its {_why(by_stamps)}"]
        return 1 / usual / usual_step, speed_factor, notes
    if by_stamps is not None:
        return by_stamps, speed_factor, [*notes, f"{hz:.4g} measurements a second, by its stamps"]
    raise BadInput(
        f"{where}: by way and speed {hz:.3g} measurements a second, which is no usual rate; is speed in m/s, are x "
        f"and y in metres? If so {set_it}"
    )


def _why(by_stamps: float | None) -> str:
    return "stamps" if by_stamps is not None else "way and speed"
