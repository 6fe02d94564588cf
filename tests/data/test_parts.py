"""Tables in several files: which are parts, in which order, what they must share, and that they are one table."""

import gzip
import hashlib
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabular import digests
from tabular.data import datasets, parts
from tabular.data.columns import BATCH_ROWS, Reading
from tabular.data.parts import Parts, Place
from tabular.data.sources import Fetched, Source, fetch, pin
from tabular.data.tables import Table, scan, scan_for
from tabular.errors import UserError
from tabular.problem import build

N = 90
FRAME = pd.DataFrame(
    {
        "amount": [None if i % 9 == 0 else i * 1.5 for i in range(N)],
        "count": [i % 7 for i in range(N)],
        "city": [None if i % 11 == 0 else ("Paris", "Rome", "Oslo")[i % 3] for i in range(N)],
        "joined": [pd.Timestamp(2024, 1 + i % 12, 1 + i % 28) for i in range(N)],
        "y": [("no", "yes")[(i % 7) > 3] for i in range(N)],
    }
)
PROBLEM = build({"name": "p", "data": {"source": "t", "target": "y"}}, "made")


def local(source: str | Path, sha256: str | None = None, cache: Path = Path("unused")) -> Fetched:
    return fetch(Source(str(source)), sha256=sha256, cache=cache, folder=Path("unused"), progress=False)


def refusal(call: Callable[..., Any], *args: Any, **how: Any) -> str:
    with pytest.raises(UserError) as caught:
        call(*args, **how)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write(folder: Path, **files: str | bytes) -> Path:
    """Files by their names, in which __ stands for a dot and ___ for a slash."""
    for name, content in files.items():
        path = folder / name.replace("___", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


def parquet(frame: pd.DataFrame) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), sink)
    return sink.getvalue().to_pybytes()


def whole(table: Table, columns: list[str] | None = None) -> pa.Table:
    return pa.Table.from_batches(list(table.batches(columns)))


def of_train(place: Place, folder: Path) -> dict[str, str]:
    """The digests of the data set that is made of a table."""
    folder.mkdir()
    datasets.prepare(scan(place), PROBLEM, folder)
    return {path.name: digests.of_file(path) for path in folder.iterdir()}


# --- which files ------------------------------------------------------------------------------------------------------


def test_a_folder_as_spark_leaves_it_is_one_table_of_its_parts(tmp_path):
    third = N // 3
    pieces = {f"part-{place:05}__parquet": parquet(FRAME[place * third :][:third]) for place in range(3)}
    folder = write(tmp_path / "t", _SUCCESS=b"", **pieces)
    write(folder, **{"__part-00000__parquet__crc": b"crc\0"}, _metadata=b"PAR1", _temporary___x__parquet=b"PAR1")
    found = local(folder)
    assert isinstance(found.place, Parts)
    assert found.place.names == tuple(f"part-{place:05}.parquet" for place in range(3))
    assert set(found.others) == {"_SUCCESS", ".part-00000.parquet.crc", "_metadata", "_temporary/"}
    table = scan(found.place)
    assert table.rows == N
    assert (
        whole(table)
        .to_pandas()
        .equals(whole(scan(write(tmp_path, one__parquet=parquet(FRAME)) / "one.parquet")).to_pandas())
    )


@pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet", "part-files", "mixed packing"])
def test_a_table_is_the_same_data_set_in_one_file_and_in_parts(tmp_path, form):
    one = of_train(write(tmp_path, one__csv=csv(FRAME)) / "one.csv", tmp_path / "one")
    cuts = [FRAME[:10], FRAME[10:11], FRAME[11:]]
    made = {
        "csv": lambda: {f"p{place}__csv": csv(cut) for place, cut in enumerate(cuts)},
        "csv.gz": lambda: {f"p{place}__csv__gz": gzip.compress(csv(cut)) for place, cut in enumerate(cuts)},
        "parquet": lambda: {f"p{place}__parquet": parquet(cut) for place, cut in enumerate(cuts)},
        "part-files": lambda: {f"part-{place}": csv(cut) for place, cut in enumerate([*cuts, FRAME[:0]])},
        "mixed packing": lambda: {"p0": csv(cuts[0]), "p1__gz": gzip.compress(csv(cuts[1])), "p2__csv": csv(cuts[2])},
    }[form]()
    folder = write(tmp_path / "parts", **made)
    assert of_train(local(folder).place, tmp_path / "several") == one


