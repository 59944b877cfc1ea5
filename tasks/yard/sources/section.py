"""The params section of a step that reads the world outside: it has a `source:`, and no secret is written out in it."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, model_validator

from tasks.yard.params import Section

SECRET_KEYS = {"sig", "signature", "token", "access_token", "password", "api_key", "apikey", "key"}
SECRET_KEYS |= {"x-amz-signature", "x-amz-credential", "x-amz-security-token"}


def secret_in(uri: str) -> str | None:
    """What of a URI is a secret written out, None if nothing is; `${NAME}` is none."""
    parts = urlsplit(uri)
    _, _, password = parts.netloc.rpartition("@")[0].partition(":")
    if password and not password.startswith("${"):
        return "a password"
    for key, value in parse_qsl(parts.query):
        if key.lower() in SECRET_KEYS and not value.startswith("${"):
            return f"the query {key!r}"
    return None


class FromSource(Section):
    source: str = Field(min_length=1, description="synth://..., a folder, https://, s3:// or a SharePoint share link")

    @model_validator(mode="after")  # of the section, not of the field: the error of a field would show the value
    def _no_secret_written_out(self) -> FromSource:
        if secret := secret_in(self.source):
            raise ValueError(
                f"source holds {secret}, which git, dvc.lock and MLflow would keep; "
                "write ${NAME} in its place and set NAME in the environment"
            )
        return self
