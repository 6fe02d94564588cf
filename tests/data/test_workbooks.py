"""Workbooks of Excel and OpenDocument: the table of a sheet is the one that its CSV would be."""

import datetime as dt
import re
import sys
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import yaml

from tabular.data import sources, workbooks
from tabular.data.columns import Reading
from tabular.data.sources import Source
from tabular.data.tables import scan, scan_for
from tests.prepared import Made, advice, refused
from tests.workbooks import ERROR, ods, xlsx

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
ROWS = 60
NOON = dt.datetime(2021, 1, 3, 12)
HEADER = ["count", "size", "town", "paid", "day", "y"]
CELLS = [
    [
        None if row == 7 else row,
        row / 8,
        None if row % 5 == 0 else ("Porto", " Lisboa", "NA")[row % 3],
        row % 4 == 0,
        dt.date(2021, 1, 1) + dt.timedelta(days=row * 7 % 50),
        "yes" if row % 3 else "no",
    ]
    for row in range(ROWS)
]
needs_calamine = pytest.mark.skipif(
    find_spec("python_calamine") is None,
    reason="requirements-excel.txt is not installed here",
)


def held(path: Path, reading: Reading | None = None) -> dict[str, list[Any]]:
    """The table of a file, as it is scanned and read."""
    return pa.Table.from_batches(list(scan(path, reading or Reading()).batches())).to_pydict()


def sheet(path: Path, *rows: list[Any], name: str = "S") -> Path:
    return xlsx(path, {name: rows})


# --- the same table in whatever form ----------------------------------------------------------------------------------


@needs_calamine
@pytest.mark.parametrize("write", [xlsx, ods])
def test_a_sheet_is_the_data_set_that_its_csv_is(tmp_path: Path, write: Callable[..., Path]) -> None:
    pd.DataFrame(CELLS, columns=HEADER).to_csv(tmp_path / "t.csv", index=False)
    path = write(tmp_path / "t.data", {"bookings": [HEADER, *CELLS]})
    by_text, by_cells = Made(tmp_path / "t.csv"), Made(path)
    assert by_cells.digests == by_text.digests
    assert by_cells.schema == by_text.schema
    assert by_cells.dtypes == dict(zip(HEADER, ["double", "double", "string", "boolean", "datetime"], strict=False))


@needs_calamine
def test_an_old_workbook_is_read_too(tmp_path: Path) -> None:
    found = held(FIXTURES / "table.xls")
    assert found["count"] == [1, 2, None]
    assert found["town"] == ["Porto", "Lisboa", None]
    assert found["day"] == [dt.datetime(2021, 1, 1), dt.datetime(2021, 1, 2), dt.datetime(2021, 1, 3)]


@needs_calamine
@pytest.mark.parametrize(
    ("cells", "kind", "there"),
    [
        ([1, 2, None], "int64", [1, 2, None]),
        ([1, 2.5], "double", [1.0, 2.5]),
        ([1, "NA", 2.5], "double", [1.0, None, 2.5]),
        ([1, "2", 3], "int64", [1, 2, 3]),
        (["12", "13"], "string", ["12", "13"]),
        (["007", " 8 "], "string", ["007", "8"]),
        ([1, "< 5"], "string", ["1", "< 5"]),
        ([0.5, "x"], "string", ["0.5", "x"]),
        ([True, False, "n/a"], "bool", [True, False, None]),
        ([True, "x"], "string", ["true", "x"]),
        ([dt.date(2021, 1, 2), NOON], "timestamp[us]", [dt.datetime(2021, 1, 2), NOON]),
        ([dt.date(2021, 1, 2), "NULL"], "timestamp[us]", [dt.datetime(2021, 1, 2), None]),
        ([dt.date(2021, 1, 2), "soon"], "string", ["2021-01-02", "soon"]),
        ([dt.time(10, 30), dt.time(11, 0)], "string", ["10:30:00", "11:00:00"]),
        ([dt.timedelta(hours=36), dt.timedelta(hours=48)], "double", [129_600.0, 172_800.0]),
        ([1, ERROR], "int64", [1, None]),
        ([2.0**60, 1], "double", [2.0**60, 1.0]),
    ],
)
def test_cells_have_the_types_that_a_person_gave_them(tmp_path, cells, kind, there) -> None:
    path = sheet(tmp_path / "t.xlsx", ["v", "w"], *([cell, 1] for cell in cells))
    assert str(scan(path).schema.field("v").type) == kind
    assert held(path)["v"] == there


