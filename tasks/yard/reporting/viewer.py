"""What the pages of the viewers share: pictures inside the page up to a size, one template, one look.

A line's page/view.html.j2 includes view.css and view.js of this folder. What data call themselves reaches the page as
JSON alone, and its script writes names as text.
"""

from __future__ import annotations

import base64
import difflib
import io
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from tasks.yard import params
from tasks.yard.files import write_text
from tasks.yard.reporting.pages import environment
from tasks.yard.reporting.words import counted
from tasks.yard.step import BadInput

EMBED_MB = 40.0  # in base64; browsers open that in about a second
QUALITY = 78
NAMED = 3  # of what is left out, in a note


@dataclass
class Album:
    """Pictures of a page, each once. One that would exceed the limit is left out, and counted; so is one that cannot be
    read."""

    embed_mb: float = EMBED_MB
    uris: list[str] = field(default_factory=list)
    left_out: int = 0
    unreadable: list[str] = field(default_factory=list)
    held_bytes: int = 0
    _places: dict[Hashable, int | None] = field(default_factory=dict)

    def put(self, key: Hashable, make: Callable[[], Image.Image]) -> int | None:
        """The place of a picture in `uris`, None if it is not there."""
        if key not in self._places:
            self._places[key] = self._new(make)
        return self._places[key]

    def _new(self, make: Callable[[], Image.Image]) -> int | None:
        if self.full:
            self.left_out += 1
            return None
        try:
            uri = jpeg_uri(make())
        except (BadInput, OSError) as error:
            self.unreadable.append(str(error))
            return None
        if self.held_bytes + len(uri) > self.embed_mb * 1e6:
            self.left_out += 1
            return None
        self.held_bytes += len(uri)
        self.uris.append(uri)
        return len(self.uris) - 1

    @property
    def full(self) -> bool:
        """Hardly a picture has room any more: the rest need not be decoded to be left out."""
        return self.held_bytes > self.embed_mb * 1e6 - 2_000

    def notes(self, what: str = "pictures") -> list[str]:
        """What a person should know of the pictures that are not there."""
        told = []
        if self.left_out:
            told.append(
                f"{self.left_out:,} {what} are left out: the page holds up to {self.embed_mb:g} MB of them "
                "(--embed-mb)."
            )
        if self.unreadable:
            some = "; ".join(self.unreadable[:NAMED])
            more = f" and {len(self.unreadable) - NAMED} more" if len(self.unreadable) > NAMED else ""
            told.append(f"{counted(len(self.unreadable), 'picture', 'pictures')} cannot be read: {some}{more}.")
        return told


def jpeg_uri(picture: Image.Image) -> str:
    held = io.BytesIO()
    picture.convert("RGB").save(held, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(held.getvalue()).decode()}"


def at_most(picture: Image.Image, width_px: int, height_px: int) -> Image.Image:
    """The picture in its own shape, shrunk if it is larger."""
    shown = picture.convert("RGB")
    shown.thumbnail((width_px, height_px), Image.Resampling.BILINEAR)
    return shown


def some_of(names: Collection[str]) -> str:
    """The first few names, and how many more there are."""
    first = list(names)[:NAMED]
    more = f" and {len(names) - len(first):,} more" if len(names) > len(first) else ""
    return ", ".join(first) + more


def unknown(name: str, what: str, known: Collection[str], where: Path | str) -> BadInput:
    """The complaint about a name that is not there, with the nearest ones."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or sorted(known)[:3]
    return BadInput(f"no {what} {name!r} in {where} ({len(known)} there); nearest: {', '.join(near)}")


def write_page(out: Path, template: Path, **named: dict[str, Any]) -> None:
    """What is named reaches the template under its name, and the script as JSON by the filter `tojson`. Where readers
    get the source params.yaml says, as of every page."""
    made = environment(template)
    made.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":"), "allow_nan": False}
    source_url = params.load().yard.reporting.source_url
    write_text(out, made.get_template(template.name).render(source_url=source_url, **named))
