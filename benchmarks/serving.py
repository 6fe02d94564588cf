"""How long a served model takes over one of the same signature that answers a constant, and over a plain pipeline.

    python benchmarks/serving.py [--problem hotel_bookings --data hotel_bookings.csv.zip] [--run RUN] [--rounds 20]
                                 [--explain 5] [--blend]

Three models are served by `mlflow models serve -w 1`, and asked in turn over connections that stay open: `constant`,
which answers the same for every row and has the signature of ours; `tabular`, LightGBM as etl and train of this project
leave it; and `plain`, a scikit-learn pipeline of our preprocessing and a LightGBM as large, saved by `mlflow.sklearn`.
--problem is one of problems/, and --data the file of its table, where that lies here. Without --problem the table is a
made one of 30 columns, whose answer is a class, or a number with --numbers. Models of numbers answer with intervals.
--run is a run of train in the store that MLFLOW_TRACKING_URI names, which is served in the place of a model that is
fitted here. Each round asks the constant twice: what the two differ by is the machine's noise. With --explain ours is
asked once more in each round, for so many reasons with each answer. With --blend a fourth is served: the blend of that
LightGBM with a random forest and a linear model, with the weights that the step blend finds.
"""

import argparse
import contextlib
import http.client
import json
import os
import platform
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

import mlflow
import numpy as np
import pandas as pd
import yaml
from mlflow import MlflowClient
from mlflow.models import ModelSignature
from typed import PROJECT, run, words
from typed import store as store_of

from tabular.metrics.lookup import CLASSIFICATION, REGRESSION

# As large as a search makes it; the estimator's own defaults are a fifth of that work.
PARAMS = {"n_estimators": 300, "num_leaves": 63, "learning_rate": 0.05, "subsample_freq": 1, "subsample": 0.8}
ORDER = ("constant", "tabular", "constant again", "plain")
EXPLAINED, BLEND = "with reasons", "blend"
# What the LightGBM is blended with.
OTHERS = {
    CLASSIFICATION: ("sklearn.ensemble.RandomForestClassifier", "sklearn.linear_model.LogisticRegression"),
    REGRESSION: ("sklearn.ensemble.RandomForestRegressor", "sklearn.linear_model.Ridge"),
}
MANY = 1000
# Of one round, for each model.
SINGLES, BATCHES = 40, 4
CONSTANT = """
import mlflow
import pandas as pd

COLUMNS = {columns!r}


class Constant(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        rows = len(model_input)
        return pd.DataFrame({{name: [value] * rows for name, value in COLUMNS.items()}}, index=model_input.index)


mlflow.models.set_model(Constant())
"""


@dataclass(frozen=True)
class Trained:
    """A model that train has left, the rows that it learnt from and those that it did not, with the target."""

    model: Path
    columns: list[dict]
    target: str
    train: pd.DataFrame
    holdout: pd.DataFrame


def main() -> None:
    """Serve the three, ask them in turn, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", default="")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--numbers", action="store_true")
    parser.add_argument("--run", default="")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--explain", type=int, default=0)
    parser.add_argument("--blend", action="store_true")
    options = parser.parse_args()
    if options.blend and options.run:
        parser.error("--blend trains what it blends: leave --run out")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as an error: no server is left behind
    with tempfile.TemporaryDirectory() as made, contextlib.ExitStack() as stack:
        folder = Path(made)
        if not options.run:
            mlflow.set_tracking_uri(store_of(folder))
        run_id, blended = (options.run, "") if options.run else train(described(options, folder), folder, options.blend)
        trained = load(run_id, folder)
        models = {
            "constant": save_constant(trained, folder),
            "tabular": trained.model,
            "plain": save_plain(trained, folder),
        }
        if blended:
            models[BLEND] = Path(mlflow.artifacts.download_artifacts(blended, dst_path=str(folder / BLEND)))
        order = [*ORDER, *([BLEND] if blended else [])]
        servers = {name: stack.enter_context(served(model, folder / f"{name}.log")) for name, model in models.items()}
        servers["constant again"] = servers["constant"]
        for rows, number in ((1, SINGLES), (MANY, BATCHES)):
            requests = dict.fromkeys(order, bodies(trained, rows, number))
            if options.explain:
                servers[EXPLAINED] = servers["tabular"]
                requests[EXPLAINED] = bodies(trained, rows, number, {"explain": options.explain})
            report(rows, measure(servers, requests, options.rounds))
    print(f"\n{os.cpu_count()} cores, {platform.platform()}, mlflow {mlflow.__version__}")


def described(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The problem whose model is served, but for its models."""
    if not options.problem:
        write_table(folder / "made.csv", numbers=options.numbers)
        task = REGRESSION if options.numbers else CLASSIFICATION
        return {"name": "made", "task": task, "data": {"source": "made.csv", "target": "answer"}}
    found = yaml.safe_load((PROJECT / "problems" / f"{options.problem}.yaml").read_text(encoding="utf-8"))
    if options.data is not None:
        found["data"]["source"] = str(options.data.resolve())
    return found


