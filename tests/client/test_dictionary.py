from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from raftd.client import BytesCodec, Client, ClientError, DistDict, InvalidRequest, JsonCodec
from tests.client.fake import FakeCluster


@pytest.fixture
def d(config_path: Path) -> Iterator[DistDict[str]]:
    with DistDict(config_path) as made:
        yield made


def test_like_a_dict(d: DistDict[str]) -> None:
    """What a dict of text does for one key, this does."""
    d["ä"] = "ö"
    assert d["ä"] == "ö"
    assert "ä" in d
    d["ä"] = ""
    assert d["ä"] == ""
    del d["ä"]
    assert "ä" not in d
    assert 5 not in d


def test_missing_keys(d: DistDict[str]) -> None:
    """A missing key is a KeyError for [], del and pop, and the default for get and pop."""
    with pytest.raises(KeyError, match="none"):
        d["none"]
    with pytest.raises(KeyError, match="none"):
        del d["none"]
    with pytest.raises(KeyError, match="none"):
        d.pop("none")
    assert d.get("none") is None
    assert d.get("none", "x") == "x"
    assert d.pop("none", None) is None


def test_pop_setdefault_update(d: DistDict[str]) -> None:
    """These take and leave what a dict's do."""
    assert d.setdefault("a", "1") == "1"
    assert d.setdefault("a", "2") == "1"
    d.update({"b": "3"}, c="4")
    d.update([("d", "5")])
    assert [d.pop(key) for key in "abcd"] == ["1", "3", "4", "5"]
    assert "a" not in d


def test_setdefault_writes_once_among_many(d: DistDict[str], cluster_in_thread: FakeCluster) -> None:
    """Of many that set a default at the same time one writes, and all get what it wrote."""
    with ThreadPoolExecutor(8) as pool:
        results = set(pool.map(lambda number: d.setdefault("a", str(number)), range(40)))
    assert results == {d["a"]}
    assert cluster_in_thread.machine.revision == 1


def test_pop_gives_each_value_to_one(d: DistDict[str]) -> None:
    """Of many that pop one key, one gets it."""
    d["a"] = "1"
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: d.pop("a", None), range(20)))
    assert sorted(results, key=str) == ["1"] + [None] * 19


def test_what_needs_a_list_of_keys_is_not_there(d: DistDict[str]) -> None:
    """Iterating and counting raise TypeError, like any object that cannot; nothing pretends to work."""
    with pytest.raises(TypeError):
        iter(d)  # type: ignore[call-overload]  # wrong on purpose
    with pytest.raises(TypeError):
        len(d)  # type: ignore[arg-type]  # wrong on purpose
    assert not hasattr(d, "items")


def test_wrong_types(d: DistDict[str]) -> None:
    """A key or value that is no text is a TypeError, and never guessed at."""
    wrong: Any = d
    for key, value in ((1, "x"), (b"a", "x"), ("a", 1), ("a", b"x"), ("a", None)):
        with pytest.raises(TypeError):
            wrong[key] = value
    with pytest.raises(TypeError):
        wrong[1]
    with pytest.raises(InvalidRequest):
        d[""]


def test_codecs(config_path: Path) -> None:
    """Values may be bytes, or whatever JSON can say, if one asks for it; what another codec wrote is an error."""
    with Client.from_config(config_path) as client:
        raw: DistDict[bytes] = DistDict(client, codec=BytesCodec())
        json: DistDict[Any] = DistDict(client, codec=JsonCodec())
        text = DistDict(client)
        raw["a"] = b"\xff\x00"
        assert raw["a"] == b"\xff\x00"
        with pytest.raises(UnicodeDecodeError):
            text["a"]
        with pytest.raises(ValueError, match="utf-8"):
            json["a"]
        json["b"] = {"n": [1, None, "ü"]}
        assert json["b"] == {"n": [1, None, "ü"]}
        assert text["b"] == '{"n":[1,null,"ü"]}'
        with pytest.raises(ValueError, match="JSON"):
            json["b"] = float("nan")
        with pytest.raises(TypeError):
            raw["c"] = "text"  # type: ignore[assignment]  # wrong on purpose


def test_whose_client_it_is(config_path: Path) -> None:
    """A client that was handed in stays open; one of its own is closed."""
    with Client.from_config(config_path) as client:
        with DistDict(client) as d:
            d["a"] = "1"
        client.put("a", "2")
    own = DistDict(config_path)
    assert own["a"] == "2"
    own.close()
    with pytest.raises(ClientError, match="closed"):
        own["a"]
