"""The champion of a line: the registered model that is served until a better one has proved itself on the same test
data.

A line takes part with a module tasks/<line>/champion.py:

    challenger(data: Path) -> Leader | None      what validation likes best, and what it has to beat; None: nothing yet
    compare(challenger: Path, champion: Path, data: Path, section) -> Comparison      of two checkpoints: `compared`
                                                                                      with how the line scores one
    JUDGED_AFTER = ("drive", ...)                steps that the challenge reads besides evaluate and what that needs,
                                                 also for what belongs to a model (`equip`); may be left out

The leader becomes a version of the line's registered model when it challenges, which only one does that beats its
baselines: its numbers have to be meaningful and better than theirs, on validation and on test. The first of a line
becomes champion. From then on the alias `champion` moves when the lead of a challenger, on test data that neither has
learnt from (training/learnt.py), is surely not below zero, however many have tried before (challenges.py).
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from tasks.yard import params
from tasks.yard.step import BadInput
from tasks.yard.tracking import challenges, fetched, judged, registry, store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Leader:
    """The network that validation likes best, and its baselines: what is constant, or sees nothing."""

    item: str  # of the train stage
    metric: str
    scores: Mapping[str, Mapping[str, float | None]]  # split -> run -> its score; None: none that is meaningful

    @property
    def unfit(self) -> str | None:
        """Why it is no model to serve; None if it is one."""
        for split, scores in self.scores.items():
            ours = scores[self.item]
            if ours is None:
                return f"its {self.metric} on {split} is not there, or not meaningful"
            for baseline, theirs in scores.items():
                if baseline != self.item and theirs is not None and theirs >= ours:
                    return f"its {self.metric} on {split} is {ours:.3f}, no better than {theirs:.3f} of {baseline}"
        return None


@dataclass(frozen=True)
class Score:
    """What one checkpoint is worth on the test data, and how sure that is."""

    metric: str
    value: float
    replicates: np.ndarray  # of the value, over draws that are the same for every checkpoint
    groups: Sequence[str]  # the recordings, people, scenes that were drawn from


@dataclass(frozen=True)
class Comparison:
    metric: str  # and on how much of what
    challenger: float
    champion: float
    error: float | None  # the standard error of the lead; None: too few groups to tell
    groups: Sequence[str]
    spans: Sequence[tuple[float, float] | None] = (None, None)  # 95 % intervals of the two; None: cannot be told

    @property
    def lead(self) -> float:
        return self.challenger - self.champion

    def low(self, level: float) -> float | None:
        """Below it the true lead lies with no more than this probability.

        The bootstrap gives the standard error, Student's t the tail: that of challenge 100 would want a million
        replicates. Few groups make both the percentile interval and the standard error too narrow: hence n - 1 degrees
        of freedom, and n / (n - 1) (T. Hesterberg: What teachers should know about the bootstrap, 2015).
        """
        if self.error is None:
            return None
        from scipy.special import stdtrit  # .6 s, which every command would take

        n = len(self.groups)
        return self.lead + float(stdtrit(n - 1, level)) * self.error * (n / (n - 1)) ** 0.5

    def won(self, level: float) -> bool:
        """Is the challenger surely no worse, and not just the same?"""
        low = self.low(level)
        return low is not None and low >= 0 and self.challenger != self.champion

    def told(self, number: int) -> str:
        level = challenges.level(number)
        text = f"{self.metric} {self.challenger:.3f} against {self.champion:.3f}"
        low = self.low(level)
        if low is None:
            return text
        tried = f"challenge {number} on this test set, so {100 * (1 - level):.6g} % sure"
        return f"{text}; lead {self.lead:+.3f}, surely above {low:+.3f} ({tried})"


def compared(score: Callable[[Path], Score], challenger: Path, champion: Path, on: str) -> Comparison:
    """Two checkpoints, scored the same way on the same draws; `on`: of how much of what."""
    ours = score(challenger)
    theirs = ours if champion == challenger else score(champion)
    assert ours.metric == theirs.metric, f"{ours.metric} and {theirs.metric} cannot be compared"
    differences = ours.replicates - theirs.replicates
    usable = differences[np.isfinite(differences)]
    tellable = len(ours.groups) > 1 and len(usable) * 2 >= len(differences)
    error = float(usable.std()) if tellable else None
    spans = [_span(one.replicates) if tellable else None for one in (ours, theirs)]
    return Comparison(f"{ours.metric} on {on}:", ours.value, theirs.value, error, ours.groups, spans)


def _span(replicates: np.ndarray) -> tuple[float, float] | None:
    usable = replicates[np.isfinite(replicates)]
    return (float(np.quantile(usable, 0.025)), float(np.quantile(usable, 0.975))) if len(usable) else None


def equip(line: str, versions: Sequence[str], item: str, data: Path) -> None:
    """Keep with the line's newest model what it needs to be applied elsewhere (tasks/yard/applying.py)."""
    if importlib.util.find_spec(f"tasks.{line}.apply") is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        module = importlib.import_module(f"tasks.{line}.apply")
        try:
            module.belongings(data, item, getattr(params.load(), line), Path(folder))
        except (BadInput, OSError) as error:  # the challenge goes on: from this checkout it can be applied all the same
            log.warning("%s: what belongs to %s cannot be kept with it (%s)", line, item, error)
            return
        for version in versions:
            fetched.keep(line, version, Path(folder), getattr(module, "SERVED", ()))


