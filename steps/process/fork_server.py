"""The fork server: a process that has imported what the steps need, and forks a worker for each step.

It saves the steps the seconds of their imports. Start-up is the cost of a small chain: every step imports MLflow,
scikit-learn and more, and works for a second or two. Main forks the fork server when main has imported MLflow. Once a
step has to run, the server goes on importing, other people's packages only. `mlflow run` starts each step's process as
ever, in its environment; that process hands its words, environment and terminal to the server, which forks a worker for
them, and passes the worker's exit status on. In the worker the modules of this repository are loaded anew from their
files. Where there is no fork server (a step started by hand, another environment, a system that is not Linux), a step
does its own imports.
"""

import gc
import importlib
import json
import os
import pkgutil
import re
import runpy
import select
import signal
import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from steps.process import identity, lifecycle

# The environment variable with the address of main's fork server, for the steps that main starts.
ADDRESS = "TABULAR_FORK_SERVER"
# The modules that each step imports, in the order in which the steps of a chain need them, and functions that keep
# their answer, as `module:function`. A step is forked when its modules, and those of the steps before it, are there.
MODULES: Mapping[str, tuple[str, ...]] = {
    # the first four are imported late: by MLflow and SQLAlchemy for a run and its store, and for the cache of downloads
    "etl": (
        "sqlalchemy.dialects.sqlite",
        "alembic.config",
        "git",
        "pooch",
        "pyarrow.parquet",
        "pyarrow.dataset",
        "pyarrow.csv",
        "pyarrow.compute",
        "pandas",
    ),
    "hpo": ("sklearn.pipeline", "sklearn.compose", "sklearn.model_selection", "lightgbm", "hyperopt"),
    "train": (
        "sklearn.linear_model",
        "sklearn.ensemble",
        "skops.io",
        "mlflow.pyfunc",
        # which packages bring which modules: asked for each model that is logged
        "mlflow.utils.requirements_utils:_init_modules_to_packages_map",
    ),
    "blend": (),
    "evaluate": ("matplotlib.figure", "matplotlib.backends.backend_agg", "sklearn.calibration", "sklearn.inspection"),
    "refit": (),
    "register": (),
}
# Gives the tracking store at an address, and keeps it.
STORE_OF = "mlflow.tracking._tracking_service.utils:_get_store"
OURS = ("steps", "tabular")
MOST_WORDS = 1_000_000


@dataclass
class _Main:
    """Main's connection to its fork server, where main has one."""

    control: socket.socket | None = None
    pid: int = 0


_MAIN = _Main()


def fork() -> None:
    """Fork a fork server off this process, which must have started no thread that holds a lock, and opened no store.

    Nothing is forked where the system is not Linux: elsewhere libraries do not survive a fork.
    """
    if sys.platform != "linux":
        return
    # what every step needs to reach its store
    importlib.import_module("mlflow.store.tracking.sqlalchemy_store")
    ours, its = socket.socketpair()
    pid = os.fork()
    if pid:
        its.close()
        _MAIN.control, _MAIN.pid = ours, pid
        return
    ours.close()
    lifecycle.leave()
    with suppress(BaseException):
        _serve(its)
    os._exit(0)


def warm(folder: Path) -> None:
    """Let the fork server import what the steps need, and serve the steps that are started from now on.

    The server listens on a socket in `folder`.
    """
    if _MAIN.control is None or ADDRESS in os.environ:
        return
    address = str(folder / "fork_server")
    with suppress(OSError):  # the fork server has died: the steps do their own imports
        _MAIN.control.sendall(address.encode())
        if _MAIN.control.recv(1):
            os.environ[ADDRESS] = address


def close() -> None:
    """End the fork server, whose workers have all ended."""
    os.environ.pop(ADDRESS, None)
    if _MAIN.control is not None:
        _MAIN.control.close()
        with suppress(OSError):
            os.kill(_MAIN.pid, signal.SIGKILL)
            os.waitpid(_MAIN.pid, 0)
        _MAIN.control = None


def ask(words: list[str]) -> int | None:
    """Have the fork server run a step, and wait for the step's end.

    Parameters
    ----------
    words
        The step's name and its `--parameter=value`.

    Returns
    -------
    int or None
        The step's exit status; None where there is no fork server for this process, or none that knows the step.
    """
    address = os.environ.get(ADDRESS)
    if address is None or not words:
        return None
    # the worker's caller is this process: the worker ends when this process does
    me = str(identity.me())
    order = {
        "words": words,
        "folder": str(Path.cwd()),
        "prefix": sys.prefix,
        "environment": {**os.environ, lifecycle.CALLER: me, lifecycle.ASKER: me},
    }
    try:
        with socket.socket(socket.AF_UNIX) as line, _short(address) as path:
            line.connect(path)
            text = json.dumps(order).encode()
            socket.send_fds(line, [struct.pack("!I", len(text))], [0, 1, 2])
            line.sendall(text)
            if line.recv(1) != b"+":
                return None
            status = line.recv(4)
    except OSError:
        return None
    return struct.unpack("!i", status)[0] if len(status) == 4 else 1


