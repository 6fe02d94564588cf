"""Tables: what is written is what is read, types included; and what cannot be read is told in one line."""

import bz2
import csv
import datetime as dt
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tabular.data.columns import BATCH_ROWS, USUAL_MISSING, Reading
from tabular.data.tables import Table, scan, scan_for
from tabular.errors import UserError

MOMENT = pa.timestamp("us")


def zipped(data: bytes, *names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names or ("table.csv",):
            archive.writestr(name, data)
    return buffer.getvalue()


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "csv": bytes,
    "csv.gz": gzip.compress,
    "csv.bz2": bz2.compress,
    "csv.xz": lzma.compress,
    "zip": zipped,
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write text or bytes to a file of this test."""

    def write(content: str | bytes, name: str = "table.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def whole(table: Table, columns: list[str] | None = None) -> pa.Table:
    return pa.Table.from_batches(list(table.batches(columns)))


def read(path: Path, *args: Any, **how: Any) -> dict[str, list[Any]]:
    return whole(scan(path, *args, **how)).to_pydict()


def types(path: Path, *args: Any, **how: Any) -> list[str]:
    return [str(kind) for kind in scan(path, *args, **how).schema.types]


def refusal(path: Path, *args: Any, **how: Any) -> str:
    with pytest.raises(UserError) as caught:
        scan(path, *args, **how)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith((str(path), "data."))
    return message


# --- properties ------------------------------------------------------------------------------------------------------

moments = st.datetimes(dt.datetime(1600, 1, 1), dt.datetime(9999, 12, 31))
# A word of the problem's that means missing, which Hypothesis finds in this file and draws.
OWN_MISSING = "(none)"
words = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
KINDS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(allow_nan=False, allow_infinity=False),
    pa.bool_(): st.booleans(),
    MOMENT: moments,
    pa.string(): words.map(str.strip).filter(lambda text: text not in {*USUAL_MISSING, OWN_MISSING}),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Draw a table of all types, with missing values, in which each column has a value that shows its type."""
    kinds = draw(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=6))
    rows = draw(st.integers(1, 30))
    columns = []
    for kind in kinds:
        value = KINDS[kind]
        # A float with a fraction first, or a column of 1.0, 2.0 would rightly be called integer if so written.
        rest = draw(st.lists(st.none() | value, min_size=rows, max_size=rows))
        first = draw(value)
        columns.append(pa.array([f"x{first}" if kind == pa.string() else first, *rest], kind))
    header = words.map(lambda text: text.strip().strip("\ufeff").strip()).filter(bool)
    names = draw(st.lists(header, min_size=len(kinds), max_size=len(kinds), unique=True))
    return pa.table(columns, names=names)


def as_csv(table: pa.Table, separator: str, quote_all: bool, newline: str, missing: str) -> bytes:
    """Write by hand: the csv module of Python 3.11 leaves a lone carriage return without quotes."""

    def text(value: Any) -> str:
        field = missing if value is None else repr(value) if isinstance(value, float) else str(value)
        alone = field == "" and table.num_columns == 1  # a blank line is no row
        quoted = quote_all or alone or set(field) & {separator, '"', "\r", "\n"}
        return '"' + field.replace('"', '""') + '"' if quoted else field

    rows = [table.column_names, *zip(*(column.to_pylist() for column in table.columns), strict=True)]
    return "".join(separator.join(map(text, row)) + newline for row in rows).encode()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=tables(),
    style=st.fixed_dictionaries(
        {
            "separator": st.sampled_from(",;\t|"),
            "quote_all": st.booleans(),
            "newline": st.sampled_from(["\n", "\r\n", "\r"]),
            "missing": st.sampled_from(["", "NA", "NULL", OWN_MISSING]),
        }
    ),
    packing=st.sampled_from(list(PACKINGS)),
    block_bytes=st.sampled_from([7, 100, 1 << 20]),
)
def test_a_table_written_as_text_is_read_back_equal(write, table, style, packing, block_bytes):
    path = write(PACKINGS[packing](as_csv(table, **style)), f"table.{packing}")
    reading = Reading(separator=style["separator"], missing=(OWN_MISSING,))
    found = scan(path, reading, block_bytes=block_bytes)
    assert found.rows == len(table)
    assert found.schema == table.schema
    assert whole(found).equals(table)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables())
