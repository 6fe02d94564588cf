"""Hints: what is said of a table, that its advice can be followed, and that ordinary tables are left in peace."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from tabular.data import hints
from tabular.data.hints import GROUP, ID, KINDS, LARGE, LEAK, MARK, NUMBER, ONE_VALUE, TARGET, TEXT, TIME, UNFIT, Hint
from tabular.data.sources import local
from tabular.sections.models import Preprocessing
from tests.prepared import Made

N = 400
DRAWN = np.random.default_rng(0)
NOISE = DRAWN.normal(size=N)
Y = np.where(NOISE + DRAWN.normal(size=N) > 0, "yes", "no")


def made(folder: Path, name: str = "t.csv", split: Any = None, data: Any = None, **columns: Any) -> Made:
    """The data set of a number that tells something of the class, and other columns."""
    table = pd.DataFrame({"x": NOISE.round(3), **columns} | ({} if "y" in columns else {"y": Y}))
    path = folder / name
    if name.endswith(".parquet"):
        table.to_parquet(path, index=False)
    else:
        table.to_csv(path, index=False)
    return Made(path, **({"split": split} if split else {}), **({"data": data} if data else {}))


def of_kind(found: Made, kind: str) -> list[Hint]:
    return [hint for hint in found.prepared.profile.hints() if hint.kind == kind]


def only(found: Made, kind: str) -> str:
    (hint,) = found.prepared.profile.hints()
    assert hint.kind == kind, hint
    return hint.text


def advice(text: str, key: str) -> Any:
    """What a hint says to write under a key of the problem."""
    found = re.search(rf"say {re.escape(key)}: (\{{.*?\}}+)", text)
    assert found, text
    return yaml.safe_load(found[1])


def of_profile(found: Made, name: str, what: str) -> Any:
    table = found.prepared.profile.table()
    return table[what][table["column"].index(name)]


# --- ordinary tables --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["breast_cancer", "iris", "wine"])
def test_data_sets_that_people_learn_on_have_no_hint(tmp_path: Path, name: str) -> None:
    assert Made(local.write_sklearn_set(name, tmp_path), target="target").hints == ""


ORDINARY = {
    "an amount in whole numbers": DRAWN.integers(1_000, 90_000, N),
    "a count": DRAWN.poisson(8, N),
    "a category": DRAWN.choice(["Porto", "Lisboa", "Faro"], N),
    "a category of many values": np.char.add("town ", DRAWN.integers(0, 150, N).astype(str)),
    "a date": pd.Timestamp("2021-01-01") + pd.to_timedelta(DRAWN.integers(0, 700, N), unit="D"),
    "a date of birth": pd.Timestamp("1940-01-01") + pd.to_timedelta(DRAWN.integers(0, 20_000, N), unit="D"),
    "sizes of clothes": DRAWN.choice(["S", "M", "L", "3XL"], N),
    "rooms": [f"{row % 80}{'AB'[row % 2]}" for row in range(N)],
    "a year": DRAWN.integers(1990, 2020, N),
    "a truth": NOISE > 1,
}


@pytest.mark.parametrize("values", ORDINARY.values(), ids=ORDINARY)
def test_ordinary_columns_have_no_hint(tmp_path: Path, values: Any) -> None:
    assert made(tmp_path, v=values).hints == ""


# --- leaks ------------------------------------------------------------------------------------------------------------


def test_a_leak_is_said_with_its_score_and_a_way_out_that_works(tmp_path: Path) -> None:
    found = made(tmp_path, closed=np.where(Y == "yes", "2024-01-02", None))
    text = only(found, LEAK)
    assert text.startswith("'closed' alone tells 'y' nearly without error (ROC AUC 1.000, out of fold, in 320 training")
    assert of_profile(found, "closed", "looks_like") == "leak"
    assert of_profile(found, "closed", "tells_target") == 1.0
    assert 0.7 < of_profile(found, "x", "tells_target") < 0.9
    mended = made(tmp_path, closed=np.where(Y == "yes", "2024-01-02", None), data={"drop": advice(text, "data.drop")})
    assert mended.hints == ""


def test_a_leak_of_many_classes_is_measured_by_balanced_accuracy(tmp_path: Path) -> None:
    classes = DRAWN.choice(list("abcd"), N)
    text = only(made(tmp_path, code=np.char.add("code ", classes), y=classes), LEAK)
    assert "(balanced accuracy 1.000, out of fold" in text


def test_many_leaks_are_one_hint_with_all_of_them(tmp_path: Path) -> None:
    text = only(made(tmp_path, **{f"v{place}": np.where(Y == "yes", place, -1) for place in range(5)}), LEAK)
    assert text.startswith("5 columns, each alone, tell 'y' nearly without error (ROC AUC out of fold: 'v0' 1.000, ")
    assert list(advice(text, "data.drop")) == ["v0", "v1", "v2", "v3", "v4"]


def test_a_leak_is_found_in_training_rows_alone(tmp_path: Path) -> None:
    days = pd.date_range("2024-01-01", periods=N)
    tells = np.where(np.arange(N) < N * 0.8, Y == "yes", Y == "no")  # in the holdout the other way round
    found = made(tmp_path, day=days, v=tells, split={"by": "time", "column": "day"})
    assert of_profile(found, "v", "tells_target") == 1.0


@pytest.mark.parametrize("y", [np.sort(Y), np.repeat(list("abcd"), N // 4)], ids=["two classes", "four classes"])
def test_a_row_number_that_tells_the_target_is_told_as_what_it_is(tmp_path: Path, y: Any) -> None:
    text = only(made(tmp_path, row=np.arange(N) + 7, y=y), LEAK)
    assert "it grows with every row, and the rows are in the order of 'y': if it is an id" in text
    assert made(tmp_path, row=np.arange(N) + 7, y=y, data={"drop": advice(text, "data.drop")}).hints == ""


# --- time -------------------------------------------------------------------------------------------------------------

DAYS = pd.date_range("2024-01-01", periods=N, freq="6h").strftime("%Y-%m-%d %H:%M")


def test_rows_in_the_order_of_a_date_are_said_with_a_split_that_works(tmp_path: Path) -> None:
    text = only(made(tmp_path, day=DAYS), TIME)
    assert text.startswith("the rows are in the order of 'day'")
    found = made(tmp_path, day=DAYS, split=advice(text, "split"))
    assert (found.schema.split_by, found.hints) == ("time", "")
    assert made(tmp_path, day=DAYS, data={"drop": {"day": "not to be seen"}}).hints == ""


def test_a_target_that_changes_with_a_date_is_said_with_a_split_that_works(tmp_path: Path) -> None:
    order = DRAWN.permutation(N)
    y = np.where(DRAWN.random(N) < order / N, "yes", "no")
    text = only(made(tmp_path, day=DAYS[order], y=y), TIME)
    assert re.search(r"the share of .(yes|no). changes with .day., from \d+% of the earliest to \d+% of the", text)
    assert made(tmp_path, day=DAYS[order], y=y, split=advice(text, "split")).hints == ""


def test_numbers_that_are_dates_are_dates_to_the_hint_and_to_the_split(tmp_path: Path) -> None:
    days = [int(text[:10].replace("-", "")) for text in DAYS]
    text = only(made(tmp_path, day=days), TIME)
    assert made(tmp_path, day=days, split=advice(text, "split")).schema.split_by == "time"


def test_dates_in_another_form_are_said_with_their_order(tmp_path: Path) -> None:
    days = pd.to_datetime(DAYS).strftime("%d/%m/%Y")
    text = only(made(tmp_path, day=days), hints.DATE)
    assert "dates? write them as 2024-12-31; the rows are in their order" in text
    assert made(tmp_path, day=pd.to_datetime(DAYS), split=advice(text, "split")).hints == ""


def test_a_number_that_grows_with_every_row_may_be_an_id_or_a_time(tmp_path: Path) -> None:
    text = only(made(tmp_path, seen=np.arange(N) * 7), ID)
    assert made(tmp_path, seen=np.arange(N) * 7, split=advice(text, "split")).hints == ""
    assert made(tmp_path, seen=np.arange(N) * 7, data={"drop": advice(text, "data.drop")}).hints == ""


# --- ids and groups ---------------------------------------------------------------------------------------------------

NUMBERS = DRAWN.permutation(N)
IDS = {
    "texts": np.char.add("guest ", NUMBERS.astype(str)),
    "texts, of which one comes again": ["guest 7", *(f"guest {row}" for row in range(N - 1))],
    "numbers from 1 to n": NUMBERS + 1,
    "numbers that are called ids": NUMBERS * 1_013 + 700_000,
}


@pytest.mark.parametrize(("name", "values"), [*zip(["v", "v", "v", "customerId"], IDS.values(), strict=True)], ids=IDS)
def test_ids_are_said_with_a_way_out_that_works(tmp_path: Path, name: str, values: Any) -> None:
    found = made(tmp_path, **{name: values})
    text = only(found, ID)
    assert "every row: if it is" in text
    assert of_profile(found, name, "looks_like") == "id"
    assert made(tmp_path, **{name: values}, data={"drop": advice(text, "data.drop")}).hints == ""


@pytest.mark.parametrize("prefix", ["c", ""])
def test_rows_that_belong_together_are_said_with_a_split_that_works(tmp_path: Path, prefix: str) -> None:
    customer = DRAWN.permutation(np.repeat(np.arange(N // 4), 4))
    y = np.where(customer % 3 == 1, "yes", "no")
    columns = {"customer": [f"{prefix}{number}" for number in customer], "y": y}
    text = only(made(tmp_path, **columns), GROUP)
    assert "values of 'customer' are in several rows each, which all have one 'y'" in text
    found = made(tmp_path, **columns, split=advice(text, "split"))
    assert (found.schema.split_by, found.hints) == ("group", "")
    assert made(tmp_path, **columns, data={"drop": advice(text, "data.drop")}).hints == ""


# --- numbers in disguise ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ("${:,.2f}", "without the sign"),
        ("{:.1f}%", "without the sign"),
        ("-$ {:.2f}", "without the sign"),
        ("{:.1f} kg", "without the kg"),
        ("{:.0f}km/h", "without the km/h"),
    ],
)
def test_numbers_with_a_mark_are_said(tmp_path: Path, form: str, says: str) -> None:
    text = only(made(tmp_path, v=[form.format(value * 3_000 + 20_000) for value in NOISE]), NUMBER)
    assert "numbers? write them" in text
    assert says in text


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            ["12,345", "1,250"],
            "without the comma if it marks thousands, with a point in its place if it is the decimal mark",
        ),
        (["12,345", "0,250"], "write them with a decimal point"),
        (["12,345", "1,234,567"], "write them without a mark between thousands"),
        (["12,345", "950"], "write them without a mark between thousands"),
    ],
)
def test_a_comma_that_may_be_either_is_not_taken_for_a_mark_between_thousands(
    tmp_path: Path, values: list[str], says: str
) -> None:
    assert says in only(made(tmp_path, v=[values[row % 2] for row in range(N)]), NUMBER)


POINTED = (
    "has '1.010' and the like, read as 1.01, beside numbers below 1000 without a point: if the point marks thousands"
)


def pointed(folder: Path, values: list[str], **how: Any) -> str:
    return made(folder, v=[values[row % len(values)] for row in range(N)], **how).hints


def test_a_point_that_may_mark_thousands_is_said_and_read_as_a_decimal_one(tmp_path: Path) -> None:
    values = ["950", "12.345", "1.010", "-2.500", "7", ""]
    found = made(tmp_path, v=[values[row % 6] for row in range(N)])
    assert only(found, NUMBER) == f"'v' {POINTED}, write them without a mark between thousands"
    assert sorted(found.rows["v"].dropna().unique()) == [-2.5, 1.01, 7, 12.345, 950]
    assert pointed(tmp_path, [value.replace(".", "") for value in values]) == ""


def test_a_target_whose_point_may_mark_thousands_is_said(tmp_path: Path) -> None:
    y = [str(row) if row % 2 else f"{1 + row}.010" for row in range(N)]
    path = tmp_path / "t.csv"
    pd.DataFrame({"x": NOISE.round(3), "y": y}).to_csv(path, index=False)
    found = Made(path, task="regression")
    (text,) = [hint.text for hint in of_kind(found, TARGET)]
    assert f"'y' {POINTED}" in text


@pytest.mark.parametrize(
    "values",
    [
        ["1.250", "12.340", "950.000"],  # all with three decimals
        ["950", "1.255", "12.345"],  # decimals that have lost their zeros
        ["950", "0.250", "1.250"],
        ["950", "01.250", "1.25"],
        ["1950", "1.250", "12.340"],
        ["950", "1.250", "1.25e1"],
        ["950", "1.250", "1234.500"],
    ],
)
def test_other_points_are_decimal_ones(tmp_path: Path, values: list[str]) -> None:
    assert "thousands" not in pointed(tmp_path, values)


def test_a_last_cell_tells_that_a_point_is_a_decimal_one(tmp_path: Path) -> None:
    cells = ["950", "1.250"] * (N // 2)
    assert "thousands" in pointed(tmp_path, cells)
    assert "thousands" not in pointed(tmp_path, [*cells[:-1], "1.5"])


@pytest.mark.parametrize("word", ["-", "."])
def test_a_word_in_many_cells_of_a_column_of_numbers_is_said_with_a_way_out_that_works(
    tmp_path: Path, word: str
) -> None:
    values = [word if row % 5 < 2 else str(20 + row % 40) for row in range(N)]
    text = only(made(tmp_path, v=values), UNFIT)
    assert text.startswith(f"160 cells of 'v' ({word!r}) are no numbers, all others are, so the column is one of texts")
    mended = made(tmp_path, v=values, data={"types": advice(text, "data.types")})
    assert mended.rows["v"].isna().sum() == 160
    assert not of_kind(made(tmp_path, v=[word if row % 5 < 2 else str(row % 9) for row in range(N)]), UNFIT)


def test_texts_of_a_typed_file_that_are_amounts_are_said_with_a_way_out_that_works(tmp_path: Path) -> None:
    values = [f"{value:.2f}" for value in NOISE]
    text = only(made(tmp_path, "t.parquet", v=values), NUMBER)
    assert made(tmp_path, "t.parquet", v=values, data={"types": advice(text, "data.types")}).hints == ""
    assert made(tmp_path, "t.parquet", v=[str(row % 90) for row in range(N)]).hints == ""


def test_amounts_beside_a_common_word_are_said_with_a_way_out_that_works(tmp_path: Path) -> None:
    values = ["some" if row % 3 else f"{row % 10}.5" for row in range(N)]
    text = only(made(tmp_path, v=values), NUMBER)
    assert text.endswith("which reads 'some' as missing")
    mended = made(tmp_path, v=values, data={"types": advice(text, "data.types")})
    assert mended.rows["v"].isna().sum() == values.count("some")


# --- which come first, and how many -----------------------------------------------------------------------------------


def test_the_gravest_hints_come_first_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    found = made(tmp_path, one=np.ones(N), id=IDS["texts"], day=DAYS, closed=np.where(Y == "yes", "a", None))
    every = found.prepared.profile.hints()
    assert [hint.kind for hint in every] == [LEAK, TIME, ID, ONE_VALUE]
    assert hints.first(every, 2, "hints.json") == [every[0].text, every[1].text, "2 more in hints.json"]
    assert hints.first(every, 4, "hints.json") == [hint.text for hint in every]


def test_columns_of_no_use_are_one_hint_where_they_are_many(tmp_path: Path) -> None:
    text = only(made(tmp_path, **{f"v{place}": np.full(N, place) for place in range(20)}), ONE_VALUE)
    assert text.endswith("'v11' and 8 more have one value only: they say nothing")


def test_kinds_of_hints_differ() -> None:
    assert len(set(KINDS)) == len(KINDS)


def test_texts_of_several_words_are_said_with_the_way_to_learn_from_them(tmp_path: Path) -> None:
    words = DRAWN.choice(["a", "kind", "and", "clean", "room", "with", "view"], (N, 6))
    text = only(made(tmp_path, review=[" ".join(row) for row in words]), TEXT)
    how = yaml.safe_load(text.partition("say models.NAME.preprocessing: ")[2])
    assert how == {"texts": {"review": 30}}
    assert Preprocessing.model_validate(how).texts == how["texts"]


def test_names_of_two_words_are_no_texts(tmp_path: Path) -> None:
    found = made(tmp_path, street=[f"street {row % 150}" for row in range(N)])
    assert not of_kind(found, TEXT)


# --- too large --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
@pytest.mark.parametrize(("wrong", "shown"), [(3e39, "3e+39"), (-1e300, "-1e+300")])
def test_a_number_too_large_for_32_bits_is_said_with_a_way_out_that_works(
    tmp_path: Path, name: str, wrong: float, shown: str
) -> None:
    values = np.append(NOISE[1:], wrong)
    text = only(made(tmp_path, name, v=values), LARGE)
    assert text.startswith(f"'v' holds {shown}, too large for forests")
    mended = made(tmp_path, name, v=values, data={"missing": yaml.safe_load(text.partition("say data.missing: ")[2])})
    assert mended.hints == ""
    assert mended.rows["v"].isna().sum() == 1


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_number_that_may_mean_missing_is_said_with_a_way_out_that_works(tmp_path: Path, name: str) -> None:
    values = np.where(np.arange(N) % 5 == 0, -999, DRAWN.integers(20, 60, N))
    text = only(made(tmp_path, name, v=values), MARK)
    mended = made(tmp_path, name, v=values, data={"missing": yaml.safe_load(text.partition("say data.missing: ")[2])})
    assert mended.hints == ""
    assert mended.rows["v"].isna().sum() == N / 5


def test_the_largest_number_of_32_bits_is_not_too_large(tmp_path: Path) -> None:
    fits = float(np.finfo(np.float32).max)
    assert of_kind(made(tmp_path, v=np.append(NOISE[1:], fits)), LARGE) == []
