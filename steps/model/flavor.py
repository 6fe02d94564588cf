"""The MLflow flavor of this project: how a model is written, logged, verified and loaded."""

import hashlib
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import packages_distributions, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import LoggedModel, LoggedModelStatus, Run
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.tracking.context import registry as context_registry
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_IS_EXTERNAL
from mlflow.utils.uri import is_local_uri

from steps.model import reasons, requirements, served
from steps.run import artifact_store, artifacts, inputs, kept
from steps.run.step import Step
from steps.run.tags import CODE_DIGEST, MODEL, MODEL_DIGEST, MODEL_URI, TOO_LARGE, UNLOCKED
from tabular import digests
from tabular.data import carried_code, datasets
from tabular.errors import CandidateError, UserError, first_line
from tabular.metrics.classification import DEFAULT_THRESHOLD
from tabular.metrics.regression import NumberPredictions
from tabular.model import dates
from tabular.model.calibration import Calibration
from tabular.model.formats import format_of, within
from tabular.model.intervals import Intervals
from tabular.model.tasks import Classification
from tabular.model.training import Fitted
from tabular.sections.rules import Tracking

# The folder within a model's folder in which MLflow puts the parts.
PARTS = "artifacts/model"
# The folder in which Python keeps compiled code. A model has one, since MLflow loads each model that it logs.
BYTECODE = "__pycache__"


# What the section tracking says by default.
_AS_USUAL = Tracking()
# Where `note` is explained.
PAGES = "docs/serving.md and docs/problems.md"


class Written(NamedTuple):
    """A model before it is logged: the folder of its files, and the packages that serve it."""

    parts: Path
    needed: list[str]


class AsArtifact(NamedTuple):
    """A model that is an artifact of its run, and no logged model of MLflow's: its URI, and no id."""

    model_uri: str
    model_id: None = None


def log(
    step: Step,
    fitted: Fitted,
    schema: datasets.Schema,
    example,
    *,
    name: str,
    tags: dict,
    threshold: float = DEFAULT_THRESHOLD,
    intervals: Intervals | None = None,
    coverage: float = 0.0,
    calibration: Calibration | None = None,
    tracking: Tracking = _AS_USUAL,
) -> LoggedModel | AsArtifact:
    """Log a fitted candidate as a model of the step's run, with the parameters of that run.

    `Model.log` of MLflow does the same with thrice as many requests: it asks for the run, for the history of each
    metric and for the model, and predicts the example in this process, which `register` does where the model is to
    serve.

    Parameters
    ----------
    step
        The running step. Its folder keeps the model's files, in `artifacts.MODEL`.
    fitted
        Result of `tabular.model.training.fit`.
    schema
        Schema of the rows that the candidate was fitted on.
    example
        A few raw rows (a pandas frame), which become the model's input example; None: it gets none.
    name
        Name of the logged model.
    tags
        Tags of the logged model.
    threshold
        Of two classes, the probability of the positive class from which on it is the label, where a request gives no
        other threshold.
    intervals, coverage
        Of a number, what makes the intervals of predictions, and how often these hold the truth where a request does
        not say.
    calibration
        Of classes, what turns the estimator's probabilities into the model's.
    tracking
        Whether it becomes a logged model of MLflow's, an artifact of the run in a folder of its name, or, where it is
        too large, a folder that only describes it.
    """
    written = write(fitted, schema, step.folder, threshold, intervals, coverage, calibration)
    signed = signature(schema, threshold, coverage)
    return log_parts(step, *written, signed, example, name=name, tags=tags, tracking=tracking)


