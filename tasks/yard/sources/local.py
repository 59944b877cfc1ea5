"""A `source:` URI becomes a local folder; every line uses this and nothing else to reach the world outside.

    a path                   the folder itself, or an archive: zip, tar, tar.gz, tar.bz2 or tar.xz
    https://...[#sha256=]    the same archives, resumed where they were cut; SharePoint and OneDrive share links too
    s3://bucket/prefix       every object below it through fsspec; only new and changed ones are fetched
    synth://<world>?...      no folder: the line's own world makes it

Writes data/.cache/sources/<digest>/, which is no out of any stage and may be deleted while nothing runs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag

import fsspec
from tqdm import tqdm

from tasks.yard import memo
from tasks.yard.files import digest, file_hash, is_at_work, owner, read_if_there, read_json, write_json
from tasks.yard.sources import archives, dates, fetch
from tasks.yard.sources import uri as source_uri
from tasks.yard.sources.turn import turn
from tasks.yard.step import BadInput

log = logging.getLogger(__name__)

CACHE = Path("data/.cache/sources")
LISTED = ("s3", "memory")  # what is read as a listing through fsspec; memory:// is for trying that out
CONNECTIONS = 8
UNDATED = (
    "the server tells neither a version nor a date of the file (ETag, Last-Modified), so that a change that keeps its "
    "length, or any if the length is not told either, cannot be seen; `python -m flows run <line> --force STEP` "
    "fetches it anew"
)
MEMORY = "source.json"
FETCHED = "archive.json"  # as source.json, of an archive that is here and not unpacked yet
ANEW = "anew"  # in it: somebody wants it fetched, though nothing tells whether it has changed
READER = ".reader"  # ends the name of a note of a process that reads what was unpacked
SMALL_BYTES, SMALL_FILES = 64 << 20, 1000  # read and hashed in about a tenth of a second


def local(
    uri: str,
    cache: Path = CACHE,
    progress: Callable[..., Any] = tqdm,
    waits_s: Sequence[float] = fetch.WAITS_S,
    days: Sequence[str] | None = None,
) -> Path:
    """The folder with what `uri` holds now; of a bucket without what is surely of other days, if `days` are asked for
    as in dates.py. Raises `BadInput`, or `fetch.Unavailable` if the network fails."""
    shown, uri = source_uri.redacted(uri), source_uri.expanded(uri)
    kind = source_uri.scheme(uri)
    if kind == "":
        path = Path(uri).expanduser()
        if path.is_file() and (path.name.lower().endswith(archives.SUFFIXES) or archives.kind(path)):
            return _unpacked(path, cache, progress, shown)
        if not path.exists():
            raise BadInput(f"source {shown}: no such folder; a relative one is looked up from the project's folder")
        return path
    if kind in ("https", "http"):
        home = cache / digest(_link(uri))
        with turn(home, shown):
            return archives.without_single_top(_read_by_this(_web(uri, home, progress, waits_s)))
    if kind in LISTED:
        whole, of_days = cache / digest(uri), cache / digest(uri, "days")  # whoever asks for all may run beside
        home, other = (whole, of_days) if days is None else (of_days, whole)
        with turn(home, shown):
            return _listed(uri, home, other, progress, days)
    raise BadInput(f"source {shown}: {kind}:// is not known; use a folder, https://, s3:// or this line's synth://")


def forget(uri: str, cache: Path = CACHE) -> None:
    """Whoever reads it next fetches it anew, if it is a link of which nothing tells whether it has changed."""
    shown, uri = source_uri.redacted(uri), source_uri.expanded(uri)
    if source_uri.scheme(uri) in ("https", "http"):
        home = cache / digest(_link(uri))
        with turn(home, shown):
            if (known := read_if_there(home / MEMORY)) and not fetch.is_dated(known):
                write_json(home / MEMORY, {**known, ANEW: True})
            if (known := read_if_there(home / FETCHED)) and not fetch.is_dated(known):
                (home / FETCHED).unlink()


def fingerprint(uri: str) -> str:
    """A cheap hash of what the source holds now: it changes when a recording is added, at the latest. A copy of a small
    folder has the same one; a large folder is not read for it, and told by the times of its files."""
    uri = source_uri.expanded(uri)
    kind = source_uri.scheme(uri)
    if kind == "synth":
        return digest(uri)
    if kind in ("https", "http"):
        now, sha256 = fetch.describe(_link(uri)), source_uri.checksum(uri)
        if not sha256 and not fetch.is_dated(now):
            log.warning("%s: %s", source_uri.redacted(uri), UNDATED)
        return digest(now, sha256)
    if kind in LISTED:
        return digest(_listing(uri)[1])
    path = Path(uri).expanduser()
    if not path.exists():
        raise BadInput(f"source {source_uri.redacted(uri)}: no such folder")
    files = [(".", path.stat())] if path.is_file() else list(memo.listed(path))
    small = sum(stat.st_size for _, stat in files) <= SMALL_BYTES and len(files) <= SMALL_FILES
    return digest([
        (name, stat.st_size, file_hash(path / name) if small else stat.st_mtime_ns) for name, stat in files
    ])  # fmt: skip


def _link(uri: str) -> str:
    return source_uri.download_form(urldefrag(uri).url)


def _unpacked(archive: Path, cache: Path, progress: Callable[..., Any], shown: str) -> Path:
    home = cache / file_hash(archive)[:16]
    folder = home / "files"
    with turn(home, shown):
        if not folder.exists():
            archives.extract(archive, folder, shown, progress)
    return archives.without_single_top(folder)


def _web(uri: str, home: Path, progress: Callable[..., Any], waits_s: Sequence[float]) -> Path:
    url, sha256, shown = _link(uri), source_uri.checksum(uri), source_uri.redacted(uri)
    memory = home / MEMORY
    # The archive, and what is known of it, stay until it is unpacked: a killed extraction does not cost the download.
    archive, fetched = home / "archive.zip", home / FETCHED
    unpacked = read_if_there(memory)
    files = _of_content(home, unpacked.get("sha256", ""))
    before = home / "files"  # where it was unpacked while not each content had a folder of its own
    if unpacked and before.exists() and not files.exists():
        files.parent.mkdir(exist_ok=True)
        before.rename(files)
    unpacked = unpacked if files.exists() else {}
    known = read_json(fetched) if archive.exists() and fetched.exists() else {}
    now: dict = {}
    if not sha256 and (unpacked or known):  # one that is pinned by its hash needs no question
        try:
            now = fetch.describe(url)
        except fetch.Unavailable as error:
            if not unpacked:
                raise
            log.warning("%s; using what was downloaded before", error)
            return files

    def is_current(one: dict) -> bool:
        if sha256:
            return one.get("sha256") == sha256
        return bool(one) and ANEW not in one and now.items() <= one.items()

    if is_current(unpacked):
        return files
    told = sha256 or any(now.values())  # else whatever is at the link would pass for what has come
    if not (told and is_current(known)):
        known = fetch.fetch(url, archive, sha256=sha256, progress=progress, waits_s=waits_s)
        write_json(fetched, known)
    files = _of_content(home, known["sha256"])
    if not files.exists():
        try:
            archives.extract(archive, files, shown, progress)
        except archives.Damaged:
            archive.unlink()
            raise
    write_json(memory, known)
    archive.unlink()
    fetched.unlink()
    return files


def _of_content(home: Path, sha256: str) -> Path:
    """Where an archive is unpacked: another one that comes meanwhile takes nothing away from who reads this one."""
    return home / sha256[:16] / "files"


def _read_by_this(files: Path) -> Path:
    """Note beside what was unpacked that this process reads it, and remove what was at this link before and nobody
    reads any more."""
    of_content = files.parent
    _readers(of_content)
    (of_content / f"{owner()}{READER}").touch()
    for other in of_content.parent.iterdir():
        if other.is_dir() and other != of_content and not _readers(other):
            shutil.rmtree(other)
    return files


def _readers(of_content: Path) -> list[Path]:
    """The notes of the processes that are at work. Those of others are removed."""
    notes = list(of_content.glob(f"*{READER}"))
    left = [note for note in notes if is_at_work(note.name.removesuffix(READER), note.stat().st_mtime)]
    for note in set(notes) - set(left):
        note.unlink()
    return left


@contextmanager
def _plain_errors(shown: str) -> Iterator[None]:
    """Every store has errors of its own, and botocore's are not even OSErrors; their texts may hold a signed URL."""
    try:
        yield
    except (BadInput, fetch.Unavailable):
        raise
    except ImportError as error:
        raise BadInput(f"source {shown}: {error}") from None
    except PermissionError:
        raise BadInput(f"source {shown}: no access; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret") from None
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise fetch.Unavailable(f"{shown}: {reason}; run again to go on") from None


