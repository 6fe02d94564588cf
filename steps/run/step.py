"""A running step: its arguments, its run, and what it logs and writes as artifacts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS
from mlflow.utils.time import get_current_time_millis
from mlflow.utils.uri import is_local_uri

from steps.process import lifecycle
from steps.run import artifact_store, kept, run_name, tracking
from steps.run.tags import NOTE, PARENT, RUN_NAME, SUMMARY
from steps.run.terminal import say
from tabular import addresses, digests

# The most parameters, the most tags and the most metrics that a tracking server accepts at once.
MOST_A_BATCH, MOST_METRICS = 100, 800


@dataclass
class Pending:
    """What a step has logged and not sent yet."""

    params: dict[str, str] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def send(self, client: MlflowClient, run_id: str) -> None:
        """Send all to a run, in batches of as many as a tracking server accepts; nothing where nothing is pending.

        Credentials in addresses are left out: a run is read by more people than know them.
        """
        params = [Param(name, addresses.without_credentials(value)) for name, value in self.params.items()]
        tags = [RunTag(name, addresses.without_credentials(value)) for name, value in self.tags.items()]
        batches = max(-(-max(len(params), len(tags)) // MOST_A_BATCH), -(-len(self.metrics) // MOST_METRICS))
        for number in range(batches):
            some = slice(number * MOST_A_BATCH, (number + 1) * MOST_A_BATCH)
            measured = self.metrics[number * MOST_METRICS : (number + 1) * MOST_METRICS]
            client.log_batch(run_id, metrics=measured, params=params[some], tags=tags[some])
        self.params, self.metrics, self.tags = {}, [], {}

    def untie(self) -> bool:
        """Have the metrics be the run's alone and no logged model's; whether there were any that were a model's."""
        are_tied = any(metric.model_id for metric in self.metrics)
        self.metrics = [Metric(metric.key, metric.value, metric.timestamp, metric.step) for metric in self.metrics]
        return are_tied


