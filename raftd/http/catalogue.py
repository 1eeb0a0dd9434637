"""Every metric that raftd itself exports: one table, which `docs/metrics.md` must equal.

Most values are read from the node at scrape time: a family here says how. Histograms are observed as things happen and
so have no reader; `raftd.http.metrics` makes them.
"""

from typing import Final

from raftd.http.consensus_families import CONSENSUS_FAMILIES
from raftd.http.durations import DURATIONS
from raftd.http.node_families import NODE_FAMILIES
from raftd.http.peer_families import PEER_FAMILIES
from raftd.http.store_families import STORE_FAMILIES

FAMILIES: Final = (*DURATIONS, *CONSENSUS_FAMILIES, *STORE_FAMILIES, *PEER_FAMILIES, *NODE_FAMILIES)
