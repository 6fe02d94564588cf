"""benchmarks/race.py: who came out where, and that no row and no table is on both sides."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import race, race_tables, standings
from benchmarks.race import Entry, Race
from benchmarks.race_tables import DEVELOP, REPORT, Rows, Table
from benchmarks.standings import Result
from tabular.metrics.metric import rounded

OURS, THEIRS = "ours", "theirs"


def result(table: str, system: str, score: float, seed: int = 0, metric: str = "roc_auc", **more: object) -> Result:
    about = {"promised": {}, "took": 50.0, "model": "", "version": "1.0", **more}
    return Result(table, seed, 60.0, system, {metric: score}, **about)  # type: ignore[arg-type]


def losses(*results: Result, metric: str = "roc_auc") -> dict[str, np.ndarray]:
    return standings.by_table(results, [OURS, THEIRS], metric)


def test_no_table_is_on_both_lists() -> None:
    both = [*DEVELOP.values(), *REPORT.values()]
    assert not DEVELOP.keys() & REPORT.keys()
    assert len({table.source for table in both}) == len(both)


def test_twelve_tables_or_more_of_both_tasks_are_reported() -> None:
    assert len(REPORT) >= 12
    assert {table.task for table in REPORT.values()} == {"classification", "regression"}


def test_tables_that_earlier_documents_report_on_are_not_reported() -> None:
    known = ("breast_cancer", "iris", "diabetes", "diamonds", "hotel_bookings", "cleveland")
    assert not [name for name, table in REPORT.items() for one in known if one in table.source]


@pytest.mark.parametrize(("rows", "unseen"), [(500, 200), (2000, 800), (4000, 1000), (50_000, 10_000)])
def test_a_fifth_is_unseen_or_a_thousand_rows_where_there_are_enough_to_learn_from(rows: int, unseen: int) -> None:
    assert round(rows * race_tables.unseen_share(rows)) == unseen


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """A table whose column `row` numbers its rows, and whose class tells whether that is odd; one row has no class."""
    frame = pd.DataFrame({"row": range(301), "answer": ["even", "odd"] * 150 + [None]})
    frame.to_csv(tmp_path / "made.csv", index=False)
    table = Table("shared:made.csv", "answer")
    monkeypatch.setitem(race_tables.TABLES, "made", table)  # type: ignore[arg-type]
    return frame


def test_each_row_with_a_target_is_learnt_from_or_unseen(made: pd.DataFrame, tmp_path: Path) -> None:
    rows = race_tables.cut("made", 0, tmp_path, tmp_path)
    train, unseen = (pd.read_csv(rows.folder / f"{part}.csv") for part in ("train", "unseen"))
    assert sorted([*train["row"], *unseen["row"]]) == list(range(300))


def test_unseen_rows_hold_no_target_and_their_truth_is_in_their_order(made: pd.DataFrame, tmp_path: Path) -> None:
    rows = race_tables.cut("made", 0, tmp_path, tmp_path)
    unseen = pd.read_csv(rows.folder / "unseen.csv")
    assert list(unseen) == ["row"]
    assert list(rows.truth) == [made["answer"][row] for row in unseen["row"]]


def test_another_seed_cuts_other_rows(made: pd.DataFrame, tmp_path: Path) -> None:
    first, second = (race_tables.cut("made", seed, tmp_path, tmp_path).folder / "unseen.csv" for seed in (0, 1))
    assert first.read_text() != second.read_text()


def test_a_race_that_one_system_has_not_run_is_left_out() -> None:
    results = [result("a", OURS, 0.9), result("a", THEIRS, 0.8), result("b", OURS, 0.9)]
    kept, left_out = standings.whole(results, [OURS, THEIRS])
    assert ({one.table for one in kept}, left_out) == ({"a"}, 1)


def test_the_greater_auc_and_the_smaller_rmse_come_first_and_equals_share_a_rank() -> None:
    auc = losses(result("a", OURS, 0.9), result("a", THEIRS, 0.8))
    rmse = [result("b", system, score, metric="rmse") for system, score in ((OURS, 9.0), (THEIRS, 8.0))]
    equal = losses(result("c", OURS, 0.9), result("c", THEIRS, 0.9))
    assert standings.ranks(auc)["a"].tolist() == [[1, 2]]
    assert standings.ranks(losses(*rmse, metric="rmse"))["b"].tolist() == [[2, 1]]
    assert standings.ranks(equal)["c"].tolist() == [[1.5, 1.5]]


def test_a_distance_in_rmse_is_a_share_of_the_best() -> None:
    found = losses(result("a", OURS, 11.0, metric="rmse"), result("a", THEIRS, 10.0, metric="rmse"), metric="rmse")
    assert standings.behind(found, "rmse")["a"].tolist() == [[pytest.approx(0.1), 0.0]]


def test_a_distance_in_auc_is_a_difference() -> None:
    found = losses(result("a", OURS, 0.75), result("a", THEIRS, 0.8))
    assert standings.behind(found, "roc_auc")["a"].tolist() == [[pytest.approx(0.05), 0.0]]
    assert standings.ahead(found, "roc_auc", 0, 1)["a"].tolist() == [pytest.approx(-0.05)]


def test_a_table_is_won_by_the_mean_of_its_seeds_and_a_draw_is_half_a_race() -> None:
    margins = {"a": np.array([0.3, -0.1]), "b": np.array([-0.1, 0.0])}
    won, lost, share = standings.wins(margins)
    assert (won, lost, share.mean) == (1, 1, (0.5 + 0.25) / 2)


def test_the_seeds_of_a_table_are_drawn_together() -> None:
    of_tables = {"a": np.array([0.0, 0.0]), "b": np.array([1.0, 1.0])}
    alone = {f"{table}{seed}": value[:1] for table, value in of_tables.items() for seed in range(8)}
    narrow, wide = standings.over_tables(alone).interval, standings.over_tables(of_tables).interval
    assert (wide.low, wide.high) == (0.0, 1.0)
    assert 0.2 < narrow.low < 0.4
    assert 0.6 < narrow.high < 0.8


def test_an_interval_of_tables_that_all_say_the_same_is_that_figure() -> None:
    figure = standings.over_tables({name: np.array([0.25]) for name in "abcd"})
    assert (figure.mean, figure.interval.low, figure.interval.high) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize(("metric", "promised", "given", "gap"), [("roc_auc", 0.9, 0.8, 0.1), ("rmse", 8.0, 10.0, 0.2)])
def test_who_promises_more_than_the_unseen_rows_give_has_a_gap_above_0(
    metric: str, promised: float, given: float, gap: float
) -> None:
    one = result("a", OURS, given, metric=metric, promised={"holdout": promised})
    assert standings.gaps([one], OURS, metric, "holdout")["a"].tolist() == [pytest.approx(gap)]


@pytest.mark.parametrize(("score", "rarer", "others"), [(0.75, 50, 200), (0.9, 100, 100), (0.6, 300, 40)])
def test_the_chance_of_unseen_rows_is_that_of_many_draws(score: float, rarer: int, others: int) -> None:
    draw = np.random.default_rng(0)
    # of exponential scores, for which the formula is exact, the rate of one class gives the area
    rate = score / (1 - score)
    areas = []
    for _ in range(2000):
        high, low = draw.exponential(rate, rarer), draw.exponential(1.0, others)
        areas.append(np.mean(np.searchsorted(np.sort(low), high)) / others)
    found = standings.by_chance(score, rarer, others)
    assert found == pytest.approx(np.mean(np.abs(np.array(areas) - score)), rel=0.06)


def test_the_report_says_how_far_chance_alone_puts_a_promise() -> None:
    results = [result("a", system, 0.9, promised={"holdout": 0.88}) for system in (OURS, THEIRS)]
    text = standings.report(results, [OURS, THEIRS], {("a", 0): (100, 400)})
    expected = rounded(standings.by_chance(0.9, 100, 400))
    assert f"| {OURS} | holdout | 0.0200 (0.0200 to 0.0200) |" in text
    assert f"| {OURS} | what it is worth, by chance alone | {expected} ({expected} to {expected}) |" in text
    assert "by chance alone" not in standings.report(results, [OURS, THEIRS])


def test_unseen_rows_are_counted_of_two_classes(tmp_path: Path) -> None:
    for name, truth in (("churn", ["Yes", "No", "No"]), ("digits", [1, 2, 3])):
        (tmp_path / "tables" / f"{name}_0").mkdir(parents=True)
        pd.DataFrame({"y": truth}).to_csv(tmp_path / "tables" / f"{name}_0" / "truth.csv", index=False)
    results = [result(name, OURS, 0.9) for name in ("churn", "digits", "email", "ames")]
    assert race.unseen(tmp_path, results) == {("churn", 0): (1, 2)}


def test_the_report_names_each_version_that_ran() -> None:
    results = [result("a", OURS, 0.9), result("b", OURS, 0.9, version="1.1"), result("a", THEIRS, 0.8)]
    assert standings.report(results, [OURS, THEIRS]).endswith("ours 1.0, 1.1; theirs 1.0")


def test_the_report_names_each_system_and_what_is_left_out() -> None:
    results = [result("a", system, score, promised={"holdout": 0.9}) for system, score in ((OURS, 0.9), (THEIRS, 0.7))]
    text = standings.report([*results, result("b", OURS, 0.9)], [OURS, THEIRS])
    assert "60 s: 1 races on 1 tables (1 more are not whole, and left out)" in text
    assert f"| {OURS} | 1.0000 (1.0000 to 1.0000) | 1 | 0 |" in text
    assert f"| {THEIRS} | 0.2000 (0.2000 to 0.2000) | 0.2000 (a) | 0.2000 (0.2000 to 0.2000) | 1, 0 |" in text


CLASSES = Race("made", Rows(Path(), pd.Series([0, 0, 0, 1]), pd.Series([0, 1, 1, 0])), 60.0, 0)


@pytest.fixture
def table_of_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(race_tables.TABLES, "made", Table("shared:made.csv", "answer"))  # type: ignore[arg-type]


def test_answers_are_scored_by_the_names_of_their_columns(table_of_classes: None) -> None:
    answers = pd.DataFrame({"1": [0.1, 0.9, 0.8, 0.2], "0": [0.9, 0.1, 0.2, 0.8], "label": [0, 1, 1, 0]})
    found = race.judged(CLASSES, OURS, Entry(1.0, "", answers))
    assert found.scores["roc_auc"] == 1.0
    assert not found.failed


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({"1.0": [0.1] * 4, "0.0": [0.9] * 4}, "it gives no answers of '0', '1'"),
        ({"0": [0.1] * 4}, "it gives no answers of '1'"),
        ({"0": [0.1] * 3, "1": [0.9] * 3}, "it gives 3 answers for 4 rows"),
    ],
)
def test_answers_without_a_class_or_a_row_are_a_failure(
    table_of_classes: None, answers: dict[str, list[float]], why: str
) -> None:
    found = race.judged(CLASSES, OURS, Entry(1.0, "", pd.DataFrame(answers)))
    assert (found.failed, found.scores["roc_auc"]) == (why, 0.5)


@pytest.mark.parametrize("said", ["", '{"promised": 1, "fitted": 1, "model": "m", "version": "1"}'])
def test_a_peer_that_ends_well_without_a_model_or_answers_is_an_entry_with_its_reason(
    table_of_classes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr(race, "__file__", str(tmp_path / "race.py"))
    (tmp_path / "racers.py").write_text(f"import sys\nprint({said!r})\nprint('no estimator is left', file=sys.stderr)")
    found = race.peer(tmp_path, Path(sys.executable), "flaml", CLASSES)
    assert (found.failed, found.answers) == ("no estimator is left", None)


def test_a_failure_is_scored_as_the_shares_of_the_classes(table_of_classes: None) -> None:
    found = race.judged(CLASSES, OURS, Entry(1.0, "", failed="no memory"))
    assert found.failed == "no memory"
    assert found.scores == {"roc_auc": 0.5, "log_loss": pytest.approx(-np.log([0.75, 0.25, 0.25, 0.75]).mean())}


def test_answers_that_are_no_numbers_are_a_failure(table_of_classes: None) -> None:
    answers = pd.DataFrame({"0": [np.nan] * 4, "1": [0.5] * 4})
    found = race.judged(CLASSES, OURS, Entry(1.0, "", answers))
    assert (found.scores["roc_auc"], "no finite numbers" in found.failed) == (0.5, True)


def test_results_of_another_race_are_not_mixed_in() -> None:
    one = result("a", OURS, 0.9)
    assert replace(one, seconds=300.0).race != one.race != replace(one, seed=1).race
