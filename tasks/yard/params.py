"""params.yaml, read once at the edge into validated, frozen models; an error names the key, the value and the nearest
key.

A line brings `tasks/<line>/params.py` with a model named `Line`, one `Section` per step that has params. What all lines
share stands under `yard`: what is said of the machine, and of every report. No field has a default: the file is
complete, so that what DVC tracks by value is all there is to track.
"""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Collection
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tasks.yard.files import write_text
from tasks.yard.sources.present import refuse_absent
from tasks.yard.sources.uri import address_free, secret_in
from tasks.yard.step import BadInput, suggestion


class Section(BaseModel):
    """One step's params: no unknown keys, no silent conversions, never changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="after")  # of the section, not of the field: the error of a field would show the value
    def _no_secret_written_out(self) -> Section:
        for key, value in self:
            for uri in value if isinstance(value, list) else [value]:
                if isinstance(uri, str) and (secret := secret_in(uri)):
                    raise ValueError(
                        f"{key} holds {secret}; git, dvc.lock and MLflow would keep it: write ${{NAME}} in its place "
                        "and set NAME in the environment"
                    )
        return self


class Machine(Section):
    """What is said of the machine that trains, and not of a line."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = Field(
        description="where the engine trains; auto: on a GPU if there is one, else on the CPU"
    )
    devices: int = Field(
        ge=1,
        description="processes that share a training of the engine, one a GPU, started by torchrun, on nodes of "
        "TRAINYARD_RAY if this machine has fewer; another number has other last bits; a detector has its own key, "
        "`device`",
    )
    precision: Literal["32", "bf16", "fp16"] = Field(
        description="bf16 and fp16 are mixed: the weights stay float32; a detector is trained in them on a GPU only"
    )
    compile: bool = Field(description="torch.compile: pays on long runs, costs a minute at the start")
    cuda_graph: bool = Field(
        description="launch a whole step at once: small networks on a large GPU wait for launches else"
    )
    deterministic: bool = Field(description="refuse kernels whose result varies from run to run")
    checkpoint_every_s: float | None = Field(ge=0, description="between checkpoints within an epoch; null: none")
    max_bad_steps: int = Field(ge=1, description="steps in a row without a finite gradient before training gives up")


class Reporting(Section):
    """What every report shares."""

    bootstrap_replicates: int = Field(
        ge=100, description="draws of the test data behind every 95 % interval: of recordings, people or scenes"
    )
    bootstrap_seed: int = Field(ge=0, description="of these draws")
    embed_mb: float = Field(ge=0, description="films up to this size are part of the page, larger ones lie beside it")
    source_url: str | None = Field(
        pattern=r"^https?://",
        description="where readers of a report get the source of this yard, as section 13 of the AGPL asks; null: the "
        "page says that they may ask for it",
    )


class Yard(Section):
    machine: Machine
    reporting: Reporting


class Params(Section):
    """The whole of params.yaml: beside the yard a field for each line."""

    yard: Yard


class ParamsError(BadInput):
    """params.yaml, or a `--set`, holds something that cannot be used."""


def lines() -> list[str]:
    """The lines this yard has: every folder of `tasks` with a params.py of its own, but the one that they share."""
    here = Path(__file__).parent
    return sorted(path.parent.name for path in here.parent.glob("*/params.py") if path.parent != here)


def not_needed(line: str, step: str, params: Params) -> str | None:
    """Why nobody reads what the step makes, with these params; None if somebody does. A line's `NOT_NEEDED` says so:
    {step: a key of another step, such as the weights that take the place of those it trains}. Weights that a step of
    that key makes itself take nobody's place."""
    section = getattr(params, line, None)
    instead = getattr(section, "NOT_NEEDED", {})
    if (key := instead.get(step)) is None:
        return None
    owner, name = key.split(".")
    if not (value := getattr(getattr(section, owner), name)):
        return None
    place = Path(value).parent.resolve()  # the file itself may be a link into DVC's cache
    own = (Path("data", line, other).resolve() for other, of in instead.items() if of == key)
    return None if any(place.is_relative_to(folder) for folder in own) else f"{line}.{key} is set"


def known(names: Any, there: Collection[str]) -> Any:
    """A list of networks as a validator wants it: each is there, and once."""
    for name in names if isinstance(names, list) else []:
        if name not in there:
            raise ValueError(f"no network {name!r}; {suggestion(str(name), there)}")
        if names.count(name) > 1:
            raise ValueError(f"network {name!r} stands there twice")
    return names


def refuse_unknown_line(name: str) -> None:
    """Raises `BadInput` for a name that no line of this yard has."""
    if name not in lines():
        raise BadInput(f"no line {name!r}; {suggestion(name, lines())}")


