"""A page opened in headless Chromium, which is asked over its debugging pipe what went wrong and what it fetched."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
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
    with tab() as found:
        found.open(page.as_uri(), width=width)
        found.pipe.wait("Page.loadEventFired")
        value = found.run(script)
        return Opened(found.pipe.errors(), found.pipe.requests(), value)


# Whether a text stands on the screen, in no hidden part of the page and below nothing else.
SEEN = """
(text => {
  const nodes = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = nodes.nextNode(); node; node = nodes.nextNode()) {
    const at = node.data.indexOf(text);
    if (at < 0) continue;
    const range = document.createRange();
    range.setStart(node, at);
    range.setEnd(node, at + text.length);
    const box = range.getClientRects()[0];
    const top = box && document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    if (top && (top.contains(node) || node.parentElement.contains(top))) return true;
  }
  return false;
})"""
# The element of a whole text or of a label; or of a CSS selector, which begins with a bracket.
FIND = """
(what => {
  if (what.startsWith('[')) return document.querySelector(what);
  const nodes = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = nodes.nextNode(); node; node = nodes.nextNode()) {
    if (node.data.trim() === what) return node.parentElement;
  }
  return document.querySelector(`[aria-label=${JSON.stringify(what)}]`);
})"""


@dataclass
class Tab:
    """A tab of Chromium that is used as a reader would: opened, read, clicked, and photographed."""

    pipe: "_Pipe"
    session: str

    def open(self, url: str, *, width: int, height: int = 800) -> None:
        """Go to an address, on a screen of a size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.pipe.ask("Emulation.setDeviceMetricsOverride", size, self.session)
        self.pipe.ask("Page.navigate", {"url": url}, self.session)

    def run(self, script: str) -> Any:
        """The value of a script."""
        asked = {"expression": script, "returnByValue": True, "awaitPromise": True}
        return self.pipe.ask("Runtime.evaluate", asked, self.session)["result"].get("value")

    def wait_for(self, script: str) -> bool:
        """Whether a script gives something true, after as long as that takes."""
        until = time.monotonic() + SECONDS
        while not (found := self.run(script)) and time.monotonic() < until:
            time.sleep(0.1)
        return bool(found)

    def click(self, what: str) -> bool:
        """Click the element of a text, a label or a selector; whether there is one."""
        return self._on(what, "click")

    def scroll(self, what: str) -> bool:
        """Scroll until such an element is at the top; whether there is one."""
        return self._on(what, "scrollIntoView")

    def sees(self, text: str) -> bool:
        """Whether a text is on the screen, after as long as that takes."""
        return self.wait_for(f"{SEEN}({json.dumps(text)})")

    def type(self, text: str) -> None:
        """Type a text where the cursor is."""
        self.pipe.ask("Input.insertText", {"text": text}, self.session)

    def press(self, key: str) -> None:
        """Press a key, such as Escape."""
        for kind in ("keyDown", "keyUp"):
            self.pipe.ask("Input.dispatchKeyEvent", {"type": kind, "key": key}, self.session)

    def fit(self) -> None:
        """Make the screen as large as the page."""
        self.wait_for("document.readyState === 'complete'")
        width, height = self.run("[document.body.scrollWidth, document.body.scrollHeight]")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.pipe.ask("Emulation.setDeviceMetricsOverride", size, self.session)

    def still(self) -> bytes:
        """The screen as a PNG, once nothing on it moves any more."""
        until, before = time.monotonic() + SECONDS, b""
        while (now := self._shot()) != before and time.monotonic() < until:
            before = now
            time.sleep(0.3)
        return now

    def _on(self, what: str, method: str) -> bool:
        return self.wait_for(f"(one => one ? (one.{method}(), true) : false)({FIND}({json.dumps(what)}))")

    def _shot(self) -> bytes:
        shot = self.pipe.ask("Page.captureScreenshot", {"format": "png"}, self.session)
        return base64.b64decode(shot["data"])


@contextlib.contextmanager
def tab() -> Iterator[Tab]:
    """A tab in a Chromium of its own."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, _Pipe(profile) as pipe:
        target = pipe.ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = pipe.ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            pipe.ask(f"{domain}.enable", {}, session)
        yield Tab(pipe, session)


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
