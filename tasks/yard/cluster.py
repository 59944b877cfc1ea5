"""The nodes of a Ray cluster (TRAINYARD_RAY) as the workers of a step's map, and as places of processes that work
together. The one module that imports ray.

The driver is the step's own process. It hands out one Ray task a recording, or a block of many small ones, and keeps
the retries to itself, because Ray's own cannot tell what it must not repeat: a worker that dies counts against the
recording in its hands; a lost node counts against none. Whoever dies twice is tried at home, by `Workers`, whose word
is the same as without Ray: it knows the exit code, which Ray does not tell. From a GPU nothing comes home: what died
there twice counts as crashed.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import pickle
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import ray
import ray._private.worker
from ray import exceptions
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from tasks.yard import parcels
from tasks.yard.ray_address import VARIABLE, told
from tasks.yard.step import BadInput, WorkerCrashed, WorkerKilled, attempt, cores
from tasks.yard.workers import Workers

log = logging.getLogger(__name__)
PENDING = 64  # tasks at least that wait in Ray's queue, so that a node which joins finds work
STARTS = 5  # tries to reach a cluster: on a busy machine Ray's own start fails now and then
DEATHS = 2  # of workers over one item, before it is tried at home
LOSSES = 5  # of nodes over one item: so many are no accident
LOST_S = 3.0  # until the workers of a lost node have ended too, and nobody writes into the folder of the next try
PROBE = Path(".trainyard")
WAIT_S = 30.0  # for places that others hold, until it is said once more
TICK_S = 0.2  # between two looks at processes that work together
GRACE_S = 20.0  # for the others, once one has failed: Ray takes 15 s to know that a machine is gone
# What a node knows better than the driver; all else that is not set there comes from the driver, keys of stores too.
OF_A_NODE = ("RAY_", "CUDA_", "NVIDIA_", "SLURM_", "LD_", "TMPDIR", "PYTHON", "VIRTUAL_ENV", "HOSTNAME", "DVC_")

_kept: dict[ray.ObjectRef, Any] = {}  # in a worker: the function of the step that it serves


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(OF_A_NODE)}


def _take(environment: dict[str, str]) -> None:
    """On a node: the driver's, but for what is set there."""
    for name, value in environment.items():
        os.environ.setdefault(name, value)


def serve(job: list[ray.ObjectRef], item: bytes, parcel: bytes | None = None) -> bytes:
    """In a worker: `fn(item)`, pickled. The function, with weights and all, was sent once a node, and is read once a
    worker. With a parcel of the item's files, what was made comes back too."""
    if job[0] not in _kept:
        environment, fn = ray.get(job[0])
        _take(environment)
        _kept.clear()
        _kept[job[0]] = pickle.loads(fn)
    fn, taken = _kept[job[0]], pickle.loads(item)
    outcome = attempt(fn, taken) if parcel is None else parcels.made_apart(fn, taken, parcel)
    try:
        return cloudpickle.dumps(outcome)
    except Exception as error:
        return pickle.dumps(RuntimeError(f"{outcome!r:.200} cannot be handed over: {error}"))


def connect() -> None:
    """Make this process a driver. What Ray does to its signals is undone, and what its raylets say of deaths is not
    printed: we name the recording."""
    if ray.is_initialized():
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    ray._private.worker.print_to_stdstream = lambda *_args, **_more: None
    try:
        for left in reversed(range(STARTS)):
            try:
                ray.init(told(), log_to_driver=False, logging_level=logging.ERROR)
                break
            except (ConnectionError, RuntimeError, ValueError, TimeoutError, exceptions.RayError) as error:
                said = " ".join(str(error).split())
                if not left or "mismatch" in said.lower():
                    raise BadInput(
                        f"{VARIABLE}={told()}: {said:.300}; see that `ray start` runs there, with this version of Ray "
                        "and Python and the same token on each machine, or unset the variable"
                    ) from None
                time.sleep(1)
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)


