import random
from itertools import count

import pytest

from raftd.errors import RemoteProtocolError
from raftd.kv.ranges import prefix_end
from raftd.wire.client import ResponseKind
from raftd.wire.watch import WatchEnd, WatchEndReason, WatchFlag, WatchRequest
from tests.node.watch_parts import FakeConnection, Follower, Node, as_connection, told

MEBIBYTE = 1 << 20


def prefix(text: bytes) -> tuple[bytes, bytes]:
    return text, prefix_end(text)


def test_a_watch_is_told_what_happens_in_its_range_from_now_on() -> None:
    """In the turn in which it happens, in order, and nothing else."""
    node = Node()
    node.machine.change((b"a/1", b"before"))
    follower = node.watch(node.connect(), *prefix(b"a/"))
    node.settle()
    assert (follower.revision, follower.changes) == (1, [])
    node.machine.change((b"a/1", b"x"), (b"b/1", b"no"), (b"a/0", b"y"))
    node.machine.change((b"a/1", None))
    node.turn()
    assert told(follower) == [(2, b"a/1", False), (2, b"a/0", False), (3, b"a/1", True)]
    assert [change.value for change in follower.changes] == [b"x", b"y", None]
    assert (follower.revision, follower.is_partial) == (3, False)


@pytest.mark.parametrize(
    ("low", "high"),
    [(b"k", b"k\0"), (b"k", b"l"), (b"", b""), (b"j", b"k2"), (b"", b"k\0"), (b"k", b"")],
    ids=["key", "prefix", "all", "range", "up to", "from"],
)
def test_every_kind_of_range(low: bytes, high: bytes) -> None:
    """One key, a prefix, all keys, and whatever else lies between two bounds."""
    node = Node()
    follower = node.watch(node.connect(), low, high)
    for key in (b"", b"j", b"k", b"k1", b"k2", b"l"):
        node.machine.change((key, b"value"))
    node.settle()
    assert told(follower) == node.expected(follower.request, 0, 6)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (WatchFlag(0), [(b"1", None), (b"2", None), (None, None)]),
        (WatchFlag.PREVIOUS, [(b"1", None), (b"2", b"1"), (None, b"2")]),
        (WatchFlag.NO_PUTS | WatchFlag.PREVIOUS, [(None, b"2")]),
        (WatchFlag.NO_DELETES, [(b"1", None), (b"2", None)]),
        (WatchFlag.KEYS_ONLY, [(None, None), (None, None), (None, None)]),
    ],
)
def test_flags(flags: WatchFlag, expected: list[tuple[bytes | None, bytes | None]]) -> None:
    """What is told of a change, and of which changes."""
    node = Node()
    follower = node.watch(node.connect(), *prefix(b"k"), flags=flags)
    for value in (b"1", b"2", None):
        node.machine.change((b"key", value))
    node.settle()
    assert [(change.value, change.previous and change.previous.value) for change in follower.changes] == expected
    assert follower.revision == 3


def test_a_watch_begins_in_the_past() -> None:
    """With the revision that it asks for; then it goes on with what happens."""
    node = Node(read_max=3)
    for number in range(1, 21):
        node.machine.change((b"key%d" % number, b"value"))
    connection = node.connect()
    followers = [node.watch(connection, start=start) for start in (1, 7, 20, 21)]
    node.hear()
    assert [follower.revision for follower in followers] == [0, 6, 19, 20]
    node.settle()
    node.machine.change((b"key", b"value"))
    node.settle()
    for follower, after in zip(followers, (0, 6, 19, 20), strict=True):
        assert told(follower) == node.expected(follower.request, after, 21)