@contextmanager
def _short(address: str) -> Iterator[str]:
    """A path to a socket of at most 107 characters, which is the limit of Unix sockets: by its folder's descriptor."""
    folder = os.open(Path(address).parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{Path(address).name}"
    finally:
        os.close(folder)


def _serve(control: socket.socket) -> None:
    """Wait for main's message, then import modules, fork workers and report their ends, until main closes its end."""
    address = control.recv(4096).decode()
    if not address:
        return
    gc.disable()  # nothing here is thrown away; in a worker it is enabled again
    with socket.socket(socket.AF_UNIX) as listener:
        with _short(address) as path:
            listener.bind(path)
        listener.listen()
        control.sendall(b"+")
        pending = [(step, module) for step, modules in MODULES.items() for module in modules]
        orders: list[dict[str, Any]] = []
        workers: dict[int, socket.socket] = {}
        while True:
            for order in [order for order in orders if not _lacks(order, pending)]:
                orders.remove(order)
                _open_store(order["environment"].get("MLFLOW_TRACKING_URI", ""))
                workers[_fork_worker(order, [control, listener, *workers.values()])] = order["line"]
            patience = 0 if pending else 0.02 if workers else None
            ready, _, _ = select.select([control, listener], [], [], patience)
            if control in ready:
                return
            if listener in ready:
                orders += _receive(listener)
            _report(workers)
            if pending:
                with suppress(Exception):  # the step reports what cannot be imported
                    _load(pending.pop(0)[1])


def _load(name: str) -> None:
    """Import a module, or call a function without arguments."""
    found = pkgutil.resolve_name(name)
    if ":" in name:
        found()


@cache
def _open_store(uri: str) -> None:
    """Open the tracking store once for all workers, which MLflow does by reading all of its migrations.

    Its connections are closed again: what is left is no other process's. Main has opened the store before, so that its
    tables are there.
    """
    if re.match(r"sqlite:///[^/]", uri):  # from the folder of this process it is another file
        return
    with suppress(Exception):  # the step reports what is the matter
        pkgutil.resolve_name(STORE_OF)(uri).engine.dispose()


def _lacks(order: Mapping[str, Any], pending: list[tuple[str, str]]) -> bool:
    """Whether modules of an order's step, or of an earlier step of the chain, are still to be imported."""
    names = list(MODULES)
    step = order["words"][0]
    return any(names.index(needed_by) <= names.index(step) for needed_by, _ in pending)


def _receive(listener: socket.socket) -> list[dict[str, Any]]:
    """The order on a new connection, as a list of one; empty where the fork server is not to take it.

    It is for another environment or an unknown step, or who asks was killed meanwhile: that is for main to tell, and no
    reason for the steps beside it to end. An order holds the words, the folder, the environment and the three files of
    the terminal.
    """
    line, _ = listener.accept()
    files: list[int] = []
    with suppress(OSError, struct.error, ValueError):
        head, files, _, _ = socket.recv_fds(line, 4, 3)
        size = struct.unpack("!I", head)[0]
        text = b""
        while len(text) < size and (more := line.recv(MOST_WORDS)):
            text += more
        order = json.loads(text)
        if order["prefix"] == sys.prefix and order["words"][0] in MODULES:
            line.sendall(b"+")
            return [{**order, "files": files, "line": line}]
    line.close()
    for number in files:
        os.close(number)
    return []


def _report(workers: dict[int, socket.socket]) -> None:
    """Send the exit status of each worker that has ended to the process that waits for it."""
    while workers:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        line = workers.pop(pid)
        with line, suppress(OSError):
            line.sendall(struct.pack("!i", os.waitstatus_to_exitcode(status)))


def _fork_worker(order: Mapping[str, Any], not_its: list[socket.socket]) -> int:
    # a worker's collections pass over what is here: to visit a page of it is to copy it
    gc.freeze()
    pid = os.fork()
    if pid == 0:
        try:
            gc.enable()
            for other in [*not_its, order["line"]]:
                other.close()
            _work(order)
        finally:
            os._exit(1)
    for number in order["files"]:
        os.close(number)
    return pid


def _work(order: Mapping[str, Any]) -> NoReturn:
    """Become the step: take its terminal, folder, environment and words, load our modules anew, and run the step."""
    for place, number in enumerate(order["files"]):
        os.dup2(number, place)
        os.close(number)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.environ.pop(ADDRESS, None)
    os.chdir(order["folder"])
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]
    sys.argv = ["steps", *order["words"]]
    status: Any = 0
    try:
        runpy.run_module("steps", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        status = ended.code
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 1)