def test_a_table_written_as_parquet_is_read_back_equal(write, table):
    path = write(b"", "table.parquet")
    pq.write_table(table, path)
    found = scan(path)
    assert found.schema == table.schema
    assert whole(found).equals(table)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    separator=st.sampled_from(",;\t|"),
    width=st.integers(2, 5),
    fields=st.lists(st.text("ab1.,;|\t\n \"'", max_size=8).map(lambda text: f"x{text}x"), min_size=10, max_size=10),
)
def test_the_separator_is_found_among_quoted_fields_full_of_the_others(write, separator, width, fields):
    rows = [[fields[(row + column) % 10] for column in range(width)] for row in range(12)]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=separator, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerows([[f"name {column}" for column in range(width)], *rows])
    found = scan(write(buffer.getvalue()))
    assert found.reading.separator == separator
    assert [list(row.values()) for row in whole(found).to_pylist()] == rows


# --- types -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["true", "FALSE", "True", ""], "bool"),
        (["true", "1"], "string"),
        (["1", "-2", "+3", "0", "NA"], "int64"),
        (["1", "2.5", "+.5", "1e-3", "-4."], "double"),
        (["0", "0.5", "-0.5"], "double"),
        (["1", "00123"], "string"),
        (["007"], "string"),
        (["00.5", "1.5"], "string"),
        (["0x1F", "5"], "string"),
        (["1_000"], "string"),
        (["9223372036854775807"], "int64"),
        (["9223372036854775808"], "double"),
        (["2020-02-29", ""], "timestamp[us]"),
        (["2020-02-30"], "string"),
        (["2020-02-29 10:00", "2020-02-29T10:00:00.123456789Z", "2020-02-29"], "timestamp[us]"),
        (["2020-02", "2020"], "string"),
        (["10:30", "11:30"], "string"),
        (["inf", "Berlin"], "string"),
        ([" 5", "6 ", " NA "], "int64"),
    ],
)
def test_a_column_of_text_has_the_narrowest_type_that_holds_all_its_values(write, values, kind):
    rows = "".join(f"x,{value}\n" for value in values)
    assert types(write("a,b\n" + rows))[1] == kind


def test_dates_are_moments_and_zones_are_turned_to_utc(write):
    path = write("t\n2020-01-01\n2020-01-01T10:00:00+02:00\n2020-01-01 10:00:00.1234567Z\nNA\n2020-06-01 10:00-0500\n")
    assert read(path)["t"] == [
        dt.datetime(2020, 1, 1),
        dt.datetime(2020, 1, 1, 8),
        dt.datetime(2020, 1, 1, 10, 0, 0, 123456),
        None,
        dt.datetime(2020, 6, 1, 15),
    ]


def test_the_last_line_of_a_file_of_many_blocks_decides_its_types(write):
    rows = "1,2,true,2020-01-01,5\n" * 200_000
    path = write("a,b,c,d,e\n" + rows + "1.5,007,,2020-01-01T12:00,x\n")
    table = scan(path, block_bytes=1 << 16)
    assert [str(kind) for kind in table.schema.types] == ["double", "string", "bool", "timestamp[us]", "string"]
    assert table.rows == 200_001
    assert whole(table).slice(199_999).to_pylist() == [
        {"a": 1.0, "b": "2", "c": True, "d": dt.datetime(2020, 1, 1), "e": "5"},
        {"a": 1.5, "b": "007", "c": None, "d": dt.datetime(2020, 1, 1, 12), "e": "x"},
    ]


