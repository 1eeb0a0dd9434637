"""A closed loop of puts or linearizable gets on one etcd node: the counterpart of `raftctl bench`, and made like it.

As there, each connection keeps so many calls under way, all that came in one piece is answered by one write, keys are
spread alike, and latencies are all kept. The calls are gRPC's, as any client of etcd makes them
(`tests.bench.grpc_calls`). It is run as a process of its own by `python -m tests.bench.etcd`.
"""

import asyncio
import gc
import json
import ssl
import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Final, cast

import click

from raftd.cli.output import run_main, write
from raftd.client.config import parse_endpoint
from raftd.client.load import percentile
from raftd.errors import RemoteProtocolError
from raftd.event_loop import new_event_loop
from tests.bench.grpc_calls import UnaryCalls
from tests.bench.subjects import BenchError

_KEYS: Final = 10_000
_SPREAD: Final = 2_654_435_761
_VALUE: Final = bytes(256)
_PATHS: Final = {"put": "/etcdserverpb.KV/Put", "get": "/etcdserverpb.KV/Range"}
_BUFFER_BYTES: Final = 64 << 10
_SILENCE_SECONDS: Final = 30.0


def message(mode: str, number: int) -> bytes:
    """The `number`-th PutRequest, or the RangeRequest of one key: field 1 is the key, field 2 the value.

    Serializable, a range's field, is left out, which says linearizable.
    """
    key = b"bench/%012d" % (number * _SPREAD % _KEYS)
    fields = b"\x0a" + _varint(len(key)) + key
    return fields + b"\x12" + _varint(len(_VALUE)) + _VALUE if mode == "put" else fields


class Run:
    """What all connections share."""

    def __init__(self, mode: str, seconds: float) -> None:
        self.mode = mode
        self.seconds = seconds
        self.issued = 0
        self.began = self.ends_at = self.ended = 0.0
        self.latencies = array("d")
        self.buffer = memoryview(bytearray(_BUFFER_BYTES))

    def begin(self) -> None:
        """All connections stand: the clock starts."""
        self.began = self.ended = perf_counter()
        self.ends_at = self.began + self.seconds

    def report(self) -> dict[str, object]:
        """The fields of `raftctl bench -o json` that are asked for here."""
        ordered = sorted(self.latencies)
        seconds = self.ended - self.began
        return {
            "answered": len(ordered),
            "seconds": seconds,
            "per_second": len(ordered) / seconds if seconds else 0.0,
            "p50_seconds": percentile(ordered, 0.5),
            "p99_seconds": percentile(ordered, 0.99),
        }


class Worker(asyncio.BufferedProtocol):
    """One connection's worth of load."""

    def __init__(self, run: Run, authority: str, pipeline: int) -> None:
        self._run = run
        self._calls = UnaryCalls(authority, _PATHS[run.mode])
        self._pipeline = pipeline
        self._sent_at: dict[int, float] = {}
        self._transport: asyncio.Transport
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who speaks; calls begin with `start`."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._calls.opening())

    def start(self) -> None:
        """Fill the pipeline."""
        now = perf_counter()
        self._transport.write(b"".join([self._issue(now) for _ in range(self._pipeline)]))

    def _issue(self, now: float) -> bytes:
        run = self._run
        if now >= run.ends_at:
            return b""
        run.issued += 1
        stream, data = self._calls.call(message(run.mode, run.issued))
        self._sent_at[stream] = now
        return data

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio gives it
        """Where the next bytes go."""
        return self._run.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Note each answer, and make as many calls again, in one write."""
        now, run = perf_counter(), self._run
        try:
            ended, reply = self._calls.receive(bytes(run.buffer[:nbytes]))
            out = [reply]
            for stream in ended:
                run.latencies.append(now - self._sent_at.pop(stream))
                out.append(self._issue(now))
        except RemoteProtocolError as error:
            self._finish(BenchError(str(error)))
            return
        if ended:
            run.ended = now
        data = b"".join(out)
        if data:
            self._transport.write(data)
        if ended and not self._sent_at:
            self._finish(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio gives it
        """The connection is over: calls that are under way will not be answered."""
        self._finish(BenchError("etcd has closed a connection") if self._sent_at else None)

    def _finish(self, error: BenchError | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)
        self._transport.abort()


async def run_load(
    endpoint: str, context: Callable[[], ssl.SSLContext], run: Run, connections: int, pipeline: int
) -> None:
    """Put the load on one node. Raises: BenchError."""
    loop = asyncio.get_running_loop()
    address = parse_endpoint(endpoint)
    workers: list[Worker] = []
    for _ in range(connections):
        _, worker = await loop.create_connection(
            lambda: Worker(run, endpoint, pipeline), address.host, address.port, ssl=context()
        )
        workers.append(worker)
    run.begin()
    for worker in workers:
        worker.start()
    try:
        async with asyncio.timeout(run.seconds + _SILENCE_SECONDS):
            await asyncio.gather(*(worker.done for worker in workers))
    except TimeoutError:
        raise BenchError("etcd leaves calls unanswered") from None


@click.command()
@click.option("--endpoint", required=True, help="host:port of the node.")
@click.option("--cacert", type=click.Path(path_type=Path), required=True, help="The authority of its certificate.")
@click.option("--cert", type=click.Path(path_type=Path), required=True, help="This client's certificate.")
@click.option("--key", type=click.Path(path_type=Path), required=True, help="And its key.")
@click.option("--mode", type=click.Choice(list(_PATHS)), required=True)
@click.option("--connections", type=click.IntRange(min=1), required=True)
@click.option("--pipeline", type=click.IntRange(min=1), required=True)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), required=True)
def load(  # noqa: PLR0917 - click calls it by name
    endpoint: str, cacert: Path, cert: Path, key: Path, mode: str, connections: int, pipeline: int, seconds: float
) -> None:
    """Put or get as fast as one etcd node answers, and print the rate and the latencies as JSON."""

    def context() -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(cacert))
        made.load_cert_chain(cert, key)
        made.set_alpn_protocols(["h2"])
        return made

    run = Run(mode, seconds)
    # It makes no cycles; its own pauses would be taken for the server's.
    gc.disable()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(run_load(endpoint, context, run, connections, pipeline))
    write(json.dumps(run.report()))


def _varint(number: int) -> bytes:
    """A base-128 varint, as protocol buffers have lengths."""
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


if __name__ == "__main__":
    sys.exit(run_main(load, "etcd_load"))
