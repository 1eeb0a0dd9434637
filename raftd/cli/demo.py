"""`raftd demo`: a whole cluster on loopback, with certificates of its own, for a first look.

What it writes into its directory is what an operator would write: `raftd.yaml`, `pki/`, `raftctl.yaml`, and for each
node `node-N.log` and `data/N`. The nodes are child processes that end with this one, whatever ends it.
"""

import contextlib
import ctypes
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from raftd import pki
from raftd import settings as settings_package
from raftd.cli.named_path import DIRECTORY
from raftd.cli.output import OutputFormat, show_rows, warn, write
from raftd.cli.status import COLUMNS, look
from raftd.cli.whole import Whole
from raftd.client import Client, ClientConfig, ClientError
from raftd.errors import ExitCode, RaftdError, SettingsError
from raftd.settings import AccessLine, Address, Cluster, Document, Node, Settings, Tls, TlsTemplate

DEMO_NODES_MAX: Final = 7
_CLUSTER: Final = "demo"
_USER: Final = "admin"
_HOST: Final = "127.0.0.1"
_PORTS_PER_NODE: Final = 10
_START_SECONDS: Final = 60.0
"""Python alone takes seconds to start where many nodes start at once on a busy machine."""
_TRY_SECONDS: Final = 1.0
"""How long one try to write may take, before it is looked whether all nodes are still there."""
_STOP_SECONDS: Final = 15.0
_SHOWN_LOG_LINES: Final = 5
_PR_SET_PDEATHSIG: Final = 1


class DemoError(RaftdError):
    """The demo cannot go on."""


@click.command("demo", short_help="Run a whole cluster on this machine.")
@click.option(
    "--dir",
    "directory",
    type=DIRECTORY,
    default=Path("raftd-demo"),
    show_default=True,
    help="Where settings, certificates, data and logs go.",
)
@click.option("--nodes", "node_count", type=Whole(1, DEMO_NODES_MAX), default=3, show_default=True, help="How many.")
@click.option(
    "--base-port",
    type=Whole(1024, 65_000),
    default=7400,
    show_default=True,
    help="Node N takes three ports from here on, ten times N-1 further.",
)
def demo_command(directory: Path, node_count: int, base_port: int) -> int:
    """Run a whole cluster on this machine, over mutual TLS, until Ctrl-C.

    A directory that holds a demo already is used again, with its data.

    \b
    Example:
      raftd demo --dir /tmp/demo --nodes 3
      raftctl --config /tmp/demo/raftctl.yaml set greeting hello
    """
    return run_demo(directory, node_count, base_port)


def run_demo(directory: Path, node_count: int, base_port: int) -> int:
    """Write what is missing, start the nodes, show that they work, and wait for Ctrl-C.

    Raises:
        SettingsError: the directory holds a demo of another size or other ports, or something else.
        DemoError: the directory's demo runs already, or a node ended, or the cluster cannot be written to.
    """
    directory = directory.absolute()
    # SIGHUP: a closed terminal stops the nodes in order too. SIGINT: a shell's background job has it ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    with _alone_in(directory):
        settings = _prepare(directory, node_count, base_port)
        with _nodes(directory, settings) as processes:
            try:
                _show(directory, node_count, processes)
                return _wait_for_the_end(directory, processes)
            except KeyboardInterrupt:
                write("\nstopping\n")
                return ExitCode.OK


def _show(directory: Path, node_count: int, processes: dict[int, subprocess.Popen[bytes]]) -> None:
    """Say that the cluster works, once it does, how it is, and what can be done with it."""
    config = replace(ClientConfig.load(directory / "raftctl.yaml"), timeout=_TRY_SECONDS)
    with Client.from_config(config) as client:
        _wait_for_quorum(client, directory, processes)
        write(f"ready: {node_count} nodes; settings, certificates, data and logs are in {directory}\n\n")
        show_rows(look(client, config.endpoints).rows, COLUMNS, OutputFormat.TABLE)
    write(_hints(directory))


