"""Which groups (days, people, sequences) train, validate and test, and that this stays so from run to run.

A step that assigns splits has `persist: true` on its out in dvc.yaml, and writes there, with its results:

    splits.json   {"train": [group, ...], "val": [...], "test": [...],
                   "members": {group: [what it is made of, ...]}, if that is not the group's own name,
                   "absent": {group or member: split}, what was known before and is not in today's data}

Its next run reads it back: what is known keeps its split, whatever became of data and params, and only new groups are
assigned. So two nights are judged on one test set, and no model on what an earlier one has learnt from. The param
`splits` of such a step names a file of this kind that is believed before the step's own.

Who is known by several splits (two drives turn out to be copies of one) goes to the first of train, val, test: nobody
is judged on what may have been learnt from. Splits that a source publishes are kept as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from tasks.yard.files import read_json, write_json
from tasks.yard.step import BadInput

SPLITS = ("train", "val", "test")
FILE = "splits.json"
PINNED = "a splits.json (tasks/yard/splits.py): what it names has that split; null: what had one before keeps it"
NAMED = 5  # of many groups that a remark names


def read(path: Path) -> dict[str, Any]:
    """A file of this kind. Raises `BadInput`."""
    try:
        said = read_json(path)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read as JSON ({error}); mend it, or delete it to draw splits anew") from None
    lists = isinstance(said, dict) and all(
        isinstance(said.get(split), list) and all(isinstance(name, str) for name in said[split]) for split in SPLITS
    )
    rest = lists and all(isinstance(said.get(key, {}), dict) for key in ("members", "absent"))
    if not rest or not set(said.get("absent", {}).values()) <= set(SPLITS):
        raise BadInput(
            f'{path}: expected {{"train": [names], "val": [names], "test": [names]}}; mend it, or delete it to draw '
            "splits anew"
        )
    return said


def known(out: Path, pinned: str | None) -> dict[str, str]:
    """{group or member: its split} by the file that the step's params name, and else by its last run."""
    files = [out / FILE] if (out / FILE).exists() else []
    if pinned is not None:
        if not Path(pinned).is_file():
            raise BadInput(f"splits = {pinned}: no such file; give the path of a {FILE}, or null")
        files.append(Path(pinned))
    found: dict[str, str] = {}
    members: dict[str, list[str]] = {}  # a group that a file pins by its name moves with all that it was made of
    for manifest in map(read, files):
        members |= manifest.get("members", {})
        of: dict[str, str] = {}
        for split in SPLITS:
            for group in manifest[split]:
                for name in (group, *members.get(group, ())):
                    of.setdefault(name, split)
        found |= manifest.get("absent", {}) | of
    return found


def first_of(splits: Iterable[str]) -> str:
    """The split for what is in several: nobody is judged on what may have been learnt from."""
    return min(splits, key=SPLITS.index)


def kept(before: Mapping[str, str], members: Mapping[str, Iterable[str]]) -> tuple[dict[str, str], list[str]]:
    """({group: its split} of those that are known by their own name or a member's, remarks on those known by several).

    `members`: of every group of today.
    """
    found: dict[str, str] = {}
    remarks: list[str] = []
    for group, mine in members.items():
        splits = {before[name]: name for name in (group, *mine) if name in before}
        if splits:
            found[group] = first_of(splits)
        if len(splits) > 1:
            each = " and ".join(f"{splits[split]} in {split}" for split in SPLITS if split in splits)
            remarks.append(f"{group} belongs together and was divided, {each}: all of it is {found[group]} from now on")
    return found, remarks


def moved(before: Mapping[str, str], today: Iterable[tuple[str, str]]) -> list[str]:
    """A remark if (group, split) of today differs from what was known: a source may publish other splits."""
    other = sorted({group for group, split in today if before.get(group, split) != split})
    if not other:
        return []
    first = ", ".join(other[:NAMED]) + (" and others" if len(other) > NAMED else "")
    return [f"{len(other)} groups lie in another split than before, by the source: {first}"]


def manifest(
    today: Iterable[tuple[str, str]],
    before: Mapping[str, str],
    members: Mapping[str, Iterable[str]] | None = None,
) -> dict[str, Any]:
    """splits.json of (group, split)."""
    of: dict[str, Any] = {split: set() for split in SPLITS}
    for group, split in today:
        of[split].add(group)
    made_of = {group: sorted(set(mine)) for group, mine in (members or {}).items()}
    made_of = {group: mine for group, mine in made_of.items() if mine != [group]}
    here = set().union(*of.values(), *made_of.values())
    absent = {name: split for name, split in before.items() if name not in here}
    lists = {split: sorted(names) for split, names in of.items()}
    return lists | ({"members": made_of} if made_of else {}) | ({"absent": absent} if absent else {})


def write(out: Path, said: Mapping[str, Any]) -> None:
    write_json(out / FILE, said)


def how_to_redraw(out: Path) -> str:
    return f"to draw the splits anew delete {out / FILE} and run again"


def refuse_empty(today: Collection[str], out: Path, because: str = "") -> None:
    """Raises `BadInput` if nothing is left for one of the splits: what is known does not move, and nothing is new."""
    if empty := [split for split in SPLITS if split not in today]:
        more = f", and {because}" if because else ""
        raise BadInput(
            f"nothing is left for {' and '.join(empty)}: all that is known keeps its split, as {out / FILE} or the "
            f"param splits has it{more}. Add data; or, {how_to_redraw(out)}"
        )
