"""What a worker of a Dask cluster runs: a step's calls, one at a time, on what the step has sent it once.

A worker is a process of this project's source: `python -m distributed.cli.dask_worker` in the project's folder.
"""

import pickle
import platform
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steps.run import environment, source_digest, thread_budget

# One call at a time: the limits of BLAS's threads are of the whole process, and so is what is held.
_ALONE = threading.Lock()
# What this process holds, by the step that it is of; and the modules' digests when it was asked for them first.
_HOLDING: list["Held"] = []
_FIRST: dict[str, str] = {}


@dataclass(eq=False)
class Held:
    """What a step sends each worker once: `hold(work, share)` prepares it there, and keeps it for the calls.

    `name` is that of the step's client.
    """

    name: str
    hold: Callable[[Any, str], None]
    work: Any

    def take(self) -> None:
        """Hold the work in this process."""
        from distributed import get_worker

        if not any(one is self for one in _HOLDING):
            worker = get_worker()
            share = Path(worker.local_directory) / "share"
            thread_budget.write(share, worker.state.nthreads, thread_budget.Time())
            self.hold(self.work, str(share))
            _HOLDING[:] = [self]


def about(step: str, estimators: Sequence[str]) -> dict[str, str]:
    """What results depend on, by name: Python, the packages of the lock, the step's source and that of estimators.

    Asked of a worker, the modules are told as they were when the first step asked, where they have changed since: the
    process may have imported them then.
    """
    packages = environment.installed()
    names = {one.name for one in environment.lock() if one.is_for_here} | {"dask", "distributed"}
    modules = source_digest.digests(step)
    for path in estimators:
        modules |= source_digest.of_estimator(path)
    for name, digest in modules.items():
        _FIRST.setdefault(name, digest)
    return {
        "Python": platform.python_version(),
        "the lock": environment.lock_digest(),
        **{name: packages.get(name, "none") for name in sorted(names)},
        **{name: digest if _FIRST[name] == digest else "changed since it began" for name, digest in modules.items()},
    }


def differences(theirs: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    """In what a worker differs from this process: `lightgbm 4.6.0 (here 4.7.0)`, `tabular/model/boosting.py`."""
    found = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    digests = {"the lock", *(name for name in found if name.endswith((".py", ".html")))}
    return [
        name if name in digests else f"{name} {theirs.get(name, 'none')} (here {ours.get(name, 'none')})"
        for name in found
    ]


def perform(sent: Any, call: bytes) -> Any:
    """Perform a call, a pickled pair of a function and its arguments, on what the step has sent for it, or for all."""
    with _ALONE:
        function, arguments = pickle.loads(call)
        if sent is None:
            return function(*arguments)
        if isinstance(sent, Held):
            sent.take()
            return function(*arguments)
        return function(sent, *arguments)


def drop(name: str) -> None:
    """Let go of what this process holds of a step, unless a call is under way, which is not waited for."""
    if _ALONE.acquire(blocking=False):
        try:
            while _HOLDING and _HOLDING[0].name == name:
                _HOLDING.pop().hold(None, "")
        finally:
            _ALONE.release()
