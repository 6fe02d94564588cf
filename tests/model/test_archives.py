"""skops archives made canonical: equal objects have equal bytes, and come back as they were."""

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from steps.model import flavor

leaves = st.one_of(
    st.binary(max_size=9),
    st.binary(max_size=9).map(bytearray),
    st.lists(st.floats(allow_nan=False, width=32), max_size=4).map(np.array),
    st.lists(st.integers(0, 9), min_size=1, max_size=4).map(lambda row: sparse.csr_matrix([row])),
    st.text(max_size=5),
    st.sets(st.text(max_size=3), max_size=5),
    st.none(),
)
objects = st.dictionaries(
    st.sampled_from(["a", "file", "__id__", "b.c"]), st.recursive(leaves, lambda of: st.lists(of, max_size=3))
)


def stored(one: Any, path: Path) -> bytes:
    skops.io.dump(one, path)
    flavor._make_canonical(path)
    return path.read_bytes()


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, sparse.csr_matrix):
        return (one != other).nnz == 0
    return bool(np.array_equal(one, other)) if isinstance(one, np.ndarray) else bool(one == other)


@given(objects)
def test_what_is_stored_twice_has_equal_bytes_and_comes_back(
    tmp_path_factory: pytest.TempPathFactory, one: Any
) -> None:
    folder = tmp_path_factory.mktemp("archives")
    assert stored(one, folder / "a.skops") == stored(one, folder / "b.skops")
    trusted = skops.io.get_untrusted_types(file=folder / "a.skops")
    assert same(skops.io.load(folder / "a.skops", trusted=trusted), one)


@pytest.mark.parametrize(
    "name",
    ["8c6f1a5e-0000-4000-8000-000000000000", "12345678-0000-4000-8000-00000000000a", "a1b2c3d4-1-4000-8000-0000000000"],
)
def test_a_file_whose_name_begins_with_digits_is_found_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter([name, name[::-1]])
    monkeypatch.setattr(uuid, "uuid4", lambda: next(names))
    stored([b"one", b"two"], tmp_path / "a.skops")
    assert skops.io.load(tmp_path / "a.skops") == [b"one", b"two"]


def test_the_order_of_a_sets_items_is_not_stored(tmp_path: Path) -> None:
    one, other = {0, 8}, {8, 0}
    assert list(one) != list(other)
    assert stored([one], tmp_path / "a.skops") == stored([other], tmp_path / "b.skops")