def test_a_start_that_is_not_held_or_not_there_yet() -> None:
    """Ends the watch before it begins, and says where the history begins or ends."""
    node = Node()
    for _ in range(10):
        node.machine.change((b"key", b"value"))
    node.machine.compact(4)
    connection = node.connect()
    followers = [node.watch(connection, start=start) for start in (4, 5, 11, 12)]
    node.settle()
    assert followers[0].end == WatchEnd(WatchEndReason.COMPACTED, 4)
    assert [followers[at].end for at in (1, 2)] == [None, None]
    assert followers[3].end == WatchEnd(WatchEndReason.FUTURE_REVISION, 10)
    assert node.watches.count == 2


def test_a_slow_client_holds_up_nobody_and_goes_on_where_it_was() -> None:
    """What it does not read is not kept for it; when it reads again it is told the rest, in pieces."""
    node = Node(read_max=5)
    fast, slow = node.connect(), node.connect()
    followers = node.watch(fast), node.watch(slow)
    node.machine.change((b"key", b"value"))
    node.settle()
    slow.waiting_bytes = 2 * MEBIBYTE
    for _ in range(50):
        node.machine.change((b"key", b"value"))
        node.settle()
    assert (followers[0].revision, followers[1].revision) == (51, 1)
    assert (node.watches.behind_count, node.watches.stalled_count) == (1, 1)
    node.tick()
    assert followers[1].revision == 1
    slow.waiting_bytes = 0
    node.tick()
    node.settle()
    assert told(followers[1]) == told(followers[0]) == node.expected(followers[0].request, 0, 51)
    assert (node.watches.behind_count, node.watches.stalled_count) == (0, 0)


def test_who_is_behind_and_stops_reading_is_told_no_more() -> None:
    """A watch from the past is by itself until it has caught up; its bound is the same meanwhile."""
    node = Node(read_max=5)
    for _ in range(50):
        node.machine.change((b"key", b"value"))
    node.settle()
    slow = node.connect()
    follower = node.watch(slow, start=1)
    while follower.revision < 10:
        node.turn()
    slow.waiting_bytes = 2 * MEBIBYTE
    told_upto = follower.revision
    node.settle()
    assert (follower.revision, node.watches.stalled_count) == (told_upto, 1)
    slow.waiting_bytes = 0
    node.tick()
    node.settle()
    assert told(follower) == node.expected(follower.request, 0, 50)


def test_a_slow_client_whose_next_change_is_gone_is_told_so() -> None:
    """And the others are not."""
    node = Node()
    fast, slow = node.connect(), node.connect()
    followers = node.watch(fast), node.watch(slow)
    slow.waiting_bytes = 2 * MEBIBYTE
    for _ in range(9):
        node.machine.change((b"key", b"value"))
        node.settle()
    node.machine.compact(5)
    slow.waiting_bytes = 0
    node.tick()
    node.settle()
    assert followers[1].end == WatchEnd(WatchEndReason.COMPACTED, 5)
    assert followers[0].end is None
    assert node.watches.count == 1


def test_more_than_is_held_in_one_turn_ends_all() -> None:
    """Whoever was told all up to then cannot be told the rest; who comes later is."""
    node = Node()
    followers = [node.watch(node.connect(), low, high) for low, high in ((b"", b""), (b"k", b"k\0"), (b"a", b"c"))]
    node.settle()
    for _ in range(9):
        node.machine.change((b"key", b"value"))
    node.machine.compact(9)
    node.settle()
    assert [follower.end for follower in followers] == [WatchEnd(WatchEndReason.COMPACTED, 9)] * 3
    late = node.watch(node.connect())
    node.machine.change((b"key", b"value"))
    node.settle()
    assert told(late) == [(10, b"key", False)]


def test_a_large_revision_comes_in_parts() -> None:
    """Each but the last says that there is more of it; watches that it does not concern any more hear its end too."""
    node = Node(body_bytes_max=1000, read_max=7, matched_max=10)
    connection = node.connect()
    everything = node.watch(connection)
    beginning = node.watch(connection, *prefix(b"0"))
    node.machine.change(*((b"%02d" % number, b"v" * 300) for number in range(40)))
    partial = []
    while node.turn():
        partial.append((everything.is_partial, beginning.is_partial))
    for follower in (everything, beginning):
        assert told(follower) == node.expected(follower.request, 0, 1)
        assert (follower.revision, follower.is_partial) == (1, False)
    assert (True, True) in partial
    node.machine.change((b"key", b"value"))
    node.settle()
    assert told(everything)[-1] == (2, b"key", False)


