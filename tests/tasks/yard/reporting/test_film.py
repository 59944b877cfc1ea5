from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
ENCODE = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image
from tasks.yard.reporting import film
rng = np.random.default_rng(0)
slope = np.linspace(0, 255, 482)[None, :, None] * np.ones((240, 1, 3))
pictures = [np.roll(slope, 13 * i, 1) + rng.normal(0, 8, slope.shape) for i in range(8)]
film.write(Path(sys.argv[1]), [Image.fromarray(p.clip(0, 255).astype(np.uint8)) for p in pictures], (482, 240), 2)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what memory holds at first is set by glibc")
def test_equal_pictures_give_equal_bytes_whatever_memory_held_before(tmp_path):
    films = []
    for held in ("0", "1"):
        file = tmp_path / f"{held}.mp4"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "MALLOC_PERTURB_": held}
        subprocess.run([sys.executable, "-c", ENCODE, str(file)], cwd=ROOT, env=environment, check=True)
        films.append(file.read_bytes())
    assert films[0] == films[1]
