"""What a `source:` URI says, as text: where it points, and which part of it is nobody's business.

`${NAME}` in a URI is taken from the environment, so that a password or a signed query stays out of params.yaml, and
with it out of dvc.lock, MLflow and git.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from tasks.yard.sources.archives import SUFFIXES
from tasks.yard.step import BadInput

SHARE_HOSTS = (".sharepoint.com", "onedrive.live.com", "1drv.ms")


def scheme(uri: str) -> str:
    """synth, https, s3, ...; empty for a path. A one-letter scheme is a drive of Windows."""
    found = re.match(r"([a-z][a-z0-9+.-]+)://", uri, re.IGNORECASE)
    return found[1].lower() if found else ""


def expanded(uri: str) -> str:
    """The URI with every `${NAME}` replaced from the environment."""

    def value(match: re.Match) -> str:
        if match[1] not in os.environ:
            raise BadInput(f"source {redacted(uri)}: the environment has no {match[1]}; export it first")
        return os.environ[match[1]]

    return re.sub(r"\$\{(\w+)\}", value, uri)


def redacted(uri: str) -> str:
    """The URI as it may be shown: no user, no password, no query but that of a world, no fragment."""
    if not scheme(uri) or scheme(uri) == "synth":
        return uri
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def download_form(uri: str) -> str:
    """A SharePoint or OneDrive share link shows a page; with `download=1` it hands out the file."""
    parts = urlsplit(uri)
    if not (parts.hostname or "").endswith(SHARE_HOSTS):
        return uri
    query = [pair for pair in parse_qsl(parts.query) if pair[0] not in ("download", "web")]
    return urlunsplit(parts._replace(query=urlencode([*query, ("download", "1")])))


def checksum(uri: str) -> str | None:
    """The sha256 that the fragment `#sha256=...` asks for."""
    fragment = urlsplit(uri).fragment if scheme(uri) else ""
    if not fragment:
        return None
    name, _, value = fragment.partition("=")
    if name != "sha256" or not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise BadInput(f"source {redacted(uri)}: the part after # has to be sha256=<64 hexadecimal digits>")
    return value.lower()


def slug(text: str, empty: str = "data") -> str:
    """As the name of a folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or empty


def name_of(uri: str) -> str:
    """What a source is called: the last part of its path, without the end of an archive."""
    path = Path(urlsplit(uri).path if scheme(uri) else Path(uri).expanduser().resolve())
    suffix = next((s for s in SUFFIXES if path.name.lower().endswith(s)), "")
    return slug(path.name[: len(path.name) - len(suffix)])
