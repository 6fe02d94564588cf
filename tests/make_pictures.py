"""The pictures of docs/tour.md: `python -m tests.make_pictures` makes them anew, from a chain that it runs for them.

The chain is the README's first command. Its runs lie in a temporary folder behind an MLflow server of this machine, and
Chromium opens MLflow's pages there. A picture is taken once the texts that the tour speaks of are on the screen.
"""

import argparse
import html
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT
from PIL import Image

from steps.run.tags import CHAMPION, PROBLEM
from tests import browser, servers
from tests.browser import Tab
from tests.running import PROJECT, surroundings

FOLDER = PROJECT / "docs" / "pictures"
EXPERIMENT = "tabular"
WIDTH = 1280
COLOURS = 256  # of a picture's palette: a third of the bytes, and no difference to the eye
# What the tour says is to be clicked first: MLflow's menu for models, and the end of its assistant. It keeps both.
FIRST = ("Model training", "Close")
# An artifact of the page is a picture that has been loaded.
LOADED = "[...document.images].some(image => image.src.startsWith('blob:') && image.complete && image.naturalWidth > 0)"


@dataclass(frozen=True)
class Picture:
    """A picture of the tour."""

    name: str
    address: str
    seen: tuple[str, ...]  # texts that have to be on the screen
    clicks: tuple[str, ...] = ()  # what is clicked before: texts, labels, selectors; `type TEXT` and `press KEY` too
    scroll: str = ""  # the text that is scrolled to
    image: bool = False  # an artifact is a picture
    width: int = WIDTH
    height: int = 860  # 0: all of the page


RUNS = "{server}/#/experiments/{experiment}/runs"
OF_LIGHTGBM = RUNS + "/{evaluate}/artifacts/pictures/lightgbm/"
COMPARE = "{server}/#/compare-runs?runs=[%22{lightgbm}%22,%22{logistic}%22]&experiments=[%22{experiment}%22]"
SCORE = ("Columns", "type cv_roc_auc_mean", "cv_roc_auc_mean", "press Escape")
PICTURES = (
    Picture("terminal", "{terminal}", ("etl", "hpo lightgbm", "registered {model} version 1", "serve"), height=0),
    Picture(
        "experiment",
        RUNS,
        ("main {problem}", "etl {problem}", "hpo lightgbm", "blend", "cv_roc_auc_mean"),
        clicks=("Toggle sidebar", "[data-component-id*=runnamecellrenderer]", *SCORE),
        width=1360,
        height=640,
    ),
    Picture(
        "run",
        RUNS + "/{lightgbm}",
        ("Description", "Metrics", "cv_roc_auc_mean", "Parameters", "Parent run", "Datasets"),
        height=1400,
    ),
    Picture(
        "artifacts",
        RUNS + "/{main}/artifacts/leaderboard.json",
        ("Artifacts", "leaderboard.json", "View as table", "report.html"),
        height=700,
    ),
    Picture(
        "compare",
        COMPARE,
        ("Parameters", "Show diff only", "estimator", "Metrics", "cv_accuracy_mean"),
        clicks=("Show diff only",),
        scroll="Parameters",
        width=1360,
        height=960,
    ),
    Picture("roc", OF_LIGHTGBM + "roc_curve.png", ("roc_curve.png",), image=True, height=960),
    Picture("confusion", OF_LIGHTGBM + "confusion_matrix.png", ("confusion_matrix.png",), image=True),
    Picture(
        "importance",
        OF_LIGHTGBM + "permutation_importance.png",
        ("permutation_importance.png",),
        image=True,
        height=1000,
    ),
    Picture("registry", "{server}/#/models/{model}", ("{model}", "Versions", "Aliases", "champion")),
    Picture("card", "{server}/#/models/{model}/versions/1", ("Description", "on the holdout", "Checks", "champion")),
    Picture("report", "{report}", ("is the new champion", "Candidates"), width=1100),
    Picture("report_on_a_phone", "{report}", ("is the new champion", "Candidates"), width=390, height=844),
)


class UnseenError(Exception):
    """What the tour speaks of is not on the page."""


