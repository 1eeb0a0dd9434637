"""HTML made so that nothing can be put into it unescaped.

Text becomes `Markup` in two ways only: as an element's child or attribute, which escapes it, or by writing `Markup(…)`
in this package's own source. So whatever a status, an event or a certificate says is text on the page and never code.
"""

from html import escape
from typing import Final, TypeAlias


class Markup(str):
    """HTML that is safe to put into a page as it is."""

    __slots__ = ()


Child: TypeAlias = "Markup | str | int | float | None"
"""What may stand in an element; None is nothing, and everything else that is no `Markup` is escaped."""

_VOID: Final = frozenset({"link", "meta"})
"""HTML's elements without an end tag, as far as they are used."""


def element(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """Make an element.

    Args:
        name: The tag.
        children: Its content, escaped.
        attributes: A trailing underscore is cut (`class_`), inner ones become dashes; True is an attribute without a
            value, False and None are none.
    """
    shown = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Markup(f"<{name}{shown}>")
    return Markup(f"<{name}{shown}>{joined(*children)}</{name}>")


def joined(*children: Child) -> Markup:
    """Put children one after the other, escaped as an element's."""
    there = (child for child in children if child is not None)
    return Markup("".join(child if isinstance(child, Markup) else escape(str(child)) for child in there))