def test_a_single_change_may_be_longer_than_a_body() -> None:
    """It goes alone."""
    node = Node(body_bytes_max=1000)
    follower = node.watch(node.connect())
    node.machine.change((b"a", b"v"))
    node.machine.change((b"b", b"v" * 5000))
    node.machine.change((b"c", b"v" * 5000))
    node.settle()
    assert [key for _, key, _ in told(follower)] == [b"a", b"b", b"c"]


def test_the_same_watched_by_many_is_encoded_once() -> None:
    """The members of a feed are sent one body, the very same object."""
    node = Node()
    connections = [node.connect() for _ in range(5)]
    for connection in connections:
        node.watch(connection, *prefix(b"k"))
        connection.take()
    node.machine.change((b"key", b"value"))
    node.watches.turn()
    assert len({id(connection.sent[1]) for connection in connections}) == 1


def test_work_in_one_turn_is_bounded() -> None:
    """With very many watches of one key a turn tells some of them; what happens meanwhile goes into longer frames."""
    node = Node()
    followers = [node.watch(node.connect(), b"k", b"k\0") for _ in range(2000)]
    node.settle()
    node.machine.change((b"k", b"value"))
    assert node.turn()
    told_first = sum(bool(follower.changes) for follower in followers)
    assert 100 <= told_first < 1000
    for _ in range(20):
        node.machine.change((b"k", b"value"))
        node.turn()
    frames_before = node.watches.told_total
    node.settle()
    assert node.watches.told_total == 2000 * 21 > frames_before
    assert all(told(follower) == node.expected(follower.request, 0, 21) for follower in followers)


def test_a_watch_that_joins_in_the_middle_of_a_round_is_told_it() -> None:
    """It has come as far as the others had when the round began, and so it is told what they are being told."""
    node = Node(turn_work=20)
    others = [node.watch(node.connect()) for _ in range(20)]
    node.settle()
    node.machine.change((b"a", b"1"))
    assert node.turn()
    assert 0 < sum(bool(other.changes) for other in others) < len(others)
    late = node.watch(node.connect(), start=node.machine.revision)
    node.settle()
    assert [told(each) for each in (late, *others)] == [[(1, b"a", False)]] * 21


@pytest.mark.parametrize("turn_work", [1, 3, 4, 5])
def test_those_who_wait_for_a_feed_do_not_use_up_its_turns(turn_work: int) -> None:
    """However little is done in one turn, a feed behind watches that are ahead of it tells somebody each time."""
    node = Node(turn_work=turn_work)
    others = [node.watch(node.connect()) for _ in range(3)]
    node.settle()
    node.machine.change((b"a", b"1"))
    node.turn()
    late = node.watch(node.connect())
    node.settle(turns_max=50)
    assert [told(other) for other in others] == [[(1, b"a", False)]] * 3
    node.machine.change((b"a", b"2"))
    node.settle(turns_max=50)
    assert told(late) == [(2, b"a", False)]


def test_unwatching() -> None:
    """Ends the watch, and says so; one that there is not is nothing to say of."""
    node = Node()
    connection = node.connect()
    follower = node.watch(connection)
    node.watches.cancel(as_connection(connection), 1)
    node.watches.cancel(as_connection(connection), 1)
    node.watches.cancel(as_connection(connection), 77)
    node.machine.change((b"key", b"value"))
    node.settle()
    assert (follower.end, follower.changes) == (WatchEnd(WatchEndReason.CANCELLED, 0), [])
    assert node.watches.count == 0


