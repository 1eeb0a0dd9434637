"""The protocol, pure: frames, handshake, peer codec, client codec."""
