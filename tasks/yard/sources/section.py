"""The params section of a step that reads the world outside: it has a `source:`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from tasks.yard.params import Section
from tasks.yard.sources.dates import plain


class FromSource(Section):
    WORLD: ClassVar[str]  # of tasks/yard/worlds: which synth:// it takes

    source: str = Field(
        min_length=1,
        description="synth://..., a folder, https://, s3:// or a SharePoint share link; ${NAME} is taken from the "
        "environment",
    )


class Dated(FromSource):
    """Of the step that brings a line's recordings. Its module has `days(params, ctx)`: the `dates.Dated` of each of
    them, by which `flows run --from --to` cuts its blocks."""

    dates: Annotated[list[str] | None, Field(min_length=1), AfterValidator(plain)] = Field(
        description="only recordings of these days, such as ['2026-01-01..2026-03-31', '2026-06-01..']; null: of all"
    )
