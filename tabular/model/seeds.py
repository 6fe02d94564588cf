"""The mean of LightGBM fits that differ in their seed, as one model.

Which rows and columns each tree of a fit is given is drawn at random. Another seed draws others, and answers a little
differently; the mean of several errs less than one (L. Breiman, "Bagging Predictors", Machine Learning 24, 1996). What
a booster answers is a sum over its trees, so the mean of boosters is one booster: all their trees, with what a leaf
gives divided by their number. Of classes it is the mean before it becomes probabilities.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tabular.model.boosting import aliases
from tabular.sections.models import is_shared

# What a tree gives, in LightGBM's text of it; and what of the text's head belongs to the trees of one booster alone.
_GIVEN = re.compile(r"^(leaf_value|internal_value|leaf_const|leaf_coeff)=(.*)$", re.MULTILINE)
_SIZES = re.compile(r"^tree_sizes=.*\n", re.MULTILINE)
_FIRST, _END = "Tree=0\n", "end of trees\n"
# A random forest's text has this line: what its trees give is divided by their number as it is.
_IS_MEAN = "\naverage_output\n"
# The kinds of boosting that draw nothing by themselves.
_PLAIN = ("gbdt", "gbrt", "traditional")


def can_differ(estimator: str, params: Mapping[str, Any]) -> bool:
    """Whether fits of an estimator, by its import path and hyperparameters, differ by their seed and have a mean."""
    return is_shared(estimator) and draws(params)


def draws(params: Mapping[str, Any]) -> bool:
    """Whether fits of LightGBM with these hyperparameters differ by their seed."""

    def given(name: str) -> list[Any]:
        return [params[one] for one in aliases(name) if params.get(one) is not None]

    shares = [*given("feature_fraction"), *given("feature_fraction_bynode")]
    if any(every > 0 for every in given("bagging_freq")):
        names = ("bagging_fraction", "pos_bagging_fraction", "neg_bagging_fraction")
        shares += [share for name in names for share in given(name)]
    kinds = [*given("boosting"), *given("data_sample_strategy")]
    return (
        any(share < 1 for share in shares)
        or any(given("extra_trees"))
        or any(given("use_quantized_grad"))
        or any(kind not in (*_PLAIN, "bagging") for kind in kinds)
    )


def mean(boosters: Sequence[Any]) -> Any:
    """The booster whose answers, before they become probabilities, are the mean of those of boosters of one kind."""
    import lightgbm

    texts = [one.model_to_string(num_iteration=-1) for one in boosters]
    head, _, _ = texts[0].partition(_FIRST)
    _, _, tail = texts[0].partition(_END)
    share = 1.0 if _IS_MEAN in head else 1 / len(boosters)
    trees = "".join(_trees(text, share) for text in texts)
    return lightgbm.Booster(model_str=f"{_SIZES.sub('', head)}{trees}{_END}{tail}")


def _trees(text: str, share: float) -> str:
    """The trees of a booster's text, which give a share of what they gave."""
    start, end = text.index(_FIRST), text.index(_END)

    def scaled(line: re.Match[str]) -> str:
        # a leaf without a linear model has an empty place
        values = [repr(share * float(value)) if value else "" for value in line[2].split(" ")]
        return f"{line[1]}={' '.join(values)}"

    return _GIVEN.sub(scaled, text[start:end])
