import warnings

import numpy as np
import pytest

from tabular.plots import regressor_plots, style
from tests.drawn import HARD_NAMES, assert_drawn, marks_of, text_of

pytestmark = pytest.mark.slow

OF_ANSWERS = [
    regressor_plots.predicted_against_actual,
    regressor_plots.residuals_against_predicted,
    regressor_plots.error_distribution,
]
MINUS = "\N{MINUS SIGN}"
LEVELS = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95]


@pytest.fixture(autouse=True)
def every_warning_is_an_error():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def answers(n, seed=0):
    """Skewed targets of n rows and fairly good predictions."""
    rng = np.random.default_rng(seed)
    y = rng.lognormal(8, 1, n)
    return y, y * rng.lognormal(0, 0.2, n)


def histogram(values, edges):
    return edges, np.histogram(values, edges)[0]


@pytest.mark.parametrize("draw", OF_ANSWERS)
@pytest.mark.parametrize("n", [2, 20, 300, 2001, 100_000])
def test_answers_of_any_number_of_rows_are_drawn(draw, n, tmp_path):
    y, predicted = answers(n)
    assert_drawn(draw(y, predicted, target="price", title=f"{n} rows"), tmp_path)


@pytest.mark.parametrize("draw", OF_ANSWERS)
@pytest.mark.parametrize("n", [2, 20, 300, 2001, 100_000])
def test_weighted_answers_are_drawn(draw, n, tmp_path):
    y, predicted = answers(n)
    weights = np.random.default_rng(0).integers(0, 4, n) / 3
    weights[0] = 1e-9
    assert_drawn(draw(y, predicted, target="price", weights=weights, title="weighted"), tmp_path)


NORMAL = np.random.default_rng(1).normal(size=3000)
DEGENERATE = {
    "one row": ([3.0], [4.0]),
    "whole numbers": ([1, 2, 3], [2, 2, 2]),
    "all values equal": ([5.0] * 40, [5.0] * 40),
    "many values equal": ([5.0] * 4000, [5.0] * 4000),
    "perfect": (NORMAL, NORMAL),
    "constant target": (np.full(3000, 2.0), NORMAL),
    "constant prediction": (NORMAL, np.full(3000, 0.1)),
    "nearly constant": (1e6 + NORMAL[:400] * 1e-3, np.full(400, 1e6)),
    "constant but for rounding": (np.full(400, 5.0), 5 + 1e-16 * np.arange(400)),
    "errors equal but for rounding": (5 + 1e-15 * np.arange(400), np.full(400, 2.0)),
    "one blown": (NORMAL, np.r_[1e12, NORMAL[1:]]),
    "heavy tails": (np.exp(8 * NORMAL), np.exp(8 * NORMAL[::-1])),
    "tiny": (1e-300 * NORMAL, 1e-300 * NORMAL[::-1]),
    "huge": (1e12 * NORMAL, 1e12 * NORMAL[::-1]),
    "too large": (1e308 * NORMAL.clip(-1, 1), -1e308 * NORMAL.clip(-1, 1)),
    "single precision": (NORMAL.astype(np.float32), NORMAL[::-1].astype(np.float32)),
}


@pytest.mark.parametrize("draw", OF_ANSWERS)
@pytest.mark.parametrize(("y", "predicted"), DEGENERATE.values(), ids=DEGENERATE)
@pytest.mark.parametrize("weighted", [False, True])
def test_degenerate_answers_are_drawn(draw, y, predicted, weighted, tmp_path):
    weights = np.arange(1, len(y) + 1) / 7 if weighted else None
    assert_drawn(draw(np.array(y), np.array(predicted), target="y", weights=weights, title="degenerate"), tmp_path)


@pytest.mark.parametrize("draw", OF_ANSWERS)
@pytest.mark.parametrize(
    ("y", "predicted", "weights", "said"),
    [
        ([], [], None, "There are no rows."),
        ([], [], [], "no rows with a weight above 0"),
        ([1.0, 2.0], [1.0, 3.0], [0.0, 0.0], "no rows with a weight above 0"),
        ([1.0, 2.0], [np.nan, np.inf], None, "No row has a finite target and prediction."),
    ],
)
def test_a_picture_without_rows_says_why(draw, y, predicted, weights, said, tmp_path):
    figure = draw(np.array(y), np.array(predicted), target="y", weights=weights, title="nothing")
    assert_drawn(figure, tmp_path)
    assert said in text_of(figure)


