"""Models with a statement of their origin: what it says, and who refuses a model that its key does not verify."""

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from steps.model import flavor, requirements
from steps.run.working_tree import Tree
from tabular import digests, provenance, sbom
from tests.chains import git
from tests.model.servers import Server
from tests.running import MOST_SECONDS, PROJECT, Store, surroundings

pytestmark = pytest.mark.usefixtures("undrawn")

NAME = "signed_classifier"
URI = f"models:/{NAME}/1"
PROBLEM = """
name: signed
data: {source: table.csv, target: y}
models:
  logistic: {estimator: sklearn.linear_model.LogisticRegression}
search: {metric: roc_auc, folds: 2}
"""
SIGN, VERIFY = "TABULAR_SIGNING_KEY", "TABULAR_VERIFY_KEY"


def write_keys(folder, name, key):
    """A pair of keys as files; returns the names of the private and of the public one."""
    pem, info = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / f"{name}.pem").write_bytes(key.private_bytes(pem, *plain))
    (folder / f"{name}.pub").write_bytes(key.public_key().public_bytes(pem, info))
    return f"{name}.pem", f"{name}.pub"


class Scene:
    """A store with a version that was signed, the keys, and ways to alter what lies in the store."""

    def __init__(self, folder):
        self.folder, self.store = folder, Store(folder)
        generator = np.random.default_rng(5)
        self.table = pd.DataFrame({"x": generator.normal(size=200), "z": generator.normal(size=200)})
        self.table["y"] = np.where(self.table["x"] + generator.normal(size=200) > 0, "yes", "no")
        self.table.to_csv(folder / "table.csv", index=False)
        (folder / "signed.yaml").write_text(PROBLEM)
        self.private, self.public = write_keys(folder, "ours", ed25519.Ed25519PrivateKey.generate())
        self.other_private, self.other = write_keys(folder, "others", ec.generate_private_key(ec.SECP256R1()))
        self.etl = self.well("etl", problem="signed.yaml")
        self.train = self.well("train", dataset=self.etl.id, model="logistic")
        self.evaluation = self.well("evaluate", dataset=self.etl.id, models=self.train.id)
        self.register = self.well("register", {SIGN: self.private}, evaluation=self.evaluation.id)

    def step(self, step, keys=None, **parameters):
        """A step in an environment with these keys."""
        before = self.store.environment
        self.store.environment = {**before, **{name: str(self.folder / file) for name, file in (keys or {}).items()}}
        try:
            return self.store.step(step, **parameters)
        finally:
            self.store.environment = before

    def well(self, step, keys=None, **parameters):
        """As `step`, of one that has to end well."""
        ended = self.step(step, keys, **parameters)
        assert ended.status == 0, ended.stderr
        return ended

    def version(self, number="1", name=NAME):
        return self.store.client.get_model_version(name, number)

    def predict(self, keys, model=URI):
        """A run of predict of the table."""
        output = self.folder / "scored.csv"
        return self.step("predict", keys, model=model, data=str(self.folder / "table.csv"), output=str(output))

    def monitor(self, keys, model=URI):
        """A run of monitor of the table, which has the truth."""
        return self.step("monitor", keys, model=model, data=str(self.folder / "table.csv"))

    def promote(self, keys, version="1"):
        """A run of promote that moves an alias which the version does not have."""
        with contextlib.suppress(Exception):
            self.store.client.delete_registered_model_alias(NAME, "tried")
        return self.step("promote", keys, name=NAME, version=version, alias="tried", reason="to try it")

    @property
    def envelope(self):
        return self.store.artifact(self.register.run, "provenance.dsse.json")

    @property
    def model(self):
        """The folder of the model's files."""
        logged = self.store.client.get_logged_model(self.version().source.removeprefix("models:/"))
        return Path(logged.artifact_location.removeprefix("file://"))

    def statement(self):
        return json.loads(base64.b64decode(json.loads(self.envelope.read_text())["payload"]))


@contextlib.contextmanager
def altered(path, change):
    """A file with other bytes for a while."""
    before = path.read_bytes()
    after = change(before)
    assert after != before
    path.write_bytes(after)
    try:
        yield
    finally:
        path.write_bytes(before)


def one_byte(path, place=-3):
    """A file with one byte altered."""

    def change(content):
        return content[:place] + bytes([content[place] ^ 1]) + content[place:][1:]

    return altered(path, change)


