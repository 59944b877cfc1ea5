"""The network that validation likes best, and from which similarity on it takes two images for one person.

Reads evaluate/details.json: {"leader": network or null, "threshold": {"threshold": number or null, "from": how it was
chosen, "null_because": why there is none}, ...}, and plots/errors.csv beside it (strangers.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.person_search.judging import strangers
from tasks.person_search.judging.strangers import Strangers
from tasks.yard.files import read_json
from tasks.yard.step import BadInput


@dataclass(frozen=True)
class Leader:
    network: str
    threshold: float | None  # cosine similarity
    chosen: str  # how the threshold was, or why there is none
    strangers: Strangers | None = None  # how similar they were in validation; None: nobody measured it

    def checkpoint(self, train: Mapping[str, Path]) -> Path:
        """best.pt of the network. Raises `BadInput` where it is not among the trained ones."""
        if self.network not in train:
            raise BadInput(
                f"evaluate names {self.network} as the best network, and only {', '.join(train)} are trained now: "
                "run person_search-evaluate again"
            )
        return train[self.network] / "best.pt"


def leader_of(evaluate: Path) -> Leader:
    """Raises `BadInput` where nothing was evaluated, or nothing could be judged."""
    file = evaluate / "details.json"
    try:
        details = read_json(file)
        network, threshold = details["leader"], details["threshold"]
        value, chosen = threshold["threshold"], threshold["from"] or threshold["null_because"]
    except FileNotFoundError:
        raise BadInput(f"{file}: no such file; run person_search-evaluate") from None
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{file}: not written by person_search-evaluate ({error!r}); run it again") from None
    if network is None:
        raise BadInput(f"{file}: no network leads, for none could be judged on validation; add people to the source")
    return Leader(network, value, chosen, strangers.read(evaluate, threshold))
