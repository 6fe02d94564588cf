"""How much each column counts for a model: by its estimator's own measure, and by shuffling the column."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]
# What the libraries' own importances of columns measure, by package, where it is not the impurity of trees.
_MEASURES = {"xgboost": "gain", "catboost": "change of the prediction"}
# For permutation importances: how often each column is shuffled, and the most shuffled rows and cells of one call.
SHUFFLES = 3
SHUFFLED_ROWS = 20_000
SHUFFLED_CELLS = 10_000_000
# Of more columns than these, as many are shuffled by themselves, and the others together.
MOST_SHUFFLED = 100


def importances(features: Any, estimator: Any) -> tuple[str, dict[str, float]] | None:
    """The estimator's own importances of the encoded columns.

    Parameters
    ----------
    features
        The fitted preprocessor.
    estimator
        The fitted estimator, or the Booster of a LightGBM model.

    Returns
    -------
    tuple or None
        The measure's name and the importance of each encoded column, by its name; None if the estimator has none.
    """
    names: Iterable[str] = _feature_names(features) or map("encoded column {}".format, itertools.count(1))
    if hasattr(estimator, "feature_importance"):
        gains = estimator.feature_importance(importance_type="gain")
        return "gain", dict(zip(names, map(float, gains), strict=isinstance(names, list)))
    # CatBoost's attribute is None in an estimator that was read from a file, and its function finds them anew
    find = getattr(estimator, "get_feature_importance", None)
    shares = getattr(estimator, "feature_importances_", None) if find is None else find()
    if shares is not None:
        measure = _MEASURES.get(type(estimator).__module__.partition(".")[0], "mean decrease in impurity")
        return measure, dict(zip(names, map(float, shares), strict=isinstance(names, list)))
    return None


def _feature_names(features: Any) -> list[str]:
    """The encoded columns' names, without the prefixes `numbers__` and `categories__` if they are unique without."""
    try:
        names = [str(name) for name in features.get_feature_names_out()]
    except (AttributeError, ValueError):  # a step of the problem's may not say
        return []
    short = [name.partition("__")[2] or name for name in names]
    return short if len(set(short)) == len(short) else names


def permutation_importances(
    ask: Callable[[Array], Array],
    X: Array,
    places: Mapping[str, slice | Array],
    measure: Callable[[Array], float],
    *,
    seed: int,
) -> dict[str, float]:
    """The permutation importance of each column: how much worse a score gets when the column is shuffled.

    Parameters
    ----------
    ask
        Function of rows like those of `X` that returns (n, any) what the model predicts.
    X
        (n, encoded columns) encoded rows; a sample of a thousand is enough. To shuffle what a column has become is to
        shuffle the column, since rows are encoded one by one, and takes no encoding of each shuffle.
    places
        Column: where it lies in `X`, as a slice or as positions.
    measure
        Function of what the model predicts for the rows of `X` that returns a score; greater is better.
    seed
        Seed of the shuffles; each column is shuffled three times and the mean is taken.

    Returns
    -------
    dict
        The mean drop of the score, by column. Of more than `MOST_SHUFFLED` columns only those that matter most are
        shuffled by themselves; one more entry says how many the others are, and what they are worth together.

    Notes
    -----
    L. Breiman, "Random Forests", Machine Learning 45, 2001, section 10.
    """
    generator = np.random.default_rng(seed)
    whole = measure(ask(X))
    every = np.arange(X.shape[1])
    encoded = [every[place] for place in places.values()]

    def drops(blocks: Sequence[Array], times: int) -> Array:
        """(blocks,) the mean drop of the score when the columns of a block are shuffled together, a number of times."""
        shuffles = [
            (np.concatenate([encoded[number] for number in block]), generator.permutation(len(X)))
            for block in blocks
            for _ in range(times)
        ]
        found = _scores_when_shuffled(ask, X, measure, shuffles)
        return np.asarray(whole - np.mean(np.reshape(found, (-1, times)), axis=1))

    numbers = np.arange(len(encoded))
    chosen = numbers if len(numbers) <= MOST_SHUFFLED else _most_important(numbers, drops)
    names = list(places)
    found = dict(
        zip((names[number] for number in chosen), drops(list(chosen[:, None]), SHUFFLES).tolist(), strict=True)
    )
    others = np.setdiff1d(numbers, chosen)
    if len(others):
        found[f"the other {len(others):,} columns together"] = float(drops([others], SHUFFLES)[0])
    return found


def _most_important(numbers: Array, drops: Callable[[Sequence[Array], int], Array]) -> Array:
    """Of columns, by number, the `MOST_SHUFFLED` that matter most, ascending.

    To shuffle each by itself would take time by the square of the number of columns, since each prediction reads them
    all. Blocks of neighbours are shuffled instead, those that matter least are put aside, and the others are halved,
    until a block is a column.
    """
    blocks = [block for block in np.array_split(numbers, 2 * MOST_SHUFFLED) if len(block)]
    while True:
        first = np.argsort(-drops(blocks, 1), kind="stable")[:MOST_SHUFFLED]
        best = [blocks[place] for place in first]
        if all(len(block) == 1 for block in best):
            return np.sort(np.concatenate(best))
        blocks = [half for block in best for half in np.array_split(block, 2) if len(half)]


def _scores_when_shuffled(
    ask: Callable[[Array], Array],
    X: Array,
    measure: Callable[[Array], float],
    shuffles: Sequence[tuple[Array, Array]],
) -> list[float]:
    """The score after each shuffle: positions of encoded columns, and the order that their rows are brought in.

    Several shuffled copies of the rows are predicted in one call, which has a cost of its own, above that of a hundred
    rows; but no more than `SHUFFLED_CELLS`.
    """
    at_once = max(1, min(SHUFFLED_ROWS // len(X), SHUFFLED_CELLS // max(1, X.size)))
    found: list[float] = []
    for start in range(0, len(shuffles), at_once):
        part = shuffles[start : start + at_once]
        copies = np.tile(X, (len(part), 1))
        for number, (columns, order) in enumerate(part):
            copies[number * len(X) : (number + 1) * len(X), columns] = X[np.ix_(order, columns)]
        found += [measure(one) for one in np.split(ask(copies), len(part))]
    return found
