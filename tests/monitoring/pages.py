"""Pictures of what needs no Grafana: a leader's status page, and `raftctl top` as a terminal shows it.

Both are drawn by a headless Chromium: the page as it is, the terminal's text as HTML.
"""

import asyncio
import base64
import contextlib
import fcntl
import html
import os
import pty
import re
import struct
import tempfile
import termios
from pathlib import Path
from typing import Final

from PIL import Image

from tests.e2e.browser import Browser, browsing
from tests.e2e.cluster import Cluster, until
from tests.e2e.test_raftctl import PROGRAM, Raftctl

PAGE_WIDTH: Final = 1100
TERMINAL_WIDTH: Final = 1300
_ROWS: Final = 10
_COLUMNS: Final = 160
_FRAME: Final = re.compile(r"\x1b\[H(.*?)\x1b\[J", re.DOTALL)
"""What `raftctl top` draws each time (raftd/cli/redraw.py)."""
_FRAMES: Final = 2
_COLOURED: Final = re.compile(r"\x1b\[([\d;]*)m")
_STYLES: Final = {
    "1": "font-weight: bold",
    "2": "opacity: 0.7",
    "31": "color: #ff7b72",
    "32": "color: #6fdd8b",
    "33": "color: #e3b341",
    "36": "color: #76d9e6",
}
_LOOK: Final = (
    "margin: 0; padding: 14px 18px; background: #11161c; color: #e6edf3; font: 14px/1.35 'DejaVu Sans Mono', monospace"
)


async def take_pages(cluster: Cluster, directory: Path) -> list[Path]:
    """Take the leader's page, light and dark, and the terminal; returns the pictures."""
    leader = await cluster.leader()
    text = await top(cluster)
    light, dark, terminal = (directory / name for name in ("page-light.png", "page-dark.png", "top.png"))
    with tempfile.TemporaryDirectory(prefix="raftd-browser-") as profile:
        async with browsing(Path(profile)) as browser:
            await browser.open(f"http://{leader.addresses.http_address}/")
            await browser.shows("leader in term", "header")
            await browser.picture(light, width=PAGE_WIDTH)
            await browser.picture(dark, width=PAGE_WIDTH, dark=True)
            await draw(browser, text, terminal)
    for path in (light, dark, terminal):
        shrink(path)
    return [light, dark, terminal]


async def top(cluster: Cluster) -> str:
    """What `raftctl top` shows on a terminal, with its colours."""
    raftctl = Raftctl(cluster)
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8", "PYTHONUTF8": "1"}
    environment.pop("NO_COLOR", None)
    process = await asyncio.create_subprocess_exec(
        *(*PROGRAM, "--config", str(raftctl.config), "top"), stdin=its, stdout=its, stderr=its, env=environment
    )
    os.close(its)
    os.set_blocking(ours, False)
    seen = b""

    def drawn() -> list[str]:
        nonlocal seen
        with contextlib.suppress(BlockingIOError):
            seen += os.read(ours, 1 << 16)
        return _FRAME.findall(seen.decode(errors="ignore"))[_FRAMES - 1 :]

    try:
        await until(drawn, "raftctl top has drawn")
        return drawn()[-1].replace("\x1b[K", "").replace("\r", "").rstrip()
    finally:
        process.kill()  # it would wait until somebody reads what it says at its end
        await process.wait()
        os.close(ours)


def as_html(text: str) -> str:
    """A terminal's text, with its colours as styles."""
    parts = _COLOURED.split(text)
    shown = html.escape(parts[0])
    for codes, piece in zip(parts[1::2], parts[2::2], strict=True):
        style = "; ".join(_STYLES[code] for code in codes.split(";") if code in _STYLES)
        shown += f'<span style="{style}">{html.escape(piece)}</span>'
    return f'<!doctype html><meta charset="utf-8"><body style="margin: 0"><pre style="{_LOOK}">{shown}</pre>'


async def draw(browser: Browser, text: str, path: Path) -> None:
    """Draw a terminal in which `raftctl top` was typed."""
    page = as_html(f"$ raftctl top\n\n{text}").encode()
    await browser.open(f"data:text/html;base64,{base64.b64encode(page).decode()}")
    await browser.picture(path, width=TERMINAL_WIDTH)


def shrink(path: Path) -> None:
    """With a palette a picture has a third of the bytes, and looks the same: lines and letters need few colours."""
    with Image.open(path) as picture:
        flat = picture.convert("RGB").quantize(method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    flat.save(path, optimize=True)
