"""`python -m raftd` is `raftd`."""

from raftd.cli.raftd import main

main()