@pytest.mark.parametrize("draw", OF_ANSWERS)
@pytest.mark.parametrize("n", [300, 5000])
def test_rows_without_finite_numbers_are_left_out_and_said(draw, n, tmp_path):
    y, predicted = answers(n)
    predicted[:3] = np.nan, np.inf, -np.inf
    figure = draw(y, predicted, target="y", title="t")
    assert_drawn(figure, tmp_path)
    assert "3 rows without finite numbers" in text_of(figure)


@pytest.mark.parametrize("draw", OF_ANSWERS)
@pytest.mark.parametrize("n", [2000, 500_000])
def test_a_long_remark_takes_more_lines(draw, n, tmp_path):
    y, predicted = np.random.default_rng(0).normal(size=(2, n)) * 1e7
    y[: n // 200], predicted[n // 200 : n // 100], predicted[-n // 100 :] = 8e8, 8e8, np.nan
    figure = draw(y, predicted, target="y", weights=np.ones(n), title="t")
    assert_drawn(figure, tmp_path)
    assert f"{n // 100:,} rows without finite numbers" in text_of(figure)
    assert "outside" in text_of(figure)


@pytest.mark.parametrize("draw", OF_ANSWERS)
@pytest.mark.parametrize("n", [300, 5000])
def test_rows_without_weight_are_as_rows_that_are_not_there(draw, n, tmp_path):
    y, predicted = answers(n)
    weights = np.where(np.arange(n) % 3, 1.5, 0)
    kept = weights > 0
    style.save(draw(y, predicted, target="y", weights=weights, title="t"), tmp_path / "a.png")
    figure = draw(y[kept], predicted[kept], target="y", weights=weights[kept], title="t")
    style.save(figure, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


# --- predicted against actual -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", OF_ANSWERS[:2])
@pytest.mark.parametrize("n", [2000, 2001])
def test_few_rows_are_points_and_many_are_hexagons(draw, n):
    from matplotlib.collections import PathCollection, PolyCollection

    y, predicted = answers(n)
    first = draw(y, predicted, target="y", title="").axes[0].collections[0]
    assert isinstance(first, PathCollection if n <= regressor_plots.MOST_POINTS else PolyCollection)


@pytest.mark.parametrize("draw", OF_ANSWERS)
def test_a_picture_of_millions_of_rows_is_made_of_few_marks(draw, tmp_path):
    figure = draw(*answers(2_000_000), target="y", title="two million rows")
    assert marks_of(figure) < 3 * regressor_plots.HEXAGONS**2
    assert_drawn(figure, tmp_path)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_hexagons_hold_all_rows_within_the_limits(weighted):
    y, predicted = answers(20_000)
    weights = np.random.default_rng(0).random(20_000) + 0.1 if weighted else None
    figure = regressor_plots.predicted_against_actual(y, predicted, target="y", weights=weights, title="")
    axes = figure.axes[0]
    low, high = axes.get_xlim()
    inside = (low <= np.minimum(y, predicted)) & (np.maximum(y, predicted) <= high)
    outside = 20_000 - np.count_nonzero(inside)
    assert axes.collections[0].get_array().sum() == pytest.approx(
        inside.sum() if weights is None else weights[inside].sum()
    )
    assert f"{outside} of 20,000 rows lie outside" in text_of(figure)
    assert 0 < outside < 400
    assert ("weight in a hexagon" if weighted else "rows in a hexagon") in text_of(figure)


def test_both_axes_have_the_same_limits_and_the_target_is_named():
    y, predicted = answers(500)
    figure = regressor_plots.predicted_against_actual(y, predicted / 3, target="price", title="")
    axes = figure.axes[0]
    assert axes.get_xlim() == axes.get_ylim()
    assert {"predicted price", "actual price", "actual = predicted"} <= set(text_of(figure).split("\n"))


@pytest.mark.parametrize("n", [1000, 30_000])
def test_a_row_far_from_all_others_does_not_hide_them(n):
    y, predicted = np.random.default_rng(0).normal(size=(2, n))
    predicted[7] = 1e9
    figure = regressor_plots.predicted_against_actual(y, predicted, target="y", title="")
    assert f"1 of {n:,} rows lies outside" in text_of(figure)
    assert figure.axes[0].get_xlim()[1] < 12


def test_no_row_of_a_well_behaved_target_lies_outside():
    y = np.random.default_rng(0).normal(size=50_000)
    assert "outside" not in text_of(regressor_plots.predicted_against_actual(y, 0.9 * y, target="y", title=""))


def test_the_area_of_a_point_is_its_weight():
    figure = regressor_plots.predicted_against_actual(
        np.arange(4), np.arange(4), target="y", weights=np.array([1.0, 2.0, 1.0, 2.0]), title=""
    )
    sizes = figure.axes[0].collections[0].get_sizes()
    assert sizes / sizes[0] == pytest.approx([1, 2, 1, 2])
    assert "a point's area is its weight" in text_of(figure)


@pytest.mark.parametrize(("scale", "tick"), [(100, "200"), (10_000, "20,000"), (10_000_000, "20,000,000")])
def test_ticks_of_large_numbers_have_commas(scale, tick):
    y = scale * np.linspace(0, 4, 300)
    words = text_of(regressor_plots.predicted_against_actual(y, y, target="y", title="")).split("\n")
    assert tick in words


def test_no_two_ticks_of_a_narrow_axis_read_the_same():
    for width in (0.5, 7, 12, 28, 35):
        y = 5000 + np.linspace(0, width, 300)
        axes = regressor_plots.predicted_against_actual(y, y, target="y", title="").axes[0]
        axes.figure.canvas.draw()
        words = [label.get_text() for label in axes.get_xticklabels()]
        assert len(set(words)) == len(words) > 2


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [5, 29, 30, 89, 600, 5000])
def test_the_running_bins_have_equal_rows_and_enough(n):
    y, predicted = answers(n)
    middle, low, median, high = regressor_plots._running(regressor_plots._Rows.of(y, predicted, None))
    assert len(middle) == min(20, n // 30)
    assert (np.diff(middle) > 0).all()
    assert ((low <= median) & (median <= high)).all()
    said = f"no running median of fewer than {regressor_plots.LEAST_ROWS_IN_BIN} rows"
    words = text_of(regressor_plots.residuals_against_predicted(y, predicted, target="y", title=""))
    assert (said in words, "median error, in" in words) == (n < 30, n >= 30)


def test_the_running_quantiles_are_those_of_the_bins():
    y, predicted = answers(6000)
    _, low, median, high = regressor_plots._running(regressor_plots._Rows.of(y, predicted, None))
    bins = np.array_split((y - predicted)[np.argsort(predicted)], 20)
    for found, share in ((low, 0.05), (median, 0.5), (high, 0.95)):
        assert found == pytest.approx([np.quantile(errors, share, method="inverted_cdf") for errors in bins])


def test_running_quantiles_of_whole_weights_are_those_of_the_rows_repeated():
    y, predicted = answers(40)
    weights = np.random.default_rng(0).integers(1, 4, 40)
    found = regressor_plots._running(regressor_plots._Rows.of(y, predicted, weights))
    error = np.repeat(y - predicted, weights)
    assert found[0] == pytest.approx(np.median(np.repeat(predicted, weights)))
    assert np.ravel(found[1:]) == pytest.approx(np.quantile(error, (0.05, 0.5, 0.95), method="inverted_cdf"))


def test_rows_with_one_prediction_are_in_one_bin_whatever_their_order():
    rng = np.random.default_rng(0)
    predicted = rng.integers(0, 3, 900).astype(float)
    y = rng.normal(size=900)
    order = rng.permutation(900)
    one = regressor_plots._running(regressor_plots._Rows.of(y, predicted, None))
    other = regressor_plots._running(regressor_plots._Rows.of(y[order], predicted[order], None))
    assert list(one[0]) == [0, 1, 2]
    assert np.array_equal(one, other)


def test_an_error_is_what_the_prediction_lacks():
    y, predicted = np.array([10.0, 20.0, 60.0]), np.array([8.0, 19.0, 30.0])
    words = text_of(regressor_plots.error_distribution(y, predicted, target="price", title="")).split("\n")
    assert {"median 2", "mean 11", f"error: actual {MINUS} predicted price", "rows"} <= set(words)


@pytest.mark.parametrize("n", [7, 8, 1001])
def test_mean_and_median_are_those_of_the_errors(n):
    y, predicted = answers(n)
    error = y - predicted
    words = text_of(regressor_plots.error_distribution(y, predicted, target="y", title=""))
    assert f"median {regressor_plots._number(np.median(error))}" in words
    assert f"mean {regressor_plots._number(np.mean(error))}" in words


def test_mean_and_median_of_weighted_rows_are_those_of_the_rows_repeated():
    y, predicted = answers(500)
    weights = np.random.default_rng(0).integers(0, 4, 500)
    error = np.repeat(y - predicted, weights)
    words = text_of(regressor_plots.error_distribution(y, predicted, target="y", weights=weights, title=""))
    assert f"median {regressor_plots._number(np.median(error))}" in words
    assert f"mean {regressor_plots._number(np.mean(error))}" in words
    assert "weight" in words.split("\n")


def test_what_lies_outside_the_histogram_is_said():
    error = np.arange(-500.0, 500.0)
    error[0] = -123_456.7
    figure = regressor_plots.error_distribution(error, np.zeros(1000), target="y", title="")
    assert f"9 of 1,000 rows lie outside: errors from {MINUS}123,457 to 499" in text_of(figure)
    low, high = figure.axes[0].get_xlim()
    assert -550 < low < high < 550


def test_a_mean_far_out_is_in_the_legend_alone():
    error = np.r_[np.random.default_rng(0).normal(size=999), 1e9]
    figure = regressor_plots.error_distribution(error, np.zeros(1000), target="y", title="")
    assert "mean 1,000,000, outside" in text_of(figure)
    assert figure.axes[0].get_xlim()[1] < 5


@pytest.mark.parametrize(
    ("y", "predicted", "said"),
    [
        ([3.0], [4.0], f"There is one error only: {MINUS}1."),
        ([3.0, 4.0], [3.0, 4.0], "There is one error only: 0,\nof all 2 rows."),
        ([12_345.0] * 1200, [0.0] * 1200, "There is one error only: 12,345,\nof all 1,200 rows."),
    ],
)
def test_errors_that_are_all_equal_are_said(y, predicted, said):
    assert said in text_of(regressor_plots.error_distribution(y, predicted, target="y", title=""))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"),
        (-0.5, f"{MINUS}0.5"),
        (999.94, "999.9"),
        (-1234.5, f"{MINUS}1,234"),
        (2e8, "200,000,000"),
        (3e-9, f"3e{MINUS}09"),
    ],
)
def test_numbers_are_said_briefly(value, said):
    assert regressor_plots._number(value) == said


