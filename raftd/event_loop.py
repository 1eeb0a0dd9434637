"""The event loop that raftd's programs run on."""

import asyncio


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Make uvloop's where it is installed, else asyncio's own, which is slower."""
    try:
        import uvloop  # noqa: PLC0415 - optional where no wheel fits
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
