"""Why a model answers as it does: the second file of code that every model carries.

`served.py` runs it when a request asks for reasons, where nothing of this repository is installed: it imports only what
a model's requirements hold, and knows the model by what it is given.
"""

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException

# Which of scikit-learn's own estimators are sums of their columns, or of trees, beside forests.
LINEAR = ("LogisticRegression", "LinearRegression", "Ridge", "Lasso", "ElasticNet")
HISTOGRAMS = ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor")
# To give reasons: the numbers that are held at once, and the nodes of trees that are laid out together.
CELLS, NODES = 2_000_000, 50_000
# In so many orders of the columns, half of them the others backwards, reasons are estimated that cannot be computed.
ORDERS = 16


class Contributions(NamedTuple):
    """What each column adds to the answers of rows: (n, columns) values.

    With (n,) base values they sum to the answers, on a scale that is told in words.
    """

    columns: list[str]
    values: np.ndarray
    base: np.ndarray
    scale: str


class Reasons:
    """Why a model answers as it does: what each column adds to the answer to a row.

    They are Shapley values: exact of linear models, against the mean of the training rows; of trees those of TreeSHAP,
    which goes down both branches where a column is not known, by how many training rows went either way (S. Lundberg et
    al., "From local explanations to global understanding with explainable AI for trees", Nature Machine Intelligence
    2, 2020); of others they are estimated (`_of_outputs`). They sum to what the estimator adds up, such as log odds.
    The mean of a blend is one of probabilities, or of numbers: `_on_answer` brings its members' there.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    def wanted(self, most: Any) -> int:
        """How many reasons a request asks for: a number that cannot be, or a model that has none, is a 400."""
        if not most:
            return 0
        if most < 0:
            raise _not_explained(f"{most} is below 0, and says how many reasons are given")
        if self.why_none is not None:
            raise _not_explained(self.why_none)
        return int(most)

    @functools.cached_property
    def why_none(self) -> str | None:
        """Why the model has none; None where it has."""
        model = self._model
        if model.members:
            every = ((name, one.reasons.why_none) for name, (_, one) in model.members.items())
            return next((f"of its member {name}, {why}" for name, why in every if why is not None), None)
        kind = type(model.estimator).__name__
        native = _is_of(model.estimator, HISTOGRAMS) and model.estimator.is_categorical_ is not None
        if native or kind.startswith(("XGB", "CatBoost")):
            can = "LightGBM, and scikit-learn's own without native categories,"
            return f"{kind} does not tell what each column adds; {can} do: leave explain out"
        told = self.are_of_library or model.is_forest or _is_of(model.estimator, HISTOGRAMS)
        if not told and "means" not in model.description:
            return f"{kind} was logged before there were reasons: train it again"
        if model.encoder.places() is None:
            return "its preprocessing makes columns that are of no single column: leave explain out"
        return None

    @functools.cached_property
    def _places(self) -> dict[str, list[int]]:
        """Column: where it lies in prepared rows, with all that is made of it alone."""
        model = self._model
        origin = {one["name"]: one["of"] for one in model.dates.columns if "part" in one}
        found: dict[str, list[int]] = {one["name"]: [] for one in model.description["columns"]}
        for name, place in (model.encoder.places() or {}).items():
            found.setdefault(origin.get(name, name), []).extend(range(place.start, place.stop))
        return {name: places for name, places in found.items() if places}

    @property
    def places(self) -> list[list[int]]:
        """Where each of the columns lies in prepared rows."""
        return list(self._places.values())

    @property
    def has_scores(self) -> bool:
        """Whether the estimator makes its answer of scores, to which columns add exactly."""
        return self.are_of_library or _is_of(self._model.estimator, (*HISTOGRAMS, *LINEAR))

    @property
    def are_of_library(self) -> bool:
        """Whether the estimator's library gives them: LightGBM does not where leaves are linear models."""
        return self._model.format.scores is not None and not self._model.estimator.params.get("linear_tree")

    @property
    def columns(self) -> list[str]:
        """The columns that reasons are of: raw ones, and those made of several (the user's own, days between dates)."""
        if self._model.members:
            every = (one.reasons.columns for _, one in self._model.members.values())
            return list(dict.fromkeys(itertools.chain.from_iterable(every)))
        return list(self._places)

    @functools.cached_property
    def trees(self) -> list["_Trees"]:
        """Of scikit-learn's trees, those of each score."""
        return _trees(self._model.estimator)

    @property
    def _cells(self) -> int:
        """How many numbers the contributions of one row are, before they are summed up to columns."""
        if self._model.members:
            return max(one.reasons._cells for _, one in self._model.members.values())
        width = max(1, sum(map(len, self._places.values())))
        return width * max(1, len(self._model.description["classes"]))

    def added(
        self, answer: pd.DataFrame, features: Mapping[str, np.ndarray], codes: np.ndarray, most: int
    ) -> pd.DataFrame:
        """An answer with the reasons of each row beside it, the strongest first; `codes` are of its labels.

        `base_value`, the values of the reasons and `other_reasons_value` sum to the answer on `reason_scale`.
        """
        found = self.of(features, codes)
        order = np.argsort(-np.abs(found.values), axis=1, kind="stable")
        values, names = np.take_along_axis(found.values, order, axis=1), np.array(found.columns, dtype=object)[order]
        strongest = [column for place in range(len(found.columns)) for column in (names[:, place], values[:, place])]
        told = [found.base, *strongest[: 2 * most], values[:, most:].sum(axis=1), found.scale]
        return answer.assign(**dict(zip(self.names(most), told, strict=True)))

    def names(self, most: int) -> list[str]:
        """The columns that so many reasons add to an answer; those that end in `_value` are numbers, others texts."""
        places = range(1, min(most, len(self.columns)) + 1)
        strongest = [name for place in places for name in (f"reason_{place}", f"reason_{place}_value")]
        return ["base_value", *strongest, "other_reasons_value", "reason_scale"]

    def of(self, features: Mapping[str, np.ndarray], codes: np.ndarray) -> Contributions:
        """What each column adds to the answers of rows, before their calibration.

        Parameters
        ----------
        features
            Of the rows, without the user's own columns.
        codes
            (n,) of more than two classes, that whose probability is explained. Of two it is the positive one's.
        """
        model, classes = self._model, self._model.description["classes"]
        if len(classes) == 2:
            codes = np.full(len(codes), model.description["positive"])
        features = features if model.own is None else model.own.added(features)
        base, values, scale = np.empty(len(codes)), np.zeros((len(codes), len(self.columns))), ""
        step = max(1, CELLS // self._cells)
        for start in range(0, len(codes), step):
            some = slice(start, start + step)
            rows = {name: column[some] for name, column in features.items()}
            base[some], found, scale = self._explained(rows, codes[some], on_answer=False)
            for at, name in enumerate(self.columns):
                values[some, at] = found.get(name, 0.0)
        if classes:
            scale += f" of {classes[model.description['positive']] if len(classes) == 2 else 'the label'}"
        calibrated = model.description.get("calibration") is not None
        return Contributions(self.columns, values, base, f"{scale} before calibration" if calibrated else scale)

    def _explained(
        self, features: Mapping[str, np.ndarray], codes: np.ndarray, *, on_answer: bool
    ) -> tuple[np.ndarray, dict[str, np.ndarray], str]:
        """(n,) base values, (n,) what each column adds, and the scale of both; of features with the user's own."""
        model = self._model
        if not model.members:
            prepared = model.prepare(features)
            rows = prepared if isinstance(prepared, np.ndarray) else prepared.toarray()
            base, parts, scale = _explained(model, rows, codes, on_answer=on_answer)
            return base, {name: parts[:, places].sum(axis=1) for name, places in self._places.items()}, scale
        base, values, scale = np.zeros(len(codes)), {}, ""
        for weight, one in model.members.values():
            own, found, scale = one.reasons._explained(features, codes, on_answer=True)
            base += weight * own
            values |= {name: values.get(name, 0.0) + weight * part for name, part in found.items()}
        return base, values, scale


def _not_explained(why: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(f"explain: {why}")


def _is_of(estimator: Any, names: tuple[str, ...]) -> bool:
    """Whether an estimator is of one of scikit-learn's own classes."""
    return type(estimator).__module__.startswith("sklearn.") and type(estimator).__name__ in names


def _explained(
    model: Any, rows: np.ndarray, codes: np.ndarray, *, on_answer: bool
) -> tuple[np.ndarray, np.ndarray, str]:
    """(n,) base values, (n, prepared columns) what each adds to the answer about a class or number, and their scale."""
    classes, at = model.description["classes"], np.zeros(len(rows), dtype=int)
    if classes:
        place = np.full(len(classes), -1)
        place[model.description["classes_seen"]] = np.arange(len(model.description["classes_seen"]))
        at = place[codes]
    asked = np.asarray(model.format.ask(model.estimator, rows), dtype=np.float64).reshape(len(rows), -1)
    if classes and not model.reasons.has_scores:
        base, parts = _of_outputs(model, rows, at)
        base = base[at]
        _add_up(base + parts.sum(axis=1), asked[np.arange(len(rows)), at])
        scale = "probability"
    else:
        bases, every = _scores(model, rows)
        base, parts, scale = _on_scale(model, asked, bases, every, at, on_answer=on_answer)
    unknown = at < 0  # a class that the estimator's rows lacked: its probability is 0 whatever the row holds
    base[unknown], parts[unknown] = 0.0, 0.0
    return base, parts, scale


def _scores(model: Any, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The base value of each of the estimator's scores, and (n, scores, prepared columns) what each column adds."""
    if model.reasons.are_of_library:
        return model.format.scores(model.estimator, rows)
    if _is_of(model.estimator, LINEAR):
        weights, means = np.atleast_2d(model.estimator.coef_), np.array(model.description["means"])
        return np.ravel(model.estimator.intercept_) + weights @ means, (rows - means)[:, None, :] * weights
    first = np.zeros(len(rows), dtype=int)
    if not _is_of(model.estimator, HISTOGRAMS):
        base, parts = _of_outputs(model, rows, first)
        return base, parts[:, None]
    found = [trees.explain(rows, first) for trees in model.reasons.trees]
    bases = np.ravel(model.estimator._baseline_prediction) + np.concatenate([base for base, _ in found])
    return bases, np.stack([parts for _, parts in found], axis=1)


def _of_outputs(model: Any, rows: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The base value of each of the estimator's outputs, and (n, prepared columns) what adds to the output at `at`.

    Of what is neither a sum nor trees it is estimated: in each of some orders of the columns, a row of the means of
    training becomes the row column by column, and a column gets what changes with it, in the mean of the orders
    (E. Štrumbelj and I. Kononenko, "Explaining prediction models and individual predictions with feature
    contributions", Knowledge and Information Systems 41, 2014).
    """
    if model.is_forest:
        return model.reasons.trees[0].explain(rows, at)
    places, means = model.reasons.places, np.array(model.description["means"])
    draw, parts = np.random.default_rng(0), np.zeros(rows.shape)
    drawn = [draw.permutation(len(places)) for _ in range(ORDERS // 2)]
    step = max(1, CELLS // ((len(places) + 1) * len(means)))

    def ask(some: np.ndarray) -> np.ndarray:
        return np.asarray(model.format.ask(model.estimator, some), dtype=np.float64).reshape(len(some), -1)

    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        for order in (turned for one in drawn for turned in (one, one[::-1])):
            way = np.tile(means, (len(order) + 1, len(some), 1))
            for number, column in enumerate(order):
                way[number + 1 :, :, places[column]] = some[:, places[column]]
            found = ask(way.reshape(-1, len(means))).reshape(len(way), len(some), -1)
            changes = np.diff(found[:, np.arange(len(some)), at[start : start + step]], axis=0)
            # all of a column's change where the first of what it has become lies
            parts[start : start + step, [places[column][0] for column in order]] += changes.T / ORDERS
    return ask(means[None])[0], parts


def _on_scale(
    model: Any, asked: np.ndarray, bases: np.ndarray, every: np.ndarray, at: np.ndarray, *, on_answer: bool
) -> tuple[np.ndarray, np.ndarray, str]:
    """What `_explained` gives, of contributions to scores; `asked` is what the estimator makes of the scores."""
    scores, classes, transform = bases + every.sum(axis=2), model.description["classes"], ""
    with np.errstate(over="ignore"):
        if classes:
            name, link = ("log odds", _sigmoid) if len(bases) == 1 else ("score", _softmax)
        elif np.allclose(scores, asked, rtol=1e-6, atol=1e-6):
            name, link = "", np.asarray
        else:  # as of counts, which some boosters learn so by themselves
            name, link = "log of ", np.exp
        _add_up(link(scores), asked)
        if not classes:
            transform = model.description["transform"]
            name += {"none": "", "log": "log of ", "log1p": "log1p of "}[transform] + "the number"
        if on_answer:
            answer = link if classes else lambda scores: model.unscaled(link(scores))
            return *_on_answer(answer, bases, every, at), "probability" if classes else "the number"
    if len(bases) > 1:
        return bases[at], every[np.arange(len(at)), at], name
    sign = np.where(at == 0, -1.0, 1.0) if classes else np.ones(len(at))  # the score is of the second class
    return sign * bases[0], sign[:, None] * every[:, 0], name


def _add_up(sums: np.ndarray, answers: np.ndarray) -> None:
    if not np.allclose(sums, answers, rtol=1e-6, atol=1e-6):  # as where a problem sets LightGBM another objective
        raise _not_explained("what the columns add does not sum to this model's answer: leave explain out")


def _sigmoid(scores: np.ndarray) -> np.ndarray:
    second = 1 / (1 + np.exp(-scores[:, 0]))
    return np.column_stack([1 - second, second])


def _softmax(scores: np.ndarray) -> np.ndarray:
    parts = np.exp(scores - scores.max(axis=1, keepdims=True))
    return parts / parts.sum(axis=1, keepdims=True)


def _on_answer(
    answer: Callable[[np.ndarray], np.ndarray], bases: np.ndarray, every: np.ndarray, at: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) base values and (n, prepared columns) contributions on the scale of the answer.

    What is added to a score counts by how much the answer changes with that score, in the mean of the way from the base
    values to the row's scores, so that the sum is the answer's change: the rescale rule of H. Chen, S. Lundberg and
    S.-I. Lee, "Explaining a series of models by propagating Shapley values", Nature Communications 13, 2022; with
    several scores along a straight line, as R. Aumann and L. Shapley have it ("Values of Non-Atomic Games", 1974).
    """
    rows, way = np.arange(len(at)), every.sum(axis=2)
    start = answer(bases[None])[0]
    if len(bases) == 1:
        way = np.where(np.abs(way) < 1e-6, 1e-6, way)
        slope = (answer(bases + way).reshape(len(at), -1)[rows, at] - start[at]) / way[:, 0]
        return start[at], slope[:, None] * every[:, 0]
    slopes = np.zeros(way.shape)
    for point, weight in zip(*_quadrature(128), strict=True):
        found = answer(bases + point * way)
        own = found[rows, at]
        slopes -= weight * own[:, None] * found
        slopes[rows, at] += weight * own
    return start[at], np.einsum("nk,nkc->nc", slopes, every)


def _quadrature(points: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights from 0 to 1: the integral of a polynomial of a degree below twice their number is exact."""
    at, weights = np.polynomial.legendre.leggauss(points)
    return (at + 1) / 2, weights / 2


class _Tree(NamedTuple):
    """The nodes of a tree, with (nodes, outputs) values; -1 is the child of a leaf."""

    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    missing_left: np.ndarray
    rows: np.ndarray
    values: np.ndarray


def _trees(estimator: Any) -> list["_Trees"]:
    if not _is_of(estimator, HISTOGRAMS):
        share, classes = 1 / len(estimator.estimators_), getattr(estimator, "n_classes_", 1)
        return [_Trees([_of_forest(one.tree_, share, classes) for one in estimator.estimators_], np.float32)]
    by_score = zip(*estimator._predictors, strict=True)
    return [_Trees([_of_histograms(one.nodes) for one in each], np.float64) for each in by_score]


def _of_forest(tree: Any, share: float, outputs: int) -> _Tree:
    nodes = (tree.children_left, tree.children_right, tree.feature, tree.threshold, tree.missing_go_to_left)
    return _Tree(*nodes, tree.weighted_n_node_samples, share * tree.value[:, 0, :outputs])


def _of_histograms(nodes: np.ndarray) -> _Tree:
    children = [np.where(nodes["is_leaf"], -1, nodes[side].astype(int)) for side in ("left", "right")]
    told = (nodes["feature_idx"], nodes["num_threshold"], nodes["missing_go_to_left"], nodes["count"])
    return _Tree(*children, *told, nodes["value"][:, None])


class _Trees:
    """The sum of trees, for TreeSHAP of many rows, nodes and trees at once.

    Of a leaf's value v and the columns on the way to it a column j gets

        v (o_j - z_j) times the integral over t from 0 to 1 of the product over i != j of (t o_i + (1 - t) z_i),

    where o_i is whether the row meets all conditions on column i, and z_i the product of the shares of training rows
    that go the leaf's way at these. It is the Shapley value by G. Owen's integral ("Multilinear Extensions of Games",
    Management Science 18, 1972). The product is a polynomial of t, so that a few points give the integral exactly;
    products are made down the levels of the trees, and summed over leaves up again.

    Parameters
    ----------
    trees
        The trees.
    dtype
        As what their thresholds compare a row's numbers.
    """

    def __init__(self, trees: list[_Tree], dtype: Any) -> None:
        self._dtype, self._blocks, block = dtype, [], []
        for tree in trees:
            block.append(tree)
            if sum(len(one.left) for one in block) > NODES:
                self._blocks.append(_Block(block))
                block = []
        self._blocks += [_Block(block)] if block else []

    @property
    def cells(self) -> int:
        """How many numbers explaining a row takes."""
        return sum(block.cells for block in self._blocks)

    def explain(self, rows: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The base value of each output, and (n, columns) what each column adds to the output at `at` (n,)."""
        rows, parts = rows.astype(self._dtype), np.zeros(rows.shape)
        for block in self._blocks:
            step = max(1, CELLS // block.cells)
            for start in range(0, len(rows), step):
                some = slice(start, start + step)
                parts[some] += block.explain(rows[some], at[some])
        return np.sum([block.base for block in self._blocks], axis=0), parts


class _Block:
    """Trees whose nodes are laid out level by level, two children beside each other."""

    def __init__(self, trees: list[_Tree]) -> None:
        first = np.cumsum([0, *(len(tree.left) for tree in trees)])
        left, right = (
            np.concatenate(
                [np.where(one[side] < 0, -1, one[side] + at) for one, at in zip(trees, first[:-1], strict=True)]
            )
            for side in (0, 1)
        )
        feature, threshold, missing_left, rows, values = map(np.concatenate, list(zip(*trees, strict=True))[2:])
        levels, parents, self._inner, begin = [first[:-1]], [np.arange(len(trees))], [], 0
        while True:
            inner = np.flatnonzero(left[levels[-1]] >= 0)
            self._inner.append(inner)
            if not len(inner):
                break
            parents.append(np.repeat(begin + inner, 2))
            begin += len(levels[-1])
            levels.append(np.column_stack([left[levels[-1][inner]], right[levels[-1][inner]]]).ravel())
        order, parent, roots = np.concatenate(levels), np.concatenate(parents), len(trees)
        ends = np.cumsum([0, *map(len, levels)])
        self._levels = [slice(start, end) for start, end in itertools.pairwise(ends)]
        above = order[parent]
        is_leaf = left[order] < 0
        self._values = np.where(is_leaf[:, None], values[order], 0.0)
        # each node's condition, which is its parent's split
        self._feature, self._threshold = feature[above], threshold[above]
        self._missing_left, self._is_left = missing_left[above].astype(bool), left[above] == order
        share = np.where(np.arange(len(order)) < roots, 1.0, rows[order] / rows[above])
        self._last = _last_of_column(self._feature, parent, roots)
        # of the conditions on a column down to a node: the share of rows that meet them; and of all columns
        self._share, reached, columns = share.copy(), share, np.zeros(len(order), dtype=int)
        for level in self._levels[1:]:
            self._share[level] *= self._share[self._last[level]]
            reached[level] *= reached[parent[level]]
            columns[level] = columns[parent[level]] + (self._last[level] < roots)
        self._points, self._weights = _quadrature(max(1, -(-int(columns.max()) // 2)))
        self.base = reached @ self._values
        self.cells = len(order) * len(self._points)

    def explain(self, rows: np.ndarray, at: np.ndarray) -> np.ndarray:
        """(n, columns) what each column adds to the output at `at` (n,)."""
        meets = np.ones((len(self._values), len(rows)), dtype=bool)
        product, sums, changes = np.ones((self._levels[0].stop, len(rows), len(self._points))), [], []
        for number, level in enumerate(self._levels):
            if number:
                before = meets[self._last[level]]
                meets[level] = self._met(level, rows) & before
                factor, change = self._tables(level, meets[level].astype(int) + before)
                factor *= np.repeat(product[self._inner[number - 1]], 2, axis=0)
                product = factor
                changes.append(change)
            sums.append(product * self._values[level][:, at, None])
        parts = np.zeros((len(self._values), len(rows)))
        for number in range(len(self._levels) - 1, 0, -1):
            found = sums[number]
            parts[self._levels[number]] = np.einsum("nrp,nrp->nr", found, changes[number - 1])
            sums[number - 1][self._inner[number - 1]] += found[::2] + found[1::2]
        return self._by_column(parts, rows.shape[1])

    def _met(self, level: slice, rows: np.ndarray) -> np.ndarray:
        """(nodes, n) whether rows meet the conditions of a level's nodes."""
        values = rows[:, self._feature[level]].T
        goes_left = np.where(np.isnan(values), self._missing_left[level, None], values <= self._threshold[level, None])
        return goes_left == self._is_left[level, None]

    def _tables(self, level: slice, case: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(nodes, n, points) by what a node multiplies the product, and what it adds to its column.

        `case` (nodes, n) is 2 where all conditions on the column are met, 1 where all but the node's own, else 0.
        """
        points = self._points
        own, before = self._share[level, None], self._share[self._last[level], None]
        met, unmet = points + (1 - points) * own, (1 - points) * own
        met_before, unmet_before = points + (1 - points) * before, (1 - points) * before
        factors = np.stack([unmet / unmet_before, unmet / met_before, met / met_before], axis=1)
        less, gain, gain_before = -1 / (1 - points), (1 - own) / met, (1 - before) / met_before
        changes = np.stack([np.zeros_like(met), less - gain_before, gain - gain_before], axis=1)
        at = 3 * np.arange(len(case))[:, None] + case
        each = (factors, changes * self._weights)
        return tuple(np.take(one.reshape(-1, len(points)), at, axis=0) for one in each)

    def _by_column(self, parts: np.ndarray, columns: int) -> np.ndarray:
        """(n, columns) the sums of (nodes, n) parts by the column of each node's condition."""
        from scipy.sparse import csr_array

        begin, nodes = self._levels[0].stop, len(parts)
        where = (self._feature[begin:], np.arange(nodes - begin))
        return (csr_array((np.ones(nodes - begin), where), (columns, nodes - begin)) @ parts[begin:]).T


def _last_of_column(feature: np.ndarray, parent: np.ndarray, roots: int) -> np.ndarray:
    """The nearest node above each whose condition is on the same column; a root, which has no condition, if none is."""
    last = parent.copy()
    unsettled = np.arange(roots, len(feature))
    while len(unsettled):
        other = (last[unsettled] >= roots) & (feature[last[unsettled]] != feature[unsettled])
        unsettled = unsettled[other]
        last[unsettled] = parent[last[unsettled]]
    return last