# --- intervals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 20, 10_000, 10**7])
@pytest.mark.parametrize("covered", [LEVELS, [0.0] * 6, [1.0] * 6, [0.49, 0.62, 0.66, 0.81, 0.88, 0.96]])
def test_coverage_is_drawn(rows, covered, tmp_path):
    widths = [1200.0, 1500, 1900, 2400, 3300, 4500]
    figure = regressor_plots.interval_coverage(LEVELS, covered, widths, rows, target="price", title="Coverage")
    assert_drawn(figure, tmp_path)
    words = text_of(figure)
    assert f"by chance ({rows:,} row" in words
    assert "mean width, in units of price" in words


@pytest.mark.parametrize(
    ("levels", "rows", "said"), [([], 100, "There are no intervals."), ([0.5, 0.9], 0, "There are no rows.")]
)
def test_coverage_without_intervals_or_rows_says_so(levels, rows, said, tmp_path):
    figure = regressor_plots.interval_coverage(levels, levels, levels, rows, target="y", title="t")
    assert_drawn(figure, tmp_path)
    assert text_of(figure).count(said) == 2


def test_widths_that_are_not_finite_are_said(tmp_path):
    about = {"target": "y", "title": "t"}
    figure = regressor_plots.interval_coverage([0.9, 0.5, 0.95], [0.9, 0.5, 1.0], [4, 2, np.inf], 18, **about)
    assert_drawn(figure, tmp_path)
    assert "not finite at 95%" in text_of(figure)
    figure = regressor_plots.interval_coverage([0.9, 0.95], [1.0, np.nan], [np.inf, np.nan], 5, **about)
    assert_drawn(figure, tmp_path)
    assert "No mean width is finite." in text_of(figure)
    assert "levels without a finite share are left out" in text_of(figure)


