"""Which Ray cluster the environment names, without Ray: its import takes a second that a run without it does not pay.

TRAINYARD_RAY = auto (the cluster that runs on this machine), ray://host:10001, or host:6379
"""

from __future__ import annotations

import importlib.util
import os
import socket
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

VARIABLE = "TRAINYARD_RAY"
CLIENT_PORT, HEAD_PORT = 10001, 6379
PATIENCE_S = 4.0


def told() -> str:
    """The address that the variable holds, empty if it is not set."""
    return os.environ.get(VARIABLE, "").strip()


def _place() -> str | None:
    """Where to ask; None where `auto` finds nothing on this machine."""
    if told() != "auto":
        return told()
    file = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(), "ray", "ray_current_cluster")
    return os.environ.get("RAY_ADDRESS") or (file.read_text(encoding="utf-8").strip() if file.exists() else None)


def fault() -> str | None:
    """Why work cannot go there now, None if it can: is Ray installed, and does the address answer?"""
    what = f"{VARIABLE}={told()}"
    if importlib.util.find_spec("ray") is None:
        return f"{what}: Ray is not installed; `uv pip install -e '.[cluster]'` in the checkout, or unset the variable"
    if (place := _place()) is None:
        return f"{what}: no Ray runs on this machine; `ray start --head`, or unset the variable"
    address = urlsplit(place if "://" in place else f"//{place}")
    try:
        port = address.port or (CLIENT_PORT if address.scheme == "ray" else HEAD_PORT)
    except ValueError:
        return f"{what}: its port is no number; auto, ray://host:10001 or host:6379"
    try:
        socket.create_connection((address.hostname or "", port), PATIENCE_S).close()
    except OSError as error:
        return f"{what}: {address.hostname}:{port} does not answer ({error}); start it, or unset the variable"
    return None
