"""A headless Chromium, driven by its own protocol (Chrome DevTools Protocol) over a WebSocket: open, look, ask.

Whatever the page complains of is collected: exceptions, what the console says, what the page's policy has stopped, and
every address that is asked for.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.e2e.cluster import command_that_dies_with_us, until, until_found

CHROMIUM: Final = shutil.which("chromium")
_ANSWER_SECONDS: Final = 20.0


class Browser:
    """One page in one browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, session: str) -> None:
        self._socket = socket
        self._session = session
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.complaints: list[str] = []
        self.requested: set[str] = set()
        """Addresses that were asked for."""
        self.loads = 0
        """How often a whole page was loaded."""

    async def read(self) -> None:
        """Take what the browser says, until it is gone."""
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said:
                self._waiting.pop(said["id"]).set_result(said)
                continue
            parameters = said.get("params", {})
            match said["method"]:
                case "Runtime.exceptionThrown":
                    self.complaints.append(str(parameters["exceptionDetails"]))
                case "Log.entryAdded" if parameters["entry"]["source"] != "network":
                    self.complaints.append(str(parameters["entry"]))
                case "Network.requestWillBeSent":
                    self.requested.add(parameters["request"]["url"])
                case "Page.loadEventFired":
                    self.loads += 1
                case _:
                    pass

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Have the browser do something; returns its result."""
        number = next(self._ids)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters, "sessionId": self._session})
        said = await asyncio.wait_for(answer, _ANSWER_SECONDS)
        assert "error" not in said, f"{method}: {said['error']}"
        result: dict[str, Any] = said["result"]
        return result

    async def open(self, address: str) -> None:
        """Go to a page, and wait until it is loaded."""
        loads = self.loads
        await self.call("Page.navigate", url=address)

        async def loaded() -> bool:
            return self.loads > loads

        await until_found(loaded, f"{address} is loaded")

    async def text(self, selector: str = "body") -> str:
        """What a reader sees of an element."""
        return str(await self.value(f"document.querySelector({json.dumps(selector)}).innerText"))

    async def value(self, expression: str) -> Any:
        """What JavaScript gives; works where the page itself may run none."""
        result = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def shows(self, text: str, selector: str = "body") -> None:
        """Wait until a reader sees a text."""

        async def there() -> bool:
            try:
                return text in await self.text(selector)
            except AssertionError:  # between two pages there is no document
                return False

        await until_found(there, f"the page shows {text!r}")

    async def picture(self, path: Path, *, width: int, dark: bool = False) -> None:
        """Save the whole page as a PNG."""
        await self.call("Emulation.setScrollbarsHidden", hidden=True)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        height = 1
        for _ in range(2):  # how high it is follows from how wide it is
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            await self.call("Emulation.setDeviceMetricsOverride", **size)
            height = int(await self.value("document.documentElement.scrollHeight"))
        taken = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        await asyncio.to_thread(path.write_bytes, base64.b64decode(taken["data"]))


@contextlib.asynccontextmanager
async def browsing(directory: Path) -> AsyncIterator[Browser]:
    """A browser with one empty page; its profile is in `directory`."""
    log = directory / "chromium.log"
    process = _start(directory, log)
    try:
        await until(lambda: _devtools(log), "Chromium listens", seconds=60)
        async with aiohttp.ClientSession() as http, http.ws_connect(_devtools(log), max_msg_size=0) as socket:
            await socket.send_json({"id": 0, "method": "Target.createTarget", "params": {"url": "about:blank"}})
            target = await _answer(socket, 0)
            attach = {"targetId": target["targetId"], "flatten": True}
            await socket.send_json({"id": 1, "method": "Target.attachToTarget", "params": attach})
            browser = Browser(socket, (await _answer(socket, 1))["sessionId"])
            reading = asyncio.create_task(browser.read())
            for domain in ("Page", "Runtime", "Log", "Network"):
                await browser.call(f"{domain}.enable")
            yield browser
            reading.cancel()
    finally:
        process.kill()
        process.wait()


def _start(directory: Path, log: Path) -> "subprocess.Popen[bytes]":
    assert CHROMIUM is not None
    command = command_that_dies_with_us(
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--no-proxy-server",
        "--remote-debugging-port=0",
        f"--user-data-dir={directory / 'profile'}",
        "about:blank",
    )
    with log.open("wb") as output:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def _devtools(log: Path) -> str:
    """Where the browser said that it listens; empty: it has not yet."""
    marker = "DevTools listening on "
    said = [line for line in log.read_text(errors="replace").splitlines() if line.startswith(marker)]
    return said[0].removeprefix(marker) if said else ""


async def _answer(socket: aiohttp.ClientWebSocketResponse, number: int) -> dict[str, Any]:
    async for message in socket:
        said = json.loads(message.data)
        if said.get("id") == number:
            result: dict[str, Any] = said["result"]
            return result
    raise AssertionError("Chromium is gone")
