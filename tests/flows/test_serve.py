"""`make serve`: a real server, a schedule that comes due, a triggered deployment, what its pages may do, and an end
without leftovers."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from flows import pages, results, serve
from flows.environment import free_port
from flows.worker import Made
from tasks.yard.files import read_json
from tasks.yard.step import BadInput
from tests.flows.serving import Served, asked, serving
from tests.flows.waiting import wait_until

ENDED = ("COMPLETED", "FAILED", "CRASHED")


def run_of(served: Served, parameters: dict) -> dict:
    """A run of the one deployment, when it has ended."""
    (deployment,) = served.ask("deployments/filter", {})
    run = served.ask(f"deployments/{deployment['id']}/create_flow_run", {"parameters": parameters})["id"]
    wait_until(lambda: served.ask(f"flow_runs/{run}")["state"]["type"] in ENDED, "the flow run", every_s=1)
    return served.ask(f"flow_runs/{run}")


def check_pages(served: Served) -> None:
    """By whatever name they are reached, and without a word to anybody else."""
    root = served.api.removesuffix("/api")
    status, headers, page = asked(root, Host="yard.example.com:4200", Accept="text/html")
    assert status == 200 and b"Prefect" in page
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["connect-src"] == "'self'" and "http" not in headers["content-security-policy"]
    assert not re.search(rb'(src|href)="(https?:)?//', page)
    assert json.loads(asked(f"{root}/ui-settings")[2])["api_url"] == "/api"
    foreign = {"Origin": "https://evil.example.com"}
    status, headers, _ = asked(f"{served.api}/flow_runs/filter", {}, **foreign)
    assert status == 403
    assert "access-control-allow-origin" not in asked(f"{served.api}/admin/version", **foreign)[1]
    own = {"Origin": "http://yard.example.com:4200", "Host": "yard.example.com:4200"}
    assert asked(f"{served.api}/flow_runs/filter", {}, **own)[0] == 200
    proxied = {"Origin": "https://pages.example.com"}  # a proxy that calls us by our own name
    assert asked(f"{served.api}/flow_runs/filter", {}, **proxied)[0] == 200

    search = f"{served.mlflow}/ajax-api/2.0/mlflow/experiments/search"
    assert asked(search, {"max_results": 1}, Host="pages.example.com", Origin="https://pages.example.com")[0] == 200
    assert asked(search, {"max_results": 1}, Host="evil.example.com")[0] == 403
    assert asked(search, {"max_results": 1}, **foreign)[0] == 403
    assert b"MLflow" in asked(served.mlflow)[2]


def test_the_best_score_of_a_run_is_that_of_a_network():
    scores = {"toy-teacher": 9.0, "toy-train@a": 0.25, "toy-train@b": 0.5, "toy-train_detector": 0.75}
    made = {name: Made({"val/score": score}, 0.0, 1.0) for name, score in scores.items()}
    assert results.best(made) == {"stages": 4, "seconds_in_steps": 1, "best/val_score": 0.5}


def test_a_run_says_what_its_time_went_into_and_the_last_one_of_each_step_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results.TOOK.parent.mkdir()
    made = {f"toy-train@{n}": Made({}, 1.0, 1.0 + n) for n in range(6)}
    assert results.longest(made).startswith("Longest: toy-train@5 5 s, toy-train@4 4 s,")
    assert results.longest({}) == "" and "train@0" not in results.longest(made)
    results.keep_took(made)
    results.keep_took({"toy-train@0": Made({}, 1.0, 3.0)})
    assert read_json(results.TOOK) == {f"toy-train@{n}": n or 2 for n in range(6)}


def scheduled_run(served: Served, deployment: str) -> dict:
    """The first run of a schedule, when it has ended; there will be no other."""
    mine = {"deployments": {"id": {"any_": [deployment]}}}

    def runs(*states: str) -> list[dict]:
        return [run for run in served.ask("flow_runs/filter", mine) if run["state"]["type"] in states]

    wait_until(lambda: runs("RUNNING", *ENDED), "a scheduled run", every_s=1)
    served.ask(f"deployments/{deployment}/pause_deployment", {})
    wait_until(lambda: not runs("PENDING", "RUNNING"), "the end of the scheduled run", every_s=1)
    return min(runs(*ENDED), key=lambda run: run["expected_start_time"])


def check_addresses(served: Served, family: list[psutil.Process]) -> None:
    """The pages are for all of the network, as was asked for; the runner is for this machine."""
    listening = {c.laddr for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert {ip for ip, port in listening if port == served.runner_port} == {"127.0.0.1"}
    assert "0.0.0.0" in {ip for ip, _ in listening}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "yard.example.com"])
def test_pages_that_other_machines_reach_want_a_password(host, monkeypatch):
    monkeypatch.delenv("TRAINYARD_LOGIN", raising=False)
    monkeypatch.delenv("TRAINYARD_OPEN", raising=False)
    with pytest.raises(BadInput, match=r"TRAINYARD_LOGIN=user:password, or TRAINYARD_OPEN=yes"):
        serve.refuse_open(host)
    serve.refuse_open("127.0.0.1")
    monkeypatch.setenv("TRAINYARD_LOGIN", "yard:short")
    with pytest.raises(BadInput, match=r"12 or more characters") as refused:
        serve.refuse_open(host)
    assert "short" not in str(refused.value)
    monkeypatch.setenv("TRAINYARD_LOGIN", "yard:hunter2hunter2")
    serve.refuse_open(host)


def test_the_front_page_asks_for_the_login(monkeypatch):
    monkeypatch.setenv("TRAINYARD_LOGIN", "yard:hunter2hunter2")
    page = Starlette(routes=[Route("/", lambda _: PlainTextResponse("the yard"))])
    client = TestClient(pages.asking(page))
    assert client.get("/").status_code == 401 and "Basic" in client.get("/").headers["www-authenticate"]
    assert client.get("/", auth=("yard", "wrong")).status_code == 401
    assert client.get("/", headers={b"Authorization": b"Basic \xe9"}).status_code == 401
    assert client.get("/", auth=("yard", "hunter2hunter2")).text == "the yard"
    monkeypatch.delenv("TRAINYARD_LOGIN")
    assert TestClient(pages.asking(page)).get("/").text == "the yard"


def test_a_link_tells_no_password_and_no_strange_answer_costs_a_run(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ada:hunter2@runs.example.com/")
    assert results.mlflow_server() == "https://runs.example.com"

    class Strange(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Strange) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert asked(address)[2] == b"{}"
        for strange in (address, "http://ada:hunter2@127.0.0.1:x", f"http://127.0.0.1:{free_port()}"):
            assert results.all_runs("toy", strange) is None
        server.shutdown()


def test_serve_runs_what_is_scheduled_and_what_is_triggered_and_stops_on_ctrl_c(lone_yard):
    """The first minute of the schedule may be over before the runner has registered; the yard is new, so all its steps
    run. Meanwhile the pages are looked at."""
    lone_yard.edit("prefect.yaml", '"30 2 * * *"', '"* * * * *"')
    names = {"TRAINYARD_NAMES": "pages.example.com"}
    with serving(lone_yard, TRAINYARD_HOST="0.0.0.0", TRAINYARD_OPEN="yes", **names) as served:
        (deployment,) = served.ask("deployments/filter", {})
        assert deployment["schedules"][0]["schedule"]["cron"] == "* * * * *"
        check_pages(served)
        check_addresses(served, psutil.Process(served.process.pid).children(recursive=True))
        night = scheduled_run(served, deployment["id"])
        assert night["auto_scheduled"] and night["state"]["type"] == "COMPLETED", night
        assert (lone_yard.root / "data/toy/square/sum.txt").read_text() == "15"
        run = run_of(served, {"force": ["square"]})
        assert run["state"]["type"] == "COMPLETED", run["state"]
        tasks = served.ask("task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
        states = {task["name"]: task["state"]["name"] for task in tasks}
        assert states["toy-square"] == "Completed" and states["toy-collect"] == "Up to date"
        artifacts = served.ask("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
        shown = {artifact["key"]: artifact["data"] for artifact in artifacts}["toy-result"]
        of_line = re.escape(f"{served.mlflow}/#/experiments/")
        assert re.search(rf"MLflow: {of_line}\d+/runs/[0-9a-f]+\?", shown)
        # What a night shows in which nothing was made.
        assert re.match(rf"{of_line}\d+/runs\?", results.all_runs("toy", served.mlflow))
        refused = run_of(served, {"assignments": ["toy.collect.source=https://ada:hunter2@host/a.zip"]})
        assert refused["state"]["type"] == "FAILED"
        assert "a password" in refused["state"]["message"] and "change that" in refused["state"]["message"]
        assert "hunter2" not in json.dumps(served.ask("flow_runs/filter", {}))
        first = served.process.stderr.readline()  # on its own terminal
        assert first.startswith("error in .trainyard/runner.log") and re.search(
            r"toy [\d-]+ #\d+ failed: --set", first
        ), first
        assert b"toy" in asked(served.front)[2]
        family = psutil.Process(served.process.pid).children(recursive=True)
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    logs = [path for path in (lone_yard.root / ".trainyard").glob("*.log") if b"hunter2" in path.read_bytes()]
    assert "hunter2" not in first + served.said[0] and not logs
