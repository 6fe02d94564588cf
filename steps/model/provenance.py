"""Proof of origin of a registered version: its statement and bill of materials, written, signed and verified."""

import json
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
import yaml
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT

from steps.model import flavor, registry, requirements
from steps.model.served import TabularModel
from steps.run import artifact_store, artifacts, lookup, paths, working_tree
from steps.run.step import Step
from steps.run.tags import (
    ARGUMENTS,
    COMMIT,
    DATA_DIGEST,
    DATASET,
    EVALUATION,
    JUDGED,
    LOCK,
    MODEL,
    PARENT,
    PROVENANCE,
    REPOSITORY,
    TRAIN,
    TRAINED_ON,
    TREE,
)
from tabular import addresses, digests, sbom
from tabular import provenance as pure
from tabular.errors import UserError

# The environment variables with the paths of the keys.
SIGNING_KEY, VERIFY_KEY = "TABULAR_SIGNING_KEY", "TABULAR_VERIFY_KEY"
# The artifacts of the run that registers: the statement alone or, where there is a key, in a signed envelope.
STATEMENT, ENVELOPE, BILL = "provenance.json", "provenance.dsse.json", "sbom.cdx.json"
# What the parts of a statement mean: docs/security.md.
BUILD_TYPE, BUILDER = "urn:tabular:chain:1", "urn:tabular:register:1"
UNKNOWN = "unknown"
# The runs that a version comes from, by its tags.
RUNS = {"etl": DATASET, "train": TRAIN, "evaluate": EVALUATION}


# --- keys -------------------------------------------------------------------------------------------------------------


def check_keys() -> str:
    """Read the keys that are configured, before any work; return what to tell of them, "" for nothing.

    Raises
    ------
    UserError
        Where a key cannot be read or used, or what the one signs is not verified by the other.
    """
    key, keys = _signing_key(), _verify_keys()
    if key is None:
        lacking = f"{VERIFY_KEY} is set and {SIGNING_KEY} is not: what is registered now will not be signed"
        return f"{lacking}, and is refused where {VERIFY_KEY} is set" if keys else ""
    if keys and pure.key_id(key.public_key()) not in map(pure.key_id, keys):
        raise UserError(
            f"{VERIFY_KEY}: does not hold the public key of {SIGNING_KEY}, whose models it would refuse: add it"
        )
    return ""


def _signing_key() -> pure.PrivateKey | None:
    return _read(SIGNING_KEY, pure.private_key)


def _verify_keys() -> list[pure.PublicKey]:
    return _read(VERIFY_KEY, pure.public_keys) or []


def _read(variable: str, parse) -> Any:
    """What the file that an environment variable names holds; None where the variable is not set.

    The variable's path becomes absolute: the steps that main starts are in another folder than who has set it.
    """
    given = os.environ.get(variable)
    if not given:
        return None
    path = (paths.caller_folder() / Path(given).expanduser()).resolve()
    os.environ[variable] = str(path)
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise UserError(
            f"{variable}: {path} cannot be read ({error.strerror}): name the file of a key, or unset it"
        ) from None
    except pure.KeyFileError as error:
        raise UserError(f"{variable}: {path} {error}: docs/security.md says how to make a key") from None


# --- verified ---------------------------------------------------------------------------------------------------------


def load(step: Step, uri: str, *, code: str, learnt: str) -> TabularModel:
    """Load a registered model as `flavor.load` does, where its signature is verified or no key asks for that.

    Parameters
    ----------
    step
        The running step.
    uri
        The model: `models:/NAME/VERSION`; others have no statement.
    code, learnt
        Digests of the model, as for `flavor.load`.

    Raises
    ------
    UserError
        As `flavor.load`; and where `VERIFY_KEY` is set and the model is not signed, or is not the one that was signed.
    """
    return flavor.opened(fetch(step, uri, code=code, learnt=learnt), uri)


def fetch(step: Step, uri: str, *, code: str, learnt: str) -> Path:
    """Copy a registered model's files as `flavor.fetch` does, and verify the copy; the rest is as for `load`."""
    local = flavor.copied(uri, step.folder, code=code, learnt=learnt)
    keys = _verify_keys()
    if keys:
        _verify(step, uri, local, keys)
    return local


def _verify(step: Step, uri: str, local: Path, keys: list[pure.PublicKey]) -> None:
    """Check a model's files against the signed statement of its version."""
    name, _, number = uri.removeprefix("models:/").rpartition("/")
    if not (name and number.isdecimal()):
        raise UserError(
            f"model {uri} is no version of a registered model, and only these are signed, as {VERIFY_KEY} asks: give "
            f"models:/NAME/VERSION or models:/NAME@ALIAS, or unset {VERIFY_KEY}"
        )
    version = step.client.get_model_version(name, number)
    _verify_statement(step, version, keys, lambda told: pure.check(told, pure.files(local), name, number))


