"""A real headless Chromium on its debugging pipe (Chrome DevTools Protocol): what a page asks for and says.

Only the page's own target is watched, so that what the browser itself asks its maker for is not counted. Messages are
JSON, each ended by a zero byte, on the child's file descriptors 3 (in) and 4 (out).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in _NAMES if (found := shutil.which(name))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian package `chromium`)")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run")  # a container's root may make no sandbox


@dataclass
class Seen:
    """What a page asked for, what it wrote to the console, and what an expression came to after it was loaded."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    value: Any = None


class Browser:
    """One browser process; `look` opens a page in a tab of its own."""

    def __init__(self, to_child: int, from_child: int) -> None:
        self.to_child, self.from_child = to_child, from_child
        self.count, self.rest = 0, b""
        self.told: list[dict[str, Any]] = []

    def ask(self, method: str, session: str | None = None, **params: Any) -> Any:
        """Send a command and wait for its answer; events met on the way are kept."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self.to_child, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self.count:
            self.told.append(answer)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def look(self, page: Path, *, width: int = 1280, expression: str = "0", media: str = "screen") -> Seen:
        """Open a file at a width in CSS pixels, as on a screen or as in print, and wait until it is loaded."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.ask(f"{domain}.enable", session)
        self.ask(
            "Emulation.setDeviceMetricsOverride", session, width=width, height=800, deviceScaleFactor=1, mobile=True
        )
        self.ask("Emulation.setEmulatedMedia", session, media=media)
        self.told.clear()
        self.ask("Page.navigate", session, url=page.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.told):
            self.told.append(self._next())
        found = self.ask("Runtime.evaluate", session, expression=expression, returnByValue=True)
        seen = Seen(value=found["result"].get("value"))
        for event in self.told:
            match event.get("method"), event.get("params", {}):
                case "Network.requestWillBeSent", {"request": request}:
                    seen.requests.append(request["url"])
                case "Log.entryAdded", {"entry": entry}:
                    seen.complaints.append(entry["text"])
                case (("Runtime.consoleAPICalled" | "Runtime.exceptionThrown"), params):
                    seen.complaints.append(str(params))
        self.ask("Target.closeTarget", targetId=target)
        return seen

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            more = os.read(self.from_child, 1 << 16)
            assert more, "the browser ended"
            self.rest += more
        message, _, self.rest = self.rest.partition(b"\0")
        made: dict[str, Any] = json.loads(message)
        return made


@contextmanager
def browser(home: Path) -> Iterator[Browser]:
    """A browser with a profile under `home`, ended with the block."""
    assert CHROMIUM is not None
    child_in, to_child = os.pipe()
    from_child, child_out = os.pipe()
    command = f'exec "$0" "$@" 3<&{child_in} 4>&{child_out}'
    arguments = (*OPTIONS, "--remote-debugging-pipe", f"--user-data-dir={home / 'watched'}", "about:blank")
    process = subprocess.Popen(
        ("/bin/bash", "-c", command, CHROMIUM, *arguments), pass_fds=(child_in, child_out), stderr=subprocess.DEVNULL
    )
    os.close(child_in)
    os.close(child_out)
    try:
        yield Browser(to_child, from_child)
    finally:
        os.close(to_child)
        os.close(from_child)
        process.terminate()
        process.wait(timeout=20)