class Nodes:
    """Asked from many threads, as `Workers` is."""

    def __init__(self, checkout: Path, probe: Path, gpus: int, where: str, apart: bool) -> None:
        self.count = max(PENDING, 2 * int(ray.cluster_resources().get("CPU", 0)))
        self.where = where
        self.closed = threading.Event()
        self._checkout, self._probe, self._gpus = str(checkout), str(probe), gpus
        # As many threads as here: sums over another number end in other bits.
        threads = os.environ.get("OMP_NUM_THREADS") or str(cores())
        there = {"env_vars": {"OMP_NUM_THREADS": threads}}  # not for the whole job: a ray:// server fails over it
        self._run = ray.remote(parcels.bootstrap()).options(num_cpus=1, num_gpus=gpus, max_retries=0, runtime_env=there)
        self._code = ray.put(parcels.packed(map(Path, parcels.CODE))) if apart else None
        self._jobs: dict[int, tuple[Any, ray.ObjectRef]] = {}
        self._open: set[ray.ObjectRef] = set()
        self._lock = threading.Lock()
        self._home = Workers(1)

    def __call__(self, name: str, fn: Callable[[Any], Any], item: Any) -> Any:
        """The result of `fn(item)`, or the exception that it raised, or what to say of an item whose worker died."""
        parcel: list[bytes] = []
        if self._code is not None:
            try:
                parcel.append(parcels.sent(*parcels.makings(fn, item)))
            except (OSError, ValueError):  # a file that is gone, or outside of the checkout
                return self._home(name, fn, item)
        deaths = losses = 0
        while not self.closed.is_set():
            try:
                found = self._ask(fn, item, parcel)
            except exceptions.TaskCancelledError:
                break
            except (exceptions.WorkerCrashedError, exceptions.OutOfMemoryError) as error:
                deaths += 1
                log.warning("%s: its worker died (%s)", name, type(error).__name__)
                if deaths < DEATHS:
                    continue
                if self._gpus:
                    return _dead(name, error)
                return self._home(name, fn, item)
            except exceptions.RayTaskError as error:  # of what runs before the item's own work: imports, pickles
                return error.cause if isinstance(error.cause, Exception) else RuntimeError(str(error))
            except exceptions.RayError as error:  # the node died, or what it had made was lost with it
                losses += 1
                if losses == LOSSES:
                    why = " ".join(str(error).split())
                    return RuntimeError(f"{name}: lost {LOSSES} times with its node; see `ray status`: {why:.300}")
                log.warning("%s: its node was lost (%s); it is tried on another", name, type(error).__name__)
                self.closed.wait(LOST_S)
                continue
            if found is None:
                log.warning("%s: a node that joined has not %s; it is made here", name, self._checkout)
                return self._home(name, fn, item)
            outcome = pickle.loads(found)
            if self._code is not None:
                outcome = parcels.placed(fn, item, *outcome) if isinstance(outcome, tuple) else None
                if outcome is None:
                    log.warning("%s: not made there; it is tried here, where all files are", name)
                    return self._home(name, fn, item)
            return outcome
        return InterruptedError("the run is to end")

    def _ask(self, fn: Callable[[Any], Any], item: Any, parcel: list[bytes]) -> bytes | None:
        code = {} if self._code is None else {"code": self._code}
        sent = [self._job(fn)], cloudpickle.dumps(item), *parcel
        task = self._run.remote(self._checkout, self._probe, "tasks.yard.cluster", "serve", *sent, **code)
        with self._lock:
            self._open.add(task)
        try:
            return ray.get(task)
        finally:
            with self._lock:
                self._open.discard(task)

    def _job(self, fn: Callable[[Any], Any]) -> ray.ObjectRef:
        with self._lock:
            if id(fn) not in self._jobs:
                self._jobs[id(fn)] = fn, ray.put((_environment(), cloudpickle.dumps(fn)))
            return self._jobs[id(fn)][1]

    def kill(self) -> None:
        """Whoever waits for an outcome has one at once."""
        self.closed.set()
        self._home.kill()
        with self._lock:
            for task in self._open:
                with contextlib.suppress(exceptions.RayError, ValueError):
                    ray.cancel(task, force=True)

    def end(self) -> None:
        """To be called when no thread asks any more."""
        self._home.end()
        Path(self._probe).unlink(missing_ok=True)