@dataclass(frozen=True)
class Step:
    """A running step: its arguments, its run, and a temporary folder of its own, removed when the step ends.

    What it logs is sent by `flush`, and when it ends, well or not: each request to a server takes its time.
    """

    name: str
    arguments: Mapping[str, str]
    run_id: str
    experiment_id: str
    folder: Path
    client: MlflowClient
    artifact_uri: str  # where the artifacts of its run lie
    # the run's tags as the step found them, and those that it has logged: the store is not asked for them again
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)  # those that the step has logged
    names: list[str] = field(default_factory=list)  # the names that the step has given its run
    uploaded: dict[str, str] = field(default_factory=dict)  # artifacts that lie in the run already: their digests
    tables: list[str] = field(default_factory=list)  # the artifacts that MLflow's UI is to show as tables
    # import path of an estimator: its `source_digest.of_estimator`, taken before the estimator was loaded
    estimators: dict[str, Mapping[str, str]] = field(default_factory=dict)
    pending: Pending = field(default_factory=Pending)

    @property
    def is_task(self) -> bool:
        """Whether main has started the step, and holds the problem and the source tree for it."""
        return self.name != "main" and PARENT in self.tags

    @property
    def artifacts(self) -> Path:
        """The folder for the step's artifacts, which is uploaded when the step has done its work."""
        place = self.folder / "artifacts"
        place.mkdir(exist_ok=True)
        return place

    def log(
        self,
        *,
        params: Mapping[str, object] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, object] | None = None,
        model_id: str | None = None,
    ) -> None:
        """Log parameters, metrics and tags to the step's run; they are sent with the next `flush`.

        With `model_id` the metrics are those of that logged model as well.
        """
        now = get_current_time_millis()
        told = {name: str(value) for name, value in (tags or {}).items()}
        given = {name: str(value) for name, value in (params or {}).items()}
        self.tags.update(told)
        self.pending.tags.update(told)
        self.params.update(given)
        self.pending.params.update(given)
        self.pending.metrics += [
            Metric(name, float(value), now, 0, model_id=model_id) for name, value in (metrics or {}).items()
        ]

    def measure(self, metrics: Sequence[Metric]) -> None:
        """Log metrics that have steps, or logged models of their own; they are sent with the next `flush`."""
        self.pending.metrics.extend(metrics)

    def flush(self) -> None:
        """Send what was logged; metrics of models that may only be read with this account go to the run alone."""
        # MLflow writes the run's status again along with its name: one that says KILLED meanwhile must stay
        with lifecycle.uninterrupted():
            try:
                self.pending.send(self.client, self.run_id)
            except MlflowException as error:
                if error.error_code != tracking.FORBIDDEN or not self.pending.untie():
                    raise
                say("  note: the metrics are this run's alone: the models may only be read with this account")
                self.pending.send(self.client, self.run_id)

    def text(self, content: str, name: str) -> None:
        """Write a text as an artifact."""
        path = self.artifacts / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")

    def json(self, content: Any, name: str) -> None:
        """Write plain values as a JSON artifact."""
        self.text(json.dumps(content, indent=1, ensure_ascii=False, default=_plain), name)

    def table(self, columns: Mapping[str, list], name: str) -> None:
        """Write a table as an artifact that MLflow's UI shows as a table; `columns` are {name: values}.

        The format is that of `mlflow.log_table`, which imports pandas and asks the store what is there already.
        """
        rows = [[_finite(value) for value in row] for row in zip(*columns.values(), strict=True)]
        self.json({"columns": list(columns), "data": rows}, name)
        self.tables.append(name)

    def name_run(self, title: str) -> None:
        """Give the run a name, unless a person has given it one."""
        if not run_name.is_ours(self.client, self.tags):
            name = self.client.get_run(self.run_id).info.run_name or ""
            if name not in self.names and not run_name.is_generated(name):
                self.pending.tags.pop(RUN_NAME, None)
                return
        self.names.append(title[:250])
        self.log(tags={RUN_NAME: title[:250]})

    def finish(self, title: str, summary: str, note: str) -> None:
        """Give the run its name, its summary (the line that main prints) and its note, which says what the step did."""
        self.name_run(title)
        self.log(tags={SUMMARY: summary, NOTE: note})

    def upload_artifacts(self) -> None:
        """Upload all files in `artifacts` to the run that do not lie there yet, and keep them for the chain."""
        paths = [path for path in self.artifacts.rglob("*") if path.is_file()]
        found = {self._name(path): digests.of_file(path) for path in paths}
        if self.uploaded:
            for name in [name for name, digest in found.items() if self.uploaded.get(name) != digest]:
                folder = name.rpartition("/")[0]
                artifact_store.put(f"{self.artifact_uri}/{folder}".rstrip("/"), self.artifacts / name)
        else:
            artifact_store.put(self.artifact_uri, self.artifacts)
        self.uploaded.update(found)
        if self.tables:
            tables = [{"path": name, "type": "table"} for name in self.tables]
            self.log(tags={MLFLOW_LOGGED_ARTIFACTS: json.dumps(tables)})
        self._keep(paths)

    def upload(self, name: str) -> None:
        """Upload one of the files in `artifacts` to the run now: the run may be killed, or others read the file."""
        path = self.artifacts / name
        artifact_store.put(self.artifact_uri, path)
        self.uploaded[name] = digests.of_file(path)
        self._keep([path])

    def _keep(self, paths: Sequence[Path]) -> None:
        """Keep artifacts for the chain, unless they lie on this machine already."""
        if not is_local_uri(self.artifact_uri):
            for path in paths:
                kept.keep_artifact(self.run_id, self._name(path), path)

    def _name(self, path: Path) -> str:
        """The name of an artifact, by which its run holds it."""
        return path.relative_to(self.artifacts).as_posix()


def describe(params: Mapping[str, Any]) -> str:
    """Hyperparameters as a run's name shows them: `num_leaves=63 learning_rate=0.05`."""
    return " ".join(f"{name}={_short(value)}" for name, value in params.items())


def _plain(value: Any) -> Any:
    """A numpy scalar as a value that JSON can hold."""
    return _finite(value.item())


def _finite(value: Any) -> Any:
    """A value as JSON can hold it: NaN and infinite numbers become None."""
    return None if isinstance(value, float) and not -float("inf") < value < float("inf") else value


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
