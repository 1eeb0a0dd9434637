"""Asyncio networking: TLS contexts, peer links, client listener."""
