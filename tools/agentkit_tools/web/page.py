"""Readable text of an HTML page: Markdown without the page's own furniture.

Knows HTML, by way of selectolax (the HTML standard's own parsing, in C). It runs as a program, in
a process that may use little memory and time: a page can be written so that any parser of the
standard takes hours or all memory, and then it harms that process alone. So it imports nothing of
agentkit. HTML comes in on stdin, JSON goes out on stdout.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

from selectolax.lexbor import LexborHTMLParser, LexborNode

MEMORY = 1 << 30
"""Bytes that the process may use."""
CPU_SECONDS = 10
"""Seconds that the process may compute."""

_DROPPED = (
    "script, style, noscript, template, svg, canvas, iframe, object, head, select, button, dialog, "
    "input, textarea, [hidden], [aria-hidden=true]"
)
_FURNITURE = "nav, footer, aside, body > header, [role=navigation], [role=banner], [role=search]"
_MAIN = ("main", "[role=main]", "article")
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_BLOCKS = frozenset(
    {"address", "article", "blockquote", "body", "caption", "details", "div", "dl", "fieldset"}
    | {"figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header"}
    | {"hr", "main", "nav", "ol", "p", "pre", "section", "table", "ul"}
)
_LINES = frozenset({"br", "dd", "dt", "li", "summary", "tr"})
_SPACE = re.compile(r"[ \t\r\n\f\u00a0]+")


class _Writer:
    """Text as it grows: words run on, blocks stand apart."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        # What is due before the next word, if one comes: newlines or a space, and a mark.
        self._gap, self._space, self._mark = 0, False, ""

    def words(self, text: str) -> None:
        """Text in which any white space is a space."""
        plain = _SPACE.sub(" ", text)
        self._space = self._space or plain.startswith(" ")
        if word := plain.strip():
            self.verbatim(word)
            self._space = plain.endswith(" ")

    def verbatim(self, text: str) -> None:
        """Text as it is."""
        if self._pieces:
            self._pieces.append("\n" * self._gap or " " * (self._space and not self._mark))
        self._pieces += [self._mark, text]
        self._gap, self._space, self._mark = 0, False, ""

    def apart(self, newlines: int) -> None:
        """Put newlines before what comes next."""
        self._gap, self._space = max(self._gap, newlines), False

    def mark(self, mark: str) -> None:
        """Put a mark in front of what comes next, if it is one."""
        self._mark = mark or self._mark

    @property
    def text(self) -> str:
        return "".join(self._pieces)


def readable(html: str, *, base: str, links: bool) -> tuple[str, str]:
    """The title and the text of a page; `links` are written out, absolute."""
    parser = LexborHTMLParser(html)
    titles = parser.css_first("title")
    title = _SPACE.sub(" ", titles.text()).strip() if titles is not None else ""
    for node in parser.css(_DROPPED):
        node.decompose()
    body = parser.body
    if body is None:
        return title, ""
    for place in _MAIN:
        found = parser.css(place)
        if len(found) == 1 and (text := _written(found[0], base, links)):
            return title, text
    whole = _written(body, base, links)
    for node in parser.css(_FURNITURE):
        node.decompose()
    return title, _written(body, base, links) or whole


def _written(root: LexborNode, base: str, links: bool) -> str:
    writer = _Writer()
    lists: list[int | None] = []  # those that are open: None, or the number of the last item
    verbatim = 0
    for node, opens in _visits(root):
        tag = node.tag or ""
        if node.is_text_node:
            (writer.verbatim if verbatim else writer.words)(node.text_content or "")
            continue
        if tag in {"ol", "ul"} and not opens:
            lists.pop()
        if tag == "pre":
            verbatim += 1 if opens else -1
            if not opens:
                writer.verbatim("\n```")
        if tag in _BLOCKS or tag in _LINES:
            writer.apart(2 if tag in _BLOCKS and not lists else 1)
        if tag in {"ol", "ul"} and opens:
            lists.append(0 if tag == "ol" else None)
        if tag == "a" and links and not opens:
            _link(writer, node, base)
        if opens:
            writer.mark(_mark(node, tag, lists))
    return writer.text


def _mark(node: LexborNode, tag: str, lists: list[int | None]) -> str:
    """What stands in front of an element; counts the items of lists."""
    if tag in _HEADINGS:
        return _HEADINGS[tag]
    if tag == "pre":
        return "```\n"
    if tag == "li":
        bullet, indent = "- ", "  " * max(len(lists) - 1, 0)
        if lists and (number := lists[-1]) is not None:
            lists[-1] = number + 1
            bullet = f"{number + 1}. "
        return indent + bullet
    if tag in {"td", "th"} and _follows_cell(node):
        return " | "
    return ""


def _follows_cell(node: LexborNode) -> bool:
    before = node.prev
    while before is not None and before.tag not in {"td", "th"}:
        before = before.prev
    return before is not None


def _link(writer: _Writer, node: LexborNode, base: str) -> None:
    try:
        target = urljoin(base, node.attributes.get("href") or "")
        scheme = urlsplit(target).scheme
    except ValueError:
        return
    if scheme in {"http", "https"} and target != base:
        writer.words(f" ({target})")


def _visits(root: LexborNode) -> Iterator[tuple[LexborNode, bool]]:
    """Every node where it opens and where it closes; not by recursion, pages nest deeply."""
    stack = [(root, True)]
    while stack:
        node, opens = stack.pop()
        yield node, opens
        if not opens or node.is_text_node:
            continue
        stack.append((node, False))
        child = node.last_child
        while child is not None:
            if child.is_text_node or child.is_element_node:
                stack.append((child, True))
            child = child.prev


def main() -> None:
    """Read a page within the limits; the arguments are its URL and whether links are wanted."""
    try:
        import resource
    except ImportError:  # Windows: only the caller's time limit holds
        pass
    else:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    base, links = sys.argv[1:]
    html = sys.stdin.buffer.read().decode("utf-8", "replace")
    title, text = readable(html, base=base, links=links == "links")
    sys.stdout.buffer.write(json.dumps([title, text]).encode())


if __name__ == "__main__":
    main()
