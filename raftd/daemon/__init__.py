"""The composition root: builds a node from its settings, runs it under systemd or a terminal, stops it."""
