"""A pack in a moment, by the real step: small coloured figures in the layout that download leaves.

    pack = write_pack(tmp_path, units={"tiny": People(train=8, test=6)})

People are the colours of a coat and of trousers, cameras a cast and noise: easy to tell apart, and not by one pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.person_search import pack
from tasks.person_search.params import Line
from tasks.yard.files import write_json
from tests import sections

REPO = Path(__file__).parents[3]
HEIGHT, WIDTH = 32, 16
TEST_FROM = 1000  # numbers of the people to be tested on


def section(step: str, **changes):
    """One step's params as they stand in params.yaml, with some changed."""
    values = sections.values("person_search", step)
    return Line.model_fields[step].annotation.model_validate({**values, **changes})


@dataclass(frozen=True)
class People:
    """One data set: how many people, images of each in each camera, and crops of nobody."""

    train: int = 8
    test: int = 6
    cameras: int = 3
    images: int = 3
    distractors: int = 4


def figure(person: tuple, camera: tuple, rng: np.random.Generator) -> Image.Image:
    """Coat above, trousers below, something beside them; `person` and `camera` are seeds."""
    coat, trousers = np.random.default_rng(person).uniform(30, 225, (2, 3))
    image = np.empty((HEIGHT, WIDTH, 3))
    image[: HEIGHT // 2], image[HEIGHT // 2 :] = coat, trousers
    image[:, :3] = rng.uniform(60, 180, 3)
    image = image * np.random.default_rng(camera).uniform(0.75, 1.2, 3) + rng.normal(0, 12, image.shape)
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


def write_unit(download: Path, name: str, people: People, seed: int = 0) -> Path:
    """The folder of one unit. Of people to be tested on the first image in a camera asks for the others."""
    rng, folder = np.random.default_rng([seed, 1]), download / name
    subsets = {subset: folder / subset for subset in ("bounding_box_train", "query", "bounding_box_test")}
    for path in subsets.values():
        path.mkdir(parents=True)

    def save(subset: str, person: int, camera: int, nth: int, look: tuple) -> None:
        file = subsets[subset] / f"{person:04d}_c{camera}s1_{nth:06d}_00.jpg"
        figure(look, (seed, 3, camera), rng).save(file, quality=95)

    numbers = [*range(1, people.train + 1), *range(TEST_FROM, TEST_FROM + people.test)]
    for person in numbers:
        for camera in range(1, people.cameras + 1):
            for nth in range(people.images):
                held = "query" if nth == 0 else "bounding_box_test"
                subset = held if person >= TEST_FROM else "bounding_box_train"
                save(subset, person, camera, nth, (seed, 2, person))
    for nth in range(people.distractors if people.test else 0):
        save("bounding_box_test", 0, 1 + nth % people.cameras, 100 + nth, (seed, 4, nth))
    write_json(folder / "unit.json", {"dataset": name, "parts": ["reid"]})
    return folder


def write_pack(root: Path, units: dict[str, People] | None = None, val_share: float = 0.4, seed: int = 0) -> Path:
    """download/ and pack/ under `root`; returns the latter."""
    for nth, (name, people) in enumerate((units or {"tiny": People()}).items()):
        write_unit(root / "download", name, people, seed + nth)
    (root / "pack").mkdir()
    params = section("pack", height_px=HEIGHT, width_px=WIDTH, val_share=val_share, threads=1)
    pack.run(params, root / "pack", download=root / "download")
    return root / "pack"
