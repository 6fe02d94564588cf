import subprocess
import sys
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest

from tabular.metrics.classification import METRICS, classification_metrics
from tabular.plots import classifier_plots, style
from tests.drawn import HARD_NAMES, assert_drawn, marks_of, text_of

pytestmark = pytest.mark.slow

OF_ANSWERS = [
    classifier_plots.roc_curve,
    classifier_plots.precision_recall_curve,
    classifier_plots.confusion_matrix,
    classifier_plots.calibration_curve,
]


@pytest.fixture(autouse=True)
def every_warning_is_an_error():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def answers(k, n=300, seed=0):
    """Codes and fairly good probabilities of n rows in k classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    weights = np.exp(rng.normal(size=(n, k)) + 2 * np.eye(k)[y])
    return y, weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("draw", OF_ANSWERS)
@pytest.mark.parametrize("k", [2, 3, 12, 60])
def test_answers_of_any_number_of_classes_are_drawn(draw, k, tmp_path):
    y, p = answers(k)
    assert_drawn(draw(y, p, classes=range(k), title=f"{k} classes"), tmp_path)


@pytest.mark.parametrize("draw", OF_ANSWERS)
@pytest.mark.parametrize(
    ("y", "p"),
    [
        ([0] * 5, np.full((5, 2), 0.5)),
        ([1], [[0.0, 1.0]]),
        ([2], [[0.2, 0.3, 0.5]]),
        ([0, 1] * 20, np.full((40, 2), 0.5)),
        ([0, 1] * 20, np.tile([[1.0, 0.0], [0.0, 1.0]], (20, 1))),
        ([0, 3] * 20, np.full((40, 5), 0.2)),
    ],
    ids=["one class", "one row", "one row of three classes", "all the same", "perfect", "absent classes"],
)
def test_degenerate_answers_are_drawn(draw, y, p, tmp_path):
    p = np.array(p)
    assert_drawn(draw(np.array(y), p, classes=range(p.shape[1]), title="degenerate"), tmp_path)


@pytest.mark.parametrize("draw", OF_ANSWERS[:2])
def test_a_picture_without_a_curve_says_why(draw):
    assert "one class only" in text_of(draw(np.zeros(4, int), np.full((4, 2), 0.5), classes="ab", title=""))


@pytest.mark.parametrize(
    ("draw", "metric"),
    [(classifier_plots.roc_curve, "roc_auc"), (classifier_plots.precision_recall_curve, "average_precision")],
)
@pytest.mark.parametrize("k", [2, 3, 12])
def test_the_legend_agrees_with_the_metrics(draw, metric, k):
    y, p = answers(k, n=3000)
    value = classification_metrics(y, p, classes=range(k), names=[metric])[metric]
    wanted = f"1, A?? {value:.3f}" if k == 2 else f"mean of {k} classes, A?? {value:.3f}"
    assert wanted.replace("A??", "AUC" if metric == "roc_auc" else "AP") in text_of(
        draw(y, p, classes=range(k), title="")
    )


def test_the_positive_class_is_the_one_drawn():
    y, p = answers(2)
    auc = classification_metrics(y, p, classes="ab", positive=0, names=["roc_auc"])["roc_auc"]
    assert f"a, AUC {auc:.3f}" in text_of(classifier_plots.roc_curve(y, p, classes="ab", positive=0, title=""))


@pytest.mark.parametrize("draw", OF_ANSWERS)
@pytest.mark.parametrize("k", [2, 3, 12])
def test_weighted_answers_are_drawn(draw, k, tmp_path):
    y, p = answers(k)
    weights = np.random.default_rng(0).integers(0, 4, len(y)) / 3
    assert_drawn(draw(y, p, classes=range(k), weights=weights, title="weighted"), tmp_path)


@pytest.mark.parametrize(
    ("draw", "metric"),
    [(classifier_plots.roc_curve, "roc_auc"), (classifier_plots.precision_recall_curve, "average_precision")],
)
@pytest.mark.parametrize("k", [2, 3])
def test_the_legend_agrees_with_the_metrics_of_weighted_rows(draw, metric, k):
    y, p = answers(k, n=3000)
    weights = np.where(p.max(axis=1) > 0.5, 1, 9) * (np.arange(len(y)) % 3)
    value = classification_metrics(y, p, classes=range(k), names=[metric], weights=weights)[metric]
    assert f"{value:.3f}" in text_of(draw(y, p, classes=range(k), weights=weights, title=""))
    assert f"{value:.3f}" not in text_of(draw(y, p, classes=range(k), title=""))


def test_a_confusion_matrix_of_weighted_rows_shows_sums_of_weights():
    y, p = np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9]])
    weights = np.array([1234.0, 0.25, 3.0, 0.5])
    words = text_of(classifier_plots.confusion_matrix(y, p, classes="ab", weights=weights, title="")).split("\n")
    assert {"1,234", "0.25", "3.5", "0"} <= set(words)
    assert "share of the true class's weight" in words


def test_the_calibration_of_weighted_rows_is_that_of_the_rows_repeated():
    y, p = answers(2)
    weights = np.random.default_rng(0).integers(1, 4, len(y))
    middle, share, *_ = classifier_plots._calibration(p[:, 1], y == 1, weights)
    edges = np.unique(np.quantile(p[:, 1], np.linspace(0, 1, 11)))
    bins = np.searchsorted(edges[1:-1], p[:, 1], side="right")
    for number in range(10):
        places = np.repeat(np.flatnonzero(bins == number), weights[bins == number])
        assert (middle[number], share[number]) == pytest.approx((p[places, 1].mean(), y[places].mean()))


@pytest.mark.parametrize("draw", OF_ANSWERS[:2])
def test_a_thinned_curve_keeps_its_ends_and_stays_close_to_the_full_one(draw):
    rng = np.random.default_rng(3)
    score = rng.random(24_000)
    y = (rng.random(24_000) < score).astype(int)
    line = draw(y, np.c_[1 - score, score], classes="ab", title="").axes[0].lines[0].get_xydata()
    curve = classifier_plots.ROC if draw is classifier_plots.roc_curve else classifier_plots.PRECISION_RECALL
    full = np.column_stack(curve.points(y == 1, score))
    assert len(line) <= classifier_plots.MOST_POINTS < len(full)
    assert (line[[0, -1]] == full[[0, -1]]).all()
    settled = full[full[:, 0] > 0.05]  # precision jumps about over the first few rows
    assert np.abs(np.interp(settled[:, 0], *line.T) - settled[:, 1]).max() < 0.01


@pytest.fixture(scope="module")
def millions():
    """Codes and probabilities of two million rows."""
    y = np.tile([0, 1], 1_000_000)
    score = np.random.default_rng(0).random(len(y)) * 0.7 + 0.3 * y
    return y, np.c_[1 - score, score]


@pytest.mark.parametrize("draw", OF_ANSWERS)
def test_a_picture_of_millions_of_rows_is_made_of_few_marks(draw, millions, tmp_path):
    y, p = millions
    figure = draw(y, p, classes="ab", title="two million rows")
    assert marks_of(figure) < 3 * classifier_plots.MOST_POINTS
    assert_drawn(figure, tmp_path)


@pytest.mark.parametrize("draw", OF_ANSWERS[:2])
def test_of_the_curves_of_many_classes_one_at_a_time_is_held(draw):
    y, p = answers(40, n=40_000)
    draw(*answers(3), classes=range(3), title="")  # what is imported counts no more
    tracemalloc.start()
    draw(y, p, classes=range(40), title="")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10 * p[:, 0].nbytes + 2_000_000, most


def test_counts_in_the_cells_are_those_of_the_rows():
    p = np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]])
    figure = classifier_plots.confusion_matrix(np.array([0, 0, 1]), p, classes=["no", "yes"], title="")
    cells = [text.get_text() for text in figure.axes[0].texts]
    assert cells == ["1", "1", "0", "1"]


def test_a_big_matrix_has_no_text_in_its_cells_and_few_ticks():
    y, p = answers(60)
    axes = classifier_plots.confusion_matrix(y, p, classes=range(60), title="").axes[0]
    assert not axes.texts
    assert len(axes.get_xticks()) <= 30


def test_calibrated_probabilities_lie_on_the_diagonal():
    rng = np.random.default_rng(4)
    score = rng.random(20_000)
    middle, share, low, high = classifier_plots._calibration(score, rng.random(20_000) < score, np.ones(20_000))
    assert len(middle) == 10
    assert np.abs(middle - share).max() < 0.04
    assert ((low <= share) & (share <= high)).all()


@pytest.mark.parametrize("n", [0, 1, 20, 500])
def test_importances_are_drawn(n, tmp_path):
    importances = {f"feature_{i}": i - 3.0 for i in range(n)}
    figure = classifier_plots.feature_importance(importances, kind="permutation, drop in roc_auc", title="Importance")
    assert_drawn(figure, tmp_path)
    words = text_of(figure)
    assert ("of 500 features" in words) == (n == 500)
    assert n == 0 or f"feature_{n - 1}" in words


@pytest.mark.parametrize("models", [0, 1, 3, 15])
def test_candidates_are_drawn_even_where_a_metric_is_missing(models, tmp_path):
    metrics = {f"model {i}": dict.fromkeys(METRICS, 0.5 + i / 50) for i in range(models)}
    if metrics:
        metrics["model 0"] |= {"roc_auc": float("nan"), "log_loss": float("inf")}
        del metrics["model 0"]["recall"]
    figure = classifier_plots.metrics_of_candidates(metrics, title="Candidates")
    assert_drawn(figure, tmp_path)
    words = text_of(figure)
    assert ("log_loss ↓" in words, "n/a" in words) == (bool(models), bool(models))
    assert "roc_auc ↓" not in words


@pytest.mark.parametrize(
    ("metric", "best"), [("roc_auc", "best 0.9 at 2"), ("binary_logloss", "best 0.1 at 3"), ("log_loss", "at 3")]
)
def test_the_best_iteration_is_marked_in_the_metrics_direction(metric, best, tmp_path):
    curves = {"train": [0.1, 0.2, 0.3], "validation": [0.5, 0.9, 0.1]}
    figure = classifier_plots.learning_curve(curves, metric=metric, title="Learning")
    assert_drawn(figure, tmp_path)
    assert best in text_of(figure)


@pytest.mark.parametrize("curves", [{}, {"train": []}, {"train": [np.nan]}, {"train": [0.5]}, {"v": [np.nan, 0.5]}])
def test_short_learning_curves_are_drawn(curves, tmp_path):
    assert_drawn(classifier_plots.learning_curve(curves, metric="auc", title="Learning"), tmp_path)


@pytest.mark.parametrize("k", [0, 2, 12, 100])
def test_class_balance_is_drawn(k, tmp_path):
    counts = {"train": {f"c{i}": 10 + i for i in range(k)}, "holdout": {f"c{i}": 2 for i in range(k - 1)}}
    figure = classifier_plots.class_balance(counts, title="Balance")
    assert_drawn(figure, tmp_path)
    assert ("most frequent of 100 classes" in text_of(figure)) == (k == 100)


@pytest.mark.parametrize("draw", OF_ANSWERS)
def test_hard_names_survive_in_pictures_of_answers(draw, tmp_path):
    y, p = answers(len(HARD_NAMES))
    figure = draw(y, p, classes=HARD_NAMES, title="Why $a_b^c$ of größe?")
    assert_drawn(figure, tmp_path)
    words = text_of(figure)
    assert r"Why \$a_b^c\$ of größe?" in words
    if draw is not classifier_plots.calibration_curve:
        assert r"\$x_1^2\$" in words
        assert "_hidden" in words
        assert "größe €" in words


def test_hard_names_survive_in_the_other_pictures(tmp_path):
    numbers = dict.fromkeys(HARD_NAMES, 0.5)
    for figure in [
        classifier_plots.feature_importance(numbers, kind="$", title="$$"),
        classifier_plots.metrics_of_candidates({name: {"accuracy": 0.5, "$m_": 0.4} for name in HARD_NAMES}, title="$"),
        classifier_plots.learning_curve({name: [0.1, 0.2] for name in HARD_NAMES}, metric="$l_1$", title="$"),
        classifier_plots.class_balance({"$t_1$": dict.fromkeys(HARD_NAMES, 3)}, title="$"),
    ]:
        assert_drawn(figure, tmp_path)
        words = text_of(figure)
        assert "\\$" in words
        assert "_hidden" in words


def test_a_dollar_is_shown_as_a_dollar():
    from matplotlib.text import Text

    for name in ["$x$", "$", "a$b", "$$$", "\\$"]:
        shown, is_math = Text()._preprocess_math(style.text(name))
        assert (shown, is_math) == (name, False)


def test_long_names_keep_both_ends():
    assert style.text("country_of_origin_" * 4 + "BRA", longest=11) == "count…n_BRA"


def test_the_same_input_gives_the_same_bytes_whatever_the_users_style(tmp_path):
    import matplotlib

    y, p = answers(3)
    for draw in OF_ANSWERS:
        style.save(draw(y, p, classes="abc", title="t"), tmp_path / "a.png")
        with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black", "savefig.dpi": 50}):
            style.save(draw(y, p, classes="abc", title="t"), tmp_path / "b.png")
            assert matplotlib.rcParams["font.size"] == 20, "the user's own style is left as it was"
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_pyplot_is_never_imported():
    code = (
        "import sys; from pathlib import Path; from tabular.plots import classifier_plots as p, search_plots, style;"
        "assert not {'matplotlib', 'sklearn'} & set(sys.modules), 'a heavy import at the top';"
        "style.save(p.class_balance({'train': {'a': 1}}, title='t'), Path(sys.argv[1]));"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, "/dev/null"], check=True, cwd=root)
