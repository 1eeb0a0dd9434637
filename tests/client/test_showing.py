import pytest

from raftd.client.namespace import Namespace
from raftd.client.results import Change, KeyValue, Page, Previous
from raftd.client.showing import show_change, show_items, show_page, show_transaction
from raftd.errors import InvariantViolation
from raftd.kv import items, results
from raftd.kv import operations as kv
from raftd.kv.changes import PreviousValue, ShownChange
from raftd.kv.pages import RangePage
from raftd.kv.types import LeaseId, Revision

APP = Namespace("app/")
ITEM = items.KeyValue(Revision(1), Revision(2), 3, LeaseId(4), b"alice", b"v")


def test_keys_lose_the_namespace() -> None:
    """Everything that has a key shows it without."""
    shown = KeyValue(b"a", b"v", 1, 2, 3, 9, 4, "alice")
    assert show_items([(b"app/a", ITEM)], 9, APP) == [shown]
    page = RangePage(Revision(9), None, True, [(b"app/a", ITEM)])
    assert show_page(page, APP, "token") == Page([shown], 9, None, "token", True)
    change = ShownChange(
        Revision(5), b"app/a", True, True, Revision(1), 2, LeaseId(3), 1500, b"", b"1.2.3.4:5", None,
        PreviousValue(Revision(4), b"old"),
    )  # fmt: skip
    assert show_change(change, APP) == Change(
        "delete", b"a", None, 5, 1, 2, 3, True, 1.5, "", "1.2.3.4:5", Previous(b"old", 4)
    )


def test_names_that_are_no_text() -> None:
    """A user's name that is not UTF-8, which no certificate has, spoils no listing."""
    assert show_items([(b"app/a", ITEM._replace(user=b"\xff"))], 9, APP)[0].user == "\ufffd"


def test_a_result_of_another_operation() -> None:
    """A mix-up of ours is an error, and not a result."""
    transaction = kv.Transaction((), (kv.Get(b"app/a"),))
    done = results.TransactionResult(True, [results.TransactionResult(True, [])])
    with pytest.raises(InvariantViolation):
        show_transaction(transaction, done, 1, APP)
