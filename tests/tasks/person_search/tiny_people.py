"""A pack folder in a moment: people are the colours of a coat and of trousers, cameras a cast and noise."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from tasks.yard.files import write_json

HEIGHT, WIDTH = 32, 16
CAMERAS = 4


def crops(people: int, images: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """`images` of every person in every camera."""
    colours = rng.uniform(30, 225, (people, 2, 3))
    casts = rng.uniform(0.75, 1.2, (CAMERAS, 3))
    who, camera, _ = (a.ravel() for a in np.indices((people, CAMERAS, images)))
    x = np.empty((len(who), HEIGHT, WIDTH, 3))
    x[:, : HEIGHT // 2], x[:, HEIGHT // 2 :] = colours[who, 0, None, None], colours[who, 1, None, None]
    x[:, :, :3] = rng.uniform(60, 180, (len(who), 1, 1, 3))  # what stands beside them
    x = x * casts[camera, None, None] + rng.normal(0, 12, x.shape)
    numbers = {"identity": who.astype(np.int32), "camera": (camera + 1).astype(np.int32)}
    return {"images": x.clip(0, 255).astype(np.uint8), **numbers}


def write_pack(folder: Path, people: dict[str, int], images: int = 2, seed: int = 0) -> Path:
    """`people` is how many each split has; of val and test the first image in a camera asks for the others."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in people.items():
        made = crops(count, images, rng)
        first = np.arange(len(made["identity"])) % images == 0
        made["role"] = np.where(first, 1, 2).astype(np.uint8) if split != "train" else np.zeros(len(first), np.uint8)
        made["dataset"] = np.zeros(len(first), np.int32)
        with h5py.File(folder / f"{split}.h5", "w") as file:
            for name, values in made.items():
                file[name] = values
            names = [f"{split}/{i}.jpg" for i in range(len(first))]
            file.create_dataset("path", data=names, dtype=h5py.string_dtype())
    counts = dict.fromkeys(("identities", "images", "queries", "gallery", "distractors"), 0)
    config = {
        "height_px": HEIGHT, "width_px": WIDTH, "datasets": ["tiny"], "cameras": {"tiny": list(range(1, CAMERAS + 1))},
        "identities": {split: [f"tiny:{i}" for i in range(count)] for split, count in people.items()},
        "counts": {split: {**counts, "identities": people.get(split, 0)} for split in ("train", "val", "test")},
        "empty": None, "missing": {split: "nobody is left for it" for split, count in people.items() if not count},
    }  # fmt: skip
    write_json(folder / "dataset_config.json", config)
    return folder
