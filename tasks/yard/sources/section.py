"""The params section of a step that reads the world outside: it has a `source:`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from tasks.yard.params import Section


class FromSource(Section):
    WORLD: ClassVar[str]  # of tasks/yard/worlds: which synth:// it takes

    source: str = Field(
        min_length=1,
        description="synth://..., a folder, https://, s3:// or a SharePoint share link; ${NAME} is taken from the "
        "environment",
    )
