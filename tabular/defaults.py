"""Defaults of a problem: its models, and the search spaces of well-known estimators.

The ranges cover what is usual in the literature. They are narrower where a search of minutes would waste its time:

- P. Probst, A.-L. Boulesteix and B. Bischl, "Tunability: Importance of Hyperparameters of Machine Learning Algorithms",
  JMLR 20, 2019 (what is worth searching, and between which bounds; table 1).
- J. N. van Rijn and F. Hutter, "Hyperparameter Importance Across Datasets", KDD 2018 (for a random forest: the
  size of the leaves and the share of the columns).
- L. Grinsztajn, E. Oyallon and G. Varoquaux, "Why do tree-based models still outperform deep learning on typical
  tabular data?", NeurIPS 2022, appendix (forests and histogram gradient boosting).
- Y. Gorishniy, I. Rubachev, V. Khrulkov and A. Babenko, "Revisiting Deep Learning Models for Tabular Data", NeurIPS
  2021, appendix (gradient boosting).
- D. Salinas and N. Erickson, "TabRepo: A Large Scale Repository of Tabular Model Evaluations and its AutoML
  Applications", AutoML 2024 (that a few good points to begin with are worth much of a search).
"""

from collections.abc import Mapping
from typing import Any

# What `space: default` stands for, by estimator: fixed `params`, the `preprocessing`, the search `space`, `start`, the
# points that are tried after the model's own, and what holds for a `wide` table (`tabular.model.wide_tables`).
# LightGBM's number of iterations is in no space: the search finds it by early stopping.
_LIGHTGBM: Mapping[str, Any] = {
    "params": {"subsample_freq": 1},
    "space": {
        "num_leaves": {"type": "int", "low": 8, "high": 512, "log": True},
        "learning_rate": {"type": "float", "low": 0.05, "high": 0.3, "log": True},
        "min_child_samples": {"type": "int", "low": 5, "high": 200, "log": True},
        "colsample_bytree": {"type": "float", "low": 0.3, "high": 1.0},
        "subsample": {"type": "float", "low": 0.5, "high": 1.0},
        "reg_lambda": {"type": "float", "low": 0.001, "high": 30.0, "log": True},
    },
    "start": [
        {
            "num_leaves": 383,
            "learning_rate": 0.15,
            "min_child_samples": 20,
            "colsample_bytree": 0.6,
            "subsample": 0.9,
            "reg_lambda": 1.0,
        }
    ],
    "wide": {"max_bin": 63, "num_leaves": 63, "colsample_bytree": 0.4},
}
_HISTOGRAMS: Mapping[str, Any] = {
    "params": {},
    "space": {
        "max_leaf_nodes": {"type": "int", "low": 8, "high": 128, "log": True},
        "learning_rate": {"type": "float", "low": 0.02, "high": 0.3, "log": True},
        "max_iter": {"type": "int", "low": 50, "high": 500, "log": True},
        "min_samples_leaf": {"type": "int", "low": 5, "high": 200, "log": True},
        "max_features": {"type": "float", "low": 0.3, "high": 1.0},
        "l2_regularization": {"type": "float", "low": 0.001, "high": 30.0, "log": True},
    },
    "start": [
        {
            "max_leaf_nodes": 31,
            "learning_rate": 0.05,
            "max_iter": 300,
            "min_samples_leaf": 20,
            "max_features": 0.7,
            "l2_regularization": 1.0,
        }
    ],
    "wide": {"max_bins": 63, "max_leaf_nodes": 31, "max_features": 0.4},
}
_XGBOOST: Mapping[str, Any] = {
    "params": {},
    "space": {
        "n_estimators": {"type": "int", "low": 50, "high": 1000, "log": True},
        "learning_rate": {"type": "float", "low": 0.02, "high": 0.3, "log": True},
        "max_depth": {"type": "int", "low": 3, "high": 10},
        "min_child_weight": {"type": "float", "low": 0.1, "high": 30.0, "log": True},
        "subsample": {"type": "float", "low": 0.5, "high": 1.0},
        "colsample_bytree": {"type": "float", "low": 0.3, "high": 1.0},
        "reg_lambda": {"type": "float", "low": 0.001, "high": 30.0, "log": True},
    },
    "start": [
        {
            "n_estimators": 300,
            "learning_rate": 0.08,
            "max_depth": 6,
            "min_child_weight": 2.0,
            "subsample": 0.9,
            "colsample_bytree": 0.6,
            "reg_lambda": 1.0,
        }
    ],
    "wide": {"max_bin": 63, "max_depth": 6, "colsample_bytree": 0.4},
}
# What CatBoost begins with by itself are 1,000 iterations, at a step that it chooses by them and the rows.
_CATBOOST: Mapping[str, Any] = {
    "params": {},
    "space": {
        "iterations": {"type": "int", "low": 100, "high": 1000, "log": True},
        "learning_rate": {"type": "float", "low": 0.02, "high": 0.3, "log": True},
        "depth": {"type": "int", "low": 4, "high": 8},
        "l2_leaf_reg": {"type": "float", "low": 0.1, "high": 30.0, "log": True},
        "random_strength": {"type": "float", "low": 0.1, "high": 10.0, "log": True},
    },
    "start": [
        {"iterations": 500, "learning_rate": 0.08, "depth": 6, "l2_leaf_reg": 3.0, "random_strength": 1.0},
    ],
}
# Its rounds end when a tenth of the rows, which it puts aside by its seed, gains no more. Batches of 32 rows were
# better than its own of 200 in 11 of 14 fits of 250 to 2,500 rows and worse in 2, in up to twice the time.
_NET: Mapping[str, Any] = {
    "params": {"early_stopping": True, "max_iter": 200, "batch_size": 32},
    "preprocessing": {"numbers": "quantile"},
    "space": {
        "hidden_layer_sizes": {"type": "choice", "options": [[64], [128, 64], [256, 128]]},
        "alpha": {"type": "float", "low": 0.00001, "high": 1.0, "log": True},
        "learning_rate_init": {"type": "float", "low": 0.0003, "high": 0.01, "log": True},
    },
    "start": [{"hidden_layer_sizes": [128, 64], "alpha": 0.01, "learning_rate_init": 0.001}],
}
_NEIGHBOURS: Mapping[str, Any] = {
    # by the tree, whatever the columns are: what it finds depends neither on threads nor on what else is asked with it
    "params": {"algorithm": "kd_tree"},
    "space": {
        "n_neighbors": {"type": "int", "low": 3, "high": 100, "log": True},
        "weights": {"type": "choice", "options": ["uniform", "distance"]},
        "p": {"type": "choice", "options": [1, 2]},
    },
    "start": [{"n_neighbors": 30, "weights": "distance", "p": 1}],
}
SPACES_OF_CLASSES: Mapping[str, Mapping[str, Any]] = {
    "lightgbm.LGBMClassifier": _LIGHTGBM,
    "xgboost.XGBClassifier": _XGBOOST,
    "catboost.CatBoostClassifier": _CATBOOST,
    "sklearn.ensemble.HistGradientBoostingClassifier": _HISTOGRAMS,
    "sklearn.ensemble.RandomForestClassifier": {
        "params": {"n_estimators": 200},
        "space": {
            "max_features": {"type": "float", "low": 0.05, "high": 1.0, "log": True},
            "min_samples_leaf": {"type": "int", "low": 1, "high": 50, "log": True},
            "max_samples": {"type": "float", "low": 0.3, "high": 0.99},
            "criterion": {"type": "choice", "options": ["gini", "entropy"]},
        },
        "start": [{"max_features": 0.3, "min_samples_leaf": 3, "max_samples": 0.9, "criterion": "entropy"}],
        "wide": {"max_features": 0.1, "max_samples": 0.5},
    },
    "sklearn.ensemble.ExtraTreesClassifier": {
        "params": {"n_estimators": 200},
        "space": {
            "max_features": {"type": "float", "low": 0.05, "high": 1.0, "log": True},
            "min_samples_leaf": {"type": "int", "low": 1, "high": 50, "log": True},
            "criterion": {"type": "choice", "options": ["gini", "entropy"]},
        },
        "start": [{"max_features": 0.5, "min_samples_leaf": 3, "criterion": "entropy"}],
        "wide": {"max_features": 0.1},
    },
    "sklearn.neural_network.MLPClassifier": _NET,
    "sklearn.neighbors.KNeighborsClassifier": _NEIGHBOURS,
    "sklearn.linear_model.LogisticRegression": {
        "params": {"max_iter": 1000},
        "space": {"C": {"type": "float", "low": 0.0001, "high": 1000.0, "log": True}},
        "start": [{"C": 0.1}],
    },
}

