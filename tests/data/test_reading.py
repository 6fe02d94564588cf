"""How cells are read: one rule for texts in every form of a table, and what is said of cells that are left out."""

import csv
import datetime as dt
import gzip
import json
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import feather, orc

from steps.model.served import as_features
from tabular.data import datasets, json_lines, layout, missing
from tabular.data.columns import BATCH_ROWS, USUAL_MISSING, Expected, Reading, Words
from tabular.data.datasets import Schema
from tabular.data.tables import Table, scan, scan_for
from tabular.errors import UserError
from tabular.problem import build
from tests.prepared import Made, advice, refused

ROWS = 120
TOWNS = ["Lisbon", "Porto", "NA"]


def frame(**columns: Any) -> pd.DataFrame:
    """Rows with a number that tells the classes apart, some more columns, and a class."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=ROWS).round(3)
    towns = [TOWNS[row % 3] for row in range(ROWS)]
    return pd.DataFrame({"x": x, "town": towns, **columns, "y": np.where(x > 0, "yes", "no")} | columns)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a frame as the kind of file that the name says."""

    def write(table: pd.DataFrame | str, name: str = "table.csv") -> Path:
        path = tmp_path / name
        if isinstance(table, str):
            path.write_text(table)
        elif name.endswith(".parquet"):
            table.to_parquet(path, index=False)
        else:
            table.to_csv(path, index=False)
        return path

    return write


# --- words that mean missing -----------------------------------------------------------------------------------------

SEVERITY = {"y": [("none", "mild", "severe")[row % 3] for row in range(ROWS)]}


def test_a_target_that_loses_rows_says_so_with_the_word_and_a_way_out_that_works(write) -> None:
    path = write(frame(**SEVERITY))
    made = Made(path)
    assert (made.prepared.without_target, made.prepared.target_missing) == (40, "40 'none'")
    assert "40 rows whose 'y' is 'none' were left out" in made.hints
    kept = Made(path, data={"missing": advice(made.hints, "missing")})
    assert kept.schema.classes == ("mild", "none", "severe")
    assert kept.prepared.without_target == 0
    assert "left out" not in kept.hints


@pytest.mark.parametrize(
    "data",
    [
        {"classes": {"none": ["none"], "some": ["mild", "severe"]}},
        {"classes": {"well": ["none"], "ill": ["mild", "severe"]}, "missing": ["none"]},
        {"positive": "none"},
    ],
)
def test_a_class_that_the_problem_names_is_never_missing(write, data) -> None:
    assert Made(write(frame(**SEVERITY)), data=data).prepared.without_target == 0


@pytest.mark.parametrize(
    ("given", "there"),
    [
        ([], {"Lisbon", "Porto"}),
        (["Porto"], {"Lisbon"}),
        ({"keep": ["NA"]}, {"Lisbon", "Porto", "NA"}),
        ({"columns": {"town": {"keep": ["NA"]}}}, {"Lisbon", "Porto", "NA"}),
        ({"columns": {"x": {"keep": ["NA"]}}}, {"Lisbon", "Porto"}),
        ({"add": ["Porto"], "columns": {"town": {"keep": ["Porto"]}}}, {"Lisbon", "Porto"}),
        ({"keep": ["NA"], "columns": {"town": {"add": ["NA", " Porto "]}}}, {"Lisbon"}),
    ],
)
@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_words_are_added_and_taken_away_in_all_columns_and_in_one(write, name, given, there) -> None:
    made = Made(write(frame(), name), data={"missing": given})
    assert set(made.rows["town"].dropna()) == there


def test_a_word_that_looks_like_a_category_is_hinted_at_once_for_all_its_columns(write) -> None:
    made = Made(write(frame(other=[TOWNS[row % 3] for row in range(ROWS)], none=["nan", "a", "b"] * 40)))
    (said,) = [hint for hint in made.hints.splitlines() if "read as missing" in hint]
    assert said.startswith("80 cells 'NA' of 'town', 'other' were read as missing")
    kept = Made(made.table.path, data={"missing": yaml.safe_load(said.partition("say data.missing: ")[2])})
    assert [(kept.rows[name] == "NA").sum() for name in ("town", "other")] == [40, 40]
    assert "read as missing" not in Made(made.table.path, data={"missing": ["NA"]}).hints


def test_a_number_that_means_missing_does_so_however_it_is_written(write) -> None:
    values = [-999 if row % 4 == 0 else row for row in range(ROWS)]
    table = frame(whole=values, float=[float(value) for value in values], day=["1900-01-01", "2020-03-04"] * 60)
    how = {"missing": [-999, "1900-01-01"]}
    by_text = Made(write(table), data=how)
    by_type = Made(write(table.assign(day=pd.to_datetime(table["day"])), "table.parquet"), data=how)
    assert by_text.rows[["whole", "float"]].isna().sum().tolist() == [30, 30]
    assert by_text.rows["day"].isna().sum() == 60
    assert by_text.digests == by_type.digests


