"""What MLflow serves plans as the network does that drives."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.open_loop_driving.formats.plans import Observation
from tasks.open_loop_driving.learning import served
from tasks.open_loop_driving.learning.planner import Planner
from tasks.open_loop_driving.train import served_model
from tasks.yard.worlds.town import World
from tests.tasks.open_loop_driving.networks import write_checkpoint

RNG = np.random.default_rng(0)


def seen(x: float) -> Observation:
    points = RNG.uniform([0, -8, 0, 0], [20, 8, 2, 1], (50, 4)).astype(np.float32)
    images = {"front": RNG.integers(0, 255, (32, 48, 3), np.uint8)}
    return Observation((x, 0.0, 0.1), 3.0, 2, (9.0, -1.0), images, points)


@pytest.mark.slow
def test_the_served_model_plans_as_the_planner_whatever_is_beside_it(tmp_path):
    write_checkpoint(tmp_path, "thinktwice_small", World(cameras=1, height=32, width=48))
    module, path, example = served_model(tmp_path, "thinktwice_small", tmp_path)
    model = served._load_pyfunc(str(path))
    assert module == served.__name__ and np.isfinite(model.predict(example)["waypoints"]).all()
    pairs = [(seen(0.0), seen(1.5)), (seen(4.0), seen(4.2))]
    given = {
        key: np.array([getattr(now, key) for _, now in pairs]) for key in ("speed_ms", "command", "target")
    }  # fmt: skip
    for place, moment in enumerate(served.MOMENTS):
        given[f"pose_{moment}"] = np.array([pair[place].pose for pair in pairs])
        given[f"images_{moment}"] = np.array([pair[place].images["front"][None] for pair in pairs])
        given[f"lidar_{moment}"] = np.array([pair[place].lidar for pair in pairs])
    assert given.keys() == example.keys()
    found, planner = model.predict(given), Planner.load(path)
    for row, pair in enumerate(pairs):
        plan = planner.plan(*pair)
        for part in served.PARTS:
            np.testing.assert_allclose(found[part][row], getattr(plan, part)[-1], atol=1e-5)
