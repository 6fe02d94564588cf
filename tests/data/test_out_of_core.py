"""Tables that outgrow memory: parsed once, compared and split on disk or stretch by stretch, with the same result."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tabular import digests
from tabular.data import compact, datasets, duplicates, evidence, splits, tables
from tabular.data.ahead import ahead
from tabular.data.parts import Parts
from tabular.data.spills import Spill
from tabular.problem import build
from tabular.sections.table import Split

# As a file may hold them: blanks, words for missing values, numbers in several forms, quotes, and repeated rows.
LINES = [
    *('a,1,2021-01-01,"x, y",0', " a ,1.0,2021-01-02,NA,1", "b,,2021-01-02,z,0", "b,2.5,2021-01-03,z,1"),
    *("d,NA,2021-01-04,é,0", 'c,1,2021-01-01,"x ""y""",1', "b,2.5,2021-01-03,z,1", " a ,1.0,2021-01-02,NA,1"),
]
OTHERS = [f"{'ab'[at % 2]},{at / 2},2021-02-{at % 28 + 1:02},t{at % 9},{at % 3 // 2}" for at in range(400)]
ROWS = [*LINES, *OTHERS, *LINES]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["name,number,day,note,y", *ROWS]) + "\n")
    return path


def problem(**sections: Any) -> Any:
    data = {"source": "t.csv", "target": "y", "duplicates": "drop", "drop": {"note": "a note"}}
    return build({"name": "made", "data": data, "search": {"folds": 2}, **sections}, "made")


def made(path: Path, folder: Path, spill: Spill | None, **sections: Any) -> tuple[list[str], datasets.Prepared]:
    """The digests of the files of a data set, and what was told of it."""
    folder.mkdir()
    asked = problem(**sections)
    table = tables.scan(path, datasets.reading(asked), block_bytes=500, spill=spill)
    if spill is not None:
        path.write_text("x\nchanged\n")  # what is read from now on is what was kept
    prepared = datasets.prepare(table, asked, folder)
    return [digests.of_file(folder / name) for name in ("train.parquet", "holdout.parquet", "schema.json")], prepared


