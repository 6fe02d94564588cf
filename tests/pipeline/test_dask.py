"""Fits at the workers of a Dask cluster: the same results, and what becomes of them where a worker or more dies."""

import json
import operator
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import psutil
import pytest
from pyarrow import fs

from steps.run import cluster, fetching, part_readers, paths
from steps.search import trial_runs
from tabular.data import sources
from tabular.data.sources import Source, stores
from tabular.errors import UserError
from tests import servers
from tests.certificates import authority
from tests.running import MOST_SECONDS, PROJECT

pytest.importorskip("distributed", reason="requirements-dask.txt is not installed here")
N = 900
PROBLEM = """
name: far
data: {{source: {source}, target: y}}
models:
  lightgbm:
    estimator: lightgbm.LGBMClassifier
    params: {{min_child_samples: 5, n_estimators: 30}}
    space: {{num_leaves: {{type: int, low: 2, high: 16}}, learning_rate: {{type: float, low: 0.05, high: 0.3}}}}
search: {{metric: roc_auc, trials: 6, folds: 3, max_pending: 3}}
"""


@pytest.fixture(scope="module")
def etl(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("far")
    random = np.random.default_rng(5)
    rows = pd.DataFrame({"x": random.normal(size=N), "z": random.normal(size=N)})
    rows["town"] = random.choice(["Lisboa", "Porto", "Faro"], N)
    rows["y"] = (rows["x"] + rows["z"] ** 2 + (rows["town"] == "Faro") + random.normal(size=N) > 1).astype(int)
    rows.to_csv(folder / "table.csv", index=False)
    (folder / "far.yaml").write_text(PROBLEM.format(source=folder / "table.csv"))
    ended = store.step("etl", problem=str(folder / "far.yaml"))
    assert ended.status == 0, ended.stderr
    return ended


class Dask:
    """A scheduler and workers on this machine, each a process of its own, as they are started on several."""

    def __init__(self, folder: Path, scheme: str = "tcp", workers: int = 2, **environment: str) -> None:
        self.folder, self.environment, self.workers = folder, environment, []
        file = folder / "scheduler.json"
        about = ("--protocol", scheme, "--port", "0", "--no-dashboard", "--idle-timeout", "300")
        self.scheduler = self._start("scheduler", *about, "--scheduler-file", str(file))
        until = time.monotonic() + MOST_SECONDS
        while not file.exists() and time.monotonic() < until:
            time.sleep(0.05)
        self.address = json.loads(file.read_text())["address"]
        self.begin(workers)

    def begin(self, workers: int, project: Path = PROJECT) -> None:
        """Start workers of a tree of the project."""
        about = ("--no-dashboard", "--nthreads", "1", "--no-nanny", "--memory-limit", "0")
        about += ("--local-directory", str(self.folder))  # that of the environment may be a step's, which is removed
        self.workers += [self._start("worker", self.address, *about, project=project) for _ in range(workers)]

    def _start(self, name: str, *words: str, project: Path = PROJECT) -> subprocess.Popen:
        environment = {**os.environ, **self.environment, "PYTHONPATH": str(project)}
        command = [sys.executable, "-m", f"distributed.cli.dask_{name}", "--host", "127.0.0.1", *words]
        with (self.folder / f"{name}.log").open("a") as said:
            return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=said, stderr=said)

    def kill(self, worker: int = 0) -> None:
        """Kill a worker, as the system does where memory runs out."""
        process = self.workers.pop(worker)
        process.kill()
        process.wait()

    def close(self) -> None:
        """End all of it."""
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def dask(tmp_path_factory):
    made = Dask(tmp_path_factory.mktemp("dask"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def searched(store, etl):
    """The search in processes of this machine."""
    return store.step("hpo", dataset=etl.id, model="lightgbm")


def same_trials(one, other) -> bool:
    names = [f"tabular.digest.{what}" for what in ("trials", "params", "cross_validation")]
    return [one.tags[name] for name in names] == [other.tags[name] for name in names]


def far(dask: Dask, **about: object) -> dict[str, object]:
    """The parameters of a search at a cluster."""
    return {"model": "lightgbm", "engine": "dask", "engine_address": dask.address, "resume": "false", **about}


def when_trials_have_ended(monkeypatch, trials: int, do) -> None:
    """Do something in the middle of a search."""
    log, ended = trial_runs.log, []

    def logged(*arguments):
        ended.append(arguments)
        if len(ended) == trials:
            do()
        return log(*arguments)

    monkeypatch.setattr(trial_runs, "log", logged)


def test_trials_are_the_same_wherever_they_are_evaluated(store, etl, searched, dask):
    ended = store.step("hpo", dataset=etl.id, **far(dask))
    assert ended.status == 0, ended.stderr
    assert same_trials(ended, searched)
    assert ended.tags["tabular.key"] == searched.tags["tabular.key"]


def test_a_worker_that_the_scheduler_has_lost_when_it_is_sent_work_costs_no_trial(
    store, etl, searched, dask, monkeypatch
):
    from distributed import Client

    scatter, lost = Client._scatter, []

    async def scattered(self, data, workers=None, **more):
        if not lost:
            lost.extend(workers)
            raise KeyError(workers[0])  # as the scheduler does
        return await scatter(self, data, workers=workers, **more)

    monkeypatch.setattr(Client, "_scatter", scattered)
    ended = store.step("hpo", dataset=etl.id, **far(dask))
    assert lost
    assert ended.status == 0, ended.stderr
    assert same_trials(ended, searched)


def test_a_worker_that_is_killed_costs_no_trial(store, etl, searched, dask, monkeypatch):
    when_trials_have_ended(monkeypatch, 2, dask.kill)
    ended = store.step("hpo", dataset=etl.id, **far(dask))
    dask.begin(1)
    assert ended.status == 0, ended.stderr
    assert same_trials(ended, searched)


def test_a_worker_of_another_source_is_refused_by_the_name_of_the_file(store, etl, dask, tmp_path):
    for name in ("steps", "tabular"):
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for lock in PROJECT.glob("requirements*.txt"):
        shutil.copy(lock, tmp_path)
    with (tmp_path / "tabular" / "data" / "folds.py").open("a") as module:
        module.write("\n\nEDITED = True\n")
    dask.begin(1, project=tmp_path)
    until = time.monotonic() + MOST_SECONDS
    try:
        with cluster.connected(dask.address, "hpo", []) as found:
            while (len(found.unfit), len(found.threads)) != (1, 2) and time.monotonic() < until:
                time.sleep(0.1)
            assert list(found.unfit.values()) == ["tabular/data/folds.py"]
            assert len(found.threads) == 2
        ended = store.step("hpo", dataset=etl.id, **far(dask))
    finally:
        dask.kill(-1)
    assert ended.status == 1
    (line,) = ended.lines
    assert "is not as this machine: tabular/data/folds.py; give it the same commit" in line


@pytest.fixture(scope="module")
def alone(store, etl):
    """The model as one process learns it."""
    return store.step("train", dataset=etl.id, model="lightgbm")


@pytest.fixture(scope="module")
def shared(store, etl, dask):
    """The model as two ranks learn it at the cluster."""
    ended = store.step("train", dataset=etl.id, model="lightgbm", engine_ranks=2, **at(dask))
    assert ended.status == 0, ended.stderr
    return ended


def at(dask: Dask) -> dict[str, object]:
    return {"engine": "dask", "engine_address": dask.address}


def test_a_model_of_two_ranks_is_the_same_at_other_workers(store, etl, shared):
    """Without an address they are processes of this machine, which `engine_ranks` starts by itself."""
    again = store.step("train", dataset=etl.id, model="lightgbm", engine_ranks=2)
    assert again.status == 0, again.stderr
    assert again.tags["tabular.digest.model"] == shared.tags["tabular.digest.model"]
    assert again.tags["tabular.key"] == shared.tags["tabular.key"]


def test_a_model_of_two_ranks_is_another_one_by_its_key_and_says_so(alone, shared):
    assert shared.tags["tabular.digest.model"] != alone.tags["tabular.digest.model"]
    assert shared.tags["tabular.key"] != alone.tags["tabular.key"]
    assert (shared.tags["tabular.ranks"], "tabular.ranks" in alone.tags) == ("2", False)
    assert shared.tags["tabular.summary"].endswith("learnt by 2 ranks")


def test_a_model_of_two_ranks_is_judged_as_any_other_and_is_as_good(store, etl, alone, shared, undrawn):
    scores = []
    for ended in (alone, shared):
        evaluated = store.step("evaluate", dataset=etl.id, models=ended.id)
        assert evaluated.status == 0, evaluated.stderr
        scores.append(evaluated.run.data.metrics["roc_auc"])
    assert scores[0] == pytest.approx(scores[1], abs=0.02)  # 180 rows; docs/scale.md has the bookings
    assert min(scores) > 0.8


def ranks(dask: Dask) -> list[psutil.Process]:
    """The processes of ranks at work below the workers."""
    below = [child for one in dask.workers for child in psutil.Process(one.pid).children()]
    return [process for process in below if "tabular.model.rank" in process.cmdline()]


def when_ranks_learn(dask: Dask, do) -> threading.Thread:
    """Do something once two ranks are there."""

    def watch() -> None:
        until = time.monotonic() + MOST_SECONDS
        while len(ranks(dask)) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        do()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_a_fit_begins_anew_where_the_worker_of_a_rank_is_killed(store, etl, shared, dask):
    def kill() -> None:
        dask.kill()
        dask.begin(1)

    thread = when_ranks_learn(dask, kill)
    ended = store.step("train", dataset=etl.id, model="lightgbm", engine_ranks=2, **at(dask))
    thread.join()
    assert ended.status == 0, ended.stderr
    assert ended.tags["tabular.digest.model"] == shared.tags["tabular.digest.model"]
    assert ranks(dask) == []


@pytest.mark.long
def test_a_fit_whose_ranks_stand_still_ends_with_one_line_and_leaves_none(store, etl, dask, monkeypatch):
    monkeypatch.setattr(cluster, "STALLED_SECONDS", 2.0)
    monkeypatch.setattr(cluster, "MOST_LOST", 1)

    def stop() -> None:
        ranks(dask)[0].suspend()

    thread = when_ranks_learn(dask, stop)
    ended = store.step("train", dataset=etl.id, model="lightgbm", engine_ranks=2, **at(dask))
    thread.join()
    assert ended.status == 1
    (line,) = ended.lines
    assert line.endswith("the ranks of a fit have been lost 1 times; the last time none of them did anything for 2 s")
    until = time.monotonic() + MOST_SECONDS
    while ranks(dask) and time.monotonic() < until:
        time.sleep(0.1)
    assert ranks(dask) == []


def test_too_few_workers_for_the_ranks_are_told_in_one_line(store, etl, dask, monkeypatch):
    monkeypatch.setattr(cluster, "LOST_SECONDS", 1.0)
    ended = store.step("train", dataset=etl.id, model="lightgbm", engine_ranks=3, **at(dask))
    assert ended.status == 1
    (line,) = ended.lines
    assert f"3 ranks need as many workers, and the cluster at {dask.address} has 2: start more" in line


def test_what_a_rank_refuses_is_told_as_the_candidates_fault(store, etl, dask, tmp_path):
    text = Path(json.loads(etl.tags["tabular.arguments"])["problem"]).read_text()
    (tmp_path / "far.yaml").write_text(text.replace("min_child_samples: 5", "min_child_samples: 5, objective: nothing"))
    about = {"problem": str(tmp_path / "far.yaml"), "dataset": etl.id, "model": "lightgbm", "engine_ranks": 2}
    ended = store.step("train", **about, **at(dask))
    assert ended.status == 1
    assert "models.lightgbm: lightgbm.LGBMClassifier refuses to fit" in ended.lines[0]


# --- the parts of a table ---------------------------------------------------------------------------------------------


def in_parts(rows: int = 600) -> list[pd.DataFrame]:
    """A table in parts: numbers, towns, dates, and cells that are not as they should be in a later part."""
    random = np.random.default_rng(8)
    table = pd.DataFrame({"Unnamed: 0": range(rows), "x": random.normal(size=rows).round(3)})
    table["town"] = random.choice(["Lisboa", " Porto", "NA", "Faro"], rows)
    table["since"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 400, rows), "D")
    table["price"] = [str(number) for number in random.integers(0, 50, rows)]
    table.loc[rows - 30 :, "price"] = ["< 5", "7", "unknown"] * 10
    table["y"] = ((table["x"] + (table["town"] == "Faro")) > 0.3).astype(int)
    return [table[:10], table[10:350], table[350:351], table[351:]]


def write_parts(folder: Path, form: str) -> Path:
    for place, part in enumerate(in_parts()):
        path = folder / f"half={place // 2}" / f"part-{place}.{form}"
        path.parent.mkdir(parents=True, exist_ok=True)
        part.to_csv(path, index=False) if form == "csv" else part.to_parquet(path, index=False)
    (folder / "_SUCCESS").touch()
    return folder


def left(store, ended) -> dict[str, object]:
    """What etl leaves of a table: all digests, parameters, notes and tables."""
    assert ended.status == 0, ended.stderr
    tags = {name: value for name, value in ended.tags.items() if name.startswith("tabular.d")}
    texts = {name: store.artifact(ended.run, name).read_text() for name in ("profile.json", "hints.json")}
    note, params = ended.tags["mlflow.note.content"], ended.run.data.params
    return {**tags, **texts, "note": note, "key": ended.tags["tabular.key"], **params}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A folder of CSV parts."""
    return write_parts(tmp_path_factory.mktemp("texts") / "parts", "csv")


@pytest.fixture(scope="module")
def here(store, parts):
    """What etl leaves that reads them on this machine."""
    return left(store, store.step("etl", data=str(parts), target="y"))


def test_parts_are_the_same_data_set_where_workers_read_them(store, dask, parts, here):
    there = store.step("etl", data=str(parts), target="y", **at(dask))
    assert left(store, there) == here
    assert "etl: 4 parts are read at 2 workers" in there.stdout


def test_parts_with_types_are_the_same_data_set_at_workers_of_this_machine_alone(store, tmp_path):
    asked = {"data": str(write_parts(tmp_path / "parts", "parquet")), "target": "y"}
    there = store.step("etl", **asked, engine="dask")
    assert left(store, there) == left(store, store.step("etl", **asked))
    assert "etl: 4 parts are read at" in there.stdout


def process(dask: Dask, address: str) -> int:
    """The place among the workers of the one at an address."""
    ports = [{c.laddr.port for c in psutil.Process(one.pid).net_connections()} for one in dask.workers]
    return next(place for place, held in enumerate(ports) if int(address.rpartition(":")[2]) in held)


def test_a_part_whose_worker_is_killed_is_read_again_at_another(store, dask, parts, here, monkeypatch):
    bring, killed = part_readers.PartReaders._bring, []

    def brought(self, answers, to):
        if not killed and len(answers) == 2 and len(self._cluster.threads) == 2:
            killed.append(answers[0].worker)
            dask.kill(process(dask, answers[0].worker))
        return bring(self, answers, to)

    monkeypatch.setattr(part_readers, "CALLS_OF_WORKER", 1)  # so that a call is of two parts
    monkeypatch.setattr(part_readers, "PIECE", 1_000)
    monkeypatch.setattr(part_readers, "PIECE_SECONDS", 1.0)
    monkeypatch.setattr(part_readers.PartReaders, "_bring", brought)
    found = left(store, store.step("etl", data=str(parts), target="y", task="classification", **at(dask)))
    dask.begin(1)
    assert len(killed) == 1
    assert found == here


def test_a_worker_that_does_not_see_the_folder_is_named_with_the_path(store, dask, parts, tmp_path, monkeypatch):
    folder = shutil.copytree(parts, tmp_path / "parts")

    def then_gone(self, file):
        shutil.rmtree(folder, ignore_errors=True)
        return (parts / file.relative_to(folder)).stat().st_size

    monkeypatch.setattr(part_readers.PartReaders, "_size", then_gone)
    ended = store.step("etl", data=str(folder), target="y", task="classification", **at(dask))
    assert ended.status == 1
    (line,) = ended.lines
    assert f"cannot read {folder}/half=0/part-0.csv (No such file or directory): mount the folder there" in line
    assert any(f"engine: the Dask worker {address} cannot" in line for address in addresses(dask))


def test_a_part_that_changes_while_workers_read_it_is_told(store, dask, parts, tmp_path, monkeypatch):
    folder = shutil.copytree(parts, tmp_path / "parts")
    changed, kept = folder / "half=1" / "part-3.csv", part_readers.PartReaders.kept

    def then_changed(self, look, files, spill):
        changed.write_text(changed.read_text().replace("unknown", "unheard"))
        return kept(self, look, files, spill)

    monkeypatch.setattr(part_readers.PartReaders, "kept", then_changed)
    ended = store.step("etl", data=str(folder), target="y", task="classification", **at(dask))
    assert (ended.status, ended.lines) == (1, [f"tabular: {changed}: changed while it was being read; start again"])


def addresses(dask: Dask) -> list[str]:
    with cluster.connected(dask.address, "etl", []) as found:
        return list(found.threads)


def test_a_table_of_one_file_is_read_here_which_is_said(store, dask, etl):
    problem = json.loads(etl.tags["tabular.arguments"])["problem"]
    ended = store.step("etl", problem=problem, engine="dask")
    assert "etl: the table is read on this machine: it is not several files on a path or in a store" in ended.stdout
    assert ended.tags["tabular.key"] == etl.tags["tabular.key"]


@pytest.fixture(scope="module")
def bucket(store, parts, tmp_path_factory):
    """The parts in an object store, of which steps and the workers of a cluster of their own know."""
    folder, keys = tmp_path_factory.mktemp("bucket"), {"access_key": "ann", "secret_key": "hush"}
    with servers.s3(folder) as endpoint, pytest.MonkeyPatch.context() as patch:
        system = fs.S3FileSystem(endpoint_override=endpoint, allow_bucket_creation=True, region="us-east-1", **keys)
        for name in ("whole", "uneven", "pinned", "gone"):
            system.create_dir(f"tables/{name}")
            fs.copy_files(str(parts), f"tables/{name}", fs.LocalFileSystem(), system)
        with system.open_output_stream("tables/uneven/half=1/part-2.csv") as file:
            file.write((parts / "half=1" / "part-2.csv").read_bytes() + b"1,2\n")
        told = {"ACCESS_KEY_ID": "ann", "SECRET_ACCESS_KEY": "hush", "REGION": "us-east-1", "ENDPOINT_URL": endpoint}
        environment = {f"AWS_{name}": value for name, value in told.items()}
        for name, value in environment.items():
            patch.setitem(store.environment, name, value)
        made = Dask(folder, **environment)
        made.objects = system
        yield made
        made.close()


def test_parts_in_an_object_store_are_fetched_by_the_workers(store, bucket, monkeypatch):
    asked = {"data": "s3://tables/whole/", "target": "y"}
    expected = left(store, store.step("etl", **asked))
    monkeypatch.setattr(stores, "copy", None)  # nothing is fetched to this machine
    assert left(store, store.step("etl", **asked, **at(bucket))) == expected


def test_workers_find_the_digest_of_a_store_for_main_and_its_parts_stay_those_of_then(
    store, bucket, tmp_path, monkeypatch
):
    for name in [name for name in store.environment if name.startswith("AWS_")]:
        monkeypatch.setenv(name, store.environment[name])
    main = SimpleNamespace(name="main", arguments=at(bucket), folder=tmp_path)
    monkeypatch.setattr(paths, "cache", lambda: tmp_path / "cache")
    where = Source("s3://tables/pinned/")
    expected = fetching.fetch(SimpleNamespace(name="main", arguments={}, folder=tmp_path / "here"), where).digest
    monkeypatch.setattr(stores, "copy", None)
    assert fetching.pin(main, where) == expected
    with bucket.objects.open_output_stream("tables/pinned/half=1/part-8.csv") as file:
        file.write(b"x")
    with fetching.opened(main, where, expected) as (found, _):
        assert (found.digest, len(found.place.names)) == (expected, 4)
        assert found.others == ("_SUCCESS", "half=1/part-8.csv")


def test_an_error_in_a_part_that_a_worker_has_fetched_is_told_as_here(store, bucket, monkeypatch):
    monkeypatch.setattr(part_readers, "CALLS_OF_WORKER", 1)  # so that a call is of two parts
    asked = {"data": "s3://tables/uneven/half=*/*.csv", "target": "y", "task": "classification"}
    (line,), (expected,) = (store.step("etl", **asked, **about).lines for about in (at(bucket), {}))
    assert line.partition("/fetched/")[2] == expected.partition("/fetched/")[2] != ""
    assert "half=1/part-2.csv: line 3 has 2 fields where 6 are expected" in line


def test_a_worker_that_cannot_have_a_part_from_the_store_is_named(store, bucket, monkeypatch):
    apart = sources.apart

    def then_deleted(source, **about):
        found = apart(source, **about)
        bucket.objects.delete_file("tables/gone/half=0/part-1.csv")
        return found

    monkeypatch.setattr(sources, "apart", then_deleted)
    ended = store.step("etl", data="s3://tables/gone/", target="y", task="classification", **at(bucket))
    (line,) = ended.lines
    said = [
        f"engine: the Dask worker {address}: s3://tables/gone/: nothing lies there" for address in addresses(bucket)
    ]
    assert sum(one in line for one in said) == 1


# --- the end of the cluster, after which it has no workers -----------------------------------------------------------


def test_a_search_whose_workers_are_all_gone_ends_with_one_line(store, etl, dask, monkeypatch):
    monkeypatch.setattr(cluster, "LOST_SECONDS", 1.0)
    when_trials_have_ended(monkeypatch, 2, lambda: [dask.kill(), dask.kill()])
    ended = store.step("hpo", dataset=etl.id, **far(dask))
    assert ended.status == 1
    assert len(ended.lines) == 1
    assert f"the cluster at {dask.address} has lost all of its workers: start them again" in ended.lines[0]


@pytest.mark.long
def test_a_search_whose_scheduler_is_gone_ends_with_one_line(store, etl, dask, monkeypatch):
    monkeypatch.setattr(cluster, "LOST_SECONDS", 1.0)
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1.0)
    dask.begin(2)
    when_trials_have_ended(monkeypatch, 2, lambda: (dask.scheduler.kill(), dask.scheduler.wait()))
    ended = store.step("hpo", dataset=etl.id, **far(dask))
    assert ended.status == 1
    (line,) = ended.lines
    assert f"the Dask scheduler at {dask.address} does not answer any more: start it again" in line


def test_a_cluster_that_speaks_tls_takes_who_has_a_certificate_and_no_one_else(tmp_path, monkeypatch):
    import dask as library

    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 5.0)
    ours, others = authority(tmp_path / "ours"), authority(tmp_path / "others")
    made = Dask(tmp_path, scheme="tls", workers=1, **as_environment(ours))
    try:
        assert made.address.startswith("tls://")
        with library.config.set(as_config(ours)), cluster.connected(made.address, "etl", []) as found:
            assert found.submit(operator.add, 20, 22).result(MOST_SECONDS) == 42
        refused = f"no Dask scheduler answers at {made.address}"
        with library.config.set(as_config(others)), pytest.raises(UserError, match=refused):
            cluster.connected(made.address, "etl", []).__enter__()
        with pytest.raises(UserError, match="TLS"):
            cluster.connected(made.address, "etl", []).__enter__()
    finally:
        made.close()


ROLES = ("scheduler", "worker", "client")


def as_config(files: dict[str, Path]) -> dict[str, str]:
    """Dask's configuration of certificates, as docs/scale.md has it."""
    own = {f"{role}.{what}": str(files[what]) for role in ROLES for what in ("cert", "key")}
    return {f"distributed.comm.tls.{name}": value for name, value in {"ca-file": str(files["ca"]), **own}.items()}


def as_environment(files: dict[str, Path]) -> dict[str, str]:
    """The same as variables of the environment."""
    return {
        f"DASK_{name.upper().replace('.', '__').replace('-', '_')}": text for name, text in as_config(files).items()
    }