def _listing(uri: str) -> tuple[fsspec.AbstractFileSystem, dict[str, list], str, dict[str, Any]]:
    """(file system, {path below the prefix: [size, version]}, prefix, {path: when it was last changed, if told})."""
    shown = source_uri.redacted(uri)
    with _plain_errors(shown):
        system, prefix = fsspec.url_to_fs(uri, **_anonymous(uri), use_listings_cache=False)
        try:
            found = system.find(prefix, detail=True)
        except FileNotFoundError:
            found = {}
    prefix = prefix.rstrip("/")
    listing, changed = {}, {}
    for path, info in sorted(found.items()):
        name = path.removeprefix(prefix).lstrip("/")
        if ".." in Path(name).parts:
            raise BadInput(f"source {shown}: object {name!r} leads out of its folder")
        changed[name] = info.get("LastModified") or info.get("created")
        version = info.get("ETag") or info.get("LastModified") or info.get("created")
        listing[name] = [info["size"], str(version)]
    if "" in listing:
        raise BadInput(f"source {shown}: is one object; give the prefix that its recordings lie below")
    if not listing:
        raise BadInput(f"source {shown}: nothing is there")
    return system, listing, prefix, changed


def _anonymous(uri: str) -> dict:
    """Public buckets are read without a key where the environment has none."""
    keys = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    has_key = any(key in os.environ for key in keys) or Path("~/.aws/credentials").expanduser().exists()
    return {"anon": True} if source_uri.scheme(uri) == "s3" and not has_key else {}


