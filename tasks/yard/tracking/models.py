"""A trained network as MLflow's server loads it: its weights, the code that it needs and no more, a request that stands
on its page, and the packages with their versions.

The stage's module has `served_model(out, item, data)`, which names the loader, the weights and the example; see
tasks/yard/serving.py. Nothing is pickled: MLflow calls `_load_pyfunc` of the loader with the path of the weights.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.yard import code
from tasks.yard.stage import Stage
from tasks.yard.tracking.described import Model

if TYPE_CHECKING:  # mlflow takes 4 s to import
    from mlflow.models import ModelSignature

ARTIFACT = "model"
REQUEST = "request"  # tag: how the model is asked, the text of its loader


def described(stage: Stage) -> Model | None:
    """The model that a stage serves; None if it serves none."""
    served = getattr(stage.module(), "served_model", None)
    model = served and served(stage.out, stage.item, Path("data", stage.line))
    if not model:
        return None
    loader, data, inputs = model
    module = sys.modules[loader]
    outputs = module._load_pyfunc(str(data)).predict(inputs)
    files, about = needed(module), inspect.cleandoc(module.__doc__ or "")
    example = {name: array.tolist() for name, array in inputs.items()} if isinstance(inputs, dict) else inputs.tolist()
    return Model(
        loader, Path(data), signature(inputs, outputs).to_dict(), example, about, files, requirements(files.values())
    )


def signature(inputs: Any, outputs: Any) -> ModelSignature:
    """Of what goes in and comes out. How many of anything is the model's to check: its sentence says what is wrong."""
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types import Schema, TensorSpec

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # integers that might be missing one day
        found = infer_signature(inputs, outputs)

    def free(schema: Schema) -> Schema:
        return Schema(
            [TensorSpec(of.type, (-1,) * len(of.shape), of.name) for of in schema.inputs if isinstance(of, TensorSpec)]
        )

    return ModelSignature(free(found.inputs), free(found.outputs))


def needed(module: ModuleType) -> dict[str, Path]:
    """The files of this project that a module needs, by their path below its root."""
    file = Path(str(module.__file__)).resolve()
    root = file.parents[module.__name__.count(".")]
    return {path.relative_to(root).as_posix(): path for path in code.closure(file, root, with_params=True)}


def requirements(files: Iterable[Path]) -> list[str]:
    """`name==version` of the packages that these files import."""
    owners = importlib.metadata.packages_distributions()
    names = {name.partition(".")[0] for path in files for name in code.imports(path)}
    owned = {owner for name in names.difference(code.ROOMS) for owner in owners.get(name, [])}
    # What an index of torch's own adds (+cpu) no other index has.
    return sorted(f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in owned)


def log(run_id: str, model: Model) -> str:
    """Keep a model with its run. Returns MLflow's id of it."""
    import mlflow
    from mlflow.models import ModelSignature

    known = ModelSignature.from_dict(model.signature)
    with tempfile.TemporaryDirectory() as folder, mlflow.start_run(run_id=run_id), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, path in model.code.items():
            place = Path(folder, name)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
        logged = mlflow.pyfunc.log_model(
            name=ARTIFACT,
            loader_module=model.loader,
            data_path=str(model.data),
            code_paths=[str(path) for path in sorted(Path(folder).iterdir())],
            signature=known,
            input_example=arrays(known, model.example),
            pip_requirements=model.requirements,
        )
    mlflow.MlflowClient().set_logged_model_tags(logged.model_id, {REQUEST: model.about})
    return logged.model_id


def arrays(known: ModelSignature, example: Any) -> Any:
    """What JSON holds, as the model takes it."""
    if not isinstance(example, dict):
        return np.array(example, known.inputs.inputs[0].type)
    return {of.name: np.array(example[of.name], of.type) for of in known.inputs.inputs}
