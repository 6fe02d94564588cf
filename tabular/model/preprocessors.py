"""What encodes the columns of a data set for an estimator: made of scikit-learn's transformers, unfitted."""

from collections.abc import Sequence
from typing import Any

from tabular.data.datasets import Column
from tabular.model import dates
from tabular.model.estimators import categories_of, transformers
from tabular.sections.models import Preprocessing

# Of a column of texts the commonest words that are told apart.
_MOST_WORDS = 5_000
# Of a column of numbers a quantile is taken for each so many rows, within these bounds: as Y. Gorishniy and others do,
# "Revisiting Deep Learning Models for Tabular Data", NeurIPS 2021.
ROWS_A_QUANTILE, FEWEST_QUANTILES, MOST_QUANTILES = 30, 10, 1000


def preprocessor(
    columns: Sequence[Column],
    how: Preprocessing,
    *,
    sparse: bool = True,
    seed: int = 0,
    at_once: int | None = None,
    target_encoder: Any = None,
    most_categories: int | None = None,
    rows: int = ROWS_A_QUANTILE * MOST_QUANTILES,
    float32: bool = False,
) -> Any:
    """Make the unfitted preprocessor of features from `steps.model.served.as_features`.

    Parameters
    ----------
    columns
        The data set's columns.
    how
        The preprocessing, from `resolve`.
    sparse
        Whether the output may be a sparse matrix if it is mostly zeros; with steps of the problem's it never is.
    seed
        Of what is drawn for texts, of the problem's steps, and of the sample of many rows that quantiles are found in.
    at_once
        How many columns of numbers are encoded together; all by default. It changes no value: each column is encoded
        by itself.
    target_encoder
        What encodes the categories where they are encoded by the target: `Task.target_encoder` makes it.
    most_categories
        How many categories of a column have codes of their own where the estimator reads codes as categories; the
        others, which are the rarest, share one. All by default.
    rows
        How many rows it will be fitted on, which quantiles go by.
    float32
        Whether codes of categories are to be float32, as the columns of numbers are.

    Returns
    -------
    sklearn.compose.ColumnTransformer or sklearn.pipeline.Pipeline
        Made of scikit-learn's own classes, so that it can be stored without pickle; a pipeline where the problem has
        steps of its own, with their classes.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    numbers = dates.numbers(columns, how.dates)
    categories = categories_of(columns, how)
    parts = []
    for start in range(0, len(numbers), at_once or len(numbers) or 1):
        block = numbers[start : start + (at_once or len(numbers))]
        parts.append((f"numbers_{start}" if start else "numbers", _numbers(how, seed, rows), block))
    if categories:
        encoder = _categories(how, target_encoder, most_categories, float32=float32)
        parts.append(("categories", encoder, categories))
    for place, (name, size) in enumerate(how.texts.items()):
        parts.append((f"text_{place}", _text(size, seed), [name]))
    if not how.steps:
        return ColumnTransformer(parts, sparse_threshold=0.3 if sparse else 0)
    made = transformers(how.steps, where="preprocessing.steps", seed=seed)
    named = [(f"step_{number}", step) for number, step in enumerate(made)]
    return Pipeline([("encode", ColumnTransformer(parts, sparse_threshold=0)), *named])


def _numbers(how: Preprocessing, seed: int, rows: int) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer, StandardScaler

    steps = []
    if how.missing == "impute":
        steps.append(SimpleImputer(strategy="median", keep_empty_features=True))
    if how.numbers == "quantile":
        most = min(max(rows // ROWS_A_QUANTILE, FEWEST_QUANTILES), MOST_QUANTILES, rows)
        steps.append(QuantileTransformer(n_quantiles=most, output_distribution="normal", random_state=seed))
    if how.numbers in ("quantile", "standardize"):  # the ends of a column of few values lie far out
        steps.append(StandardScaler())
    return make_pipeline(*steps) if steps else "passthrough"


def _categories(how: Preprocessing, target_encoder: Any, most_categories: int | None, *, float32: bool) -> Any:
    import numpy as np
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    if how.categories == "target":
        # means of a target in thousands are as far from 0 as numbers are
        return target_encoder if how.numbers == "as_is" else make_pipeline(target_encoder, StandardScaler())
    if how.categories == "onehot":
        # rare categories share a column; an unseen category is encoded in it too
        return OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=100, dtype=np.float64)
    unseen, missing = (np.nan, np.nan) if how.missing == "keep" or how.categories == "native" else (-1, -2)
    return OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=unseen,
        encoded_missing_value=missing,
        max_categories=most_categories if how.categories == "native" else None,
        dtype=np.float32 if float32 else np.float64,
    )


def _text(size: int, seed: int) -> Any:
    """Latent semantic analysis of a column's words: S. Deerwester et al., JASIS 41, 1990."""
    import numpy as np
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    return make_pipeline(
        SimpleImputer(strategy="constant", fill_value="", keep_empty_features=True),
        FunctionTransformer(np.ravel, feature_names_out="one-to-one"),  # the next one takes no columns
        TfidfVectorizer(max_features=_MOST_WORDS, min_df=2, sublinear_tf=True),
        TruncatedSVD(size, random_state=seed),
    )