def test_a_share_that_chance_hardly_explains_is_marked():
    def words(rows):
        return text_of(
            regressor_plots.interval_coverage([0.5, 0.9], [0.51, 0.8], [1, 2], rows, target="y", title="")
        ).split("\n")

    assert {"within the band", "outside the band", "51%", "80%"} <= set(words(200))
    assert "outside the band" not in words(10)
    assert "within the band" not in words(100_000)


def test_shares_of_exact_intervals_lie_in_the_band_nineteen_times_in_twenty():
    levels = np.linspace(0.02, 0.98, 200)
    shares = np.random.default_rng(0).binomial(400, levels) / 400
    figure = regressor_plots.interval_coverage(levels, shares, levels, 400, target="y", title="")
    outside = next(line for line in figure.axes[0].lines if line.get_label() == "outside the band")
    assert 2 <= len(outside.get_xdata()) <= 18


def test_levels_are_drawn_in_their_order():
    figure = regressor_plots.interval_coverage([0.9, 0.5], [0.8, 0.4], [9.0, 5.0], 50, target="y", title="")
    assert [list(line) for line in figure.axes[1].lines[0].get_xydata()] == [[0.5, 5.0], [0.9, 9.0]]


# --- the target -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bins", [1, 2, 40, 400])
def test_the_target_is_drawn(bins, tmp_path):
    y, other = answers(4000)[0], answers(900, seed=1)[0]
    edges = np.histogram_bin_edges(np.r_[y, other], bins)
    parts = {"train": histogram(y, edges), "holdout": histogram(other, edges)}
    figure = regressor_plots.target_distribution(parts, target="price", title="Target")
    assert_drawn(figure, tmp_path)
    assert {"price", "train, 4,000 rows", "holdout, 900 rows"} <= set(text_of(figure).split("\n"))


