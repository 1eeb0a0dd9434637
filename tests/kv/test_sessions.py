"""The session table: remembered answers, expiry, ownership and bounds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.errors import LocalProtocolError
from raftd.kv import sessions
from raftd.kv.answers import Outcome
from raftd.kv.commands import SessionId
from raftd.kv.limits import ANSWER_BYTES_MAX, ANSWER_OVERHEAD_BYTES, SHORT_ANSWER_BYTES_MAX, Limits
from raftd.kv.sessions import CLOCK_MS_MAX, Session, SessionTable

ALICE, BOB = b"alice", b"bob"
ONE = SessionId(1)


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions that end together are more than a few at a time in short tests, too."""
    monkeypatch.setattr(sessions, "_MANY_MIN", 3)


def table_with_session(limits: Limits | None = None, ttl_ms: int = 0) -> tuple[SessionTable, Session]:
    table = SessionTable(limits or Limits())
    session = table.open(ONE, ALICE, ttl_ms)
    assert session is not None
    return table, session


def expire_all(table: SessionTable) -> None:
    """Let as much time pass as a session of the default time to live can last."""
    limits = Limits()
    for _ in range(limits.ttl_ms_default // limits.advance_ms_max + 1):
        table.advance_clock(limits.advance_ms_max)


def test_the_time_to_live_is_brought_into_bounds() -> None:
    """0 asks for the default; too short and too long become the nearest that is allowed."""
    limits = Limits(ttl_ms_min=10, ttl_ms_max=100, ttl_ms_default=50)
    for asked, granted in ((0, 50), (1, 10), (10, 10), (77, 77), (100, 100), (1 << 31, 100)):
        _, session = table_with_session(limits, asked)
        assert session.ttl_ms == granted


def test_a_session_expires_exactly_at_its_deadline() -> None:
    """One interval more than its time to live after its last command, not a millisecond earlier or later."""
    table, _ = table_with_session(Limits(ttl_ms_min=10, advance_ms_max=7), 10)
    for elapsed_ms in (7, 7, 2):
        table.advance_clock(elapsed_ms)
    assert table.touch(ONE, ALICE, 0) is not None
    for elapsed_ms in (7, 7, 2):
        table.advance_clock(elapsed_ms)
    assert len(table) == 1
    table.advance_clock(1)
    assert (len(table), table.expired_total) == (0, 1)
    assert table.touch(ONE, ALICE, 0) is None


def test_a_session_lives_for_all_of_its_time_after_a_command_late_in_an_interval() -> None:
    """The clock stands still between its entries, so a command may be an interval younger than it looks."""
    limits = Limits(ttl_ms_min=10, advance_ms_max=10)
    table, _ = table_with_session(limits, 10)
    # Really 9 ms after the clock's last entry, which it cannot know.
    assert table.touch(ONE, ALICE, 0) is not None
    table.advance_clock(10)
    assert len(table) == 1  # 1 ms after its command
    table.advance_clock(10)
    assert len(table) == 0  # 11 ms after


def test_one_entry_moves_the_clock_by_an_interval_at_most() -> None:
    """A leader that was stopped for an hour does not end sessions whose owners could not reach it."""
    table, _ = table_with_session(Limits(ttl_ms_min=10, advance_ms_max=10), 10)
    table.advance_clock(3_600_000)
    assert (table.clock_ms, len(table)) == (10, 1)


def test_what_others_do_is_not_activity() -> None:
    """Another user's command neither finds the session nor makes it live longer."""
    table, session = table_with_session(Limits(ttl_ms_min=10, advance_ms_max=5), 10)
    table.advance_clock(5)
    table.advance_clock(5)
    assert table.touch(ONE, BOB, 9) is None
    assert not table.close(ONE, BOB)
    assert (session.last_active_ms, session.first_unanswered) == (0, 1)
    table.advance_clock(5)
    assert len(table) == 0


def test_first_unanswered_never_goes_back() -> None:
    """A delayed duplicate with an older mark changes nothing."""
    table, session = table_with_session()
    for mark, expected in ((5, 5), (3, 5), (0, 5), (6, 6)):
        table.touch(ONE, ALICE, mark)
        assert session.first_unanswered == expected


def test_answers_are_forgotten_below_the_mark() -> None:
    """Moving the mark forgets what is below it and nothing else, however far it moves."""
    for mark in (3, 4, 6, 7, 5000, 1 << 63):
        table, session = table_with_session(Limits(in_flight_max=8))
        for sequence in (1, 3, 4, 6):
            table.remember(session, sequence, b"x" * sequence)
        table.touch(ONE, ALICE, mark)
        assert sorted(session.answers) == [sequence for sequence in (1, 3, 4, 6) if sequence >= mark]
        assert table.answer_bytes == sum(session.answers)
        assert table.answer_count == len(session.answers)


def test_the_window_of_sequences() -> None:
    """Below the window a sequence was answered; above it there are too many in flight; inside it may be applied."""
    table, session = table_with_session(Limits(in_flight_max=4))
    table.touch(ONE, ALICE, 10)
    assert [table.refusal(session, sequence) for sequence in range(8, 16)] == [
        *[Outcome.SEQUENCE_ANSWERED] * 2,
        *[None] * 4,
        *[Outcome.TOO_MANY_IN_FLIGHT] * 2,
    ]


def test_remembered_bytes_are_bounded_and_nobody_is_shut_out() -> None:
    """At the bound a session with an answer must wait, and one without may still write.

    What it takes to keep an answer counts: most have few bytes of their own.
    """
    table, greedy = table_with_session(Limits(answer_bytes_max=100 + 2 * ANSWER_OVERHEAD_BYTES))
    modest = table.open(SessionId(2), BOB, 0)
    assert modest is not None
    table.remember(greedy, 1, bytes(99 + ANSWER_OVERHEAD_BYTES))
    assert table.refusal(greedy, 2) is None
    table.remember(greedy, 2, bytes(1))
    assert table.refusal(greedy, 3) is Outcome.TOO_MANY_IN_FLIGHT
    assert table.refusal(modest, 1) is None
    table.touch(ONE, ALICE, 2)
    assert table.refusal(greedy, 3) is None


def test_no_user_fills_what_is_remembered() -> None:
    """One who has his share must wait in each of his sessions, with nobody else; he gets it back as he answers."""
    table, greedy = table_with_session(Limits(answer_bytes_per_user_max=100 + 2 * ANSWER_OVERHEAD_BYTES))
    another, modest = table.open(SessionId(2), ALICE, 0), table.open(SessionId(3), BOB, 0)
    assert another is not None
    assert modest is not None
    table.remember(greedy, 1, bytes(99))
    assert table.room_bytes(another) == ANSWER_BYTES_MAX
    table.remember(another, 1, bytes(1))
    for session in (greedy, another):
        assert table.refusal(session, 2) is Outcome.TOO_MANY_IN_FLIGHT
        assert table.room_bytes(session) == SHORT_ANSWER_BYTES_MAX
    table.remember(modest, 1, bytes(99))
    assert table.refusal(modest, 2) is None
    assert table.room_bytes(modest) == ANSWER_BYTES_MAX
    third = table.open(SessionId(4), ALICE, 0)
    assert third is not None
    assert table.refusal(third, 1) is None  # a short answer
    assert table.close(SessionId(2), ALICE)
    assert table.refusal(greedy, 2) is None


def test_remembered_bytes_are_given_back() -> None:
    """A session that ends, either way, takes its answers with it."""
    table, session = table_with_session()
    table.remember(session, 1, bytes(10))
    assert table.close(ONE, ALICE)
    assert (table.answer_bytes, table.answer_count) == (0, 0)
    assert table.expired_total == 0
    again = table.open(SessionId(2), ALICE, 0)
    assert again is not None
    table.remember(again, 1, bytes(10))
    expire_all(table)
    assert (len(table), table.answer_bytes, table.answer_count) == (0, 0, 0)


def test_sessions_are_bounded() -> None:
    """One too many is refused until another ends."""
    table = SessionTable(Limits(sessions_max=2))
    assert table.open(SessionId(1), ALICE, 0) is not None
    assert table.open(SessionId(2), ALICE, 0) is not None
    assert table.open(SessionId(3), ALICE, 0) is None
    table.close(SessionId(1), ALICE)
    assert table.open(SessionId(4), ALICE, 0) is not None
    assert [session_id for session_id, _ in table] == [2, 4]


def test_no_user_takes_every_session() -> None:
    """A user who has as many as one may have shuts out nobody else, and may open another when one ends."""
    limits = Limits(sessions_max=4, sessions_per_user_max=2, ttl_ms_min=10, advance_ms_max=10)
    table = SessionTable(limits)
    assert table.open(SessionId(1), ALICE, 10) is not None
    assert table.open(SessionId(2), ALICE, 10) is not None
    assert table.open(SessionId(3), ALICE, 10) is None
    assert table.open(SessionId(4), BOB, 0) is not None
    assert table.close(SessionId(1), ALICE)
    assert table.open(SessionId(5), ALICE, 10) is not None
    for _ in range(2):
        table.advance_clock(10)
    assert [session_id for session_id, _ in table] == [4]
    assert table.open(SessionId(6), ALICE, 10) is not None
    assert table.open(SessionId(7), ALICE, 10) is not None
    assert table.open(SessionId(8), ALICE, 10) is None


def test_restored_sessions_count_for_their_user() -> None:
    """A node that starts from a snapshot refuses what the others refuse."""
    before = SessionTable(Limits(sessions_per_user_max=1))
    session = before.open(ONE, ALICE, 0)
    assert session is not None
    after = SessionTable(Limits(sessions_per_user_max=1))
    assert after.restore(ONE, session.copy())
    assert after.open(SessionId(2), ALICE, 0) is None
    assert after.open(SessionId(3), BOB, 0) is not None


def test_the_clock_stops_at_its_bound() -> None:
    """The clock always fits into 64 bits."""
    table = SessionTable(Limits(advance_ms_max=CLOCK_MS_MAX))
    for _ in range(3):
        table.advance_clock(CLOCK_MS_MAX - 5)
    assert table.clock_ms == CLOCK_MS_MAX


def test_the_heap_is_bounded_and_left_alone_by_commands() -> None:
    """A command adds nothing to the heap; neither does opening and closing all day."""
    table, _ = table_with_session()
    for _ in range(1000):
        table.touch(ONE, ALICE, 0)
    assert len(table._deadlines) == 1
    for number in range(2, 2000):
        table.open(SessionId(number), ALICE, 0)
        table.close(SessionId(number), ALICE)
    assert len(table._deadlines) < 100
    expire_all(table)
    assert (len(table), table.expired_total, table._deadlines) == (0, 1, [])


def test_sessions_that_were_opened_together_expire_together() -> None:
    """Very many at once, but for those that were active since, and those that live longer."""
    table = SessionTable(Limits(ttl_ms_min=1, advance_ms_max=1))
    for number in range(1, 2001):
        table.open(SessionId(number), ALICE, 20 if number % 10 == 0 else 2)
    table.advance_clock(1)
    for number in range(1, 2001, 2):
        table.touch(SessionId(number), ALICE, 0)
    table.advance_clock(1)
    table.advance_clock(1)
    assert [number for number, _ in table] == [n for n in range(1, 2001) if n % 2 or n % 10 == 0]
    assert len(table._deadlines) == len(table)
    table.advance_clock(1)
    assert [number for number, _ in table] == list(range(10, 2001, 10))
    assert (table.expired_total, len(table._deadlines)) == (1800, 200)


def test_a_rebuilt_heap_is_in_order() -> None:
    """After many sessions were closed, the rest still expire each at its own deadline, whichever was opened first."""
    table = SessionTable(Limits(ttl_ms_min=1, advance_ms_max=1))
    lifetimes = [50, 10, 40, 20, 30]
    for number, ttl_ms in enumerate(lifetimes):
        table.open(SessionId(1 + number), ALICE, ttl_ms)
    for number in range(100, 300):
        table.open(SessionId(number), ALICE, 1000)
        table.close(SessionId(number), ALICE)
    for clock_ms in range(1, 60):
        table.advance_clock(1)
        assert len(table) == sum(ttl_ms + 1 > clock_ms for ttl_ms in lifetimes)


def assert_counted(table: SessionTable) -> None:
    """What the table has counted is what one finds who looks at every session."""
    found = [(session.user, answer) for _, session in table for answer in session.answers.values()]
    assert (table.answer_count, table.answer_bytes) == (len(found), sum(len(answer) for _, answer in found))
    users = {session.user for _, session in table}
    assert table._shares.keys() == users
    for user in users:
        share, sizes = table._shares[user], [len(answer) for owner, answer in found if owner == user]
        assert share.session_count == sum(session.user == user for _, session in table)
        assert share.answer_bytes == sum(sizes) + ANSWER_OVERHEAD_BYTES * len(sizes)


@given(
    st.lists(
        st.tuples(st.sampled_from(["open", "write", "write", "write", "keep", "close", "advance"]), st.integers(0, 40)),
        max_size=80,
    )
)
@settings(deadline=None)
def test_what_is_remembered_is_counted_exactly(steps: list[tuple[str, int]]) -> None:
    """After any steps each count, of all and of each user, is what one finds; and so it is of what a walk shows."""
    limits = Limits(ttl_ms_min=1, advance_ms_max=9, in_flight_max=6, answer_bytes_max=2500)
    table = SessionTable(limits)
    for position, (action, number) in enumerate(steps):
        session_id = SessionId(1 + number % (position + 1))
        user = (ALICE, BOB, b"carol")[session_id % 3]
        if action == "open":
            user = (ALICE, BOB, b"carol")[(position + 1) % 3]
            table.open(SessionId(position + 1), user, 1 + number)
        elif action == "advance":
            table.advance_clock(number % 10)
        elif action == "close":
            table.close(session_id, user)
        else:
            session = table.touch(session_id, user, number % 17 if action == "keep" else 0)
            if action == "write" and session is not None:
                sequence = session.first_unanswered + number % 7
                if sequence not in session.answers and table.refusal(session, sequence) is None:
                    table.remember(session, sequence, bytes(number * 20))
        assert_counted(table)
    restored = SessionTable(limits)
    restored.clock_ms = table.clock_ms
    for session_id, shown in table.begin_walk().resume():
        twin = Session(shown.user, shown.ttl_ms, shown.last_active_ms)
        twin.first_unanswered = shown.first_unanswered
        assert restored.restore(session_id, twin)
        for sequence, answer in shown.answers.items():
            restored.remember(twin, sequence, answer)
    assert_counted(restored)
    assert {user: share.answer_bytes for user, share in restored._shares.items()} == {
        user: share.answer_bytes for user, share in table._shares.items()
    }


actions = st.lists(
    st.tuples(st.sampled_from(["open", "touch", "close", "advance"]), st.integers(0, 12), st.integers(1, 15)),
    max_size=60,
)


@given(steps=actions, crowded=st.booleans())
@settings(deadline=None)
def test_expiry_against_looking_at_every_session(steps: list[tuple[str, int, int]], *, crowded: bool) -> None:
    """After any steps the open sessions are those that a scan of all of them would leave."""
    table = SessionTable(Limits(ttl_ms_min=1, advance_ms_max=12))
    model: dict[int, tuple[int, int]] = {}  # session: (last active, time to live)
    clock = 0
    if crowded:  # enough closed sessions for the heap to be rebuilt at each further one
        for number in range(1000, 1080):
            table.open(SessionId(number), ALICE, 1)
            table.close(SessionId(number), ALICE)
    for position, (action, number, amount) in enumerate(steps):
        session_id = SessionId(1 + (position if action == "open" else number))
        if action == "open":
            table.open(session_id, ALICE, amount)
            model[session_id] = (clock, amount)
        elif action == "touch":
            assert (table.touch(session_id, ALICE, 0) is not None) == (session_id in model)
            if session_id in model:
                model[session_id] = (clock, model[session_id][1])
        elif action == "close":
            assert table.close(session_id, ALICE) == (model.pop(session_id, None) is not None)
        else:
            clock += min(amount, 12)
            table.advance_clock(amount)
            model = {open_id: times for open_id, times in model.items() if sum(times) + 12 > clock}
        assert [open_id for open_id, _ in table] == sorted(model)


def test_a_walk_copies_what_changes_ahead_of_it_and_nothing_else() -> None:
    """A session is copied at its first change, if its turn is still to come and it was there when the walk began."""
    table = SessionTable(Limits())
    for number in range(1, 5):
        table.open(SessionId(number), ALICE, 0)
    walk = table.begin_walk()
    assert walk.session_count == 4
    shown = [next(walk.resume()), next(walk.resume())]
    table.open(SessionId(9), ALICE, 0)
    for _ in range(2):
        for number in (1, 2, 3, 9):
            table.touch(SessionId(number), ALICE, 5)
    table.close(SessionId(4), ALICE)
    assert list(walk._kept) == [3, 4]
    shown += walk.resume()
    assert [session_id for session_id, _ in shown] == [1, 2, 3, 4]
    assert [session.first_unanswered for _, session in shown] == [5, 5, 1, 1]  # shown first, changed later
    assert walk._kept == {}
    with pytest.raises(LocalProtocolError):
        table.begin_walk()
    table.end_walk()
    assert [session_id for session_id, _ in table.begin_walk().resume()] == [1, 2, 3, 9]


def test_what_a_walk_has_shown_can_be_put_back() -> None:
    """A restored session expires when the original would have; one that is over already is not restored."""
    limits = Limits(ttl_ms_min=10, advance_ms_max=5)
    original, restored = SessionTable(limits), SessionTable(limits)
    original.open(ONE, ALICE, 10)
    original.advance_clock(4)
    restored.clock_ms = 4
    for session_id, session in original.begin_walk().resume():
        assert restored.restore(session_id, session.copy())
    original.end_walk()
    assert not restored.restore(SessionId(2), Session(ALICE, 10, -11))
    for _ in range(15):
        original.advance_clock(1)
        restored.advance_clock(1)
        assert len(restored) == len(original)
    assert len(original) == 0
