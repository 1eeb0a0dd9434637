"""What each user has of one node's watches, so that none can have them all."""

from raftd.wire.watch import WatchRequest


class WatchShares:
    """Counts watches, and the bytes of the ranges that they are for, by user."""

    def __init__(self, watches_max: int, range_bytes_max: int) -> None:
        """Both bounds are for each user."""
        self._watches_max = watches_max
        self._range_bytes_max = range_bytes_max
        self._shares: dict[bytes, tuple[int, int]] = {}
        """(watches, bytes of their ranges) of each user who has any."""

    def take(self, user: bytes, request: WatchRequest) -> bool:
        """Count one watch more; returns whether the user may have it, and counts nothing if not."""
        count, range_bytes = self._shares.get(user, (0, 0))
        range_bytes += _range_bytes(request)
        if count >= self._watches_max or range_bytes > self._range_bytes_max:
            return False
        self._shares[user] = count + 1, range_bytes
        return True

    def give_back(self, user: bytes, request: WatchRequest) -> None:
        """One that was taken is over."""
        count, range_bytes = self._shares[user]
        if count == 1:
            del self._shares[user]
        else:
            self._shares[user] = count - 1, range_bytes - _range_bytes(request)


def _range_bytes(request: WatchRequest) -> int:
    return len(request.low) + len(request.high)
