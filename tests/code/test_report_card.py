"""The report and the card of a verdict: what casts doubt on it stands before its figures."""

from dataclasses import replace

from tabular.report.report import Report, Table, card, page

EMPTY = Table((), ())
DOUBT = "'closed' alone tells 'y' nearly without error: say data.drop: {closed: …}"
REPORT = Report(
    title="churn",
    description="Who leaves?",
    outcome="registered",
    answer="forest is the new champion",
    reason="it is the first",
    checks=[],
    winner="forest",
    metric="roc_auc",
    figures={"roc_auc": (0.99, 0.98, 1.0)},
    leaderboard=Table(("model",), (("forest",),)),
    slices=EMPTY,
    classes=EMPTY,
    profile=EMPTY,
    pictures={},
    facts={},
    lineage=[],
    commands=[],
)


def test_a_doubt_comes_before_the_figures_and_hints_stand_with_the_data() -> None:
    doubted = replace(REPORT, doubts=[DOUBT], hints=["'id' has another value in every row"])
    written, shown = card(doubted), page(doubted)
    assert written.index(f"**Look at this first**: {DOUBT}.") < written.index("roc_auc")
    assert "another value" not in written
    assert shown.index("Look at this first: &#39;closed&#39; alone") < shown.index("<h2>Candidates</h2>")
    assert shown.index("<h2>Data</h2>") < shown.index("<li>&#39;id&#39; has another value in every row</li>")


def test_without_hints_nothing_is_to_be_looked_at() -> None:
    assert "Look at this" not in card(REPORT) + page(REPORT)