@contextlib.contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Make the directory, and hold it: a second demo in it would speak to the first one's nodes and think them its own.

    The lock is on the directory itself, so that nothing is left of it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise SettingsError(f"{error.filename or directory}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(f"a demo runs in {directory} already") from None
        yield
    finally:
        os.close(descriptor)


def _prepare(directory: Path, node_count: int, base_port: int) -> Settings:
    """The demo's settings: as they are in the directory, or new."""
    path = directory / "raftd.yaml"
    document = _document(node_count, base_port, uuid.UUID(bytes=secrets.token_bytes(16), version=4))
    if path.exists():
        settings = settings_package.load(path)
        if settings.nodes != document.nodes:
            raise SettingsError(
                f"{path} is of {len(settings.nodes)} nodes from port {settings.nodes[0].client_address.port} on; "
                "give the same --nodes and --base-port, or another --dir"
            )
        return settings
    if any(directory.iterdir()):
        raise SettingsError(f"{directory} is not empty, and holds no demo; give another --dir")
    try:
        _write_files(document, directory)
    except OSError as error:
        _empty(directory)
        raise SettingsError(f"{error.filename or directory}: {error.strerror}") from None
    except BaseException:
        _empty(directory)  # Ctrl-C in the middle: half a demo would be in the way of the next
        raise
    return settings_package.load(path)


def _write_files(document: Document, directory: Path) -> None:
    pki_directory = directory / "pki"
    pki.create_authorities(pki_directory, _CLUSTER)
    for node in document.nodes:
        pki.issue_node(pki_directory, node.id, [_HOST, "localhost"])
    user = pki.issue_user(pki_directory, _USER)
    (directory / "data").mkdir(mode=0o700)
    (directory / "raftctl.yaml").write_text(_client_configuration(document, user, directory))
    # Last: this file is what says that the others are complete.
    (directory / "raftd.yaml").write_text(settings_package.render(document))


def _empty(directory: Path) -> None:
    for entry in directory.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _document(node_count: int, base_port: int, cluster_id: uuid.UUID) -> Document:
    def node(node_id: int) -> Node:
        port = base_port + _PORTS_PER_NODE * (node_id - 1)
        return Node(node_id, Address(_HOST, port), Address(_HOST, port + 1), Address(_HOST, port + 2))

    return Document(
        cluster=Cluster(_CLUSTER, cluster_id),
        nodes=tuple(node(node_id) for node_id in range(1, node_count + 1)),
        tls=Tls(
            peer=TlsTemplate("pki/peer-ca.crt", "pki/node-{node}.peer.crt", "pki/node-{node}.peer.key"),
            client=TlsTemplate("pki/client-ca.crt", "pki/node-{node}.client.crt", "pki/node-{node}.client.key"),
        ),
        data_directory="data/{node}",
        access=(AccessLine(_USER, "", ("read", "write", "admin")),),
    )


def _client_configuration(document: Document, user: pki.KeyPairFiles, directory: Path) -> str:
    endpoints = ", ".join(str(node.client_address) for node in document.nodes)
    return (
        "# Where raftctl finds the cluster, and as whom it goes there.\n"
        f"endpoints: [{endpoints}]\n"
        "cacert: pki/client-ca.crt\n"
        f"cert: {user.certificate.relative_to(directory)}\n"
        f"key: {user.key.relative_to(directory)}\n"
    )


@contextlib.contextmanager
def _nodes(directory: Path, settings: Settings) -> Iterator[dict[int, subprocess.Popen[bytes]]]:
    """Child processes, one for each node; they are gone at the end."""
    processes: dict[int, subprocess.Popen[bytes]] = {}
    try:
        for node in settings.nodes:
            with (directory / f"node-{node.id}.log").open("ab") as log:
                processes[node.id] = subprocess.Popen(  # noqa: S603 - this very program
                    [sys.executable, "-m", "raftd", "run", "--config", str(settings.path), "--node", str(node.id)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    # Ctrl-C goes to the whole foreground group: the nodes are to be stopped by this process, in order.
                    start_new_session=True,
                    preexec_fn=_die_with_parent,  # noqa: PLW1509 - one call of prctl(2), before any thread exists
                )
        yield processes
    finally:
        for process in processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        deadline = time.monotonic() + _STOP_SECONDS
        for process in processes.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _die_with_parent() -> None:
    """Ask the kernel to stop this process when its parent ends, even by SIGKILL (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_for_quorum(client: Client, directory: Path, processes: dict[int, subprocess.Popen[bytes]]) -> None:
    """Write a key and read it back; fails as soon as a node has ended."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        _check_alive(directory, processes)
        try:
            client.put("raftd/demo", "ready")
            found = client.get("raftd/demo")
        except ClientError as error:
            if time.monotonic() > deadline:
                logs = ", ".join(f"node-{node_id}.log" for node_id in processes)
                raise DemoError(
                    f"the nodes run, but nothing could be written for {_START_SECONDS:g} s: {error}\n"
                    f"what they say is in {logs}, in {directory}"
                ) from None
        else:
            if found is None or found.value != b"ready":
                raise DemoError("the key that was just written is not there")
            return


def _wait_for_the_end(directory: Path, processes: dict[int, subprocess.Popen[bytes]]) -> int:
    """Stay until Ctrl-C or until no node is left; tell of each node that ends."""
    ended: set[int] = set()
    while len(ended) < len(processes):
        for node_id, process in processes.items():
            if node_id not in ended and process.poll() is not None:
                ended.add(node_id)
                warn("raftd demo", f"node {node_id} has ended, {_how(process.returncode)}; see node-{node_id}.log")
        time.sleep(0.2)
    warn("raftd demo", f"no node is left; the logs are in {directory}")
    return ExitCode.ERROR


def _check_alive(directory: Path, processes: dict[int, subprocess.Popen[bytes]]) -> None:
    for node_id, process in processes.items():
        if process.poll() is not None:
            log = directory / f"node-{node_id}.log"
            lines = log.read_text(errors="replace").splitlines()[-_SHOWN_LOG_LINES:]
            raise DemoError("\n".join([f"node {node_id} has ended, {_how(process.returncode)}; its log says:", *lines]))


def _how(returncode: int) -> str:
    return f"by {signal.Signals(-returncode).name}" if returncode < 0 else f"with exit code {returncode}"


def _hints(directory: Path) -> str:
    raftctl = f"{_shown(Path(sys.executable).parent / 'raftctl')} --config {_shown(directory / 'raftctl.yaml')}"
    return (
        "\nTry, in another terminal:\n"
        f"  {raftctl} set greeting hello\n"
        f"  {raftctl} get greeting\n"
        f"  {raftctl} status --watch\n"
        "\nCtrl-C stops the cluster; the data stays, and `raftd demo` goes on with it.\n"
    )


def _shown(path: Path) -> str:
    """A path as one would type it from here."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def _interrupt(number: int, frame: object) -> None:  # noqa: ARG001 - a signal handler's signature
    raise KeyboardInterrupt
