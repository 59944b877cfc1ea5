"""Training at batch 256 and the original's size, against its own kind of loop: `python -m tests.benchmarks train`.

The other side: the same network of stock layers, as deep (every slot encoded, nn.Dropout, nn.TransformerEncoder), focal
loss, each parameter's gradient looked at after each step, its norm taken twice, autocast with a gradient scaler. Its
batches are given to it; ours gathers its own. Beside them the floor: the stock LSTM or transformer alone, forward and
backward without dropout, which no loop around these layers can be faster than (ours can: its last transformer layer
computes the last step only). Batches from a DataLoader with 8 workers, as the original has it, are a line of their own.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from models.brake_coast.layers import attended, positions
from models.brake_coast.losses import focal
from tasks.brake_coast.formats import windows
from tasks.brake_coast.learning.inference import Windows
from tasks.brake_coast.params import Train
from tasks.brake_coast.train import prepare
from tasks.yard import params as params_file
from tasks.yard.step import Context
from tasks.yard.training import engine
from tasks.yard.training.accelerator import cpu_has_bf16
from tests.tasks.brake_coast.tiny_pack import write_pack
from tests.tasks.yard.shared import machine

BATCH, LAYERS, ROUNDS, WORKERS = 256, 4, 15, 8
VARIANTS = ("simple_concat_lstm", "simple_concat_transformer")


class Plain(nn.Module):
    """simple_concat_* out of the box."""

    def __init__(self, decoder: str, tasks: int):
        super().__init__()
        self.telemetry = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Dropout(0.15))
        self.register_buffer("position", positions(20, 64))
        self.telemetry_norm = nn.LayerNorm(64)
        self.boxes = nn.Sequential(nn.Linear(6, 128), nn.ReLU(), nn.Dropout(0.15), nn.Linear(128, 64), nn.LayerNorm(64))
        self.mix = nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Dropout(0.15), nn.LayerNorm(128))
        self.lstm = decoder == "lstm"
        layer = nn.TransformerEncoderLayer(128, 8, 512, 0.15, "gelu", batch_first=True)
        lstm = nn.LSTM(128, 128, 4, batch_first=True, dropout=0.15)
        self.decoder = lstm if self.lstm else nn.TransformerEncoder(layer, 4)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.15), nn.Linear(64, 1)) for _ in range(tasks)
        )

    def forward(self, telemetry: Tensor, boxes: Tensor, mask: Tensor) -> Tensor:
        steps = self.telemetry_norm(self.telemetry(telemetry) + self.position)
        keep = mask[..., None].float()
        mean = (self.boxes(boxes) * keep).sum(2) / keep.sum(2).clamp(min=1)
        fused = self.mix(torch.cat([steps, mean], dim=-1))
        state = (self.decoder(fused)[0] if self.lstm else self.decoder(fused))[:, -1]
        return torch.cat([head(state) for head in self.heads], dim=1)


class PlainLoop:
    def __init__(self, variant: str, precision: str, pack: Path, batch: int):
        frames = windows.load(pack / "train.h5")
        starts = torch.from_numpy(windows.window_starts(frames.segment, 20))
        labels = torch.from_numpy(frames.labels)[starts + 19][:, [0, 1, 5, 6]].clamp(min=0)
        self.data, self.size = TensorDataset(*Windows(frames, 20)(starts), labels), batch
        self.bf16 = precision == "bf16"
        self.model = Plain(variant.split("_")[-1], 4)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=5e-5, weight_decay=1.125e-5)
        self.scaler = torch.amp.GradScaler("cpu", enabled=self.bf16)
        self.alpha, self.gamma = torch.tensor([0.2, 0.2, 0.3, 0.3]), torch.tensor([3.0, 2.75, 2.0, 1.75])
        self.batch = self.data[torch.randperm(len(starts))[:batch]]

    def loader(self) -> DataLoader:
        return DataLoader(self.data, self.size, shuffle=True, num_workers=WORKERS, drop_last=True)

    def step(self) -> None:
        *inputs, labels = self.batch
        self.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            logits = self.model(*inputs)
        terms = focal(logits.float(), labels, self.alpha, self.gamma, torch.ones(4))
        self.scaler.scale(terms.sum()).backward()
        self.scaler.unscale_(self.optimizer)
        for p in self.model.parameters():
            if p.grad is not None and torch.isnan(p.grad).any().item():
                return
        sum(p.grad.norm().item() ** 2 for p in self.model.parameters() if p.grad is not None)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        [term.item() for term in terms]


class Ours:
    def __init__(self, variant: str, precision: str, pack: Path, batch: int, threads: int):
        values = params_file.load().brake_coast.train.model_dump()
        values["engine"] |= {"batch": batch, "threads": threads}
        values["model"] |= {"layers": LAYERS}
        values["augment"] |= {"flip": 0.0}  # the other side has none
        params = Train(**values)
        self.on = machine(precision=precision)
        fabric = engine.start(params.engine, self.on)
        job = prepare(params, self.on, variant, pack, "", fabric)
        self.trainer = engine.Trainer(fabric, job, params.engine, self.on, params.optimizer, pack, Context())
        self.trainer.set_moving()
        self.ids = job.order(0)[:batch]

    def step(self) -> None:
        with engine.repeatable(self.on):
            self.trainer.step(self.ids)


class Floor:
    def __init__(self, variant: str, precision: str, batch: int):
        self.layers = Plain(variant.split("_")[-1], 4).decoder
        for layer in self.layers.modules():
            if isinstance(layer, nn.Dropout | nn.MultiheadAttention | nn.LSTM):
                setattr(layer, "p" if isinstance(layer, nn.Dropout) else "dropout", 0.0)
        self.bf16, self.x = precision == "bf16", torch.randn(batch, 20, 128, requires_grad=True)

    def step(self) -> None:
        self.layers.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            found = self.layers(self.x)
        (found[0] if isinstance(found, tuple) else found)[:, -1].float().sum().backward()


def interleaved(sides: dict[str, Callable[[], None]], rounds: int) -> dict[str, np.ndarray]:
    """(rounds, 2) of each side: wall ms and CPU ms. The first round warms up."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, step in sides.items():
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            times[name].append((1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)))
    return {name: np.array(rows[1:]) for name, rows in times.items()}


