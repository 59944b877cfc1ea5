"""The front page: what it shows of a finished yard, that it hands out pages and nothing else, and that it is in
nobody's way. With plain HTTP, and in a browser where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows import environment
from tasks.yard.files import write_json, write_text
from tests.flows.begun import FLOW, Begun
from tests.flows.conftest import Yard
from tests.flows.serving import asked
from tests.flows.waiting import PATIENCE_S, wait_until

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# The tests share a Prefect server, in which one may have left a run of this line that it killed.
STATE = re.compile(r"\d of 4 stages would run|a run is at work")


@contextmanager
def front(yard: Yard) -> Iterator[str]:
    """The address of the front page of a yard; it ends when its stdin closes, as with a `make serve` that is killed."""
    port = environment.free_port()
    command = [sys.executable, "-m", "flows.front.server", "127.0.0.1", str(port), "4200", "5000"]
    log = (yard.root / "front.log").open("wb")
    process = subprocess.Popen(command, cwd=yard.root, env=yard.environment, stdin=subprocess.PIPE, stderr=log)
    try:
        environment.wait_until_answers(process, f"http://127.0.0.1:{port}/change")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        process.wait(PATIENCE_S)
        log.close()


def looked_at(url: str) -> dict:
    """What the page is made from, once the stages have been looked at."""

    def toy() -> dict | None:
        state = json.loads(asked(f"{url}/state.json")[2])
        return state if state["lines"] and state["lines"][0]["stages"] else None

    wait_until(toy, "a look at the stages", every_s=0.5)
    return toy()


@pytest.fixture
def shown_yard(yard_copy: Yard) -> Yard:
    """With a page, a film and their like."""
    data = yard_copy.root / "data/toy"
    (data / "square/report.html").write_text("<title>a page of the toy line</title>")
    write_text(data / "square/misses/report.html", "<title>an analysis</title>")
    (data / "square/films").mkdir()
    (data / "square/films/drive.mp4").write_bytes(bytes(range(200)))
    (data / "square/chart.png").write_bytes(b"png")
    (data / "judge/1/photo.png").write_bytes(b"png")  # beside no page
    (data / "collect/page.html").write_text("as it came from outside")
    made = {"night 1": {"files": ["report.html", "films/night 1.mp4", "ranked.jpg", "all.csv"]}}
    new = data / "apply/night"
    write_json(new / "apply.json", {
        "input": "/films/night", "model": {"name": "models:/toy/3"}, "results": made, "quarantined": {"2": "dark"},
        "failed": {"quarantined": {"night": "the disk was away"}},
    })  # fmt: skip
    for name in ("report.html", "films/night 1.mp4", "ranked.jpg", "asked.jpg", "all.csv", "steps/other.mp4"):
        write_text(new / name, name)
    (data / "square/stolen.html").symlink_to(yard_copy.root / "params.yaml")
    cached = yard_copy.root / f"cache/files/md5/aa/{'b' * 30}"
    cached.parent.mkdir(parents=True)
    cached.write_text("linked")
    (data / "square/linked.html").symlink_to(cached)
    return yard_copy


def test_the_page_shows_state_runs_and_data_and_answers_at_once(shown_yard):
    shown_yard.add_number("five", "5")
    shown_yard.edit("params.yaml", "source_url: null", "source_url: https://example.org/yard")
    with front(shown_yard) as url:
        assert asked(url)[0] == 200  # before anything has been looked at
        (line,) = looked_at(url)["lines"]
        status, headers, page = asked(url)
    text = page.decode()
    assert 'you have a right to its source:\n<a href="https://example.org/yard">' in text
    assert status == 200 and "script-src 'unsafe-inline'" in headers["content-security-policy"]
    assert "the source has changed" in line["stages"]["stages"]["toy-collect"]
    assert STATE.search(text) and "the source has changed" in text
    ended = [run for run in line["runs"] if run["took_s"] and f"127.0.0.1:4200/runs/flow-run/{run['id']}" in text]
    assert any(re.fullmatch(r"toy \d{4}-\d\d-\d\d #\d+.*", run["name"]) for run in ended)
    (collected,) = line["recordings"]["steps"]
    assert collected["usable"] == 3 and collected["quarantined"] == 1 and "1 quarantined" in text
    assert "four" in next(iter(collected["reasons"].values()))
    assert 'href="/data/toy/square/report.html"' in text and "film: films/drive" in text
    assert re.search('href="/data/toy/square/misses/report.html"[^>]*>square: misses</a>', text)
    assert "<b>night</b>" in text and "1 done, 1 left out" in text and "/films/night, by models:/toy/3" in text
    assert "A later call made nothing of it: the disk was away" in text
    links = re.findall('href="/data/toy/apply/night/([^"]+)"', text)
    assert links == ["report.html", "films/night%201.mp4", "ranked.jpg"]
    assert not re.search(r'(src|href)="(https?:)?//(?!127\.0\.0\.1:(4200|5000)|example\.org/yard")', text)


def test_a_line_that_has_never_run_says_how_it_begins_and_no_more(bare_yard):
    with front(bare_yard) as url:
        looked_at(url)
        text = asked(url)[2].decode()
    assert re.search("Its first run: <code>[^<]* flows run toy</code>", text) and "no report yet" not in text


def test_pages_and_films_are_handed_out_and_nothing_else(shown_yard):
    with front(shown_yard) as url:
        status, headers, page = asked(f"{url}/data/toy/square/report.html")
        assert status == 200 and headers["content-type"].startswith("text/html") and b"a page of the toy" in page
        assert asked(f"{url}/data/toy/square/chart.png")[0] == asked(f"{url}/data/toy/square/linked.html")[0] == 200
        status, headers, part = asked(f"{url}/data/toy/square/films/drive.mp4", Range="bytes=10-19")
        assert status == 206 and part == bytes(range(10, 20)) and headers["content-type"] == "video/mp4"
        for path in ("report.html", "films/night%201.mp4", "ranked.jpg"):
            assert asked(f"{url}/data/toy/apply/night/{path}")[0] == 200, path
        for path in (
            "toy/apply/night/asked.jpg", "toy/apply/night/all.csv", "toy/apply/night/steps/other.mp4",
            "toy/apply/no/report.html", "toy/apply/night", "toy/apply/x.html",
            "toy/square/sum.txt", "toy/judge/1/photo.png", "toy/collect/page.html", "toy/square/stolen.html",
            "toy/square", "toy/square/../../../params.yaml", "%2e%2e/params.yaml", "toy/square/%2e%2e/%2e%2e/x.html",
            "/etc/passwd", "toy/square/..%2freport.html", "code/toy-square", "sources/toy-collect.json", "",
            "toy/no/x.html", "toy/square/report.html%00", "..\\params.yaml", ".trainyard/run.json",
        ):  # fmt: skip
            assert asked(f"{url}/data/{path}")[0] == 404, path
        request = urllib.request.Request(f"{url}/state.json", b"{}")
        with pytest.raises(urllib.error.HTTPError, match="405"):
            urllib.request.urlopen(request, timeout=PATIENCE_S)


def test_a_run_that_was_killed_is_not_at_work(yard_copy):
    begun = Begun(yard_copy, *FLOW, "--force", "collect")

    def last(url: str) -> str | None:
        lines = json.loads(asked(f"{url}/state.json")[2])["lines"]
        return next((run["type"] for line in lines for run in line["runs"] if run["id"] == note), None)

    (note,) = (path.name for path in (yard_copy.root / ".trainyard/flow_runs").glob("[!.]*"))
    with front(yard_copy) as url:
        wait_until(lambda: last(url) == "RUNNING", "a run at work", every_s=0.5)
        begun.process.kill()
        begun.end()
        wait_until(lambda: last(url) == "CRASHED", "a run that was killed", every_s=0.5)
        assert "its process was killed; the next run goes on" in asked(url)[2].decode()


def test_looking_takes_none_of_dvcs_locks_and_waits_for_no_run(yard_copy):
    """With DVC's lock held for minutes, as a `dvc repro` holds it, the stages are looked at all the same."""
    held = "from dvc.repo import Repo\nrepo = Repo()\nwith repo.lock:\n    print('held', flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", held], cwd=yard_copy.root, env=yard_copy.environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == "held\n"
        told = yard_copy.call("python", "-m", "flows.front.gathered")
        assert told.returncode == 0 and json.loads(told.stdout)["lines"]["toy"]["up_to_date"], told.stderr
        assert yard_copy.flow("status").returncode == 2  # which takes them, and says who has them
    finally:
        holder.communicate("\n", timeout=PATIENCE_S)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine; the tests above read the same page")
