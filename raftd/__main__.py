"""`python -m raftd` is `raftd`."""

from raftd.cli.entry import raftd

raftd()
