"""Who trains the pieces of a search's trials: this process, others of this machine, or the nodes of a Ray cluster. The
bytes are the same."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tasks.yard.afar import crew
from tasks.yard.params import Section
from tasks.yard.step import device_slots
from tasks.yard.workers import Workers

log = logging.getLogger(__name__)
Train = Callable[[Section, Path, int], list[dict]]  # (params, folder, until) -> history; until: epochs in all
GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Piece:
    """A trial from where it stands up to so many epochs in all."""

    section: Section
    folder: Path
    until: int
    seat: int | None = None  # of the processes of this machine; None where somebody else deals out the GPUs

    @property
    def trial(self) -> str:
        return self.folder.name


Ask = Callable[[Piece], Callable[[], list[dict]]]  # what it gives waits for the history, or raises


def gpu_of(seat: int, count: int, visible: str | None) -> str | None:
    """What a process may see of the GPUs: one of them, each as many processes as the others; None: nothing to deal."""
    if count < 2:
        return None
    names = visible.split(",") if visible else [str(number) for number in range(count)]
    return names[seat % len(names)]


_seated = False


def _take_seat(seat: int) -> None:
    """Before CUDA starts in this process, and once: its later pieces find it there."""
    global _seated
    if not _seated:
        import torch

        if (gpu := gpu_of(seat, torch.cuda.device_count(), os.environ.get(GPUS))) is not None:
            os.environ[GPUS] = gpu
        _seated = True


def trained(piece: Piece, *, train: Train) -> list[dict]:
    """In a worker. An error takes its traceback along, which pickling loses."""
    try:
        if piece.seat is not None:
            _take_seat(piece.seat)
        return train(piece.section, piece.folder, piece.until)
    except Exception as error:
        error.add_note(f"{piece.trial}, in its worker: {traceback.format_exc()}")
        raise


def go_away(gpu: bool) -> bool:
    """Would trials, more than one at once, go to a cluster now?"""
    if (nodes := crew(trained, gpu)) is None:
        return False
    nodes.end()
    return True


@contextmanager
def hired(train: Train, at_once: int, gpu: bool) -> Iterator[Ask]:
    """Hands for so many pieces at once, or for fewer, if this machine has fewer slots; nobody is left at work after the
    block."""
    fn = partial(trained, train=train)
    nodes = crew(fn, gpu, at_once) if at_once > 1 else None
    count = at_once if nodes else min(at_once, device_slots())
    if count == 1:
        yield lambda piece: partial(train, piece.section, piece.folder, piece.until)
        return
    if nodes is not None:
        log.info("trials go to %s", nodes.where)
    call = nodes or Workers(count, loads=["torch"])
    threads = ThreadPoolExecutor(count)

    def ended(piece: Piece, future: Future) -> None:
        if not future.cancelled() and not future.exception() and isinstance(history := future.result(), list):
            log.info("%s has been trained up to epoch %d", piece.trial, len(history))

    def ask(piece: Piece) -> Callable[[], list[dict]]:
        seated = piece if nodes else Piece(piece.section, piece.folder, piece.until, (piece.seat or 0) % count)
        future = threads.submit(call, piece.trial, fn, seated)
        future.add_done_callback(partial(ended, piece))

        def answer() -> list[dict]:
            if isinstance(outcome := future.result(), Exception):
                raise outcome
            return outcome

        return answer

    try:
        yield ask
    except BaseException:  # Ctrl-C, or a piece has failed and nobody wants the others
        call.kill()
        raise
    finally:
        threads.shutdown(cancel_futures=True)
        call.end()