def test_one_that_waits_for_its_confirmation_can_be_ended() -> None:
    """Then it does not begin, whatever comes of the confirmation."""
    node = Node()
    connection = as_connection(node.connect())
    watches = [
        node.watches.admit(connection, request_id, WatchRequest(WatchFlag(0), 0, b"", b"")) for request_id in (1, 2)
    ]
    assert None not in watches
    node.watches.cancel(connection, 1)
    for watch in watches:
        assert watch is not None
        assert node.watches.forget(watch) == (watch.request_id == 2)
        node.watches.register(watch)
    assert [(request_id, kind) for request_id, kind, _ in connection.take()] == [(1, ResponseKind.WATCH_ENDED)]  # type: ignore[attr-defined]  # a fake
    assert node.watches.count == 0


def test_two_watches_of_one_id_end_the_connection() -> None:
    """Nobody could tell which of them is told something."""
    node = Node()
    connection = as_connection(node.connect())
    request = WatchRequest(WatchFlag(0), 0, b"", b"")
    node.watches.admit(connection, 1, request)
    with pytest.raises(RemoteProtocolError):
        node.watches.admit(connection, 1, request)


def test_bounds() -> None:
    """On one connection, and on the node."""
    node = Node(per_connection_max=2, watches_max=3)
    one, other = node.connect(), node.connect()
    followers = [node.watch(connection) for connection in (one, one, one, other, other)]
    node.settle()
    too_many = WatchEnd(WatchEndReason.TOO_MANY, 0)
    assert [follower.end for follower in followers] == [None, None, too_many, None, too_many]
    assert node.watches.ended_total[WatchEndReason.TOO_MANY] == 2


def test_bounds_of_each_user() -> None:
    """One user's watches count on all of his connections, and are given back at the end of one; another has his own."""
    node = Node(per_connection_max=2, per_user_max=3, range_bytes_per_user_max=10)
    one, other, bobs = node.connect(), node.connect(), node.connect(b"bob")
    too_many = WatchEnd(WatchEndReason.TOO_MANY, 0)
    followers = [node.watch(connection, b"k", b"l") for connection in (one, one, other, other, bobs, bobs)]
    node.settle()
    assert [follower.end for follower in followers] == [None, None, None, too_many, None, None]
    node.watches.close(as_connection(one))
    node.settle()
    long, short = node.watch(other, b"k" * 4, b"l" * 5), node.watch(other, b"k" * 4, b"l" * 4)
    node.settle()
    assert (long.end, short.end) == (too_many, None)
    for connection in (other, bobs):
        node.watches.close(as_connection(connection))
    node.settle()
    assert node.watches._shares._shares == {}


def test_a_closed_connection_leaves_nothing() -> None:
    """Whatever its watches were doing, and the others go on."""
    node = Node()
    gone, stays = node.connect(), node.connect()
    for low, high in ((b"", b""), (b"k", b"k\0"), (b"a", b"c"), (b"k", b"l")):
        node.watch(gone, low, high)
    node.watch(gone, flags=WatchFlag.PROGRESS)
    node.watches.admit(as_connection(gone), 99, WatchRequest(WatchFlag(0), 0, b"", b""))
    follower = node.watch(stays)
    node.settle()
    gone.waiting_bytes = 2 * MEBIBYTE
    node.machine.change((b"k", b"value"))
    node.settle()
    node.watches.close(as_connection(gone))
    node.machine.change((b"k", b"value"))
    node.settle()
    node.tick(20.0)
    watches = node.watches
    assert (watches.count, watches.behind_count, watches.stalled_count) == (1, 0, 0)
    assert (len(watches._feeds), len(watches._watches), len(watches._marked)) == (1, 1, 0)
    assert told(follower) == [(1, b"k", False), (2, b"k", False)]