def train(described: dict[str, Any], folder: Path, blended: bool) -> tuple[str, str]:
    """Run etl, and train with LightGBM; gives the run of train, and the model of a blend with others if asked for."""
    problem, task = folder / "problem.yaml", described.get("task", CLASSIFICATION)
    estimator = "lightgbm.LGBMRegressor" if task == REGRESSION else "lightgbm.LGBMClassifier"
    others = {path.rsplit(".", 1)[1].lower(): {"estimator": path} for path in OTHERS[task]} if blended else {}
    models = {"lightgbm": {"estimator": estimator, "params": PARAMS}, **others}
    problem.write_text(yaml.safe_dump({**described, "models": models}), encoding="utf-8")
    dataset = step("etl", folder, problem=problem)
    runs = [step("train", folder, problem=problem, dataset=dataset, model=name) for name in models]
    if not blended:
        return runs[0], ""
    blend = step("blend", folder, problem=problem, dataset=dataset, models=",".join(runs))
    tags = MlflowClient().get_run(blend).data.tags
    print(f"{'':16} {tags['tabular.summary']}")
    if "tabular.model_uri" not in tags:
        sys.exit("there is no blend to serve: name another --problem")
    return runs[0], tags["tabular.model_uri"]


def step(name: str, folder: Path, **parameters: object) -> str:
    """Run a step by hand; gives its run."""
    ended = run(folder, PROJECT, "-e", name, "--experiment-name", "serving", *words(**parameters))
    found = re.search(rf"tabular  {name} (\w+):", ended.output)
    if not found:
        sys.exit(f"{name} says no run:\n{ended.output}")
    print(f"{name:16} {ended.seconds:6.1f} s", flush=True)
    return found[1]


def write_table(path: Path, rows: int = 20_000, *, numbers: bool = False) -> None:
    """20 numbers and 10 categories of 4 to 200 values, of which some are missing; the answer follows a few of them."""
    generator = np.random.default_rng(0)
    columns = {f"number_{n}": generator.normal(size=rows).round(3) for n in range(20)}
    sizes = np.geomspace(4, 200, 10).astype(int)
    categories = {f"category_{n}": generator.integers(0, size, rows) for n, size in enumerate(sizes)}
    score = columns["number_0"] + columns["number_1"] * columns["number_2"] + (categories["category_3"] % 3 == 0)
    texts = {name: np.char.add("value ", values.astype(str)) for name, values in categories.items()}
    frame = pd.DataFrame({**columns, **texts})
    frame = frame.mask(generator.random(frame.shape) < 0.03)
    answer = score + generator.normal(size=rows)
    frame.assign(answer=answer if numbers else (answer > 0.5).astype(int)).to_csv(path, index=False)


def load(run_id: str, folder: Path) -> Trained:
    """What a run of train has left, and the data set of the run of etl that it names."""
    from steps.model import flavor, served
    from steps.run import lookup
    from steps.run.tags import ARGUMENTS

    client = MlflowClient()
    tags = client.get_run(run_id).data.tags
    model = Path(mlflow.artifacts.download_artifacts(tags["tabular.model_uri"], dst_path=str(folder)))
    description = json.loads((model / flavor.PARTS / served.DESCRIPTION).read_text(encoding="utf-8"))
    etl = client.get_run(json.loads(tags[ARGUMENTS])["dataset"])
    schema = lookup.schema(etl, folder)
    parts = {}
    for part in ("train", "holdout"):
        rows = lookup.rows(etl, part, schema, folder)
        parts[part] = rows.frame.assign(**{schema.target: rows.y})
    return Trained(model, description["columns"], schema.target, **parts)


def save_constant(trained: Trained, folder: Path) -> Path:
    """The model that answers the same for each row, in the columns and with the signature of ours."""
    model = mlflow.pyfunc.load_model(str(trained.model))
    answer = model.predict(trained.holdout[[column["name"] for column in trained.columns]].head(1))
    code = folder / "constant.py"
    columns = {name: answer[name].tolist()[0] for name in answer}
    code.write_text(CONSTANT.format(columns=columns), encoding="utf-8")
    about = {"signature": model.metadata.signature, "pip_requirements": ["mlflow"]}
    mlflow.pyfunc.save_model(folder / "constant", python_model=str(code), **about)
    return folder / "constant"


