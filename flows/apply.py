"""`python -m flows apply <line> <input>`: the champion, or weights of your own, on input that nobody has labelled.

No flow and no DVC: nothing of the line's data is read or changed but what belongs to the weights. The work is that of
tasks/<line>/apply.py; here the model is found, options are held to what the line takes, and the outcome is told.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tasks.yard import applying, code, params
from tasks.yard.files import digest, file_hash, sweep
from tasks.yard.params import Section
from tasks.yard.reporting.stamp import stamp
from tasks.yard.runner import BORROWED
from tasks.yard.step import BadInput, Context
from tasks.yard.tracking import fetched, lineage, origin, registry
from tasks.yard.workers import processes

TOLD = ("download", "check_data", "label", "pack")  # steps of a line whose remarks come with the outcome, and not twice
PARTS, NOTHING = 1, 2  # exit status: of some inputs, or parts of one, there is no result; of none there is one


def main(
    line: str,
    sources: Sequence[str],
    name: str | None,
    weights: str | None,
    out: Path | None,
    assignments: list[str],
    options: Mapping[str, Any],
) -> int:
    """Returns the exit status, 0 if all of every input gave a result."""
    params.refuse_unknown_line(line)
    if importlib.util.find_spec(f"tasks.{line}.apply") is None:
        raise BadInput(f"the line {line} cannot be applied; it would be tasks/{line}/apply.py")
    if name and weights:
        raise BadInput("--model and --weights are two models; give one of them")
    loaded, module = params.load(), importlib.import_module(f"tasks.{line}.apply")
    section = getattr(loaded, line)
    changes = set_for(line, assignments, section, module.READS)
    wanted = [p.name for p in inspect.signature(module.run).parameters.values() if p.kind is p.KEYWORD_ONLY]
    taken = [name for name in wanted if not name.endswith(BORROWED)]
    lent = {name: getattr(loaded.yard, name.removesuffix(BORROWED)) for name in wanted if name not in taken}
    given = {key: value for key, value in options.items() if value}
    applying.refuse_unknown_options(line, given, taken)
    out = out or Path("data", line, "apply")
    with ExitStack() as stack:
        if weights:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            model = local(module, line, section, weights, folder)
        else:
            model = fetched.model(line, name or f"models:/{line}@champion")
            if not any(model.belongings.iterdir()):  # registered before models brought anything
                model = from_here(module, line, section, model, stack)
        print(f"Model: {model.name}" + (f" ({model.item})" if model.item else ""), flush=True)
        stack.enter_context(applying.quiet("tasks.yard.fanout", *(f"tasks.{line}.{step}" for step in TOLD)))
        values = applying.made_with(section, model, changes)
        ctx = Context(processes, tqdm, digest(code.of(line, "apply")))
        commit = lineage.git_state(say=True)[0]
        about = {"line": line, "model": model.told(), "applied_by": {"git_commit": commit}}

        def apply(source: str, folder: Path) -> applying.Applied:
            return module.run(source, model, folder, values, ctx, **given, **lent)

        outcome = []
        for folder, told in applying.to_all(sources, out, about, apply):
            stamp(folder, lambda: origin.of_apply(line, model.name, commit), values.model_dump(mode="json"))
            outcome.append(say(folder, told))
    sweep(out)
    return NOTHING if min(outcome) == NOTHING else min(PARTS, max(outcome))


def from_here(module: Any, line: str, section: Section, model: applying.Model, stack: ExitStack) -> applying.Model:
    """The model with what belongs to it as it lies in this checkout, if the same weights do."""
    for own in sorted(Path("data", line).glob("train/*/best.pt")):
        if file_hash(own) == model.sha256:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            module.belongings(Path("data", line), own.parent.name, section, folder)
            return replace(model, belongings=folder)
    return model


def set_for(line: str, assignments: list[str], section: Section, read: Sequence[str]) -> dict[str, Any]:
    """{key below the line: value} of `--set`, checked as those of a run are, and not written. A value that params.yaml
    has too is one of them: the model may have been made with another."""
    changes = params.set_values(assignments, write=False) if assignments else {}
    found: dict[str, Any] = {}
    for key in (assignment.partition("=")[0].strip() for assignment in assignments):
        of, _, below = key.partition(".")
        step = below.partition(".")[0]
        if of != line or not step:
            raise BadInput(f"--set {key}: apply {line} takes values of {line} alone, line.step.key=value")
        if step not in read:
            raise BadInput(f"--set {key}: apply {line} does not read {step}; it reads {', '.join(read)}")
        here: Any = section.model_dump(mode="json")
        for part in below.split("."):
            here = here[part]
        found[below] = changes[key][1] if key in changes else here
    return found


def local(module: Any, line: str, section: Section, weights: str, folder: Path) -> applying.Model:
    """Weights of a file: with what belongs to them if this checkout has trained them, or it lies beside them."""
    path, data = Path(weights), Path("data", line)
    if not path.is_file():
        raise BadInput(f"--weights {weights}: no such file; give another, or a registered model by --model")
    beside, item, version, commit = path.parent / fetched.BELONGINGS, None, None, None
    trained = [own for own in data.glob("train/*/best.pt") if own.samefile(path)]
    if trained:
        item = trained[0].parent.name
        module.belongings(data, item, section, folder)
        beside = folder
        version, commit = registry.made_by(line, f"{line}-train@{item}", trained[0].parent)
    if commit is None:
        print("The commit that made these weights is not known.", flush=True)
    return applying.Model(
        name=weights,
        weights=path,
        belongings=beside,
        item=item,
        version=version,
        git_commit=commit,
        dvc_hash=lineage.dvc_hash(path.parent if trained else path),
        sha256=file_hash(path),
    )


def say(folder: Path, told: Mapping[str, Any]) -> int:
    """Print what became of one input. Returns its exit status."""
    for text in told["said"]:
        print(f"  {text}")
    for reason in told["quarantined"].values():
        print(f"  left out: {reason}")
    if told["kept"]:
        print(f"  what an earlier call made stays: {told['kept']}")
    done, bad = len(told["results"]), len(told["quarantined"])
    print(f"{told['input']}: {done} done, {bad} left out: {folder}", flush=True)
    return NOTHING if not done else PARTS if bad else 0
