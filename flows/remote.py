"""What a line's stages made, between DVC's cache and a DVC remote: fetched before a run, sent after it.

`dvc pull` and `dvc push` would not do. Of an object that is gone from the remote the one fails whole, and the other
does not notice: if the listing of a folder is there, DVC takes all its files to be there too. With an offline remote
both log a traceback for each object. So here each object is looked at, and a remote that fails is one sentence.
"""

from __future__ import annotations

import logging
import textwrap
import threading
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from dvc.data_cloud import Remote
from dvc.output import Output
from dvc.repo import Repo
from dvc.stage import PipelineStage
from dvc.stage.cache import RunCacheNotSupported
from dvc_data.hashfile.db import HashFileDB

from tasks.yard.files import digest, read_if_there, write_json
from tasks.yard.sources.uri import redacted
from tasks.yard.step import BadInput, plain

log = logging.getLogger(__name__)
# DVC leaves its HTTP client open, which the client complains of whenever it happens to be collected.
logging.getLogger("aiohttp_retry").setLevel(logging.ERROR)
ANSWER_S = 30  # clients of object stores try a dead host for minutes


def is_configured(repo: Repo) -> bool:
    return bool(repo.config["core"].get("remote"))


def fetch(repo: Repo, stages: Iterable[PipelineStage]) -> None:
    """Fetch what dvc.lock names and the cache lacks. What the remote does not hold is said: its stage makes it anew.

    Nothing is asked of the remote if the cache lacks nothing. Raises `BadInput` if the remote fails.
    """
    lacking = [out for stage in stages for out in stage.outs if out.hash_info and out.changed_cache()]
    if not lacking:
        return
    wanted = "mend the remote, or `dvc remote default --unset`: then what is not here is made anew"
    with _plainly(repo, wanted):
        remote, cache = _answering(repo), repo.cache.local
        if _keeps_versions(remote):
            repo.fetch(targets=[stage.name for stage in {out.stage for out in lacking}])
            return
        log.info("fetching %s from the DVC remote", ", ".join(str(out) for out in lacking))
        for named in (_listings, _files):  # a folder's listing names its files, so it has to be here first
            objects = named(lacking)
            _copy(objects.difference(cache.oids_exist(objects)), remote.odb, cache, verify=True)
    for out in lacking:
        if out.changed_cache():
            log.warning("%s: the DVC remote does not hold all of it; %s makes it anew", out, out.stage.name)


def send(repo: Repo, stages: Collection[PipelineStage], memory: Path) -> None:
    """Send what the remote lacks of the stages' outs, and DVC's run cache. Raises `BadInput` if that fails. An out that
    the cache lacks, as after a run of a part in a fresh clone, is left out, and said.

    `memory` is a file of what was sent last. If that is all there is, the remote is only looked through for what has
    vanished from it, and one that cannot be reached is no fault.
    """
    recorded = [out for stage in stages for out in stage.outs if out.hash_info]
    lacking = [out for out in recorded if out.changed_cache()]
    outs = [out for out in recorded if out not in lacking]
    url = _url(repo)
    wanted = {"remote": url, "sent": digest(sorted(_listings(outs)))}
    known = read_if_there(memory)
    owed = known != wanted
    kept = "what this run made is recorded here, and the next run sends it" if owed else "there was nothing to send"
    try:
        with _plainly(repo, kept):
            remote = _answering(repo, may_be_new=known.get("remote") != url)
            if _keeps_versions(remote):
                apart = {out.stage.name for out in lacking}
                repo.push(targets=[stage.name for stage in stages if stage.name not in apart])
            else:
                _send(repo, outs, remote, with_run_cache=owed)
        if lacking:
            log.warning("not sent to the DVC remote, because it is not here: %s", ", ".join(map(str, lacking)))
    except BadInput as error:
        if owed:
            raise
        log.warning("%s", error)
        return
    write_json(memory, wanted)


def _send(repo: Repo, outs: Iterable[Output], remote: Remote, *, with_run_cache: bool) -> None:
    listings, files, cache = _listings(outs), _files(outs), repo.cache.local
    there = set(remote.odb.oids_exist(listings | files))
    for objects in (files, listings):  # DVC takes a listing to vouch for its files: it goes last
        for error in _copy(objects - there, cache, remote.odb, verify=False).values():
            raise error
    if with_run_cache:
        with suppress(RunCacheNotSupported):
            repo.stage_cache.push(None)


def _listings(outs: Iterable[Output]) -> set[str]:
    """The objects that dvc.lock names: the listing of a folder, or a file."""
    return {out.hash_info.value for out in outs}


def _files(outs: Iterable[Output]) -> set[str]:
    """The objects of the files in those outs that are folders; none of a folder whose listing the cache lacks."""
    trees = [out.get_obj() for out in outs if out.hash_info.isdir]
    return {entry.value for tree in trees if tree for _, _, entry in tree}


def _copy(objects: Collection[str], source: HashFileDB, target: HashFileDB, *, verify: bool) -> dict[str, OSError]:
    """Copy objects. Returns those that are not in the source; raises the first other fault and then tries no more."""
    gone: dict[str, OSError] = {}

    def copy(name: str) -> None:
        try:
            target.add(source.oid_to_path(name), source.fs, name, check_exists=False, verify=verify)
        except FileNotFoundError as error:
            gone[name] = error

    with ThreadPoolExecutor(max(source.fs.jobs, target.fs.jobs)) as pool:
        try:
            list(pool.map(copy, sorted(objects)))
        finally:
            pool.shutdown(cancel_futures=True)
    return gone


def _keeps_versions(remote: Remote) -> bool:
    """Is it one of DVC's cloud-versioned remotes? It holds files under their names, not objects."""
    return remote.worktree or remote.fs.version_aware


def _answering(repo: Repo, *, may_be_new: bool = False) -> Remote:
    """The remote, if it answers. A local folder that is not there is most likely a drive that is not mounted."""
    remote = repo.cloud.get_remote()
    answer: Future[bool] = Future()

    def ask() -> None:
        try:
            answer.set_result(remote.fs.exists(remote.path))
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        there = answer.result(ANSWER_S)
    except TimeoutError:
        raise ConnectionError(f"does not answer within {ANSWER_S} s") from None
    if not there and remote.fs.protocol == "local" and not may_be_new:
        raise FileNotFoundError("no such folder (is its drive mounted?)")
    return remote


def _url(repo: Repo) -> str:
    return redacted(repo.config["remote"].get(repo.config["core"]["remote"], {}).get("url", "no url"))


@contextmanager
def _plainly(repo: Repo, then: str) -> Iterator[None]:
    """Every store has errors of its own."""
    try:
        yield
    except Exception as error:
        reason = textwrap.shorten(plain(error) or str(error), 300, placeholder=" ...") or type(error).__name__
        raise BadInput(f"DVC remote {repo.config['core']['remote']} ({_url(repo)}): {reason}; {then}") from None
