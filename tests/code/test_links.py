"""The links of README, docs/ and the changelog: to files and titles that are there."""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.running import PROJECT

PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").glob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def text(page: Path) -> str:
    """A page without its blocks of code, in which brackets are no links."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


@cache
def titles(page: Path) -> set[str]:
    """The titles of a page, as links name them: in small letters, blanks as hyphens, without marks."""
    found = re.findall(r"^#+ (.+)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_title_that_are_there(page):
    wrong = []
    for link in LINK.findall(text(page)):
        if re.match(r"\w+:", link):
            continue  # an address
        name, _, title = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (title and title not in titles(target)):
            wrong.append(link)
    assert wrong == []


def test_the_index_names_every_document():
    index = (PROJECT / "docs" / "README.md").read_text(encoding="utf-8")
    named = {link.partition("#")[0] for link in LINK.findall(index) if "/" not in link}
    assert named == {page.name for page in PAGES if page.parent.name == "docs"} - {"README.md"}
