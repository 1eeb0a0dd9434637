"""The bytes of single writes."""

import pytest
from hypothesis import given, settings

from raftd.encoding.reader import Reader
from raftd.encoding.writer import Writer
from raftd.kv import write_codec
from raftd.kv.limits import BOUND_BYTES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX
from raftd.kv.operations import Delete, DeleteRange, Fence, Increment, OperationCode, Put, Write, WriteOperation
from raftd.kv.transaction_codec import decode_write, encode_write
from raftd.kv.types import CommandTooLarge, InvalidCommand, LeaseId, Revision
from raftd.kv.write_codec import ALLOWED_IN_A_COMMAND, ALLOWED_IN_A_TRANSACTION, Head
from tests.kv.samples import single_writes

KEY = "0100 6b"
FENCE = "0200000000000000 0400 6c6f636b"


@pytest.mark.parametrize(
    ("operation", "fence", "expected"),
    [
        (Put(b"k", b"v"), False, f"00 {KEY} 01000000 76"),
        (
            Put(b"k", b"v", LeaseId(7), Revision(3), b"old", previous=True),
            True,
            f"1f 0300000000000000 0700000000000000 {FENCE} 03000000 6f6c64 {KEY} 01000000 76",
        ),
        (Delete(b"k", expected_value=b""), False, f"08 00000000 {KEY}"),
        (Delete(b"k", Revision(0), previous=True), True, f"15 0000000000000000 {FENCE} {KEY}"),
        (Increment(b"k", -2), False, f"00 {KEY} feffffffffffffff"),
        (Increment(b"k", 2, Revision(3)), True, f"05 0300000000000000 {FENCE} {KEY} 0200000000000000"),
        (DeleteRange(b"a", b"", 9), False, "00 09000000 0100 61 0000"),
        (DeleteRange(b"a", b"b", 9, previous=True), True, f"14 {FENCE} 09000000 0100 61 0100 62"),
    ],
)
def test_layout(operation: WriteOperation, expected: str, *, fence: bool) -> None:
    """The bytes are those of the module's table: logs and clients in other languages depend on each of them."""
    write = Write(operation, Fence(b"lock", Revision(2)) if fence else None)
    code, fields = encode_write(write)
    assert fields.hex() == expected.replace(" ", "")
    assert decode_write(code, fields, 0) == write


@given(single_writes)
@settings(deadline=None)
def test_fields_are_read_as_they_were_written(operation: write_codec.SingleWrite) -> None:
    """Head and fields come back, and nothing is left."""
    writer = Writer()
    head = write_codec.head_of(operation, None)
    write_codec.write_head(writer, head)
    write_codec.write_fields(writer, operation)
    reader = Reader(writer.finish())
    code = write_codec.code_of(operation)
    assert write_codec.read_head(reader, code, ALLOWED_IN_A_COMMAND) == head
    assert write_codec.read_fields(reader, code, head) == operation
    reader.finish()


@pytest.mark.parametrize("flag", [1 << bit for bit in range(8)])
@pytest.mark.parametrize("allowed", [ALLOWED_IN_A_COMMAND, ALLOWED_IN_A_TRANSACTION])
def test_flags_that_are_not_allowed_are_refused(flag: int, allowed: dict[OperationCode, int]) -> None:
    """Each operation has the flags of the table, and a line says which one it may not have."""
    for code, flags in allowed.items():
        fields = b"\x01" + bytes(3 if flag == 8 else 7) + (b"\x01\x00k" if flag == 4 else b"v")
        reader = Reader(bytes((flag,)) + fields)
        if flag & flags:
            assert write_codec.read_head(reader, code, allowed).flags == flag
        else:
            with pytest.raises(InvalidCommand, match=f"{code.name}.* may not have flags {flag:#x}"):
                write_codec.read_head(reader, code, allowed)


def test_a_lease_of_zero_is_refused() -> None:
    """A put without a lease is spelled without the flag: there is one spelling of each command."""
    with pytest.raises(InvalidCommand, match="not 0"):
        write_codec.read_head(Reader(b"\x02" + bytes(8)), OperationCode.PUT, ALLOWED_IN_A_COMMAND)


TOO_LONG_KEY = b"k" * (KEY_BYTES_MAX + 1)
TOO_LONG_VALUE = bytes(VALUE_BYTES_MAX + 1)
TOO_LONG_BOUND = b"k" * (BOUND_BYTES_MAX + 1)


@pytest.mark.parametrize(
    "write",
    [
        Write(Put(TOO_LONG_KEY, b"")),
        Write(Put(b"k", TOO_LONG_VALUE)),
        Write(Put(b"k", b"", expected_value=TOO_LONG_VALUE)),
        Write(Delete(TOO_LONG_KEY)),
        Write(Increment(TOO_LONG_KEY, 1)),
        Write(DeleteRange(TOO_LONG_BOUND, b"")),
        Write(DeleteRange(b"", TOO_LONG_BOUND)),
        Write(Delete(b"k"), Fence(TOO_LONG_KEY, Revision(1))),
    ],
)
def test_the_encoder_refuses_what_is_too_long(write: Write) -> None:
    """A client learns of it before it sends anything."""
    with pytest.raises(CommandTooLarge):
        encode_write(write)


@pytest.mark.parametrize(
    "write",
    [
        Write(Put(b"", b"")),
        Write(Put(b"k", b"", LeaseId(1 << 64))),
        Write(Put(b"k", b"", expected_revision=Revision(-1))),
        Write(Increment(b"k", 1 << 63)),
        Write(DeleteRange(b"", b"", 0)),
        Write(DeleteRange(b"", b"", 10_001)),
        Write(Delete(b"k"), Fence(b"", Revision(1))),
        Write(Delete(b"k"), Fence(b"k", Revision(1 << 64))),
    ],
)
def test_the_encoder_refuses_what_is_out_of_bounds(write: Write) -> None:
    """In one line, and not as too large."""
    with pytest.raises(InvalidCommand) as refused:
        encode_write(write)
    assert not isinstance(refused.value, CommandTooLarge)


def test_heads_tell_their_flags() -> None:
    """Zero as an expected revision and the empty expected value are expectations; a lease of 0 is none."""
    assert Head().flags == 0
    assert Head(expected_revision=Revision(0), expected_value=b"").flags == 9