def _dead(name: str, error: Exception) -> Exception:
    """Of an item that is not tried at home, where no GPU is. Ray tells a crash from a kill only where the kill is its
    own."""
    if isinstance(error, exceptions.OutOfMemoryError):
        return WorkerKilled(
            f"{name}: Ray ended its worker on a GPU twice, because its node's memory ran out; free some"
        )
    return WorkerCrashed(f"{name}: its worker process on a GPU ended twice; the logs of its node say why")


def nodes(fn: Callable[[Any], Any], parallel: bool, device: bool) -> Nodes | None:
    """The cluster's nodes for work on processors, or on its GPUs for the work of a stage that wants the device and
    would be done item by item here; None if that work has to stay here."""
    if not parallel and not device:
        return None
    connect()
    has = ray.cluster_resources()
    gpus = int(has.get("GPU", 0))
    if not parallel and not gpus:
        return None
    if not has.get("CPU"):
        raise BadInput(f"{VARIABLE}={told()}: its nodes offer no CPU; `ray start` on a machine that has some")
    checkout, probe, without = _probed()
    disk = f"{checkout} is one disk on all of them"
    if without:
        probe.unlink()
        disk = f"no disk in common with {', '.join(without)}"
        if parcels.makings(fn, None)[0] is None:
            log.warning(
                "%s=%s has %s, and this work cannot be sent: it stays here; mount %s there at the same path",
                VARIABLE, told(), disk, checkout,
            )  # fmt: skip
            return None
        disk += ": recordings are sent, and what is made of them comes back"
    alive = sum(node["Alive"] for node in ray.nodes())
    on_gpus = "the GPUs of " if device and not parallel else ""
    size = f"{alive} nodes, {has['CPU']:.0f} CPUs, {gpus} GPUs"
    where = f"{on_gpus}Ray at {told()}: {size}; {disk}"
    return Nodes(checkout, probe, int(device and not parallel), where, bool(without))


def _probed() -> tuple[Path, Path, list[str]]:
    """The checkout, a file in it by which a node knows it, and the nodes that do not have it."""
    checkout = Path.cwd()
    probe = checkout / PROBE / f"ray-{uuid.uuid4().hex}"
    probe.parent.mkdir(exist_ok=True)
    probe.write_text("", encoding="utf-8")
    try:
        return checkout, probe, list(_without(checkout, probe))
    except BaseException:
        probe.unlink()
        raise


def _without(checkout: Path, probe: Path) -> Iterator[str]:
    """The addresses of nodes that cannot read what this process writes in the checkout, or the other way round."""
    run = ray.remote(parcels.bootstrap())
    asked = {}
    for node in ray.nodes():
        if node["Alive"]:
            where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            reply = probe.with_name(f"{probe.name}.{node['NodeID']}")
            task = run.options(num_cpus=0, scheduling_strategy=where, max_retries=3)
            sent = task.remote(str(checkout), str(probe), "tasks.yard.parcels", "answer", str(reply), probe.name)
            asked[node["NodeManagerAddress"], reply] = sent
    for (address, reply), task in asked.items():
        try:
            said = ray.get(task)
        except (exceptions.NodeDiedError, exceptions.TaskUnschedulableError):  # it has ended since it was listed
            continue
        except exceptions.RayError as error:
            why = error.cause if isinstance(error, exceptions.RayTaskError) else error
            raise BadInput(f"{VARIABLE}: the node {address} cannot run this yard: {why!r:.300}") from None
        if said is None or not reply.exists() or reply.read_text(encoding="utf-8") != said:
            yield address
        reply.unlink(missing_ok=True)


def places() -> dict[str, int]:
    """{kind: how many processes that need a CPU, or a CPU and a GPU, find place}; none for somebody who works on a node
    himself."""
    if ray._private.worker.global_worker.mode == ray.WORKER_MODE:
        return {"CPU": 0, "GPU": 0}
    connect()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = ([int(node.get(kind, 0)) for node in nodes] for kind in ("CPU", "GPU"))
    return {"CPU": sum(cpus), "GPU": sum(map(min, cpus, gpus))}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


class Lost(RuntimeError):
    """A process of several that work together was killed, or its node ended."""


def join(environment: dict[str, str], gpus: bool, module: str, name: str, *arguments: Any) -> bool:
    """On a node, as one of several that work together: call a module's function."""
    _take(environment)
    if not gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray hides none from who has asked for none
    getattr(importlib.import_module(module), name)(*arguments)
    return True


