"""Builds raftd's packages; part of the source tree only, never installed."""
