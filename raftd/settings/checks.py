"""What must fit together in a `raftd.yaml`, once each value fits by itself.

Each check looks at what could be read, so that one broken value hides no mistake elsewhere.
"""

from collections.abc import Iterator

from raftd.settings.reader import Reading
from raftd.settings.report import Place
from raftd.settings.schema import Timing
from raftd.wire.address import Address
from raftd.wire.duration import show_duration

PORT_NAMES = ("client", "peer", "http")


def check(reading: Reading) -> None:
    """Note whatever does not fit together."""
    nodes = list(_nodes(reading))
    _check_node_ids(reading, nodes)
    _check_voters(reading, nodes)
    _check_addresses(reading, nodes)
    _check_binding(reading, nodes)
    _check_timing(reading)
    _check_access(reading)


def _nodes(reading: Reading) -> Iterator[tuple[str, int | None, dict[str, Address]]]:
    """Of each node its path, its id and its addresses by port name, as far as they could be read."""
    position = 0
    while (path := f"nodes[{position}]") in reading.places:
        addresses = {name: reading.value(f"{path}.{name}_address", None) for name in PORT_NAMES}
        node_id = reading.value(f"{path}.id", None)
        yield path, node_id, {name: address for name, address in addresses.items() if address is not None}
        position += 1


def _check_node_ids(reading: Reading, nodes: list[tuple[str, int | None, dict[str, Address]]]) -> None:
    seen: dict[int, int] = {}
    for path, node_id, _ in nodes:
        if node_id is None:
            continue
        place = reading.places[f"{path}.id"]
        if node_id in seen:
            reading.report.problem(place, f"{path}.id {node_id} is given twice; first on line {seen[node_id] + 1}")
        seen.setdefault(node_id, place.line)


def _check_voters(reading: Reading, nodes: list[tuple[str, int | None, dict[str, Address]]]) -> None:
    """The cluster must be able to start, without those that wait to be added."""
    joins = [reading.value(f"{path}.joins", default=False) for path, _, _ in nodes]
    leads = [not reading.value(f"{path}.no_lead", default=False) for path, _, _ in nodes]
    if not nodes or None in joins:
        return
    voters = joins.count(False)
    if not voters:
        reading.report.problem(
            reading.places["nodes"],
            "every node joins, and there is none to start the cluster; leave `joins` out of one",
        )
    elif not any(lead and not join for lead, join in zip(leads, joins, strict=True)):
        reading.report.problem(
            reading.places["nodes"], "every node to start with has no_lead, and so the cluster would have no leader"
        )
    elif voters % 2 == 0:
        reading.report.warning(
            reading.places["nodes"],
            f"{voters} voters tolerate the loss of {(voters - 1) // 2}, as {voters - 1} would; take an odd number",
        )


def _check_addresses(reading: Reading, nodes: list[tuple[str, int | None, dict[str, Address]]]) -> None:
    seen: dict[Address, str] = {}
    for path, _, addresses in nodes:
        for name, address in addresses.items():
            key = f"{path}.{name}_address"
            place = reading.places[key]
            if address.is_wildcard:
                reading.report.problem(
                    place, f"{key} {address} cannot be connected to; to bind to every address, set listen.{name}"
                )
            elif address in seen:
                reading.report.problem(place, f"{key} {address} is taken already by {seen[address]}")
            seen.setdefault(address, key)


