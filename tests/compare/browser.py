"""A headless Chromium, driven over the DevTools protocol through a pipe: no library and no driver needed."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Only files and data can be fetched: every host name resolves to nothing.
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # not available to a superuser
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",  # commands are read from descriptor 3, answers written to descriptor 4
)


class Browser:
    """One window. `requests` and `errors` return what the page asked for, and what the console reported."""

    def __init__(self, commands: BinaryIO, answers: BinaryIO) -> None:
        self._commands, self._answers = commands, answers
        self._count = 0
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def _receive(self) -> dict[str, Any]:
        message = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "the browser has ended"
            message += byte
        return json.loads(message)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        command = {"id": self._count, "method": method, "params": parameters}
        if self._session is not None:
            command["sessionId"] = self._session
        self._commands.write(json.dumps(command).encode() + b"\0")
        self._commands.flush()
        while (message := self._receive()).get("id") != self._count:
            self._events.append(message)
        assert "error" not in message, message
        return message["result"]

    def _take(self, *methods: str) -> list[dict[str, Any]]:
        """The parameters of these events since the last call."""
        taken = [event["params"] for event in self._events if event["method"] in methods]
        self._events = [event for event in self._events if event["method"] not in methods]
        return taken

    def open(self, page: Path) -> None:
        self._take("Page.loadEventFired")
        self._call("Page.navigate", url=page.resolve().as_uri())
        while not self._take("Page.loadEventFired"):
            self._events.append(self._receive())

    def run(self, script: str) -> Any:
        """The value that a JavaScript function body returns."""
        answer = self._call("Runtime.evaluate", expression=f"(() => {{{script}}})()", returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """Press and release the mouse in the middle of the first such element."""
        place = self.run(
            f"const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            "const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]"
        )
        for kind in ("mousePressed", "mouseReleased"):
            mouse = {"type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1}
            self._call("Input.dispatchMouseEvent", **mouse)

    def resize(self, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)

    def prefer(self, scheme: str) -> None:
        """light or dark."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._call("Emulation.setEmulatedMedia", features=[feature])

    def errors(self) -> list[dict[str, Any]]:
        """Errors and console messages since the last call."""
        self.run("")  # events that were sent before its answer have arrived
        return self._take("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")

    def requests(self) -> list[str]:
        """The addresses that were asked for since the last call."""
        self.run("")
        return [event["request"]["url"] for event in self._take("Network.requestWillBeSent")]


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """profile: an empty folder for the browser's own files."""
    assert CHROMIUM is not None
    read_commands, write_commands = os.pipe()
    read_answers, write_answers = os.pipe()
    # bash moves the descriptors to the two numbers that Chromium expects.
    script = f'exec "$@" 3<&{read_commands} 4>&{write_answers}'
    words = ["bash", "-c", script, "bash", CHROMIUM, *ARGUMENTS, f"--user-data-dir={profile}"]
    inherited = (read_commands, write_answers)
    with (
        os.fdopen(write_commands, "wb") as commands,
        os.fdopen(read_answers, "rb") as answers,
        subprocess.Popen(words, pass_fds=inherited, stderr=subprocess.DEVNULL) as process,
    ):
        for descriptor in inherited:
            os.close(descriptor)
        try:
            yield Browser(commands, answers)
        finally:
            process.terminate()
