"""The rows of each class as metrics of etl: each class its own."""

import pandas as pd


def test_classes_of_like_names_are_counted_apart(store, tmp_path):
    kinds = ["a+"] * 40 + ["a*"] * 60 + ["Yes"] * 30 + ["yes"] * 70
    pd.DataFrame({"x": range(200), "y": kinds}).to_csv(tmp_path / "rows.csv", index=False)
    ended = store.step("etl", data=tmp_path / "rows.csv", target="y")
    assert ended.status == 0, ended.stderr
    counts = {name: n for name, n in ended.run.data.metrics.items() if name.startswith(("rows_train_", "rows_hold"))}
    assert len({name.casefold() for name in counts}) == 8
    assert sum(counts.values()) == 200
