"""How long a chain takes on a team's server, over the same chain on a database of the machine.

    python benchmarks/server.py [--rounds 3] [--problem iris]

The server is that of deploy/: PostgreSQL, an object store and MLflow's accounts with their stock hash, all on this
machine, whose cores they share with the chain; an ordinary account asks it. Both run in turn, each round in experiments
and with registered models of its own, so that nothing is reused. It compares the metrics of the two bit by bit.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import yaml
from mlflow import MlflowClient
from mlflow.server import get_app_client
from typed import PROJECT, command, environment, store, tell, words

from steps.run.tags import lasting
from tests import servers

ACCOUNT = "ann"


def main() -> None:
    """Time both in turn, compare their metrics, and print the ratio of their best rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--problem", default="iris")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)  # PostgreSQL runs as another user
        with servers.team(folder) as address:
            login(address)
            places = {"database": store(folder), "server": address}
            seconds: dict[str, list[float]] = {name: [] for name in places}
            for number in range(options.rounds + 1):
                found = {name: chain(folder, uri, options.problem, f"{name}_{number}") for name, uri in places.items()}
                if found["database"][1] != found["server"][1]:
                    sys.exit(f"the metrics differ: {found}")
                for name, (took, metrics) in found.items():
                    if number:  # the first fills the caches
                        seconds[name].append(took)
                    print(f"{name:8} {took:6.2f} s, {len(metrics)} metrics are the same", flush=True)
    tell(seconds, "server", "database", "a team's server over a database")


def login(address: str) -> None:
    """Make the account, and be it from now on."""
    os.environ |= {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": servers.PASSWORD}
    get_app_client("basic-auth", tracking_uri=address).create_user(ACCOUNT, servers.PASSWORD)
    os.environ["MLFLOW_TRACKING_USERNAME"] = ACCOUNT


def chain(folder: Path, uri: str, problem: str, name: str) -> tuple[float, dict[str, float]]:
    """The seconds of a chain, by the clock, and its metrics but for what it took."""
    told = yaml.safe_load((PROJECT / "problems" / f"{problem}.yaml").read_text(encoding="utf-8"))
    told["registry"] = {**told.get("registry", {}), "name": name}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(told), encoding="utf-8")
    typed = command(PROJECT, "--experiment-name", name, *words(problem=path))
    variables = {**environment(folder), "MLFLOW_TRACKING_URI": uri}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    started = time.perf_counter()
    done = subprocess.run(typed, cwd=folder, env=variables, check=False, **pipes)
    took = time.perf_counter() - started
    run = re.search(r"run ([0-9a-f]{32}) in the experiment", done.stdout)
    if done.returncode or run is None:
        sys.exit(f"{' '.join(typed)} failed:\n{done.stdout}")
    metrics = MlflowClient(uri, uri).get_run(run[1]).data.metrics
    return took, lasting(metrics)


if __name__ == "__main__":
    main()
