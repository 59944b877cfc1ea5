"""Films of one drive at other frame rates through brake_coast: how far their probabilities are apart at the same
moments: `python -m tests.benchmarks rates`.

Needs a finished run of brake_coast (`make demo`). Drives that training never saw are filmed once, at all moments that
any of the rates asks for; telemetry is one table for all. A film is looked at twice a second, at its first picture at
or after each moment: at 13 Hz that is up to 77 ms later than at 30 Hz, and nothing else differs. Beside it stands how
far the film of 30 Hz is apart from itself one picture (33 ms) later, which is what sampling costs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd

from tasks.brake_coast import apply
from tasks.brake_coast.importers.highway import telemetry
from tasks.brake_coast.judging.runs import leader
from tasks.yard import params
from tasks.yard.applying import Model, made_with, quiet
from tasks.yard.files import file_hash, read_json, write_text
from tasks.yard.worlds import highway
from tasks.yard.worlds.highway import obd
from tests.benchmarks.apply import write_model

MADE = Path("data/brake_coast")
RATES_HZ, TINY_HZ = (30, 13), (4, 3)
DRIVES, MINUTES, SEED = 2, 1.0, 1  # of another world than the one that training drove in
UNIT = Fraction(1, 390_000)


class Film:
    """One mp4 that is written picture by picture."""

    def __init__(self, path: Path, rate_hz: int, size: tuple[int, int]):
        path.parent.mkdir(parents=True)
        self.container = av.open(str(path), "w")
        self.stream = self.container.add_stream("libx264", rate=rate_hz, options={"crf": "16", "preset": "veryfast"})
        self.stream.width, self.stream.height, self.stream.pix_fmt = *size, "yuv420p"
        self.stream.codec_context.time_base = UNIT

    def add(self, picture: np.ndarray, second: Fraction) -> None:
        frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
        frame.pts, frame.time_base = round(second / UNIT), UNIT
        self.container.mux(self.stream.encode(frame))

    def close(self) -> None:
        self.container.mux(self.stream.encode())
        self.container.close()


def moments(seconds: int, rate_hz: int, later: int = 0) -> dict[Fraction, Fraction]:
    """{when a picture is taken: its stamp}; `later`: pictures are taken so many periods after their stamp."""
    return {Fraction(n + later, rate_hz): Fraction(n, rate_hz) for n in range(seconds * rate_hz + 1)}


def write_films(root: Path, number: int, seconds: int, rates_hz: tuple[int, int]) -> list[str]:
    """<root>/<rate>/<name>.mp4 with <name>.csv beside it, one folder a film. Returns the folders; the last
    has the first rate too, and each picture one period later."""
    start = highway.start_of(SEED, number)
    name = start.strftime("%Y-%m-%d_%H-%M-%S")
    films = {f"{rate} Hz": moments(seconds, rate) for rate in rates_hz}
    films["later"] = moments(seconds, rates_hz[0], later=1)
    taken = sorted(set().union(*films.values()))
    drive, _, camera, _ = highway.drive_of(SEED, number, np.array(taken, float))
    speeds = dict(zip(films, (*rates_hz, rates_hz[0]), strict=True))
    opened = {of: Film(root / of / f"{name}.mp4", speed, (640, 360)) for of, speed in speeds.items()}
    for second, frame in zip(taken, highway.film(drive, camera, start, np.array(taken, float)), strict=True):
        for of, stamps in films.items():
            if second in stamps:
                opened[of].add(frame.picture, stamps[second])
    for film in opened.values():
        film.close()
    times_s = np.arange(0, seconds + 0.25, 0.5)
    trace = highway.drive_of(SEED, number, times_s)[1]
    start_ms = int(pd.Timestamp(start.replace(microsecond=0)).value // 1_000_000)
    told = telemetry(
        obd.replies(np.random.default_rng([SEED, number, 4]), trace, times_s), start_ms + (1000 * times_s).astype(int)
    )
    for of in films:
        write_text(root / of / f"{name}.csv", told.to_csv(index=False))
    return list(films)


def model_of(data: Path, folder: Path) -> Model:
    """The leader of a finished run."""
    line = params.load(Path("params.yaml")).brake_coast
    item = leader(read_json(data / "evaluate" / "details.json"))
    folder.mkdir()
    apply.belongings(data, item, line, folder)
    weights = data / "train" / item / "best.pt"
    return Model(item, weights, folder, item, sha256=file_hash(weights))


def probabilities(source: Path, model: Model, out: Path) -> pd.DataFrame:
    """Of all drives of a folder, by drive and moment."""
    line = made_with(params.load(Path("params.yaml")).brake_coast, model, {})
    done = apply.run(str(source), model, out, line, no_film=True)
    assert not done.quarantined, done.quarantined
    tables = {name: pd.read_csv(out / "recordings" / name / "probabilities.csv") for name in done.results}
    return pd.concat(tables).droplevel(1).set_index("t_ms", append=True)


def compared(tables: dict[str, pd.DataFrame], tasks: Sequence[str]) -> Iterator[str]:
    at_first, *others = tables
    first = tables[at_first]
    for of in others:
        assert tables[of].index.equals(first.index), "other moments"
        what = f"{of} against {at_first}" if of != "later" else f"{at_first}, one picture later"
        for task in tasks:
            apart = (tables[of][task] - first[task]).abs().to_numpy()
            spread, together = first[task].std(), np.corrcoef(tables[of][task], first[task])[0, 1]
            alarms = [
                int(pd.to_numeric(table[f"{task}_alarm"], errors="coerce").sum()) for table in (first, tables[of])
            ]
            yield (
                f"{what:28s} {task:9s} median {np.median(apart):.4f}   95 % {np.quantile(apart, 0.95):.4f}   most "
                f"{apart.max():.4f}   their spread {spread:.4f}   r {together:.3f}   alarms {alarms[0]} and {alarms[1]}"
            )


def main(tiny: bool = False) -> None:
    if not tiny and not (MADE / "evaluate" / "details.json").exists():
        print(f"{MADE}/evaluate/details.json: not there; `make demo` makes it")
        return
    with tempfile.TemporaryDirectory() as scratch, quiet("ultralytics", "tasks"):
        root = Path(scratch)
        model = write_model(root / "data") if tiny else model_of(MADE, root / "belongings")
        for number in range(1 if tiny else DRIVES):
            films = write_films(
                root / str(number), number, *((11, TINY_HZ) if tiny else (round(60 * MINUTES), RATES_HZ))
            )
        for of in films:
            (root / "in" / of).mkdir(parents=True)
            for file in sorted(root.glob(f"[0-9]*/{of}/*")):
                file.rename(root / "in" / of / file.name)
        tables = {of: probabilities(root / "in" / of, model, root / f"out {of}") for of in films}
        tasks = [name for name in tables[films[0]] if f"{name}_alarm" in tables[films[0]]]
        print(
            f"{model.item}, {len(tables[films[0]])} moments of {1 if tiny else DRIVES} drives, |difference| of "
            "probabilities"
        )
        print(*compared(tables, tasks), sep="\n")


if __name__ == "__main__":
    main()
