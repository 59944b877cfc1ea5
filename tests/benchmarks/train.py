"""Training at batch 256 and original size, against a straightforward PyTorch loop: `python -m tests.benchmarks train`.

The other side: the same network of stock layers (every slot encoded, nn.Dropout, nn.TransformerEncoder), a Dataset of
window tensors in memory behind a DataLoader with 8 workers, and each parameter's gradient looked at after each step.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from models.brake_coast.layers import positions
from tasks.brake_coast.formats import windows
from tasks.brake_coast.learning.inference import Windows
from tasks.brake_coast.params import Train
from tasks.brake_coast.train import prepare
from tasks.yard import params as params_file
from tasks.yard.step import Context
from tasks.yard.training import engine
from tests.tasks.brake_coast.tiny_pack import write_pack
from tests.tasks.yard.shared import machine

BATCH, STEPS, REPEATS, WORKERS = 256, 3, 5, 8
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
    def __init__(self, variant: str, precision: str, pack: Path):
        frames = windows.load(pack / "train.h5")
        starts = torch.from_numpy(windows.window_starts(frames.segment, 20))
        labels = torch.from_numpy(frames.labels)[starts + 19][:, [0, 1, 5, 6]].float().clamp(min=0)
        self.data = TensorDataset(*Windows(frames, 20)(starts), labels)
        self.bf16 = precision == "bf16"
        self.model = Plain(variant.split("_")[-1], 4)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)

    def loader(self) -> DataLoader:
        return DataLoader(self.data, BATCH, shuffle=True, num_workers=WORKERS, drop_last=True)

    def step(self, telemetry: Tensor, boxes: Tensor, mask: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            logits = self.model(telemetry, boxes, mask)
        loss = F.binary_cross_entropy_with_logits(logits.float(), labels)
        loss.backward()
        for p in self.model.parameters():
            if p.grad is not None and (torch.isnan(p.grad).any() or torch.isinf(p.grad).any()):
                return
        sum(p.grad.norm().item() ** 2 for p in self.model.parameters() if p.grad is not None)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        loss.item()

    def seconds(self) -> float:
        """Of STEPS steps with their batches, the workers already running."""
        batches = iter(self.loader())
        self.step(*next(batches))
        begin = time.perf_counter()
        for _ in range(STEPS):
            self.step(*next(batches))
        return time.perf_counter() - begin


class Ours:
    def __init__(self, variant: str, precision: str, pack: Path):
        values = params_file.load().brake_coast.train.model_dump()
        values["engine"] |= {"batch": BATCH}
        values["augment"] |= {"flip": 0.0}  # the other side has none
        params = Train(**values)
        on = machine(precision=precision)
        fabric = engine.start(params.engine, on)
        job = prepare(params, on, variant, pack, "", fabric)
        self.trainer = engine.Trainer(fabric, job, params.engine, on, params.optimizer, pack, Context())
        self.trainer.set_moving()
        self.ids = job.order(0)

    def seconds(self) -> float:
        self.trainer.step(self.ids[:BATCH])
        begin = time.perf_counter()
        for _ in range(STEPS):
            self.trainer.step(self.ids[:BATCH])
        return time.perf_counter() - begin


def bench_steps(pack: Path) -> None:
    for variant in VARIANTS:
        for precision in ("32", "bf16"):
            ours, loop = Ours(variant, precision, pack), PlainLoop(variant, precision, pack)
            times = [(ours.seconds(), loop.seconds()) for _ in range(REPEATS)]
            fast, slow = (STEPS * BATCH / median(column) for column in zip(*times, strict=True))
            ratio = median(b / a for a, b in times)
            print(f"{variant:26}{precision:>5}{fast:9,.0f} samples/s   loop {slow:7,.0f} samples/s   {ratio:5.1f} x")


def bench_loader(pack: Path) -> None:
    """An epoch of each, the start of the workers included: they start anew every epoch."""
    frames, loop = windows.load(pack / "train.h5"), PlainLoop(VARIANTS[0], "32", pack)
    gather, starts = Windows(frames, 20), torch.from_numpy(windows.window_starts(frames.segment, 20))
    labels = torch.from_numpy(frames.labels)
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        batches = starts[torch.randperm(len(starts))].split(BATCH)
        for ids in batches:
            gather(ids), labels[ids + 19]
        middle = time.perf_counter()
        count = sum(1 for _ in loop.loader())
        times.append((len(batches) / (middle - begin), count / (time.perf_counter() - middle)))
    fast, slow = (median(column) for column in zip(*times, strict=True))
    ratio = median(a / b for a, b in times)
    print(f"{'batches of 256':31}{fast:9,.0f} batches/s   DataLoader {slow:5,.0f} batches/s   {ratio:5.1f} x")


def main() -> None:
    warnings.filterwarnings("ignore", "This DataLoader will create 8 worker processes")
    with tempfile.TemporaryDirectory() as scratch:
        pack = write_pack(Path(scratch), {"train": 20, "val": 1}, frames=600)
        bench_loader(pack)
        bench_steps(pack)


if __name__ == "__main__":
    main()
