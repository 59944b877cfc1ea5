"""How many models have been tried on one test set, and what a lead must therefore stand.

A champion that is challenged every night on the same test data is beaten by luck sooner or later: at 2.5 % a night,
within weeks. So the nights of one test set share the 2.5 %: the k-th challenge has 2.5 % / (k (k + 1)) of it, which is
all of it in infinitely many nights, whatever they have in common. That is Alpha-Spending, the online form of
Bonferroni's correction (J. Tian, A. Ramdas: Online control of the familywise error rate, Statistical Methods in Medical
Research 30, 2021).

A test set that grows by a recording is hardly another one: a challenge counts while half of what is judged on now was
judged on then. Each is kept in a tag of the challenger's version: challenge.<test set> = hashes of the names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tasks.yard.files import digest

ERROR = 0.025  # one-sided, over all challenges on one test set
TAG = "challenge."
SAME = 0.5
KEPT = 600  # hashes; of more names the smallest ones, which are a random sample of them (a tag holds 5,000 characters)


def level(number: int) -> float:
    """The one-sided error that is left for the n-th challenge, from 1."""
    return ERROR / (number * (number + 1))


def sketch(names: Iterable[str]) -> list[str]:
    return sorted({digest(name)[:7] for name in names})[:KEPT]


def same_test(now: list[str], before: list[str]) -> bool:
    """Is half of the names of `now` among those of `before`?"""
    comparable = [name for name in now if len(before) < KEPT or name <= before[-1]]
    return len(set(comparable) & set(before)) >= SAME * max(1, len(comparable))


def tag_of(now: list[str]) -> str:
    return f"{TAG}{digest(now)[:12]}"


def number_of(now: list[str], version: str, tags: Mapping[str, Mapping[str, str]]) -> int:
    """Which challenge on this test set it is that `version` makes; asked again it is the same one, and no further.

    `tags`: of every version.
    """
    mine = tag_of(now)
    earlier = [
        name
        for other, of in tags.items()
        for name, hashes in of.items()
        if name.startswith(TAG) and (other, name) != (version, mine) and same_test(now, hashes.split())
    ]
    return 1 + len(earlier)
