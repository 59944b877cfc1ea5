"""Does the server of MLflow, or the database behind it, answer? Asked before any work that needs it, within seconds."""

from __future__ import annotations

import os
import socket
import ssl
from urllib.parse import urlsplit

from tasks.yard.sources.uri import redacted

LIMIT_S = 5.0
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
ASKED = "api/2.0/mlflow/experiments/search?max_results=1"  # needs the server's database; /health does not


def shown(uri: str) -> str:
    return f"MLFLOW_TRACKING_URI={redacted(uri)}"


def fault(uri: str) -> str | None:
    """Why the store of that address cannot be used now, with the fix; None if nothing speaks against it."""
    kind = urlsplit(uri).scheme.partition("+")[0]
    if kind in ("http", "https"):
        said = _server(uri)
    elif kind in PORTS:
        said = _database(uri, PORTS[kind])
    elif kind in ("", "file"):
        said = "MLflow keeps runs in no folder any more; use sqlite:///<file>.db, or the http(s):// of a server"
    else:
        said = None  # such as databricks: it has settings of its own, which only MLflow reads
    return said and f"{shown(uri)} {said}"


def _server(uri: str) -> str | None:
    import httpx

    user, token = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_TOKEN")
    auth = (user, os.environ.get("MLFLOW_TRACKING_PASSWORD", "")) if user else None
    try:
        reply = httpx.get(
            f"{uri.rstrip('/')}/{ASKED}", timeout=LIMIT_S, auth=auth, verify=_trusted(), follow_redirects=True,
            headers={"Authorization": f"Bearer {token}"} if token and not user else {},
        )  # fmt: skip
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return f"does not answer ({error}); start that server, or unset the variable to use mlflow.db of this checkout"
    if reply.status_code in (401, 403):
        return f"refuses us ({reply.status_code}); set MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN"
    if reply.status_code >= 500:
        return f"answers with an error ({reply.status_code} {reply.reason_phrase}); look into the log of that server"
    if reply.status_code >= 400:
        return f"answers, but not as MLflow does ({reply.status_code}); mend the address"
    return None


def _trusted() -> bool | ssl.SSLContext:
    """Of https: as MLflow's own settings say."""
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
        return False
    bundle = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH")
    return ssl.create_default_context(cafile=bundle) if bundle else True


def _database(uri: str, port: int) -> str | None:
    parts = urlsplit(uri)
    try:
        socket.create_connection((parts.hostname or "localhost", parts.port or port), LIMIT_S).close()
    except (OSError, ValueError) as error:
        return f"does not answer ({error}); start that database"
    return None