@needs_calamine
def test_cells_of_a_column_that_are_missing_by_a_word_or_do_not_fit_are_counted(tmp_path: Path) -> None:
    odd = {4: "4", 8: "< 5", **dict.fromkeys(range(3, ROWS, 10), "NA")}
    rows = [[odd.get(row, row / 2), "ab"[row % 2]] for row in range(ROWS)]
    path = sheet(tmp_path / "t.xlsx", ["x", "y"], *rows)
    made = Made(path)
    assert made.prepared.profile.table()["read_as_missing"] == ["6 'NA'"]
    assert "1 cell of 'x' ('< 5') are no numbers" in made.hints
    mended = Made(path, data={"types": advice(made.hints, "types")})
    assert mended.dtypes == {"x": "double"}
    assert mended.rows["x"].isna().sum() == 7


# --- which sheet ------------------------------------------------------------------------------------------------------

HERE = [["x", "y"], *([row, "ab"[row % 2]] for row in range(ROWS))]
THERE = [["z", "y"], *([row / 7, "ab"[row % 2]] for row in range(ROWS))]


@needs_calamine
def test_of_several_sheets_one_is_named_and_the_error_says_which_there_are(tmp_path: Path) -> None:
    path = xlsx(tmp_path / "t.xlsx", {"2023": HERE, "2024": THERE})
    message = refused(path)
    assert "has 2 sheets, '2023', '2024': say which in the problem" in message
    way = re.search(r"data: (\{.*?\})", message)
    assert way
    assert list(Made(path, data=yaml.safe_load(way[1])).dtypes) == ["x"]
    assert list(Made(path, data={"sheet": "2024"}).dtypes) == ["z"]
    assert "has no sheet '2025', did you mean" in refused(path, data={"sheet": "2025"})


@needs_calamine
def test_sheets_that_are_hidden_or_empty_are_passed_over_and_can_be_named(tmp_path: Path) -> None:
    path = xlsx(tmp_path / "t.xlsx", {"Sheet2": [], "lists": HERE, "rows": THERE}, hidden=["lists"])
    table = scan(path)
    assert (table.schema.names, table.reading.sheet) == (["z", "y"], "rows")
    assert list(held(path, Reading(sheet="lists"))) == ["x", "y"]
    assert "the sheet 'Sheet2' is empty" in refused(path, data={"sheet": "Sheet2"})
    assert "has no sheet that is shown" in refused(xlsx(tmp_path / "e.xlsx", {"a": HERE, "b": []}, hidden=["a"]))


def test_a_sheet_of_what_has_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y\n1,a\n2,b\n")
    assert "data.sheet: t.csv is no workbook" in refused(tmp_path / "t.csv", data={"sheet": "S"})
    assert scan_for(tmp_path / "t.csv", pa.schema([("x", pa.float64())]), Reading(sheet="S")).rows == 2


@needs_calamine
def test_a_model_is_asked_about_a_sheet_of_another_name(tmp_path: Path) -> None:
    path = sheet(tmp_path / "t.xlsx", ["id", "x"], [7, 1], [8, "NA"], name="March")
    table = scan_for(path, pa.schema([("x", pa.float64())]), Reading(sheet="February"))
    assert table.reading.sheet == "March"
    (batch,) = table.batches()
    assert batch["x"].to_pylist() == [1.0, None]


# --- header, and what is empty ----------------------------------------------------------------------------------------