def _check_binding(reading: Reading, nodes: list[tuple[str, int | None, dict[str, Address]]]) -> None:
    """No two ports of one node may be bound to the same address; what the check above has found is not said again."""
    listen = {name: reading.value(f"listen.{name}", None) for name in PORT_NAMES}
    for path, node_id, addresses in nodes:
        bound = {
            name: (address, f"listen.{name}" if listen[name] else f"{path}.{name}_address")
            for name in PORT_NAMES
            if (address := listen[name] or addresses.get(name)) is not None
        }
        pairs = [(first, second) for first in PORT_NAMES for second in PORT_NAMES if first < second]
        for first, second in pairs:
            if first not in bound or second not in bound or not (listen[first] or listen[second]):
                continue
            (one, one_key), (other, other_key) = bound[first], bound[second]
            if one.port == other.port and (one.host == other.host or one.is_wildcard or other.is_wildcard):
                shown = f"node {node_id}" if node_id is not None else path
                later, earlier = (one_key, other_key) if one_key.startswith("listen") else (other_key, one_key)
                reading.report.problem(
                    reading.places[later], f"{later} binds port {one.port} of {shown}, which {earlier} binds too"
                )
    _check_shared_hosts(reading, nodes, listen)


def _check_shared_hosts(
    reading: Reading,
    nodes: list[tuple[str, int | None, dict[str, Address]]],
    listen: dict[str, Address | None],
) -> None:
    """Nodes of one machine, as demonstrations and tests have them, can share neither port nor directory."""
    hosts = [addresses["peer"].host for _, _, addresses in nodes if "peer" in addresses]
    shared = next((host for host in hosts if hosts.count(host) > 1), None)
    if shared is None:
        return
    for name in PORT_NAMES:
        if listen[name] is not None:
            reading.report.warning(
                reading.places[f"listen.{name}"],
                f"listen.{name} is one address for all nodes, but several are on {shared}: only one can bind it",
            )
    directory = reading.value("data_directory", None)
    if directory is not None and "{node}" not in directory:
        reading.report.warning(
            reading.places["data_directory"],
            f"data_directory has no {{node}}, but several nodes are on {shared}: only one can use it",
        )


def _check_timing(reading: Reading) -> None:
    default = Timing()
    tick = reading.value("timing.tick", default.tick_seconds)
    heartbeat = reading.value("timing.heartbeat", default.heartbeat_seconds)
    election = reading.value("timing.election_timeout", default.election_timeout_seconds)
    for key, seconds in (("timing.heartbeat", heartbeat), ("timing.election_timeout", election)):
        if tick is None or seconds is None:
            continue
        if round(seconds * 1000) % round(tick * 1000):
            place = _first_place(reading, key, "timing.tick")
            shown = f"{show_duration(seconds)} is no multiple of timing.tick, {show_duration(tick)}"
            reading.report.problem(place, f"{key} {shown}")
    if heartbeat is not None and election is not None and election <= 2 * heartbeat:
        place = _first_place(reading, "timing.election_timeout", "timing.heartbeat")
        reading.report.problem(
            place,
            f"timing.election_timeout {show_duration(election)} must be more than two heartbeats of "
            f"{show_duration(heartbeat)}, or one that is lost elects a new leader",
        )


def _check_access(reading: Reading) -> None:
    seen: dict[tuple[str, str], int] = {}
    position = 0
    while (path := f"access[{position}]") in reading.places:
        user, prefix = reading.value(f"{path}.user", None), reading.value(f"{path}.prefix", None)
        allow = reading.value(f"{path}.allow", None)
        if allow is not None and len(set(allow)) < len(allow):
            reading.report.problem(reading.places[f"{path}.allow"], f"{path}.allow names one right twice")
        if allow is not None and "admin" in allow and prefix:
            reading.report.problem(
                reading.places[f"{path}.prefix"],
                f'{path} allows admin, which is about the cluster and not about keys: only with the prefix ""',
            )
        if user is not None and prefix is not None:
            place = reading.places[path]
            if (user, prefix) in seen:
                first = seen[user, prefix] + 1
                reading.report.problem(place, f"{path} is about the same user and prefix as line {first}; join them")
            seen.setdefault((user, prefix), place.line)
        position += 1
    if "access" not in reading.places:
        reading.report.warning(_first_place(reading, "cluster"), "there is no access: every client will be refused")


def _first_place(reading: Reading, *keys: str) -> Place:
    return next((reading.places[key] for key in keys if key in reading.places), Place(0, 0))