def main() -> None:
    """Run the chain, and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="the pictures to make; all, if none is named")
    parser.add_argument("--env-manager", default="uv", help="as for mlflow run")
    options = parser.parse_args()
    if browser.CHROMIUM is None:
        sys.exit(f"make_pictures: {browser.WHY_NOT}")
    names = [one.name for one in PICTURES]
    if unknown := [name for name in options.names if name not in names]:
        parser.error(f"there is no picture {', '.join(unknown)}; there are {', '.join(names)}")
    wanted = [one for one in PICTURES if not options.names or one.name in options.names]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "store").mkdir()
        store = f"sqlite:///{folder}/store/mlflow.db"
        with servers.tracking(store, folder / "store" / "artifacts") as server:
            said = chain(server, options.env_manager)
            client = MlflowClient(server, server)
            known = facts(client, client.get_experiment_by_name(EXPERIMENT).experiment_id, server, folder)
            (folder / "terminal.html").write_text(said, encoding="utf-8")
            known["terminal"] = (folder / "terminal.html").as_uri()
            try:
                with browser.tab() as tab:
                    settle(tab, server)
                    for one in wanted:
                        write(FOLDER / f"{one.name}.png", taken(tab, one, known))
            except UnseenError as error:
                sys.exit(f"make_pictures: {error}")


def chain(server: str, env_manager: str) -> str:
    """Run the README's first command, and give a page that shows it and what it said."""
    words = ["mlflow", "run", ".", "--env-manager", env_manager, "--experiment-name", EXPERIMENT]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**surroundings(), "MLFLOW_TRACKING_URI": server, "PATH": path, "LOGNAME": "ann"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(words, cwd=PROJECT, env=environment, check=False, **pipes)
    if done.returncode:
        sys.exit(f"make_pictures: the chain has failed:\n{done.stdout}")
    return terminal(done.stdout, " ".join(words))


def terminal(said: str, command: str) -> str:
    """A page that shows a command and what it said, as a terminal does; MLflow's own lines are left out."""
    _, begun, rest = said.partition("tabular  ")
    own, _, _ = (begun + rest).partition(" INFO mlflow")
    text = html.escape("\n".join([f"$ {command}", *own.splitlines()[:-1]]))  # the last line is the date of MLflow's
    body = "margin:0;width:max-content;overflow:hidden"
    style = "margin:0;padding:16px 20px;background:#1e1e1e;color:#d4d4d4;font:13px/1.45 monospace"
    return f"<!doctype html><meta charset=utf-8><body style='{body}'><pre style='{style}'>{text}"


def facts(client: MlflowClient, experiment: str, server: str, folder: Path) -> dict[str, str]:
    """What the addresses and texts name, of the newest chain of an experiment; its report is put into a folder."""
    main = client.search_runs([experiment], f"tags.`{MLFLOW_PROJECT_ENTRY_POINT}` = 'main'", max_results=1)[0]
    steps = {}
    for run in client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{main.info.run_id}'"):
        step, model = run.data.tags[MLFLOW_PROJECT_ENTRY_POINT], run.data.params.get("model")
        steps[f"{step} {model}" if step == "train" else step] = run.info.run_id
    return {
        "server": server,
        "experiment": experiment,
        "main": main.info.run_id,
        "evaluate": steps["evaluate"],
        "lightgbm": steps["train lightgbm"],
        "logistic": steps["train logistic_regression"],
        "problem": main.data.tags[PROBLEM],
        "model": main.data.tags[CHAMPION].removeprefix("models:/").partition("@")[0],
        "report": Path(client.download_artifacts(main.info.run_id, "report.html", str(folder))).as_uri(),
    }


def settle(tab: Tab, server: str) -> None:
    """Click what the tour says is to be clicked first."""
    tab.open(f"{server}/#/experiments", width=WIDTH)
    for what in FIRST:
        _demand(tab.click(what), "MLflow's first page", what, "there to be clicked")


def taken(tab: Tab, picture: Picture, known: Mapping[str, str]) -> bytes:
    """Take a picture, once all is on the screen that has to be."""
    tab.open("about:blank", width=picture.width)  # nothing of the page before is left
    tab.open(picture.address.format_map(known), width=picture.width, height=picture.height or 800)
    for what in picture.clicks:
        word, _, rest = what.partition(" ")
        if word == "type":
            _demand(tab.wait_for("document.activeElement.tagName === 'INPUT'"), picture.name, rest, "asked for")
            tab.type(rest)
        elif word == "press":
            tab.press(rest)
        else:
            _demand(tab.click(what), picture.name, what, "there to be clicked")
    if picture.scroll:
        _demand(tab.scroll(picture.scroll), picture.name, picture.scroll, "there to be scrolled to")
    if not picture.height:
        tab.fit()
    for text in (one.format_map(known) for one in picture.seen):
        _demand(tab.sees(text), picture.name, text, "to be seen")
    if picture.image:
        _demand(tab.wait_for(LOADED), picture.name, "the artifact", "a picture")
    return tab.still()


def write(path: Path, picture: bytes) -> None:
    """Write a picture with a palette."""
    with Image.open(io.BytesIO(picture)) as found:
        found.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def _demand(found: bool, name: str, text: str, how: str) -> None:
    if not found:
        raise UnseenError(f"{name}: {text!r} is not {how} after {browser.SECONDS} s (docs/tour.md speaks of it)")


if __name__ == "__main__":
    main()