def log_parts(
    step: Step,
    parts: Path,
    needed: list[str],
    signed: ModelSignature,
    example,
    *,
    name: str,
    tags: dict,
    tracking: Tracking = _AS_USUAL,
) -> LoggedModel | AsArtifact:
    """Log the files of `write` or `write_blend` as a model; `needed` are the packages that serve it.

    Other parameters as for `log`. Where the lock does not hold what is installed here, the step's tag `UNLOCKED` says
    why the model's requirements have no hashes; where the model is too large for the store, `TOO_LARGE` says so.
    """
    required = requirements.of(needed)
    if required.unlocked:
        step.log(tags={UNLOCKED: required.unlocked})

    def save(place: Path, described: Model) -> Path:
        _save(
            place,
            described,
            parts,
            signature=signed,
            input_example=None if example is None else as_example(example),
            pip_requirements=[f"mlflow=={mlflow.__version__}"],  # without any MLflow looks for them, for seconds
        )
        required.write(place)
        return place

    place, alone = step.folder / artifacts.MODEL, Model(artifact_path=name, run_id=step.run_id)
    as_artifact = AsArtifact(f"runs:/{step.run_id}/{name}")  # the URI by which MLflow finds a logged model too
    if _is_too_large(step, parts, tracking.largest_model):
        kept.keep_model(step.run_id, save(place, alone))
        _describe_alone(place, step.artifacts / name)
        return as_artifact
    if tracking.models != "all":
        save(step.artifacts / name, alone)
        return as_artifact
    made = _logged(
        step, name, step.run_id, tags, {"model_type": name, **step.params}, lambda described: save(place, described)
    )
    if not is_local_uri(made.artifact_location):
        kept.keep_model(made.model_id, place)
    return made


def _is_too_large(step: Step, parts: Path, most: int | None) -> bool:
    """Whether a model has learnt more bytes than the store is to have of one, which the step's run then says."""
    size = sum(path.stat().st_size for path in parts.rglob("*") if path.is_file())
    if most is None or size <= most:
        return False
    why = f"its files ({size:,} bytes) are more than tracking.largest_model ({most:,}) and not in the store"
    step.log(tags={TOO_LARGE: why}, params={"model_bytes": size})
    return True


def _describe_alone(model: Path, place: Path) -> None:
    """Write what describes a model, and none of its files, as MLflow has it of models that are kept elsewhere.

    MLflow then says of an attempt to load it that its files are not there.
    """
    place.mkdir()
    described = Model.load(model)
    described.saved_input_example_info = None
    described.metadata = {**(described.metadata or {}), MLFLOW_MODEL_IS_EXTERNAL: True}
    described.save(str(place / "MLmodel"))
    for name in ("requirements.txt", "python_env.yaml", "conda.yaml"):
        shutil.copy(model / name, place)


def note(tags: Mapping[str, str]) -> str:
    """What people are told of the model of a run of train, blend or refit with these tags; mostly nothing."""
    return "; ".join(filter(None, [requirements.note(tags), tags.get(TOO_LARGE)]))


def log_again(step: Step, run: Run, tags: Mapping[str, str]) -> LoggedModel:
    """Log the model that is an artifact of a finished run of this experiment as a logged model of that run, checked.

    Errors are those of `load`. Its name is another one than the artifact's, since MLflow takes what both hold for one.
    The step records the model as what it has logged itself, so that damage is found.
    """
    own = run.data.tags
    fetched = fetch(own[MODEL_URI], step.folder, code=own[CODE_DIGEST], learnt=own[MODEL_DIGEST])
    place = fetched.rename(step.folder / artifacts.MODEL)

    def describe(described: Model) -> Path:
        found = Model.load(place)
        found.artifact_path, found.model_id, found.model_uuid = described.artifact_path, *(described.model_id,) * 2
        found.save(str(place / "MLmodel"))
        return place

    made = _logged(step, f"{own[MODEL]}_registered", run.info.run_id, tags, run.data.params, describe)
    step.log(tags={MODEL_URI: made.model_uri})
    return made


def is_logged_again(model: Path, run: Run, folder: Path) -> bool:
    """Whether the folder of a model is what `log_again` makes of the artifacts of a run.

    Its MLmodel then says the same as theirs, but for the names under which MLflow keeps the model.
    """
    uri = run.data.tags[MODEL_URI]
    if artifacts.model_id(uri):
        return False
    before = artifacts.artifact(run, f"{uri.rpartition('/')[2]}/MLmodel", folder)
    names = ("artifact_path", "model_id", "model_uuid")
    then, now = (Model.load(path).to_dict() for path in (before.parent, model))
    return {**then, **dict.fromkeys(names)} == {**now, **dict.fromkeys(names)}