def test_the_target_is_drawn_as_shares_of_each_part():
    edges = np.array([0.0, 1, 2])
    parts = {"train": (edges, [30, 10]), "holdout": (edges, [1, 1])}
    stairs = regressor_plots.target_distribution(parts, target="y", title="").axes[0].patches
    assert [list(patch.get_data().values) for patch in stairs] == [[0.75, 0.25], [0.5, 0.5]]
    assert len({patch.get_edgecolor() for patch in stairs}) == 2


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({}, "There are no rows."),
        ({"train": ([0.0, 1.0], [0]), "holdout": ([0.0, 1.0], [0])}, "There are no rows."),
        ({"train": ([], []), "holdout": ([], [])}, "There are no rows."),
        ({"train": ([5.0, 5.0], [3]), "holdout": ([5.0, 5.0], [1])}, "There is one value only: 5,\nof all 4 rows."),
        ({"train": ([0.0, 1.0, 2.0], [3, 1]), "holdout": ([0.0, 1.0, 2.0], [0, 0])}, "holdout, 0 rows"),
    ],
)
def test_what_cannot_be_drawn_of_a_target_is_said(parts, said, tmp_path):
    figure = regressor_plots.target_distribution(parts, target="y", title="Target")
    assert_drawn(figure, tmp_path)
    assert said in text_of(figure)


# --- all --------------------------------------------------------------------------------------------------------------


def of_one_name(name, title, n=300):
    """All the pictures, of a target with a name."""
    y, predicted = answers(n)
    edges = np.histogram_bin_edges(y, 20)
    return [
        *(draw(y, predicted, target=name, title=title) for draw in OF_ANSWERS),
        regressor_plots.interval_coverage(LEVELS, LEVELS, [1, 2, 3, 4, 5, 6], n, target=name, title=title),
        regressor_plots.target_distribution(
            {"train": histogram(y, edges), name: histogram(y, edges)}, target=name, title=title
        ),
    ]


@pytest.mark.parametrize("name", HARD_NAMES)
def test_hard_names_survive(name, tmp_path):
    for figure in of_one_name(name, "Why $a_b^c$ of größe?"):
        assert_drawn(figure, tmp_path)
        words = text_of(figure)
        assert r"Why \$a_b^c\$ of größe?" in words
        assert style.text(name) in words


@pytest.mark.parametrize("n", [3, 5000])
def test_a_long_title_is_wrapped(n, tmp_path):
    for figure in of_one_name("y" * 300, "a title that does not end " * 12, n):
        assert_drawn(figure, tmp_path)
        assert " …" in text_of(figure)


@pytest.mark.parametrize("n", [300, 5000])
def test_the_same_input_gives_the_same_bytes_whatever_the_users_style(n, tmp_path):
    import matplotlib

    def saved(folder):
        style.save_all({f"{place}": figure for place, figure in enumerate(of_one_name("y", "t", n))}, folder)
        return [path.read_bytes() for path in sorted(folder.iterdir())]

    ours = saved(tmp_path / "a")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black", "savefig.dpi": 50}):
        assert saved(tmp_path / "b") == ours
        assert matplotlib.rcParams["font.size"] == 20, "the user's own style is left as it was"


@pytest.mark.parametrize("draw", OF_ANSWERS)
def test_a_picture_leaves_the_numbers_it_is_given_as_they_are(draw):
    y, predicted = answers(3000)
    weights = np.ones(3000)
    for values in (y, predicted, weights):
        values.flags.writeable = False
    draw(y, predicted, target="y", weights=weights, title="t")
