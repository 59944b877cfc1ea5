"""Where MLflow's pages show runs, and with which columns: without that they open on pages for language models, and show
of a run its name and its source.

A view is a tag of the experiment, as MLflow's button "Share" makes one; its key stands in the address.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from urllib.parse import urlsplit, urlunsplit

KEY = "trainyard"
TAG = f"mlflow.sharedViewState.{KEY}"
TRAINING = "workflowType=machine_learning"
MOST = 6  # columns of numbers, of those that people compare
MAIN = ("pr_auc", "map", "moda", "ap50")  # numbers of one network; of other lines the first ones


def plainly(url: str) -> str:
    """The address of a server as it may be shown: without a name and password."""
    parts = urlsplit(url.rstrip("/"))
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def all_runs(experiment: str) -> str:
    return f"#/experiments/{experiment}/runs?{TRAINING}&viewStateShareKey={KEY}"


def one_run(experiment: str, run_id: str, artifact: str = "") -> str:
    below = f"/artifacts/{artifact}" if artifact else ""
    return f"#/experiments/{experiment}/runs/{run_id}{below}?{TRAINING}"


def state(of_flow: Iterable[str], of_training: Iterable[str]) -> str:
    """The view's tag, from the names of the numbers that a flow and a training have; the newest run is first."""
    headline = [name for name in of_flow if name.startswith("headline/")][:MOST]
    test = sorted((name for name in of_training if name.startswith("test/")),
                  key=lambda name: (name.rpartition("/")[2] not in MAIN, name))  # fmt: skip
    numbers = [*headline, *(name for name in of_flow if name.startswith("best/")), *test[:2]]
    return json.dumps({
        "orderByKey": "attributes.start_time", "orderByAsc": False, "searchFilter": "", "startTime": "ALL",
        "lifecycleFilter": "Active", "datasetsFilter": [], "modelVersionFilter": "All Runs",
        "selectedColumns": ["attributes.`Models`", *(f"metrics.`{name}`" for name in numbers),
                            *(f"tags.`{name}`" for name in ("network", "data", "commit"))],
    })  # fmt: skip
