"""The protocol, pure: frames, handshake, and what entries, peers and clients look like in bytes (docs/protocol.md)."""
