"""Comparison of two results bit by bit; each difference is described in words, with both values."""

import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

ABSENT = "none"


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Describe each difference between two mappings of plain values: `accuracy: 0.9 then, 0.8 now`.

    A name that only one of the mappings has is a difference. Numbers are equal if all their bits are equal; NaN equals
    NaN.
    """
    names = dict.fromkeys([*then, *now])
    return [
        f"{name}: {_shown(then, name)} then, {_shown(now, name)} now"
        for name in names
        if name not in then or name not in now or not _same(then[name], now[name])
    ]


def leaves(nested: Any, path: str = "") -> dict[str, Any]:
    """Flatten nested mappings and lists to one mapping by dotted paths; an empty mapping or list is a leaf."""
    return dict(_leaves(nested, path))


def frames(then: pd.DataFrame, now: pd.DataFrame) -> list[str]:
    """Describe how two tables differ: in their columns, their length, or the values of columns (floats bit by bit)."""
    if list(then.columns) != list(now.columns):
        return [f"columns: {', '.join(then.columns)} then, {', '.join(now.columns)} now"]
    if len(then) != len(now):
        return [f"rows: {len(then):,} then, {len(now):,} now"]
    return [line for name in then.columns for line in _column(str(name), then[name], now[name])]


def _column(name: str, then: pd.Series, now: pd.Series) -> Iterator[str]:
    if then.dtype != now.dtype:
        yield f"{name}: {then.dtype} then, {now.dtype} now"
        return
    left, right = then.to_numpy(), now.to_numpy()
    if then.dtype.kind == "f":
        bits = f"u{then.dtype.itemsize}"
        differ = left.view(bits) != right.view(bits)
    else:
        differ = ~np.array([_same(a, b) for a, b in zip(left, right, strict=True)], dtype=bool)
    if differ.any():
        first = int(differ.argmax())
        at = f"row {first}: {left[first]} then, {right[first]} now"
        yield f"{name}: {differ.sum():,} of {len(then):,} rows, first {at}"


def _same(then: Any, now: Any) -> bool:
    if isinstance(then, float) and isinstance(now, float):
        return struct.pack("d", then) == struct.pack("d", now) or (math.isnan(then) and math.isnan(now))
    return bool(type(then) is type(now) and then == now)


def _shown(values: Mapping[str, Any], name: str) -> str:
    return str(values[name]) if name in values else ABSENT


def _leaves(nested: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(nested, Mapping | list) and nested:
        for name, value in nested.items() if isinstance(nested, Mapping) else enumerate(nested):
            yield from _leaves(value, f"{path}.{name}" if path else str(name))
    else:
        yield path, nested