def load_judged(step: Step, version: ModelVersion) -> TabularModel:
    """As `load`, of the model that was judged for a version: its own, unless that was fitted on all rows."""
    uri, recorded = registry.judged(version)
    if JUDGED not in version.tags:
        return load(step, uri, **recorded)
    local = flavor.copied(uri, step.folder, **recorded)
    keys = _verify_keys()
    if keys:
        digest, about = digests.of_values(pure.files(local)), (version.name, str(version.version))
        _verify_statement(step, version, keys, lambda told: pure.check_judged(told, digest, *about))
    return flavor.opened(local, uri)


def _verify_statement(
    step: Step, version: ModelVersion, keys: list[pure.PublicKey], check: Callable[[Mapping[str, Any]], None]
) -> None:
    """Verify the signed statement of a version, and check a model by it."""
    uri = f"models:/{version.name}/{version.version}"
    if not is_signed(version):
        raise UserError(
            f"model {uri} is not signed, as {VERIFY_KEY} asks: promote it with {SIGNING_KEY} set, which signs it, or "
            f"unset {VERIFY_KEY} to go by the digests in the store alone"
        )
    try:
        envelope = artifact_store.fetch(version.tags[PROVENANCE], Path(tempfile.mkdtemp(dir=step.folder)))
        check(pure.verified(envelope.read_bytes(), keys))
    except (pure.NotVerifiedError, artifact_store.FetchError) as error:
        raise UserError(
            f"model {uri} is not verified by {VERIFY_KEY}: {error}: not loaded; promote a version that is, and ask who "
            "may write to this store"
        ) from None


def signs(version: ModelVersion) -> bool:
    """Whether a version is to be signed: it is not, and there is a key that signs."""
    return bool(os.environ.get(SIGNING_KEY)) and not is_signed(version)


def is_signed(version: ModelVersion) -> bool:
    """Whether a version names a signed statement; whether it holds is seen by `fetch`."""
    return re.fullmatch(rf"runs:/[0-9a-f]{{32}}/{re.escape(ENVELOPE)}", version.tags.get(PROVENANCE, "")) is not None


# --- written ----------------------------------------------------------------------------------------------------------


def attach(step: Step, version: ModelVersion, problem: Path) -> None:
    """Write the statement and the bill of materials of a version to the step's run, and name them on the version.

    The statement is signed where `SIGNING_KEY` is set. It lies with the run, since a logged model is not altered.
    `problem` is the file of the frozen problem, which is told whole.
    """
    key, made = _signing_key(), lookup.shown(step.client, str(version.run_id))
    model = flavor.copied(str(version.source), step.folder, **registry.recorded(version))
    step.json(_bill(version, model), BILL)
    told = pure.statement(_files(step, model, made), _predicate(step, version, _problem(problem), made))
    if key is None:
        name, content = STATEMENT, told
    else:
        name, content = ENVELOPE, pure.signed(json.dumps(told, ensure_ascii=False).encode(), key)
    step.json(content, name)
    for artifact in (BILL, name):
        step.upload(artifact)
    step.client.set_model_version_tag(version.name, version.version, PROVENANCE, f"runs:/{step.run_id}/{name}")


def _files(step: Step, model: Path, made: Run | None) -> dict[str, str]:
    """The digests of a model's files, which have to be those that the run which logged the model has recorded.

    Of a run that was purged nothing is known: there the version's own digests, checked before, have to do.
    """
    found = pure.files(model)
    if made is None:
        return found
    recorded = artifacts.model_files(made, step.folder)
    if flavor.is_logged_again(model, made, step.folder):
        recorded["MLmodel"] = [0, found["MLmodel"]]
    differ = [name for name, (_, digest) in recorded.items() if digest is not None and found.get(name) != digest]
    differ += [name for name in found if name not in recorded]
    if differ:
        raise artifacts.DamagedError(
            f"the model of run {made.info.run_id}: its file {differ[0]} is not what the run recorded: "
            "run the chain again, which makes it anew"
        )
    return found


def _bill(version: ModelVersion, model: Path) -> dict[str, Any]:
    lines = requirements.pins(model / "requirements.txt")
    learnt = registry.recorded(version)["learnt"]
    return sbom.bill(version.name, str(version.version), learnt, lines, platform.python_version())


