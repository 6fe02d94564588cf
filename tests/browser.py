"""A page opened in headless Chromium, which is asked over its debugging pipe what went wrong and what it fetched."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WHY_NOT = "no Chromium here to open the page in (Debian: apt-get install chromium)"
# It would ask its makers for news at every start.
WORDS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
WORDS += ["--disable-sync", "--no-first-run", "--disable-quic", "--remote-debugging-pipe"]
SECONDS = 60


@dataclass
class Opened:
    """What came of opening a page: errors on its console, addresses that it asked for, and what a script found."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    found: Any = None


def opened(page: Path, script: str, *, width: int = 1100) -> Opened:
    """Open a local page at a width, wait until all of it is there, and run a script in it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, _Pipe(profile) as pipe:
        target = pipe.ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = pipe.ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            pipe.ask(f"{domain}.enable", {}, session)
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        pipe.ask("Emulation.setDeviceMetricsOverride", size, session)
        pipe.ask("Page.navigate", {"url": page.as_uri()}, session)
        pipe.wait("Page.loadEventFired")
        asked = {"expression": script, "returnByValue": True, "awaitPromise": True}
        result = pipe.ask("Runtime.evaluate", asked, session)["result"]
        return Opened(pipe.errors(), pipe.requests(), result.get("value"))


class _Pipe:
    """Chromium's debugging protocol over two pipes: JSON, a NUL after each message."""

    def __init__(self, profile: str) -> None:
        self._events: list[dict[str, Any]] = []
        self._rest, self._number = b"", 0
        read, self._to = os.pipe()
        self._from, write = os.pipe()
        # it reads from 3 and writes to 4
        words = f"exec {CHROMIUM} {' '.join(WORDS)} --user-data-dir={profile} 3<&{read} 4>&{write}"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(["bash", "-c", words], pass_fds=(read, write), **quiet)
        os.close(read)
        os.close(write)

    def __enter__(self) -> "_Pipe":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, AssertionError):
            self.ask("Browser.close", {})
        self._process.wait(SECONDS)
        os.close(self._to)
        os.close(self._from)

    def ask(self, method: str, params: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        """Call a method of the protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        os.write(self._to, json.dumps({**message, **({"sessionId": session} if session else {})}).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._number:
                assert "error" not in found, found
                return found["result"]
            self._events.append(found)

    def wait(self, method: str) -> None:
        """Wait for an event."""
        until = time.monotonic() + SECONDS
        while not any(event.get("method") == method for event in self._events):
            assert time.monotonic() < until, f"no {method} within {SECONDS} s"
            self._events.append(self._next())

    def errors(self) -> list[str]:
        """What was said on the console as an error or a warning, and exceptions."""
        found = []
        for event in self._events:
            params = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(json.dumps(params["exceptionDetails"]))
            if event.get("method") == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
                found.append(json.dumps(params["args"]))
            if event.get("method") == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(params["entry"]["text"])
        return found

    def requests(self) -> list[str]:
        """The addresses that were asked for, what the page holds itself left out."""
        asked = [event["params"]["request"]["url"] for event in self._events if _is_request(event)]
        return [url for url in asked if not url.startswith("data:")]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._from, 1 << 20)
            assert part, "Chromium is gone"
            self._rest += part
        message, self._rest = self._rest.split(b"\0", 1)
        found: dict[str, Any] = json.loads(message)
        return found


def _is_request(event: dict[str, Any]) -> bool:
    return event.get("method") == "Network.requestWillBeSent"