def test_a_large_table_is_the_same_data_set_in_every_form(tmp_path):
    rows = BATCH_ROWS * 2 + 5_000
    numbers = np.arange(rows)
    table = pa.table({"x": numbers * 0.5, "town": [f"town {i % 50}" for i in numbers], "y": numbers % 3 % 2})
    pa.csv.write_csv(table, tmp_path / "one.csv")
    pq.write_table(table, tmp_path / "one.parquet", row_group_size=10_000)
    (tmp_path / "parts").mkdir()
    for place, (start, end) in enumerate([(0, 70_001), (70_001, 70_002), (70_002, rows)]):
        pq.write_table(table.slice(start, end - start), tmp_path / "parts" / f"{place}.parquet", row_group_size=33_333)
    found = [
        of_train(local(tmp_path / name).place, tmp_path / f"{name}.set") for name in ("one.csv", "one.parquet", "parts")
    ]
    assert found[0] == found[1] == found[2]


def test_parts_are_read_in_the_order_that_people_count_in(tmp_path):
    folder = write(tmp_path, part10__csv="x\n10\n", part9__csv="x\n9\n", part1__csv="x\n1\n", a___part2__csv="x\n2\n")
    assert whole(scan(local(folder).place))["x"].to_pylist() == [2, 1, 9, 10]


@given(st.lists(st.text("/ab019-é", min_size=1), unique=True))
def test_the_order_of_parts_depends_on_their_names_alone(names):
    assert sorted(names, key=parts.natural) == sorted(random.sample(names, len(names)), key=parts.natural)


def test_a_glob_names_some_parts_and_folders_of_parts(tmp_path):
    write(
        tmp_path, a1__csv="x\n1\n", a2__csv="x\n2\n", b1__csv="x\n3\n", deep___er___a1__csv="x\n4\n", _a__csv="x\n5\n"
    )
    values = {
        "a*.csv": [1, 2],
        "[ab]1.csv": [1, 3],
        "**/a1.csv": [1, 4],
        "de*": [4],
        "*/*/a?.csv": [4],
        "**/*.csv": [1, 2, 3, 4],
    }
    found = {glob: whole(scan(local(tmp_path / glob).place))["x"].to_pylist() for glob in values}
    assert found == values


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path):
    write(tmp_path, **{"a[1]__csv": "x\n1\n"}, a1__csv="x\n2\n")
    assert local(tmp_path / "a[1].csv").place == tmp_path / "a[1].csv"


def test_where_nothing_is_a_part_a_line_says_what_lies_there(tmp_path):
    write(tmp_path, t___readme__crc="x")
    assert "matches no file" in refusal(local, tmp_path / "t" / "*.parquet")
    message = refusal(local, tmp_path / "t")
    assert "holds no file of a table" in message
    assert "'readme.crc'" in message


@pytest.mark.parametrize("sign", ["_delta_log___0__json", "__hoodie___x", "metadata___v1__metadata__json"])
def test_the_folder_of_a_table_with_a_log_is_refused_by_its_name(tmp_path, sign):
    write(tmp_path, **{sign: "{}", "a__parquet": parquet(FRAME)})
    for source in (tmp_path, tmp_path / "*.parquet"):
        assert "table, whose files are not all of them rows of today; write it as Parquet" in refusal(local, source)


def test_folders_that_lie_in_each_other_in_a_circle_are_told(tmp_path):
    write(tmp_path, a__csv="x\n1\n")
    (tmp_path / "again").symlink_to(tmp_path)
    assert "does a link lead in a circle?" in refusal(local, tmp_path)
    assert scan(local(tmp_path / "*.csv").place).rows == 1


