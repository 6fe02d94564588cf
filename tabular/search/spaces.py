"""Search spaces: a problem's own as Hyperopt's, and points of it in both forms."""

import math
from collections.abc import Mapping
from typing import Any

from tabular.problem import Choice, Range, Space, options_of


def to_hyperopt(space: Space, above: str = "") -> dict[str, Any]:
    """A space as `hyperopt.fmin` takes it; what it draws, `flat` makes hyperparameters of.

    A hyperparameter that stands under an option has that option's path in its label, since Hyperopt wants each label
    once: `boosting_type=1/drop_rate`.
    """
    return {name: _dimension(f"{above}{name}", name, dimension) for name, dimension in space.items()}


def _dimension(label: str, name: str, dimension: Range | Choice) -> Any:
    from hyperopt import hp
    from hyperopt.pyll import scope

    if isinstance(dimension, Choice):
        options = enumerate(options_of(dimension))
        return hp.choice(label, [{name: o.value, **to_hyperopt(o.space, f"{label}={i}/")} for i, o in options])
    step = _step(dimension)
    half = (step or 0.0) / 2  # the ends are drawn as often as what lies between
    low, high = dimension.low - half, dimension.high + half
    drawn = hp.loguniform(label, math.log(low), math.log(high)) if dimension.log else hp.uniform(label, low, high)
    if step is None:
        return drawn
    # rounded here: what Hyperopt draws rounded takes its TPE much longer to model
    steps = scope.int((drawn - dimension.low) / step + 0.5)
    within = scope.min(steps * step + dimension.low, dimension.high)
    return scope.int(within) if dimension.type == "int" else within


def _step(dimension: Range) -> float | None:
    """Of what the values are multiples; None where they are of nothing."""
    return dimension.step or (1 if dimension.type == "int" else None)


def flat(point: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters, of a point as Hyperopt draws it: an option is a mapping of what comes with it."""
    found: dict[str, Any] = {}
    for name, value in point.items():
        found |= flat(value) if isinstance(value, Mapping) else {name: value}
    return found


def labelled(space: Space, params: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Hyperopt's label: the value that it takes for these hyperparameters; None where they have no use for it.

    What lies outside of a range is moved to its end, and what is missing or is no option to the middle or the first.
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