def _predicate(step: Step, version: ModelVersion, problem: Mapping[str, Any], made: Run | None) -> dict[str, Any]:
    """What a statement says of a version: SLSA's provenance v1, of which docs/security.md has the parts."""
    step.flush()
    own = lookup.run(step.client, step.run_id, "run")
    runs = {name: version.tags.get(tag, UNKNOWN) for name, tag in RUNS.items()}
    registered = {"name": version.name, "version": str(version.version)}
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"registered_model": registered, "problem": problem},
            "internalParameters": {
                "model": version.tags.get(MODEL, UNKNOWN),
                "runs": runs,
                **({} if made is None else _making(made)),
            },
            "resolvedDependencies": [
                *([_unknown(version)] if made is None else _source(step, made)),
                *_source(step, own),
                *_data(version, problem),
            ],
        },
        "runDetails": {
            "builder": {
                "id": BUILDER,
                "version": {"python": platform.python_version(), "mlflow": mlflow.__version__},
            },
            "metadata": {
                "invocationId": step.run_id,
                "finishedOn": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            },
            "byproducts": [
                {
                    "name": BILL,
                    "uri": f"runs:/{step.run_id}/{BILL}",
                    "digest": {"sha256": digests.of_file(step.artifacts / BILL)},
                },
                *_judged(step, version),
            ],
        },
    }


def _judged(step: Step, version: ModelVersion) -> Iterator[dict[str, Any]]:
    """The model that was judged for a version, where that is another than its own: challengers meet it."""
    if JUDGED in version.tags:
        uri, recorded = registry.judged(version)
        found = pure.files(flavor.copied(uri, step.folder, **recorded))
        yield {"name": pure.JUDGED, "uri": uri, "digest": {"sha256": digests.of_values(found)}}


def _problem(file: Path) -> dict[str, Any]:
    """A frozen problem as plain values, which JSON can hold."""
    told: dict[str, Any] = json.loads(json.dumps(yaml.safe_load(file.read_text(encoding="utf-8")), default=str))
    return told


def _making(made: Run) -> dict[str, Any]:
    """How a model was made: its parameters, and the arguments that its run was given."""
    given = json.loads(made.data.tags.get(ARGUMENTS, "{}"))
    given.pop("share", None)  # a file of the machine that trained it, of threads and seconds
    step = made.data.tags[MLFLOW_PROJECT_ENTRY_POINT]
    return {"made_by": {step: made.info.run_id}, "parameters": dict(made.data.params), "arguments": given}


def _unknown(version: ModelVersion) -> dict[str, Any]:
    """The source tree of a run that was purged."""
    return {"name": "source of train", "uri": UNKNOWN, "annotations": {"run": str(version.run_id), "tree": UNKNOWN}}


def _source(step: Step, run: Run) -> Iterator[dict[str, Any]]:
    """The source tree and the lock of a run, which main has recorded for the steps of its chain."""
    what = run.data.tags[MLFLOW_PROJECT_ENTRY_POINT]
    root = lookup.shown(step.client, run.data.tags.get(PARENT, run.info.run_id))
    tags: Mapping[str, str] = {} if root is None else root.data.tags
    commit, tree = run.data.tags.get(COMMIT, ""), tags.get(TREE, UNKNOWN)
    about = {"name": f"source of {what}", "annotations": {"run": run.info.run_id, "tree": tree}}
    address = run.data.tags.get(REPOSITORY)
    where = f"git+{address}@{commit}" if address else UNKNOWN
    yield {**about, "uri": where, **({"digest": {"gitCommit": commit}} if commit else {})}
    if root is not None and tree == "changed":
        yield _patch(root, what, step.folder)
    if LOCK in tags:
        yield {"name": f"requirements.txt of {what}", "digest": {"sha256": tags[LOCK]}}


def _patch(root: Run, what: str, folder: Path) -> dict[str, Any]:
    found = {"name": f"changes of {what}", "uri": f"runs:/{root.info.run_id}/{working_tree.PATCH}"}
    try:
        path = artifacts.artifact(root, working_tree.PATCH, folder)
    except UserError:
        return found
    return {**found, "digest": {"sha256": digests.of_file(path)}}


def _data(version: ModelVersion, problem: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The table, and the training rows that were made of it."""
    tags = version.tags
    if DATA_DIGEST in tags:
        yield {
            "name": "table",
            "uri": addresses.shown(problem["data"]["source"]),
            "digest": {"sha256": tags[DATA_DIGEST]},
        }
    if TRAINED_ON in tags:
        place = f"runs:/{tags.get(DATASET, UNKNOWN)}/{artifacts.DATASET}/train.parquet"
        yield {"name": "training rows", "uri": place, "digest": {"sha256": tags[TRAINED_ON]}}