# --- what parts must share --------------------------------------------------------------------------------------------


def test_types_are_found_over_all_parts(tmp_path):
    folder = write(tmp_path, a__csv="x,z,w\n1,,1\n", b__csv="x,z,w\n2.5,2024-01-02,x\n", c__csv="x,z,w\n,,\n")
    table = scan(local(folder).place)
    assert [str(kind) for kind in table.schema.types] == ["double", "timestamp[us]", "string"]
    assert whole(table)["x"].to_pylist() == [1.0, 2.5, None]


def test_types_of_parquet_parts_are_widened_where_nothing_is_lost(tmp_path):
    empty = pd.DataFrame({"x": [None], "z": [None]})
    folder = write(
        tmp_path,
        a__parquet=parquet(empty),
        b__parquet=parquet(pd.DataFrame({"x": [1], "z": ["a"]})),
        c__parquet=parquet(pd.DataFrame({"z": ["b"], "x": [2.5]})),  # in another order
    )
    table = scan(local(folder).place)
    assert whole(table).to_pydict() == {"x": [None, 1.0, 2.5], "z": [None, "a", "b"]}


DIFFERENT = {
    "a column less": ({"a__csv": "x,y\n1,2\n", "b__csv": "x\n1\n"}, ["b.csv", "no column 'y'", "a.csv"]),
    "a column more": ({"a__csv": "x\n1\n", "b__csv": "x,y\n1,2\n"}, ["a.csv", "no column 'y'", "b.csv"]),
    "another order": (
        {"a__csv": "x,y\n1,2\n", "b__csv": "y,x\n1,2\n"},
        ["b.csv", "column 1 is 'y', and 'x' in", "a.csv"],
    ),
    "a header in the first part only": ({"a__csv": "x,y\n1,2\n", "b__csv": "3,4\n"}, ["a.csv", "b.csv", "no column"]),
    "another form": (
        {"a__csv": csv(FRAME), "b__parquet": parquet(FRAME)},
        ["b.parquet", "is parquet", "a.csv", "is text"],
    ),
    "another type": (
        {"a__parquet": parquet(pd.DataFrame({"x": [1]})), "b__parquet": parquet(pd.DataFrame({"x": ["a"]}))},
        ["b.parquet", "column 'x' is of type", "string", "a.parquet", "int64"],
    ),
    "a partition column less": ({"k=1___a__csv": "x\n1\n", "b__csv": "x\n1\n"}, ["b.csv", "'k'", "k=1/a.csv"]),
}


@pytest.mark.parametrize(("files", "said"), DIFFERENT.values(), ids=DIFFERENT)
def test_parts_that_differ_are_told_with_both_files_and_a_glob_helps(tmp_path, files, said):
    folder = write(tmp_path, **files)
    message = refusal(lambda: scan(local(folder).place))
    assert [word for word in said if word not in message] == []
    assert "glob" in message
    assert scan(local(folder / "**" / "a*").place).rows


def test_parts_without_headers_are_named_by_the_problem(tmp_path):
    folder = write(tmp_path, a__csv="1;2\n", b__csv="3;4\n")
    assert whole(scan(local(folder).place, Reading(("x", "y")))).to_pydict() == {"x": [1, 3], "y": [2, 4]}


def test_a_column_without_a_value_in_any_part_is_told_of_the_folder(tmp_path):
    folder = write(tmp_path / "t", a__csv="x,y\n1,\n", b__csv="x,y\n1,\n")
    assert f"{folder}: column 'y' has no values" in refusal(lambda: scan(local(folder).place))


def test_an_error_in_a_part_names_the_part_and_its_line(tmp_path):
    folder = write(tmp_path, a__csv="x,y\n1,2\n", b__csv="x,y\n1,2\n1,2,3\n")
    assert "b.csv: line 3 has 3 fields" in refusal(lambda: scan(local(folder).place))