@pytest.mark.parametrize(
    "split",
    [
        {"by": "random"},
        {"by": "time", "column": "day"},
        {"by": "group", "column": "name", "holdout": 0.5},
    ],
    ids=lambda split: split["by"],
)
def test_a_text_that_is_kept_as_it_was_parsed_is_not_read_again_and_makes_the_same_data_set(
    table: Path, tmp_path: Path, split: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, told = made(table, tmp_path / "in memory", None, split=split)
    monkeypatch.setattr(duplicates, "ROWS_OF_PART", 50)
    monkeypatch.setattr(compact, "ROWS", 70)
    found, of_disk = made(table, tmp_path / "on disk", Spill(tmp_path, whole=True), split=split)
    assert found == expected
    assert of_disk.duplicates == told.duplicates > len(LINES)
    assert of_disk.profile.table() == told.profile.table()


def test_blocks_that_are_kept_are_those_of_all_parts_and_of_backslashes_that_escape_quotes(tmp_path: Path) -> None:
    for name, text in {"1.csv": r'"a \" b",1', "2.csv": r'"c \\",2'}.items():
        (tmp_path / name).write_text(f"x,y\n{text}\n")
    place = Parts(tmp_path, ("1.csv", "2.csv"))
    table = tables.scan(place, spill=Spill(tmp_path))
    for name in place.names:
        (tmp_path / name).write_text("x,y\nchanged,9\n")
    assert pa.Table.from_batches(table.batches()).to_pydict() == {"x": ['a " b', "c \\"], "y": [1, 2]}


def test_columns_that_were_not_kept_are_read_from_the_text(table: Path, tmp_path: Path) -> None:
    how = datasets.reading(problem())
    kept = tables.scan(table, how, spill=Spill(tmp_path))
    assert next(kept.batches()).equals(next(tables.scan(table, how).batches()))


@pytest.mark.parametrize("rows_of_part", [3, 10_000], ids=["on disk", "in memory"])
def test_rows_repeat_an_earlier_one_where_their_hashes_do(
    rows_of_part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "ROWS_OF_PART", rows_of_part)
    hashes = np.random.default_rng(0).integers(0, 40, 100).astype(np.uint64)
    seen = duplicates.Seen(len(hashes), tmp_path)
    for some in np.array_split(hashes, 7):
        seen.add(some)
    earlier: set[int] = set()
    expected = [not (one in earlier or earlier.add(one)) for one in hashes.tolist()]  # type: ignore[func-returns-value]
    assert seen.first().tolist() == expected


def test_the_hash_of_a_row_is_that_of_its_values_in_whatever_block_they_come() -> None:
    columns = {
        "text": pa.array(["a", None, "", "a", "b"]),
        "number": pa.array([1.0, None, 0.0, 1.0, -0.0]),
        "whole": pa.array([1, None, 0, 1, 2**60]),
        "day": pa.array([1, None, 0, 1, 5], pa.timestamp("us")),
        "truth": pa.array([True, None, False, True, True]),
    }
    plain = pa.record_batch(columns)
    coded = pa.record_batch([one.dictionary_encode(null_encoding="encode") for one in columns.values()], [*columns])
    found = duplicates.hashes(plain)
    assert found.tolist() == duplicates.hashes(coded).tolist()
    assert found[3:].tolist() == duplicates.hashes(plain.slice(3)).tolist()
    assert found[0] == found[3] and len({*found.tolist()}) == 4
    turned = plain.select(["whole", "number", "text", "day", "truth"])
    assert duplicates.hashes(turned)[0] != found[0]


def test_of_many_rows_a_random_holdout_has_its_share_of_each_class_drawn_from_all_stretches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codes = np.random.default_rng(1).choice(3, 100_000, p=[0.7, 0.2999, 0.0001]).astype(np.int8)
    monkeypatch.setattr(splits, "MANY", 1_000)
    monkeypatch.setattr(splits, "STRETCH", 9_000)
    split = Split(by="random", holdout=0.2)
    held = splits.holdout(codes, None, split, 7)
    assert held.sum() == 20_000
    assert np.bincount(codes[held]) == pytest.approx(np.bincount(codes) * 0.2, abs=1)
    # a stretch's own share differs from the whole's as that of rows that are drawn without regard to it
    shares = np.array([part.mean() for part in np.array_split(held, 50)])
    assert 0.5 < shares.std() / np.sqrt(0.2 * 0.8 / 2_000) < 1.5
    assert (splits.holdout(codes, None, split, 7) == held).all()
    assert (splits.holdout(codes, None, split, 8) != held).any()


def test_of_many_training_rows_the_sample_is_as_large_and_has_rows_of_a_rare_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codes = np.zeros(200_000, dtype=np.int8)
    codes[::5_000] = 1
    train = np.random.default_rng(0).random(len(codes)) < 0.8
    monkeypatch.setattr(evidence, "MOST_TO_MIX", 30_000)
    found = evidence.sampled(codes, train, 4)
    assert found.sum() == evidence.MOST_ROWS
    assert (codes[found] == 1).sum() == (codes[train] == 1).sum()
    assert not (found & ~train).any()
    halves = [half.sum() for half in np.array_split(found, 2)]
    assert halves[0] == pytest.approx(halves[1], rel=0.05)


def test_codes_take_a_byte_where_a_byte_holds_them() -> None:
    assert [compact.kind(values).itemsize for values in (2, 127, 128, 32_767, 40_000)] == [1, 1, 2, 2, 4]


def test_items_that_are_made_ahead_come_in_their_order_and_an_error_comes_after_them() -> None:
    def items() -> Any:
        yield from range(3)
        raise ValueError("the fourth")

    found = []
    with pytest.raises(ValueError, match="the fourth"):
        for item in ahead(items()):
            found.append(item)
    assert found == [0, 1, 2]


def test_texts_that_come_again_in_later_blocks_are_counted_and_a_new_one_still_decides_the_type(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"{'12'[at % 2]},{('a', ' b ', 'NA', '', 'none')[at % 5]},{at % 3}" for at in range(3_000)]
    path.write_text("\n".join(["number,word,whole", *rows, "2.5,c,3", "inf.,d,4"]) + "\n")
    table = tables.scan(path, block_bytes=300)
    assert table.schema.types == [pa.string(), pa.string(), pa.int64()]
    notes = table.notes
    assert notes["word"].missing == {"NA": 600, "": 600, "none": 600}
    assert notes["word"].trimmed == 600
    assert (notes["number"].unfit, notes["number"].examples, notes["number"].meant) == (1, ("inf.",), "number")
    assert not notes["whole"].missing
