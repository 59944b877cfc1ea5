from __future__ import annotations

import numpy as np
import pytest

from tasks.open_loop_driving.formats import plans
from tasks.yard.step import BadInput


def test_plans_come_back_as_they_were_written(tmp_path):
    rng = np.random.default_rng(0)
    of = plans.Plans(
        np.array(["town05_r000", "town05_r000"], object), np.array([3, 4]),
        *(rng.random((3, 2, 4, 2)).astype(np.float32) for _ in range(3)), np.array([1.5, np.nan], np.float32),
        rng.random((2, 2, 4, 2)).astype(np.float32),
    )  # fmt: skip
    told = plans.Planned("thinktwice_small", ("coarse", "1", "2"), 4, 2.0, {"test": of})
    for name in ("one.h5", "other.h5"):
        plans.write(tmp_path / name, told)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "other.h5").read_bytes()
    found = plans.read(tmp_path / "one.h5")
    assert (found.network, found.layers, found.horizon, found.rate_hz) == (
        "thinktwice_small",
        ("coarse", "1", "2"),
        4,
        2,
    )
    for name in plans.Plans.__annotations__:
        assert np.array_equal(getattr(found.splits["test"], name), getattr(of, name), equal_nan=name == "speed")


def test_a_file_of_another_kind_is_named(tmp_path):
    (tmp_path / "plans.h5").write_bytes(b"nothing")
    with pytest.raises(BadInput, match=r"plans\.h5: not a file of open_loop_driving-plan"):
        plans.read(tmp_path / "plans.h5")