SPACES_OF_NUMBERS: Mapping[str, Mapping[str, Any]] = {
    "lightgbm.LGBMRegressor": _LIGHTGBM,
    "xgboost.XGBRegressor": _XGBOOST,
    "catboost.CatBoostRegressor": _CATBOOST,
    "sklearn.ensemble.HistGradientBoostingRegressor": _HISTOGRAMS,
    "sklearn.ensemble.RandomForestRegressor": {
        "params": {"n_estimators": 200},
        "space": {
            "max_features": {"type": "float", "low": 0.1, "high": 1.0, "log": True},
            "min_samples_leaf": {"type": "int", "low": 1, "high": 50, "log": True},
            "max_samples": {"type": "float", "low": 0.3, "high": 0.99},
        },
        "start": [{"max_features": 0.5, "min_samples_leaf": 3, "max_samples": 0.9}],
        "wide": {"max_features": 0.2, "max_samples": 0.5},
    },
    "sklearn.ensemble.ExtraTreesRegressor": {
        "params": {"n_estimators": 200},
        "space": {
            "max_features": {"type": "float", "low": 0.1, "high": 1.0, "log": True},
            "min_samples_leaf": {"type": "int", "low": 1, "high": 50, "log": True},
        },
        "start": [{"max_features": 0.7, "min_samples_leaf": 3}],
        "wide": {"max_features": 0.2},
    },
    "sklearn.neighbors.KNeighborsRegressor": _NEIGHBOURS,
    "sklearn.linear_model.Ridge": {
        "params": {},
        "space": {"alpha": {"type": "float", "low": 0.001, "high": 10000.0, "log": True}},
        "start": [{"alpha": 10.0}],
    },
    "sklearn.linear_model.ElasticNet": {
        "params": {"max_iter": 10000},
        "space": {
            "alpha": {"type": "float", "low": 0.0001, "high": 100.0, "log": True},
            "l1_ratio": {"type": "float", "low": 0.05, "high": 1.0},
        },
        "start": [{"alpha": 0.01, "l1_ratio": 0.5}],
    },
}
SPACES: Mapping[str, Mapping[str, Any]] = {**SPACES_OF_CLASSES, **SPACES_OF_NUMBERS}