@needs_calamine
def test_what_is_empty_around_the_table_is_no_part_of_it(tmp_path: Path) -> None:
    rows = [[], [None, None], ["x", "y", None, " "], [1, "a"], [], [2, "b", None, ""], [None, " "], []]
    assert held(sheet(tmp_path / "t.xlsx", *rows)) == {"x": [1, None, 2], "y": ["a", None, "b"]}


@needs_calamine
def test_a_sheet_without_a_header_takes_its_names_from_the_problem(tmp_path: Path) -> None:
    path = sheet(tmp_path / "t.xlsx", *HERE[1:])
    assert Made(path, data={"columns": ["amount", "y"]}).dtypes == {"amount": "double"}
    assert "has 2 columns, data.columns names 1" in refused(path, data={"columns": ["y"]})
    wanted, reading = pa.schema([("amount", pa.float64())]), Reading(columns=("amount", "y"))
    assert scan_for(path, wanted, reading).rows == ROWS
    named = sheet(tmp_path / "named.xlsx", ["y", "amount"], *([one, other] for other, one in HERE[1:]))
    assert scan_for(named, wanted, reading).rows == ROWS


@needs_calamine
def test_a_column_without_a_name_is_told_and_the_first_one_is_an_index(tmp_path: Path) -> None:
    assert "column 2 of 3 has no name" in refused(sheet(tmp_path / "t.xlsx", ["x", None, "y"], [1, 2, "a"]))
    rows = [[row, row / 7, "ab"[row % 2]] for row in range(ROWS)]
    made = Made(sheet(tmp_path / "index.xlsx", [None, "x", "y"], *rows))
    assert list(made.dtypes) == ["x"]
    assert "'Unnamed: 0' counts the rows" in made.hints


@needs_calamine
def test_workbooks_of_a_folder_are_parts_and_what_excel_leaves_beside_an_open_one_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "months"
    folder.mkdir()
    sheet(folder / "1.xlsx", ["x", "y"], [1, "a"], ["NA", "b"], name="January")
    sheet(folder / "2.xlsx", ["x", "y"], [2.5, "b"], ["NA", "a"], name="February")
    (folder / "~$2.xlsx").write_bytes(b"who has it open")
    found = sources.fetch(Source(str(folder)), sha256=None, cache=tmp_path / "c", folder=tmp_path / "f", progress=False)
    assert found.others == ("~$2.xlsx",)
    table = pa.Table.from_batches(list(scan(found.place).batches()))
    assert table.to_pydict() == {"x": [1.0, None, 2.5, None], "y": ["a", "b", "b", "a"]}


# --- what cannot be read ----------------------------------------------------------------------------------------------


def test_without_the_package_it_is_said_what_to_install_and_where(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    (tmp_path / "t.xls").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99))
    for path in (sheet(tmp_path / "t.xlsx", *HERE), ods(tmp_path / "t.ods", {"S": HERE}), tmp_path / "t.xls"):
        message = refused(path)
        assert "python-calamine is needed" in message
        assert "requirements-excel.txt" in message
        assert "python_env.yaml" in message
        assert "or save the sheet as CSV" in message


@needs_calamine
def test_a_damaged_workbook_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "t.xls").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99))
    with zipfile.ZipFile(tmp_path / "t.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook")
    for name in ("t.xls", "t.xlsx"):
        assert "cannot be read as a workbook" in refused(tmp_path / name)


def test_other_office_documents_are_refused_by_name(tmp_path: Path) -> None:
    for name, members in {
        "t.docx": {"[Content_Types].xml": "<Types/>", "word/document.xml": "<x/>"},
        "t.odt": {"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": "<x/>"},
    }.items():
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member, text in members.items():
                archive.writestr(member, text)
        assert "Office document" in refused(tmp_path / name)


def test_the_words_for_an_installation_are_those_of_the_repository() -> None:
    project = Path(__file__).resolve().parents[2]
    named = re.findall(r"requirements-\w+\.txt", workbooks.INSTALL)
    assert named
    assert all((project / name).is_file() for name in named)
