"""What MLflow's pages say in words: Markdown of a training that has been judged, of a version, and of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks.yard.files import read_json

NOTE = "mlflow.note.content"  # the tag that MLflow shows as the description of a run
COLUMNS = 6
ON_TEST = "on test"  # begins a table
FIRST = ("pr_auc", "map", "moda", "ap50")  # of the numbers in a file, which are sorted by name, what people ask first
LIMIT = 4500  # characters; a tag of MLflow holds 5,000


def cut(text: str) -> str:
    return text if len(text) <= LIMIT else f"{text[:LIMIT]}\n\n(cut here)"


def main_numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    """Of what evaluate tells of a network: of each task the first number, or the first numbers where it has no
    tasks."""
    for key in sorted(values, key=lambda key: key not in FIRST):
        value = values[key]
        if isinstance(value, Mapping):
            for inner in sorted(value, key=lambda key: key not in FIRST)[:1]:
                yield f"{key} {inner}", value[inner]
        else:
            yield key, value


def table(folder: Path, mine: str) -> str:
    """The networks and baselines that were judged together, from <run>.json in `folder`; `mine` is first, and bold."""
    from tasks.yard.reporting.pages import markdown  # of PIL and jinja2 most runs have no need

    told = {path.stem: dict(main_numbers(read_json(path))) for path in sorted(folder.glob("*.json"))}
    columns = list(told[mine])[:COLUMNS]
    rows = [mine, *(name for name in told if name != mine)]
    cells = [[ON_TEST, *columns]]
    for name in rows:
        values = [told[name].get(column) for column in columns]
        shown = [f"{value:.3f}" if isinstance(value, (int, float)) else "\N{EN DASH}" for value in values]
        cells.append([f"**{name}**" if name == mine else name, *shown])
    return markdown(cells)


def table_in(text: str) -> str:
    """The table that a page of a version ends with, as `version` wrote it; empty if it has none."""
    at = text.find(f"| {ON_TEST} ")
    return text[at:] if at >= 0 else ""


def network(line: str, item: str, leads: bool | None) -> str:
    """Of a training, once its network has been judged. `leads` None: nobody does, or it is not known yet."""
    what = "the leader: validation likes it best" if leads else "judged beside the others"
    what += "; another one leads" if leads is False else ""
    return cut(f"**{item}** of {line}, {what}.\n\n{table(Path('data', line, 'evaluate', 'metrics'), item)}")


def request(line: str, about: str) -> str:
    """Of a registered model: how it is served, and asked."""
    return (
        f"# {line}\n\nThe versions are leaders of runs; the alias `champion` is the one to use.\n\n"
        f"    mlflow models serve -m models:/{line}@champion --env-manager local --port 5001\n\n"
        "and then, with the request that lies beside each version as `serving_input_example.json`:\n\n"
        "    curl -H 'Content-Type: application/json' -d @serving_input_example.json http://127.0.0.1:5001/invocations"
        f"\n\n{about}"
    )


def version(
    item: str, tags: Mapping[str, str], of_run: Mapping[str, str], reigns: bool, report: str | None, results: str
) -> str:
    """Of a registered version: what it is worth, what it was made from, and where the page about it is."""
    first, parts = item, []  # plain: the list of versions shows the beginning of it as it stands
    if tags.get("test.value"):
        span = (
            f" (95 %: {float(tags['test.low']):.3f} to {float(tags['test.high']):.3f})" if tags.get("test.low") else ""
        )
        first = f"{item}: {float(tags['test.value']):.3f}{span}, {tags['test.metric']}"
    if because := tags.get("champion.because"):
        parts.append(f"{'champion' if reigns else 'was champion'}: {because}")
    made = [f"{name} `{of_run[key]}`" for name, key in (("data", "data"), ("commit", "git.commit")) if key in of_run]
    made += [f"weights `{md5}`" for key, md5 in of_run.items() if key.startswith("dvc.out.")]
    parts.append(f"made from {', '.join(made)}")
    if report:
        parts.append(f"[newest report of the line]({report})")
    return "\n\n".join([first, *parts, *([results] if results else [])])
