"""Headless Chromium for tests of web pages, controlled over the DevTools protocol.

Needs no driver, and only the package websocket-client. If the browser or the package is missing, `browser_or_skip`
skips the test and reports which; with the environment variable SAP2_BROWSER=required it fails instead, so that no run
passes for lack of a browser.
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "chrome-headless-shell")
# On a machine without a mouse, Chromium reports no pointer and no hover.
MOUSE = "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4"
KEYS = {
    "Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, ""), " ": (32, " "), "End": (35, ""), "Home": (36, ""),
    "ArrowLeft": (37, ""), "ArrowUp": (38, ""), "ArrowRight": (39, ""), "ArrowDown": (40, ""),
}  # fmt: skip


class Browser:
    """A browser page. Its exceptions and console errors are collected in `errors`."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._number = socket, 0
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.command(f"{domain}.enable")
        self.requests: list[str] = []

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a protocol command and return its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = self._receive()
            if message.get("id") == self._number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return message["result"]

    def open(self, page: Path | str) -> None:
        """Load a file or a URL, and wait until its scripts have run."""
        self.errors.clear()
        self.requests.clear()
        self.command("Page.navigate", url=page if isinstance(page, str) else page.resolve().as_uri())
        while self._receive().get("method") != "Page.loadEventFired":
            pass

    def value(self, expression: str) -> Any:
        """Return the value of a JavaScript expression on the page; promises are awaited."""
        answer = self.command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']['exception'].get('description')}")
        return answer["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 20) -> None:
        """Wait until an expression is true."""
        until = time.monotonic() + seconds
        while not self.value(expression):
            if time.monotonic() > until:
                raise TimeoutError(f"not true after {seconds} s: {expression}")
            time.sleep(0.02)

    def choose(self, selector: str, *paths: Path) -> None:
        """Select files in a file input."""
        root = self.command("DOM.getDocument")["root"]["nodeId"]
        node = self.command("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.command("DOM.setFileInputFiles", nodeId=node, files=[str(path.resolve()) for path in paths])

    def drop(self, selector: str, *paths: Path) -> None:
        """Drop files from outside the window on the centre of an element."""
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        left, top, width, height = (self.value(f"{box}.{side}") for side in ("left", "top", "width", "height"))
        data = {"items": [], "files": [str(path.resolve()) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.command("Input.dispatchDragEvent", type=kind, x=left + width / 2, y=top + height / 2, data=data)

    def click(self, selector: str) -> None:
        """Click the centre of an element with the mouse."""
        self.value(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        left, top, width, height = (self.value(f"{box}.{side}") for side in ("left", "top", "width", "height"))
        for kind in ("mousePressed", "mouseReleased"):
            point = {"x": left + width / 2, "y": top + height / 2, "button": "left", "clickCount": 1}
            self.command("Input.dispatchMouseEvent", type=kind, **point)

    def press(self, key: str) -> None:
        """Press and release a key by input events, as from a keyboard."""
        code, text = KEYS.get(key, (ord(key[0].upper()), key))
        event = {"key": key, "windowsVirtualKeyCode": code}
        self.command("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
        self.command("Input.dispatchKeyEvent", type="keyUp", **event)

    def write(self, text: str) -> None:
        """Insert text into the focused element."""
        self.command("Input.insertText", text=text)

    def look(self, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        """Set the window size and the colour scheme, "light" or "dark".

        Below 600 it is a phone's, and from then on the page is touched, not pointed at: Chromium does not go back.
        """
        if width < 600:
            self.command("Emulation.setTouchEmulationEnabled", enabled=True)
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.command("Page.captureScreenshot")["data"]))

    def names(self, role: str) -> list[str]:
        """Return the accessible names of all elements with this role."""
        nodes = self.command("Accessibility.getFullAXTree")["nodes"]
        return [
            node.get("name", {}).get("value", "")
            for node in nodes
            if not node["ignored"] and node.get("role", {}).get("value") == role
        ]

    def accessibility(self) -> tuple[list[str], list[str]]:
        """Return the violations and the undecided checks of axe-core (WCAG 2.1 A and AA, best practices)."""
        axe = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
        self.value(f"{axe};0")
        found = self.value("axe.run()")
        rows = (
            [
                f"{one['id']}: {node['html'][:80]}: {node['failureSummary']}"
                for one in found[kind]
                for node in one["nodes"]
            ]
            for kind in ("violations", "incomplete")
        )
        wrong, unsure = rows
        return wrong, unsure

    def _receive(self) -> dict[str, Any]:
        message = json.loads(self._socket.recv())
        parameters = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif message.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(parameters["entry"]["text"])
        elif message.get("method") == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        return message


@contextmanager
def browser_or_skip(at_hand: bool = False) -> Iterator[Browser]:
    """A browser for the tests of a module; if it is missing, they are skipped or fail, as described above.

    Args:
        at_hand: Whether its window is in front and has a mouse, as a person's; else it has neither.
    """
    try:
        import websocket
    except ImportError:
        _missing("websocket-client is not installed")
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        _missing(f"no browser: none of {', '.join(NAMES)} on PATH, and CHROMIUM names none")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # No sandbox: containers often forbid it, and only the test's own pages are opened.
        options = (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            *([MOUSE] if at_hand else []),
        )
        command = [program, *options, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
        try:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except OSError as error:
            _missing(f"{program} cannot be started ({error.strerror})")
        try:
            address = _page_address(Path(profile) / "DevToolsActivePort", process)
            socket = websocket.create_connection(address, timeout=60, suppress_origin=True)
            browser = Browser(socket)
            browser.command("Emulation.setFocusEmulationEnabled", enabled=at_hand)
            yield browser
            socket.close()
        finally:
            process.terminate()
            process.wait(timeout=30)


def _missing(reason: str) -> NoReturn:
    if os.environ.get("SAP2_BROWSER") == "required":
        pytest.fail(f"SAP2_BROWSER=required, but {reason}")
    pytest.skip(reason)


def _page_address(port_file: Path, process: subprocess.Popen, seconds: float = 60) -> str:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            _missing(f"the browser does not start: {process.args[0]} exits {process.returncode}")
        if port_file.exists() and (lines := port_file.read_text().split()):
            with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json", timeout=30) as answer:
                pages = [target for target in json.load(answer) if target["type"] == "page"]
            if pages:
                return pages[0]["webSocketDebuggerUrl"]
        time.sleep(0.05)
    _missing(f"the browser does not respond within {seconds} s: {process.args[0]}")