# The models of a problem that names none, by its task.
MODELS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "classification": {
        "logistic_regression": {"estimator": "sklearn.linear_model.LogisticRegression", "params": {"max_iter": 1000}},
        "random_forest": {
            "estimator": "sklearn.ensemble.RandomForestClassifier",
            "params": {"n_estimators": 200, "min_samples_leaf": 2},
            "wide": {"min_samples_leaf": 10, "max_samples": 0.5},
        },
        "lightgbm": {"estimator": "lightgbm.LGBMClassifier", "params": {}, "space": "default"},
    },
    "regression": {
        "ridge": {"estimator": "sklearn.linear_model.Ridge", "params": {}},
        # a third of the columns for each split, as L. Breiman's own forests of numbers have it ("Random Forests", 2001)
        "random_forest": {
            "estimator": "sklearn.ensemble.RandomForestRegressor",
            "params": {"n_estimators": 200, "min_samples_leaf": 2, "max_features": 0.33},
            "wide": {"min_samples_leaf": 10, "max_samples": 0.5, "max_features": 0.1},
        },
        "lightgbm": {"estimator": "lightgbm.LGBMRegressor", "params": {}, "space": "default"},
    },
}

# What is fitted in seconds: nothing is searched, and there is no forest.
_QUICK: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "classification": {
        "logistic_regression": MODELS["classification"]["logistic_regression"],
        "lightgbm": {"estimator": "lightgbm.LGBMClassifier"},
    },
    "regression": {
        "ridge": MODELS["regression"]["ridge"],
        "lightgbm": {"estimator": "lightgbm.LGBMRegressor"},
    },
}
# What is worth trying beside the default models where there is time: docs/models.md says what each gives.
_MORE: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "classification": {
        "extra_trees": {
            "estimator": "sklearn.ensemble.ExtraTreesClassifier",
            "params": {"n_estimators": 200, "min_samples_leaf": 2, "max_features": 0.5},
            "wide": {"min_samples_leaf": 10, "max_features": 0.1},
        },
        "histograms": {"estimator": "sklearn.ensemble.HistGradientBoostingClassifier", "space": "default"},
        "net": {"estimator": "sklearn.neural_network.MLPClassifier", "space": "default"},
    },
    "regression": {
        "extra_trees": {
            "estimator": "sklearn.ensemble.ExtraTreesRegressor",
            "params": {"n_estimators": 200, "min_samples_leaf": 2, "max_features": 0.7},
            "wide": {"min_samples_leaf": 10, "max_features": 0.1},
        },
        "histograms": {"estimator": "sklearn.ensemble.HistGradientBoostingRegressor", "space": "default"},
        # leaves that are linear models follow what is smooth (Y. Shi, J. Li and Z. Li, "Gradient Boosting with
        # Piece-Wise Linear Regression Trees", IJCAI 2019); they are fitted on rows in memory, hence a sample of many
        "linear_trees": {
            "estimator": "lightgbm.LGBMRegressor",
            "params": {"linear_tree": True, "linear_lambda": 1.0},
            "space": "default",
            "rows": 200_000,
        },
        # a net learns a number of about 0 to 1; within the other it has no space by default
        "net": {
            "estimator": "sklearn.compose.TransformedTargetRegressor",
            "params": {
                "regressor": {
                    "estimator": "sklearn.neural_network.MLPRegressor",
                    "params": {**_NET["params"], "hidden_layer_sizes": [128, 64]},
                },
                "transformer": {"estimator": "sklearn.preprocessing.StandardScaler"},
            },
            "preprocessing": _NET["preprocessing"],
            "space": {f"regressor__{name}": _NET["space"][name] for name in ("alpha", "learning_rate_init")},
            "start": [{"regressor__alpha": 0.01, "regressor__learning_rate_init": 0.001}],
        },
    },
}
# The models of a problem that names a preset in their place, by task. They need nothing beside the lock, so that a
# problem is the same wherever it is read.
PRESETS: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
    "quick": _QUICK,
    "default": MODELS,
    "best": {task: {**models, **_MORE[task]} for task, models in MODELS.items()},
}
