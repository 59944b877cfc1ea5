"""embeddings.h5: the vectors of the test crops by every network, in the order of pack/test.h5.

identity (N) int32, -1 a distractor     camera (N) int32     role (N) uint8, 1 query, 2 gallery
dataset (N) int32, place in the attribute `datasets`         path (N) utf-8
embeddings/<network> (N, D) float32, each of length 1, so that a product of two is their cosine
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from tasks.person_search.formats.crops import Split
from tasks.yard.files import replacing

VERSION = ("v110", "v110")  # as in pack: the bytes do not depend on the library's newest format


def write(path: Path, split: Split, paths: list[str], datasets: list[str], vectors: Mapping[str, np.ndarray]) -> None:
    encoded = [name.encode() for name in paths]
    columns = {name: getattr(split, name) for name in ("identity", "camera", "role", "dataset")}
    columns["path"] = np.array(encoded, h5py.string_dtype("utf-8", max(map(len, encoded), default=1)))
    with replacing(path) as temporary, h5py.File(temporary, "w", libver=VERSION) as file:
        file.attrs["datasets"] = datasets or [""]
        file.attrs["role"] = "1 query, 2 gallery"
        file.attrs["embeddings"] = "(crops, length) float32 of each network, every row of length 1"
        for name, values in columns.items():
            file.create_dataset(name, data=values, track_times=False)
        for network, values in vectors.items():
            file.create_dataset(f"embeddings/{network}", data=values.astype(np.float32), track_times=False)
