"""The bill of materials of an environment: every package that is there, in the form that CycloneDX prescribes."""

import json
from importlib import metadata
from typing import Any

import pytest

from tabular import sbom

PINNED = [f"{name}=={metadata.version(name)}" for name in ("mlflow", "pandas", "scikit-learn")]


def bill(requirements: list[str]) -> dict[str, Any]:
    return sbom.bill("churn_classifier", "3", "0" * 64, requirements, "3.11.7")


def needs(found: dict[str, Any]) -> dict[str, set[str]]:
    """Component: the components that it needs."""
    return {one["ref"]: set(one["dependsOn"]) for one in found["dependencies"]}


def test_it_is_valid_by_the_schema_of_cyclonedx() -> None:
    reason = "requirements-dev.txt is not installed here"
    json_of = pytest.importorskip("cyclonedx.validation.json", reason=reason)
    schema = pytest.importorskip("cyclonedx.schema", reason=reason)
    validator = json_of.JsonStrictValidator(schema.SchemaVersion.V1_6)
    assert validator.validate_str(json.dumps(bill(PINNED))) is None
    assert validator.validate_str(json.dumps({**bill(PINNED), "components": [{"name": "nothing"}]})) is not None


def test_the_model_needs_what_it_pins_and_python() -> None:
    found = bill(PINNED)
    pinned = {f"pkg:pypi/{line.replace('==', '@')}" for line in PINNED}
    assert needs(found)["model:churn_classifier@3"] == {*pinned, "pkg:generic/python@3.11.7"}


def test_what_the_pinned_packages_need_is_listed_as_it_is_installed() -> None:
    found = needs(bill(PINNED))
    numpy = f"pkg:pypi/numpy@{metadata.version('numpy')}"
    assert numpy in found[f"pkg:pypi/pandas@{metadata.version('pandas')}"]
    assert f"pkg:pypi/sqlalchemy@{metadata.version('sqlalchemy')}" in found


def test_every_component_that_is_named_is_there_once() -> None:
    found = bill(PINNED)
    refs = [one["bom-ref"] for one in found["components"]]
    assert len(refs) == len(set(refs)) > 50
    assert {other for others in needs(found).values() for other in others} <= set(refs)


def test_a_package_in_another_version_than_here_is_listed_as_pinned_and_without_what_it_needs() -> None:
    found = bill(["pandas==0.1", "not-installed==2.0"])
    assert needs(found)["pkg:pypi/pandas@0.1"] == set()
    assert {one["name"]: one["version"] for one in found["components"]} == {
        "python": "3.11.7",
        "pandas": "0.1",
        "not-installed": "2.0",
    }


def test_the_same_environment_gives_the_same_bill() -> None:
    assert bill(PINNED) == bill(PINNED)
    assert bill(PINNED)["serialNumber"] != bill(PINNED[:1])["serialNumber"]
