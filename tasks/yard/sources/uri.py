"""What a `source:` URI says, as text: where it points, and which part of it is nobody's business.

`${NAME}` in a URI is taken from the environment, so that a password or a signed query stays out of params.yaml, and
with it out of dvc.lock, MLflow and git.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from tasks.yard.sources.archives import SUFFIXES
from tasks.yard.step import BadInput

SHARE_HOSTS = (".sharepoint.com", "onedrive.live.com", "1drv.ms")
NAMED = re.compile(r"\$\{(\w+)\}")
# What lets in whoever has the link: SharePoint's path holds /:u:/ and a token, Nextcloud's /s/ and 15 letters, Box's as
# many or more with digits, as Seafile's after /f/ or /d/ and others' after /dl/.
KEY_HOSTS = (*SHARE_HOSTS[1:], "dropbox.com", "drive.google.com", "docs.google.com", "we.tl", "wetransfer.com")
KEY_PATH = re.compile(r"/:\w:/|/s/\w{15}(/|$)|/(s|f|d|dl)/(?=[^/]*\d)(?=[^/]*[A-Za-z])[A-Za-z0-9]{15,}(/|$)")
SECRET_WORDS = ("secret", "token", "passw", "pwd", "sig", "cred", "auth", "apikey", "api_key", "session", "jwt")
SECRET_KEYS = {"key", "rlkey", "code", "e", "pass", "pw", "access"}
TOKEN = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[\w-]{24,}")
# In a path a digest is a version, and words with a date are a name: there a token has a long piece of both cases too.
PATH_TOKEN_LENGTH, RANDOM_PIECE = 24, re.compile(r"(?=.*\d)(?=.*[a-z])(?=.*[A-Z])[A-Za-z0-9]{16,}")
QUOTE = "in a password, write %2F for /, %23 for #, %3F for ?, %40 for @ and %25 for %"
SHORTEST_SECRET = 4  # a shorter value is part of too many words to be taken out of a text

_put_in: dict[str, str] = {}  # {what this process has taken from the environment: ${NAME}}


def scheme(uri: str) -> str:
    """synth, https, s3, ...; empty for a path. A one-letter scheme is a drive of Windows."""
    found = re.match(r"([a-z][a-z0-9+.-]+)://", uri.strip(), re.IGNORECASE)
    return found[1].lower() if found else ""


def expanded(uri: str) -> str:
    """The URI with every `${NAME}` replaced from the environment. `redacted` shows the name for what was put in."""

    def value(match: re.Match) -> str:
        if match[1] not in os.environ:
            raise BadInput(f"source {redacted(uri)}: the environment has no {match[1]}; export it first")
        found = os.environ[match[1]].strip()  # a file with a secret likes to end in a line break
        _put_in[found] = match[0]
        return found

    found = NAMED.sub(value, uri)
    found = found.strip() if scheme(found) else found
    if scheme(found) and not _is_address(found):
        raise BadInput(f"source {redacted(uri)}: is no address with the values of the environment; {QUOTE}")
    return found


def _is_address(uri: str) -> bool:
    try:
        return urlsplit(uri.strip()).port != 0
    except ValueError:  # its text may show a part of the password
        return False


def redacted(uri: str) -> str:
    """The URI as it may be shown: no user, no password, no query but that of a world, no fragment; of a share link its
    host; `${NAME}` for what came from the environment."""
    shown = _plain(uri)
    for value, name in sorted(_put_in.items(), key=lambda pair: -len(pair[0])):
        for text in {value, quote(value), unquote(value), _plain(value)}:
            shown = shown.replace(text, name) if len(text) >= SHORTEST_SECRET else shown
    return shown


def _plain(uri: str) -> str:
    if not scheme(uri) or scheme(uri) == "synth":
        return uri
    if not _is_address(uri):
        return f"{scheme(uri)}://..."
    parts = urlsplit(uri.strip())
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, "/..." if _is_key(parts) else parts.path, "", ""))


def _is_key(parts: SplitResult) -> bool:
    """Is it a share link whose path is the key, written out?"""
    if NAMED.search(parts.path) or parts.scheme.lower() not in ("http", "https"):
        return False
    if (parts.hostname or "").endswith(KEY_HOSTS) or KEY_PATH.search(parts.path):
        return True
    long = (part for part in unquote(parts.path).split("/") if len(part) >= PATH_TOKEN_LENGTH)
    return any(RANDOM_PIECE.fullmatch(piece) for part in long for piece in re.split("[-_]", part))


def secret_in(uri: str) -> str | None:
    """What of a URI is a secret written out, None if nothing is; `${NAME}` is none."""
    if scheme(uri) in ("", "synth"):
        return None
    if not _is_address(uri):
        return f"no usable address ({QUOTE})"
    parts = urlsplit(uri.strip())

    def is_named(value: str) -> bool:
        return not NAMED.sub("", value)

    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    if not is_named(password):
        return "a password"
    if not password and not is_named(user):
        return "a user or token"
    if _is_key(parts):
        return "a share link, which lets in whoever has it"
    for key, value in parse_qsl(parts.query):
        known = key.lower() in SECRET_KEYS or any(word in key.lower() for word in SECRET_WORDS)
        if not is_named(value) and (known or TOKEN.fullmatch(value)):
            return f"the query {key!r}"
    if not is_named(parts.fragment) and not parts.fragment.startswith("sha256="):
        return "a part after #"
    return None


def address_free(value: Any) -> str:
    """A value of params.yaml as an error may show it: nothing of an address, which may hold a password."""
    text = repr(value)
    return "(an address)" if "://" in text.replace("synth://", "") else text


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
