"""The commands of README, docs/ and the notebooks: found on their pages, and read by bash itself."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import nbformat

from tests.running import PROJECT

LANGUAGES = ("bash", "sh", "shell", "console")
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```", re.DOTALL | re.MULTILINE)
# What stands for a value of the reader's own: `<id of a run>`. The `<<'END'` of a text that follows is none.
PLACEHOLDER = re.compile(r"<([a-z][^<>\n]*)>")
# No program is found, so that bash asks this function for each: its line, and its words as they would reach it.
RECORDER = """
PATH=/nowhere
cd() { :; }
source() { :; }
command_not_found_handle() { printf '%s\\0' "$#" "${BASH_LINENO[0]}" "$@" >&9; }
"""


@dataclass(frozen=True)
class Block:
    """A block of commands on a page: where its first line is, what it says, and the mark above it."""

    page: Path
    line: int
    text: str
    mark: str

    @property
    def place(self) -> str:
        """Where its first line is, as `docs/runs.md:65`."""
        return f"{self.page.relative_to(PROJECT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command of a page: where it is, and its words as the program gets them."""

    page: Path
    line: int
    words: tuple[str, ...]
    block: Block | None = None  # None: it stands in a sentence, and may be a part of one

    def __str__(self) -> str:
        text = " ".join(self.words)
        return f"{self.page.relative_to(PROJECT)}:{self.line}: {text if len(text) < 100 else text[:100] + '…'}"


def pages() -> list[Path]:
    """Every page that shows commands, README first."""
    found = ["docs/*.md", "deploy/**/*.md", "serving/**/*.md", "notebooks/*.ipynb"]
    return [*sorted(PROJECT.glob("*.md"), reverse=True), *sorted(page for one in found for page in PROJECT.glob(one))]


@cache
def text_of(page: Path) -> str:
    """What a page says; of a notebook its texts, and what its cells hand to a shell."""
    if page.suffix != ".ipynb":
        return page.read_text(encoding="utf-8")
    cells = nbformat.read(page, as_version=4).cells
    typed = [re.findall(r"^[!%]+(.*)", cell.source, re.MULTILINE) for cell in cells if cell.cell_type == "code"]
    shells = [f"```bash\n{line}\n```" for lines in typed for line in lines]
    return "\n\n".join([*(cell.source for cell in cells if cell.cell_type == "markdown"), *shells])


def blocks(page: Path) -> list[Block]:
    """The blocks of commands on a page."""
    text, found = text_of(page), []
    for fence in FENCE.finditer(text):
        if fence["language"] not in LANGUAGES:
            continue
        lines = [line.removeprefix(fence["indent"]) for line in fence["text"].splitlines()]
        if fence["language"] == "console":  # what follows a prompt is typed, all else is the answer
            lines = [line.removeprefix("$ ") if line.startswith("$ ") else "" for line in lines]
        mark = re.search(r"<!-- (.*) -->\n$", text[: fence.start()])
        number = text.count("\n", 0, fence.start()) + 2
        found.append(Block(page, number, "\n".join(lines) + "\n", mark[1] if mark else ""))
    return found


def words_of(text: str) -> list[tuple[int, tuple[str, ...]]]:
    """The commands of a text by their lines, as bash reads them: those in loops, pipes and `$(…)` too.

    Raises
    ------
    ValueError
        Where bash finds a fault in the text.
    """
    plain = PLACEHOLDER.sub(lambda found: re.sub(r"\W+", "-", found[1]), text)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as told:
        script = Path(folder) / "typed"
        script.write_text(plain, encoding="utf-8")
        opened = f"exec 9>&{told.fileno()}{RECORDER}. {script}"
        done = subprocess.run(
            ["bash", "-c", opened],
            cwd=folder,
            env={"LC_ALL": "C.UTF-8", "HOME": folder},
            capture_output=True,
            text=True,
            check=False,
            pass_fds=[told.fileno()],
        )
        if done.stderr:
            raise ValueError(done.stderr.replace(f"{script}: ", "").strip())
        told.seek(0)
        return list(_records(told.read().decode().split("\0")))


