"""How a cluster is brought to have the keys of a backup: by which steps, and what if it breaks off."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.cli.merging import MARKER, Counts, Restore, Step, differences, keys_of
from raftd.client import Change, Client, ClientError, Delete, KeyValue, Page, Put, TransactionResult, Unavailable
from raftd.client.transactions import Transaction
from raftd.kv.types import LeaseId, Record, Revision
from raftd.storage.backup_format import BackupHeader, decode_backup_header
from tests.cli.backups import CLUSTER_ID, backup_of, machine_of

KEYS = st.binary(min_size=1, max_size=2)
SIDES = st.dictionaries(KEYS, st.tuples(st.binary(max_size=1), st.booleans()), max_size=12)
Side = dict[bytes, tuple[bytes, bool]]


def ours(side: Side) -> Iterator[tuple[bytes, Record]]:
    for key, (value, leased) in sorted(side.items()):
        yield key, (Revision(1), Revision(1), 1, LeaseId(7 if leased else 0), b"", value)


def theirs(side: Side) -> Iterator[KeyValue]:
    for key, (value, leased) in sorted(side.items()):
        yield KeyValue(key, value, 1, 1, 1, 1, 7 if leased else 0)


@settings(deadline=None)
@given(SIDES, SIDES)
def test_the_steps_make_one_of_the_other(backup: Side, cluster: Side) -> None:
    """Afterwards the keys without a lease are those of the backup, and all that have one are as they were."""
    counts = Counts()
    steps = list(differences(ours(backup), theirs(cluster), counts))
    after = dict(cluster)
    for step in steps:
        if isinstance(step, Delete):
            del after[bytes(step.key)]  # type: ignore[arg-type]  # it is bytes
        else:
            after[bytes(step.key)] = (bytes(step.value), False)  # type: ignore[arg-type]  # they are bytes
    wanted = {key: item for key, item in backup.items() if not item[1]}
    kept = {key: item for key, item in cluster.items() if item[1] and key not in wanted}
    assert after == {**kept, **wanted}
    assert counts.changes == len(steps)
    assert list(differences(ours(backup), theirs(after), Counts())) == []
    keys = [bytes(step.key) for step in steps]  # type: ignore[arg-type]  # they are bytes
    assert keys == sorted(keys)


def test_the_marker_is_not_restored() -> None:
    """Neither written nor deleted: it is the restore's own."""
    side: Side = {MARKER: (b"x", False)}
    assert list(differences(ours(side), theirs({}), Counts())) == []
    assert list(differences(ours({}), theirs(side), Counts())) == []


def header_of(**changes: Any) -> BackupHeader:
    header = decode_backup_header(backup_of(machine_of({b"a": b"1"}), **changes))
    assert header is not None
    assert header.cluster_id == CLUSTER_ID
    return header


def puts(count: int, value: str = "restored") -> list[Step]:
    return [Put(b"merging/%04d" % number, value.encode()) for number in range(count)]


@pytest.fixture
def cluster(client: Client) -> Client:
    """Without keys of another test."""
    client.delete_range(prefix="merging/")
    client.delete(MARKER)
    return client


def values(client: Client) -> set[bytes]:
    return {item.value for item in client.items(prefix="merging/")}


def test_few_changes_are_one_revision(cluster: Client) -> None:
    """Nothing in between can be seen, and there is no marker."""
    before = cluster.put("merging/0000", "old").revision
    assert list(Restore(cluster, header_of()).run(iter(puts(127)))) == [127]
    changed = cluster.range(prefix="merging/").items
    assert {item.modify_revision for item in changed} == {before + 1}
    assert cluster.get(MARKER) is None


def test_more_are_marked_while_they_go_on(cluster: Client) -> None:
    """From before the first change to the very last."""
    restore = Restore(cluster, header_of())
    counts = []
    with cluster.watch(MARKER) as watch:
        for done in restore.run(iter(puts(300))):
            counts.append(done)
            found = cluster.get(MARKER)
            assert (found is None) == (done == 300)
        told = [change for change in (next(watch), next(watch)) if isinstance(change, Change)]
    assert counts == [127, 254, 300]
    assert [change.kind for change in told] == ["put", "delete"]
    last = cluster.get("merging/0299")
    assert last is not None
    assert told[1].revision == last.modify_revision
    assert told[0].revision < min(item.modify_revision for item in cluster.items(prefix="merging/"))