# --- columns in paths -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [csv, parquet], ids=["csv", "parquet"])
def test_partition_columns_in_paths_become_columns_of_every_row(tmp_path, form):
    none, town = "__HIVE_DEFAULT_PARTITION__", "S%C3%A3o%20Paulo"
    for name, frame in ((f"year=2024/town={town}/a", FRAME[:3]), (f"year=2025/town={none}/a", FRAME[3:5])):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_bytes(form(frame))
    table = scan(local(tmp_path).place)
    assert table.schema.names == [*FRAME, "year", "town"]
    assert str(table.schema.field("year").type) == "int64"
    assert whole(table)["town"].to_pylist() == ["São Paulo"] * 3 + [None] * 2
    assert whole(table, ["year"]).to_pydict() == {"year": [2024] * 3 + [2025] * 2}
    assert whole(table, ["year", "count"])["count"].to_pylist() == [0, 1, 2, 3, 4]
    wanted = pa.schema([("year", pa.float64()), ("count", pa.float64())])
    again = scan_for(local(tmp_path).place, wanted)
    assert again.rows == 5
    assert whole(again, ["count", "year"]).to_pydict() == {
        "count": [0, 1, 2, 3, 4],
        "year": [2024.0] * 3 + [2025.0] * 2,
    }
    assert scan_for(local(tmp_path).place, wanted.remove(1)).rows == 5
    assert "year" in refusal(scan_for, local(tmp_path).place, pa.schema([("year", pa.timestamp("us"))]))


def test_a_column_of_the_files_goes_before_one_of_their_paths(tmp_path):
    folder = write(tmp_path, **{"k=1___a__csv": "k,x\n5,1\n"})
    table = scan(local(folder).place)
    assert (table.schema.names, table.of_paths) == (["k", "x"], {})
    assert whole(scan_for(local(folder).place, pa.schema([("k", pa.float64())])))["k"].to_pylist() == [5.0]


def test_the_values_of_paths_have_the_types_that_their_texts_have(tmp_path):
    folder = write(tmp_path, **{f"day=2024-01-0{i}___code=0{i}___a__csv": "x\n1\n" for i in (1, 2)})
    table = scan(local(folder).place)
    assert [str(table.schema.field(name).type) for name in ("day", "code")] == ["timestamp[us]", "string"]


# --- digests ----------------------------------------------------------------------------------------------------------


def test_the_digest_of_parts_is_what_sha256sum_says_of_their_sums(tmp_path):
    folder = write(tmp_path, b__csv="x\n1\n", a___c__csv="x\n2\n", _SUCCESS="")
    sums = subprocess.run(["sha256sum", "a/c.csv", "b.csv"], cwd=folder, check=True, capture_output=True).stdout
    assert local(folder).digest == hashlib.sha256(sums).hexdigest()
    assert local(folder / "*.csv").digest != local(folder / "b.csv").digest == digests.of_file(folder / "b.csv")


def test_parts_that_came_after_the_table_was_pinned_are_no_part_of_it(tmp_path):
    cache, folder = tmp_path / "cache", write(tmp_path / "t", a__csv="x\n1\n", b__csv="x\n2\n")
    how = {"cache": cache, "folder": tmp_path / "run", "progress": False}
    digest = pin(Source(str(folder)), sha256=None, **how)
    write(folder, a0__csv="x\n3\n", c__csv="x\n4\n")
    found = local(folder, digest, cache)
    assert whole(scan(found.place))["x"].to_pylist() == [1, 2]
    assert found.digest == digest
    assert found.others == ("a0.csv", "c.csv")
    assert "of its 4 parts" in refusal(local, folder, digest)  # where it is not known which parts these were
    write(folder, b__csv="x\n5\n")
    assert digest in refusal(local, folder, digest, cache)
    (folder / "b.csv").unlink()
    assert "the part b.csv is gone" in refusal(local, folder, digest, cache)
