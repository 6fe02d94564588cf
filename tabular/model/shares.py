"""The shares of a chain's models in its seconds."""

from tabular.problem import Problem

# The shares of the models' seconds: a search gains by more of them, a model without a space takes what it takes.
SHARE_OF_SEARCH, SHARE_OF_OTHERS = 3, 1


def of_models(problem: Problem) -> dict[str, int]:
    """The share of the models' seconds that each model is given, before what others leave."""
    return {name: SHARE_OF_SEARCH if model.space else SHARE_OF_OTHERS for name, model in problem.models.items()}