def test_batches_are_bounded_and_can_be_streamed_again_and_left_half_way(write):
    table = scan(write("a,b\n" + "1,x\n" * 200_000))
    for _ in range(3):
        assert len(next(table.batches())) <= BATCH_ROWS
    sizes = [len(batch) for batch in table.batches()]
    assert max(sizes) == BATCH_ROWS
    assert sum(sizes) == 200_000


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_columns_can_be_chosen_and_come_in_the_files_order(write, name):
    path = write("a,b.c,b\n1,x,2.5\n")
    if name == "table.parquet":
        pq.write_table(whole(scan(path)), path := path.with_name(name))
    table = scan(path)
    assert whole(table, ["b", "a"]).to_pydict() == {"a": [1], "b": [2.5]}
    with pytest.raises(UserError, match=r"no column 'bc', did you mean 'b.c'"):
        whole(table, ["bc"])


def test_a_file_that_changes_after_its_scan_is_noticed(write):
    table = scan(write("a\n1\n2\n"))
    write("a\n1\nx\n")
    with pytest.raises(UserError, match="changed while it was being read"):
        whole(table)


def test_a_scan_can_show_its_progress(write):
    assert scan(write("a\n1\n"), progress=True).rows == 1


# --- shapes of text --------------------------------------------------------------------------------------------------


def test_a_header_may_hold_anything_and_follow_a_byte_order_mark(write):
    path = write('\ufeff\r\nfirst name, größe ,"a ""b"", c",x.y,"two\r\nlines"\r\nAda,1,2,3,4\r\n\r\n')
    assert read(path) == {"first name": ["Ada"], "größe": [1], 'a "b", c': [2], "x.y": [3], "two\r\nlines": [4]}


def test_quoted_fields_hold_separators_quotes_and_newlines(write):
    path = write('a,b\n"one\ntwo","x, ""y"""\nz,"\n"\n')
    assert read(path) == {"a": ["one\ntwo", "z"], "b": ['x, "y"', None]}


def test_an_empty_quoted_field_is_missing_even_alone_on_its_line(write):
    assert read(write('a\n""\n5\n')) == {"a": [None, 5]}


def test_a_file_without_a_header_takes_its_names_and_its_own_word_for_missing(write):
    path = write("63.0,?,1\n67.0, ? ,0\n70,2,1\n", "heart.data")
    reading = Reading(columns=("age", "ca", "num"), missing=("?",))
    assert read(path, reading) == {"age": [63.0, 67.0, 70.0], "ca": [None, None, 2], "num": [1, 0, 1]}


def test_a_decimal_comma_does_not_pass_for_a_separator(write):
    assert scan(write("a;b\n1,5;2,5\n3,5;4,5\n")).reading.separator == ";"


def test_a_single_column_is_a_table(write):
    assert read(write("a\n1\n2", "one.txt")) == {"a": [1, 2]}


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16"])
def test_other_encodings_are_read(write, encoding):
    path = write(("größe,b\nschön,1\n" * 1 + "naïve,2\n" * 5000).encode(encoding))
    assert read(path, Reading(encoding=encoding), block_bytes=1000)["größe"][:2] == ["schön", "naïve"]


def test_a_zip_is_read_past_the_shadows_of_macos_and_a_readme(write):
    path = write(zipped(b"a,b\n1,2\n", "t.csv", "__MACOSX/._t.csv", ".DS_Store", "README.txt"), "t.zip")
    assert read(path) == {"a": [1], "b": [2]}


def test_the_first_bytes_count_more_than_the_name(write):
    assert read(write(gzip.compress(b"a,b\n1,2\n"), "t.csv")) == {"a": [1], "b": [2]}
    assert read(write(b"a,b\n1,2\n", "t.csv.gz")) == {"a": [1], "b": [2]}
    assert read(write(b"PAR1,PAR2\n1,2\n", "golf.csv")) == {"PAR1": [1], "PAR2": [2]}


def test_parquet_is_known_under_any_name(write):
    path = write(b"", "table.data")
    pq.write_table(pa.table({"a": [1]}), path)
    assert read(path) == {"a": [1]}


# --- types of Parquet ------------------------------------------------------------------------------------------------

