"""The bill of materials of a model's environment, in CycloneDX's JSON: packages, versions and who needs whom."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SPEC_VERSION = "1.6"


def bill(name: str, version: str, digest: str, requirements: Sequence[str], python: str) -> dict[str, Any]:
    """The bill of materials of a model that is served in an environment of these requirements.

    The model pins what it needs itself. What these packages need in turn is listed as it is installed here, where the
    model was tried.

    Parameters
    ----------
    name, version, digest
        Of the model: its registered name and version, and the sha256 of what it learnt.
    requirements
        The lines of its requirements.txt, each pinned.
    python
        The version of Python.

    Returns
    -------
    dict
        Equal for equal arguments in equal environments: there is no time stamp in it.
    """
    wanted = map(Requirement, filter(None, requirements))
    pinned: dict[str, str] = {canonicalize_name(one.name): _version(one) for one in wanted}
    found = _closure(pinned)
    model, runtime = f"model:{name}@{version}", f"pkg:generic/python@{python}"
    components = [{"type": "platform", "bom-ref": runtime, "name": "python", "version": python, "purl": runtime}]
    components += [
        {"type": "library", "bom-ref": _purl(one, held), "name": one, "version": held, "purl": _purl(one, held)}
        for one, (held, _) in sorted(found.items())
    ]
    depends: dict[str, list[str]] = {model: [runtime, *(_purl(one, held) for one, held in pinned.items())], runtime: []}
    for one, (held, needs) in found.items():
        depends[_purl(one, held)] = [_purl(other, found[other][0]) for other in needs]
    dependencies = [{"ref": ref, "dependsOn": sorted(others)} for ref, others in sorted(depends.items())]
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, f"{model} {digest} {dependencies}").urn,
        "version": 1,
        "metadata": {
            "component": {
                "type": "machine-learning-model",
                "bom-ref": model,
                "name": name,
                "version": version,
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }
        },
        "components": components,
        "dependencies": dependencies,
    }


def _version(pinned: Requirement) -> str:
    """The version of a requirement that allows one only."""
    (specifier,) = pinned.specifier
    return specifier.version


def _closure(pinned: Mapping[str, str]) -> dict[str, tuple[str, set[str]]]:
    """Package: its version, and the packages that it needs; of all that are pinned, and of all that these need."""
    found: dict[str, tuple[str, set[str]]] = {}
    pending, seen = [(name, frozenset([""])) for name in pinned], set()
    while pending:
        name, extras = asked = pending.pop()
        if asked in seen:
            continue
        seen.add(asked)
        here = _installed(name)
        version = pinned.get(name) or (here.version if here is not None else "unknown")
        _, needs = found.setdefault(name, (version, set()))
        # what another version needs is unknown here; 2.13.0+cpu is a build of 2.13.0
        if here is not None and here.version.partition("+")[0] == version.partition("+")[0]:
            wanted = list(_needed(here, extras))
            needs |= {one for one, _ in wanted}
            pending += wanted
    return found


def _installed(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None


def _needed(distribution: metadata.Distribution, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """What a package needs on this machine with these extras: each package, and the extras that are asked of it."""
    for one in map(Requirement, distribution.requires or []):
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras):
            yield canonicalize_name(one.name), frozenset(["", *one.extras])


def _purl(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{version}"
