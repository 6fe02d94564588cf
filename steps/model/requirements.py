"""What a served model is installed from: its packages and all that these need, each with the hashes of the lock."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from steps.run import environment
from steps.run.environment import Locked
from steps.run.tags import UNLOCKED
from tabular.errors import UserError

# The packages that every model is served by; none for search, plots or tests.
SERVING = ("mlflow", "numpy", "pandas", "scipy", "scikit-learn", "skops")
# The line of requirements.txt after which stands what only the whole of mlflow needs: serving/Dockerfile ends there.
BEYOND = "# What mlflow needs beside mlflow-skinny, which serves the model as well (serving/Dockerfile):"


@dataclass(frozen=True)
class Requirements:
    """What a model is installed from.

    Attributes
    ----------
    serving
        The lines of the packages that serve the model with mlflow-skinny in the place of mlflow.
    beyond
        The lines of those that mlflow needs beside them, its own among them.
    unlocked
        Why no line has a hash; empty where all have.

    """

    serving: Sequence[str]
    beyond: Sequence[str]
    unlocked: str

    def write(self, model: Path) -> None:
        """Write them to a model's folder, over what MLflow has written there.

        Of Python's packaging tools python_env.yaml names none: MLflow pins those that are installed here, where there
        are any, without hashes, and pip refuses to install what has hashes together with what has none.
        """
        head = [f"# No hashes: {self.unlocked}."] if self.unlocked else []
        text = "\n".join([*head, *self.serving, BEYOND, *self.beyond]) + "\n"
        (model / "requirements.txt").write_text(text, encoding="utf-8")
        # conda copies the file to elsewhere, and MLflow names the environment by what stands in it
        pins = [re.sub(r"\s*\\\n\s*", " ", line) for line in (*self.serving, *self.beyond)]
        conda = yaml.safe_load((model / "conda.yaml").read_text(encoding="utf-8"))
        conda["dependencies"][-1] = {"pip": pins}
        quick = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
        with (model / "conda.yaml").open("w", encoding="utf-8") as file:
            yaml.dump(conda, file, quick, sort_keys=False, width=1_000_000)
        python = yaml.safe_load((model / "python_env.yaml").read_text(encoding="utf-8"))
        python.pop("build_dependencies", None)
        (model / "python_env.yaml").write_text(yaml.safe_dump(python, sort_keys=False), encoding="utf-8")


def of(packages: Iterable[str]) -> Requirements:
    """The requirements of a model that these packages serve: each as it is installed here, and all that they need.

    What needs what is taken from the locks, whose lines are for all systems. Where a package is installed in another
    version than the lock's, or is in no lock, no line has a hash, since pip refuses a file in which only some have.
    What a package that is in no lock needs itself is not known, and not pinned.

    Raises
    ------
    UserError
        Where a package is in no lock and not installed.
    """
    roots = {canonicalize_name(name) for name in packages}
    lines, needs = _locked(roots)
    every, enough = _closure(roots, needs), _closure({*roots - {"mlflow"}, "mlflow-skinny"}, needs)
    here = environment.installed()
    others = {name: here.get(name) for name in every if not _is_locked(lines.get(name, []), here.get(name))}
    for name, version in others.items():
        if version is None:
            raise UserError(f"{name} is needed to serve the model, and is in no lock and not installed: install it")
    why = [f"{name} {others[name]} is not the lock's" for name in sorted(others)]
    if not needs:
        why.append(f"{environment.LOCK} does not say which package needs which")
    if why:
        # 2.13.0+cpu is one build of 2.13.0, which an index of packages may not have
        told = {name: [f"{name}=={here[name].partition('+')[0]}"] for name in every if name in here}
    else:
        told = {name: [one.line for one in lines[name]] for name in every}
    return Requirements(
        serving=[line for name in sorted(told.keys() & enough) for line in told[name]],
        beyond=[line for name in sorted(told.keys() - enough) for line in told[name]],
        unlocked=", ".join(why),
    )


def note(tags: Mapping[str, str]) -> str:
    """What people are told of the model of a run of train or blend with these tags; empty where all is locked."""
    return f"its requirements have no hashes ({tags[UNLOCKED]})" if UNLOCKED in tags else ""


def pins(file: Path) -> list[str]:
    """The packages of a model's requirements.txt in their versions, for this system alone and without hashes."""
    lines = re.sub(r"\\\n", " ", file.read_text(encoding="utf-8")).splitlines()
    wanted = [Requirement(line.partition(" --hash=")[0]) for line in lines if line and not line.startswith("#")]
    return [f"{one.name}{one.specifier}" for one in wanted if one.marker is None or one.marker.evaluate()]


def used(file: Path) -> list[str]:
    """The packages of a model's requirements.txt, with hashes or, as that of an earlier model, without.

    Of those that are not installed here, as packages for other systems or of another lock, the model uses none here.
    """
    names = re.findall(r"^([A-Za-z0-9][\w.-]*)(?:\[.*\])?==", file.read_text(encoding="utf-8"), re.MULTILINE)
    here = environment.installed()
    return [name for name in names if canonicalize_name(name) in here]


def _locked(names: Collection[str]) -> tuple[dict[str, list[Locked]], dict[str, set[str]]]:
    """{package: its lines} and {package: the packages that it needs} of the lock, and of the extras' where names ask.

    An extra's lock holds packages of the lock too, in the same versions.
    """
    lines: dict[str, list[Locked]] = {}
    needs: dict[str, set[str]] = defaultdict(set)
    for file in environment.locks():
        if lines and lines.keys() >= set(names):
            break
        more: dict[str, list[Locked]] = defaultdict(list)
        for one in environment.lock(file):
            more[one.name].append(one)
            for parent in one.needed_by:
                needs[parent].add(one.name)
        lines = {**more, **lines}
    return lines, needs


def _closure(names: Collection[str], needs: Mapping[str, Collection[str]]) -> set[str]:
    """These packages, and all that they need directly or indirectly."""
    found: set[str] = set()
    left = [*names]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left.extend(needs.get(name, ()))
    return found


def _is_locked(lines: Collection[Locked], version: str | None) -> bool:
    """Whether a package is in a lock, and installed here in no other version than the lock's, where it is."""
    of_here = [one for one in lines if one.is_for_here]
    return bool(lines) and (version is None or not of_here or any(one.allows(version) for one in of_here))
