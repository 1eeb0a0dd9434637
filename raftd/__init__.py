"""A Raft-replicated key-value daemon."""