def interval(ratios: np.ndarray) -> str:
    """The median and its 95 % interval, by drawing rounds with replacement."""
    drawn = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(drawn, 1), [0.025, 0.975])
    return f"{np.median(ratios):.2f} x ({low:.2f} to {high:.2f})"


def bench_steps(pack: Path, batch: int, rounds: int, threads: tuple[int, ...]) -> None:
    print(f"a step of {batch} windows, {LAYERS} layers, medians of {rounds} rounds in turns; (95 % intervals)")
    precisions = ("32", "bf16") if cpu_has_bf16() else ("32",)
    if len(precisions) == 1:
        print("bf16: this processor has none")
    for count in threads:
        for variant in VARIANTS:
            for precision in precisions:
                ours = Ours(variant, precision, pack, batch, count)
                loop, floor = PlainLoop(variant, precision, pack, batch), Floor(variant, precision, batch)
                times = interleaved({"ours": ours.step, "loop": loop.step, "floor": floor.step}, rounds)
                fast, slow, least = (np.median(times[name], 0) for name in ("ours", "loop", "floor"))
                wall, cpu = (times["loop"] / times["ours"]).T
                which = f"{variant:26}{precision:>5}, {count} thread{'s' * (count > 1):1}"
                print(
                    f"{which}  {fast[0]:6.0f} ms   the original's loop {slow[0]:6.0f} ms   {interval(wall)}   "
                    f"CPU {fast[1]:.0f} and {slow[1]:.0f} ms, "
                    f"{interval(cpu)}   floor: CPU {least[1]:.0f} ms",
                    flush=True,
                )


def attention(batch: int, rounds: int) -> None:
    """Forward and backward of one attention layer in bfloat16: in float32 within, as ours, and by torch's own."""
    torch.set_num_threads(1)
    q, k, v = (torch.randn(batch, 8, 20, 16, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))

    def both(function: Callable[..., Tensor]) -> None:
        function(q, k, v, None).sum().backward()

    sides = {"ours": partial(both, attended), "torch": partial(both, F.scaled_dot_product_attention)}
    times = interleaved(sides, rounds)
    fast, slow = (median(times[name][:, 1]) for name in ("ours", "torch"))
    ratio = interval(times["torch"][:, 1] / times["ours"][:, 1])
    print(f"attention in bf16, CPU: in float32 within {fast:.1f} ms   torch's own {slow:.1f} ms   {ratio}")


def bench_loader(pack: Path, batch: int, repeats: int) -> None:
    """An epoch of each, the start of the workers included: they start anew every epoch."""
    frames, loop = windows.load(pack / "train.h5"), PlainLoop(VARIANTS[0], "32", pack, batch)
    gather, starts = Windows(frames, 20), torch.from_numpy(windows.window_starts(frames.segment, 20))
    labels = torch.from_numpy(frames.labels)
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        batches = starts[torch.randperm(len(starts))].split(batch)
        for ids in batches:
            gather(ids), labels[ids + 19]
        middle = time.perf_counter()
        count = sum(1 for _ in loop.loader())
        times.append((len(batches) / (middle - begin), count / (time.perf_counter() - middle)))
    fast, slow = (median(column) for column in zip(*times, strict=True))
    ratio = median(a / b for a, b in times)
    print(f"batches of {batch:<20}{fast:9,.0f} batches/s   DataLoader {slow:5,.0f} batches/s   {ratio:5.1f} x")


def main(tiny: bool = False) -> None:
    warnings.filterwarnings("ignore", "This DataLoader will create 8 worker processes")
    batch, rounds, threads = (8, 2, (1,)) if tiny else (BATCH, ROUNDS, (1, 2))
    with tempfile.TemporaryDirectory() as scratch:
        pack = write_pack(Path(scratch), {"train": 1 if tiny else 20, "val": 1}, frames=150 if tiny else 600)
        bench_loader(pack, batch, 1 if tiny else 5)
        bench_steps(pack, batch, rounds, threads)
        attention(batch, rounds)


if __name__ == "__main__":
    main()
