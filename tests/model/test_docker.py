"""Models in containers, built in both ways that docs/serving.md has: they answer, they refuse, and they fail aloud."""

import contextlib
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import made
import pandas as pd
import pytest
from mlflow import pyfunc
from servers import Server, split

PROJECT = Path(__file__).resolve().parents[2]
WAYS = ("mlflow", "serving/Dockerfile")
HALF = {"coverage": 0.5}


def docker(*words: str) -> str:
    """What a command of docker's prints; an error with what it complains of where it fails."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {' '.join(words)}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout.strip()


def why_not() -> str:
    """Why no image can be built here; "" where one can."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    asked = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)
    if asked.returncode:
        return f"no engine answers: {asked.stderr.strip().splitlines()[-1]}"
    base = f"python:{'.'.join(map(str, sys.version_info[:3]))}-slim"
    if subprocess.run(["docker", "image", "inspect", base], capture_output=True, check=False).returncode:
        pulled = subprocess.run(["docker", "pull", "-q", base], capture_output=True, text=True, check=False)
        if pulled.returncode:
            return f"the image {base} is not there: {pulled.stderr.strip()}"
    return ""


@pytest.fixture(scope="module")
def engine() -> None:
    """What can build an image."""
    reason = why_not()
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def images(engine: None, shelf: dict, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """LightGBM of two classes as an image, by the way in which it was built; they are gone afterwards."""
    uri, name = shelf["lightgbm", 2].uri, f"tabular-test-{uuid.uuid4().hex[:8]}"
    found = dict(zip(WAYS, (f"{name}:mlflow", f"{name}:ours"), strict=True))
    context = tmp_path_factory.mktemp("image")
    mlflow = [sys.executable, "-m", "mlflow", "models"]
    local = ["-m", uri, "--env-manager", "local"]
    try:
        subprocess.run([*mlflow, "build-docker", *local, "-n", found["mlflow"]], check=True, capture_output=True)
        subprocess.run([*mlflow, "generate-dockerfile", *local, "-d", context], check=True, capture_output=True)
        python = f"PYTHON={'.'.join(map(str, sys.version_info[:3]))}"
        file = str(PROJECT / "serving" / "Dockerfile")
        for beside in ("serving/serve.py", "serving/server.py", "requirements-serving.txt", "tabular/provenance.py"):
            shutil.copy(PROJECT / beside, context)
        docker("build", "-q", "-t", found["serving/Dockerfile"], "--build-arg", python, "-f", file, str(context))
        yield found
    finally:
        subprocess.run(["docker", "rmi", "-f", *found.values()], capture_output=True, check=False)


@pytest.fixture(scope="module", params=WAYS)
def contained(images: dict[str, str], request: pytest.FixtureRequest) -> Iterator[tuple[str, Server]]:
    """A container of each image, and the server in it."""
    with running(images[request.param]) as found:
        yield found


@contextlib.contextmanager
def running(image: str) -> Iterator[tuple[str, Server]]:
    """A container of an image, and the server in it."""
    container = docker("run", "-d", "-p", "127.0.0.1::8080", image)
    try:
        server = Server(int(docker("port", container, "8080").rpartition(":")[2]))
        end = time.monotonic() + 120
        while not server.up():
            running = docker("inspect", "-f", "{{.State.Running}}", container)
            assert running == "true" and time.monotonic() < end, docker("logs", container)
            time.sleep(0.5)
        yield container, server
    finally:
        docker("rm", "-f", container)


@pytest.mark.slow
def test_a_container_answers_a_thousand_rows_as_the_model_does(contained: tuple[str, Server], shelf: dict) -> None:
    one = shelf["lightgbm", 2]
    rows = pd.concat([one.data.frame] * 6, ignore_index=True).head(1000)
    assert len(rows) == 1000
    status, answers = contained[1].frame(rows)
    assert status == 200, answers
    pd.testing.assert_frame_equal(pd.DataFrame(answers), one.loaded.predict(rows), check_exact=True, check_dtype=False)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "value"), [("amount", "much"), ("town", 3), ("member", "maybe"), ("since", "soon")])
def test_a_container_refuses_a_wrong_value_by_its_column(
    name: str, value: Any, contained: tuple[str, Server], shelf: dict
) -> None:
    row = {"amount": 50.5, "visits": 3, "agent": 14, "town": "Porto", "member": True, "since": "2021-03-04"}
    status, message = contained[1].records({**row, name: value})
    assert (status, name in message) == (400, True), message


@pytest.mark.slow
def test_a_container_answers_numbers_with_their_intervals_as_the_model_does(
    engine: None, tracking: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A ridge whose intervals are scaled by LightGBM: the image has to bring what LightGBM needs for these alone."""
    data = made.prepare(made.table_of_numbers(), tmp_path_factory.mktemp("numbers"), task="regression")
    fitted = made.ridge(data)
    about = {"intervals": made.intervals_of(fitted, data, 0.9), "coverage": 0.9}
    uri = made.log(fitted, data, tmp_path_factory.mktemp("ridge") / "parts", **about).model_uri
    image = f"tabular-test-{uuid.uuid4().hex[:8]}:numbers"
    build = [sys.executable, "-m", "mlflow", "models", "build-docker", "-m", uri, "--env-manager", "local", "-n", image]
    try:
        subprocess.run(build, check=True, capture_output=True)
        with running(image) as (_, server):
            status, answers = server.frame(data.frame)
            halves = server.ask({**split(data.frame), "params": HALF})
    finally:
        subprocess.run(["docker", "rmi", "-f", image], capture_output=True, check=False)
    loaded = pyfunc.load_model(uri)
    assert (status, halves[0]) == (200, 200), (answers, halves[1])
    for found, expected in ((answers, loaded.predict(data.frame)), (halves[1], loaded.predict(data.frame, HALF))):
        pd.testing.assert_frame_equal(pd.DataFrame(found), expected, check_exact=True)


@pytest.mark.slow
def test_our_image_has_half_the_weight_of_mlflows(images: dict[str, str]) -> None:
    base = weight(f"python:{'.'.join(map(str, sys.version_info[:3]))}-slim")
    added = {way: weight(image) - base for way, image in images.items()}
    assert added["serving/Dockerfile"] < 0.5 * added["mlflow"]


def weight(image: str) -> int:
    """Bytes."""
    return int(docker("image", "inspect", "-f", "{{.Size}}", image))


@pytest.mark.slow
def test_our_container_that_cannot_serve_ends_with_a_failure(images: dict[str, str]) -> None:
    image = images["serving/Dockerfile"]
    command = ["docker", "run", "--rm", "-e", "__pyfunc_model_path__=/opt/ml/nothing", image]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0, done.stderr
    assert "nothing" in done.stderr


@pytest.mark.slow
def test_our_container_says_that_it_is_healthy_and_ends_when_it_is_told_to(images: dict[str, str]) -> None:
    container = docker("run", "-d", images["serving/Dockerfile"])
    try:
        end = time.monotonic() + 120
        while docker("inspect", "-f", "{{.State.Health.Status}}", container) != "healthy":
            assert time.monotonic() < end, docker("logs", container)
            time.sleep(0.5)
        started = time.monotonic()
        docker("stop", "-t", "60", container)
        assert time.monotonic() - started < 30
        assert docker("inspect", "-f", "{{.State.ExitCode}}", container) == "0"
    finally:
        docker("rm", "-f", container)
