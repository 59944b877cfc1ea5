"""Small sources in the layouts of the real world, brought by the step as params.yaml has it, with some changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np

from tasks.ground_plane import download
from tasks.ground_plane.params import Download
from tasks.yard.files import read_json
from tests import sections
from tests.tasks.ground_plane.tiny_scene import write_unit

REPO = Path(__file__).parents[3]
REAL = REPO / "../shared/real"


def fetched(folder: Path, source: Path | str, **changes) -> dict:
    """download/report.json, after the step."""
    values = sections.values("ground_plane", "download")
    download.run(Download.model_validate({**values, "source": str(source), **changes}), folder / "download")
    return read_json(folder / "download/report.json")


def marmot(root: Path, val_labels: bool = True, **scene) -> Path:
    """A data root as MARMOT leaves it: two parts, no plane."""
    made = write_unit(root.parent, root.name, frames=4, **scene)
    (made / "scene.json").unlink()
    for folder in ("1-annotation", "1-annotation/labels"):
        shutil.copytree(made / folder / "train", made / folder / "val")
    if not val_labels:
        shutil.rmtree(made / "1-annotation/labels/val")
    return root


def changed(path: Path, change) -> None:
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said))


def matrix(key: str, values, rows: int = 3, cols: int = 1) -> str:
    """A node as OpenCV writes it."""
    text = " ".join(map(repr, np.asarray(values, float).ravel().tolist()))
    shape = f"<rows>{rows}</rows><cols>{cols}</cols><dt>d</dt>"
    return f'<{key} type_id="opencv-matrix">{shape}<data>\n    {text}</data></{key}>'


def xml(path: Path, *nodes: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('<?xml version="1.0"?>\n<opencv_storage>\n' + "\n".join(nodes) + "\n</opencv_storage>\n")


def film(
    root: Path, images: Iterable[int], cameras: dict[int, tuple], places: Callable[[int], list[tuple]], first: int = 0
) -> None:
    """Image_subsets/C<number>/<image>.png: people as dark figures at `places(moment)`, world metres; that of image
    `first` is moment 0. `cameras`: {number: (rvec, tvec in metres, K)}, of an image of 108 x 192 px."""
    for number, (turn, shift, K) in cameras.items():
        ground = np.random.default_rng(number).integers(80, 140, (108, 192, 3), np.uint8)
        for image in images:
            shown = ground.copy()
            for x, y in places(image - first):
                points = np.array([[x, y, 0.0], [x, y, 1.7]])
                (foot, head), _ = cv2.projectPoints(points, np.array(turn), np.array(shift), np.array(K, float), None)
                (u, v), (_, top) = foot.ravel(), head.ravel()
                half = max(1, abs(v - top) * 0.13)
                if -20 < u < 212 and 0 < top < v < 200:
                    cv2.rectangle(shown, (round(u - half), round(top)), (round(u + half), round(v)), (20, 30, 40), -1)
            path = root / f"Image_subsets/C{number}/{image:08d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), shown)


def picture(path: Path, size: tuple[int, int] = (108, 192)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*size, 3), 90, np.uint8))
