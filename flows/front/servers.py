"""What Prefect and MLflow tell of the runs of a line. Asked over HTTP, at the addresses of `make serve`: neither has to
be imported, which would cost 400 MB and seconds.

Both servers may be busy, or gone: then there is nothing of theirs on the page but that they do not answer.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tasks.yard import login

LIMIT_S = 10
RUNS = 200  # of all lines: what Prefect gives in one answer
POINTS = 100  # of a trend
AT_WORK = ("RUNNING", "CANCELLING")
OVER = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
SAID = 400  # characters of the message of a run


class NoAnswer(RuntimeError):
    """The text says who does not answer, and what is known of why."""


def ask(url: str, body: Mapping[str, Any] | None = None) -> Any:
    """The JSON of an answer, None for 404; a POST if there is a body. Raises `NoAnswer`."""
    data = None if body is None else json.dumps(body).encode()
    known = login.of_mlflow() if "/mlflow/" in url else login.of_prefect()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **known})
    who = urllib.parse.urlsplit(url).netloc
    try:
        with urllib.request.urlopen(request, timeout=LIMIT_S) as reply:
            return json.loads(reply.read())
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise NoAnswer(f"{who} answers with {error.code}") from None
    except (OSError, ValueError) as error:
        raise NoAnswer(f"{who} does not answer ({getattr(error, 'reason', error)})") from None


def flow_runs(api: str, lines: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The last runs of each line, the newest first."""
    wanted = {"state": {"type": {"any_": [*OVER, *AT_WORK]}}}
    answer = ask(f"{api}/flow_runs/filter", {"flow_runs": wanted, "flows": {"name": {"any_": ["line"]}},
                                             "sort": "START_TIME_DESC", "limit": RUNS})  # fmt: skip
    found: dict[str, list[dict[str, Any]]] = {line: [] for line in lines}
    for run in answer or []:
        state, line = run["state"] or {}, run["parameters"].get("line", "brake_coast")
        if line in found:
            found[line].append({
                "id": run["id"], "name": run["name"], "outcome": state.get("name"), "type": state.get("type"),
                "said": (state.get("message") or "")[:SAID], "began": seconds(run["start_time"]),
                "took_s": run["total_run_time"] if state.get("type") in OVER else None,
            })  # fmt: skip
    return found


def nights(api: str, lines: Sequence[str]) -> dict[str, float]:
    """{line: when its next scheduled run is due}"""
    wanted = {
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
        "sort": "EXPECTED_START_TIME_ASC",
        "limit": RUNS,
    }
    found: dict[str, float] = {}
    for run in ask(f"{api}/flow_runs/filter", wanted) or []:
        line = run["parameters"].get("line")
        if line in lines and run["expected_start_time"]:
            found.setdefault(line, seconds(run["expected_start_time"]))
    return found


def seconds(stamp: str | None) -> float | None:
    return datetime.fromisoformat(stamp).timestamp() if stamp else None


def experiment(base: str, line: str) -> str | None:
    answer = ask(f"{base}/api/2.0/mlflow/experiments/get-by-name?{urllib.parse.urlencode({'experiment_name': line})}")
    return answer and answer["experiment"]["experiment_id"]


def tracked(base: str, experiment_id: str) -> list[dict[str, Any]]:
    """The MLflow runs of flows, the oldest first."""
    wanted = {"experiment_ids": [experiment_id], "filter": "tags.`mlflow.source.name` = 'flows'",
              "order_by": ["attributes.start_time DESC"], "max_results": POINTS}  # fmt: skip
    runs = (ask(f"{base}/api/2.0/mlflow/runs/search", wanted) or {}).get("runs", [])
    return [
        {
            "id": run["info"]["run_id"], "name": run["info"].get("run_name", ""), "status": run["info"]["status"],
            "began": run["info"]["start_time"] / 1000, "tags": pairs(run, "tags"), "metrics": pairs(run, "metrics"),
        }
        for run in reversed(runs)
    ]  # fmt: skip


def pairs(run: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {one["key"]: one["value"] for one in run["data"].get(kind, [])}


def champion(base: str, line: str) -> dict[str, Any] | None:
    """Version, network, when and why of the registered model that has the alias `champion`; None if none has."""
    named = urllib.parse.urlencode({"name": line, "alias": "champion"})
    try:
        answer = ask(f"{base}/api/2.0/mlflow/registered-models/alias?{named}")
    except NoAnswer as error:
        if str(error).endswith("with 400"):  # a model that has no such alias
            return None
        raise
    if not answer:
        return None
    version = answer["model_version"]
    tags = {tag["key"]: tag["value"] for tag in version.get("tags", [])}
    trained = ask(f"{base}/api/2.0/mlflow/runs/get?run_id={version['run_id']}") if version.get("run_id") else None
    of_run = pairs(trained["run"], "tags") if trained else {}
    return {
        "version": str(version["version"]), "made": int(version["creation_timestamp"]) / 1000, "tags": tags,
        "because": tags.get("champion.because"), "since": tags.get("champion.since"),
        "network": of_run.get("stage", "").partition("@")[2], "commit": of_run.get("git.commit"),
        "run": version.get("run_id"), "parent": of_run.get("mlflow.parentRunId"),
    }  # fmt: skip