def test_an_infinite_number_is_missing_where_the_problem_says_so(write) -> None:
    table = frame(rate=[float("inf") if row == 3 else row / 7 for row in range(ROWS)])
    for name in ("table.csv", "table.parquet"):
        assert Made(write(table, name), data={"missing": ["inf"]}).rows["rate"].isna().sum() == 1


# --- blanks and case -------------------------------------------------------------------------------------------------


def test_blanks_around_texts_and_classes_make_no_other_ones(write) -> None:
    path = write(
        "x, town, y\n"
        + "".join(f"{row}, {' ' * (row % 2)}Porto\u00a0, {' yes' if row % 3 else 'no'}\n" for row in range(60))
    )
    made = Made(path)
    assert set(made.rows["town"]) == {"Porto"}
    assert made.schema.classes == ("no", "yes")
    assert made.prepared.profile.table()["trimmed"] == [0, 60]


def test_classes_that_differ_in_case_only_are_hinted_at_with_a_way_out_that_works(write) -> None:
    path = write(frame(y=[("yes", "Yes", "YES", "no")[row % 4] for row in range(ROWS)]))
    made = Made(path)
    assert "the classes 'YES', 'Yes', 'yes' of 'y' differ in case only" in made.hints
    way = re.search(r"data\.classes: (\{.*\})", made.hints)
    assert way
    assert Made(path, data={"classes": yaml.safe_load(way[1])}).schema.classes == ("YES", "no")


def test_categories_that_differ_in_case_only_are_hinted_at(write) -> None:
    assert (
        "'town' has texts that differ in case only, 'porto', 'Porto'"
        in Made(write(frame(town=["porto", "Porto"] * 60))).hints
    )


# --- the same table in whatever form ---------------------------------------------------------------------------------

texts = st.text(st.sampled_from("ab NnAone\u00a0\t-"), max_size=5) | st.sampled_from([*USUAL_MISSING, " none ", "NA "])
rows = st.lists(
    st.tuples(
        st.none() | st.floats(-1e6, 1e6).map(lambda value: round(value, 3)),
        st.none() | texts,
        st.none() | st.booleans(),
        st.none()
        | st.datetimes(pd.Timestamp("1950-01-01"), pd.Timestamp("2050-01-01")).map(
            lambda day: day.replace(microsecond=0)
        ),
    ),
    min_size=1,
    max_size=25,
)


@st.composite
def drawn(draw: st.DrawFn) -> pa.Table:
    """A table with a value that shows its type in each column, and enough rows of two classes."""
    more = [(0.5, "town", True, pd.Timestamp("2020-01-01"))] * 20
    columns = list(zip(*draw(rows), *more, strict=True))
    kinds = [pa.float64(), pa.string(), pa.bool_(), pa.timestamp("us")]
    arrays = [pa.array(values, kind) for values, kind in zip(columns, kinds, strict=True)]
    names = ["number", "text", "truth", "moment"]
    y = pa.array([("no ", "yes")[row % 2] for row in range(len(arrays[0]))])
    return pa.table([*arrays, y], names=[*names, "y"])


@pytest.mark.slow
@given(table=drawn(), keep=st.sampled_from([[], ["none"], ["NA", "none"]]))
def test_one_table_is_one_data_set_in_whatever_form_it_comes(tmp_path_factory, table, keep) -> None:
    folder = tmp_path_factory.mktemp("forms")
    found = {}
    for name, write in FORMS.items():
        write(table, folder / name)
        made = Made(folder / name, data={"missing": {"keep": keep}})
        found[name] = (made.digests, made.schema.to_json(), {**made.prepared.profile.table(), "trimmed": 0})
    first = found["table.csv"]
    for name, one in found.items():
        assert one == first, name


def _as_csv(table: pa.Table, path: Path) -> None:
    table.to_pandas().to_csv(path, index=False)


FORMS: dict[str, Callable[[pa.Table, Path], None]] = {
    "table.csv": _as_csv,
    "table.csv.gz": _as_csv,
    "table.parquet": pq.write_table,
    "categories.parquet": lambda table, path: pq.write_table(
        table.set_column(1, "text", table["text"].dictionary_encode()), path
    ),
    "table.jsonl": lambda table, path: path.write_text(as_lines(table.to_pylist())),
    "table.jsonl.gz": lambda table, path: path.write_bytes(gzip.compress(as_lines(table.to_pylist()).encode())),
    "table.feather": feather.write_feather,
    "table.orc": orc.write_table,
}