NOON = dt.datetime(2020, 1, 1, 12)


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (pa.array([1, None], pa.int8()), "int64", [1, None]),
        (pa.array([2**32 - 1], pa.uint32()), "int64", [2**32 - 1]),
        (pa.array([2**63 - 1], pa.uint64()), "int64", [2**63 - 1]),
        (pa.array([2**63], pa.uint64()), "double", [2.0**63]),
        (pa.array([1.5, None], pa.float16()), "double", [1.5, None]),
        (pa.array([1.5, float("nan")], pa.float32()), "double", [1.5, None]),
        (pa.array([Decimal("1.25"), None]), "double", [1.25, None]),
        (pa.array([NOON.date()]), "timestamp[us]", [dt.datetime(2020, 1, 1)]),
        (pa.array([NOON.date()], pa.date64()), "timestamp[us]", [dt.datetime(2020, 1, 1)]),
        (pa.array([NOON], pa.timestamp("ms", "Europe/Paris")), "timestamp[us]", [NOON]),
        (pa.array([1], pa.timestamp("ns")), "timestamp[us]", [dt.datetime(1970, 1, 1)]),
        (pa.array(["x", None], pa.large_string()), "string", ["x", None]),
        (pa.array(["x", None], pa.string_view()), "string", ["x", None]),
        (pa.array(["x", None]).dictionary_encode(), "string", ["x", None]),
        (pa.array([5, None]).dictionary_encode(), "int64", [5, None]),
        (pa.array([True, None]), "bool", [True, None]),
        (pa.array([dt.time(10, 30)]), "string", ["10:30:00.000000"]),
    ],
)
def test_a_parquet_column_is_read_as_one_of_the_five_types(tmp_path, values, kind, expected):
    pq.write_table(pa.table({"x": values}), tmp_path / "t.parquet")
    table = scan(tmp_path / "t.parquet")
    assert str(table.schema.field("x").type) == kind
    assert whole(table)["x"].to_pylist() == expected


@pytest.mark.parametrize("rows_a_group", [3_000_000, 50_000])
def test_what_is_held_of_a_parquet_file_does_not_grow_with_what_has_been_read(tmp_path, rows_a_group):
    values = np.random.default_rng(0).random(3_000_000)  # which no packing makes smaller
    pq.write_table(pa.table({"a": values, "b": values[::-1]}), tmp_path / "t.parquet", row_group_size=rows_a_group)
    table, before = scan(tmp_path / "t.parquet"), pa.total_allocated_bytes()
    held = []
    for batch in table.batches():
        held.append(pa.total_allocated_bytes() - before)
        del batch
    assert max(held) < (tmp_path / "t.parquet").stat().st_size / 3


def test_the_texts_for_missing_hold_in_parquet_too(tmp_path):
    pq.write_table(pa.table({"a": [1, -999], "b": [2.5, -999.0], "c": ["?", "x"]}), tmp_path / "t.parquet")
    rows = read(tmp_path / "t.parquet", Reading(missing=("-999", "?")))
    assert rows == {"a": [1, None], "b": [2.5, None], "c": [None, "x"]}


