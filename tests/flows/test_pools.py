"""What a run in a container or a pod is handed: by Prefect's own way from a pool's template to a job."""

from __future__ import annotations

import asyncio
import copy
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import Field

from flows import clone, deployments, pools
from tasks.yard.step import BadInput

ROOT = Path(__file__).parents[2]
POOLS = yaml.safe_load((ROOT / "prefect.yaml").read_text())["definitions"]["work_pools"]
# As the docs of Prefect's Kubernetes worker show it, in brief.
MANIFEST = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"labels": "{{ labels }}", "namespace": "{{ namespace }}", "generateName": "{{ name }}-"},
    "spec": {
        "ttlSecondsAfterFinished": "{{ finished_job_ttl }}",
        "template": {
            "spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "prefect-job", "image": "{{ image }}", "env": "{{ env }}"}],
            }
        },
    },
}


def default_template() -> dict[str, Any]:
    from prefect.workers.process import ProcessWorker

    return ProcessWorker.get_default_base_job_template()


def job(template: dict[str, Any], values: dict[str, Any]):
    """The configuration that a worker makes of a template and a deployment's variables, after the server's check."""
    from prefect.server.schemas.actions import validate_base_job_template
    from prefect.workers.base import BaseJobConfiguration

    class Job(BaseJobConfiguration):
        job_manifest: dict[str, Any] = Field(default_factory=dict)

    validate_base_job_template(template)
    return asyncio.run(Job.from_template_and_values(template, values, client=object()))


def test_a_container_gets_its_workers_values_and_no_server_keeps_them(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("TRAINYARD_NIGHTS", "origin/main")
    monkeypatch.delenv("TRAINYARD_NOTIFY", raising=False)
    for name, value in {"MLFLOW_TRACKING_URI": "http://head:5000", "AWS_SECRET_ACCESS_KEY": "hunter2"}.items():
        monkeypatch.setenv(name, value)
    before = default_template()
    template = pools.fitted(before, "docker")
    assert before == default_template() and "hunter2" not in str(template)
    assert pools.fitted(template, "docker") == template
    env = job(template, POOLS["docker"]["job_variables"]).env
    assert env["TRAINYARD_CHECKOUT"] == "/yard" and env["MLFLOW_TRACKING_URI"] == "http://head:5000"
    assert env["AWS_SECRET_ACCESS_KEY"] == "hunter2" and env["TRAINYARD_NIGHTS"] == "origin/main"
    assert env["TRAINYARD_NOTIFY"] == "" and "{{" not in str(env)
    assert pools.fitted(before, "process") == before


def test_a_container_is_handed_all_that_compose_gives_its_worker():
    given = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["worker"]["environment"]
    servers_own = {"PREFECT_API_URL", "TRAINYARD_NAMES", "TRAINYARD_LATE_MIN"}  # Prefect hands the first on itself
    assert given.keys() - servers_own <= set(clone.HANDED_ON)


def test_a_secret_that_a_source_names_goes_along(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text("# ${NOBODY}\nline: {download: {source: 'https://a:${PW}@h/f.zip'}}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PW", "hunter2")
    assert "NOBODY" not in clone.handed_on()
    assert job(pools.fitted(default_template(), "docker"), {}).env["PW"] == "hunter2"


def test_a_pod_has_the_claim_and_the_secret_of_the_worker_in_the_cluster(monkeypatch):
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate holds the schemas")
    monkeypatch.chdir(ROOT)
    template = default_template()
    template["job_configuration"]["job_manifest"] = copy.deepcopy(MANIFEST)
    kinds = {"image": "string", "namespace": "string", "finished_job_ttl": "integer"}
    template["variables"]["properties"] |= {name: {"type": kind} for name, kind in kinds.items()}
    template = pools.fitted(template, "kubernetes")
    assert pools.fitted(template, "kubernetes") == template
    values = POOLS["kubernetes"]["job_variables"] | {"image": "registry.example.com/trainyard"}
    made = job(template, values)
    manifest = made.job_manifest
    manifest["metadata"]["labels"] = {}
    kubernetes_validate.validate(manifest, "1.30", strict=True)
    assert made.env == values["env"] and manifest["metadata"]["namespace"] == "trainyard"
    pod = manifest["spec"]["template"]["spec"]
    assert {one["image"] for one in (*pod["containers"], *pod["initContainers"])} == {"registry.example.com/trainyard"}
    (container,) = pod["containers"]
    assert container["name"] == "prefect-job" and container["envFrom"] == [{"secretRef": {"name": "trainyard"}}]
    assert {"name": "TRAINYARD_NIGHTS", "value": "origin/main"} in container["env"]
    mounted = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert mounted["clone"] == container["workingDir"] == values["env"]["TRAINYARD_CHECKOUT"]
    assert mounted.keys() == {volume["name"] for volume in pod["volumes"]}


def test_a_pool_of_another_type_than_its_name_says_is_what_the_server_says(api, monkeypatch, capsys):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.chdir(ROOT)
    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as server:
        name = f"{uuid.uuid4().hex}-kubernetes"
        server.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=default_template()))
        pools.make(name)
    assert "is of type process on the server; by its name it would be kubernetes" in capsys.readouterr().out


def test_a_worker_of_a_wrong_folder_makes_no_pool(api, tmp_path, monkeypatch):
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PREFECT_API_URL", api)
    monkeypatch.setenv("TRAINYARD_CHECKOUT", str(tmp_path))
    monkeypatch.delenv("TRAINYARD_NIGHTS", raising=False)
    pool = uuid.uuid4().hex
    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as server:
        with pytest.raises(BadInput, match="is no clone of this yard"):
            pools.work(pool, 1)
        assert pool not in [there.name for there in server.read_work_pools()]


def test_a_pool_whose_variable_is_not_set_is_named_before_it_is_deployed(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    file = tmp_path / "prefect.yaml"
    file.write_text((ROOT / "prefect.yaml").read_text().replace("work_pool: *process", "work_pool: *docker", 1))
    found = deployments.described(file)
    monkeypatch.delenv("TRAINYARD_CLONE", raising=False)
    with pytest.raises(BadInput, match=r"^prefect.yaml: brake_coast-nightly wants TRAINYARD_CLONE, which is not set"):
        pools.refuse_unset(found)
    monkeypatch.setenv("TRAINYARD_CLONE", "/srv/yard")
    pools.refuse_unset(found)
    pools.refuse_unset(deployments.described(ROOT / "prefect.yaml"))
