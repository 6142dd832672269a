"""HTML from Python: every text is escaped unless it is `Html` already.

element("td", name, class_="name")      text and attributes escaped
join(parts)                             several, one after the other
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


class Html(str):
    """Markup that is safe to place in a page as it is."""

    __slots__ = ()


Child = Html | str | None
_VOID = frozenset({"img", "meta", "br", "col"})


def text(value: str) -> Html:
    """Escape a text, unless it is markup."""
    return value if isinstance(value, Html) else Html(escape(value, quote=True))


def join(children: Iterable[Child], between: str = "") -> Html:
    """Put children beside each other; None is nothing."""
    return Html(between.join(text(child) for child in children if child is not None))


def element(name: str, /, *children: Child, **attributes: str | None) -> Html:
    """Return <name ...>children</name>. `class_` is class, data_x is data-x; None leaves an attribute out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value, quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{join(children)}</{name}>")


def paragraph(*children: Child, class_: str | None = None) -> Html:
    return element("p", *children, class_=class_)


def bullets(items: Iterable[Child], class_: str | None = None) -> Html:
    """Return a list, or nothing where it is empty."""
    parts = [element("li", item) for item in items]
    return element("ul", *parts, class_=class_) if parts else Html("")


def table(
    caption: str, head: Sequence[Child], rows: Iterable[Sequence[Child]], *, class_: str | None = None
) -> Html:
    """Return a table that scrolls sideways on a narrow page; the first cell of each row is its heading.

    A cell that is an element <td> or <th> already stands as it is, and so does a head that is rows already.
    """
    lines = []
    for first, *others in rows:
        cells = [_cell(first, "th", scope="row"), *(_cell(other, "td") for other in others)]
        lines.append(element("tr", *cells))
    above = (
        head
        if head and str(head[0]).startswith("<tr")
        else [element("tr", *(_cell(cell, "th", scope="col") for cell in head))]
    )
    top = element("thead", *above) if head else None
    body = element("table", element("caption", caption), top, element("tbody", *lines), class_=class_)
    # A region that scrolls must be reachable by keyboard, and then needs a name.
    return element("div", body, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _cell(content: Child, name: str, scope: str | None = None) -> Html:
    if isinstance(content, Html) and content.startswith(("<td", "<th")):
        return content
    return element(name, content, scope=scope)


def figure(caption: Child, *body: Child, class_: str | None = None) -> Html:
    return element("figure", *body, element("figcaption", caption), class_=class_)
