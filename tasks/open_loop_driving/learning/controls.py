"""Plans of a network from which something is taken: if they are as good as its own, it does not use it.

shuffled_cameras   the pictures of another moment, drawn by a seed from another route where there is one
shuffled_lidar     its lidar
shuffled_look      what the layers look up is what another moment looked up
earlier_speed      the speed of a step ago: who has learnt to go on as it went (a copy-cat) is misled, who sees is not
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import fields, replace

import numpy as np
from torch import Tensor, nn

from models.open_loop_driving.refine import Look
from tasks.open_loop_driving.formats.plans import Plans
from tasks.open_loop_driving.learning.batches import Raw, Rows
from tasks.open_loop_driving.learning.network import plans_of

SEED = 0
CAMERAS, LIDAR, LOOK, SPEED = "shuffled_cameras", "shuffled_lidar", "shuffled_look", "earlier_speed"
BY_MOMENT = {CAMERAS: ("images",), LIDAR: ("points", "row", "sweep")}  # fields of Raw that are another's
ALONG_ROWS = ("route", "t", "speed")  # columns of Plans whose first axis is the moments; of the others it is the second


def others(route: np.ndarray) -> np.ndarray:
    """(k) routes -> (k) another moment for each, of another route as far as there is one: the moments in the order of
    their routes, moved on by the size of the largest."""
    rng = np.random.default_rng(SEED)
    shuffled = rng.permutation(len(route))
    order = shuffled[np.argsort(route[shuffled], kind="stable")]
    _, sizes = np.unique(route, return_counts=True)
    shift = int(sizes.max()) if 2 * sizes.max() <= len(route) else max(1, len(route) // 2)
    found = np.empty(len(route), int)
    found[order] = np.roll(order, shift)
    return found


class Swapped:
    """Rows of which a part is another moment's."""

    def __init__(self, rows: Rows, change: Callable[[np.ndarray, Raw], Raw], windows: np.ndarray | None = None) -> None:
        self.rows, self.change = rows, change
        self.name, self.drives = rows.name, rows.drives
        self.windows = rows.windows if windows is None else windows

    def __len__(self) -> int:
        return len(self.windows)

    def raw(self, frames: np.ndarray) -> Raw:
        return self.change(frames, self.rows.raw(frames))


@contextmanager
def looks_swapped(network: nn.Module):
    """Within, each moment of a batch is given what the one before it in the batch looked up."""

    def swap(_module: nn.Module, _inputs: tuple, found: Tensor) -> Tensor:
        return found.roll(1, 0)

    hooks = [module.register_forward_hook(swap) for module in network.modules() if isinstance(module, Look)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def reordered(of: Plans, rows: np.ndarray) -> Plans:
    values = {field.name: getattr(of, field.name) for field in fields(of)}
    return Plans(**{
        name: value if value is None else value[rows] if name in ALONG_ROWS else value[:, rows]
        for name, value in values.items()
    })  # fmt: skip


def controls_of(network: nn.Module, rows: Rows, batch: int) -> dict[str, Plans]:
    """Of all windows, in their order. What a network does not use has no control; fewer than two moments have none."""
    if len(rows) < 2 or not rows.needs:
        return {}
    route = rows.drives.route_of[rows.windows]
    instead = dict(zip(rows.windows.tolist(), rows.windows[others(route)].tolist(), strict=True))

    def another(keys: tuple[str, ...]) -> Callable[[np.ndarray, Raw], Raw]:
        def change(frames: np.ndarray, raw: Raw) -> Raw:
            theirs = rows.raw(np.array([instead[frame] for frame in frames.tolist()]))
            return replace(raw, **{key: getattr(theirs, key) for key in keys})

        return change

    def earlier(frames: np.ndarray, raw: Raw) -> Raw:
        return replace(raw, speed=rows.put(rows.speed[frames - 1]))

    changes: dict[str, Callable[[np.ndarray, Raw], Raw]] = {}
    if "rgb" in rows.needs:
        changes[CAMERAS] = another(BY_MOMENT[CAMERAS])
    if "lidar" in rows.needs:
        changes[LIDAR] = another(BY_MOMENT[LIDAR])
    changes[SPEED] = earlier
    found = {name: plans_of(network, Swapped(rows, change), batch) for name, change in changes.items()}
    if any(isinstance(module, Look) for module in network.modules()):
        # neighbours in a batch are drawn, so that what is swapped is of another street
        order = np.random.default_rng(SEED).permutation(len(rows))
        drawn = Swapped(rows, lambda _frames, raw: raw, rows.windows[order])
        with looks_swapped(network):
            swapped = plans_of(network, drawn, max(3, batch), mixed=True)  # no batch of one
        found[LOOK] = reordered(swapped, np.argsort(order))
    return found
