"""How numbers are written."""

from __future__ import annotations

import numpy as np

from tasks.yard.files import read_json, write_json
from tasks.yard.metrics.rounding import as_metrics, rounded


def test_floats_anywhere_have_six_decimals_and_the_rest_stays(tmp_path):
    values = {"a": 1 / 3, "b": [np.float64(2 / 3), (1e-9, None)], "c": {"n": 7, "is": True, "name": "x"}}
    expected = {"a": 0.333333, "b": [0.666667, [0.0, None]], "c": {"n": 7, "is": True, "name": "x"}}
    assert rounded(values) == expected
    assert rounded(values)["c"]["n"] is values["c"]["n"]
    write_json(tmp_path / "values.json", rounded(values))
    assert read_json(tmp_path / "values.json") == expected


def test_metrics_leave_out_what_could_not_be_computed():
    assert as_metrics({"a": 1 / 3, "b": None, "c": 0, "d": np.float32(0.5)}) == {"a": 0.333333, "c": 0.0, "d": 0.5}
