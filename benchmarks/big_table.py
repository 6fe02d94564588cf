"""A synthetic table of any number of rows in the shape of the hotel bookings, as a CSV.

    python benchmarks/big_table.py 1000000 [--seed 0] [--folder .]

writes synthetic_hotel_bookings_1000000.csv: the 32 columns of `problems/hotel_bookings.yaml` with their types, their
words for missing values and about their shares, and none of their rows. Nothing in it is about real bookings. Whether a
booking is cancelled depends on its deposit, its lead time, its country and some others, so that a model can learn a ROC
AUC of about 0.9. The same rows and seed give the same bytes, and the first rows of a longer table are those of a
shorter one; memory does not grow with the rows, since they are made and written in batches.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

BATCH_ROWS = 200_000

# About the shares of the values in the hotel bookings of Antonio, de Almeida and Nunes, Data in Brief 22 (2019).
SHARES: dict[str, dict[Any, float]] = {
    "hotel": {"City Hotel": 66.4, "Resort Hotel": 33.6},
    "stays_in_weekend_nights": {0: 43.6, 2: 27.9, 1: 25.6, 4: 1.6, 3: 1.1, 6: 0.2},
    "stays_in_week_nights": {2: 28.2, 1: 25.4, 3: 18.6, 5: 9.3, 4: 8.0, 0: 6.4, 6: 1.3, 7: 1.7, 10: 1.2},
    "adults": {2: 75.1, 1: 19.3, 3: 5.2, 0: 0.3, 4: 0.1},
    "children": {"0.0": 80.0, "0": 12.8, "1.0": 3.6, "2.0": 2.6, "1": 0.5, "2": 0.4, "3.0": 0.1, "NA": 0.003},
    "babies": {0: 99.2, 1: 0.75, 2: 0.05},
    "meal": {"BB": 77.3, "HB": 12.1, "SC": 8.9, "Undefined": 1.0, "FB": 0.7},
    "market_segment": {
        "Online TA": 47.3,
        "Offline TA/TO": 20.3,
        "Groups": 16.6,
        "Direct": 10.6,
        "Corporate": 4.4,
        "Complementary": 0.6,
        "Aviation": 0.2,
    },
    "distribution_channel": {"TA/TO": 82.0, "Direct": 12.2, "Corporate": 5.6, "GDS": 0.2},
    "is_repeated_guest": {0: 96.8, 1: 3.2},
    "previous_cancellations": {0: 94.6, 1: 5.0, 2: 0.1, 3: 0.1, 11: 0.1, 24: 0.1},
    "previous_bookings_not_canceled": {0: 97.0, 1: 1.3, 2: 0.5, 3: 0.3, 4: 0.2, 5: 0.2, 10: 0.3, 30: 0.2},
    "reserved_room_type": {"A": 72.0, "D": 16.1, "E": 5.5, "F": 2.4, "G": 1.8, "B": 0.9, "C": 0.8, "H": 0.5},
    "booking_changes": {0: 84.9, 1: 10.6, 2: 3.2, 3: 0.8, 4: 0.3, 5: 0.2},
    "deposit_type": {"No Deposit": 87.7, "Non Refund": 12.2, "Refundable": 0.1},
    "days_in_waiting_list": {0: 96.9, 39: 0.6, 58: 0.5, 44: 0.5, 31: 0.5, 87: 0.5, 111: 0.5},
    "customer_type": {"Transient": 75.1, "Transient-Party": 21.0, "Contract": 3.4, "Group": 0.5},
    "required_car_parking_spaces": {0: 93.8, 1: 6.2},
    "total_of_special_requests": {0: 58.9, 1: 27.8, 2: 10.9, 3: 2.1, 4: 0.3},
}
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September", "October"),
    *("November", "December"),
)
COUNTRIES, AGENTS, COMPANIES = 178, 334, 353
FIRST_DAY, DAYS = np.datetime64("2015-07-01"), 793
COLUMNS = (
    *("hotel", "is_canceled", "lead_time", "arrival_date_year", "arrival_date_month", "arrival_date_week_number"),
    *("arrival_date_day_of_month", "stays_in_weekend_nights", "stays_in_week_nights", "adults", "children", "babies"),
    *("meal", "country", "market_segment", "distribution_channel", "is_repeated_guest", "previous_cancellations"),
    *("previous_bookings_not_canceled", "reserved_room_type", "assigned_room_type", "booking_changes", "deposit_type"),
    *("agent", "company", "days_in_waiting_list", "customer_type", "adr", "required_car_parking_spaces"),
    *("total_of_special_requests", "reservation_status", "reservation_status_date"),
)


def main() -> None:
    """Write a table of as many rows as are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path())
    options = parser.parse_args()
    path = write(options.folder, options.rows, options.seed)
    print(f"{path}: {options.rows:,} synthetic rows, {path.stat().st_size / 1e6:,.0f} MB")


def write(folder: Path, rows: int, seed: int = 0) -> Path:
    """Write a table into a folder, unless it lies there; its path."""
    name = f"synthetic_hotel_bookings_{rows}{f'_seed_{seed}' if seed else ''}.csv"
    path = folder / name
    if path.exists():
        return path
    unfinished = folder / f"{name}.unfinished"
    how = csv.WriteOptions(include_header=False, quoting_style="none")
    with unfinished.open("wb") as file:
        file.write((",".join(COLUMNS) + "\n").encode())
        for batch in batches(rows, seed):
            csv.write_csv(batch, file, how)
    return unfinished.rename(path)