@cache
def schema_model() -> type[Params]:
    fields: dict[str, Any] = {line: (importlib.import_module(f"tasks.{line}.params").Line, ...) for line in lines()}
    return create_model("Params", __base__=Params, **fields)


def _section_at(model: type[BaseModel], location: tuple) -> type[BaseModel] | None:
    """The model that holds the key at `location`, as far as it is made of named sections."""
    for part in location[:-1]:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        candidates = [field.annotation, *get_args(field.annotation)] if field else []
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if model is None:
            return None
    return model


def _explain(error: dict, model: type[BaseModel]) -> str:
    location = error["loc"]
    name = ".".join(str(part) for part in location)
    section = _section_at(model, location)
    known = list(section.model_fields) if section else []
    if error["type"] == "extra_forbidden":
        return f"{name}: unknown key; {suggestion(str(location[-1]), known, 'known keys')}"
    if error["type"] == "missing":
        return f"{name}: missing; add it to params.yaml"
    message = error["msg"].removeprefix("Value error, ")
    field = section.model_fields.get(location[-1]) if section and isinstance(location[-1], str) else None
    meaning = f" ({field.description})" if field and field.description else ""
    value = "" if isinstance(error["input"], dict) else f" = {address_free(error['input'])}"
    return f"{name}{value}: {message}{meaning}"


def validate(values: Any, where: str = "params.yaml") -> Params:
    """The whole of params.yaml as one frozen model. Raises `ParamsError` that lists every fault."""
    try:
        return schema_model().model_validate(values)
    except ValidationError as error:
        faults = "\n".join(f"  {_explain(fault, schema_model())}" for fault in error.errors())
        raise ParamsError(f"{where} is not usable:\n{faults}") from None


def load(path: Path = Path("params.yaml")) -> Params:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; run from the project's folder") from None
    try:
        return validate(_parsed(text), str(path))
    except YAMLError as error:
        raise ParamsError(f"{path} is not YAML: {error}") from None


@lru_cache(maxsize=2)  # a flow asks at each stage, and to parse 750 lines takes 40 ms, to validate them 2
def _parsed(text: str) -> Any:
    return YAML(typ="safe").load(text)  # of YAML 1.2: 1e-3 is a number


def _key_of(assignment: str) -> list[str]:
    """The key of a `--set`. Errors name it and never the value, which may hold a password."""
    name, equals, _ = assignment.partition("=")
    if not equals or "://" in name:
        raise ParamsError(f"--set {'(an address)' if '://' in name else name}: expected line.step.key=value")
    return name.strip().split(".")


def set_values(
    assignments: list[str], path: Path = Path("params.yaml"), *, write: bool = True
) -> dict[str, tuple[Any, Any]]:
    """Write `line.step.key=value` assignments into params.yaml, comments kept; nothing is written unless all are
    valid, and nothing at all without `write`. Returns {key: (value before, value now)} of those that changed.

    The file is written in the form in which DVC writes it (`dvc exp run -S`), by the same library: a list item by
    item, null as nothing. So only what was set differs, whoever wrote it.
    """
    round_trip = YAML()
    round_trip.default_flow_style = False
    load(path)  # a file that is not usable as it is says so first
    document = round_trip.load(path.read_text(encoding="utf-8"))
    keys, changes = [], {}
    for assignment in assignments:
        keys.append(_key_of(assignment))
        name, node = ".".join(keys[-1]), document
        for depth, part in enumerate(keys[-1]):
            if not isinstance(node, dict):
                raise ParamsError(f"--set {name}: {'.'.join(keys[-1][:depth])} is a value, not a section")
            if part not in node:
                raise ParamsError(f"--set {name}: unknown key {part!r}; {suggestion(part, node, 'known keys')}")
            if depth < len(keys[-1]) - 1:
                node = node[part]
        before = node[keys[-1][-1]]
        try:
            node[keys[-1][-1]] = YAML(typ="safe").load(assignment.partition("=")[2])
        except YAMLError:
            raise ParamsError(f"--set {name}: the value is not YAML; quote what holds : # [ or {{") from None
        if node[keys[-1][-1]] != before:
            changes[name] = before, node[keys[-1][-1]]
    plain = json.loads(json.dumps(document, default=str))
    params = validate(plain, "--set")
    for name in changes:
        refuse_absent(params, name.split("."))
    valid = params.model_dump(mode="json")
    for key in keys:  # what validation made of the value (`all` becomes the list of names) is what DVC has to see
        node, value = document, valid
        for part in key[:-1]:
            node, value = node[part], value[part]
        node[key[-1]] = value[key[-1]]
    if write:
        text = io.StringIO()
        round_trip.dump(document, text)
        write_text(path, text.getvalue())
    return changes


def json_schema() -> str:
    """The JSON schema that editors use for completion; kept in params.schema.json."""
    return json.dumps(schema_model().model_json_schema(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    write_text(Path("params.schema.json"), json_schema())
