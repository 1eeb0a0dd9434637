"""The command lines raftd and raftctl."""