def test_a_node_that_stops_says_so_to_all() -> None:
    """Some in each turn; and to whoever still comes."""
    node = Node(turn_work=20)
    followers = [node.watch(node.connect()) for _ in range(30)]
    connection = FakeConnection()
    waiting = node.watches.admit(as_connection(connection), 99, WatchRequest(WatchFlag(0), 0, b"", b""))
    node.watches.stop()
    assert node.watches.is_ending
    node.settle()
    assert waiting is not None
    node.watches.register(waiting)
    assert {follower.end for follower in followers} == {WatchEnd(WatchEndReason.NODE_STOPPING, 0)}
    assert [said.reason for _, _, said in connection.take()] == [WatchEndReason.NODE_STOPPING]
    assert (node.watches.count, node.watches.is_ending) == (0, False)


def test_a_node_that_hears_no_leader_for_long_sends_its_watches_elsewhere() -> None:
    """An election is no reason; to be cut off is one, also for those that come before a leader is there again."""
    node = Node(unled_seconds=10.0)
    follower = node.watch(node.connect(), *prefix(b"a/"))
    for is_led in (False, True, False):
        for _ in range(10):
            node.tick(1.0, is_led=is_led)
            node.settle()
    assert follower.end is None
    node.tick(1.0, is_led=False)
    node.settle()
    assert follower.end == WatchEnd(WatchEndReason.NODE_STOPPING, 0)
    late = node.watch(node.connect(), *prefix(b"a/"))
    node.tick(9.0, is_led=False)
    node.settle()
    assert late.end is None
    node.tick(1.0, is_led=False)
    node.settle()
    assert late.end == WatchEnd(WatchEndReason.NODE_STOPPING, 0)
    assert node.watches.count == 0


def test_progress_marks() -> None:
    """About once a second while there is progress, and every ten seconds anyway; only to those that want them."""
    node = Node()
    connection = node.connect()
    marked = node.watch(connection, b"a", b"b", flags=WatchFlag.PROGRESS)
    behind = node.watch(connection, b"a", b"az", flags=WatchFlag.PROGRESS)
    silent = node.watch(connection, b"a", b"b")
    node.settle()
    for second in range(1, 4):
        node.machine.change((b"k", b"value"))
        node.settle()
        for _ in range(21):
            node.tick()
        assert (marked.revision, behind.revision, silent.revision) == (second, second, 0)
    node.hear()
    for _ in range(9 * 20):
        node.tick()
        assert not connection.sent
    before = node.now
    while node.now < before + 2:
        node.now += 0.05
        node.watches.tick(is_led=True)
    marks = [(request_id, said[0]) for request_id, _, said in connection.take()]
    assert marks == [(1, (3, False, 0)), (2, (3, False, 0))]


def test_a_mark_never_says_more_than_was_told() -> None:
    """A watch that is behind is told how far it has come itself."""
    node = Node(read_max=1)
    connection = node.connect()
    slow = node.watch(connection, flags=WatchFlag.PROGRESS)
    connection.waiting_bytes = 2 * MEBIBYTE
    for _ in range(5):
        node.machine.change((b"key", b"value"))
        node.settle()
    connection.waiting_bytes = 0
    node.tick()
    while node.turn():
        node.tick(2.0)
        assert len(slow.changes) == slow.revision
    assert slow.revision == 5


KEYS = [b"%c/%d" % (letter, number) for letter in b"abc" for number in range(4)]
BOUNDS = [b"", b"a", b"a/", b"a/1", b"a/1\0", b"a0", b"b", b"b/2", b"c/", b"c0", b"zz"]
FLAGS = [
    WatchFlag(0), WatchFlag.PREVIOUS, WatchFlag.NO_PUTS, WatchFlag.NO_DELETES, WatchFlag.KEYS_ONLY, WatchFlag.PROGRESS,
    WatchFlag.PROGRESS | WatchFlag.NO_PUTS,
]  # fmt: skip


