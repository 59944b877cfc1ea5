"""One file over HTTP that survives a cut connection: `<target>.part` grows across tries and runs, then is renamed.

Reads a URL. Writes `target`; while it is under way `<target>.part`, and in `<target>.part.json` what the server said
of the file, so that bytes of two versions are never joined: a resumed request carries `If-Range`, and its answer is
checked for offset and length.
"""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
from tqdm import tqdm

from tasks.yard.files import FULL_DISK, file_hash, read_json, write_json
from tasks.yard.sources import uri as source_uri
from tasks.yard.step import BadInput

log = logging.getLogger(__name__)

WAITS_S = (1, 2, 4, 8)  # between five tries; a flow tries the whole step again later
TIMEOUT = httpx.Timeout(60, connect=20)
TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}


class Unavailable(ConnectionError):
    """The other side could not be reached or stopped sending; what came so far is kept, so running again goes on."""


@contextlib.contextmanager
def _client() -> Iterator[httpx.Client]:
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)  # they log whole URLs, signatures included
    # identity: offsets count the bytes of the file, not of a compressed transfer.
    with httpx.Client(follow_redirects=True, timeout=TIMEOUT, headers={"Accept-Encoding": "identity"}) as client:
        yield client


def _check(response: httpx.Response, shown: str) -> None:
    if response.status_code in TRY_AGAIN:
        raise Unavailable(f"{shown}: the server answered {response.status_code}")
    if response.status_code in (401, 403):
        raise BadInput(f"{shown}: the server answered {response.status_code}; the link wants a login or has expired")
    if response.status_code >= 400 and response.status_code != 416:
        raise BadInput(f"{shown}: the server answered {response.status_code}; check the link")
    if response.headers.get("content-type", "").startswith("text/html"):
        raise BadInput(
            f"{shown}: got a web page instead of a file, most likely a login or a preview ({response.url.host}); "
            "share it with 'anyone with the link', or give a direct link"
        )


def _description(headers: httpx.Headers, length: int | None) -> dict:
    return {"etag": headers.get("etag"), "last_modified": headers.get("last-modified"), "length": length}


def _length(headers: httpx.Headers) -> int | None:
    value = headers.get("content-length", "")
    return int(value) if value.isdigit() else None


def _total(headers: httpx.Headers) -> int | None:
    """The whole file's length of a partial answer, `bytes 5-9/10`."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("content-range", ""))
    return int(found[2]) if found else None


def describe(url: str) -> dict:
    """{etag, last_modified, length} of what the URL holds now, without downloading it."""
    shown = source_uri.redacted(url)
    try:
        with _client() as client:
            response = client.head(url)
            if response.status_code < 400:
                _check(response, shown)
                return _description(response.headers, _length(response.headers))
            # Some servers, signed links among them, refuse HEAD: ask for one byte instead.
            with client.stream("GET", url, headers={"Range": "bytes=0-0"}) as response:
                _check(response, shown)
                partial = response.status_code == 206
                length = _total(response.headers) if partial else _length(response.headers)
                return _description(response.headers, length)
    except httpx.HTTPError as error:
        raise Unavailable(f"{shown}: {type(error).__name__}") from None


def is_dated(known: dict) -> bool:
    """Does the server say anything by which another version of the file would show? Its length alone would not do."""
    return bool(known["etag"] or known["last_modified"])


def _validator(known: dict) -> str | None:
    """What `If-Range` may carry: a strong ETag, else the date."""
    etag = known.get("etag")
    return etag if etag and not etag.startswith("W/") else known.get("last_modified")


def _one_try(client: httpx.Client, url: str, part: Path, sha256: str | None, progress: Callable[..., tqdm]) -> dict:
    """Go on where `part` ends, or begin again if the server's file is another one. Returns its description."""
    shown = source_uri.redacted(url)
    memory = part.with_name(part.name + ".json")
    known = read_json(memory) if memory.exists() and part.exists() else {}
    offset = part.stat().st_size if known and _validator(known) else 0
    if offset and offset == known["length"]:  # killed before it was renamed; meanwhile another may be at the link
        if sha256 or describe(url) == known:
            return known
        offset = 0
    headers = {"Range": f"bytes={offset}-", "If-Range": _validator(known)} if offset else {}
    with client.stream("GET", url, headers=headers) as response:
        _check(response, shown)
        if response.status_code == 206:
            given, wanted = response.headers.get("content-range", ""), f"bytes {offset}-"
            if not given.startswith(wanted) or _total(response.headers) != known["length"]:
                part.unlink()
                raise Unavailable(f"{shown}: asked for {wanted}, got {given}; beginning again")
            log.info("%s: going on at %.1f MB", shown, offset / 1e6)
        elif response.status_code == 416:
            part.unlink()
            raise Unavailable(f"{shown}: the file is shorter than what is here; beginning again")
        else:
            offset, known = 0, _description(response.headers, _length(response.headers))
            write_json(memory, known)
        length = known["length"]
        free = shutil.disk_usage(part.parent).free
        if length and length - offset > free:
            raise BadInput(f"{shown}: {length / 1e9:.2f} GB do not fit, {free / 1e9:.2f} GB are free in {part.parent}")
        bar = progress(total=length, initial=offset, desc=part.stem, unit="B", unit_scale=True)
        with part.open("ab" if offset else "wb") as file, bar:
            for chunk in response.iter_raw():  # as it comes: a larger chunk would be lost when the connection breaks
                file.write(chunk)
                bar.update(len(chunk))
    if length is not None and part.stat().st_size != length:
        raise Unavailable(f"{shown}: {part.stat().st_size} of {length} bytes came")
    return known


def fetch(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    progress: Callable[..., Any] = tqdm,
    waits_s: Sequence[float] = WAITS_S,
) -> dict:
    """Download `url` to `target`. Returns {etag, last_modified, length, sha256}.

    Raises `Unavailable` once all tries failed (run again to go on), `BadInput` for what a person has to mend: a refused
    link, a web page instead of a file, a full disk, another sha256 than asked for (the bytes are then thrown away).
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    shown = source_uri.redacted(url)
    with _client() as client:
        for wait_s in (*waits_s, None):
            try:
                known = _one_try(client, url, part, sha256, progress)
                break
            except (httpx.HTTPError, Unavailable) as error:
                reason = str(error) if isinstance(error, Unavailable) else f"{shown}: {type(error).__name__}"
                if wait_s is None:
                    kept = part.stat().st_size / 1e6 if part.exists() else 0
                    kept_text = f"{kept:.1f} MB are kept, run again to go on"
                    raise Unavailable(f"{reason}, after {len(waits_s) + 1} tries; {kept_text}") from None
                log.warning("%s; trying again in %g s", reason, wait_s)
                time.sleep(wait_s)
            except OSError as error:
                if error.errno not in FULL_DISK:
                    raise
                raise BadInput(f"{shown}: the disk is full ({part.parent}); make room and run again to go on") from None
    found = file_hash(part)
    if sha256 and found != sha256:
        part.unlink()
        raise BadInput(f"{shown}: sha256 is {found}, asked for was {sha256}; the download is thrown away")
    part.replace(target)
    part.with_name(part.name + ".json").unlink(missing_ok=True)
    return {**known, "sha256": found}
