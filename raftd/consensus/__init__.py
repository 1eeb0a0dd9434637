"""Raft, pure: no I/O, no clock, no entropy, no logging."""