@given(st.lists(st.none() | texts, min_size=1, max_size=20), st.sampled_from([(), ("none",), ("", "NA", "-")]))
def test_a_served_model_reads_texts_as_the_table_is_read(found, words) -> None:
    column = {"name": "t", "dtype": "string", "kind": "category", "missing": words}
    asked = as_features(pd.DataFrame({"t": pd.Series(found, dtype=object)}), [column])["t"]
    read = missing.texts(pa.array(found, pa.string()), words).to_pylist()
    assert [None if pd.isna(value) else value for value in asked] == read


def test_the_rule_and_pythons_know_the_same_blanks() -> None:
    blanks = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000 and not chr(code).strip()]
    assert missing.texts(pa.array([f"{blank}a{blank}b{blank}" for blank in blanks]), ()).to_pylist() == [
        f"a{blank}b" for blank in blanks
    ]


def test_a_schema_goes_through_json_with_the_words_of_each_column(write) -> None:
    made = Made(write(frame(other=["a", "b"] * 60)), data={"missing": {"columns": {"town": {"keep": ["NA"]}}}})
    again = Schema.from_json(made.schema.to_json())
    assert again == made.schema
    words = {column.name: column.missing for column in again.columns}
    assert "NA" not in (words["town"] or ())
    assert "NA" in (words["other"] or ())


