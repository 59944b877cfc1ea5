"""The champion of a line, chosen by a person: to promote a version, or to go back to the one that reigned before.

What is chosen so is challenged by the next models as any champion is. A version that was taken back challenges nobody
any more, nor do the same weights registered again; to promote it by hand puts it back.
"""

from __future__ import annotations

import getpass

from tasks.yard.step import BadInput, suggestion
from tasks.yard.tracking import registry, store
from tasks.yard.tracking.registry import Version


def table(line: str) -> list[str]:
    """A text a version, the newest first."""
    return [_told(version) for version in registry.versions(line)]


def _told(version: Version) -> str:
    tags = version.tags
    mark = "champion" if version.is_champion else "withdrawn" if registry.WITHDRAWN in tags else ""
    score = f"{tags['test.metric']}: {float(tags['test.value']):.3f}" if "test.value" in tags else ""
    if tags.get("test.low") and tags.get("test.high"):
        score += f" ({float(tags['test.low']):.3f} to {float(tags['test.high']):.3f})"
    said = [tags.get(registry.BECAUSE), tags.get(registry.WITHDRAWN) and f"withdrawn: {tags[registry.WITHDRAWN]}"]
    why = "; ".join(text for text in said if text)
    return f"{version.number:>4}  {mark:9}  {version.made:%Y-%m-%d %H:%M}  {version.network}  {score}  {why}".rstrip()


def promote(line: str, number: str, because: str) -> str:
    """Make a version champion. Returns what became of it. Raises `BadInput` if there is no such version."""
    known = {version.number: version for version in registry.versions(line)}
    if number not in known:
        raise BadInput(f"{line} has no version {number!r} in {store.shown()}; {suggestion(number, known, 'versions')}")
    if known[number].is_champion:
        return f"version {number} is champion already"
    reigning = next((version.number for version in known.values() if version.is_champion), None)
    if registry.WITHDRAWN in known[number].tags:
        registry.untag(line, number, registry.WITHDRAWN)
    registry.crown(line, number, _by_hand("promoted", because))
    for one in filter(None, (number, reigning)):
        registry.describe(line, one)
    return f"version {number} is champion" + (f", after version {reigning}" if reigning else "")


def roll_back(line: str, because: str) -> str:
    """Give the crown back to who had it before. Raises `BadInput` if nobody had."""
    known = registry.versions(line)
    reigning = next((version for version in known if version.is_champion), None)
    if reigning is None:
        raise BadInput(f"{line} has no champion in {store.shown()}; name one by --promote VERSION")
    before = [
        (since, version)
        for version in known
        if version is not reigning and registry.WITHDRAWN not in version.tags and (since := version.reigned_from)
    ]
    if not before:
        raise BadInput(
            f"no other version of {line} was champion before version {reigning.number}; use --promote VERSION"
        )
    _, last = max(before, key=lambda of: of[0])
    registry.crown(line, last.number, _by_hand(f"back after version {reigning.number}", because))
    registry.tag(line, reigning.number, registry.WITHDRAWN, _by_hand("taken back", because))
    for one in (last, reigning):
        registry.describe(line, one.number)
    return f"version {last.number} is champion again; version {reigning.number} is taken back and challenges no more"


def _by_hand(what: str, because: str) -> str:
    return f"{what} by {getpass.getuser()}" + (f": {because}" if because else "")
