"""Locks, elections and barriers, made of nothing but the public calls of a client."""
