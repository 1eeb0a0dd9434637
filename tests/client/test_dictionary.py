from collections.abc import Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from raftd.client import BytesCodec, Client, ClientError, DistDict, InvalidRequest, JsonCodec, TooLarge
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
    assert 5 not in d  # type: ignore[comparison-overlap]  # wrong on purpose


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


def test_a_whole_mapping(d: DistDict[str]) -> None:
    """What a dict does with all its keys, this does too, in byte order of the keys."""
    assert isinstance(d, MutableMapping)
    assert (len(d), list(d), bool(d), d == {}) == (0, [], False, True)
    d.update({"b": "2", "ä": "3", "a": "1"})
    assert len(d) == 3
    assert list(d) == list(d.keys()) == ["a", "b", "ä"]
    assert list(d.values()) == ["1", "2", "3"]
    assert list(d.items()) == [("a", "1"), ("b", "2"), ("ä", "3")]
    assert dict(d) == d == {"a": "1", "b": "2", "ä": "3"}
    assert ("b", "2") in d.items()
    assert "3" in d.values()
    assert "b" in d.keys()  # noqa: SIM118 - the view is what is tested
    assert len(d.items()) == 3
    assert d.popitem() == ("a", "1")
    d.clear()
    assert not d
    with pytest.raises(KeyError):
        d.popitem()


def test_iterating_shows_one_moment(d: DistDict[str]) -> None:
    """Writing while one iterates is allowed, and does not show."""
    d.update({f"{number:04}": "old" for number in range(1500)})
    seen: list[str] = []
    for key, value in d.items():
        d[key] = "new"
        if not seen:
            del d["1499"]
        seen.append(value)
    assert seen == ["old"] * 1500


def test_popitem_gives_each_pair_to_one(d: DistDict[str]) -> None:
    """Of many that pop, each gets another pair."""
    d.update({f"{number}": f"{number}" for number in range(10)})
    with ThreadPoolExecutor(4) as pool:
        popped = list(pool.map(lambda _: d.popitem(), range(10)))
    assert sorted(popped) == [(f"{number}", f"{number}") for number in range(10)]


def test_updating_in_steps(d: DistDict[str], cluster_in_thread: FakeCluster) -> None:
    """128 keys, or a MiB, are one step; a key that comes twice gets its last value."""
    d.update({f"{number:04}": "1" for number in range(300)})
    assert cluster_in_thread.machine.revision == 3
    d.update([("a", "1"), ("a", "2")], a="3")
    assert (d["a"], cluster_in_thread.machine.revision) == ("3", 4)
    d.update({f"{number:04}": "x" * 400_000 for number in range(5)}, big="x" * (1 << 20))
    assert cluster_in_thread.machine.revision == 8
    d.update()
    d.update({})
    assert cluster_in_thread.machine.revision == 8
    with pytest.raises(TypeError):
        d.update({"b": 5})  # type: ignore[arg-type]  # wrong on purpose


class Row:
    """Has keys and gives their values, as the rows of some databases do, and is no Mapping."""

    def keys(self) -> list[str]:
        return ["aa", "bb"]

    def __getitem__(self, key: str) -> str:
        return key.upper()

    def __iter__(self) -> Iterator[str]:
        return iter(["AA", "BB"])  # pairs of letters, if one takes them for that


def test_updating_from_what_has_keys(d: DistDict[str]) -> None:
    """As with a dict, it need be no Mapping."""
    expected: dict[str, str] = {}
    for made in (d, expected):
        made.update(Row(), c="3")
    assert dict(d) == expected == {"aa": "AA", "bb": "BB", "c": "3"}


def test_dicts_of_prefixes(config_path: Path) -> None:
    """One cluster has many dicts; each has its own keys only."""
    with Client.from_config(config_path) as client:
        one, two, all_of_it = DistDict(client, prefix="one/"), DistDict(client, prefix="two/"), DistDict(client)
        one["a"], two["a"], two["b"] = "1", "2", "3"
        assert (dict(one), dict(two)) == ({"a": "1"}, {"a": "2", "b": "3"})
        assert list(all_of_it) == ["one/a", "two/a", "two/b"]
        assert (two.pop("a"), two.setdefault("b", "x"), "a" in two) == ("2", "3", False)
        assert two.popitem() == ("b", "3")
        one.clear()
        assert len(all_of_it) == 0
        with DistDict(config_path, prefix="own/") as own:
            own["a"] = "1"
        assert list(all_of_it) == ["own/a"]


def test_keys_that_are_no_text(config_path: Path) -> None:
    """A key that another program has made of any bytes is a key like others: what iterating gives can be used."""
    with Client.from_config(config_path) as client, DistDict(client) as d:
        client.put(b"\xff\x00", "1")
        (key,) = d
        assert d[key] == "1"
        del d[key]
        assert client.count() == 0


def test_wrong_types(d: DistDict[str]) -> None:
    """A key or value that is no text is a TypeError, and never guessed at."""
    wrong: Any = d
    for key, value in ((1, "x"), (b"a", "x"), ("a", 1), ("a", b"x"), ("a", None)):
        with pytest.raises(TypeError):
            wrong[key] = value
    with pytest.raises(TypeError):
        wrong[1]


@pytest.mark.parametrize("key", ["", "x" * 5000, "\ud800"], ids=["empty", "too long", "half of a pair"])
def test_keys_that_there_cannot_be(d: DistDict[str], key: str) -> None:
    """They are missing, as from any dict; only who would write one is told why that cannot be."""
    assert key not in d
    assert d.get(key, "default") == d.pop(key, "default") == "default"
    for lookup in (d.__getitem__, d.__delitem__, d.pop):
        with pytest.raises(KeyError):
            lookup(key)
    for write in (d.__setitem__, d.setdefault):
        with pytest.raises((InvalidRequest, TooLarge, UnicodeEncodeError)):
            write(key, "x")


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
