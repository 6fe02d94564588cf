"""`mlflow run` as people type it, without the seconds that its import takes: forked off a process that has imported it.

All that follows the import is as if it had been typed: a session of its own, its folder, environment and terminal. What
the import does is seen by the tests that type it (tests/pipeline/test_environment.py).
"""

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import psutil


def popen(words, **how):
    """`subprocess.Popen` of a process that a Ctrl-C and a hang-up reach, as they reach what is typed at a terminal.

    Whoever started the tests may ignore these signals, as nohup does, and a shell for what runs in its background; and
    what the tests start inherits that.
    """
    return subprocess.Popen(words, preexec_fn=_heed, **how)  # noqa: PLW1509


def _heed():
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Typed(psutil.Process):
    """A command under way: what `psutil.Popen` gives of one that it has started."""

    def __init__(self, pid, line):
        super().__init__(pid)
        self.returncode = None
        self._line = line

    def poll(self):
        """Its exit status, or None while it runs."""
        if self.returncode is None and select.select([self._line], [], [], 0)[0]:
            self.returncode = struct.unpack("!i", self._line.recv(4))[0]
            self._line.close()
        return self.returncode

    def wait(self, timeout=None):
        """Its exit status, once it has ended."""
        until = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if until is not None and time.monotonic() > until:
                raise psutil.TimeoutExpired(timeout, self.pid)
            time.sleep(0.01)
        return self.returncode


def start(words, *, cwd, env, stdout, stderr, keeper=None):
    """Type `mlflow` and these words; `stdout` and `stderr` are open files."""
    line = socket.socket(socket.AF_UNIX)
    line.connect(keeper or keeper_address())
    order = json.dumps({"words": words, "cwd": str(cwd), "env": dict(env)}).encode()
    socket.send_fds(line, [struct.pack("!I", len(order))], [stdout.fileno(), stderr.fileno()])
    line.sendall(order)
    return Typed(struct.unpack("!i", line.recv(4))[0], line)


def begin(words, *, cwd, env, stdout, stderr):
    """A command in a session of its own; `python -m mlflow …` as in `start`, whose servers import for themselves."""
    if words[:3] == [sys.executable, "-m", "mlflow"]:
        return start(words[3:], cwd=cwd or Path.cwd(), env=env, stdout=stdout, stderr=stderr)
    return subprocess.Popen(words, cwd=cwd, env=env, stdout=stdout, stderr=stderr, start_new_session=True)


@cache
def keeper_address():
    """The address of the process that has imported MLflow's command line; it ends with this one."""
    address = str(Path(tempfile.mkdtemp(prefix="typed-")) / "mlflow")
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "TABULAR_"))}
    alone["MLFLOW_DISABLE_TELEMETRY"] = "true"  # which MLflow looks at as it is imported
    words = [sys.executable, "-m", "tests.typed", address]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = popen(words, cwd=Path(__file__).parents[1], env=alone, **pipes)
    atexit.register(process.kill)
    assert process.stdout.readline() == b"ready\n"
    return address


def _keep(address):
    """Fork a command for each order, and tell its end, until stdin is closed."""
    from mlflow import cli, projects
    from mlflow.store.tracking import sqlalchemy_store

    assert cli and projects and sqlalchemy_store
    lines = {}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([sys.stdin, listener], [], [], 0.02 if lines else None)
            if sys.stdin in ready:
                return
            if listener in ready:
                line, _ = listener.accept()
                pid = _fork(line, [listener, *lines.values()])
                line.sendall(struct.pack("!i", pid))
                lines[pid] = line
            while lines and (ended := os.waitpid(-1, os.WNOHANG))[0]:
                with lines.pop(ended[0]) as line, contextlib.suppress(OSError):
                    line.sendall(struct.pack("!i", os.waitstatus_to_exitcode(ended[1])))


def _fork(line, not_its):
    head, files, _, _ = socket.recv_fds(line, 4, 2)
    size, text = struct.unpack("!I", head)[0], b""
    while len(text) < size:
        text += line.recv(size)
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            for other in [line, *not_its]:
                other.close()
            _become(files, **json.loads(text))
        os._exit(1)
    for number in files:
        os.close(number)
    return pid


def _become(files, words, cwd, env):
    from mlflow.cli import cli

    os.setsid()
    for place, number in enumerate((os.open(os.devnull, os.O_RDONLY), *files)):
        os.dup2(number, place)
        os.close(number)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    tempfile.tempdir = None
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["mlflow", *words]
    status = 1
    try:
        cli(words)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


if __name__ == "__main__":
    address, *words = sys.argv[1:]
    if words:  # as `mlflow` in a shell
        pipes = {"stdout": sys.stdout, "stderr": sys.stderr}
        sys.exit(start(words, cwd=Path.cwd(), env=os.environ, keeper=address, **pipes).wait())
    _keep(address)
