"""Sources: a folder, a zip on a real local web server that misbehaves in the ways real ones do, a bucket."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

import fsspec
import pytest
from tqdm import tqdm

from tasks.yard.sources import fetch
from tasks.yard.sources import local as sources
from tasks.yard.sources import uri as source_uri
from tasks.yard.sources.fetch import Unavailable
from tasks.yard.sources.section import FromSource
from tasks.yard.step import BadInput
from tests.flows.waiting import PATIENCE_S, wait_until
from tests.tasks.brake_coast.drives import REPO


@dataclass
class Site:
    """What the server hands out and how; what it was asked."""

    content: bytes = b""
    etag: str | None = '"v1"'
    length: bool = True  # is it told?
    content_type: str = "application/zip"
    cuts: list[int] = field(default_factory=list)  # of the next answers: break off after so many bytes
    after_cut: bytes | None = None  # another version that replaces the file once a connection was cut
    statuses: list[int] = field(default_factory=list)  # of the next answers
    head: bool = True
    down: bool = False
    held: threading.Event | None = None  # until it is set, an answer stops in the middle
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, Range
    url: str = ""


@pytest.fixture
def site():
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def parse_request(self):
            return super().parse_request() and not site.down  # hangs up without an answer

        def do_HEAD(self):
            site.asked.append(("HEAD", self.path, None))
            self.answer(body=False) if site.head else self.send_error(405)

        def do_GET(self):
            site.asked.append(("GET", self.path, self.headers.get("Range")))
            self.answer(body=True)

        def answer(self, body: bool):
            if body and site.statuses:
                self.send_error(site.statuses.pop(0))
                return
            data, start = site.content, 0
            wanted = self.headers.get("Range")
            partial = bool(wanted) and self.headers.get("If-Range", site.etag) == site.etag
            if partial:
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                start = int(first)
                data = data[start : int(last) + 1 if last else None]
            self.send_response(206 if partial else 200)
            if partial:
                self.send_header("Content-Range", f"bytes {start}-{start + len(data) - 1}/{len(site.content)}")
            if site.length:
                self.send_header("Content-Length", str(len(data)))
            self.send_header("Content-Type", site.content_type)
            if site.etag:
                self.send_header("ETag", site.etag)
            self.end_headers()
            if not body:
                return
            if site.cuts and (cut := site.cuts.pop(0)) < len(data):
                self.wfile.write(data[:cut])
                self.close_connection = True
                if site.after_cut:
                    site.content, site.etag, site.after_cut = site.after_cut, '"v2"', None
            else:
                self.wfile.write(data[: len(data) // 2])
                if site.held:
                    site.held.wait(PATIENCE_S)
                self.wfile.write(data[len(data) // 2 :])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    site.url = f"http://127.0.0.1:{server.server_port}/drives.zip"
    yield site
    server.shutdown()
    server.server_close()


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def held(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


DRIVES = {f"Training/drive-{n}/telemetry.csv": random.Random(n).randbytes(200_000) for n in range(3)}
FLAT = {name.removeprefix("Training/"): content for name, content in DRIVES.items()}


def get(uri, cache, waits_s=(0.01, 0.01)):
    return sources.local(uri, cache, waits_s=waits_s)


def gets(site) -> list[str | None]:
    return [range_ for method, _, range_ in site.asked if method == "GET"]


def test_a_zip_is_unpacked_and_its_single_top_folder_passed_over(site, tmp_path):
    site.content = packed({**DRIVES, "__MACOSX/._Training": b"x"})
    assert held(get(site.url, tmp_path)) == FLAT


def test_the_second_time_nothing_is_downloaded_until_the_file_changes(site, tmp_path):
    site.content = packed(DRIVES)
    get(site.url, tmp_path)
    get(site.url, tmp_path)
    assert gets(site) == [None]
    more = {**DRIVES, "Training/drive-9/telemetry.csv": b"9"}
    site.content, site.etag = packed(more), '"v2"'
    assert "drive-9/telemetry.csv" in held(get(site.url, tmp_path))


def test_a_cut_connection_is_resumed_where_it_broke(site, tmp_path):
    site.content, site.cuts = packed(DRIVES), [150_000, 150_000]
    assert held(get(site.url, tmp_path)) == FLAT
    assert gets(site)[0] is None
    first, second = (int(range_.removeprefix("bytes=").rstrip("-")) for range_ in gets(site)[1:])
    assert 0 < first <= 150_000 < second <= 300_000


def test_a_run_that_gave_up_is_gone_on_with_by_the_next(site, tmp_path):
    site.content, site.cuts = packed(DRIVES), [150_000]
    with pytest.raises(Unavailable, match=r"after 1 tries; 0\.\d MB are kept"):
        get(site.url, tmp_path, waits_s=())
    assert held(get(site.url, tmp_path)) == FLAT
    assert gets(site)[1] not in (None, "bytes=0-")


def test_bytes_of_two_versions_are_never_joined(site, tmp_path):
    new = {"Training/drive-1/telemetry.csv": b"another version" * 9_000}
    site.content, site.cuts, site.after_cut = packed(DRIVES), [150_000], packed(new)
    assert held(get(site.url, tmp_path)) == {"telemetry.csv": new["Training/drive-1/telemetry.csv"]}


def test_a_file_replaced_by_one_of_the_same_length_between_two_tries_comes_whole(site, tmp_path):
    """Neither offset nor length of the answer gives it away: the request has to say which file it goes on with."""
    old, new = (letter * 300_000 for letter in (b"a", b"b"))
    site.content, site.cuts, site.after_cut = old, [150_000], new
    target = tmp_path / "drives.bin"
    described = fetch.fetch(site.url, target, waits_s=(0.01,))
    assert gets(site)[1] not in (None, "bytes=0-")  # it tried to go on
    assert target.read_bytes() == new
    assert described["etag"] == '"v2"' and described["sha256"] == hashlib.sha256(new).hexdigest()


@pytest.mark.slow
def test_a_whole_download_that_was_not_renamed_is_taken_if_the_link_still_holds_it(site, tmp_path):
    class Killed(tqdm):
        def __exit__(self, *_):
            raise KeyboardInterrupt

    old, new = (letter * 300_000 for letter in (b"a", b"b"))
    for number, (now, etag, pinned) in enumerate([(old, '"v1"', False), (new, '"v2"', False), (new, '"v2"', True)]):
        target = tmp_path / str(number) / "drives.bin"
        site.content, site.etag, site.asked = old, '"v1"', []
        with pytest.raises(KeyboardInterrupt):
            fetch.fetch(site.url, target, progress=Killed)
        site.content, site.etag = now, etag
        sha256 = hashlib.sha256(old).hexdigest() if pinned else None
        described = fetch.fetch(site.url, target, sha256=sha256)
        taken = pinned or now == old
        assert target.read_bytes() == (old if taken else new) and described["etag"] == ('"v1"' if taken else etag)
        assert [method for method, *_ in site.asked] == [
            "GET",
            *([] if pinned else ["HEAD"]),
            *([] if taken else ["GET"]),
        ]


def test_without_an_etag_a_cut_download_begins_again(site, tmp_path):
    site.content, site.cuts, site.etag = packed(DRIVES), [150_000], None
    assert held(get(site.url, tmp_path)) == FLAT
    assert gets(site) == [None, None]


def test_a_busy_server_is_asked_again(site, tmp_path):
    site.content, site.statuses = packed(DRIVES), [503, 429]
    assert held(get(site.url, tmp_path)) == FLAT


@pytest.mark.parametrize(("status", "said"), [(404, "check the link"), (403, "login or has expired")])
def test_a_refused_link_is_a_persons_business(site, tmp_path, status, said):
    site.statuses = [status]
    with pytest.raises(BadInput, match=said):
        get(site.url, tmp_path)
    assert len(gets(site)) == 1


def test_a_login_page_is_told_from_a_file(site, tmp_path):
    site.content, site.content_type = b"<html>Sign in", "text/html; charset=utf-8"
    with pytest.raises(BadInput, match="web page instead of a file"):
        get(site.url, tmp_path)


def test_the_checksum_decides(site, tmp_path):
    site.content = packed(DRIVES)
    right = hashlib.sha256(site.content).hexdigest()
    with pytest.raises(BadInput, match=f"sha256 is {right}, asked for was 0000"):
        get(f"{site.url}#sha256={'0' * 64}", tmp_path)
    assert held(get(f"{site.url}#sha256={right}", tmp_path)) == FLAT
    before = len(site.asked)
    get(f"{site.url}#sha256={right}", tmp_path)
    assert len(site.asked) == before  # pinned: no need to ask


def test_offline_what_was_downloaded_stays_usable(site, tmp_path):
    site.content = packed(DRIVES)
    get(site.url, tmp_path)
    site.down = True
    assert held(get(site.url, tmp_path)) == FLAT
    with pytest.raises(Unavailable):
        get(site.url, tmp_path / "another place")


def tarred(files: dict[str, bytes], kind: bytes = tarfile.REGTYPE, mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.type, member.linkname = len(content), kind, "/etc/passwd"
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_a_tgz_is_resumed_checked_and_unpacked(site, tmp_path):
    site.content, site.cuts = tarred(DRIVES), [150_000]
    uri = f"{site.url}#sha256={hashlib.sha256(site.content).hexdigest()}"
    assert held(get(uri, tmp_path)) == FLAT
    assert len(gets(site)) == 2
    (tmp_path / "plain.tar").write_bytes(tarred(DRIVES, mode="w"))
    assert held(sources.local(str(tmp_path / "plain.tar"), tmp_path)) == FLAT


def test_a_damaged_or_cut_tgz_is_fetched_anew(site, tmp_path):
    good = tarred(DRIVES)
    for bad in (good[:100_000] + b"\0\0\0\0" + good[100_004:], good[:300_000], good[:-8] + b"\0" * 8):
        site.content, site.etag = bad, f'"{len(site.asked)}"'
        with pytest.raises(BadInput, match="damaged"):
            get(site.url, tmp_path)
        assert not list(tmp_path.rglob("*.csv"))
    site.content = good
    assert held(get(site.url, tmp_path)) == FLAT


@pytest.mark.parametrize(
    "content",
    [tarred({"../outside.csv": b"2"}), tarred({"/etc/outside.csv": b"2"}), tarred({"a.csv": b""}, tarfile.SYMTYPE)],
    ids=["parent", "absolute", "link"],  # bytes of a gzip hold the second it was made in: workers would not agree
)
def test_a_tar_never_writes_outside_of_its_folder(site, tmp_path, content):
    site.content = content
    with pytest.raises(BadInput, match="nothing was extracted"):
        get(site.url, tmp_path / "cache")
    assert not [path for path in tmp_path.rglob("*.csv")]


OUTSIDE = ["../outside.csv", "a/../../outside.csv", "/etc/outside.csv", "C:\\outside.csv", "..\\outside.csv"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_member_that_leads_outside_stops_the_archive(site, tmp_path, name):
    site.content = packed({"drive-1/telemetry.csv": b"1", name: b"2"})
    with pytest.raises(BadInput, match="nothing was extracted"):
        get(site.url, tmp_path / "cache")
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix == ".csv"]


def test_a_link_in_an_archive_stops_it(tmp_path):
    link = zipfile.ZipInfo("drive-1/telemetry.csv")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(BadInput, match="is a link"):
        sources.local(str(tmp_path / "a.zip"), tmp_path / "cache")


def test_a_damaged_archive_is_fetched_anew(site, tmp_path):
    good = packed(DRIVES)
    site.content = good[:100_000] + b"\0\0\0\0" + good[100_004:]
    with pytest.raises(BadInput, match="CRC"):
        get(site.url, tmp_path)
    site.content = good
    assert held(get(site.url, tmp_path)) == FLAT


def test_a_download_is_not_lost_when_there_was_no_room_to_extract_it(site, tmp_path):
    drive = {"drive-1/telemetry.csv": bytes(1_000_000), "drive-2/telemetry.csv": b"2"}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in drive.items():
            archive.writestr(name, content)
    site.content = buffer.getvalue()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        with pytest.raises(BadInput, match="disk is full"):
            get(site.url, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert held(get(site.url, tmp_path)) == drive
    assert len(gets(site)) == 1


def test_what_is_no_zip_is_said_to_be_none(site, tmp_path):
    site.content = b"Time,SPEED\n" * 100
    with pytest.raises(BadInput, match="no zip"):
        get(site.url, tmp_path)


def test_a_fingerprint_changes_with_what_the_source_holds(site, tmp_path):
    site.content = b"1"
    before = sources.fingerprint(site.url)
    assert sources.fingerprint(site.url) == before
    site.etag = '"v2"'
    assert sources.fingerprint(site.url) != before
    site.head = False  # signed links refuse HEAD
    assert sources.fingerprint(site.url) == sources.fingerprint(site.url)

    folder = tmp_path / "drives"
    (folder / "drive-1").mkdir(parents=True)
    before = sources.fingerprint(str(folder))
    (folder / "drive-1" / "telemetry.csv").write_text("1")
    assert sources.fingerprint(str(folder)) != before


def test_a_copy_of_a_small_folder_is_no_news_and_a_large_one_is_told_by_its_dates(tmp_path, monkeypatch):
    folder, copy = tmp_path / "drives", tmp_path / "copy"
    folder.mkdir()
    (folder / "a.csv").write_text("1234")
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    os.utime(copy / "a.csv", ns=(1, 1))
    assert sources.fingerprint(str(folder)) == sources.fingerprint(str(copy))
    (copy / "a.csv").write_text("1235")
    os.utime(copy / "a.csv", ns=(1, 1))
    assert sources.fingerprint(str(folder)) != sources.fingerprint(str(copy))
    monkeypatch.setattr(sources, "SMALL_BYTES", 3)
    before = sources.fingerprint(str(copy))
    os.utime(copy / "a.csv", ns=(2, 2))
    assert sources.fingerprint(str(copy)) != before


def test_a_file_without_a_version_is_fetched_anew_when_that_is_asked_for_and_that_is_said(site, tmp_path, caplog):
    site.etag, site.content = None, packed({"telemetry.csv": b"1"})
    folder = get(site.url, tmp_path)
    os.utime(folder / "telemetry.csv", ns=(1, 1))
    sources.forget(site.url, tmp_path)
    assert held(get(site.url, tmp_path)) == {"telemetry.csv": b"1"} and len(gets(site)) == 2
    assert (folder / "telemetry.csv").stat().st_mtime_ns == 1  # the same bytes came: what is unpacked stays
    site.content = packed({"telemetry.csv": b"2"})
    assert held(get(site.url, tmp_path)) == {"telemetry.csv": b"1"} and len(gets(site)) == 2
    sources.forget(site.url, tmp_path)
    assert held(get(site.url, tmp_path)) == {"telemetry.csv": b"2"}
    assert held(folder) == {"telemetry.csv": b"1"}  # whoever reads it goes on
    assert "--force" not in caplog.text
    sources.fingerprint(site.url)
    assert "neither a version nor a date" in caplog.text and "--force" in caplog.text


def test_a_refused_archive_of_no_version_is_fetched_anew_when_that_is_asked_for_or_no_length_is_told(site, tmp_path):
    refused, good = packed({"../bad.csv": b"1234567"}), packed({"telemetry.csv": b"1"})
    assert len(refused) == len(good)
    site.etag, site.content = None, refused
    for _ in range(2):
        with pytest.raises(BadInput, match="nothing was extracted"):
            get(site.url, tmp_path)
        site.content = good
    assert len(gets(site)) == 1
    sources.forget(site.url, tmp_path)
    assert held(get(site.url, tmp_path)) == {"telemetry.csv": b"1"}
    site.length, site.content = False, refused
    with pytest.raises(BadInput, match="nothing was extracted"):
        get(site.url, tmp_path / "other")
    site.content = good
    assert held(get(site.url, tmp_path / "other")) == {"telemetry.csv": b"1"}


def test_what_was_unpacked_before_each_content_had_a_folder_is_not_fetched_again(site, tmp_path):
    site.content = packed(DRIVES)
    get(site.url, tmp_path)
    (files,) = tmp_path.glob("*/*/files")
    files.rename(files.parents[1] / "files")
    shutil.rmtree(files.parent)
    site.down = True
    assert held(get(site.url, tmp_path)) == FLAT
    site.down = False
    assert held(get(site.url, tmp_path)) == FLAT and gets(site) == [None]


GET = "import sys; from pathlib import Path; from tasks.yard.sources import local; "
GET += "local.local(sys.argv[1], Path(sys.argv[2]))"


@pytest.mark.slow
def test_what_a_link_held_before_goes_once_nobody_reads_it(site, tmp_path):
    site.content = packed({"telemetry.csv": b"1"})
    subprocess.run([sys.executable, "-c", GET, site.url, str(tmp_path)], cwd=REPO, check=True)
    (before,) = tmp_path.rglob("telemetry.csv")
    site.content, site.etag = packed({"telemetry.csv": b"2"}), '"v2"'
    assert held(get(site.url, tmp_path)) == {"telemetry.csv": b"2"} and not before.exists()


@pytest.fixture
def two_on_one_source(site, tmp_path):
    """Two processes that want the same archive, while the first is in the middle of the download."""
    site.content, site.held = packed(FLAT), threading.Event()
    command = [sys.executable, "-c", GET, site.url, str(tmp_path)]
    first = subprocess.Popen(command, cwd=REPO, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(gets(site)) == 1 or first.poll() is not None, "the first request")
    said = tmp_path / "said.txt"
    with said.open("w") as errors:
        second = subprocess.Popen(command, cwd=REPO, stderr=errors)
    wait_until(lambda: "waiting" in said.read_text() or len(gets(site)) == 2, "the second process")
    yield first, second
    for process in (first, second):
        process.kill()
        process.wait()


@pytest.mark.slow
def test_the_second_process_on_a_source_uses_what_the_first_has_made(site, tmp_path, two_on_one_source):
    site.held.set()
    assert [process.wait(PATIENCE_S) for process in two_on_one_source] == [0, 0]
    assert len(gets(site)) == 1
    assert held(get(site.url, tmp_path)) == FLAT


@pytest.mark.slow
def test_the_second_process_goes_on_where_the_first_was_killed(site, tmp_path, two_on_one_source):
    first, second = two_on_one_source
    first.kill()
    first.wait()
    site.held.set()
    assert second.wait(PATIENCE_S) == 0
    assert held(get(site.url, tmp_path)) == FLAT and len(gets(site)) == 2


def test_a_listing_fetches_what_is_new_and_drops_what_is_gone(tmp_path):
    bucket = fsspec.filesystem("memory")
    uri = f"memory://{tmp_path.name}"
    for n in range(3):
        bucket.pipe(f"/{tmp_path.name}/drive-{n}/telemetry.csv", b"%d" % n)
    folder = sources.local(uri, tmp_path)
    assert held(folder) == {f"drive-{n}/telemetry.csv": b"%d" % n for n in range(3)}
    kept = (folder / "drive-1/telemetry.csv").stat().st_ino
    before = sources.fingerprint(uri)

    bucket.pipe(f"/{tmp_path.name}/drive-2/telemetry.csv", b"changed")
    bucket.rm(f"/{tmp_path.name}/drive-0", recursive=True)
    assert sources.fingerprint(uri) != before
    assert held(sources.local(uri, tmp_path)) == {"drive-1/telemetry.csv": b"1", "drive-2/telemetry.csv": b"changed"}
    assert (folder / "drive-1/telemetry.csv").stat().st_ino == kept


def test_of_a_bucket_no_other_days_are_fetched_and_what_is_here_is_fetched_once(tmp_path, monkeypatch, caplog):
    bucket, uri = fsspec.filesystem("memory"), f"memory://{tmp_path.name}"
    names = [f"2026-01-{day:02}/drive-{n}/log.csv" for day in (1, 2, 3) for n in range(2)]
    for name in names:
        bucket.pipe(f"/{tmp_path.name}/{name}", name.encode())
    fetched: list[str] = []
    get_file = type(bucket).get_file
    monkeypatch.setattr(
        type(bucket), "get_file", lambda self, path, *more: fetched.append(path) or get_file(self, path, *more)
    )

    def there(*days: str) -> list[str]:
        return sorted(held(sources.local(uri, tmp_path, days=list(days) or None)))

    caplog.set_level("INFO")
    assert there("2026-01-02") == names[2:4] and len(fetched) == 2
    assert "4 of 6 files lie below folders of other days and stay there" in caplog.text
    assert there("2026-01-02", "2026-01-03") == names[2:] and len(fetched) == 4
    assert there() == names and len(fetched) == 6
    assert there("2026-01-01..2026-01-02") == names[:4] and len(fetched) == 6
    with pytest.raises(
        BadInput, match=r"none of its 6 files is of 2025-01-01; they go from 2026-01-01/drive-0/log\.csv"
    ):
        there("2025-01-01")


@pytest.mark.slow
def test_a_bucket_is_read_over_its_real_protocol(tmp_path, monkeypatch):
    objects = {"night/drive-1/telemetry.csv": b"1" * 1000, "night/drive-2/telemetry.csv": b"22", "day/other.csv": b"3"}

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_GET(self):
            url = urlsplit(self.path)
            key = unquote(url.path).removeprefix("/drives").lstrip("/")
            if key in objects:
                self.answer(objects[key], "binary/octet-stream")
                return
            prefix = dict(parse_qsl(url.query)).get("prefix", "")
            keys = "".join(
                f"<Contents><Key>{key}</Key><Size>{len(data)}</Size><ETag>&quot;{hash(data)}&quot;</ETag>"
                "<LastModified>2025-04-03T19:33:31.000Z</LastModified></Contents>"
                for key, data in objects.items()
                if key.startswith(prefix)
            )
            listing = f"<ListBucketResult><IsTruncated>false</IsTruncated>{keys}</ListBucketResult>"
            self.answer(listing.encode(), "text/xml")

        def do_HEAD(self):
            self.send_error(404)

        def answer(self, data: bytes, kind: str):
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ada")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    try:
        folder = sources.local("s3://drives/night", tmp_path)
        assert held(folder) == {"drive-1/telemetry.csv": b"1" * 1000, "drive-2/telemetry.csv": b"22"}
        before = sources.fingerprint("s3://drives/night")
        objects["night/drive-3/telemetry.csv"] = b"333"
        assert sources.fingerprint("s3://drives/night") != before
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("uri", "said"), [("nowhere", "no such folder"), ("ftp://h/x", "not known"), ("memory://none", "nothing")]
)
def test_a_source_that_is_not_there_is_named(tmp_path, uri, said):
    with pytest.raises(BadInput, match=said):
        sources.local(uri, tmp_path)


def test_no_credential_is_shown(site, tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("DRIVES_KEY", "hunter2")
    host = site.url.removeprefix("http://").removesuffix("/drives.zip")
    uri = f"http://ada:${{DRIVES_KEY}}@{host}/drives.zip?sig=${{DRIVES_KEY}}"
    site.statuses = [503, 503, 503]
    with pytest.raises(Unavailable) as failed:
        get(uri, tmp_path)
    site.content = b"no zip"
    with pytest.raises(BadInput) as broken:
        get(uri, tmp_path)
    assert any("hunter2" in path for _, path, _ in site.asked)  # it was used
    shown = "\n".join([str(failed.value), str(broken.value), caplog.text, *map(str, tmp_path.rglob("*"))])
    assert "hunter2" not in shown and host in shown


def test_a_password_in_params_is_refused_without_showing_it():
    for uri in (
        "https://ada:hunter2@host/a.zip", "https://hunter2@host/a.zip", "https://ada:${KEY}hunter2@host/a.zip",
        "https://ada:hunter2/x@host/a.zip", "https://host/a.zip?sig=hunter2", "https://host/a.zip#hunter2",
        "s3://b/c?token=hunter2", "https://host/a.zip?x=hunter2hunter2hunter2hunter2",
        "https://x.sharepoint.com/:u:/g/personal/ada/hunter2?e=tok", "https://1drv.ms/u/s!hunter2",
        "https://cloud.example.com/s/hunter2hunter2a/download", "https://app.box.com/s/hunter2hunter2hunter2hunter2abcd",
        "https://seafile.example.com/f/00hunter200hunter200/", "https://files.example.com/dl/hunter2hunter2hunter2/a.zip",
        "https://files.example.com/links/Hunter2hunter2hunter2-hunter2/a.zip", " https://ada:hunter2@host/a.zip",
        "https://host/a.zip?pass=hunter2", "https://host/a.zip?pw=hunter2", "https://host/a.zip?access=hunter2",
        "https://host/a.zip?jwt=hunter2",
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"\$\{NAME\}") as refused:
            FromSource(source=uri)
        assert "hunter2" not in refused.value.errors()[0]["msg"]
        assert "hunter2" not in source_uri.redacted(uri).lower()
    pinned = f"https://host/a.zip?version=2#sha256={'a' * 64}"
    given = ("https://ada:${KEY}@host/a.zip?sig=${SIG}", "https://x.sharepoint.com/:u:/g/${SHARE}", "${LINK}", pinned)
    names = (
        f"https://host/resolve/{'0123456789' * 4}/a.zip", "https://host/drives-from-2024-06-01-to-2024-06-30/a.zip",
        "https://host/s/drives/a.zip", "https://host/a.zip?bypass=1", "s3://bucket/f/Drives_Of_The_Summer_2024_Part_2/",
        "https://host/datasets/Bench2Drive-Base-1000-Clips-Resolved/main/a.tar.gz", "https://host/d/highway_recordings_2024/",
        "https://host/records/123/files/WILDTRACK-Seven-Camera-2018/content",
    )  # fmt: skip
    for uri in (*given, *names, "../shared/real", "synth://highway?seed=0", "s3://bucket/drives"):
        assert FromSource(source=uri).source == uri
    assert all(source_uri.redacted(uri) == uri for uri in names if "?" not in uri)


def test_a_link_that_is_wholly_in_the_environment_is_read_as_one_and_never_shown(site, tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    host = site.url.removeprefix("http://").removesuffix("/drives.zip")
    monkeypatch.setenv("LINK", f"http://ada:hunter2@{host}/s/hunter2hunter2a/drives.zip?x=hunter2")
    site.content = packed(DRIVES)
    assert held(get("${LINK}", tmp_path)) == FLAT
    shown = []
    site.content, site.statuses = b"no zip", [503, 503, 503]
    for _ in range(2):
        with pytest.raises((Unavailable, BadInput)) as failed:
            get("${LINK}#sha256=" + "0" * 64, tmp_path)
        shown.append(str(failed.value))
    assert all("${LINK}" in text for text in shown)
    assert "hunter2" not in "\n".join([*shown, caplog.text, *map(str, tmp_path.rglob("*"))])
    monkeypatch.setenv("LINK", f"  http://{host}/drives.zip")
    site.content = packed(DRIVES)
    assert held(get(" ${LINK} ", tmp_path)) == FLAT
    monkeypatch.setenv("LINK", "https://ada:hunt/er2@host/a.zip")
    with pytest.raises(BadInput, match="write %2F for /") as refused:
        get("${LINK}", tmp_path)
    assert "hunt" not in str(refused.value)


def test_an_unset_variable_is_named(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(BadInput, match="no NO_SUCH_KEY"):
        sources.local("https://ada:${NO_SUCH_KEY}@host/a.zip")


def test_a_share_link_is_asked_for_the_file():
    link = "https://x.sharepoint.com/:u:/g/personal/ada/EaBcD?e=tok&web=1"
    assert source_uri.download_form(link) == "https://x.sharepoint.com/:u:/g/personal/ada/EaBcD?e=tok&download=1"
    assert source_uri.download_form("https://host/a.zip?e=1") == "https://host/a.zip?e=1"