def _records(fields: list[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    at = 0
    while at < len(fields) - 1:
        count = int(fields[at])
        yield int(fields[at + 1]), tuple(fields[at + 2 : at + 2 + count])
        at += 2 + count


@cache
def fenced() -> list[Command]:
    """Every command in a block of a page."""
    found = []
    for page in pages():
        for block in blocks(page):
            try:
                read = words_of(block.text)
            except ValueError as error:
                raise AssertionError(f"{block.place}: bash cannot read this block: {error}") from None
            found += [Command(page, block.line + line - 1, words, block) for line, words in read]
    return found


@dataclass(frozen=True)
class Elsewhere:
    """Why commands are not typed by tests/pipeline/test_typed_pages.py: another test runs them, or none can here."""

    commands: str  # `*` stands for any words; `page <!-- mark --> …`: below a mark
    why: str = ""
    test: str = ""  # path::name
    words: tuple[str, ...] = ()  # that the test has, or a module of the tests that it imports


SERVER_PAGE = "tests/pipeline/test_server_page.py::test_ann_checks_and_registers_a_champion"
SERVED = "tests/model/test_served.py::test_the_server_answers_rows_as_the_model_does_and_names_what_it_refuses"
IMAGES = "tests/model/test_docker.py::test_a_container_answers_a_thousand_rows_as_the_model_does"
CLUSTER = "tests/pipeline/test_dask.py::test_a_cluster_that_speaks_tls_takes_who_has_a_certificate_and_no_one_else"
BESIDE = ('"serving/serve.py", "serving/server.py", "requirements-serving.txt", "tabular/provenance.py"',)
# The first that fits counts.
ELSEWHERE = (
    Elsewhere(
        "mlflow run . --env-manager * --experiment-name tabular",
        test="tests/pipeline/test_whole_chain.py::test_main_ends_well",
        words=("store.project(",),
    ),
    Elsewhere("README.md <!-- the tests --> *", "the tests are under way already: .ci/run types it"),
    Elsewhere("docs/server.md <!-- run* --> *", test=SERVER_PAGE, words=('"run"', '"run in the background"')),
    Elsewhere("pip install *", "the tests run in an environment that is made already"),
    Elsewhere("uv *", "it asks a package index for every package, or makes an environment"),
    Elsewhere(
        "conda *",
        test="tests/pipeline/test_conda.py::test_a_chain_runs_in_the_environment_that_conda_makes",
        words=('"env", "create"',),
    ),
    Elsewhere("docker compose *", "it needs a Docker engine, and the network for its images"),
    Elsewhere("docker *", test=IMAGES, words=('docker("build"', '"run"')),
    Elsewhere("mlflow models build-docker *", test=IMAGES, words=('"build-docker"',)),
    Elsewhere("mlflow models generate-dockerfile *", test=IMAGES, words=('"generate-dockerfile"',)),
    Elsewhere(
        "cp serving/serve.py * image/",
        test=IMAGES,
        words=BESIDE,
    ),
    Elsewhere("mlflow models serve *", test=SERVED, words=('"models", "serve"',)),
    Elsewhere("curl *", test=SERVED, words=('"/invocations"',)),
    Elsewhere(
        "uvicorn --app-dir serving *",
        test="tests/model/test_watched_server.py::test_the_model_that_is_served_is_told",
        words=('"uvicorn", "--app-dir"',),
    ),
    Elsewhere("mlflow ui *", "it serves until somebody ends it"),
    Elsewhere("python -m distributed.cli.*", test=CLUSTER, words=("distributed.cli.dask_{", '"scheduler"', '"worker"')),
    Elsewhere(
        "mlflow run . * -P engine=dask *",
        test="tests/pipeline/test_dask.py::test_trials_are_the_same_wherever_they_are_evaluated",
        words=('"engine": "dask"',),
    ),
    Elsewhere("mlflow run . * -P problem=hotel_bookings*", "its table comes from the network"),
    Elsewhere(
        "mlflow run . * -P timeout=*",
        test="tests/pipeline/test_chains_seconds.py::test_the_chain_says_what_it_planned_and_what_became_of_it",
        words=("timeout=",),
    ),
    Elsewhere(
        "mlflow run https://*",
        test="tests/pipeline/test_mlflow_run.py::test_a_git_url_runs_with_the_store_and_the_data_of_the_caller",
        words=("uri=GIT_URL",),
    ),
    Elsewhere("python benchmarks/*", "it measures for minutes"),
    Elsewhere(
        "jupyter lab notebooks/tour.ipynb",
        test="tests/pipeline/test_notebook.py::test_it_finds_the_steps_of_the_newest_chain",
        words=("notebook.said(",),
    ),
)


def elsewhere(command: Command) -> Elsewhere | None:
    """Why a command of a block is not typed with its page; None where it is."""
    typed = " ".join(command.words)
    mark = f"{command.page.relative_to(PROJECT)} <!-- {command.block.mark} --> {typed}" if command.block else ""
    return next((one for one in ELSEWHERE if any(fnmatchcase(text, one.commands) for text in (typed, mark))), None)


# What begins a command in a sentence: `mlflow run . -e check`.
INLINE = re.compile(r"(?<!`)`((?:mlflow|python|pip|uv|docker|conda|openssl|curl|bash|git) [^`]+|-P \w[^`]*)`(?!`)")


@cache
def inline() -> list[Command]:
    """Every command in a sentence of a page."""
    found = []
    for page in pages():
        # blocks as empty lines, so that the numbers of the others stay
        text = FENCE.sub(lambda fence: "\n" * fence[0].count("\n"), text_of(page))
        for code in INLINE.finditer(text):
            number = text.count("\n", 0, code.start()) + 1
            read = words_of(" ".join(code[1].split()))
            found += [Command(page, number, words) for _, words in read]
    return found
