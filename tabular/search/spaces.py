"""Search spaces: conversion of a problem's space, and of points in it, to Hyperopt's form and back."""

import math
from collections.abc import Mapping
from typing import Any

from tabular.sections.models import Choice, Range, Space, options_of


def to_hyperopt(space: Space, above: str = "") -> dict[str, Any]:
    """Convert a space to the form of `hyperopt.fmin`; `flat` converts the points that are drawn from it.

    Hyperopt needs unique labels. The label of a hyperparameter below an option therefore begins with the path of that
    option: `boosting_type=1/drop_rate`. `above` is this path.
    """
    return {name: _dimension(f"{above}{name}", name, dimension) for name, dimension in space.items()}


def _dimension(label: str, name: str, dimension: Range | Choice) -> Any:
    from hyperopt import hp
    from hyperopt.pyll import scope

    if isinstance(dimension, Choice):
        options = enumerate(options_of(dimension))
        return hp.choice(label, [{name: o.value, **to_hyperopt(o.space, f"{label}={i}/")} for i, o in options])
    step = _step(dimension)
    half = (step or 0.0) / 2  # so that the ends are drawn as often as the values between
    low, high = dimension.low - half, dimension.high + half
    drawn = hp.loguniform(label, math.log(low), math.log(high)) if dimension.log else hp.uniform(label, low, high)
    if step is None:
        return drawn
    # rounded here, since Hyperopt's TPE takes much longer to model its own rounded distributions
    steps = scope.int((drawn - dimension.low) / step + 0.5)
    within = scope.min(steps * step + dimension.low, dimension.high)
    return scope.int(within) if dimension.type == "int" else within


def _step(dimension: Range) -> float | None:
    """The step between the values of a range; None if the range is continuous."""
    return dimension.step or (1 if dimension.type == "int" else None)


def flat(point: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters of a point that Hyperopt has drawn, in which a chosen option is a nested mapping."""
    found: dict[str, Any] = {}
    for name, value in point.items():
        # Hyperopt makes tuples of lists
        found |= flat(value) if isinstance(value, Mapping) else {name: _as_written(value)}
    return found


def _as_written(value: Any) -> Any:
    return [_as_written(one) for one in value] if isinstance(value, tuple) else value


def labelled(space: Space, params: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Convert hyperparameters to a point of Hyperopt.

    Parameters
    ----------
    space
        The search space.
    params
        The hyperparameters. A number outside of its range is moved to the nearer end; a missing number is the middle of
        its range; a missing or unknown choice is the first option.
    above
        The path of the option that the space lies under: see `to_hyperopt`.

    Returns
    -------
    dict
        The value of each label; None for a label below an option that is not chosen.
    """
    found: dict[str, Any] = {}
    for name, dimension in space.items():
        label = f"{above}{name}"
        if isinstance(dimension, Range):
            found[label] = _within(dimension, params.get(name))
            continue
        options = options_of(dimension)
        same = [i for i, option in enumerate(options) if _is_same(option.value, params.get(name))]
        found[label] = same[0] if same else 0
        for i, option in enumerate(options):
            below = labelled(option.space, params, f"{label}={i}/")
            found |= below if i == found[label] else dict.fromkeys(below)
    return found


def _within(dimension: Range, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        middle = math.sqrt(dimension.low * dimension.high) if dimension.log else (dimension.low + dimension.high) / 2
        step = _step(dimension)
        value = middle if step is None else round(middle / step) * step
    return float(min(max(value, dimension.low), dimension.high))


def _is_same(option: Any, value: Any) -> bool:
    return type(option) is type(value) and option == value
