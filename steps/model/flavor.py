"""Models in MLflow: logged in the one format that this project serves, and loaded again."""

import hashlib
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType

from steps.model import served
from tabular import digests
from tabular.data import datasets
from tabular.errors import UserError, first_line
from tabular.metrics.classification import DEFAULT_THRESHOLD
from tabular.model.training import Fitted, booster_text

# Where MLflow puts the parts in a model's folder.
PARTS = "artifacts/model"
# Where Python keeps what it made of the code; it lies in a model, since MLflow loads each one that it logs.
BYTECODE = "__pycache__"
# What a container that serves needs, pinned as the steps had it: no search, no pictures, no tests.
SERVING = ("mlflow", "numpy", "pandas", "scipy", "scikit-learn", "skops")


def log(
    fitted: Fitted,
    schema: datasets.Schema,
    example,
    *,
    name: str,
    folder: Path,
    params: dict,
    tags: dict,
    threshold: float = DEFAULT_THRESHOLD,
) -> ModelInfo:
    """Log a fitted candidate as a model of the active run.

    Parameters
    ----------
    fitted
        What `tabular.model.training.fit` gave.
    schema
        Of the rows that it was fitted on.
    example
        A few raw rows (pandas), which become the model's input example.
    name
        Of the logged model.
    folder
        An empty folder for its parts.
    params, tags
        Of the logged model.
    threshold
        From which probability on the positive class of two is the label, where a request does not say.
    """
    parts = write_parts(fitted, schema, folder, threshold)
    return Model.log(
        None,
        flavor=_Flavor,
        name=name,
        parts=parts,
        signature=signature(schema, threshold),
        # a missing number as null: MLflow would write NaN, which is no JSON
        input_example=example.astype(object).where(example.notna(), None),
        requirements=requirements(fitted),
        params=params,
        tags=tags,
    )


def load(uri: str, folder: Path, *, code: str, learnt: str) -> served.TabularModel:
    """A model as serving loads it, by its URI.

    Parameters
    ----------
    uri
        `models:/…` or a path.
    folder
        Where it is copied to.
    code, learnt
        The digests recorded of its code file (`digest_of_code`) and of its parts (`digest_of_parts`): nothing else is
        run or rebuilt. The list of types that skops may rebuild is one of the parts.

    Raises
    ------
    UserError
        Where it cannot be read, is not what was recorded, or does not load.
    """
    local = fetch(uri, folder, code=code, learnt=learnt)
    try:
        # its warnings are of other versions than it was logged with, and cost a second
        return mlflow.pyfunc.load_model(str(local), suppress_warnings=True).unwrap_python_model()
    except Exception as error:  # whatever a model of another day may raise
        raise UserError(f"model {uri} cannot be loaded ({first_line(error)})") from None


def fetch(uri: str, folder: Path, *, code: str, learnt: str) -> Path:
    """A copy of a model's files that is known to be what was recorded; parameters and errors are those of `load`."""
    place = Path(tempfile.mkdtemp(dir=folder))
    try:
        local = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(place)))
        file = carried(local)
        found = {"code": digests.of_file(file), "parts": digest_of_parts(local / PARTS)}
        if (local / BYTECODE).is_dir():
            shutil.rmtree(local / BYTECODE)  # Python would take it in the place of the file, whatever that holds
    except UserError as error:
        raise UserError(f"model {uri}: {error}: not loaded") from None
    except (MlflowException, OSError) as error:
        raise UserError(f"model {uri} cannot be read ({first_line(error)})") from None
    for what, recorded in (("code", code), ("parts", learnt)):
        if found[what] != recorded:
            raise UserError(
                f"model {uri} carries {what} of digest {found[what][:12]}, and {recorded[:12]} was recorded: not loaded"
            )
    # what MLflow would load: this file and these parts, and no pickle, other code or other model beside them
    flavor = _python_function(local)
    named = tuple(flavor.get(name) for name in ("loader_module", "code", "data"))
    if named != ("mlflow.pyfunc.loaders.code_model", None, None):
        raise UserError(f"model {uri} names other code than {file.name}, whose digest was recorded: not loaded")
    if _parts_named(flavor) != PARTS:
        raise UserError(f"model {uri} names other parts than {PARTS}, whose digest was recorded: not loaded")
    return local


def carried(model: Path) -> Path:
    """The file of code in a model's folder, by the name that its MLmodel says: ours may have had another one then.

    MLmodel says where the file lay on the machine that logged the model, of which the name counts.

    Raises
    ------
    UserError
        Where it names no plain file of source.
    """
    path = str(_python_function(model).get("model_code_path"))
    folder, _, name = path.rpartition("/")
    if not re.fullmatch(r"\w[\w.-]*\.py", name) or not (path == name or path[0] == "/") or ".." in folder.split("/"):
        raise UserError(f"MLmodel names no file of code that lies in the model ({path!r})")
    return model / name


def _python_function(model: Path) -> Mapping[str, Any]:
    """What a model's MLmodel says of how it is loaded."""
    return Model.load(model).flavors.get("python_function", {})


def _parts_named(flavor: Mapping[str, Any]) -> str | None:
    try:
        return flavor["artifacts"]["model"]["path"]
    except (KeyError, TypeError):
        return None


