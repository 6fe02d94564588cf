"""A running step: its arguments, its run, and what it logs and writes as artifacts."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS

from steps.process import lifecycle
from steps.run import run_name
from steps.run.tags import NOTE, RUN_NAME, SUMMARY
from tabular import addresses

MOST_A_BATCH = 100


@dataclass(frozen=True)
class Step:
    """A running step: its arguments, its run, and a temporary folder of its own, removed when the step ends."""

    name: str
    arguments: Mapping[str, str]
    run_id: str
    experiment_id: str
    folder: Path
    client: MlflowClient
    # the run's tags as the step found them, and those that it has logged: the store is not asked for them again
    tags: dict[str, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)  # the names that the step has given its run
    tables: list[str] = field(default_factory=list)  # the artifacts that MLflow's UI is to show as tables
    # import path of an estimator: its `source_digest.of_estimator`, taken before the estimator was loaded
    estimators: dict[str, Mapping[str, str]] = field(default_factory=dict)

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
    ) -> None:
        """Log parameters, metrics and tags to the step's run."""
        self.tags.update({name: str(value) for name, value in (tags or {}).items()})
        log(self.client, self.run_id, params=params, metrics=metrics, tags=tags)

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
        run = self.client.get_run(self.run_id)
        if run.info.run_name in self.names or not run_name.is_given(self.client, run):
            self.names.append(title[:250])
            # MLflow writes the run's status again along with its name: one that says KILLED meanwhile must stay
            with lifecycle.uninterrupted():
                self.log(tags={RUN_NAME: title[:250]})

    def finish(self, title: str, summary: str, note: str) -> None:
        """Give the run its name, its summary (the line that main prints) and its note, which says what the step did."""
        self.name_run(title)
        self.log(tags={SUMMARY: summary, NOTE: note})

    def upload_artifacts(self) -> None:
        """Upload all files in `artifacts` to the run."""
        mlflow.log_artifacts(str(self.artifacts))
        tables = [{"path": name, "type": "table"} for name in self.tables]
        self.log(tags={MLFLOW_LOGGED_ARTIFACTS: json.dumps(tables)} if tables else {})


def describe(params: Mapping[str, Any]) -> str:
    """Hyperparameters as a run's name shows them: `num_leaves=63 learning_rate=0.05`."""
    return " ".join(f"{name}={_short(value)}" for name, value in params.items())


def _plain(value: Any) -> Any:
    """A numpy scalar as a value that JSON can hold."""
    return _finite(value.item())


def _finite(value: Any) -> Any:
    """A value as JSON can hold it: NaN and infinite numbers become None."""
    return None if isinstance(value, float) and not -float("inf") < value < float("inf") else value


def log(
    client: MlflowClient,
    run_id: str,
    *,
    params: Mapping[str, object] | None = None,
    metrics: Mapping[str, float] | None = None,
    tags: Mapping[str, object] | None = None,
) -> None:
    """Log parameters, metrics and tags to a run, in batches of as many of each as a tracking server accepts.

    Credentials in addresses are left out: a run is read by more people than know them.
    """
    now = mlflow.utils.time.get_current_time_millis()
    pending = [Param(name, addresses.without_credentials(str(value))) for name, value in (params or {}).items()]
    measured = [Metric(name, float(value), now, 0) for name, value in (metrics or {}).items()]
    tagged = [RunTag(name, addresses.without_credentials(str(value))) for name, value in (tags or {}).items()]
    for start in range(0, max(len(pending), len(measured), len(tagged)), MOST_A_BATCH):
        part = slice(start, start + MOST_A_BATCH)
        client.log_batch(run_id, metrics=measured[part], params=pending[part], tags=tagged[part])


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
