"""What is known of one moment of a drive and drawn: what was seen, what the expert did, and what each layer planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tasks.open_loop_driving.formats.calibration import Camera


@dataclass(frozen=True)
class Moment:
    """Places are metres ahead and to the left of the car at that moment."""

    route: str
    t: int  # row of the route's pack
    time_s: float
    cameras: Mapping[str, Camera]
    images: Mapping[str, np.ndarray]  # camera -> (h, w, 3) RGB
    truth: np.ndarray  # (steps, 2), NaN from where it is not known
    layers: Sequence[str]
    waypoints: np.ndarray  # (layers, steps, 2)
    controls: np.ndarray  # (layers, 3) throttle, steer, brake of now
    speed_ms: float
    step_s: float
    car: tuple[float, float, float]  # length, width, and how far its middle lies ahead of the origin
    look: np.ndarray | None = None  # (layers - 1, steps, 2)
    expert: np.ndarray | None = None  # (3)
    command: int | None = None
    target: tuple[float, float] | None = None
    should_brake: bool | None = None
    lidar: np.ndarray | None = None  # (n, 4)
    masks: np.ndarray | None = None  # (15, h, w)
    boxes: np.ndarray = field(default_factory=lambda: np.empty((0, 9)))  # class x y z length width height yaw speed
    kinds: Sequence[str] = ()  # of the boxes

    @property
    def driven(self) -> np.ndarray:
        """(n, 2): the truth as far as it is known."""
        known = np.isfinite(self.truth).all(1)
        return self.truth[: len(known) if known.all() else int(known.argmin())]

    @property
    def errors_m(self) -> np.ndarray:
        """(layers, steps): how far each waypoint lies from where the expert was then."""
        return np.linalg.norm(self.waypoints - self.truth, axis=-1)
