"""Pictures of a ranking: who was found for whom, CMC curves, similarities of pairs, and the errors over the threshold.

Reads nothing; writes the png files it is told to. Curves come back as svg markup too, for the report's page.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from tasks.person_search.judging.ranking import Ranking
from tasks.person_search.judging.thresholds import Pairs
from tasks.yard.files import replacing
from tasks.yard.reporting.charts import COMPRESSION, DASHES, FAINT, INK, RUNS, legend
from tasks.yard.reporting.film import font

RIGHT, WRONG = "#0f8a6a", "#c2263a"
SAME, DIFFERENT = RUNS[0], RUNS[1]
CROP_HEIGHT_PX, BORDER_PX, GAP_PX, SLOT_PX, LEFT_PX = 128, 4, 8, 92, 112
LINE_PX = 12
LINES = 3  # of text below a crop


@dataclass(frozen=True)
class People:
    """Crops and what is known of each."""

    images: np.ndarray  # (N, H, W, 3) uint8 RGB
    identity: np.ndarray  # (N) int, below 0: nobody's, or unknown
    camera: np.ndarray  # (N) int
    names: Sequence[str]  # (N) paths or file names


def chosen_queries(ranking: Ranking, worst: int, spread: int, best: int) -> dict[str, list[int]]:
    """{heading: queries} by their AP: the worst, some evenly spread over the others, the best; none of them twice."""
    used = np.flatnonzero(ranking.used)
    order = used[np.argsort(ranking.ap[used], kind="stable")].tolist()
    low, rest = order[:worst], order[worst:]
    high, middle = rest[len(rest) - min(best, len(rest)) :], rest[: len(rest) - min(best, len(rest))]
    places = np.unique(np.linspace(0, len(middle) - 1, spread + 2).round().astype(int)[1:-1]) if middle else []
    groups = {"the worst": low, "evenly spread": [middle[i] for i in places], "the best": high[::-1]}
    return {heading: rows for heading, rows in groups.items() if rows}


def ranked_lists(
    path: Path,
    queries: Mapping[str, Sequence[int]],
    query: People,
    gallery: People,
    nearest: np.ndarray,
    ranking: Ranking | None = None,
) -> None:
    """A row a query: its crop, then its nearest gallery crops as `ranking.top` gives them (Q, k), -1 for none.

    Green border and a tick: the same person; red and a cross: another one. `queries`: {heading: rows of `query`};
    `ranking` adds each query's AP. Where a query's person is unknown the borders are grey.
    """
    ranks = nearest.shape[1]
    row_px = CROP_HEIGHT_PX + 2 * BORDER_PX + LINES * LINE_PX + 10
    heads = 24
    width = LEFT_PX + SLOT_PX + 2 * GAP_PX + ranks * SLOT_PX
    height = sum(heads + row_px * len(rows) for rows in queries.values()) + 10
    sheet = Image.new("RGB", (width, max(height, heads)), "white")
    pen = ImageDraw.Draw(sheet)
    y = 4
    for heading, rows in queries.items():
        pen.text((8, y + 3), heading, fill=INK, font=font(13, bold=True))
        pen.text((LEFT_PX + GAP_PX, y + 6), "query", fill=FAINT, font=font(10))
        for rank in range(ranks):
            x = LEFT_PX + SLOT_PX + 2 * GAP_PX + rank * SLOT_PX
            pen.text((x + BORDER_PX, y + 6), str(rank + 1), fill=FAINT, font=font(10))
        y += heads
        for q in rows:
            if ranking is not None and ranking.used[q]:
                facts = (f"AP {ranking.ap[q]:.2f}", "first match", f"at rank {ranking.first[q]}")
                for line, text in enumerate(facts):
                    ink = FAINT if line else INK
                    pen.text((8, y + 6 + 15 * line), text, fill=ink, font=font(10, bold=not line))
            _tile(sheet, pen, (LEFT_PX + GAP_PX, y), query, q, INK, "")
            for rank, g in enumerate(nearest[q]):
                if g >= 0:
                    place = LEFT_PX + SLOT_PX + 2 * GAP_PX + rank * SLOT_PX, y
                    _tile(sheet, pen, place, gallery, g, *_verdict(query.identity[q], gallery.identity[g]))
            y += row_px
    with replacing(path) as temporary:
        sheet.save(temporary, compress_level=COMPRESSION)


def _verdict(query_identity: int, gallery_identity: int) -> tuple[str, str]:
    if query_identity < 0:
        return FAINT, ""
    return (RIGHT, "✓ ") if query_identity == gallery_identity else (WRONG, "✗ ")


def _tile(
    sheet: Image.Image, pen: ImageDraw.ImageDraw, at: tuple[int, int], of: People, i: int, ink: str, mark: str
) -> None:
    """One crop with its border, and below it: identity and camera, and the file's name in two lines."""
    x, y = at
    height, width = of.images.shape[1:3]
    room = SLOT_PX - GAP_PX - 2 * BORDER_PX
    scale = min(CROP_HEIGHT_PX / height, room / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    pen.rectangle((x, y, x + size[0] + 2 * BORDER_PX - 1, y + size[1] + 2 * BORDER_PX - 1), fill=ink)
    sheet.paste(Image.fromarray(of.images[i]).resize(size, Image.Resampling.BICUBIC), (x + BORDER_PX, y + BORDER_PX))
    identity = f"id {of.identity[i]}" if of.identity[i] >= 0 else "id ?"
    below = y + CROP_HEIGHT_PX + 2 * BORDER_PX + 1
    pen.text((x, below), f"{mark}{identity} · c{of.camera[i]}", fill=ink, font=font(9))
    for line, text in enumerate(_folded(Path(of.names[i]).stem, SLOT_PX - 3, LINES - 1), 1):
        pen.text((x, below + line * LINE_PX), text, fill=FAINT, font=font(8))


def _folded(name: str, width_px: int, lines: int) -> list[str]:
    """A name in at most `lines` lines; what does not fit is cut off at the front: its end tells files apart."""
    found = []
    while name and len(found) < lines:
        fits = len(name)
        while fits > 1 and font(8).getlength(name[-fits:]) > width_px:
            fits -= 1
        if fits < len(name) and (cut := name[-fits:].find("_")) >= 0 and fits - cut - 1 >= fits / 2:
            fits -= cut + 1  # break after an underscore where one is near
        found.insert(0, name[-fits:])
        name = name[:-fits]
    return found


def cmc(rankings: Mapping[str, Ranking], baselines: Collection[str], ranks: int = 20) -> Figure:
    """CMC-1 to CMC-`ranks` of several runs; those of `baselines` are grey."""
    figure = Figure(figsize=(9, 4.2))
    axis = figure.subplots()
    greys = [run for run in rankings if run in baselines]
    colours = [run for run in rankings if run not in baselines]
    dashes = [*DASHES.values(), (0, (7, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (10, 4))]
    for run, ranking in rankings.items():
        if run in greys:
            look = {"color": FAINT, "linewidth": 1.2, "linestyle": dashes[greys.index(run) % len(dashes)]}
        else:
            look = {"color": RUNS[colours.index(run) % len(RUNS)], "linewidth": 2.0}
        map_ = "" if ranking.map is None else f" (mAP {ranking.map:.3f})"
        axis.plot(range(1, ranks + 1), ranking.cmc_curve(ranks), **look, label=f"{run}{map_}")
    axis.set(xlabel="rank k", ylabel="share of queries with a match in the first k", ylim=(0, 1.02))
    axis.set(title="CMC", xlim=(0.7, ranks + 0.3), xticks=[1, *range(5, ranks + 1, 5)])
    figure.legend(loc="outside right upper", fontsize=8.5)
    return figure


def similarities(pairs: Pairs, thresholds: Mapping[str, float | None]) -> Figure:
    """How alike pairs of one person and of two are, each as a density, with the thresholds {name: similarity}."""
    figure = Figure(figsize=(9, 3.8))
    axis = figure.subplots()
    kinds = {"one person": (pairs.same, SAME), "two people": (pairs.different, DIFFERENT)}
    some = [values for values, _ in kinds.values() if len(values)]
    if some:
        low, high = min(v[0] for v in some), max(v[-1] for v in some)
        edges = np.linspace(low, max(high, low + 1e-3), 81)
        for name, (values, colour) in kinds.items():
            if len(values):
                density = np.histogram(values, edges, density=True)[0]
                axis.stairs(density, edges, fill=True, alpha=0.35, color=colour)
                axis.stairs(density, edges, color=colour, linewidth=1.6, label=f"{name}: {len(values):,} pairs")
    _mark(axis, thresholds)
    axis.set(title="similarity of cross-camera pairs", xlabel="cosine similarity", ylabel="density", yticks=[])
    legend(figure, [axis])
    return figure


def errors(curves: Mapping[str, dict[str, list[float]]], thresholds: Mapping[str, float | None]) -> Figure:
    """FAR and FRR over the threshold and against each other, for curves {split: as `thresholds.curve` gives them}."""
    figure = Figure(figsize=(11, 3.9))
    left, right = figure.subplots(1, 2)
    for (split, curve), dashes in zip(curves.items(), DASHES.values(), strict=False):
        look = {"linestyle": dashes, "linewidth": 1.8}
        left.plot(curve["threshold"], curve["far"], color=DIFFERENT, label=f"false accepts, {split}", **look)
        left.plot(curve["threshold"], curve["frr"], color=SAME, label=f"false rejects, {split}", **look)
        far, frr = np.array(curve["far"]), np.array(curve["frr"])
        right.plot(far[far > 0], frr[far > 0], color=INK, **look, label=f"both, {split}")
    _mark(left, thresholds)
    left.set(title="errors over the threshold", xlabel="cosine similarity", ylabel="share of pairs", ylim=(0, 1.02))
    right.set(title="what fewer false accepts cost", xlabel="false-accept rate", ylabel="false-reject rate")
    right.set(xscale="log", ylim=(0, 1.02))
    legend(figure, [left, right])
    return figure


def _mark(axis, thresholds: Mapping[str, float | None]) -> None:
    dashes = list(DASHES.values())[1:]
    known = [(name, at) for name, at in thresholds.items() if at is not None]
    for i, (name, at) in enumerate(known):
        axis.axvline(at, color=FAINT, linewidth=1.3, linestyle=dashes[i % len(dashes)], label=f"{name}: {at:.3f}")