def test_a_browser_shows_it_and_a_phone_needs_not_scroll_sideways(shown_yard, tmp_path):
    with front(shown_yard) as url:
        looked_at(url)
        dom = in_browser(url, tmp_path)
        (tmp_path / "page.html").write_bytes(asked(url)[2])
    assert re.search(r'data-wide="\d+"', dom) and STATE.search(dom)  # its script may run, by its own policy
    # Headless Chromium opens no window that is as narrow as a phone; a frame is.
    frame = '<iframe src="page.html" width="{}" height="900" style="border: 0"></iframe>'
    for width in (390, 1280):
        (tmp_path / "frame.html").write_text(
            f"<body>{frame.format(width)}<script>onload = () => document.body.dataset.found = "
            "document.querySelector('iframe').contentDocument.documentElement.scrollWidth</script>"
        )
        found = re.search(r'data-found="(\d+)"', in_browser((tmp_path / "frame.html").as_uri(), tmp_path))
        assert int(found[1]) <= width, f"{found[1]} px wide in {width}"


def in_browser(url: str, home: Path) -> str:
    """The page as it stands after its scripts."""
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={home / 'chromium'}"]
    arguments += ["--allow-file-access-from-files", "--virtual-time-budget=4000", "--dump-dom"]
    done = subprocess.run([BROWSER, *arguments, url], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
