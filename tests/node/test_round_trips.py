from raftd.consensus.types import NodeId
from raftd.node.round_trips import RoundTrips

PEER = NodeId(2)
OTHER = NodeId(3)


def test_an_answer_ends_a_round_trip() -> None:
    """The time from a heartbeat to the answer to it is observed for its peer, and is the latest."""
    seen: list[tuple[NodeId, float]] = []
    trips = RoundTrips(lambda peer, seconds: seen.append((peer, seconds)))
    trips.sent(PEER, 1, 10.0)
    trips.sent(OTHER, 1, 10.0)
    trips.sent(PEER, 2, 10.5)
    trips.answered(PEER, 1, 11.0)
    assert seen == [(PEER, 1.0)]
    assert (trips.latest_seconds(PEER), trips.latest_seconds(OTHER)) == (1.0, None)


def test_a_lost_heartbeat_is_no_long_round_trip() -> None:
    """An answer to a later heartbeat says that the one observed was lost: nothing is observed, and the next one is."""
    seen: list[float] = []
    trips = RoundTrips(lambda _, seconds: seen.append(seconds))
    trips.sent(PEER, 1, 10.0)
    trips.sent(PEER, 2, 20.0)
    trips.answered(PEER, 2, 20.5)
    trips.sent(PEER, 3, 30.0)
    trips.answered(PEER, 3, 30.25)
    assert seen == [0.25]


def test_a_new_leadership_begins_anew() -> None:
    """What an earlier leadership sent has no answer any more, and a follower tells of no round trips."""
    trips = RoundTrips()
    trips.sent(PEER, 5, 10.0)
    trips.answered(PEER, 5, 10.5)
    trips.sent(PEER, 6, 11.0)
    trips.forget()
    trips.answered(PEER, 6, 11.5)
    assert trips.latest_seconds(PEER) is None
    trips.sent(PEER, 1, 12.0)
    trips.answered(PEER, 1, 12.125)
    assert trips.latest_seconds(PEER) == 0.125
