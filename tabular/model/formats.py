"""Fitted classifiers as files: the libraries' own formats, and what is made alike in equal fits before they are stored.

Each of these files is read again by `steps/model/served.py`, which travels with the model.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabular.model import nets


@dataclass(frozen=True)
class Format:
    """A library's own file for its classifiers.

    Attributes
    ----------
    kind
        The classifier's class: its package and its name. Classes that are derived from it are stored alike.
    file
        The file's name in a model.
    write
        Writes a fitted classifier into the file at a path; equal fits give equal bytes.
    packages
        What has to be installed where the file is read, beside what every model needs.
    more
        Returns what else a fitted classifier needs there: the top-level packages.
    """

    kind: str
    file: str
    write: Callable[[Any, Path], None]
    packages: tuple[str, ...]
    more: Callable[[Any], Collection[str]] = lambda classifier: ()


def booster_text(classifier: Any) -> str:
    """The text file of a fitted LightGBM model.

    The number of threads and the metric are left out of the text, since the model does not depend on them.
    """
    text = re.sub(r"\[num_threads: -?\d+\]", "[num_threads: 0]", classifier.booster_.model_to_string())
    return re.sub(r"\[metric: \S*\]", "[metric: ]", text)


def _write_lightgbm(classifier: Any, path: Path) -> None:
    path.write_text(booster_text(classifier), encoding="utf-8")


def _write_own(classifier: Any, path: Path) -> None:
    classifier.save_model(str(path))


FORMATS = (
    Format("lightgbm.LGBMClassifier", "booster.txt", _write_lightgbm, ("lightgbm",)),
    Format("lightgbm.LGBMRegressor", "regressor.txt", _write_lightgbm, ("lightgbm",)),
    Format("xgboost.XGBClassifier", "booster.ubj", _write_own, ("xgboost",)),
    Format("xgboost.XGBRegressor", "regressor.ubj", _write_own, ("xgboost",)),
    Format("catboost.CatBoostClassifier", "booster.cbm", _write_own, ("catboost",)),
    Format("catboost.CatBoostRegressor", "regressor.cbm", _write_own, ("catboost",)),
    Format(nets.KIND, "net.safetensors", nets.write, ("torch", "safetensors"), nets.packages),
)


def format_of(classifier: Any) -> Format | None:
    """The format of a fitted classifier; None where skops stores it, as it does scikit-learn's own."""
    kinds = {f"{base.__module__.split('.')[0]}.{base.__name__}" for base in type(classifier).__mro__}
    return next((one for one in FORMATS if one.kind in kinds), None)


def within(estimator: Any) -> Iterator[Any]:
    """A fitted estimator and all estimators in it, fitted or not, each once."""
    seen: set[int] = set()
    pending = [estimator]
    while pending:
        one = pending.pop()
        if isinstance(one, list | tuple):
            pending += one
        elif isinstance(one, Mapping):
            pending += one.values()
        elif isinstance(one, type) or id(one) in seen:
            continue
        elif hasattr(one, "get_params") or hasattr(one, "predict_proba"):  # a calibrated classifier has but the latter
            seen.add(id(one))
            if hasattr(one, "get_params"):
                yield one
            pending += getattr(one, "__dict__", {}).values()


# What a net of scikit-learn keeps to go on with its fit: four times the weights that it answers with.
_OF_FURTHER_FITS = ("_optimizer", "_best_coefs", "_best_intercepts")


def settle(classifier: Any) -> None:
    """Take out of a fitted classifier, and of those in it, what equal fits may differ in; it answers as before.

    Equal fits may differ in the number of threads and, in CatBoost, in the time of the training and an identifier drawn
    for it. A forest with one thread sums its trees in their order; with several, in the order in which they finish, to
    other bits. What would be needed to go on with the fit goes too.
    """
    for one in within(classifier):
        for name in ("n_jobs", "n_threads"):  # the latter of what cuts columns into scikit-learn's histograms
            if one.get_params(deep=False).get(name) is not None:
                one.set_params(**{name: 1})
        for name in _OF_FURTHER_FITS:
            vars(one).pop(name, None)
        kind = getattr(format_of(one), "kind", None)
        if kind in _SETTLED and _is_fitted(one):
            _SETTLED[kind](one, one is classifier)


def _is_fitted(booster: Any) -> bool:
    says = getattr(booster, "is_fitted", None) or booster.__sklearn_is_fitted__  # of CatBoost, and of the others
    return bool(says())


def _settle_lightgbm(classifier: Any, is_whole: bool) -> None:
    from lightgbm import Booster

    if not is_whole:  # skops stores the booster by its text, of which `booster_text` is what counts
        classifier._Booster = Booster(model_str=booster_text(classifier))


def _settle_xgboost(classifier: Any, is_whole: bool) -> None:
    classifier.get_booster().set_param({"nthread": 1})


def _settle_catboost(classifier: Any, is_whole: bool) -> None:
    if "thread_count" in classifier.get_params():
        classifier._init_params["thread_count"] = 1  # set_params refuses to change what is fitted
    described = classifier.get_metadata()
    for name in list(described.keys()):
        if name != "class_params":  # by which the classes are found again
            del described[name]


_SETTLED = {
    "lightgbm.LGBMClassifier": _settle_lightgbm,
    "xgboost.XGBClassifier": _settle_xgboost,
    "catboost.CatBoostClassifier": _settle_catboost,
    "lightgbm.LGBMRegressor": _settle_lightgbm,
    "xgboost.XGBRegressor": _settle_xgboost,
    "catboost.CatBoostRegressor": _settle_catboost,
}
