"""docs/tour.md: what it says is on MLflow's pages is there, and its pictures can be made again."""

import io
import re
from dataclasses import replace

import pytest
from PIL import Image

from tests import browser, make_pictures, servers
from tests.make_pictures import PICTURES
from tests.running import PROJECT

pytestmark = pytest.mark.slow

PAGE = (PROJECT / "docs" / "tour.md").read_text(encoding="utf-8")
# of the chain that the page shows
SHOWN = {"problem": "breast_cancer", "model": "breast_cancer_classifier"}
needs_chromium = pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.WHY_NOT)


@pytest.fixture(scope="module")
def shown(chains, fork_server, tmp_path_factory):
    """A tab on MLflow's pages of a chain, and what addresses and texts name."""
    folder = tmp_path_factory.mktemp("tour")
    store, ended = chains.store("tour", after="first", fork_server=fork_server)
    with servers.tracking(store.uri, folder / "artifacts") as server, browser.tab() as tab:
        known = make_pictures.facts(store.client, store.experiment, server, folder)
        said = make_pictures.terminal(ended["first"].stderr + ended["first"].stdout, "mlflow run .")
        (folder / "terminal.html").write_text(said, encoding="utf-8")
        make_pictures.settle(tab, server)
        yield tab, {**known, "terminal": (folder / "terminal.html").as_uri()}


# Of three files of one page, one; that a chain leaves them all is shown in test_whole_chain.py.
ALIKE = ("confusion", "importance")


@needs_chromium
@pytest.mark.parametrize(
    "picture",
    [pytest.param(one, marks=[pytest.mark.long] if one.name in ALIKE else []) for one in PICTURES],
    ids=lambda picture: picture.name,
)
def test_the_page_of_a_picture_shows_what_the_tour_says(shown, picture):
    tab, known = shown
    with Image.open(io.BytesIO(make_pictures.taken(tab, picture, known))) as found:
        assert found.width >= min(picture.width, 390)


@needs_chromium
def test_a_text_that_is_not_on_the_page_is_named_with_the_picture(shown, monkeypatch):
    tab, known = shown
    monkeypatch.setattr(browser, "SECONDS", 1)
    (report,) = (one for one in PICTURES if one.name == "report")
    with pytest.raises(make_pictures.UnseenError, match=r"^report: 'is the old champion' is not to be seen"):
        make_pictures.taken(tab, replace(report, seen=("is the old champion",)), known)


@needs_chromium
def test_a_text_that_something_else_covers_is_not_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(browser, "SECONDS", 1)
    page = tmp_path / "page.html"
    over = "position:fixed;top:40px;left:0;width:100%;height:99px;background:red"
    page.write_text(f"<p>open</p><p>covered</p><div style='{over}'></div>")
    with browser.tab() as tab:
        tab.open(page.as_uri(), width=600)
        assert (tab.sees("open"), tab.sees("covered")) == (True, False)


def test_the_tour_shows_each_picture_once_and_no_other():
    assert re.findall(r"\]\(pictures/(\w+)\.png\)", PAGE) == [picture.name for picture in PICTURES]


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_the_tour_speaks_of_what_has_to_be_seen_in_a_picture(picture):
    _, _, after = PAGE.partition(f"](pictures/{picture.name}.png)")
    words = re.sub("```.*?```", "", after.partition("![")[0], flags=re.DOTALL).split()
    told = re.findall("`([^`]+)`", " ".join(words))
    for text in (one.format_map(SHOWN) for one in picture.seen):
        assert any(text in each for each in told), text


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_a_picture_is_there_and_small(picture):
    assert 5_000 < (PROJECT / "docs" / "pictures" / f"{picture.name}.png").stat().st_size < 150_000
