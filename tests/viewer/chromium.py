"""A browser without a screen, steered through its DevTools protocol; skips where there is none."""

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.sync.connection import Connection

FLAGS = (
    *(
        "--headless=new",
        "--no-sandbox",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
    ),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--remote-debugging-port=0"),
)


class Page:
    """The browser's one page."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.count = connection, 0

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a method of the DevTools protocol; what the page says in between is dropped."""
        self.count += 1
        self.connection.send(json.dumps({"id": self.count, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.connection.recv(timeout=120))
            if answer.get("id") == self.count:
                assert "error" not in answer, answer
                return answer["result"]

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, script: str) -> None:
        """Returns when a JavaScript expression is true, as it is once the page has loaded."""
        deadline = time.monotonic() + 60
        while not self.evaluate(script):
            assert time.monotonic() < deadline, script
            time.sleep(0.1)

    def click(self, x: float, y: float) -> None:
        """A click of the left button, pixels of the window from its top left corner."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def click_on(self, selector: str) -> None:
        """A click on the first element to be seen that a CSS selector finds, once it stands still."""
        middle = (
            f"[...document.querySelectorAll({json.dumps(selector)})].map(it => it.getBoundingClientRect())"
            ".filter(it => it.width > 0).map(it => [it.x + it.width / 2, it.y + it.height / 2])[0]"
        )
        deadline = time.monotonic() + 60
        before, now = None, self.evaluate(middle)
        while now is None or now != before:
            assert time.monotonic() < deadline, f"no element {selector}"
            time.sleep(0.5)
            before, now = now, self.evaluate(middle)
        self.click(*now)

    def screenshot(self, path: Path) -> None:
        """Writes what the window shows as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


def program() -> str | None:
    """The browser on the path, None where there is none."""
    return shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def browser(address: str, profile: Path, width: int, height: int) -> Iterator[Page]:
    """A page that shows `address` in a window of that size, pixels; `profile` is an empty folder."""
    found = program()
    if found is None:
        pytest.skip("no chromium on the path")
    command = [found, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}", address]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if said := re.search(r"DevTools listening on ws://([^/]+)/", line):
                    break
            else:
                raise AssertionError("chromium ended before it could be spoken to")
            with connect(f"ws://{said[1]}/devtools/page/{_page(said[1])}", max_size=None) as connection:
                yield Page(connection)
        finally:
            process.terminate()
            process.communicate()


def _page(debugger: str) -> str:
    with urllib.request.urlopen(f"http://{debugger}/json/list", timeout=60) as answer:
        return next(target["id"] for target in json.load(answer) if target["type"] == "page")
