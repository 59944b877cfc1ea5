"""Is what a param names there? What can be told at once is refused before `--set` writes it: params.yaml would keep it,
and every later night would fail of it.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.yard.sources import uri as source_uri
from tasks.yard.step import BadInput

URIS = ("source", "extra_sources", "photos")  # params of these names hold URIs that tasks/yard/sources/local.py opens
WEIGHTS = ("weights", "detector")  # of these a file, or the name of published weights
PATHS = (*WEIGHTS, "queries", "pairs")  # and of these a file or folder
# What ultralytics downloads, and what torchvision does.
PUBLISHED = re.compile(r"(yolo|rtdetr|sam|mobile_sam|fastsam)[\w.-]*|coco|imagenet", re.IGNORECASE)


def places(section: Any, name: str) -> list[str]:
    """What a param of a section names; the word by which it asks for no detector at all names nothing."""
    value = getattr(section, name, None)
    named = [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
    return [text for text in named if name not in WEIGHTS or text != getattr(section, "NO_DETECTOR", None)]


def refuse_absent(params: Any, key: Sequence[str]) -> None:
    """Raises `BadInput` if the param at `key` names a world, folder or file that is not there."""
    section = params
    for part in key[:-1]:
        section = getattr(section, part, None)
    named = places(section, key[-1])
    for text in named if key[-1] in URIS else []:
        refuse_absent_source(text, getattr(section, "WORLD", None), ".".join(key))
    for text in named if key[-1] in PATHS else []:
        published = key[-1] in WEIGHTS and PUBLISHED.fullmatch(text)
        if not published and not Path(text).expanduser().exists():
            raise BadInput(f"{'.'.join(key)}: {text}: no such file; a relative path is looked up from the project")


def refuse_absent_source(uri: str, world: str | None, key: str) -> None:
    kind = source_uri.scheme(uri)
    if kind == "synth" and world:
        try:
            importlib.import_module(f"tasks.yard.worlds.{world}").parse(uri)
        except BadInput as error:
            raise BadInput(f"{key}: {error}") from None
    elif not kind:
        place = source_uri.expanded(uri)
        if not source_uri.scheme(place) and not Path(place).expanduser().exists():
            raise BadInput(f"{key}: {uri}: no such folder; a relative one is looked up from the project's folder")
