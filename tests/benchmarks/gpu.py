"""All twelve networks at their original size on 43,000 windows on one GPU: `python -m tests.benchmarks gpu`, about 12
minutes.

EPOCHS=3 VARIANTS=simple_concat_lstm,... make it shorter. A line a variant: the whole training; an optimizer step,
launched kernel by kernel and as one CUDA graph; how long its kernels keep the device busy, how many they are, and their
arithmetic.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from statistics import median

import h5py
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from models.brake_coast.variants import VARIANTS
from tasks.brake_coast import train
from tasks.brake_coast.params import Train
from tasks.yard import params as params_file
from tasks.yard.params import Machine
from tasks.yard.step import Context
from tasks.yard.training import engine
from tests.tasks.brake_coast.tiny_pack import write_pack
from tests.tasks.yard.shared import machine

BATCH, DRIVES, FRAMES, STEPS = 256, 12, 3603, 30


def gpu(cuda_graph: bool) -> Machine:
    return machine(accelerator="cuda", precision="bf16", cuda_graph=cuda_graph, deterministic=False)


def settings(epochs: int) -> Train:
    values = params_file.load(Path("params.yaml")).brake_coast.train.model_dump()
    values["model"] |= {"embedding": 64, "hidden": 128, "heads": 8, "layers": 4}
    values["engine"] |= {"epochs": epochs, "batch": BATCH}
    return Train.model_validate(values)


class Steps:
    """A trainer whose steps can be timed one by one."""

    def __init__(self, variant: str, pack: Path, out: Path, cuda_graph: bool):
        params, on = settings(1), gpu(cuda_graph)
        fabric = engine.start(params.engine, on)
        job = train.prepare(params, on, variant, pack, "", fabric)
        self.trainer = engine.Trainer(fabric, job, params.engine, on, params.optimizer, out, Context())
        self.trainer.set_moving()
        self.ids = job.order(0).to(fabric.device).split(BATCH)

    def take(self, count: int) -> float:
        """Seconds of one of `count` steps."""
        torch.cuda.synchronize()
        began = time.perf_counter()
        for ids in self.ids[:count]:
            self.trainer.step(ids)
        torch.cuda.synchronize()
        return (time.perf_counter() - began) / count


def main(tiny: bool = False) -> None:
    if not torch.cuda.is_available():
        print("no GPU here: this one needs one")
        return
    shorter = {"EPOCHS": "1", "VARIANTS": VARIANTS[0]} if tiny else {}
    asked = {**shorter, **os.environ}
    epochs, chosen = int(asked.get("EPOCHS", 100)), asked.get("VARIANTS", ",".join(VARIANTS)).split(",")
    print(torch.cuda.get_device_name(), f"torch {torch.__version__}, bf16, batch {BATCH}, {epochs} epochs")
    whole = 0.0
    with tempfile.TemporaryDirectory() as folder:
        pack = write_pack(Path(folder) / "pack", {"train": DRIVES, "val": 2, "test": 1}, FRAMES)
        with h5py.File(pack / "train.h5", "r+") as file:
            file.attrs["sequence_stride"] = 1  # every window, every epoch
        for variant in chosen:
            plain, graph = (Steps(variant, pack, Path(folder) / "steps", cuda_graph) for cuda_graph in (False, True))
            for steps in (plain, graph):
                steps.take(10)
            times = [(plain.take(STEPS), graph.take(STEPS)) for _ in range(5)]
            launched, replayed = (1e3 * median(side) for side in zip(*times, strict=True))
            with profile(activities=[ProfilerActivity.CUDA]) as seen:
                plain.take(STEPS)
            kernels = [event for event in seen.events() if event.device_type == torch.autograd.DeviceType.CUDA]
            busy = sum(event.device_time for event in kernels) / STEPS / 1e3
            with FlopCounterMode(display=False) as flops:
                plain.take(1)
            began = time.perf_counter()
            out = Path(folder) / variant
            train.run(settings(epochs), out, Context(), variant=variant, pack=pack, machine_params=gpu(True))
            took = time.perf_counter() - began
            whole += took
            print(
                f"{variant:33s} {took:6.1f} s   step {launched:6.2f} ms, as a graph {replayed:6.2f} ms   "
                f"kernels {len(kernels) / STEPS:4.0f}, busy {busy:5.2f} ms ({busy / replayed:4.0%} of the "
                f"graph's step)   {flops.get_total_flops() / 1e9 / replayed:5.1f} TFLOP/s",
                flush=True,
            )
    print(f"{len(chosen)} networks, {DRIVES * (FRAMES - 19):,} windows, {epochs} epochs: {whole:.0f} s")


if __name__ == "__main__":
    main()