def batches(rows: int, seed: int = 0) -> Iterator[pa.RecordBatch]:
    """The rows of a table, batch by batch."""
    for number, start in enumerate(range(0, rows, BATCH_ROWS)):
        yield _batch(np.random.default_rng([seed, number])).slice(0, min(BATCH_ROWS, rows - start))


def _batch(draw: np.random.Generator) -> pa.RecordBatch:
    """A whole batch, however many of its rows are used, so that a longer table begins as a shorter one does."""
    rows = BATCH_ROWS
    codes = {name: draw.choice(len(shares), rows, p=_normed(shares)) for name, shares in SHARES.items()}
    found: dict[str, pa.Array] = {name: pa.array(list(SHARES[name])).take(pa.array(at)) for name, at in codes.items()}
    arrival = FIRST_DAY + draw.integers(0, DAYS, rows)
    lead = np.minimum(draw.gamma(0.75, 140.0, rows).astype(np.int64), 737)
    country = np.minimum(draw.geometric(0.25, rows) - 1 + 20 * (draw.random(rows) < 0.05), COUNTRIES - 1)
    agent = np.minimum((draw.pareto(0.9, rows) * 3).astype(np.int64), AGENTS)  # 0: none
    company = np.where(draw.random(rows) < 0.057, draw.integers(1, COMPANIES, rows), 0)
    night = draw.gamma(4.5, 22.6, rows)
    night = np.where(draw.random(rows) < 0.6, np.round(night), np.round(night, 2))
    cancelled = draw.random(rows) < 1 / (1 + np.exp(-_log_odds(codes, lead, country, agent, night)))
    no_show = cancelled & (draw.random(rows) < 0.03)
    days = np.where(cancelled, -(lead * draw.random(rows)).astype(np.int64), _nights(found))
    moved = ~cancelled & (draw.random(rows) < 0.2)
    assigned = np.where(moved, draw.permutation(codes["reserved_room_type"]), codes["reserved_room_type"])
    status = pa.array(["Check-Out", "Canceled", "No-Show"]).take(pa.array(cancelled.astype(int) + no_show))
    months = arrival.astype("datetime64[M]").astype(int) % 12
    found |= {
        "is_canceled": pa.array(cancelled.astype(np.int64)),
        "lead_time": pa.array(lead),
        "arrival_date_year": pa.array(arrival.astype("datetime64[Y]").astype(int) + 1970),
        "arrival_date_month": pa.array(MONTHS).take(pa.array(months)),
        "arrival_date_week_number": pa.array((arrival - arrival.astype("datetime64[Y]")).astype(int) // 7 + 1),
        "arrival_date_day_of_month": pa.array((arrival - arrival.astype("datetime64[M]")).astype(int) + 1),
        "country": pa.array([_name(code) for code in range(COUNTRIES)]).take(pa.array(country)),
        "agent": pa.array(["NULL", *map(str, range(1, AGENTS + 1))]).take(pa.array(agent)),
        "company": pa.array(["NULL", *map(str, range(1, COMPANIES + 1))]).take(pa.array(company)),
        "adr": pa.array(night),
        "assigned_room_type": pa.array(list(SHARES["reserved_room_type"])).take(pa.array(assigned)),
        "reservation_status": status,
        "reservation_status_date": pa.array(arrival + days),
    }
    return pa.record_batch([found[name] for name in COLUMNS], names=list(COLUMNS))


def _normed(shares: dict[Any, float]) -> np.ndarray:
    found = np.array(list(shares.values()))
    return found / found.sum()


def _log_odds(
    codes: dict[str, np.ndarray], lead: np.ndarray, country: np.ndarray, agent: np.ndarray, night: np.ndarray
) -> np.ndarray:
    """(n,) how probable it is that each booking is cancelled, as the logarithm of the odds."""
    deposit = np.array([0.0, 6.0, -1.0])[codes["deposit_type"]]
    segment = np.array([0.9, 0.0, 0.6, -1.5, -1.2, -1.0, 0.3])[codes["market_segment"]]
    requests = np.array([0.5, -0.9, -1.4, -2.0, -2.5])[codes["total_of_special_requests"]]
    before = np.array([0.0, 4.0, 2.0, 2.0, 3.0, 4.0])[codes["previous_cancellations"]]
    kind = np.array([0.5, -1.2, -0.6, -1.0])[codes["customer_type"]]
    of_country = np.array([2.2, -1.6, -1.3, 0.4, -1.7, 0.3, -0.9])[country % 7]
    of_agent = np.sin(agent * 1.7) * 1.3
    of_money = 0.006 * (night - 100)
    known = deposit + segment + requests + before + kind + of_country + of_agent + of_money
    return -2.2 + 0.45 * np.sqrt(lead / 12) + known


def _nights(found: dict[str, pa.Array]) -> np.ndarray:
    return np.asarray(found["stays_in_weekend_nights"]) + np.asarray(found["stays_in_week_nights"])


def _name(code: int) -> str:
    """A made-up country of three letters."""
    return f"{chr(ord('A') + code % 26)}{chr(ord('A') + code * 7 % 26)}{chr(ord('A') + code // 26)}"


if __name__ == "__main__":
    main()
