"""compose.yaml and deploy/: as their schemas want them, with commands, variables and files that there are."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from flows.__main__ import parser

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
MANIFESTS = sorted((ROOT / "deploy/kubernetes").glob("*.yaml"))
# Read by Docker or its images; AWS_* by botocore.
OTHERS = re.compile(r"COMPOSE_\w+|POSTGRES_\w+|RCLONE_AUTH_KEY|AWS_\w+|YARD_\w+|S3_\w+|TRAINYARD_REPOSITORY")


def known(name: str) -> bool:
    """Is it a variable that the yard's code reads, or one of MLflow's servers?"""
    code = [*(ROOT / "flows").rglob("*.py"), *(ROOT / "tasks/yard").rglob("*.py")]
    parts = {name, re.sub(r"^TRAINYARD_(\w+)_PORT$", "TRAINYARD_{name}_PORT", name)}
    if name.startswith("MLFLOW_"):
        folder = Path(importlib.util.find_spec("mlflow").origin).parent
        code += [folder / "environment_variables.py", folder / "utils/cli_args.py"]
    return any(part in path.read_text() for path in code for part in parts)


def flows_commands(words: list) -> list[list[str]]:
    text = " ".join(map(str, words))
    return [found.split() for found in re.findall(r"-m flows ([a-z ]+)", text)]


def test_compose_is_as_its_schema_wants_it_and_small_by_default():
    checks = pytest.importorskip("check_jsonschema", reason="check-jsonschema holds the schema")
    jsonschema = pytest.importorskip("jsonschema")
    schema = Path(checks.__file__).parent / "builtin_schemas/vendor/compose-spec.json"
    jsonschema.Draft7Validator(json.loads(schema.read_text())).validate(COMPOSE)
    services = COMPOSE["services"]
    assert [name for name, one in services.items() if "profiles" not in one] == ["yard"]
    assert services["yard"]["scale"] == "${YARD_SMALL:-1}" and all(
        at.startswith("127.0.0.1:") for at in services["yard"]["ports"]
    )
    for name, one in services.items():
        assert set(one.get("depends_on", {})) <= services.keys()
        assert all(at.startswith(("127.0.0.1:", "${YARD_BIND:-127.0.0.1}:")) for at in one.get("ports", [])), name
        assert "healthcheck" in one or name == "worker", name
        for words in flows_commands(one.get("command") or []):
            parser().parse_args(words)
        for variable in one.get("environment", {}):
            assert OTHERS.fullmatch(variable) or known(variable), f"{name}: nobody reads {variable}"


def test_each_service_is_handed_what_it_reads():
    ours = {name: one for name, one in COMPOSE["services"].items() if one["image"] == "trainyard"}
    handed = {name: set(one["environment"]) for name, one in ours.items()}
    assert handed.keys() == {"yard", "prefect", "mlflow", "worker", "front"}
    for name, variables in handed.items():
        assert {"TRAINYARD_NOTIFY", "TRAINYARD_NOTIFY_ON", "TRAINYARD_LATE_MIN"} <= variables, name
        assert "TRAINYARD_LOGIN" in variables or name == "yard", name
    assert all("TRAINYARD_NAMES" in handed[name] for name in ("yard", "prefect", "mlflow", "front"))
    assert {"TRAINYARD_NIGHTS", "TRAINYARD_PROPOSE", "AWS_ACCESS_KEY_ID"} <= handed["worker"]
    # float("") would end whoever reads it.
    assert all(one["environment"]["TRAINYARD_LATE_MIN"] == "${TRAINYARD_LATE_MIN:-15}" for one in ours.values())
    assert {name for name, one in ours.items() if "env_file" in one} == {"yard", "worker"}  # ${NAME} in a source


def test_what_docs_say_of_the_bucket_is_so_in_compose():
    docs = (ROOT / "docs/team.md").read_text()
    (host,) = re.findall(r"dvc remote modify team endpointurl http://(\w+):8333", docs)
    assert COMPOSE["services"]["s3"]["networks"]["default"]["aliases"] == [f"${{YARD_HEAD:-{host}}}"]
    made = set(re.findall(rf"rclone config create (\w+) s3 .*endpoint=http://{host}:8333", docs))
    assert set(re.findall(r"rclone sync .*?(\w+):yard", docs)) == made


def test_no_password_stands_in_what_git_keeps_and_the_example_names_what_compose_asks_for():
    example = (ROOT / "deploy/team.env.example").read_text()
    named = dict(re.findall(r"^(?:# )?([A-Z0-9_]+)=(.*)$", example, re.M))
    assert not any(named[name] for name in ("TRAINYARD_LOGIN", "POSTGRES_PASSWORD", "S3_KEY", "S3_SECRET"))
    asked = set(re.findall(r"\$\{([A-Z0-9_]+)[:}]", (ROOT / "compose.yaml").read_text()))
    assert asked - {"TRAINYARD_PROPOSE", "NAME"} <= named.keys()
    assert named.keys() - {"COMPOSE_PROFILES"} <= asked
    ignored = subprocess.run(["git", "check-ignore", "-q", ".env"], cwd=ROOT)
    assert ignored.returncode == 0 or not shutil.which("git")


def test_the_manifests_are_as_kubernetes_wants_them_and_run_commands_that_there_are():
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate holds the schemas")
    kustomization, *rest = (
        yaml.safe_load(path.read_text()) for path in sorted(MANIFESTS, key=lambda p: p.name != "kustomization.yaml")
    )
    assert {path.name for path in MANIFESTS} == {"kustomization.yaml", *kustomization["resources"]}
    for manifest in rest:
        validate.validate(manifest, "1.30", strict=True)
    (worker,) = [one for one in rest if one["kind"] == "Deployment"]
    pod = worker["spec"]["template"]["spec"]
    images = {one["image"] for one in (*pod["containers"], *pod["initContainers"])}
    assert images == {image["name"] for image in kustomization["images"]}
    claims = {one["metadata"]["name"] for one in rest if one["kind"] == "PersistentVolumeClaim"}
    assert {
        one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if "persistentVolumeClaim" in one
    } == claims
    (container,) = pod["containers"]
    for words in flows_commands(container["command"]):
        parser().parse_args(words)
    comment = (ROOT / "deploy/kubernetes/kustomization.yaml").read_text()
    secrets = set(re.findall(r"\b(?:PREFECT|MLFLOW|TRAINYARD|AWS)_[A-Z_]+", comment))
    for name in {*secrets, *(one["name"] for one in container["env"])}:
        assert OTHERS.fullmatch(name) or known(name), f"nobody reads {name}"