def judged_after(line: str) -> frozenset[str]:
    """The steps besides evaluate, and what that needs, that have to be up to date before anybody is judged."""
    return frozenset(getattr(judged.challenge_of(line), "JUDGED_AFTER", ()))


def settle(line: str) -> str | None:
    """Let the newest model of the line challenge its champion. Returns what became of it and why; None: not a line
    for it."""
    if (module := judged.challenge_of(line)) is None:
        return None
    data = Path("data", line)
    leader = module.challenger(data)
    if leader is None:
        return None
    judged.tell(store.client(), line, judged.of_line(line, ended=True))
    item, folder = leader.item, data / "train" / leader.item
    entered = registry.versions_of if leader.unfit else registry.enter
    versions = entered(line, f"{line}-train@{item}", folder)
    if not versions and leader.unfit:
        reigning = registry.champion_version(line)
        stands = f"version {reigning} stays champion:" if reigning else "none yet, because"
        return f"{stands} {item} is no challenger: {leader.unfit}"
    if not versions:
        return f"{item} is not registered in this MLflow store: no challenge"
    before = [reigning] if (reigning := registry.champion_version(line)) else []
    equip(line, versions, item, data)
    verdict = _challenge(line, module, leader, versions, data)
    for version in {versions[0], *before, *filter(None, [registry.champion_version(line)])}:
        registry.describe(line, version)
    return verdict


def _challenge(line: str, module: ModuleType, leader: Leader, versions: Sequence[str], data: Path) -> str:
    """What becomes of the champion, now that the leader, which is `versions` of the registered model, challenges it."""
    item, folder = leader.item, data / "train" / leader.item
    version, champion = versions[0], registry.champion(line)
    if champion is None:
        if leader.unfit:
            _say_alone(line, version, module, leader, folder / "best.pt", data)
            return f"none yet, because {item} (version {version}) is not served: {leader.unfit}"
        if registry.champion_version(line) is not None:  # another checkout was quicker
            return _challenge(line, module, leader, versions, data)
        registry.crown(line, version, "the first of its line that beats its baselines")
        _say_alone(line, version, module, leader, folder / "best.pt", data)
        return f"{item} (version {version}) is champion: the first of its line that beats its baselines"
    reigning, checkpoint = champion
    if reigning in versions:  # the same weights may have been registered twice
        return f"{item} (version {reigning}) stays champion"
    stays = f"version {reigning} stays champion"
    taken_back = {number: why for number, of in registry.tags(line).items() if (why := of.get(registry.WITHDRAWN))}
    if why := next((taken_back[number] for number in versions if number in taken_back), None):
        return f"{stays}: {item} (version {version}) was taken back by hand: {why}"
    if leader.unfit:
        _say_alone(line, version, module, leader, folder / "best.pt", data)
        return f"{stays}: {item} (version {version}) is no challenger: {leader.unfit}"
    try:
        values = params.load()
        comparison = module.compare(folder / "best.pt", checkpoint, data, getattr(values, line), values.yard.reporting)
    except BadInput as error:
        _say_alone(line, version, module, leader, folder / "best.pt", data)
        return f"{stays}: it cannot be compared with {item} (version {version}): {error}"
    metric = comparison.metric.removesuffix(":")
    for of, value, span in zip(
        (version, reigning), (comparison.challenger, comparison.champion), comparison.spans, strict=True
    ):
        registry.score(line, of, metric, value, span)
    test = challenges.sketch(comparison.groups)
    number = challenges.number_of(test, version, registry.tags(line))
    told = comparison.told(number)
    if comparison.error is None:
        return f"{stays}: too few test recordings to tell ({item}, version {version}: {told})"
    registry.tag(line, version, challenges.tag_of(test), " ".join(test))
    if not comparison.won(challenges.level(number)):
        return f"{stays} against {item} (version {version}): {told}"
    if registry.champion_version(line) != reigning:  # somebody, or a run of another checkout, has changed it meanwhile
        return _challenge(line, module, leader, versions, data)
    registry.crown(line, version, told)
    return f"{item} (version {version}) is the new champion, after version {reigning}: {told}"


def _say_alone(line: str, version: str, module: ModuleType, leader: Leader, checkpoint: Path, data: Path) -> None:
    """Note the score of a version that is compared with no other."""
    metric, value, span = leader.metric, leader.scores["test"][leader.item], None
    try:
        values = params.load()
        alone = module.compare(checkpoint, checkpoint, data, getattr(values, line), values.yard.reporting)
        metric, value, span = alone.metric.removesuffix(":"), alone.challenger, alone.spans[0]
    except BadInput as error:  # the number that evaluate told stands without its interval
        log.debug("%s has no interval: %s", leader.item, error)
    if value is not None:
        registry.score(line, version, metric, value, span)