def _logged(
    step: Step,
    name: str,
    run_id: str,
    tags: Mapping[str, str],
    params: Mapping[str, str],
    save: Callable[[Model], Path],
) -> LoggedModel:
    """Make a logged model of a run: `save` writes the folder of what it is called with, which is then uploaded."""
    client = step.client
    made = client.create_logged_model(step.experiment_id, name, run_id, context_registry.resolve_tags(tags), params)
    try:
        about = {"model_uuid": made.model_id, "model_id": made.model_id, "run_id": run_id}
        place = save(Model(artifact_path=made.artifact_location, **about))
        artifact_store.put(made.artifact_location, place)
        inputs.log_output(client, run_id, made.model_id)
    except BaseException:
        client.finalize_logged_model(made.model_id, LoggedModelStatus.FAILED)
        raise
    return client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)


def as_example(rows: pd.DataFrame) -> pd.DataFrame:
    """Raw rows as an input example: a missing number as null, since MLflow would write NaN, which is no JSON."""
    return rows.astype(object).where(rows.notna(), None)


def load(uri: str, folder: Path, *, code: str, learnt: str) -> served.TabularModel:
    """Load a model by its URI, as serving does, after a check of its digests.

    Parameters
    ----------
    uri
        `models:/…` or a path.
    folder
        The folder that the model is copied to.
    code, learnt
        The recorded digests of the model's code (`digest_of_code`) and of its parts (`digest_of_parts`). No other
        code is run, and no other object rebuilt: the list of types that skops may rebuild is one of the parts.

    Raises
    ------
    UserError
        Where the model cannot be read, has other digests than recorded, or does not load.
    """
    return opened(copied(uri, folder, code=code, learnt=learnt), uri)


def copied(uri: str, folder: Path, *, code: str, learnt: str) -> Path:
    """As `fetch`, from what the chain has kept of the model where it has; parameters and errors are those of `load`."""
    # one that is too large for the store was kept by its run
    held = kept.model(uri.split("/")[1] if uri.startswith("runs:/") else uri.removeprefix("models:/"))
    return fetch(uri if held is None else str(held), folder, code=code, learnt=learnt)


def of_logged(uri: str, folder: Path, *, code: str, learnt: str) -> Written:
    """The checked files of a logged model, for a blend that holds it; parameters and errors are those of `load`."""
    local = copied(uri, folder, code=code, learnt=learnt)
    return Written(local / PARTS, requirements.used(local / "requirements.txt"))


def opened(local: Path, uri: str) -> served.TabularModel:
    """Load the model in a checked folder; `uri` names it in errors, which are those of `load`."""
    try:
        # MLflow would warn of packages in other versions than at logging, which takes a second
        return mlflow.pyfunc.load_model(str(local), suppress_warnings=True).unwrap_python_model()
    except Exception as error:  # a model logged by an earlier version may raise anything
        raise UserError(f"model {uri} cannot be loaded ({first_line(error)})") from None


def of_parts(parts: Path) -> served.TabularModel:
    """The model of the files of `write` or `write_blend`, before it is logged."""
    model = served.TabularModel()
    model.load_context(SimpleNamespace(artifacts={"model": str(parts)}))
    return model


