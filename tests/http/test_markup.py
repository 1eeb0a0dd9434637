from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from raftd.http.markup import Markup, element, joined


class Reader(HTMLParser):
    """What a browser would make of it: start tags with their attributes, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(st.characters(exclude_characters="\r\x00", codec="utf-8")))
def test_whatever_is_said_is_text(said: str) -> None:
    """As a child and as an attribute, any text comes back as itself, and makes no further element or attribute."""
    read = Reader(element("p", said, title=said))
    assert [(tag, list(attributes)) for tag, attributes in read.tags] == [("p", ["title"])]
    assert read.text == said
    assert read.tags[0][1]["title"] == said


def test_elements_are_put_into_elements() -> None:
    """Markup stays what it is; None is nothing, and a number is its digits."""
    assert element("p", element("b", 1), None, "<") == "<p><b>1</b>&lt;</p>"
    assert joined("&", Markup("<br>"), 0) == "&amp;<br>0"


def test_attributes() -> None:
    """Names lose a trailing underscore and have dashes within; True stands alone, False and None do not stand."""
    made = element("meta", http_equiv="refresh", class_="a", hidden=True, disabled=False, title=None, content=3)
    assert made == '<meta http-equiv="refresh" class="a" hidden content="3">'
