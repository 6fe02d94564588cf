"""Parts of a table that are looked at apart from each other, and merged: the same as one scan of all of them."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tabular.data import narrowing
from tabular.data.columns import Expected, Reading, Words
from tabular.data.duplicates import hashes
from tabular.data.parts import Parts
from tabular.data.spills import Spill
from tabular.data.tables import Table, scan
from tabular.errors import UserError


class Apart:
    """Readers that look at each part from its own state, with nothing but what can be pickled on the way."""

    def each(self, look, files):
        return (sent(sent(look)(file)) for file in files)

    def kept(self, look, files, spill):
        return (sent(sent(look)(file, spill.path(place))) for place, file in enumerate(files))


def sent(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


NUMBERS = ("1", "0", "12", "-999", "1.5", " 2 ", "1e3", "9007199254740993", "18446744073709551616", "inf", "1e999")
OTHERS = ("", "NA", "none", "-", "007", "< 5", "town", "Évora ", "true", "false", "2024-01-02", "2024-02-30", "x" * 20)
THOUSANDS = ("950", "1.250", "12.345", "-1.000", "+7", "")
cells = st.sampled_from(NUMBERS) | st.sampled_from(OTHERS) | st.integers(0, 400).map(str)
# mostly of one kind, as columns are; of another one in some parts
columns = st.sampled_from(
    [NUMBERS, ("1", "2", "3"), ("town", "tower", ""), ("2024-01-02", "NA"), ("true", "false"), THOUSANDS]
)
expected = st.sampled_from([None, Expected("category")]) | st.builds(
    Expected, st.sampled_from(["number", "date", "boolean"]), lenient=st.booleans()
)


@st.composite
def parts_of_texts(draw: st.DrawFn) -> list[list[tuple[str, str, str]]]:
    """The rows of each part: a number that may count them, a cell of one kind mostly, and any cell."""
    made, row, counts, begin = [], 0, draw(st.booleans()), draw(st.integers(0, 2))
    for _ in range(draw(st.integers(2, 4))):
        usual = draw(columns)
        rows = draw(st.lists(st.tuples(st.sampled_from(usual) | cells, cells), max_size=12))
        made.append([(str(begin + row + at) if counts else one, one, other) for at, (one, other) in enumerate(rows)])
        row += len(rows)
    return made


@st.composite
def readings(draw: st.DrawFn, names: tuple[str, ...]) -> Reading:
    asked = {name: one for name in names if (one := draw(expected)) is not None}
    return Reading(
        missing=draw(st.sampled_from([(), ("-999", "-"), ("town", "1")])),
        keep=draw(st.sampled_from([(), ("none",)])),
        of_columns=draw(st.sampled_from([{}, {names[-1]: Words(("12",), ("NA",))}])),
        types=asked,
        dropped=draw(st.sampled_from([frozenset(), frozenset(names[:1]), frozenset(names)])),
    )


def found(scanned: Callable[[], Table], *, whole: bool) -> Any:
    """What a scan finds, and the rows that it leads to, with all columns or those looked at; or the error."""
    try:
        table = scanned()
    except UserError as error:
        return str(error)
    held = [name for name in table.schema.names if whole or table.reading.looks_at(name)]
    rows = pa.Table.from_batches(list(table.batches(held)))
    notes = {name: (note, list(note.missing)) for name, note in table.notes.items()}
    hashed = [number for block in table.coded(held) for number in hashes(block).tolist()]
    return table.schema, table.rows, table.reading, notes, rows.to_pydict(), rows.schema, hashed


def both(place: Parts, folder: Path, reading: Reading, *, whole: bool, **how: Any) -> tuple[Any, Any]:
    """What is found in one scan, and by looking at the parts apart."""
    (folder / "one").mkdir()
    (folder / "apart").mkdir()
    one = {"spill": Spill(folder / "one", whole=whole)}
    apart = {"spill": Spill(folder / "apart", whole=whole, alone=True), "readers": Apart()}
    return tuple(found(lambda about=about: scan(place, reading, **about, **how), whole=whole) for about in (one, apart))


how = st.fixed_dictionaries({"whole": st.booleans(), "block_bytes": st.sampled_from([7, 40, 1 << 20])})


@pytest.fixture(autouse=True)
def _few_are_enough(monkeypatch):
    """What is decided once a column has so many cells or texts is decided within the few rows that are drawn."""
    monkeypatch.setattr(narrowing, "SURE", 5)
    monkeypatch.setattr(narrowing, "FEW_TEXTS", 4)
    monkeypatch.setattr(narrowing, "MOST_KNOWN", 6)


def rows(*cells: str) -> list[tuple[str, str, str]]:
    return [("1", cell, cell) for cell in cells]


NAMED = {"a": Expected("category"), "b": Expected("category")}
SMALL, LARGE = {"whole": False, "block_bytes": 7}, {"whole": False, "block_bytes": 1 << 20}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
# what is ruled out at the end of a block of a later part, by cells of an earlier one
@example(parts=[rows("1", "2", "town", "tower"), rows(*["3"] * 20)], reading=Reading(), how=SMALL)
@example(parts=[rows("1.5"), rows("inf")], reading=Reading(), how=LARGE)
# names that a float would mix up, and numbers that are none
@example(parts=[rows("9007199254740993"), rows("18446744073709551616")], reading=Reading(types=NAMED), how=LARGE)
@example(parts=[rows("18446744073709551616"), rows("1.5")], reading=Reading(types=NAMED), how=LARGE)
# a point that may mark thousands, by what another part has beside it
@example(parts=[rows("950"), rows("1.250")], reading=Reading(), how=LARGE)
@example(parts=[rows("1.250"), rows("950")], reading=Reading(), how=LARGE)
@example(parts=[rows("950", "1.250"), rows("1.5")], reading=Reading(), how=LARGE)
@given(parts=parts_of_texts(), reading=readings(("Unnamed: 0", "a", "b")), how=how)
def test_parts_of_texts_are_found_apart_to_be_what_one_scan_finds(tmp_path_factory, parts, reading, how):
    folder = tmp_path_factory.mktemp("parts")
    for place, rows in enumerate(parts):
        frame = pd.DataFrame(rows, columns=["", "a", "b"])
        frame.to_csv(folder / f"{place}.csv", index=False)
    place = Parts(folder, tuple(f"{place}.csv" for place in range(len(parts))))
    one, apart = both(place, folder, reading, **how)
    assert apart == one


texts = st.sampled_from([*OTHERS, "12", "2024-03-04"])
moments = st.sampled_from([pd.Timestamp("2024-01-02"), pd.Timestamp("1999-12-31 23:59:59")])
# Column: the types that it may have in a part, each with its values.
KINDS = {
    "number": {
        pa.int64(): st.integers(-3, 3) | st.sampled_from([-999, 2**53 + 1]),
        pa.float64(): st.sampled_from([0.0, 1.0, -999.0, 2.5, float("nan")]),
        pa.decimal128(20, 0): st.integers(0, 3) | st.just(2**53 + 1),
        pa.null(): st.none(),
    },
    "large": {pa.uint64(): st.integers(0, 3) | st.sampled_from([12, 2**63])},
    "infinite": {pa.float64(): st.sampled_from([1.0, float("inf"), 0.0])},
    "text": {
        pa.string(): texts,
        pa.large_string(): texts,
        pa.dictionary(pa.int32(), pa.string()): texts,
        pa.null(): st.none(),
    },
    "bytes": {pa.binary(): st.sampled_from([b"a", b"b", b"\xff"])},
    "moment": {pa.timestamp("us"): moments, pa.date32(): moments.map(lambda one: one.date())},
    "truth": {pa.bool_(): st.booleans()},
    "lists": {pa.list_(pa.int64()): st.just([1])},
}
NAMES = ("number", "large", "text", "moment", "truth")


@st.composite
def parts_with_types(draw: st.DrawFn) -> list[pa.Table]:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    names += draw(st.sampled_from([[], [], ["infinite"], ["bytes"], ["lists"]]))
    counts, made, row = draw(st.booleans()), [], 0
    for _ in range(draw(st.integers(2, 3))):
        rows = draw(st.integers(1, 8))
        held = {"Unnamed: 0": pa.array(range(row, row + rows) if counts else [1] * rows)}
        for name in names:
            kind = draw(st.sampled_from(list(KINDS[name])))
            values = st.none() | KINDS[name][kind]
            held[name] = pa.array(draw(st.lists(values, min_size=rows, max_size=rows)), kind)
        made.append(pa.table(held))
        row += rows
    return made


def as_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, row_group_size=3)


def as_json(table: pa.Table, path: Path) -> None:
    rows = table.drop_columns({"bytes"} & {*table.column_names}).to_pylist()
    path.write_text("".join(f"{json.dumps(row, default=str)}\n" for row in rows))


FORMS = {"parquet": as_parquet, "json": as_json}


def large(number: int) -> pa.Table:
    return pa.table({"large": pa.array([number], pa.uint64())})


@pytest.mark.parametrize("form", FORMS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(tables=[large(1), large(2**63)], reading=Reading(), whole=False)
@example(tables=[large(1), large(2**60)], reading=Reading(types={"large": Expected("category")}), whole=False)
@given(tables=parts_with_types(), reading=readings(("number", "text", "large")), whole=st.booleans())
def test_parts_with_types_are_found_apart_to_be_what_one_scan_finds(tmp_path_factory, form, tables, reading, whole):
    folder = tmp_path_factory.mktemp("parts")
    for place, table in enumerate(tables):
        FORMS[form](table, folder / f"{place}.{form}")
    place = Parts(folder, tuple(f"{place}.{form}" for place in range(len(tables))))
    one, apart = both(place, folder, reading, whole=whole)
    assert apart == one