def _of_days(listing: dict[str, list], days: Sequence[str], shown: str) -> dict[str, list]:
    left = dates.elsewhere(listing, days)
    if left:
        log.info("%s: %d of %d files lie below folders of other days and stay there", shown, len(left), len(listing))
    if len(left) == len(listing):
        raise BadInput(
            f"{shown}: none of its {len(listing)} files is of {', '.join(days)}; they go from {min(listing)} to "
            f"{max(listing)}"
        )
    return {name: version for name, version in listing.items() if name not in left}


def _listed(uri: str, home: Path, other: Path, progress: Callable[..., Any], days: Sequence[str] | None) -> Path:
    """`other`: where the same is kept of other days; what is there need not be fetched."""
    system, listing, prefix, changed = _listing(uri)
    if days is not None:
        listing = _of_days(listing, days, source_uri.redacted(uri))
    files, memory = home / "files", home / MEMORY
    known, elsewhere = read_if_there(memory), read_if_there(other / memory.name)
    for gone in set(known) - set(listing):
        (files / gone).unlink(missing_ok=True)
    todo = [name for name, version in listing.items() if known.get(name) != version or not (files / name).exists()]

    def get(name: str) -> None:
        target = files / name
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        part.unlink(missing_ok=True)
        if elsewhere.get(name) == listing[name]:
            with contextlib.suppress(OSError):  # it has been taken away meanwhile
                os.link(other / "files" / name, part)
                part.replace(target)
                return
        system.get_file(f"{prefix}/{name}", str(part))
        if part.stat().st_size != listing[name][0]:
            raise fetch.Unavailable(f"{source_uri.redacted(uri)}: {name} came incomplete; run again to go on")
        if isinstance(changed[name], datetime):  # which tells the day of a recording without a date
            os.utime(part, (changed[name].timestamp(),) * 2)
        part.replace(target)

    kept = {name: version for name, version in listing.items() if name not in todo}
    try:
        with _plain_errors(source_uri.redacted(uri)), ThreadPoolExecutor(CONNECTIONS) as pool:
            results = pool.map(get, todo)
            for name, _ in zip(todo, progress(results, total=len(todo), desc="download", unit="file"), strict=True):
                kept[name] = listing[name]
    finally:
        write_json(memory, kept)
    for folder in sorted((p for p in files.rglob("*") if p.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            shutil.rmtree(folder)
    return files