def fetch(uri: str, folder: Path, *, code: str, learnt: str) -> Path:
    """Copy a model's files and check them against the recorded digests; parameters and errors are those of `load`."""
    place = Path(tempfile.mkdtemp(dir=folder))
    try:
        local = artifact_store.fetch(uri, place)
        if (Model.load(local).metadata or {}).get(MLFLOW_MODEL_IS_EXTERNAL):
            raise UserError(
                "its files are not in the store, since they are larger than the tracking.largest_model of its problem; "
                "raise that and run the chain again"
            )
        file = carried(local)
        found = {"code": digest_of_carried(local), "parts": digest_of_parts(local / PARTS)}
        if (local / BYTECODE).is_dir():
            shutil.rmtree(local / BYTECODE)  # Python could run this in place of the code that was checked
    except artifact_store.FetchError as error:
        raise artifact_store.FetchError(f"model {uri} cannot be read ({error})") from None
    except UserError as error:
        raise UserError(f"model {uri}: {error}: not loaded") from None
    except (MlflowException, OSError) as error:
        raise UserError(f"model {uri} cannot be read ({first_line(error)})") from None
    for what, recorded in (("code", code), ("parts", learnt)):
        if found[what] != recorded:
            raise UserError(
                f"model {uri} carries {what} of digest {found[what][:12]}, and {recorded[:12]} was recorded: not loaded"
            )
    # MLflow must load the checked code and parts only: no pickle, other code or other model beside them
    flavor = _python_function(local)
    named = tuple(flavor.get(name) for name in ("loader_module", "code", "data"))
    if named != ("mlflow.pyfunc.loaders.code_model", None, None):
        raise UserError(f"model {uri} names other code than {file.name}, whose digest was recorded: not loaded")
    if _parts_named(flavor) != PARTS:
        raise UserError(f"model {uri} names other parts than {PARTS}, whose digest was recorded: not loaded")
    return local


def carried(model: Path) -> Path:
    """The code file in a model's folder that MLflow runs.

    Its name is taken from MLmodel, since `served.py` may have had another name when the model was logged. MLmodel holds
    the file's path on the machine that logged the model; only the last part of that path is used.

    Raises
    ------
    UserError
        Where MLmodel names no plain Python source file.
    """
    path = str(_python_function(model).get("model_code_path"))
    folder, _, name = path.rpartition("/")
    if not re.fullmatch(r"\w[\w.-]*\.py", name) or not (path == name or path[0] == "/") or ".." in folder.split("/"):
        raise UserError(f"MLmodel names no file of code that lies in the model ({path!r})")
    return model / name


def _python_function(model: Path) -> Mapping[str, Any]:
    """The `python_function` section of a model's MLmodel, which says how MLflow loads the model."""
    return Model.load(model).flavors.get("python_function", {})


def _parts_named(flavor: Mapping[str, Any]) -> str | None:
    try:
        return flavor["artifacts"]["model"]["path"]
    except (KeyError, TypeError):
        return None


def ask(model: served.TabularModel, X) -> np.ndarray:
    """What a loaded model predicts for raw rows, as `TabularModel.outputs` says; models of before say it otherwise."""
    found: np.ndarray = model.outputs(X) if hasattr(model, "outputs") else model.probabilities(X)
    return found


