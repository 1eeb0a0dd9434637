"""The metrics of the store and its clients: keys, history, sessions, leases, watches, connections, and their bounds."""

from typing import Final

from raftd.http.family import counter, counter_by, gauge

STORE_FAMILIES: Final = (
    gauge("raftd_revision", "The store's revision.", lambda s: s.revision),
    gauge("raftd_keys", "Keys in the store.", lambda s: s.keys),
    gauge("raftd_keys_max", "With as many keys, writes that add to them are refused.", lambda s: s.keys_max),
    gauge("raftd_data_bytes", "Size of all keys and values.", lambda s: s.data_bytes),
    gauge(
        "raftd_data_bytes_max",
        "With as many bytes, writes that add to them are refused.",
        lambda s: s.data_bytes_max,
    ),
    gauge(
        "raftd_compacted_revision", "Changes up to this revision are no longer held.", lambda s: s.compacted_revision
    ),
    gauge("raftd_history_changes", "Changes that are held for watches and histories.", lambda s: s.history_changes),
    gauge("raftd_history_changes_max", "With more changes, the oldest are let go.", lambda s: s.bounds.history_changes),
    gauge("raftd_history_bytes", "Size of what is held for watches and histories alone.", lambda s: s.history_bytes),
    gauge(
        "raftd_history_bytes_max", "With more bytes, the oldest changes are let go.", lambda s: s.bounds.history_bytes
    ),
    gauge("raftd_sessions", "Open client sessions.", lambda s: s.sessions),
    gauge("raftd_sessions_max", "With as many sessions, no further one is opened.", lambda s: s.bounds.sessions),
    counter(
        "raftd_sessions_expired_total",
        "Sessions that have expired since the cluster began, as of the last applied entry.",
        lambda c: c.sessions_expired,
    ),
    gauge("raftd_leases", "Leases that are alive.", lambda s: s.leases),
    gauge("raftd_leases_max", "With as many leases, no further one is granted.", lambda s: s.bounds.leases),
    gauge("raftd_lease_keys", "Keys that end with a lease.", lambda s: s.lease_keys),
    counter(
        "raftd_leases_expired_total",
        "Leases that this node, as leader, has proposed to end.",
        lambda c: c.leases_expired,
    ),
    gauge("raftd_watches", "Watches on this node.", lambda s: s.watches),
    gauge(
        "raftd_watches_max", "With as many watches on this node, a further one is refused.", lambda s: s.bounds.watches
    ),
    gauge(
        "raftd_watches_behind",
        "Watches that read the history: they began in the past, or their clients read too slowly.",
        lambda s: s.watches_behind,
    ),
    gauge(
        "raftd_watches_stalled",
        "Watches that are told nothing until their clients have read what waits for them.",
        lambda s: s.watches_stalled,
    ),
    counter(
        "raftd_watch_changes_total",
        "Changes told to watches, each as often as it was told.",
        lambda c: c.watch_changes,
    ),
    counter_by(
        "reason",
        "raftd_watches_ended_total",
        "Watches that the node has ended by itself: what they lacked was no longer held, or there were too many.",
        compacted=lambda c: c.watches_compacted,
        too_many=lambda c: c.watches_refused,
    ),
    gauge("raftd_connections", "Client connections.", lambda s: s.connections),
    gauge(
        "raftd_connections_max",
        "With as many client connections, a further one is closed.",
        lambda s: s.bounds.connections,
    ),
    counter_by(
        "outcome",
        "raftd_connections_total",
        "Client connections so far: accepted, or ended before they had passed their handshakes.",
        accepted=lambda c: c.connections_accepted,
        refused=lambda c: c.connections_refused,
    ),
)
