"""What deploy/dask/ starts is what docs/scale.md and a chain's check of its workers need."""

import re
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
DEPLOY = PROJECT / "deploy" / "dask"
PAGE = (PROJECT / "docs" / "scale.md").read_text(encoding="utf-8")
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def kubernetes() -> dict[str, dict]:
    """The manifests by kind and name."""
    made = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))
    return {f"{one['kind']} {one['metadata']['name']}": one for one in made}


def container(name: str) -> dict:
    (found,) = kubernetes()[f"Deployment tabular-dask-{name}"]["spec"]["template"]["spec"]["containers"]
    return found


def test_the_image_has_the_python_the_locks_and_the_source_that_workers_are_held_against() -> None:
    python = yaml.safe_load((PROJECT / "python_env.yaml").read_text(encoding="utf-8"))["python"]
    assert f"FROM python:{python}-slim" in DOCKERFILE
    assert "--require-hashes -r requirements.txt -r requirements-dask.txt" in DOCKERFILE
    for name in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE):
        assert all((PROJECT / one).exists() for one in name.split())
    assert {"COPY steps steps", "COPY tabular tabular"} <= set(DOCKERFILE.splitlines())


def test_the_image_finds_its_certificates_by_the_variables_that_dask_reads() -> None:
    config = pytest.importorskip("dask.config", reason="requirements-dask.txt is not installed here")
    environment = dict(re.findall(r"(DASK_\w+)=(\S+)", DOCKERFILE))
    found = config.collect_env(environment)["distributed"]
    assert found["comm"]["tls"]["ca-file" if "ca-file" in found["comm"]["tls"] else "ca_file"] == "/certificates/ca.pem"
    assert {*found["comm"]["tls"]} - {"ca-file", "ca_file"} == {"scheduler", "worker", "client"}
    assert found["worker"]["memory"] == {"target": False, "spill": False, "pause": False}


def test_workers_of_the_manifests_find_the_scheduler_of_the_manifests() -> None:
    made = kubernetes()
    service, scheduler = made["Service tabular-dask"]["spec"], made["Deployment tabular-dask-scheduler"]["spec"]
    assert service["selector"].items() <= scheduler["template"]["metadata"]["labels"].items()
    assert service["ports"][0]["targetPort"] in {port["name"] for port in container("scheduler")["ports"]}
    assert f"tls://tabular-dask:{service['ports'][0]['port']}" in container("worker")["args"]
    ((selected, *_),) = [made["NetworkPolicy tabular-dask"]["spec"]["podSelector"]["matchLabels"].items()]
    for name in ("scheduler", "worker"):
        assert selected in made[f"Deployment tabular-dask-{name}"]["spec"]["template"]["metadata"]["labels"].items()


def test_compose_and_manifests_start_the_same_worker() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]["worker"]["command"]
    args = container("worker")["args"]
    other = {"tls://scheduler:8786": "tls://tabular-dask:8786", "${THREADS:-2}": "$(THREADS)"}
    assert [other.get(word, word) for word in compose] == args
    assert args[:3] == ["python", "-m", "distributed.cli.dask_worker"]


def test_the_page_says_what_is_in_the_folder() -> None:
    assert "deploy/dask/" in PAGE
    assert {path.name for path in DEPLOY.iterdir()} == {"Dockerfile", "compose.yaml", "kubernetes.yaml"}
