"""What a sample of the training rows shows of a column: what tells the class too well, and what by chance does not."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabular.data import evidence
from tabular.data.datasets import Column
from tabular.data.evidence import LEAK, Evidence, look, sampled
from tabular.data.targets import strata

N = 1_000
DRAWN = np.random.default_rng(0)
NOISE = DRAWN.normal(size=N)
TWO = DRAWN.integers(0, 2, N)  # classes
RARE = (np.arange(N) % 50 == 7).astype(int)
MANY = DRAWN.integers(0, 12, N)
DAY = 86_400_000_000


def seen(
    values: Any,
    codes: Sequence[int] | np.ndarray,
    *,
    kind: str = "",
    name: str = "v",
    rows: int = 0,
    numbers: np.ndarray | None = None,
) -> Evidence:
    """The evidence of one column."""
    array = values if isinstance(values, pa.Array) else pa.array(values)
    if pa.types.is_integer(array.type):
        array = array.cast(pa.float64())
    dtype = {pa.string(): "string", pa.bool_(): "boolean", pa.timestamp("us"): "datetime"}.get(array.type, "double")
    column = Column(name, dtype, kind or ("category" if dtype == "string" else "number"))  # type: ignore[arg-type]
    return look([column], pa.table({name: array}), np.asarray(codes), rows or len(array), numbers)[name]


def score(values: Any, codes: Any, **how: Any) -> float:
    found = seen(values, codes, **how).score
    assert found is not None
    return found


# --- the sample -------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=60), st.integers(1, 40))
def test_the_sample_is_of_training_rows_and_holds_rare_classes(rows: list[tuple[int, bool]], most: int) -> None:
    codes, train = np.array([code for code, _ in rows]), np.array([held for _, held in rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evidence, "MOST_ROWS", most)
        patch.setattr(evidence, "OF_EACH_CLASS", 2)
        mask = sampled(codes, train, 1)
    assert not mask[~train].any()
    assert mask.sum() == min(most, train.sum())
    if most >= 8:  # two of each of four classes
        for code in range(4):
            assert mask[codes == code].sum() >= min(2, train[codes == code].sum())


def test_of_a_wide_table_fewer_rows_are_looked_at() -> None:
    codes, train = np.zeros(50_000, dtype=int), np.ones(50_000, dtype=bool)
    assert [sampled(codes, train, columns).sum() for columns in (10, 3_000, 20_000)] == [20_000, 2_666, 1_000]


# --- leaks ------------------------------------------------------------------------------------------------------------

LEAKS = {
    "a threshold": (NOISE + 10 * TWO, TWO),
    "a threshold, downwards": (NOISE - 10 * TWO, TWO),
    "a code out of order": (np.where(TWO == 1, 3, DRAWN.choice([1, 2, 4, 5], N)), TWO),
    "a status": (np.where(TWO == 1, "left", DRAWN.choice(["stays", "new"], N)), TWO),
    "what is missing": (pa.array(np.where(TWO == 1, NOISE, np.nan), from_pandas=True), TWO),
    "a date that is missing": (pa.array([DAY if is_one else None for is_one in TWO], pa.timestamp("us")), TWO),
    "a truth": (TWO == 1, TWO),
    "of a rare class": (NOISE + 10 * RARE, RARE),
    "many classes by a number": (MANY * 3.0, MANY),
    "many classes by a text": (MANY.astype(str), MANY),
    "a stretch in the middle": (NOISE, np.abs(NOISE) < 0.3),
    "many classes by the stretches of a number": (NOISE, np.digitize(NOISE, [-1, 0, 1])),
    "a few errors": (np.where(DRAWN.random(N) < 0.002, 1 - TWO, TWO), TWO),
}
NO_LEAKS = {
    "noise": (NOISE, TWO),
    "an id": (np.arange(N).astype(str), TWO),
    "rows in the order of an id": (np.arange(N), TWO),
    "categories of few rows": (DRAWN.integers(0, N // 2, N).astype(str), TWO),
    "noise beside a rare class": (DRAWN.integers(0, N // 2, N).astype(str), RARE),
    "a good column": (NOISE + 2.5 * TWO, TWO),
    "a category of which one value is sure": (np.where((TWO == 1) & (NOISE > 0), "sure", "open"), TWO),
    "one of many classes": ((MANY == 3).astype(int), MANY),
    "one value": (np.ones(N), TWO),
}


@pytest.mark.parametrize(("values", "codes"), LEAKS.values(), ids=LEAKS)
def test_a_column_that_tells_the_class_is_a_leak(values: Any, codes: Any) -> None:
    assert score(values, codes) >= LEAK


@pytest.mark.parametrize(("values", "codes"), NO_LEAKS.values(), ids=NO_LEAKS)
def test_a_column_that_does_not_is_none(values: Any, codes: Any) -> None:
    assert score(values, codes) < 0.98


def test_a_column_of_noise_has_a_score_as_by_guessing_whatever_its_values() -> None:
    draw = np.random.default_rng(1)
    for distinct in (2, 30, 300, N):
        values = draw.integers(0, distinct, N)
        for column in (values, values.astype(str)):
            assert score(column, TWO) == pytest.approx(0.5, abs=0.08)
            assert score(column, MANY) == pytest.approx(1 / 12, abs=0.06)


@pytest.mark.parametrize("rarest", [10, 15, 25])
def test_of_few_rows_no_column_of_noise_is_taken_for_a_leak(rarest: int) -> None:
    draw = np.random.default_rng(rarest)
    codes = np.arange(50) < rarest
    columns = [*draw.normal(size=(1_000, 50)), *draw.integers(0, 25, (1_000, 50)).astype(str)]
    assert max(score(column, codes) for column in columns) < LEAK


@pytest.mark.parametrize("codes", [np.arange(40) % 2, np.arange(300) < 9, np.zeros(300)])
def test_of_too_few_rows_nothing_is_said(codes: np.ndarray) -> None:
    assert seen(codes * 1.0, codes.astype(int)).score is None


def test_the_score_of_a_number_is_scikit_learns_where_its_order_tells_most() -> None:
    from sklearn.metrics import roc_auc_score

    values = NOISE + 3 * TWO
    assert score(values, TWO) == pytest.approx(roc_auc_score(TWO, values), abs=1e-12)


# --- leaks of a number ------------------------------------------------------------------------------------------------

STEPS = np.argsort(DRAWN.permutation(32))[DRAWN.integers(0, 32, N)]  # codes, out of order, of 32 levels of a rate


def of_number(values: Any, y: Any) -> float | None:
    numbers = np.asarray(y, dtype=float)
    return seen(values, strata(numbers, 5)[0], numbers=numbers).score


def few(rows: int) -> np.ndarray:
    return np.random.default_rng(rows).uniform(2, 20, rows).round(1)


TELL_A_NUMBER = {
    "a grade that a rate follows": (np.char.add("g", STEPS.astype(str)), STEPS + 0.2 * NOISE),
    "a code that a rate follows": (STEPS, (STEPS * 7 % 32) + 0.2 * NOISE),
    "a copy": (NOISE, NOISE * 2 + 1),
    "a copy with some errors": (NOISE, NOISE + 0.08 * DRAWN.normal(size=N)),
    "a bent copy": (np.exp(3 * NOISE), NOISE),
    "a copy of a number of which a few are very large": (NOISE, np.exp(5 * NOISE)),
    "its tenths": (strata(NOISE, 5)[0], NOISE),
    "what is left of 24 hours, of 66 rows": (24 - few(66), few(66)),
    "an exact line, of 20 rows": (3 - 2 * few(20), few(20)),
    "a copy of very large numbers": (NOISE * 1e300, NOISE * 1e300),
    "a copy of a sorted number": (np.sort(NOISE) * 2, np.sort(NOISE)),
}
ONE_FAR = np.where(np.arange(N) == 7, 1e6, 0)
WALK = np.random.default_rng(3).normal(size=N).cumsum()
DO_NOT = {
    "noise": (DRAWN.normal(size=N), NOISE),
    "an id": (np.arange(N).astype(str), NOISE),
    "a good column": (NOISE, NOISE + 0.3 * DRAWN.normal(size=N)),
    "a number that is as far in the same row": (DRAWN.normal(size=N) + ONE_FAR, NOISE + ONE_FAR),
    "one value": (np.ones(N), NOISE),
    "whether there was anything": ((STEPS > 24).astype(int), np.where(STEPS > 24, np.exp(NOISE), 0)),
    "the date of a series": (pa.array(np.arange(N) * DAY, pa.timestamp("us")), WALK),
    "the month of a series": (np.char.add("m", (np.arange(N) // 4).astype(str)), WALK),
}


@pytest.mark.parametrize(("values", "y"), TELL_A_NUMBER.values(), ids=TELL_A_NUMBER)
def test_a_column_that_tells_a_number_is_a_leak(values: Any, y: np.ndarray) -> None:
    found = of_number(values, y)
    assert found is not None
    assert found >= LEAK


@pytest.mark.parametrize(("values", "y"), DO_NOT.values(), ids=DO_NOT)
def test_a_column_that_does_not_tell_a_number_is_none(values: Any, y: np.ndarray) -> None:
    assert (of_number(values, y) or 0) < 0.98


@pytest.mark.parametrize("rows", [20, 50])
def test_of_few_numbers_no_column_of_noise_is_taken_for_a_leak(rows: int) -> None:
    draw = np.random.default_rng(rows)
    columns = [*draw.normal(size=(150, rows)), *draw.integers(0, 8, (150, rows)).astype(str)]
    far = np.where(np.arange(rows) < 10, 1e4, 0.0)  # as few as may be scored
    scores = [
        of_number(column, y) or 0 for column in columns for y in (draw.normal(size=rows), far + draw.random(rows))
    ]
    assert max(scores) < LEAK


@pytest.mark.parametrize(("rows", "errors"), [(19, 0), (49, 0.2)])
def test_of_fewer_than_fifty_numbers_only_an_exact_line_through_twenty_is_told(rows: int, errors: float) -> None:
    y = few(rows)
    assert of_number(24 - y + errors * (np.arange(rows) % 4), y) is None


def test_the_score_of_a_line_is_what_the_other_rows_tell() -> None:
    from sklearn.linear_model import LinearRegression
    from sklearn.metrics import r2_score
    from sklearn.model_selection import LeaveOneOut, cross_val_predict

    y = np.sin(np.arange(60) / 9)  # of a series the line alone counts
    x = y + NOISE[:60]
    told = cross_val_predict(LinearRegression(), x[:, None], y, cv=LeaveOneOut())
    tenths = strata(y, 5)[0]
    of_tenths = cross_val_predict(LinearRegression(), x[:, None], tenths, cv=LeaveOneOut())
    assert of_number(x, y) == pytest.approx(max(r2_score(y, told), r2_score(tenths, of_tenths)), abs=1e-9)


# --- ids and groups ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("repeated", "equal"), [(1, 0.0), (2, 1.0), (5, 4.0)])
def test_how_many_rows_are_alike_is_the_same_in_a_sample(repeated: int, equal: float) -> None:
    values = DRAWN.permutation(np.repeat(np.arange(20_000 // repeated), repeated)).astype(float)
    codes = np.zeros(20_000, dtype=int)
    assert seen(values, codes).equal == pytest.approx(equal)
    assert seen(values[:5_000], codes[:5_000], rows=20_000).equal == pytest.approx(equal, abs=0.3)


CUSTOMERS = np.arange(N) // 4
ALWAYS = CUSTOMERS % 3 // 2  # each customer's class


@pytest.mark.parametrize("values", [CUSTOMERS, np.char.add("c", CUSTOMERS.astype(str))])
def test_values_of_several_rows_that_have_one_class_each_are_groups(values: np.ndarray) -> None:
    assert seen(values, ALWAYS).groups == N // 4
    order = DRAWN.permutation(N)
    assert seen(values[order], ALWAYS[order]).groups == N // 4


NO_GROUPS = {
    "classes mixed within values": (CUSTOMERS, TWO),
    "pairs, of which half agree by chance": (np.arange(N) // 2, TWO),
    "pairs beside a rare class, which nearly all agree": (np.arange(N) // 2, RARE),
    "few values": (np.arange(N) % 20, np.arange(N) % 20 % 2),
    "hardly a value twice": (np.where(np.arange(N) < 900, np.arange(N), CUSTOMERS), ALWAYS),
    "fractions": (CUSTOMERS / 7, ALWAYS),
    "amounts of which large ones are one class": (CUSTOMERS, CUSTOMERS > 60),
    "amounts of which some in the middle are one class": (CUSTOMERS, np.abs(CUSTOMERS - 100) < 30),
    "a row without a value": (pa.array([None, *CUSTOMERS[1:].astype(str)]), ALWAYS),
}


@pytest.mark.parametrize(("values", "codes"), NO_GROUPS.values(), ids=NO_GROUPS)
def test_other_values_are_no_groups(values: Any, codes: Any) -> None:
    assert seen(values, codes).groups == 0


# --- time -------------------------------------------------------------------------------------------------------------

DAYS = pa.array(np.arange(N) // 3 * DAY, pa.timestamp("us"))
SHUFFLED = DAYS.take(pa.array(DRAWN.permutation(N)))
LATE = pa.array([(row // 3 - 5 * (row % 500 == 99)) * DAY for row in range(N)], pa.timestamp("us"))
DATES = np.datetime64("2023-11-20") + np.arange(N) // 3


def written(form: str) -> list[str]:
    return [day.strftime(form) for day in DATES.astype(object)]


IN_ORDER = {
    "dates": (DAYS, "v"),
    "dates, the newest first": (DAYS.take(pa.array(np.arange(N)[::-1])), "v"),
    "dates with a few late rows": (LATE, "v"),
    "numbers such as 20231120": ([int(text) for text in written("%Y%m%d")], "v"),
    "seconds since 1970": (DATES.astype("datetime64[s]").astype(float), "created_at"),
    "milliseconds since 1970": (DATES.astype("datetime64[s]").astype(float) * 1e3, "timestamp"),
    "years": (1990 + np.arange(N) // 40, "Year"),
    "day, month, year": (written("%d.%m.%Y"), "v"),
    "month, day, year": (written("%m/%d/%Y"), "v"),
    "a date with a time of day": (written("%Y/%m/%d 10:30"), "v"),
}
NOT_IN_ORDER = {
    "dates in any order": (SHUFFLED, "v"),
    "a date that is missing": (pa.array([None, *DAYS.to_pylist()[1:]], pa.timestamp("us")), "v"),
    "one date": (pa.array([DAY] * N, pa.timestamp("us")), "v"),
    "numbers that grow": (np.arange(N), "v"),
    "numbers of eight digits that are no dates": (20_250_000 + np.arange(N), "v"),
    "years of building": (1950 + DRAWN.integers(0, 70, N), "year_built"),
    "texts": (np.arange(N).astype(str), "date"),
    "versions": ([f"1.2.{row}" for row in range(N)], "v"),
}


@pytest.mark.parametrize(("values", "name"), IN_ORDER.values(), ids=IN_ORDER)
def test_rows_in_the_order_of_a_time_are_found(values: Any, name: str) -> None:
    assert seen(values, TWO, name=name).is_ordered


@pytest.mark.parametrize(("values", "name"), NOT_IN_ORDER.values(), ids=NOT_IN_ORDER)
def test_other_columns_are_no_order_of_time(values: Any, name: str) -> None:
    assert not seen(values, TWO, name=name).is_ordered


def later(days: pa.Array, more: float) -> np.ndarray:
    """Classes of which one is more frequent the later a row is."""
    when = days.cast(pa.int64()).to_numpy() / DAY / (N // 3)
    return (np.random.default_rng(2).random(N) < 0.3 + more * when).astype(int)


def test_a_target_that_changes_with_time_is_found_with_both_shares() -> None:
    found = seen(SHUFFLED, later(SHUFFLED, 0.4)).drift
    assert found is not None
    assert (found.code in (0, 1), found.earliest != found.latest) == (True, True)
    ends = sorted([found.earliest, found.latest])
    assert ends[0] == pytest.approx(0.32, abs=0.12)
    assert ends[1] == pytest.approx(0.68, abs=0.12)


def test_a_target_that_stays_as_it_is_does_not_drift() -> None:
    for seed in range(200):
        codes = np.random.default_rng(seed).integers(0, 2, N)
        assert seen(SHUFFLED, codes).drift is None


def test_a_date_of_birth_is_no_time_of_rows() -> None:
    born = pa.array((np.arange(N) % 50 * 365 + 7) * DAY, pa.timestamp("us"))
    assert seen(born, (np.arange(N) % 50 > 25).astype(int)).drift is None