def test_large_values_make_short_transactions(cluster: Client) -> None:
    """As many as fit into a command."""
    steps: list[Step] = [Put(b"merging/%d" % number, bytes(400_000)) for number in range(5)]
    assert list(Restore(cluster, header_of()).run(iter(steps))) == [2, 4, 5]


def test_an_interrupted_one_is_finished_by_the_same_backup(cluster: Client) -> None:
    """And by no other; the marker says of which it is."""
    broken = Restore(cluster, header_of())
    run = broken.run(iter(puts(300)))
    assert next(run) == 127
    assert broken.is_marked
    other = Restore(cluster, header_of(state_hash=1))
    with pytest.raises(ClientError, match=r"restore of another backup .* delete the key raftd-restore"):
        other.resume()
    again = Restore(cluster, header_of())
    assert again.resume()
    assert list(again.run(iter(puts(3, "again")))) == [3]
    assert cluster.get(MARKER) is None
    # The first one wakes up again, and can do nothing any more.
    with pytest.raises(ClientError, match="taken over"):
        list(run)
    assert values(cluster) == {b"restored", b"again"}
    assert len(cluster.range(prefix="merging/").items) == 127


def test_nothing_left_to_do_finishes_it_too(cluster: Client) -> None:
    """The marker goes, though there is no change."""
    assert next(Restore(cluster, header_of()).run(iter(puts(300)))) == 127
    again = Restore(cluster, header_of())
    assert again.resume()
    assert list(again.run(iter(()))) == [0]
    assert cluster.get(MARKER) is None
    assert not Restore(cluster, header_of()).resume()
    assert list(Restore(cluster, header_of()).run(iter(()))) == []


def test_two_at_a_time_do_not_mix(cluster: Client) -> None:
    """Be the second one short or long: it is refused before it changes anything."""
    first = Restore(cluster, header_of()).run(iter(puts(300)))
    assert next(first) == 127
    for count in (1, 300):
        with pytest.raises(ClientError, match="another restore has just been begun"):
            list(Restore(cluster, header_of(state_hash=1)).run(iter(puts(count, "other"))))
    assert list(first) == [254, 300]
    assert values(cluster) == {b"restored"}


@pytest.mark.parametrize("lost_at", range(4))
def test_a_lost_cluster_leaves_it_repeatable(cluster: Client, monkeypatch: pytest.MonkeyPatch, lost_at: int) -> None:
    """Whichever transaction is the last: the same command brings it to its end."""
    whole = Transaction.commit
    left = lost_at

    def commit(transaction: Transaction[TransactionResult], fence: Any = None) -> TransactionResult:
        nonlocal left
        left -= 1
        if left < 0:
            raise Unavailable("no node answers")
        return whole(transaction, fence)

    with monkeypatch.context() as patched:
        patched.setattr(Transaction, "commit", commit)
        broken = Restore(cluster, header_of())
        with pytest.raises(Unavailable):
            list(broken.run(iter(puts(300))))
    assert broken.is_marked == (lost_at > 0) == (cluster.get(MARKER) is not None)
    again = Restore(cluster, header_of())
    assert again.resume() == (lost_at > 0)
    list(again.run(iter(puts(300))))
    assert values(cluster) == {b"restored"}
    assert cluster.get(MARKER) is None


def test_all_keys_are_gone_through(cluster: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page by page, each as it is by then; a key that is written behind is not missed."""
    for number in range(7):
        cluster.put(f"merging/{number}", "x")
    whole = Client.range

    def small(client: Client, *arguments: Any, **options: Any) -> Page:
        return whole(client, *arguments, **{**options, "limit": 2})

    monkeypatch.setattr(Client, "range", small)
    found = []
    for item in keys_of(cluster):
        found.append(item.key)
        if item.key == b"merging/0":
            cluster.put("merging/5a", "late")
    assert found == sorted(found)
    assert b"merging/5a" in found
    assert {b"merging/%d" % number for number in range(7)} <= set(found)