def test_a_model_of_before_the_rule_is_asked_texts_as_they_stand(tmp_path: Path) -> None:
    columns = datasets.columns_of({"columns": [{"name": "t", "dtype": "string", "kind": "category"}]})
    reading = datasets.reading_for(columns, Reading(missing=("?",)))
    pq.write_table(pa.table({"t": [" a", "NA", "?", ""]}), tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text('t\n" a"\nNA\n?\n')
    wanted = pa.schema([("t", pa.string())])
    for name, there in (("t.parquet", [" a", "NA", None, ""]), ("t.csv", [" a", None, None])):
        (batch,) = scan_for(tmp_path / name, wanted, reading).batches()
        assert batch["t"].to_pylist() == there


def test_a_model_says_itself_what_is_missing_in_a_table_that_it_is_asked_about(tmp_path: Path) -> None:
    columns = (datasets.Column("t", "string", "category", ("", "?")),)
    reading = datasets.reading_for(columns, Reading(missing=("-",), of_columns={"t": Words(add=("a",))}))
    assert set(reading.words("t")) == {"", "?"}


def test_keys_that_are_passed_on_keep_their_blanks(write) -> None:
    path = write("id,t\n 7 , a \n,\n")
    (batch,) = scan_for(path, pa.schema([("t", pa.string())])).batches()
    assert batch.to_pylist() == [{"id": " 7 ", "t": "a"}, {"id": None, "t": None}]


# --- cells that do not fit -------------------------------------------------------------------------------------------

ODD = {
    "z": ["< 5" if row == 3 else "1,234" if row == 50 else str(row / 8) for row in range(ROWS)],
    "day": ["0000-00-00" if row in (8, 90) else f"2021-01-{1 + row % 28:02d}" for row in range(ROWS)],
}


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_a_few_cells_that_do_not_fit_are_named_with_a_way_out_that_works(write, name) -> None:
    path = write(frame(**ODD), name)
    made = Made(path)
    assert (made.dtypes["z"], made.dtypes["day"]) == ("string", "string")
    assert "2 cells of 'z' ('< 5', '1,234') are no numbers, all others are" in made.hints
    assert "2 cells of 'day' ('0000-00-00') are no dates, all others are" in made.hints
    ways = re.findall(r"say data\.types: (\{.*?\}\})", made.hints)
    mended = Made(path, data={"types": {key: value for way in ways for key, value in yaml.safe_load(way).items()}})
    assert (mended.dtypes["z"], mended.dtypes["day"]) == ("double", "datetime")
    assert mended.rows[["z", "day"]].isna().sum().tolist() == [2, 2]
    assert "2 cells of 'z' ('< 5', '1,234') are no numbers and were read as missing" in mended.hints
    assert mended.prepared.profile.table()["unfit"][2:] == ["2: '< 5', '1,234'", "2: '0000-00-00'"]


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_a_type_that_is_asked_for_refuses_cells_by_name_with_a_way_out_that_works(write, name) -> None:
    path = write(frame(**ODD), name)
    message = refused(path, data={"types": {"z": "number"}})
    assert message.startswith(
        f"data.types: column 'z' of {name} is not a number throughout: 2 cells are none ('< 5', '1,234')"
    )
    way = re.search(r"data\.types: (\{.*\}\})", message)
    assert way
    assert Made(path, data={"types": yaml.safe_load(way[1])}).dtypes["z"] == "double"


def test_a_type_that_no_cell_has_is_told_to_be_left_out(write) -> None:
    assert "leave the type out" in refused(write(frame()), data={"types": {"town": "date"}})


@pytest.mark.parametrize(
    "values",
    [
        ["01234" if row % 9 == 0 else str(10_000 + row) for row in range(ROWS)],  # codes
        [str(row) if row % 3 else f"{row}a" for row in range(ROWS)],  # a third is no few
    ],
)
def test_codes_and_names_with_digits_are_not_taken_for_numbers_with_a_flaw(write, values) -> None:
    assert "are no numbers" not in Made(write(frame(code=values))).hints


def test_the_cells_that_do_not_fit_are_counted_over_many_blocks(tmp_path: Path) -> None:
    cells = [str(row) for row in range(30_000)]
    cells[20_000], cells[29_999] = "n.a.", "-"
    path = tmp_path / "t.csv"
    path.write_text("z\n" + "\n".join(cells) + "\n")
    note = scan(path, block_bytes=1 << 14).notes["z"]
    assert (note.unfit, note.examples, note.meant) == (2, ("n.a.", "-"), "number")


def test_a_table_that_a_model_is_asked_about_is_read_with_the_same_leave(write) -> None:
    problem = build(
        {"name": "p", "data": {"source": "t", "target": "y", "types": {"z": {"type": "number", "errors": "missing"}}}},
        "p",
    )
    table = scan_for(write("z\n1\n< 5\n"), pa.schema([("z", pa.float64())]), datasets.reading(problem))
    assert [batch["z"].to_pylist() for batch in table.batches()] == [[1.0, None]]
    assert table.notes["z"].examples == ("< 5",)


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_ones_and_zeros_are_truths_where_the_problem_says_so(write, name) -> None:
    path = write(frame(vip=[1, 0, None] * 40), name)
    made = Made(path, data={"types": {"vip": "boolean"}})
    assert made.dtypes["vip"] == "boolean"
    assert sorted(map(str, made.rows["vip"].unique())) == ["False", "None", "True"]


def test_a_target_without_values_is_not_told_to_be_dropped(write) -> None:
    message = refused(write(frame(y=["NA"] * ROWS)))
    assert "column 'y' has no values, and the problem needs it" in message


# --- identifiers -----------------------------------------------------------------------------------------------------

IDS = [2**60 + row % 60 for row in range(ROWS)]


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_long_identifiers_are_texts_digit_by_digit_where_they_are_called_categories(write, name) -> None:
    path = write(frame(acct=IDS), name)
    made = Made(path)
    assert "'acct' has numbers of more than 15 digits, which are rounded" in made.hints
    exact = Made(path, data={"types": advice(made.hints, "types")})
    assert exact.dtypes["acct"] == "string"
    assert sorted(exact.rows["acct"].unique()) == sorted({str(value) for value in IDS})
    wanted = pa.schema([("acct", pa.string())])
    assert [value for batch in scan_for(path, wanted).batches() for value in batch["acct"].to_pylist()] == [
        *map(str, IDS)
    ]


def test_identifiers_longer_than_any_integer_are_texts_too(write) -> None:
    ids = [str(10**25 + row % 60) for row in range(ROWS)]
    assert Made(write(frame(acct=ids)), data={"types": {"acct": "category"}}).rows["acct"].nunique() == 60


def test_short_numbers_stay_numbers_where_they_are_called_categories(write) -> None:
    made = Made(write(frame(branch=[row % 5 for row in range(ROWS)])), data={"types": {"branch": "category"}})
    assert [(column.dtype, column.kind) for column in made.schema.columns if column.name == "branch"] == [
        ("double", "category")
    ]


# --- what is dropped is not read -------------------------------------------------------------------------------------


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A table with columns that nothing can be learnt from, each in its way."""
    table = pa.Table.from_pandas(frame(), preserve_index=False)
    values = {
        "empty": pa.nulls(ROWS, pa.float64()),
        "inf": pa.array([float("inf")] * ROWS),
        "tags": pa.array([["a", "b"]] * ROWS),
        "bytes": pa.array([b"\xff\xfe"] * ROWS),
    }
    for name, column in values.items():
        table = table.append_column(name, column)
    pq.write_table(table, tmp_path / "bad.parquet")
    return tmp_path / "bad.parquet"


def test_all_columns_that_cannot_be_used_are_named_at_once_with_what_to_paste(bad) -> None:
    message = refused(bad)
    assert "4 columns cannot be used: 'empty' has no values, 'inf' holds an infinite number (inf)" in message
    paste = re.search(r"say data: (\{.*\}) in the problem", message)
    assert paste
    for duplicates in ("keep", "drop"):
        assert Made(bad, data={**yaml.safe_load(paste[1]), "duplicates": duplicates}).dtypes == {
            "x": "double",
            "town": "string",
        }


def test_one_column_that_cannot_be_used_is_named_with_what_to_paste(write) -> None:
    message = refused(write(frame(empty=[None] * ROWS)))
    paste = re.search(r"say data: (\{.*\}) in the problem", message)
    assert "column 'empty' has no values" in message
    assert paste
    assert Made(write(frame(empty=[None] * ROWS)), data=yaml.safe_load(paste[1])).prepared.rows == ROWS


def test_a_dropped_column_that_slices_or_cuts_is_read_all_the_same(write) -> None:
    table = frame(sex=["m", "f"] * 60, day=pd.date_range("2020-01-01", periods=ROWS))
    sections = {"evaluation": {"slices": ["sex"]}, "split": {"by": "time", "column": "day"}}
    made = Made(write(table), data={"drop": {"sex": "no", "day": "no"}}, **sections)
    assert list(made.dtypes) == ["x", "town"]
    assert set(pq.read_table(made.folder / "holdout.parquet")["sex"].to_pylist()) == {"m", "f"}


def test_rows_that_differ_in_a_dropped_column_only_are_no_duplicates(write) -> None:
    table = frame()
    twice = pd.concat([table, table.iloc[:10]], ignore_index=True)
    for name in ("table.csv", "table.parquet"):
        assert (
            Made(
                write(twice.assign(id=twice.index), name), data={"duplicates": "drop", "drop": {"id": "an id"}}
            ).prepared.duplicates
            == 0
        )
        assert (
            Made(
                write(twice.assign(id=7), name), data={"duplicates": "drop", "drop": {"id": "an id"}}
            ).prepared.duplicates
            == 10
        )


# --- an index --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
@pytest.mark.parametrize("start", [0, 1])
def test_an_index_that_pandas_or_r_writes_is_left_out_and_said(write, name, start) -> None:
    table = frame()
    table.index = pd.RangeIndex(start, start + ROWS, name=name or None)
    path = write(table.to_csv())
    made = Made(path)
    assert "'Unnamed: 0' counts the rows, as an index that pandas writes, and is left out" in made.hints
    assert made.digests == Made(write(table, "plain.csv")).digests
    assert "Unnamed: 0" in Made(path, data={"types": advice(made.hints, "types")}).dtypes
    (batch,) = scan_for(path, pa.schema([("x", pa.float64())])).batches()
    assert batch.schema.names[0] == "Unnamed: 0"


def test_an_index_that_does_not_count_the_rows_stays_a_column(write) -> None:
    table = frame().sample(frac=1, random_state=0)
    assert "Unnamed: 0" in Made(write(table.to_csv())).dtypes


def test_a_named_index_of_pandas_in_parquet_is_a_column_and_said(tmp_path: Path) -> None:
    table = frame()
    table.index = pd.Index([f"c{row}" for row in range(ROWS)], name="customer")
    table.to_parquet(tmp_path / "t.parquet")
    made = Made(tmp_path / "t.parquet")
    assert "customer" in made.dtypes
    (hint,) = [hint for hint in made.hints.splitlines() if "was the index of a pandas frame" in hint]
    assert "customer" not in Made(tmp_path / "t.parquet", data={"drop": advice(hint, "drop")}).dtypes


@pytest.mark.parametrize("form", ["{},", "{},,", '{},,""', "{}, "])
def test_columns_with_neither_a_name_nor_a_value_are_left_out_and_said(write, form: str) -> None:
    text = frame().to_csv(index=False)
    path = write("".join(f"{form.format(line)}\n" for line in text.splitlines()))
    made = Made(path)
    assert "left out, with no name in line 1 and no value in any row, as where each line ends" in made.hints
    assert made.digests == Made(write(text, "plain.csv")).digests


def test_a_column_without_a_name_whose_first_value_comes_late_is_told(write) -> None:
    path = write("x,,y\n" + "1,,no\n2,,yes\n" * 200 + "3,3,no\n")
    with pytest.raises(UserError, match=r"column 2 of 3 has no name; give it one$"):
        scan(path)
    assert [*Made(path, data={"drop": {"Unnamed: 1": "spare"}}).dtypes] == ["x"]


def test_columns_without_a_name_that_a_model_does_not_read_are_no_matter(write) -> None:
    (batch,) = scan_for(write("x,,\n1,2,3\n"), pa.schema([("x", pa.float64())])).batches()
    assert batch.to_pydict() == {"x": [1.0], "Unnamed: 1": ["2"], "Unnamed: 2": ["3"]}


# --- files with types ------------------------------------------------------------------------------------------------


def as_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, default=str) + "\n" for row in rows)


def whole(table: Table) -> pa.Table:
    return pa.Table.from_batches(list(table.batches()))


def read(path: Path, *args: Any) -> dict[str, list[Any]]:
    return whole(scan(path, *args)).to_pydict()


@pytest.mark.parametrize("name", ["t.jsonl", "t.ndjson", "t.json", "t.data", "t.jsonl.gz"])
def test_json_lines_are_a_table_by_their_content(tmp_path: Path, name: str) -> None:
    text = "\ufeff" + as_lines([{"x": 1, "town": "Porto"}, {"x": None, "late": True}]) + "\n"
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    assert read(tmp_path / name) == {"x": [1, None], "town": ["Porto", None], "late": [None, True]}


@pytest.mark.parametrize(
    ("values", "kind", "there"),
    [
        ([1, 2.5], "double", [1.0, 2.5]),
        ([1, "n.a."], "string", ["1", "n.a."]),
        ([True, "x"], "string", ["true", "x"]),
        ([float("nan"), 1.0], "double", [None, 1.0]),
        (
            ["2020-01-01", "2020-01-02T10:00:00Z"],
            "timestamp[us]",
            [dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 2, 10)],
        ),
        (["12", "13"], "string", ["12", "13"]),
        ([2**64, 1], "double", [2.0**64, 1.0]),
        ([10**40, 1], "double", [1e40, 1.0]),
    ],
)
def test_a_column_of_json_lines_has_the_type_that_holds_all_its_values(tmp_path, monkeypatch, values, kind, there):
    monkeypatch.setattr(json_lines, "BLOCK_BYTES", 1)
    (tmp_path / "t.jsonl").write_text(as_lines([{"v": value} for value in values]))
    assert str(scan(tmp_path / "t.jsonl").schema.field("v").type) == kind
    assert read(tmp_path / "t.jsonl")["v"] == there


def test_long_whole_numbers_of_json_lines_are_exact_as_categories(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(as_lines([{"v": 10**25 + row} for row in range(3)]))
    reading = Reading(types={"v": Expected("category")})
    assert read(tmp_path / "t.jsonl", reading)["v"] == [str(10**25 + row) for row in range(3)]


half = st.floats() | st.none()
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=3)


@given(st.lists(st.fixed_dictionaries({}, optional={"a": scalars, "b": half}), min_size=1), st.data())
def test_json_lines_are_read_alike_by_arrow_and_by_python(tmp_path_factory, rows, data) -> None:
    path = tmp_path_factory.mktemp("lines") / "t.jsonl"
    path.write_text(as_lines([{"b": 0.5, "a": data.draw(scalars)}, *rows]))
    schema, number = json_lines.described(path, Reading())
    by_arrow = [list(json_lines.blocks(path, schema, Reading(), False)), schema, number]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lines._Block, "parsed", lambda block, columns: None)
        by_python = [list(json_lines.blocks(path, schema, Reading(), False)), *json_lines.described(path, Reading())]
    assert repr(by_arrow[1:]) == repr(by_python[1:])
    for one, other in zip(by_arrow[0], by_python[0], strict=True):
        assert repr(one.to_pylist()) == repr(other.cast(one.schema).to_pylist())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[{"x": 1}, {"x": 2}]', "is one JSON value, not a table: write an object a line"),
        ('[\n {"x": 1}\n]', "is one JSON value, not a table"),
        ('{\n "x": [1, 2]\n}', "is one JSON value, not a table"),
        ('{"x": 1}\n{"x": 2\n', "line 2 is not JSON"),
        ('{"x": 1}\n3\n', "line 2 is not an object of columns, but '3'"),
        ('{"x": 1, "y": {"a": 1}}\n', "column 'y' holds values of type struct"),
        ('{"x": 1, "y": [1]}\n', "column 'y' holds lists"),
    ],
)
def test_json_that_is_no_table_is_told_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(UserError, match=re.escape(says)) as caught:
        scan(tmp_path / "t.json")
    assert "\n" not in str(caught.value)


def test_what_a_model_does_not_read_of_json_lines_is_passed_on_as_text(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(as_lines([{"x": 1, "id": " 7", "tags": ["a", 1]}]))
    (batch,) = scan_for(tmp_path / "t.jsonl", pa.schema([("x", pa.float64())])).batches()
    assert batch.to_pydict() == {"x": [1.0], "id": [" 7"], "tags": ['["a", 1]']}


def test_a_csv_that_begins_like_json_or_orc_is_a_csv(tmp_path: Path) -> None:
    for name in ("{a}", "[a]", "ORC", "ARROW1"):
        (tmp_path / "t.csv").write_text(f"{name},b\n1,2\n")
        assert read(tmp_path / "t.csv") == {name: [1], "b": [2]}


@pytest.mark.parametrize("name", ["t.feather", "t.orc"])
def test_a_damaged_file_with_types_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    FORMS[name.replace("t.", "table.")](pa.table({"x": list(range(1000))}), tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:8] + b"\xff" * (len(data) - 12) + data[-4:])
    with pytest.raises(UserError, match="is a damaged"):
        scan(tmp_path / name)


def test_feather_and_orc_of_many_batches_are_read_in_bounded_ones(tmp_path: Path) -> None:
    table = pa.table({"x": np.arange(200_000), "t": np.arange(200_000).astype(str)})
    feather.write_feather(table, tmp_path / "t.feather", compression="lz4", chunksize=150_000)
    orc.write_table(table, tmp_path / "t.orc", stripe_size=100_000)
    for name in ("t.feather", "t.orc"):
        found = list(scan(tmp_path / name).batches(["t"]))
        assert max(map(len, found)) <= BATCH_ROWS
        assert pa.Table.from_batches(found)["t"].to_pylist() == table["t"].to_pylist()


# --- types of Parquet that tools write -------------------------------------------------------------------------------

UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")


@pytest.mark.parametrize(
    ("values", "kind", "there"),
    [
        (pa.array([b"Porto", b"NA", b" x "]), "string", ["Porto", None, "x"]),
        (pa.array(["\u00c9vora".encode(), None], pa.large_binary()), "string", ["\u00c9vora", None]),
        (pa.array([b"ab", b"cd"], pa.binary(2)), "string", ["ab", "cd"]),
        (pa.array([UUID.bytes, None], pa.binary(16)), "string", [str(UUID), None]),
        (pa.ExtensionArray.from_storage(pa.uuid(), pa.array([UUID.bytes], pa.binary(16))), "string", [str(UUID)]),
        (pa.array([dt.timedelta(seconds=90), None]), "double", [90.0, None]),
        (pa.array([1500], pa.duration("ms")), "double", [1.5]),
        (pa.array(["2020-01-01", ""]), "timestamp[us]", [dt.datetime(2020, 1, 1), None]),
        (pa.array(["2020-01-01", "soon"]), "string", ["2020-01-01", "soon"]),
        (pa.array(["1", "2"]), "string", ["1", "2"]),
    ],
)
def test_what_tools_write_into_parquet_is_read(tmp_path: Path, values: pa.Array, kind: str, there: list[Any]) -> None:
    pq.write_table(pa.table({"x": values}), tmp_path / "t.parquet")
    assert str(scan(tmp_path / "t.parquet").schema.field("x").type) == kind
    assert read(tmp_path / "t.parquet")["x"] == there


@pytest.mark.parametrize(
    ("values", "kind", "there"),
    [
        (["2021-01-02", None], pa.timestamp("us"), [dt.datetime(2021, 1, 2), None]),
        ([dt.date(2021, 1, 2)], pa.string(), ["2021-01-02"]),
        ([1, 0, None], pa.bool_(), [True, False, None]),
        ([1.0, 0.0, None], pa.bool_(), [True, False, None]),
        (["true", "0", "NA"], pa.bool_(), [True, False, None]),
        ([7, None], pa.string(), ["7", None]),
        (["1.5", "NA", " 2 "], pa.float64(), [1.5, None, 2.0]),
        ([b"a ", b"NA"], pa.string(), ["a", None]),
    ],
)
@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_what_is_asked_may_be_of_another_type_where_nothing_is_lost(tmp_path, name, values, kind, there) -> None:
    table = pa.table({"x": values, "id": pa.array([7] * len(values))})
    if name == "t.csv":
        text = [value.decode() if isinstance(value, bytes) else value for value in values]
        pd.DataFrame({"x": pd.Series(text, dtype=object), "id": 7}).to_csv(tmp_path / name, index=False)
    else:
        pq.write_table(table, tmp_path / name)
    found = pa.Table.from_batches(list(scan_for(tmp_path / name, pa.schema([("x", kind)])).batches()))
    assert found["x"].to_pylist() == there


# --- quotes, separators, headers -------------------------------------------------------------------------------------


def spark(rows: list[list[str]]) -> str:
    """Rows as Spark writes them: a backslash before a quote, and before a backslash that would escape one."""

    def field(text: str) -> str:
        return '"' + re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + (r"\"" if found[2] else ""), text) + '"'

    return "".join(",".join(map(field, row)) + "\n" for row in rows)


cells = st.text(st.sampled_from('ab",\\\n '), max_size=6).map(lambda text: f"x{text}x")


@given(
    st.lists(st.tuples(cells, cells), min_size=1, max_size=20),
    st.integers(0, 3),
    st.sampled_from([7, 50, 1 << 20]),
)
def test_what_spark_writes_is_read_as_it_was(tmp_path_factory, rows, before, block_bytes) -> None:
    path = tmp_path_factory.mktemp("spark") / "t.csv"
    plain = [("plain", "x")] * before
    path.write_text(spark([["a", "b"], *plain, ('5" pipe', "long"), *rows]))
    found = whole(scan(path, block_bytes=block_bytes))
    assert list(zip(*found.to_pydict().values(), strict=True)) == [*plain, ('5" pipe', "long"), *rows]


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=20), st.sampled_from([7, 50, 1 << 20]))
def test_what_doubles_its_quotes_is_not_taken_for_sparks(tmp_path_factory, rows, block_bytes) -> None:
    path = tmp_path_factory.mktemp("doubled") / "t.csv"
    with path.open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([["a", "b"], *rows, ["C:\\", "x\\"]])
    found = whole(scan(path, block_bytes=block_bytes))
    assert list(zip(*found.to_pydict().values(), strict=True)) == [*rows, ("C:\\", "x\\")]


def test_the_first_escaped_quote_may_come_late_in_a_large_file(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(layout, "PEEK_BYTES", 1 << 12)
    rows = [[str(row), "plain"] for row in range(8_000)]
    (tmp_path / "t.csv").write_text(spark([["a", "b"], *rows, ["1", '5" pipe, long']]))
    table = scan(tmp_path / "t.csv", block_bytes=1 << 12)
    assert table.rows == 8_001
    assert whole(table)["b"][-1].as_py() == '5" pipe, long'


def test_the_escape_can_be_said_and_a_line_that_it_makes_uneven_says_so(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('a,b,c\n1,"x\\",y","z"\n')
    with pytest.raises(UserError, match=r"line 2 has 4 fields .* say data.escape: backslash"):
        scan(path, Reading(escape="double"))
    assert read(path, Reading(escape="backslash")) == {"a": [1], "b": ['x",y'], "c": ["z"]}


@pytest.mark.parametrize("width", [1, 2, 3])
def test_any_ascii_character_separates(tmp_path: Path, width: int) -> None:
    rows = [[letter * (at + 1) for at in range(width)] for letter in "\u00e9\u00e8\u00ea"]
    for separator in [chr(code) for code in range(1, 128) if chr(code) not in '"\r\n']:
        (tmp_path / "t.csv").write_text("".join(separator.join(row) + "\n" for row in rows))
        found = whole(scan(tmp_path / "t.csv", Reading(separator=separator), block_bytes=5)).to_pydict()
        assert [list(found), *map(list, zip(*found.values(), strict=True))] == rows, separator


def test_hives_separator_is_found(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x\x01y\n1\x01a\n")
    assert read(tmp_path / "t.csv") == {"x": [1], "y": ["a"]}


@pytest.mark.parametrize(
    ("text", "asked", "said"),
    [
        ("x;y\n1;a\n", None, ["read with ';' between the columns"]),
        ("sep=|\nx|y\n1|a\n", None, ["read with '|' between the columns"]),
        ("x\ty\n1\ta\n", None, [r"read with '\t' between the columns"]),
        ("x,y\n1,a\n", None, []),
        ("x\n1\n", None, []),
        ("x;y\n1;a\n", ";", []),
        ('{"x": 1, "y": "a"}\n', None, []),
    ],
)
def test_a_separator_that_was_found_out_and_is_no_comma_is_said(
    write: Callable[..., Path], text: str, asked: str | None, said: list[str]
) -> None:
    how = Reading(separator=asked)
    assert scan(write(text), how).found_out(how) == said


@pytest.mark.parametrize("line", ["sep=;\n", "sep=;\r\n", '"sep=;"\n', "\ufeffsep=;\n"])
def test_excels_line_about_the_separator_is_no_header(tmp_path: Path, line: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(f"{line}x;y\n1,5;a\n".encode())
    for block_bytes in (3, 1 << 20):
        assert whole(scan(path, block_bytes=block_bytes)).to_pydict() == {"x": ["1,5"], "y": ["a"]}
    path.write_bytes(f"{line}x;y\n1;a\n1\n".encode())
    with pytest.raises(UserError, match="line 4 has 1 field where 2 are expected"):
        scan(path)


@pytest.mark.parametrize("mark", ["^", ":", "~", " ", "\x1f"])
def test_one_column_whose_name_holds_marks_says_which_and_what_to_write(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"x{mark}town{mark}y\n" + f"1{mark}Porto{mark}a\n" * 3)
    with pytest.raises(UserError, match=re.escape(f"if {mark!r} separates columns, say data.separator: ")) as caught:
        scan(path)
    way = yaml.safe_load(str(caught.value).partition("data.separator: ")[2])
    assert list(read(path, Reading(separator=way))) == ["x", "town", "y"]
