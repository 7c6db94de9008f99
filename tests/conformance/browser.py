"""A page in headless Chromium, asked over the pipe of its own protocol: no driver, no port, no sleeping.

With ``--remote-debugging-pipe`` the browser reads commands from descriptor 3 and writes answers and events to
descriptor 4, JSON texts that end in NUL (the Chrome DevTools Protocol). Whoever asks waits for the answer in
a read; whatever the page complains of meanwhile, on its console or as an exception nobody caught, is kept."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")

MISSING = "headless Chromium is missing, and the page is not tested: install it (apt-get install chromium)"

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--remote-debugging-pipe", "--disable-background-networking", "--disable-component-update"),
    *("--hide-scrollbars", "--force-color-profile=srgb"),
)

Answer = Mapping[str, object]


class PageError(AssertionError):
    """The page, or the browser, did not do what it was asked for."""


class Page:
    """One page of a browser; ``complaints`` is all that was said on its console as a warning or an error."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, read
        self._received = b""
        self._asked = 0
        self._session: str | None = None
        self._events: list[str] = []
        self.complaints: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = str(session)
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: object) -> Answer:
        """Send one command and give its answer. Raises :class:`PageError` if it is refused."""
        self._asked += 1
        sent: dict[str, object] = {"id": self._asked, "method": method, "params": params}
        if self._session is not None:
            sent["sessionId"] = self._session
        os.write(self._write, json.dumps(sent).encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == self._asked:
                if "error" in message:
                    raise PageError(f"{method}: {message['error']}")
                return _members(message["result"])

    def _next(self) -> Answer:
        while b"\0" not in self._received:
            chunk = os.read(self._read, 1 << 16)
            if not chunk:
                raise PageError("the browser has ended")
            self._received += chunk
        text, _, self._received = self._received.partition(b"\0")
        message = _members(json.loads(text))
        self._note(str(message.get("method", "")), _members(message.get("params", {})))
        return message

    def _note(self, method: str, params: Answer) -> None:
        self._events.append(method)
        wrong = (
            method == "Runtime.exceptionThrown"
            or (method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"))
            or (method == "Log.entryAdded" and _members(params["entry"])["level"] in ("error", "warning"))
        )
        if wrong:
            self.complaints.append(json.dumps(params))

    def open(self, file: Path) -> None:
        """Load ``file`` and wait until it is loaded."""
        self._events.clear()
        self.ask("Page.navigate", url=file.resolve().as_uri())
        while "Page.loadEventFired" not in self._events:
            self._next()

    def evaluate(self, expression: str) -> object:
        """The value of a JavaScript expression in the page."""
        answer = self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            raise PageError(f"{expression}: {answer['exceptionDetails']}")
        return _members(answer["result"]).get("value")

    def click(self, selector: str) -> None:
        """Click with the mouse in the middle of what ``selector`` selects."""
        where = self.evaluate(
            f"""(() => {{ const it = document.querySelector({json.dumps(selector)});
            it.scrollIntoView({{block: "center"}}); const box = it.getBoundingClientRect();
            return [box.x + Math.min(box.width, 200) / 2, box.y + box.height / 2]; }})()"""
        )
        assert isinstance(where, list), f"nothing is selected by {selector}"
        for kind in ("mousePressed", "mouseReleased"):
            self.ask(
                "Input.dispatchMouseEvent", type=kind, x=where[0], y=where[1], button="left", clickCount=1
            )

    def press(self, key: str, text: str = "") -> None:
        """Press and release a key, by its name."""
        codes = {"Enter": 13, "Escape": 27, "ArrowDown": 40, "ArrowUp": 38, "Tab": 9, "/": 191}
        pressed = {"key": key, "windowsVirtualKeyCode": codes.get(key, 0)}
        self.ask("Input.dispatchKeyEvent", type="keyDown", text=text, **pressed)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def type(self, text: str) -> None:
        """Insert ``text`` where the caret is."""
        self.ask("Input.insertText", text=text)

    def look(self, width: int, height: int, *, dark: bool = False, media: str = "screen") -> None:
        """Make the window so large, and prefer light or dark, on a screen or on paper."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def screenshot(self, file: Path) -> None:
        """Write what is seen as a PNG."""
        shot = self.ask("Page.captureScreenshot", format="png")["data"]
        file.write_bytes(base64.b64decode(str(shot)))

    def pdf(self) -> bytes:
        """The page as it is printed."""
        return base64.b64decode(str(self.ask("Page.printToPDF", printBackground=True)["data"]))


def _members(value: object) -> Answer:
    assert isinstance(value, dict), value
    return value


def find() -> str | None:
    """The browser's program, if one is installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def page(profile: Path) -> Iterator[Page]:
    """A page of a browser of its own, whose files are kept in ``profile``. Raises :class:`PageError` if there
    is no browser."""
    program = find()
    if program is None:
        raise PageError(MISSING)
    commands, answers = os.pipe(), os.pipe()
    # The browser wants its pipe as 3 and 4: ours are moved out of their way first.
    high = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (commands[0], answers[1])]
    moved = f"import os, sys; os.dup2({high[0]}, 3); os.dup2({high[1]}, 4); os.closerange(5, 256); "
    moved += "os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", moved, program, *FLAGS, f"--user-data-dir={profile}"]
    with subprocess.Popen(
        command, pass_fds=high, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ):
        for end in (commands[0], answers[1], *high):
            os.close(end)
        try:
            yield Page(commands[1], answers[0])
        finally:
            # A browser whose pipe is closed goes; it is told so first, and then goes in order.
            os.write(commands[1], json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
            while os.read(answers[0], 1 << 16):
                pass
            os.close(commands[1])
            os.close(answers[0])