@contextlib.contextmanager
def one_byte_of(scene, where):
    """The envelope with one byte altered of the statement or of its signature."""

    def change(content):
        told = json.loads(content)
        entry, key = (told, "payload") if where == "payload" else (told["signatures"][0], "sig")
        held = bytearray(base64.b64decode(entry[key]))
        held[len(held) // 2] ^= 1
        entry[key] = base64.b64encode(bytes(held)).decode()
        return json.dumps(told).encode()

    with altered(scene.envelope, change):
        yield


@contextlib.contextmanager
def tag(scene, name, value):
    """A tag of the version with another value for a while."""
    before = scene.version().tags[name]
    scene.store.client.set_model_version_tag(NAME, "1", name, value)
    try:
        yield
    finally:
        scene.store.client.set_model_version_tag(NAME, "1", name, before)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return Scene(tmp_path_factory.mktemp("signed"))


READERS = {"predict": Scene.predict, "promote": Scene.promote, "monitor": Scene.monitor}


@pytest.fixture(params=READERS)
def reader(request):
    """Each of the entry points that load a registered model by its name."""
    return READERS[request.param]


# By one of them; that the others ask the same is shown where a key or the code is another one.
others = [pytest.param(name, marks=pytest.mark.long) for name in ("promote", "monitor")]
by_one = pytest.mark.parametrize("reader", ["predict", *others], indirect=True)


def line_of(ended):
    """The one line of a step that was refused."""
    assert ended.status == 1
    (line,) = ended.stderr.splitlines()
    return line


# --- what the statement says ------------------------------------------------------------------------------------------


def test_the_statement_names_every_file_of_the_model_by_its_digest(scene):
    held = {path.relative_to(scene.model).as_posix(): path for path in scene.model.rglob("*") if path.is_file()}
    expected = {name: digests.of_file(path) for name, path in held.items() if "__pycache__" not in name}
    assert {one["name"]: one["digest"]["sha256"] for one in scene.statement()["subject"]} == expected
    assert {"MLmodel", "served.py"} < expected.keys()


def test_the_statement_of_a_chain_names_its_commit_its_tree_and_its_lock(chains, fork_server):
    store, ended = chains.store("signed", after="first", fork_server=fork_server)
    main, steps = ended["first"], store.children(ended["first"].id)
    told = json.loads(store.artifact(steps["register"], "provenance.json").read_text())
    found = {one["name"]: one for one in told["predicate"]["buildDefinition"]["resolvedDependencies"]}
    commit = git(chains.clone, "rev-parse", "HEAD").strip()
    version = store.client.get_model_version_by_alias("small_classifier", "champion")
    for what, run in {"refit": version.tags["tabular.refit"], "register": steps["register"].info.run_id}.items():
        assert found[f"source of {what}"]["digest"] == {"gitCommit": commit}
        assert found[f"source of {what}"]["annotations"] == {"run": run, "tree": "clean"}
        assert found[f"requirements.txt of {what}"]["digest"] == {"sha256": main.tags["tabular.lock"]}


def test_a_chain_signs_with_a_key_that_is_named_from_the_folder_where_it_is_typed(chains, fork_server):
    store, _ = chains.store("signing", after="first", fork_server=fork_server)
    problem = (chains.folder / "small.yaml").read_text()
    (chains.folder / "signing.yaml").write_text(f"{problem}registry: {{name: signed_by_a_chain}}\n")
    private, public = write_keys(chains.folder, "chain", ed25519.Ed25519PrivateKey.generate())
    store.environment |= {SIGN: private, VERIFY: public}
    ended = store.project(uri=str(chains.clone), problem="signing.yaml")
    assert ended.status == 0, ended.stderr
    version = store.client.get_model_version_by_alias("signed_by_a_chain", "champion")
    run = store.client.get_run(version.tags["tabular.register"])
    assert version.tags["tabular.provenance"] == f"runs:/{run.info.run_id}/provenance.dsse.json"
    keys = provenance.public_keys((chains.folder / public).read_bytes())
    told = provenance.verified(store.artifact(run, "provenance.dsse.json").read_bytes(), keys)
    definition = told["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["registered_model"] == {"name": "signed_by_a_chain", "version": "1"}
    refit = {"problem", "evaluation", "dataset", "models", "blend", "searches"}
    assert set(definition["internalParameters"]["arguments"]) <= refit


def test_the_statement_of_a_changed_tree_has_the_digest_of_its_patch(scene, monkeypatch):
    def changed(folder):
        (folder / "changes.patch").write_text("diff --git a/a b/a\n")
        return Tree("changed", folder / "changes.patch")

    monkeypatch.setattr("steps.run.working_tree.changes", changed)
    ended = scene.well("register", evaluation=scene.evaluation.id, problem=renamed(scene, "changed"))
    told = json.loads(scene.store.artifact(ended.run, "provenance.json").read_text())
    found = {one["name"]: one for one in told["predicate"]["buildDefinition"]["resolvedDependencies"]}
    assert found["source of register"]["annotations"]["tree"] == "changed"
    patch = scene.store.artifact(ended.run, "changes.patch")
    assert found["changes of register"]["digest"] == {"sha256": digests.of_file(patch)}


def test_the_statement_names_the_data_and_the_runs(scene):
    told = scene.statement()
    definition, about = told["predicate"]["buildDefinition"], told["predicate"]["runDetails"]
    found = {one["name"]: one for one in definition["resolvedDependencies"]}
    assert found["table"]["digest"] == {"sha256": digests.of_file(scene.folder / "table.csv")}
    rows = scene.store.artifact(scene.etl.run, "dataset/train.parquet")
    assert found["training rows"]["digest"] == {"sha256": digests.of_file(rows)}
    arguments = {"dataset": scene.etl.id, "model": "logistic"}
    assert definition["internalParameters"]["arguments"] == arguments
    runs = {"etl": scene.etl.id, "train": scene.train.id, "evaluate": scene.evaluation.id}
    assert definition["internalParameters"]["runs"] == runs
    assert definition["externalParameters"]["registered_model"] == {"name": NAME, "version": "1"}
    assert definition["externalParameters"]["problem"]["data"]["target"] == "y"
    assert definition["internalParameters"]["parameters"]["seed"] == scene.train.run.data.params["seed"]
    assert about["metadata"]["invocationId"] == scene.register.id


def test_the_bill_of_materials_lies_beside_the_statement_and_is_named_in_it(scene):
    product, *_ = scene.statement()["predicate"]["runDetails"]["byproducts"]
    path = scene.store.artifact(scene.register.run, "sbom.cdx.json")
    assert product["digest"] == {"sha256": digests.of_file(path)}
    pinned = dict(line.split("==") for line in requirements.pins(scene.model / "requirements.txt"))
    assert len(pinned) > 20
    held = {one["name"]: one["version"] for one in json.loads(path.read_text())["components"]}
    assert pinned.items() <= held.items()


def test_without_a_key_the_statement_is_written_and_not_signed(scene):
    scene.well("register", evaluation=scene.evaluation.id, problem=renamed(scene, "unsigned"))
    version = scene.version(name="unsigned_classifier")
    place = version.tags["tabular.provenance"]
    assert place == f"runs:/{version.tags['tabular.register']}/provenance.json"
    run = scene.store.client.get_run(version.tags["tabular.register"])
    told = json.loads(scene.store.artifact(run, "provenance.json").read_text())
    assert told["_type"] == "https://in-toto.io/Statement/v1"
    assert told["subject"] == scene.statement()["subject"]


def renamed(scene, name):
    """The problem under another name, and so for another registered model."""
    path = scene.folder / f"{name}.yaml"
    path.write_text(PROBLEM.replace("name: signed", f"name: {name}"))
    return path.name


# --- who refuses ------------------------------------------------------------------------------------------------------


def test_a_model_that_the_key_verifies_is_taken(scene, reader):
    ended = reader(scene, {VERIFY: scene.public})
    assert ended.status == 0, ended.stderr


@by_one
def test_any_of_several_keys_may_have_signed(scene, reader):
    both = scene.folder / "both.pub"
    both.write_bytes(b"".join((scene.folder / name).read_bytes() for name in (scene.other, scene.public)))
    ended = reader(scene, {VERIFY: both.name})
    assert ended.status == 0, ended.stderr


def test_another_key_is_refused(scene, reader):
    line = line_of(reader(scene, {VERIFY: scene.other}))
    assert f"model {URI} is not verified by TABULAR_VERIFY_KEY" in line
    assert "another key than" in line


@by_one
@pytest.mark.parametrize("file", ["MLmodel", "requirements.txt"])
def test_an_altered_file_of_the_model_is_refused_though_its_digest_is_not_recorded_on_the_version(scene, reader, file):
    with altered(scene.model / file, lambda content: content + b"\n"):
        assert reader(scene, None).status == 0
        line = line_of(reader(scene, {VERIFY: scene.public}))
    assert f"its file {file} is not the one of the statement" in line


def test_altered_code_is_refused_though_the_version_has_the_digest_of_the_altered_code(scene, reader):
    code = scene.model / "served.py"
    with altered(code, lambda content: content + b"\n# more\n"):
        digest = flavor.digest_of_carried(scene.model)
    with altered(code, lambda content: content + b"\n# more\n"), tag(scene, "tabular.digest.code", digest):
        assert reader(scene, None).status == 0
        line = line_of(reader(scene, {VERIFY: scene.public}))
    assert "its file served.py is not the one of the statement" in line


@by_one
def test_one_byte_of_what_was_learnt_altered_is_refused(scene, reader):
    (part,) = scene.model.rglob("classifier.skops")
    with one_byte(part):
        assert "not loaded" in line_of(reader(scene, {VERIFY: scene.public}))


@by_one
def test_a_file_beside_the_models_own_is_refused(scene, reader):
    more = scene.model / "numpy.py"
    more.write_text("raise SystemExit('run')\n")
    try:
        line = line_of(reader(scene, {VERIFY: scene.public}))
    finally:
        more.unlink()
    assert "its file numpy.py is not in the statement" in line


@by_one
@pytest.mark.parametrize("where", ["payload", "sig"])
def test_one_byte_of_the_statement_or_of_its_signature_altered_is_refused(scene, reader, where):
    with one_byte_of(scene, where):
        assert reader(scene, None).status == 0
        line = line_of(reader(scene, {VERIFY: scene.public}))
    assert "its statement or its signature was altered" in line


@by_one
def test_a_version_whose_statement_is_gone_is_refused(scene, reader):
    away = scene.envelope.rename(scene.envelope.with_name("away"))
    try:
        line = line_of(reader(scene, {VERIFY: scene.public}))
    finally:
        away.rename(away.with_name("provenance.dsse.json"))
    assert "is not verified by TABULAR_VERIFY_KEY" in line


@by_one
@pytest.mark.parametrize("place", ["runs:/{register}/provenance.json", "/tmp/provenance.dsse.json"])
def test_a_version_that_names_no_signed_statement_is_refused(scene, reader, place):
    with tag(scene, "tabular.provenance", place.format(register=scene.register.id)):
        line = line_of(reader(scene, {VERIFY: scene.public}))
    assert f"model {URI} is not signed" in line
    assert "unset TABULAR_VERIFY_KEY" in line


def test_a_signed_model_under_another_name_is_refused(scene):
    client, like = scene.store.client, scene.version()
    with contextlib.suppress(Exception):
        client.create_registered_model("swapped_classifier")
    mlflow.set_tracking_uri(scene.store.uri)
    about = {"run_id": like.run_id, "tags": like.tags, "model_id": like.model_id}
    client.create_model_version("swapped_classifier", like.source, **about)
    mlflow.set_tracking_uri(None)
    line = line_of(scene.predict({VERIFY: scene.public}, "models:/swapped_classifier/1"))
    assert f"its statement is of {NAME} version 1" in line


def test_a_model_that_is_not_registered_is_refused_and_taken_without_the_key(scene):
    line = line_of(scene.predict({VERIFY: scene.public}, scene.train.id))
    assert "is no version of a registered model" in line
    assert scene.predict(None, scene.train.id).status == 0


def test_a_registered_model_that_is_named_by_its_own_id_is_verified_as_the_version_that_it_is(scene):
    by_id = scene.version().source
    ended = scene.predict({VERIFY: scene.public}, by_id)
    assert ended.status == 0, ended.stderr
    assert (by_id[:10], ended.tags["tabular.scored_by"]) == ("models:/m-", URI)


def test_a_champion_that_the_key_does_not_verify_is_neither_loaded_nor_replaced(scene):
    table = scene.table.assign(z=scene.table["z"] + 1)
    table.to_csv(scene.folder / "moved.csv", index=False)
    (scene.folder / "moved.yaml").write_text(PROBLEM.replace("table.csv", "moved.csv"))
    etl = scene.well("etl", problem="moved.yaml").id
    train = scene.well("train", dataset=etl, model="logistic").id
    evaluation = scene.well("evaluate", dataset=etl, models=train).id
    ended = scene.well("register", {VERIFY: scene.other}, evaluation=evaluation)
    assert ended.tags["tabular.outcome"] == "kept_champion"
    assert "is not verified by TABULAR_VERIFY_KEY" in ended.tags["tabular.verdict"]


def test_the_judged_model_of_a_champion_that_was_fitted_on_all_rows_is_verified_too(scene):
    about = {"evaluation": scene.evaluation.id, "problem": renamed(scene, "whole")}
    refit = scene.well("refit", evaluation=scene.evaluation.id, dataset=scene.etl.id, models=scene.train.id)
    scene.well("register", {SIGN: scene.private}, **about, refit=refit.id)
    version = scene.version(name="whole_classifier")
    judged = scene.store.client.get_logged_model(version.tags["tabular.judged"].removeprefix("models:/"))
    moved = scene.table.assign(z=scene.table["z"] + 2)
    moved.to_csv(scene.folder / "moved.csv", index=False)
    (scene.folder / "moved.yaml").write_text(PROBLEM.replace("table.csv", "moved.csv").replace("signed", "whole"))
    etl = scene.well("etl", problem="moved.yaml").id
    train = scene.well("train", dataset=etl, model="logistic").id
    evaluation = scene.well("evaluate", dataset=etl, models=train).id
    met = scene.well("register", {VERIFY: scene.public}, evaluation=evaluation)
    assert "is not verified" not in met.tags["tabular.verdict"]
    with one_byte(Path(judged.artifact_location.removeprefix("file://")) / "input_example.json"):
        refused = scene.well("register", {VERIFY: scene.public}, evaluation=evaluation)
    assert "the model that was judged for it is not the one of the statement" in refused.tags["tabular.verdict"]


# --- signed later -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def unsigned(scene):
    """The version as a register without a key, or one of an earlier tree, would have left it."""
    before = scene.version().tags["tabular.provenance"]
    scene.store.client.delete_model_version_tag(NAME, "1", "tabular.provenance")
    try:
        yield
    finally:
        scene.store.client.set_model_version_tag(NAME, "1", "tabular.provenance", before)


def test_promote_signs_a_version_that_is_not_signed_and_others_take_it_then(scene):
    keys = {SIGN: scene.private, VERIFY: scene.public}
    with unsigned(scene):
        champion = {"name": NAME, "version": "1", "reason": "to sign it"}
        ended = scene.step("promote", keys, **champion)
        assert f"{NAME} version 1 is champion already and signed now" in ended.stdout, ended.stderr
        assert scene.version().tags["tabular.provenance"] == f"runs:/{ended.id}/provenance.dsse.json"
        taken = scene.predict({VERIFY: scene.public})
        assert taken.status == 0, taken.stderr


def test_promote_does_not_sign_anew_what_its_key_does_not_verify(scene):
    with one_byte_of(scene, "payload"):
        line = line_of(scene.promote({SIGN: scene.private, VERIFY: scene.public}))
    assert "was altered" in line
    assert scene.version().tags["tabular.provenance"] == f"runs:/{scene.register.id}/provenance.dsse.json"


@pytest.mark.parametrize(("file", "why"), [("served.py", "not loaded"), ("MLmodel", "is not what the run recorded")])
def test_promote_does_not_sign_a_model_whose_files_are_not_those_recorded(scene, file, why):
    with unsigned(scene), altered(scene.model / file, lambda content: content + b"\n"):
        line = line_of(scene.promote({SIGN: scene.private}))
        assert "tabular.provenance" not in scene.version().tags
    assert why in line


# --- the serving image ------------------------------------------------------------------------------------------------


class Image:
    """What the image holds below /opt/ml, in a folder, and its process."""

    def __init__(self, scene, folder):
        self.scene, self.folder, self.model = scene, folder, folder / "model"
        for file in ("serving/serve.py", "tabular/provenance.py"):
            shutil.copy(PROJECT / file, folder)
        shutil.copy(scene.envelope, folder)
        mlflow.set_tracking_uri(scene.store.uri)
        mlflow.artifacts.download_artifacts(artifact_uri=URI, dst_path=str(self.model))
        mlflow.set_tracking_uri(None)
        shutil.rmtree(self.model / "__pycache__", ignore_errors=True)

    def words(self, *words):
        return [sys.executable, str(self.folder / "serve.py"), *words]

    def environment(self, key, model=NAME):
        own = {"__pyfunc_model_path__": str(self.model), "TABULAR_MODEL": model}
        return {**surroundings(), **own, **({VERIFY: str(self.scene.folder / key)} if key else {})}

    def start(self, key, model=NAME):
        """The image's process, of which the server only says its version."""
        environment = self.environment(key, model)
        pipes = {"capture_output": True, "text": True, "timeout": MOST_SECONDS}
        return subprocess.run(self.words("--version"), check=False, cwd=self.folder, env=environment, **pipes)


@pytest.fixture
def image(scene, tmp_path):
    return Image(scene, tmp_path)


def not_served(done):
    """The one line of a container that ends without serving."""
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("model", [NAME, f"{NAME}/1"])
def test_the_image_starts_its_server_for_a_model_that_the_key_verifies(image, scene, model):
    done = image.start(scene.public, model)
    assert "uvicorn" in done.stdout, done.stderr


def test_the_image_starts_its_server_without_a_key_whatever_the_model_is(image):
    (image.folder / "provenance.dsse.json").unlink()
    (image.model / "MLmodel").write_text("other")
    assert "uvicorn" in image.start(None, "").stdout


@pytest.mark.long
def test_the_image_answers_after_it_has_verified_its_model(image, scene):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Server(port)
    words = image.words("--host", "127.0.0.1", "--port", str(port), entrypoint()[-1])
    with subprocess.Popen(words, env=image.environment(scene.public), cwd=image.folder) as process:
        try:
            end = time.monotonic() + MOST_SECONDS
            while not server.up():
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.2)
            status, answers = server.frame(scene.table.drop(columns="y").head(3))
        finally:
            process.kill()
    assert (status, len(answers)) == (200, 3), answers


def entrypoint():
    """The words of the image's process."""
    file = (PROJECT / "serving" / "Dockerfile").read_text()
    return json.loads(file.partition("ENTRYPOINT ")[2])


def test_the_images_process_is_the_one_that_verifies():
    assert entrypoint()[:2] == ["python", "/opt/ml/serve.py"]


def test_what_verifies_in_the_image_comes_with_mlflow_skinny():
    line = f"mlflow-skinny=={metadata.version('mlflow-skinny')}"
    found = sbom.bill("model", "1", "0" * 64, [line], "3.11.7")
    assert "cryptography" in {one["name"] for one in found["components"]}


def test_the_image_refuses_another_key(image, scene):
    assert "another key than" in not_served(image.start(scene.other))


@pytest.mark.parametrize("model", ["other_classifier", f"{NAME}/2"])
def test_the_image_refuses_another_name_or_version(image, scene, model):
    assert f"its statement is of {NAME} version 1" in not_served(image.start(scene.public, model))


def test_the_image_refuses_an_altered_file_and_one_that_is_new(image, scene):
    with altered(image.model / "MLmodel", lambda content: content + b"\n"):
        assert "its file MLmodel is not the one of the statement" in not_served(image.start(scene.public))
    (image.model / "__pycache__").mkdir()
    (image.model / "__pycache__" / "served.cpython-311.pyc").write_bytes(b"")
    assert "served.cpython-311.pyc is not in the statement" in not_served(image.start(scene.public))


def test_the_image_refuses_a_statement_that_was_altered_and_one_that_is_gone(image, scene):
    statement = image.folder / "provenance.dsse.json"
    with altered(statement, lambda content: content.replace(b'"payload": "e', b'"payload": "f')):
        assert "was altered" in not_served(image.start(scene.public))
    statement.unlink()
    assert "is not signed" in not_served(image.start(scene.public))


def test_the_image_says_what_its_environment_lacks(image, scene):
    assert "TABULAR_MODEL: name the registered model" in not_served(image.start(scene.public, ""))
    assert "nowhere.pem No such file" in not_served(image.start("nowhere.pem"))


# --- keys that cannot be used -----------------------------------------------------------------------------------------


def test_a_chain_whose_signing_key_is_gone_ends_before_its_first_step(scene):
    ended = scene.step("main", {SIGN: "nowhere.pem"}, problem="signed.yaml")
    assert "TABULAR_SIGNING_KEY" in line_of(ended)
    assert "cannot be read" in ended.stderr
    assert scene.store.children(ended.id) == {}


def test_a_signing_key_that_the_verifying_one_is_not_of_is_refused(scene):
    keys = {SIGN: scene.private, VERIFY: scene.other}
    ended = scene.step("register", keys, evaluation=scene.evaluation.id, problem=renamed(scene, "mismatched"))
    assert "does not hold the public key of TABULAR_SIGNING_KEY" in line_of(ended)
    assert not scene.store.versions("mismatched_classifier")