def test_the_index_that_pandas_writes_is_left_out(tmp_path):
    import pandas as pd

    pd.DataFrame({"a": [1, 2]}, index=[5, 9]).to_parquet(tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet") == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (pa.array([[1]]), "holds lists"),
        (pa.array([{"k": 1}]), "holds values of type struct"),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), "holds values of type map"),
        (pa.array([b"x\xff"]), "holds bytes that are no UTF-8 text"),
        (pa.array([1.0, float("-inf")]), "infinite"),
        (pa.array([None, None]), "has no values"),
        (pa.array([float("nan")]), "has no values"),
        (pa.array([None], pa.int64()), "has no values"),
    ],
)
def test_a_parquet_column_that_cannot_be_learnt_from_is_named(tmp_path, values, what):
    pq.write_table(pa.table({"ok": pa.array([1] * len(values)), "x": values}), tmp_path / "t.parquet")
    message = refusal(tmp_path / "t.parquet")
    assert "column 'x'" in message
    assert what in message


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        (" \n\r\n\t\n", "is empty"),
        ("a,b\n", "has a header and no rows"),
        ("a,b\n\n\n", "has a header and no rows"),
        ("a,b,a\n1,2,3\n", "more than one is 'a'"),
        ("a,,c\n1,2,3\n", "column 2 of 3 has no name"),
        ("a,b,\n1,2\n3,4\n", "line 1 ends with ',', and the lines below do not: take that mark away from line 1"),
        ("a,b\n1,\n2,NA\n", "column 'b' has no values"),
        ("a,b\n1,2\n2,inf\n", "column 'b' holds an infinite number (inf)"),
        ("a,b\n1,2\n2,-Infinity\n", "column 'b' holds an infinite number (-Infinity)"),
        ("a,b\n1,2\n2,1e999\n", "column 'b' holds an infinite number (1e999)"),
        ("a,b\n1,2\n\n1,2,3\n", "line 4 has 3 fields where 2 are expected"),
        ("a~b\n1,5~2\n2,5~1\n", "where 1 is expected; if another mark separates columns, say which: data.separator"),
        ("\n\na,b\n1,2\n1\n", "line 5 has 1 field where 2 are expected"),
        ('a,b\n1,"' + "x" * 20_000_000, "a quote opened in line 2 is never closed"),
        ('a,"b\n1,' + "2\n" * 100_000, "line 1 is too long for a header"),
        ('a,b\n"1\n",2\n1\n', "line 4 has 1 field where 2 are expected"),
        ('a,b\n1,2\n1,"2\n3,4\n5,6\n', "a quote opened in line 3 is never closed"),
        ('a,b\n1,2\n1,"2' + "\n3,4" * 2_000_000, "a quote opened in line 3 is never closed"),
        (b"a,b\n1,2\nr\xe9sum\xe9,2\n", "line 3 holds the byte 0xe9, which is not utf-8; say data.encoding: latin-1"),
        (b"a,gr\xf6\xdfe\n1,2\n", "line 1 holds the byte 0xf6"),
        (b"a,b\n" + b"1,2\n" * 600_000 + b"\xff,2\n", "line 600002 holds the byte 0xff"),
        (b"a,b\n1,\xc3", "line 2 holds the byte 0xc3"),
        ("a,b\n1,2\n".encode("utf-16"), "data.encoding: utf-16"),
        (b"a\0b,c\n1,2\n", "is not a text table"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "is not a text table"),
        (b"%PDF-1.7\n1 0 obj", "is not a text table"),
        (zipped(b"<xml/>", "[Content_Types].xml", "word/document.xml"), "is not a text table but an Office document"),
        (b"<!DOCTYPE html>\n<html><body>Please log in</body></html>", "is a web page"),
        (zipped(b"a\n1\n", "one.csv", "two.csv"), "it holds 'one.csv', 'two.csv'"),
        (zipped(b"a\n1\n", "__MACOSX/._one.csv"), "the archive holds no file"),
        (zipped(gzip.compress(b"a\n1\n")), "is not a text table"),
        (zipped(b"a,b\n" + b"1,2\n" * 50_000)[:100], "damaged zip"),
        (gzip.compress(b"a,b\n" + b"1,2\n" * 50_000)[:150], "is damaged"),
        (gzip.compress(bytes(range(65, 91)) * 99)[:-8] + b"12345678", "is damaged"),
        (bz2.compress(b"a,b\n" + b"1,2\n" * 50_000)[:40], "is damaged"),
        (lzma.compress(b"a,b\n" + b"1,2\n" * 50_000)[:60], "is damaged"),
        (b"PAR1\x15\x04\x15", "is a damaged Parquet file"),
    ],
)
def test_a_table_that_cannot_be_read_is_told_in_one_line(write, content, says):
    assert says in refusal(write(content))


