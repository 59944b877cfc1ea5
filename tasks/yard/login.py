"""TRAINYARD_LOGIN=user:password: the one name and password of a team's servers, for who serves and for who asks.

Prefect and MLflow have settings of their own for that, which win where they are set.
"""

from __future__ import annotations

import base64
import os

from tasks.yard.step import BadInput

NAME = "TRAINYARD_LOGIN"
LEAST = 12  # characters of a password: MLflow takes no shorter one


def given() -> tuple[str, str] | None:
    """User and password. Raises `BadInput` without showing them."""
    text = os.environ.get(NAME, "").strip()
    if not text:
        return None
    user, colon, password = text.partition(":")
    if not (user and colon) or len(password) < LEAST:
        raise BadInput(f"{NAME} has to be user:password, with {LEAST} or more characters of password; set it anew")
    return user, password


def hand_on() -> None:
    """Let the clients of Prefect and MLflow in this process, and in those that it starts, use it."""
    if found := given():
        os.environ.setdefault("PREFECT_API_AUTH_STRING", ":".join(found))
        if not os.environ.get("MLFLOW_TRACKING_TOKEN"):
            os.environ.setdefault("MLFLOW_TRACKING_USERNAME", found[0])
            os.environ.setdefault("MLFLOW_TRACKING_PASSWORD", found[1])


def header(user_and_password: str | None) -> dict[str, str]:
    """Of HTTP's basic authentication, empty without a login."""
    if not user_and_password:
        return {}
    return {"Authorization": f"Basic {base64.b64encode(user_and_password.encode()).decode()}"}


def of_prefect() -> dict[str, str]:
    return header(os.environ.get("PREFECT_API_AUTH_STRING"))


def of_mlflow() -> dict[str, str]:
    if user := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        return header(f"{user}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}")
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}
