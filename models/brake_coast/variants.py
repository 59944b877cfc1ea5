"""Names of networks: `<encoder>_<fusion>_<decoder>[-<modality>]`. Imports no torch: params.yaml is checked by it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

ENCODERS = ("simple", "attention")
FUSIONS = ("concat", "cross_attention", "query")
DECODERS = ("lstm", "transformer")
MODALITIES = ("telemetry", "detections")  # a blind network: only this input reaches it, the other one is zeros
VARIANTS = tuple("_".join(parts) for parts in product(ENCODERS, FUSIONS, DECODERS))


@dataclass(frozen=True)
class Variant:
    encoder: str
    fusion: str
    decoder: str
    modality: str  # "both" or one of MODALITIES


def parse(name: str) -> Variant:
    """The parts of a name such as `attention_cross_attention_lstm` or `simple_concat_lstm-telemetry`."""
    network, dash, modality = name.partition("-")
    if network not in VARIANTS:
        raise ValueError(f"no network {network!r}; there are: {', '.join(VARIANTS)}")
    if dash and modality not in MODALITIES:
        raise ValueError(f"{name!r}: the part after '-' names the only input it sees: {' or '.join(MODALITIES)}")
    encoder, rest = network.split("_", 1)
    fusion, decoder = rest.rsplit("_", 1)
    return Variant(encoder, fusion, decoder, modality or "both")