@pytest.mark.parametrize(
    ("reading", "says"),
    [
        (Reading(encoding="klingon"), "data.encoding 'klingon'"),
        (Reading(encoding="base64"), "data.encoding 'base64'"),
        (Reading(encoding="ascii"), "which is not ascii"),
        (Reading(separator="::"), "data.separator '::'"),
        (Reading(columns=("x", "y", "z")), "line 1 has 2 fields, data.columns names 3"),
        (Reading(columns=("x", "x")), "more than one is 'x' in data.columns"),
    ],
)
def test_a_reading_that_does_not_fit_is_told_in_one_line(write, reading, says):
    assert says in refusal(write("a,größe\n1,2\n"), reading)


@pytest.mark.parametrize(("name", "what"), [("t.parquet", "Parquet"), ("t.csv.gz", "gzip"), ("t.zip", "zip")])
def test_noise_named_as_a_packed_table_is_called_damaged(write, name, what):
    assert f"is not a {what} file, though named so" in refusal(write(b"\x07\xf0\x00\x11noise", name))


def test_a_flipped_byte_in_a_zip_is_noticed(write):
    data = bytearray(zipped(b"a,b\n" + bytes(str(list(range(2000))), "ascii").replace(b", ", b",1\n") + b",2\n"))
    data[len(data) // 2] ^= 255
    assert "damaged" in refusal(write(bytes(data), "t.zip"))


def test_a_damaged_parquet_body_is_noticed(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": list(range(10_000))}), path)
    data = bytearray(path.read_bytes())
    data[4:400] = b"\xff" * 396
    path.write_bytes(data)
    assert "damaged Parquet" in refusal(path)


def test_parquet_without_rows_and_with_repeated_names_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), path)
    assert "no rows" in refusal(path)
    pq.write_table(pa.table([[1], [2]], names=["a", "a"]), path)
    assert "more than one is 'a'" in refusal(path)
    assert "leave out data.columns" in refusal(path, Reading(columns=("a", "b")))


def test_a_path_without_a_file_and_a_folder_are_refused(tmp_path):
    assert "no such file" in refusal(tmp_path / "none.csv")
    assert "is not a file" in refusal(tmp_path)


# --- a table whose columns are known beforehand ----------------------------------------------------------------------

KNOWN = pa.schema([("x", pa.float64()), ("t", pa.string()), ("b", pa.bool_()), ("d", MOMENT)])


def refused_for(path: Path, wanted: pa.Schema = KNOWN, *args: Any) -> str:
    with pytest.raises(UserError) as caught:
        scan_for(path, wanted, *args, block_bytes=16)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(f"{path}: ")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables(), as_text=st.booleans(), data=st.data())
def test_any_part_of_a_table_that_was_scanned_for_its_own_types_is_read_as_by_a_scan(write, table, as_text, data):
    path = write(as_csv(table, ",", False, "\n", "NA") if as_text else b"")
    if not as_text:
        pq.write_table(table, path)
    names = data.draw(st.sets(st.sampled_from(table.column_names), min_size=1))
    # a whole number is asked for as a float, as models ask for all numbers
    wanted = pa.schema([(c.name, pa.float64() if c.type == pa.int64() else c.type) for c in table.schema])
    asked = pa.schema([field for field in wanted if field.name in names])
    # a name may hold a tab, and what separates would then be anybody's guess
    found = whole(scan_for(path, asked, Reading(separator="," if as_text else None), block_bytes=100), sorted(names))
    expected = pa.table({name: table[name].cast(wanted.field(name).type, safe=False) for name in found.column_names})
    assert found.equals(expected)


def test_columns_that_are_not_asked_for_stay_as_they_are_written(write):
    path = write("id,x,day\n007,1,2021-03-04\n1.50,2,05/06/21\n")
    rows = whole(scan_for(path, pa.schema([("x", pa.float64())])))
    assert rows.to_pydict() == {"id": ["007", "1.50"], "x": [1.0, 2.0], "day": ["2021-03-04", "05/06/21"]}


