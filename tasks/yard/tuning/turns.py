"""The trials of a search, several at once: which one is begun, judged and ended when.

Who is first must not depend on who was faster. So a search has a clock of its own, on which every epoch takes as long
as any other: its events (a trial reaches a rung, or its end; the next one is begun with the values that Optuna proposes
then) follow each other by this clock, at one moment by the numbers of the trials. Real trainings run beside each other,
and whoever is early waits until it is his turn. What is found is so a function of the seed and of the number at once:
on whatever machines, and also where the search was killed, because it is played again from the files that are there.
A trial is begun after all with smaller numbers and so reaches each rung after them: it is judged beside those, and more
trials asked for change nothing of the earlier ones. With one at a time, each trial knows all that came before it.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.yard.files import read_json, write_json
from tasks.yard.params import Section
from tasks.yard.step import Context, WorkerCrashed, WorkerKilled
from tasks.yard.tuning import study
from tasks.yard.tuning.course import Course
from tasks.yard.tuning.hands import Ask, Piece, Train, hired
from tasks.yard.tuning.section import COMPLETE, RUNNING, Tuning
from tasks.yard.tuning.values import tidy

log = logging.getLogger(__name__)
WEIGHTS = ("best.pt", "last.pt", "best.json", "last.json")


@dataclass(frozen=True)
class Turns:
    section: str  # where `base` stands in params.yaml
    base: Section
    params: Tuning
    runs: Path  # a folder for each trial
    fatal: tuple[type[Exception], ...]  # what bad values may raise: the trial fails, the search goes on

    def all(self, proposals: Iterator[dict | None], train: Train, gpu: bool, ctx: Context) -> list[dict]:
        """Every trial as its trial.json holds it, by number; proposals: values that trials have to have, in turn."""
        coming = enumerate(itertools.islice(proposals, self.params.trials))
        ended: list[dict] = []
        under_way: list[Course] = []
        clock = 0
        with (
            ctx.progress(total=self.params.trials, desc="tune", unit="trial") as bar,
            hired(train, self.params.at_once, gpu) as ask,
        ):
            while True:
                for number, fixed in itertools.islice(coming, self.params.at_once - len(under_way)):
                    others = [*ended, *(one.record() for one in under_way)]
                    course = self.begun(number, fixed, sorted(others, key=lambda trial: trial["number"]))
                    seats = {one.seat for one in under_way}
                    course.seat = next(seat for seat in itertools.count() if seat not in seats)
                    under_way.append(course)
                    self.go_on(course, clock, ask)
                if not under_way:
                    return sorted(ended, key=lambda trial: trial["number"])
                course = min(under_way, key=lambda one: (one.due, one.number))
                clock = course.due
                others = [*ended, *(one.record() for one in under_way if one is not course)]
                if course.state == RUNNING:
                    self.take(course, others)
                if course.state == RUNNING:
                    self.go_on(course, clock, ask)
                else:
                    under_way.remove(course)
                    ended.append(self.ended(course))
                    bar.update()
                    bar.set_postfix(best=max((t["score"] for t in ended if t["state"] == COMPLETE), default=None))

    def begun(self, number: int, fixed: dict | None, others: list[dict]) -> Course:
        folder = self.runs / name(number)
        kept = read_json(folder / "trial.json") if (folder / "trial.json").exists() else None
        if kept is not None:
            values = kept["params"]
        else:
            values = dict(study.ask(self.params, number, fixed, others).params)
            if fixed is None:
                values = {key: tidy(value, self.params.space[key]) for key, value in values.items()}
            write_json(folder / "params.json", values)
        course = Course(number, folder, values, kept=kept)
        course.set_up(self.base, self.section, self.params)
        return course

    def go_on(self, course: Course, clock: int, ask: Ask) -> None:
        course.due = clock
        if course.state == RUNNING:
            course.due += course.until - (int(max(course.rungs, key=int)) if course.rungs else 0)
            if course.kept_scores() is None:
                self.train(course, ask)

    def train(self, course: Course, ask: Ask) -> None:
        course.kept = None
        (course.folder / "trial.json").unlink(missing_ok=True)
        assert course.section is not None, "values that cannot be are not trained"
        course.answer = ask(Piece(course.section, course.folder, course.until, course.seat))

    def take(self, course: Course, others: list[dict]) -> None:
        """The outcome of a piece, waited for or kept."""
        scores = course.kept_scores()
        if scores is None:
            assert course.answer is not None
            try:
                scores = [row["val"].get("score") for row in course.answer()]
            except (*self.fatal, WorkerCrashed) as error:
                scores = str(error)
            except WorkerKilled as error:
                how = f"free memory, or leave such values out of {self.section.partition('.')[0]}.tune.space"
                raise WorkerKilled(f"{str(error).partition(';')[0]}; {how}: {course.values}") from None
        if isinstance(scores, str):
            course.fail(scores)
        else:
            course.reach(scores, self.params, others)

    def ended(self, course: Course) -> dict:
        made = course.record()
        if course.kept != made:
            course.write()
        for file in WEIGHTS:
            (course.folder / file).unlink(missing_ok=True)
        log.info("%s ends: %s after %d epochs", name(course.number), course.state, made["epochs"])
        return read_json(course.folder / "trial.json")  # its keys stand as in one that is kept


def name(number: int) -> str:
    return f"trial-{number:03d}"