def together(
    module: str, name: str, arguments: tuple[Any, ...], count: int, gpus: bool, meanwhile: Callable[[], None]
) -> None:
    """A module's function in so many places of the cluster at once, each with a CPU, or with a GPU: called with its
    number, how many there are, an address and a port of the first one's node, and `arguments`.

    If one fails the others are ended. Raises what it raised, or `Lost`. `meanwhile` is called now and then.
    """
    connect()
    checkout, probe, without = _probed()
    group = None
    try:
        if without:
            raise BadInput(_apart(without, checkout))
        group = placement_group([{"CPU": 1, "GPU": 1} if gpus else {"CPU": 1}] * count, strategy="PACK")
        _wait_for(group, count, "GPU" if gpus else "CPU")
        where = placement_group_table(group)["bundles_to_node_id"]
        addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes()}
        run = ray.remote(parcels.bootstrap())
        ask = run.options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(where[0], soft=False))
        port = ray.get(ask.remote(str(checkout), str(probe), "tasks.yard.cluster", "free_port"))
        environment = _environment()
        threads = {"env_vars": {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}}  # 1 is torchrun's own
        tasks: dict[ray.ObjectRef, str] = {}
        for number in range(count):
            place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=number)
            task = run.options(
                num_cpus=1, num_gpus=int(gpus), max_retries=0, scheduling_strategy=place, runtime_env=threads
            )
            sent = environment, gpus, module, name, number, count, addresses[where[0]], port, *arguments
            started = task.remote(str(checkout), str(probe), "tasks.yard.cluster", "join", *sent)
            tasks[started] = addresses[where[number]]
        _ended(tasks, meanwhile, checkout)
    except exceptions.RayError as error:  # a node that ended meanwhile, of which Ray does not know yet
        raise Lost(f"the cluster has lost a node ({type(error).__name__})") from None
    finally:
        probe.unlink(missing_ok=True)
        if group is not None:
            remove_placement_group(group)


def _apart(addresses: list[str], checkout: Path) -> str:
    return (
        f"{VARIABLE}={told()} has no disk in common with {', '.join(addresses)}, which processes that train together "
        f"need: mount {checkout} there at the same path, or lower yard.machine.devices"
    )


def _wait_for(group: PlacementGroup, count: int, kind: str) -> None:
    """Until so many places are free. Raises `BadInput` if the cluster has not so many at all, any more."""
    said_at = float("-inf")
    while not group.wait(timeout_seconds=1):
        if (there := places()[kind]) < count:
            raise BadInput(f"yard.machine.devices = {count}: {VARIABLE}={told()} has {there} {kind}s left; lower it")
        if time.monotonic() - said_at > WAIT_S:
            log.warning("%s=%s: waiting for %d free %ss", VARIABLE, told(), count, kind)
            said_at = time.monotonic()


def _ended(tasks: dict[ray.ObjectRef, str], meanwhile: Callable[[], None], checkout: Path) -> None:
    """Wait for all, which are {task: address of its node}. If one fails, the others have `GRACE_S` to fail of it."""
    left, failed, until = list(tasks), list[Exception](), float("inf")
    try:
        while left and time.monotonic() < until:
            done, left = ray.wait(left, timeout=TICK_S)
            for task in done:
                try:
                    if ray.get(task) is None:  # a node that has joined since all were asked
                        failed.append(BadInput(_apart([tasks[task]], checkout)))
                except exceptions.RayTaskError as error:
                    failed.append(error.cause if isinstance(error.cause, Exception) else RuntimeError(str(error)))
                except exceptions.RayError as error:
                    said = f"a process of the training, on {tasks[task]}, was lost ({type(error).__name__})"
                    failed.append(Lost(said))
            if failed:
                until = min(until, time.monotonic() + GRACE_S)
            meanwhile()
    finally:
        for task in left:
            with contextlib.suppress(exceptions.RayError, ValueError):
                ray.cancel(task, force=True)
    if failed:  # a refusal, else a loss, else what they say who miss somebody
        raise min(failed, key=lambda error: (type(error) is RuntimeError, isinstance(error, Lost)))