def threshold(model: served.TabularModel) -> float:
    """From which probability on the positive class of two is a loaded model's label."""
    return float(
        model.description.get("threshold", DEFAULT_THRESHOLD)
    )  # models were logged before there was one to tune


def digest_of_code() -> str:
    """sha256 of the code file that models logged now carry."""
    return digests.of_file(Path(served.__file__))


def write_parts(fitted: Fitted, schema: datasets.Schema, folder: Path, threshold: float = DEFAULT_THRESHOLD) -> Path:
    """A fitted candidate as files without pickle; gives the folder `model` below `folder`."""
    import skops.io

    parts = folder / "model"
    parts.mkdir()
    objects = {served.FEATURES: fitted.preprocessor}
    text = booster_text(fitted.classifier)
    if text is None:
        objects[served.CLASSIFIER] = fitted.classifier
    else:
        (parts / served.BOOSTER).write_text(text, encoding="utf-8")
    trusted: set[str] = set()
    for file, part in objects.items():
        skops.io.dump(part, parts / file)
        _make_canonical(parts / file)
        trusted.update(skops.io.get_untrusted_types(file=parts / file))
    description = {
        "columns": [asdict(column) for column in schema.columns],
        "classes": list(schema.classes),
        "classes_seen": [int(code) for code in fitted.classifier.classes_],
        "positive": schema.positive,
        "threshold": threshold,
        "trusted_types": sorted(trusted),
    }
    (parts / served.DESCRIPTION).write_text(json.dumps(description, indent=1, ensure_ascii=False), encoding="utf-8")
    return parts


def signature(schema: datasets.Schema, threshold: float = DEFAULT_THRESHOLD) -> ModelSignature:
    """Raw rows in, label and probabilities out; every number is a double, since an integer may be missing one day.

    Booleans and dates are signed as anything, and read by the model: of a boolean column MLflow's server makes true out
    of a missing value and of any text, and of a date column it refuses time zones.
    """
    types = {"double": DataType.double, "string": DataType.string}
    inputs = [ColSpec(types.get(column.dtype, AnyType()), column.name) for column in schema.columns]
    label = {bool: DataType.boolean, int: DataType.long, float: DataType.double, str: DataType.string}
    outputs = [ColSpec(label[type(schema.classes[0])], "label")]
    outputs += [ColSpec(DataType.double, f"probability_{name}") for name in schema.classes]
    params = [ParamSpec("threshold", DataType.double, threshold)] if len(schema.classes) == 2 else []
    return ModelSignature(Schema(inputs), Schema(outputs), ParamSchema(params) if params else None)


def requirements(fitted: Fitted) -> list[str]:
    """The pinned packages that serve the model: ours, and the one that its classifier comes from.

    A class that lies in no installed package adds none: where it cannot be imported, the model cannot be served, and
    `register` finds that out.
    """
    top = type(fitted.classifier).__module__.split(".")[0]
    usual = {"sklearn": [], "lightgbm": ["lightgbm"]}  # to look through all packages takes a while
    packages = usual[top] if top in usual else packages_distributions().get(top, [])
    names = dict.fromkeys([*SERVING, *packages])
    return [f"{name}=={version(name)}" for name in names]


def digest_of_parts(parts: Path) -> str:
    """sha256 of a model's parts: the same for two fits that learnt the same."""
    whole = hashlib.sha256()
    for part in sorted(parts.iterdir()):
        whole.update(part.name.encode() + hashlib.sha256(part.read_bytes()).digest())
    return whole.hexdigest()


def _make_canonical(archive: Path) -> None:
    """Write a skops archive anew so that equal objects give equal bytes.

    skops names objects and their files by their addresses in memory; here they are numbered as they appear. zip's time
    stamps are left at their beginning.
    """
    numbers: dict[bytes, bytes] = {}

    def number(found: re.Match[bytes]) -> bytes:
        return found[1] + numbers.setdefault(found[2], str(len(numbers)).encode())

    with zipfile.ZipFile(archive) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    schema = re.sub(rb'("__id__": |"file": ")(\d+)', number, contents.pop("schema.json"))
    renamed = {_renamed(name, numbers): content for name, content in contents.items()}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in [("schema.json", schema), *sorted(renamed.items())]:
            new.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def _renamed(name: str, numbers: dict[bytes, bytes]) -> str:
    stem, dot, ending = name.partition(".")
    return numbers.get(stem.encode(), stem.encode()).decode() + dot + ending


class _Flavor:
    """What `Model.log` asks of a flavor: pyfunc from code, and `lightgbm` beside it where there is a booster.

    The second entry makes `mlflow.lightgbm.load_model` work, and MLflow's Docker images bring LightGBM's libgomp.
    """

    @staticmethod
    def save_model(
        path: str,
        mlflow_model: Model,
        parts: Path,
        signature: ModelSignature,
        input_example,
        requirements: Sequence[str],
    ) -> None:
        if (parts / served.BOOSTER).exists():
            mlflow_model.add_flavor(
                "lightgbm",
                lgb_version=version("lightgbm"),
                data=f"{PARTS}/{served.BOOSTER}",
                model_class="lightgbm.basic.Booster",
            )
        mlflow.pyfunc.save_model(
            path=path,
            mlflow_model=mlflow_model,
            python_model=served.__file__,
            artifacts={"model": str(parts)},
            signature=signature,
            input_example=input_example,
            pip_requirements=list(requirements),
        )