def test_columns_that_are_not_asked_for_keep_their_types_in_parquet(tmp_path):
    held = pa.table({"x": [1], "id": pa.array([7], pa.uint64()), "day": [dt.date(2021, 3, 4)], "many": [["a", "b"]]})
    pq.write_table(held, tmp_path / "t.parquet")
    found = scan_for(tmp_path / "t.parquet", pa.schema([("x", pa.float64())]), Reading(missing=("?",)))
    assert whole(found).select(["id", "day", "many"]).equals(held.select(["id", "day", "many"]))


def test_a_column_may_have_no_values_and_a_table_no_rows(write, tmp_path):
    assert whole(scan_for(write("x,t,b,d\n,,,\n"), KNOWN)).to_pylist() == [dict.fromkeys("xtbd")]
    assert scan_for(write("x,t,b,d\n"), KNOWN).rows == 0
    pq.write_table(pa.table({name: pa.array([None]) for name in "xtbd"}), tmp_path / "t.parquet")
    assert whole(scan_for(tmp_path / "t.parquet", KNOWN)).to_pylist() == [dict.fromkeys("xtbd")]


def test_all_columns_that_are_lacking_are_named_in_one_line(write):
    assert refused_for(write("x,bb\n1,2\n")) == "lacks 3 columns 't', 'b', 'd'; it has 'x', 'bb'"
    assert refused_for(write("x,t,b,dd\n1,2,3,4\n")) == (
        "lacks column 'd'; it has 'dd': if that is the column, rename it to 'd'"
    )


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["1,a,true,2021-03-04", "abc,a,true,", ",,,"], "column 'x', row 2: 'abc' is not a number"),
        (["1,a,true,", ",,,", "007,a,,"], "column 'x', row 3: '007' is not a number"),
        (["1,a,,", "inf,a,,"], "column 'x', row 2: inf is not a finite number"),
        (["1,a,true,", "2,a,yes,"], "column 'b', row 2: 'yes' is not true or false"),
        (["1,a,,2021-02-28", ",,,2021-02-30"], "column 'd', row 2: '2021-02-30' is not a date such as 2021-03-04"),
        (["1,a,,"] * 1500 + ["?,,,"], "column 'x', row 1,501: '?' is not a number"),
    ],
)
def test_the_first_value_that_is_not_of_its_columns_type_is_named_with_its_row(write, rows, says):
    assert refused_for(write("\n".join(["x,t,b,d", *rows, ""]))) == says


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ({"x": ["1", "b"]}, "column 'x', row 2: 'b' is not a number"),
        ({"x": [True, False]}, "column 'x' holds true and false (bool); what is needed is numbers"),
        ({"t": [1.5, 2.0]}, "column 't' holds numbers (double); what is needed is text"),
        ({"b": [0, 2]}, "column 'b', row 2: 2 is not true or false"),
        ({"b": [dt.date(2021, 3, 4)] * 2}, "column 'b' holds dates (date32[day]); what is needed is true and false"),
        ({"d": ["2021-03-04", "4.3.2021"]}, "column 'd', row 2: '4.3.2021' is not a date such as 2021-03-04"),
        ({"x": [1.0, float("-inf")]}, "column 'x', row 2: -inf is not a finite number"),
        ({"x": [[1], [2]]}, "column 'x' holds lists: make numbers or texts of it"),
    ],
)
def test_a_parquet_column_of_another_type_is_named(tmp_path, column, says):
    good = {"x": [1.0, 2.0], "t": ["a", "b"], "b": [True, False], "d": [dt.date(2021, 3, 4)] * 2}
    pq.write_table(pa.table({**good, **column}), tmp_path / "t.parquet")
    assert refused_for(tmp_path / "t.parquet") == says


def test_a_file_may_have_the_header_that_the_one_before_had_not(write):
    reading = Reading(columns=("x", "t"), missing=("?",))
    wanted = pa.schema([("x", pa.float64())])
    for text in ("1,a\n?,b\n", "t,x\na,1\nb,?\n"):
        assert whole(scan_for(write(text), wanted, reading))["x"].to_pylist() == [1.0, None]
    assert "data.columns names 2" in refused_for(write("1,a,2\n"), wanted, reading)