class Model:
    """Random ranges, flags, slow clients, compaction and snapshots, against the log's own order."""

    def __init__(self, seed: int) -> None:
        self.draw = draw = random.Random(seed)
        self.node = Node(
            body_bytes_max=draw.choice([1, 200, 5000]),
            pending_max=draw.choice([1, 4, 1000]),
            read_max=draw.choice([1, 3, 1000]),
            matched_max=draw.choice([1, 2, 5, 1000]),
            parts_max=draw.choice([0, 1, 16]),
            prefix_lengths_max=draw.choice([0, 1, 2, 16]),
            turn_work=draw.choice([5, 40, 2000]),
        )
        self.connections: list[FakeConnection] = []
        self.began: dict[int, int] = {}
        self.all_of: dict[int, list[Follower]] = {}

    def step(self) -> None:
        draw, node, machine = self.draw, self.node, self.node.machine
        action = draw.choices(
            ["change", "turn", "watch", "tick", "slow", "connect", "compact", "cancel", "close", "restore"],
            [40, 40, 12, 10, 8, 3, 2, 3, 1, 1],
        )[0]
        if action == "change":
            keys = draw.sample(KEYS, draw.choice([0, 1, 1, 1, 2, 7]))
            machine.change(*((key, draw.choice([None, b"v" * draw.randrange(200)])) for key in keys))
        elif action == "turn":
            node.turn()
        elif action == "tick":
            node.tick(draw.choice([0.05, 1.0, 10.0]))
        elif action == "connect" or not self.connections:
            self.connections.append(node.connect())
        elif action == "watch":
            self.watch(draw.choice(self.connections))
        elif action == "slow":
            draw.choice(self.connections).waiting_bytes = draw.choice([0, 2 * MEBIBYTE])
        elif action == "compact":
            machine.compact(draw.randint(machine.history.compacted_revision, machine.revision))
        elif action == "cancel":
            request_id = draw.randint(1, node._next_id + 1)
            node.watches.cancel(as_connection(draw.choice(self.connections)), request_id)
            node.hear()
        elif action == "close":
            connection = self.connections.pop(draw.randrange(len(self.connections)))
            node.hear()
            node.watches.close(as_connection(connection))
            del node.connections[id(connection)]
            self.all_of.pop(id(connection), None)
        else:
            machine.restore()

    def watch(self, connection: FakeConnection) -> None:
        draw, node = self.draw, self.node
        newest = node.machine.revision
        start = draw.choice([0, 0, draw.randint(0, newest + 2)])
        low, high = draw.choice(BOUNDS), draw.choice(BOUNDS)
        if draw.random() < 0.5:
            high = draw.choice([prefix_end(low), low + b"\0"])
        follower = node.watch(connection, low, high, start=start, flags=draw.choice(FLAGS))
        self.began[id(follower)] = start - 1 if start else newest
        self.all_of.setdefault(id(connection), []).append(follower)
        node.hear()

    def check(self, *, all_told: bool) -> None:
        node = self.node
        for follower in (follower for followers in self.all_of.values() for follower in followers):
            upto = follower.revision - 1 if follower.is_partial else follower.revision
            expected = node.expected(follower.request, self.began[id(follower)], max(upto, 0))
            if follower.is_partial:
                more = node.expected(follower.request, upto, upto + 1)
                assert told(follower) == expected + more[: len(told(follower)) - len(expected)]
            else:
                assert told(follower) == expected
            if all_told and follower.end is None:
                assert not follower.is_partial
                missing = node.expected(follower.request, follower.revision, node.machine.revision)
                assert not missing, f"{follower.request} was not told {missing}"


@pytest.mark.parametrize("seed", range(150))
def test_against_the_log_itself(seed: int) -> None:
    """No gap, no duplicate, in order, whatever happens; and in the end all that there is, unless it was compacted."""
    model = Model(seed)
    for _ in range(300):
        model.step()
        model.check(all_told=False)
    for connection in model.connections:
        connection.waiting_bytes = 0
    node = model.node
    for _ in count():
        node.tick()
        node.settle()
        if not node.watches.stalled_count:
            break
    model.check(all_told=True)
    assert node.watches.behind_count == 0
    assert node.watches.count == sum(
        follower.end is None for followers in model.all_of.values() for follower in followers
    )