def save_plain(trained: Trained, folder: Path) -> Path:
    """Our preprocessing and a LightGBM as large as one pipeline of scikit-learn's, saved as MLflow's guides do."""
    from lightgbm import LGBMClassifier, LGBMRegressor
    from sklearn.pipeline import make_pipeline

    from steps.model.served import as_features
    from tabular.data.datasets import Column
    from tabular.model.estimators import resolve
    from tabular.model.preprocessors import preprocessor
    from tabular.sections.models import Model

    columns = [Column(**column) for column in trained.columns]
    model = mlflow.pyfunc.load_model(str(trained.model))
    gives_numbers = "prediction" in model.metadata.signature.outputs.input_names()
    kind = LGBMRegressor if gives_numbers else LGBMClassifier
    how = resolve(Model(estimator=f"lightgbm.{kind.__name__}"))
    booster = model.unwrap_python_model().estimator
    size = {name: booster.params[name] for name in ("num_leaves", "learning_rate")}
    estimator = kind(n_estimators=booster.current_iteration(), **size, verbose=-1, random_state=0)
    pipeline = make_pipeline(preprocessor(columns, how), estimator)
    pipeline.fit(as_features(trained.train, trained.columns), trained.train[trained.target])
    mlflow.sklearn.save_model(
        pipeline,
        folder / "plain",
        signature=ModelSignature(model.metadata.signature.inputs),
        pyfunc_predict_fn="predict" if gives_numbers else "predict_proba",
        skops_trusted_types=["collections.OrderedDict", "lightgbm.basic.Booster", f"lightgbm.sklearn.{kind.__name__}"],
        pip_requirements=["mlflow", "scikit-learn", "lightgbm", "skops"],
    )
    return folder / "plain"


@contextlib.contextmanager
def served(model: Path, log: Path) -> Iterator[http.client.HTTPConnection]:
    """A model under `mlflow models serve`, and a connection to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local"]
    command += ["-h", "127.0.0.1", "-p", str(port), "-w", "1"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        while not answers(connection):
            if process.poll() is not None:
                sys.exit(f"{model} is not served:\n{log.read_text(encoding='utf-8')}")
            time.sleep(0.2)
        yield connection
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(connection: http.client.HTTPConnection) -> bool:
    """Whether a server is up."""
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().read() is not None
    except OSError:
        connection.close()
        return False


def bodies(trained: Trained, rows: int, requests: int, params: dict[str, Any] | None = None) -> list[bytes]:
    """Requests of so many rows each that no model has seen."""
    names = [column["name"] for column in trained.columns]
    found = []
    for number in range(requests):
        part = trained.holdout[names].sample(rows, random_state=number, replace=rows > len(trained.holdout))
        split = json.loads(part.to_json(orient="split", index=False, date_format="iso", double_precision=15))
        found.append(json.dumps({"dataframe_split": split, **({"params": params} if params else {})}).encode())
    return found


def measure(
    servers: dict[str, http.client.HTTPConnection], requests: dict[str, list[bytes]], rounds: int
) -> dict[str, list[float]]:
    """Milliseconds of each request, by whom it was sent to; the first round fills the caches and is left out."""
    times: dict[str, list[float]] = {name: [] for name in requests}
    for number in range(rounds + 1):
        for name, asked in requests.items():
            # uvicorn hangs up on who has been silent for some seconds
            servers[name].close()
            ask(servers[name], asked[0])
            taken = [ask(servers[name], body) for body in asked]
            if number:
                times[name] += taken
    return times


def ask(connection: http.client.HTTPConnection, body: bytes) -> float:
    """Milliseconds from the request to the last byte of the answer."""
    started = time.perf_counter()
    connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    taken = 1000 * (time.perf_counter() - started)
    if answer.status != 200:
        sys.exit(f"a request was refused: {content.decode()}")
    return taken


def report(rows: int, times: dict[str, list[float]]) -> None:
    """Print p50 and p95 of each, and the p50 over that of the constant."""
    constant = statistics.median(times["constant"] + times["constant again"])
    print(f"\n{rows} row{'s' if rows > 1 else ''} a request, {len(times['plain'])} requests each")
    for name, taken in times.items():
        p50, p95 = np.percentile(taken, [50, 95])
        print(f"{name:16} p50 {p50:6.2f} ms, p95 {p95:6.2f} ms, p50 over the constant's {p50 / constant:.2f}")


if __name__ == "__main__":
    main()
