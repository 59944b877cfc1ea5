"""The learning curve of open_loop_driving: which routes a share has, and what a fit of few points may say."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.yard.files import read_json, write_json
from tasks.yard.step import BadInput
from tests.figures import curve, curve_fit
from tests.figures.__main__ import main as figures
from tests.tasks.open_loop_driving.shared import section

TOWNS = {"town01": 4, "town03": 4, "town04": 8}
ROUTES = {
    f"{town}_r{n:03d}": {"town": town, "split": "train", "windows": 80} for town, count in TOWNS.items()
    for n in range(count)
} | {"town02_r000": {"town": "town02", "split": "val", "windows": 80},
     "town05_r000": {"town": "town05", "split": "test", "windows": 80}}  # fmt: skip


def point(routes: int, seed: int, l2: float, f1: float = 0.5, score: float = 20.0) -> dict:
    return {
        "share": routes / 16, "seed": seed, "routes": routes, "moments": 80 * routes, "epochs": 160 // routes,
        "cpu_s": 800, "expert": 100.0, "network": {"l2": l2, "brake_f1": f1, "driving_score": score},
        "blind": {"l2": 1.0, "brake_f1": 0.6},
    }  # fmt: skip


def test_a_share_has_routes_of_every_town_and_a_larger_one_holds_it():
    every = curve.drawn(ROUTES, 1.0, 0)
    assert len(every) == 16 and not {"town02_r000", "town05_r000"} & set(every)
    quarter, half = (curve.drawn(ROUTES, share, 0) for share in (0.25, 0.5))
    assert len(quarter) == 4 and set(quarter) < set(half) < set(every)
    assert {name[:6] for name in quarter} == set(TOWNS)
    assert curve.drawn(ROUTES, 0.25, 0) == quarter != curve.drawn(ROUTES, 0.25, 1)


def test_a_share_takes_as_many_steps_and_is_judged_on_the_same_routes(tmp_path):
    train, batch = section("train"), section("train").engine.batch
    for mine in (320, 640, 1280):
        epochs = curve.with_steps(train, 10, 1280, mine).engine.epochs
        assert epochs * (mine // batch) == 10 * (1280 // batch)
    with pytest.raises(BadInput, match="fill no batch of 16; take a larger share"):
        curve.with_steps(train, 10, 1280, batch - 1)
    whole = tmp_path / "whole"
    for name in ROUTES:
        (whole / name).mkdir(parents=True)
        (whole / name / "route.h5").write_bytes(name.encode())
    write_json(whole / "manifest.json", {"routes": ROUTES, "horizon": 4})
    keep = curve.drawn(ROUTES, 0.25, 0)
    folder = curve.partial_pack(whole, keep, tmp_path / "part")
    assert set(read_json(folder / "manifest.json")["routes"]) == {*keep, "town02_r000", "town05_r000"}
    assert (folder / keep[0] / "route.h5").read_bytes() == keep[0].encode()


def test_a_power_law_tells_how_many_routes_a_goal_needs():
    """Of 2 * n^-.5 a quarter is at 64."""
    sizes = np.array([4, 8, 16, 16, 16])
    rng = np.random.default_rng(0)
    found = curve_fit.needed(sizes, 2 * sizes**-0.5 * np.exp(rng.normal(0, 0.01, 5)), 0.25)
    assert found["exponent"] == pytest.approx(0.5, abs=0.03) and found["routes"] == pytest.approx(64, rel=0.1)
    assert found["low"] < 64 < found["high"] < 100 and found["reach"] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("slope", [0.0, -0.1])
def test_a_curve_that_does_not_fall_says_nothing_of_how_much_data(slope):
    noise = [0.03, -0.03, -0.05, 0.0, 0.05]
    points = [
        point(n, k, 0.9 * n**-slope * np.exp(e)) for k, (n, e) in enumerate(zip([4, 8, 16, 16, 16], noise, strict=True))
    ]
    result = {"points": points[:2], "all": points[2:], "epochs": 10}
    text = next(line for line in curve_fit.block(result).splitlines() if line.startswith("L2") and "wanted" in line)
    assert "the fit cannot say how much data that needs" in text and "0.70 is wanted" in text


def test_a_curve_that_falls_is_told_with_its_interval_and_the_time_that_it_takes():
    points = [point(n, k, 2.2 * n**-0.3 * (1 + e)) for k, (n, e) in enumerate([(4, 0.01), (8, -0.01), (16, 0.0)])]
    points += [point(16, 3, 2.2 * 16**-0.3 * 1.02), point(16, 4, 2.2 * 16**-0.3 * 0.98)]
    said = curve_fit.goals(points, 10)
    assert said["of"]["l2"]["goal"] == 0.7 and said["of"]["brake_f1"]["goal"] == pytest.approx(0.2)
    assert said["of"]["driving_score"]["goal"] == 0.5
    assert said["cpu_s_a_route"] == pytest.approx(80 * 10 * 800 / (160 * 80))
    text = curve_fit.block({"points": points[:2], "all": points[2:], "epochs": 10})
    row = next(line for line in text.splitlines() if line.startswith("| 16"))
    assert [cell.strip() for cell in row.split("|")[2:4]] == ["3", "0.96 (0.94 to 0.98)"]
    told = next(line for line in text.splitlines() if line.startswith("L2") and "wanted" in line)
    routes = said["of"]["l2"]["routes"]
    assert routes == pytest.approx((2.2 / 0.7) ** (1 / 0.3), rel=0.15) and "80 % interval" in told
    assert f"about {curve_fit.many(routes, 16)} routes, some " in told and "hours of one core" in told


def test_the_readme_has_the_curve_where_it_has_a_place_for_it(tmp_path):
    points = [point(n, k, 0.9) for k, n in enumerate([4, 8, 16, 16])]
    curve_of = {"points": points[:2], "all": points[2:], "epochs": 10}
    write_json(tmp_path / "results/open_loop_driving_curve.json", curve_of)
    readme = tmp_path / "README.md"
    place = "<!-- figures:open_loop_driving -->\n\n<!-- /figures -->\n"
    asked = ["open_loop_driving", "--write", "--results", str(tmp_path / "results"), "--readme", str(readme)]
    readme.write_text(place)
    assert figures(asked) == 0 and readme.read_text() == place
    readme.write_text(place + "<!-- figures:open_loop_driving_curve -->\nold\n<!-- /figures -->\n")
    assert figures(asked) == 0
    text = readme.read_text()
    assert "| training routes |" in text and "old" not in text and "python -m tests.figures.curve" in text


def test_without_the_table_of_all_routes_or_with_a_share_of_all_it_says_what_to_do(tmp_path):
    with pytest.raises(BadInput, match="trains them on all routes"):
        curve.of_all(tmp_path, 16, 1280)
    assert curve.main(["--data", str(tmp_path / "none"), "--results", str(tmp_path)]) == 1
