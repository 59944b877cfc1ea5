"""What MLflow serves of this line: photographs of bikes in, their parts and the state of each out.

    {"inputs": {"images": (n)}}     base64 of a photograph each, of any size

answers {"predictions": {"image": (seen) place in n, "part": (seen) 1..K, "box": (seen, 4) x, y, width, height in px,
"score": (seen) probability that it is this part, "states": (seen, 4) those of intact, damaged, absent and occluded,
"found": (seen) 1 where the part is sure enough to be said, else 0}}.

Of what is found these are the numbers that `apply` writes of a photograph by itself, calibrated on validation. With a
version that has been judged its thresholds and calibration lie beside the weights, in known.json; without them a part
is found from a score of one half on, and nothing is calibrated. States are all 0, which means not known, if the network
has learnt none. Two photographs of a ride are not compared here: `python -m flows apply bike_parts <photos>` does that.
"""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np

from tasks.bike_parts.formats import photos
from tasks.bike_parts.formats.detections import gathered
from tasks.bike_parts.judging import believed
from tasks.bike_parts.judging.believed import Belief, believed_rows
from tasks.bike_parts.learning.network import load_network, looked
from tasks.yard import serving


class Served:
    def __init__(self, path: str):
        self.network, self.config, _ = load_network(Path(path))
        file = Path(path).with_name(believed.FILE)
        self.own = believed.read(file) if file.exists() else Belief()

    def predict(self, inputs: dict[str, np.ndarray], params: dict | None = None) -> dict[str, np.ndarray]:
        """Raises `BadInput` for what is no picture."""
        pictures = [picture[..., ::-1] for picture in serving.pictures(inputs["images"], "images")]
        seen = gathered(np.arange(len(pictures)), looked(self.network, self.config, pictures))
        found = np.zeros(len(seen.image), int)
        for number in range(len(pictures)):
            mine = np.flatnonzero(seen.image == number)
            sure = believed_rows(seen.part[mine], seen.score[mine], self.own.believe, self.own.several)
            found[mine[sure]] = 1
        states = self.own.calibration(seen.states) if self.own.learnt else np.zeros(seen.states.shape)
        return {**vars(seen), "score": self.own.calibration.score(seen.score), "states": states, "found": found}


def example(download: Path, split: Path) -> dict[str, np.ndarray]:
    """The first photograph of validation, or of training."""
    of = next(of for name in ("val", "train") for of in photos.read(split, name).photos)
    return {"images": np.array([base64.b64encode((download / of.name).read_bytes()).decode()])}


def _load_pyfunc(path: str) -> Served:
    """The name that MLflow looks for in a loader module."""
    return Served(path)