def ask_twice(
    model: served.TabularModel, asked: Callable[[Callable[[Any], np.ndarray]], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """What a loaded model predicts for rows, and what it would without its calibration, asked once.

    `asked` gives what a function of raw rows gives for all of them, such as `Holdout.asked`.
    """
    if model.description.get("calibration") is None:
        found = asked(partial(ask, model))
        return found, found
    raw = asked(model.uncalibrated)
    return model.calibrated(raw), raw


def ends_at(model: served.TabularModel, found: NumberPredictions, coverage: float) -> tuple[np.ndarray, np.ndarray]:
    """(n,) low and (n,) high ends of the intervals of a loaded model's predictions at another coverage than its own.

    At one beyond what its rows allow they are those of the greatest that these do.
    """
    told = model.description["intervals"]

    def offsets(level: float) -> list[float]:
        return [float(np.interp(level, told["coverage"], told[end])) for end in ("low", "high")]

    (own_low, own_high), (low, high) = offsets(model.description["coverage"]), offsets(coverage)
    if found.low is None or found.high is None or own_high == own_low:
        return found.predicted + low, found.predicted + high
    scale = (found.high - found.low) / (own_high - own_low)
    return found.predicted + scale * low, found.predicted + scale * high


def threshold(model: served.TabularModel) -> float:
    """Threshold of a loaded model: of two classes, the positive class's probability from which on it is the label."""
    return float(model.description.get("threshold", DEFAULT_THRESHOLD))  # models of earlier versions have no threshold


def digest_of_code() -> str:
    """sha256 of the code that is put into every model logged now: `served.py`, and `reasons.py` beside it."""
    return _digest_of_code(Path(served.__file__), Path(reasons.__file__))


def digest_of_carried(model: Path) -> str:
    """As `digest_of_code`, of the code in a model's folder; errors are those of `carried`."""
    return _digest_of_code(carried(model), model / served.REASONS)


def _digest_of_code(file: Path, beside: Path) -> str:
    """sha256 of the digests of both files; a model of before has the first alone, and its own digest."""
    own = digests.of_file(file)
    return hashlib.sha256(f"{own}{digests.of_file(beside)}".encode()).hexdigest() if beside.exists() else own


def write(
    fitted: Fitted,
    schema: datasets.Schema,
    folder: Path,
    threshold: float = DEFAULT_THRESHOLD,
    intervals: Intervals | None = None,
    coverage: float = 0.0,
    calibration: Calibration | None = None,
) -> Written:
    """Write a fitted candidate as files without pickle into the new folder `model` below `folder`.

    Raises
    ------
    CandidateError
        The estimator cannot be stored without pickle.
    """
    import skops.io
    from skops.io.exceptions import UnsupportedTypeException

    parts = folder / "model"
    parts.mkdir()
    objects = {served.FEATURES: fitted.preprocessor}
    own = format_of(fitted.estimator)
    if own is None:
        objects[served.CLASSIFIER if schema.classes else served.REGRESSOR] = fitted.estimator
    else:
        own.write(fitted.estimator, parts / own.file)
    trusted: set[str] = set()
    for file, part in objects.items():
        try:
            skops.io.dump(part, parts / file)
        except UnsupportedTypeException as error:
            kind = type(part).__name__
            raise CandidateError(f"{kind} cannot be stored without pickle: {first_line(error)}") from None
        _make_canonical(parts / file)
        trusted.update(skops.io.get_untrusted_types(file=parts / file))
    if isinstance(fitted.task, Classification):
        own_terms: dict[str, Any] = {"classes_seen": [int(code) for code in fitted.seen]}
    else:
        own_terms = {"transform": fitted.task.transform}
    if fitted.means is not None:
        own_terms["means"] = fitted.means.tolist()
    answer = _answer(schema, threshold, intervals, coverage, calibration)
    more = {**_of_dates(fitted, schema), **own_terms, **answer, "trusted_types": sorted(trusted)}
    _describe(parts, schema, intervals, more)
    scaled = intervals is not None and intervals.scale is not None
    return Written(parts, packages(fitted, schema.own, is_scaled=scaled))


def write_blend(
    members: Mapping[str, tuple[float, Written]],
    schema: datasets.Schema,
    folder: Path,
    *,
    threshold: float = DEFAULT_THRESHOLD,
    intervals: Intervals | None = None,
    prepared_by: str = "",
    coverage: float = 0.0,
    calibration: Calibration | None = None,
) -> Written:
    """Write a blend into the new folder `model` below `folder`: its members' files as they are, and their weights.

    Parameters
    ----------
    members
        {name: weight, its files}; those of logged models are checked (`of_logged`).
    prepared_by
        Of numbers, the member that prepares the rows for what scales the intervals.
    """
    parts = folder / "model"
    needed: dict[str, None] = {}
    for name, (_, member) in members.items():
        shutil.copytree(member.parts, parts / served.MEMBERS / name)
        needed |= dict.fromkeys(member.needed)
    answer = _answer(schema, threshold, intervals, coverage, calibration)
    if intervals is not None:
        answer["intervals"]["prepared_by"] = prepared_by
        needed |= {} if intervals.scale is None else {"lightgbm": None}
    weights = {name: weight for name, (weight, _) in members.items()}
    _describe(parts, schema, intervals, {"members": weights, **answer, "trusted_types": []})
    return Written(parts, list(needed))


def _describe(parts: Path, schema: datasets.Schema, intervals: Intervals | None, more: Mapping[str, Any]) -> None:
    """Write what a model has to know beside its preprocessor and estimator."""
    description = {**datasets.described(schema.columns), "classes": list(schema.classes), **more}
    if intervals is not None and intervals.scale is not None:
        (parts / served.SCALE).write_text(intervals.scale, encoding="utf-8")
    if schema.own is not None:
        description["own"] = {
            "function": schema.own.function,
            "columns": [{"name": column.name, "dtype": column.dtype} for column in schema.own.columns],
        }
        (parts / served.OWN).write_text(schema.own.code, encoding="utf-8")
    (parts / served.DESCRIPTION).write_text(json.dumps(description, indent=1, ensure_ascii=False), encoding="utf-8")


def _of_dates(fitted: Fitted, schema: datasets.Schema) -> dict[str, Any]:
    """What a model has to make of dates before it prepares them; empty where it learns the days alone."""
    every = dates.made(schema.features, fitted.dates)
    return {"dates": every} if every else {}


def _answer(
    schema: datasets.Schema,
    threshold: float,
    intervals: Intervals | None,
    coverage: float,
    calibration: Calibration | None,
) -> dict[str, Any]:
    """What a model has to know to make an answer of what its estimator, or its members, give."""
    if schema.classes:
        told = calibration and calibration.served()
        calibrated = {} if told is None else {"calibration": told}
        return {"positive": schema.positive, "threshold": threshold, **calibrated}
    if intervals is None:
        raise ValueError("a model of numbers needs intervals")
    ends = {name: getattr(intervals, name) for name in ("coverage", "low", "high", "floor")}
    return {"coverage": coverage, "intervals": ends}


def signature(schema: datasets.Schema, threshold: float = DEFAULT_THRESHOLD, coverage: float = 0.0) -> ModelSignature:
    """The MLflow signature: raw rows as input; label and probabilities, or a number and its interval, as output.

    What `explain` adds to an answer is not in it.

    Every number is a double, since an integer column may have a missing value one day. Boolean and date columns have
    the type "any", and the model parses them: in a boolean column MLflow's server would turn a missing value and any
    text into true, and in a date column it would refuse time zones.
    """
    types = {"double": DataType.double, "string": DataType.string}
    inputs = [ColSpec(types.get(column.dtype, AnyType()), column.name) for column in schema.columns]
    explain = ParamSpec("explain", DataType.long, 0)
    if not schema.classes:
        numbers = [ColSpec(DataType.double, name) for name in ("prediction", "prediction_low", "prediction_high")]
        asked = ParamSchema([ParamSpec("coverage", DataType.double, coverage), explain])
        return ModelSignature(Schema(inputs), Schema(numbers), asked)
    label = {bool: DataType.boolean, int: DataType.long, float: DataType.double, str: DataType.string}
    outputs = [ColSpec(label[type(schema.classes[0])], "label")]
    outputs += [ColSpec(DataType.double, f"probability_{name}") for name in schema.classes]
    params = [ParamSpec("threshold", DataType.double, threshold)] if len(schema.classes) == 2 else []
    return ModelSignature(Schema(inputs), Schema(outputs), ParamSchema([*params, explain]))


def packages(fitted: Fitted, own: datasets.Own | None = None, *, is_scaled: bool = False) -> list[str]:
    """The packages that serve the model: `requirements.SERVING`, those of its estimator and of what is in it.

    Where it makes columns of the user's own, also those that their code imports; where its intervals are scaled, the
    library that scales them.

    An estimator's class outside of any installed package adds no package. Where such a class cannot be imported, the
    model cannot be served, and `register` finds that out.
    """
    usual = {"sklearn": [], "lightgbm": ["lightgbm"]}  # the lookup in all installed packages is slow
    steps = [step for _, step in getattr(fitted.preprocessor, "steps", [])]
    stored = format_of(fitted.estimator)
    # a library's own file is read by that library alone
    every = (*steps, *(() if stored is not None else (fitted.estimator, *within(fitted.estimator))))
    tops = dict.fromkeys(type(one).__module__.split(".")[0] for one in every)
    tops |= dict.fromkeys(() if stored is None else (*stored.packages, *stored.more(fitted.estimator)))
    tops |= dict.fromkeys(["lightgbm"] if is_scaled else [])
    tops |= dict.fromkeys([] if own is None else carried_code.packages(own.code, "data.features"))
    known = usual if tops.keys() <= usual.keys() else {**packages_distributions(), **usual}
    return [*dict.fromkeys([*requirements.SERVING, *(package for top in tops for package in known.get(top, []))])]


def digest_of_parts(parts: Path) -> str:
    """sha256 of a model's parts (file names and contents): equal for two fits that learnt the same."""
    whole = hashlib.sha256()
    for name, part in sorted((part.relative_to(parts).as_posix(), part) for part in parts.rglob("*") if part.is_file()):
        whole.update(name.encode() + hashlib.sha256(part.read_bytes()).digest())
    return whole.hexdigest()


def _make_canonical(archive: Path) -> None:
    """Rewrite a skops archive so that equal objects give equal bytes.

    skops names objects by memory addresses, and its files by those or by random UUIDs; here both are numbered in the
    order of appearance. The items of sets are sorted, since their order changes from process to process, and the time
    stamps in the zip file are set to their earliest value.
    """
    numbers: dict[bytes, bytes] = {}

    def number(found: re.Match[bytes]) -> bytes:
        return found[1] + numbers.setdefault(found[2], str(len(numbers)).encode())

    with zipfile.ZipFile(archive) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    schema = _with_sorted_sets(contents.pop("schema.json"))
    # a whole name up to its ending: a UUID may begin with digits, of which a part is no name
    schema = re.sub(rb'("__id__": (?=\d)|"file": ")([\w-]+)', number, schema)
    renamed = {_renamed(name, numbers): content for name, content in contents.items()}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in [("schema.json", schema), *sorted(renamed.items())]:
            new.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def _renamed(name: str, numbers: Mapping[bytes, bytes]) -> str:
    stem, dot, ending = name.partition(".")
    return numbers.get(stem.encode(), stem.encode()).decode() + dot + ending


def _with_sorted_sets(schema: bytes) -> bytes:
    """A skops schema with the items of its sets sorted by what they are, not by where they lie in memory."""
    if b'"SetNode"' not in schema:
        return schema  # as nearly always; to read and write the JSON of a forest takes seconds

    def sort(node: dict[str, Any]) -> dict[str, Any]:
        if node.get("__loader__") == "SetNode":
            node["content"].sort(key=lambda item: re.sub('"(__id__|file)": [^,}]+', "", json.dumps(item)))
        return node

    return json.dumps(json.loads(schema, object_hook=sort), indent=2).encode()


def _save(place: Path, mlflow_model: Model, parts: Path, **about: Any) -> None:
    """Write a model's folder: pyfunc from code, and the flavor `lightgbm` too where there is a booster.

    The `lightgbm` entry makes `mlflow.lightgbm.load_model` work, and makes MLflow's Docker images install LightGBM's
    libgomp. Of a model that is no booster itself it names a member of a blend, or what scales the intervals, for the
    sake of the libgomp.
    """
    named = (served.BOOSTER, served.REGRESSOR_BOOSTER, served.SCALE)
    found = [path.relative_to(parts).as_posix() for name in named for path in sorted(parts.rglob(name))]
    boosters = sorted(found, key=lambda path: path.count("/"))
    if boosters:
        mlflow_model.add_flavor(
            "lightgbm",
            lgb_version=version("lightgbm"),
            data=f"{PARTS}/{boosters[0]}",
            model_class="lightgbm.basic.Booster",
        )
    mlflow.pyfunc.save_model(
        path=str(place),
        mlflow_model=mlflow_model,
        python_model=served.__file__,
        artifacts={"model": str(parts)},
        metadata={served.READS_REQUESTS: True},
        **about,
    )
    shutil.copyfile(reasons.__file__, place / served.REASONS)
    for compiled in place.rglob(BYTECODE):
        shutil.rmtree(compiled)
