"""Does the server of MLflow, or the database behind it, answer? Asked before any work that needs it, within seconds."""

from __future__ import annotations

import os
import ssl
from urllib.parse import urlsplit

from tasks.yard import login
from tasks.yard.sources.uri import redacted
from tasks.yard.tracking import database

LIMIT_S = 5.0
ARTIFACTS_LIMIT_S = 8.0  # a bucket that is away is asked again by the server before it says so
ASKED = "api/2.0/mlflow/experiments/search?max_results=1"  # needs the server's database; /health does not


def shown(uri: str) -> str:
    return f"MLFLOW_TRACKING_URI={redacted(uri)}"


def fault(uri: str) -> str | None:
    """Why the store of that address cannot be used now, with the fix; None if nothing speaks against it."""
    kind = urlsplit(uri).scheme.partition("+")[0]
    if kind in ("http", "https"):
        said = _server(uri)
    elif database.kind(uri):
        said = database.fault(uri)
    elif kind in ("", "file"):
        said = "MLflow keeps runs in no folder any more; use sqlite:///<file>.db, or the http(s):// of a server"
    else:
        said = None  # such as databricks: it has settings of its own, which only MLflow reads
    return said and f"{shown(uri)} {said}"


def _server(uri: str) -> str | None:
    import httpx

    try:
        reply = _get(uri, ASKED, LIMIT_S)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return f"does not answer ({error}); start that server, or unset the variable to use mlflow.db of this checkout"
    if reply.status_code == 401:
        return (
            f"refuses us (401); set {login.NAME}, or MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    if reply.status_code == 403:
        return (
            f"refuses us (403: {reply.text.strip()[:80]}); set MLFLOW_TRACKING_USERNAME and _PASSWORD, or let that "
            "server be called so, by its TRAINYARD_NAMES or --allowed-hosts"
        )
    if reply.status_code >= 500:
        return f"answers with an error ({reply.status_code} {reply.reason_phrase}); look into the log of that server"
    if reply.status_code >= 400:
        return f"answers, but not as MLflow does ({reply.status_code}); mend the address"
    return None


def artifacts_fault(uri: str) -> str | None:
    """Why the server cannot hand out artifacts now: of S3 or a disk behind it its other answers say nothing."""
    import httpx

    try:
        reply = _get(uri, "api/2.0/mlflow-artifacts/artifacts", ARTIFACTS_LIMIT_S)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        said = f"{error}"
    else:
        if reply.status_code < 500 or "serve-artifacts" in reply.text:  # else it leaves them to its clients
            return None
        said = f"{reply.status_code} {reply.reason_phrase}"
    return (
        f"{shown(uri)}: its artifacts cannot be had ({said}); look at the bucket behind it: what a run has for it is "
        "kept here and sent later"
    )


def _get(uri: str, path: str, limit_s: float):
    import httpx

    return httpx.get(
        f"{uri.rstrip('/')}/{path}", timeout=limit_s, headers=login.of_mlflow(), verify=_trusted(),
        follow_redirects=True,
    )  # fmt: skip


def _trusted() -> bool | ssl.SSLContext:
    """Of https: as MLflow's own settings say."""
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
        return False
    bundle = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH")
    return ssl.create_default_context(cafile=bundle) if bundle else True
