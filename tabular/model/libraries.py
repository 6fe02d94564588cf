"""What each library of classifiers calls the seed, the threads and what else a fit here sets by itself."""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from tabular.model import nets
from tabular.model.boosting import aliases

Names = tuple[str, ...]


@dataclass(frozen=True)
class Library:
    """The parameters of a library's classifiers that mean the same in all libraries.

    Attributes
    ----------
    seed, threads
        The names of the parameter, the one that is set first; empty where there is none.
    conduct
        What a fit here sets, {names: value}: the first name, where the problem gives none of them.
    more
        Returns names that it knows beside the arguments of its classes.
    early_stopping
        Returns the names of what chooses the number of iterations by rows that are not fitted on.
    is_open
        Whether a class with `**kwargs` may know names beyond those that can be found out.
    """

    seed: Names = ("random_state",)
    threads: Names = ("n_jobs",)
    conduct: Mapping[Names, Any] = field(default_factory=dict)
    more: Callable[[], Collection[str]] = tuple
    early_stopping: Callable[[], Collection[str]] = tuple
    is_open: bool = False


def _all_of_lightgbm() -> Collection[str]:
    # LightGBM accepts any name, and only prints that it ignores an unknown one; this is its list of known names
    from lightgbm.basic import _ConfigAliases

    return frozenset().union(*_ConfigAliases._get_all_param_aliases().values())


# XGBoost accepts any name too. Those of its documentation that are no arguments of its classes:
_MORE_OF_XGBOOST = (
    *("alpha", "eta", "feature_selector", "lambda", "lambda_bias", "max_cached_hist_node", "min_split_loss"),
    *("normalize_type", "one_drop", "process_type", "rate_drop", "refresh_leaf", "sample_type", "skip_drop", "top_k"),
    "updater",
)
LIBRARIES = {
    "lightgbm": Library(
        seed=("random_state", "seed", "random_seed"),
        conduct={
            ("verbose", "verbosity"): -1,
            # otherwise LightGBM times row-wise and col-wise building and takes the faster: other bits from run to run
            ("deterministic",): True,
            ("force_col_wise", "force_row_wise"): True,
            # MB; by default a histogram of every column is kept for each leaf: 6 GB of 20,000 columns, and no faster
            ("histogram_pool_size", "hist_pool_size"): 512,
        },
        more=_all_of_lightgbm,
        early_stopping=lambda: aliases("early_stopping_round"),
    ),
    "xgboost": Library(
        seed=("random_state", "seed"),
        threads=("n_jobs", "nthread"),
        conduct={("verbosity",): 0},
        more=lambda: _MORE_OF_XGBOOST,
        early_stopping=lambda: ("early_stopping_rounds",),
    ),
    "catboost": Library(
        seed=("random_seed", "random_state"),
        threads=("thread_count",),
        conduct={
            ("verbose", "silent", "logging_level", "verbose_eval"): False,
            ("allow_writing_files", "train_dir"): False,
        },
        early_stopping=lambda: ("early_stopping_rounds", "od_wait", "od_type", "od_pval", "use_best_model"),
    ),
    "skorch": Library(
        # `nets.fit` sets seed and threads
        seed=(),
        threads=(),
        conduct={
            ("verbose",): 0,
            ("callbacks",): "disable",
            ("train_split",): None,  # otherwise a fifth of the rows is put aside
            ("dataset",): nets.Rows,
            ("iterator_train__collate_fn",): nets.as_given,
            ("iterator_train__shuffle",): True,
        },
        more=lambda: ("iterator_train__collate_fn", "iterator_train__shuffle"),
    ),
}
_OTHER = Library(is_open=True)


def of(path: str) -> Library:
    """The library of a class by the class's import path."""
    return LIBRARIES.get(path.partition(".")[0], _OTHER)


def names(path: str, kind: Any) -> frozenset[str] | None:
    """The parameters of a class; None where it takes any.

    Parameters
    ----------
    path
        The import path that the problem gives.
    kind
        The class.
    """
    library = of(path)
    known = arguments(kind)
    if library.is_open and any(one.kind is one.VAR_KEYWORD for one in inspect.signature(kind).parameters.values()):
        return None
    return frozenset(known).union(library.more())


def arguments(kind: Any) -> dict[str, Any]:
    """The arguments of a class by name, with their defaults; those without one have `inspect.Parameter.empty`.

    A class that passes `**kwargs` on to its base class has the arguments of that one as well.
    """
    found: dict[str, Any] = {}
    for base in kind.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        given = list(inspect.signature(base.__init__).parameters.values())[1:]
        plain = [one for one in given if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]
        found = {**{one.name: one.default for one in plain}, **found}
        if not any(one.kind is one.VAR_KEYWORD for one in given):
            break
    return found


def sets(library: Library, known: Collection[str], given: Mapping[str, Any], seed: int, threads: int) -> dict[str, Any]:
    """What a fit sets by itself, {parameter: value}, for a class with these parameters.

    Parameters
    ----------
    library
        The library of the class.
    known
        The parameters of the class, those that are no arguments of it included.
    given
        Those that the problem gives.
    seed, threads
        The values for the parameters of these meanings.
    """
    wanted = {library.seed: seed, library.threads: threads, **library.conduct}
    return {
        group[0]: value
        for group, value in wanted.items()
        if group and group[0] in known and all(given.get(name) is None or given[name] is False for name in group)
    }
