"""Reads what the tests need out of Markdown: fenced blocks, links and the anchors of headings."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from markdown_it import MarkdownIt
from markdown_it.token import Token


@dataclass(frozen=True)
class Block:
    """A fenced block: the word behind the fence, the code, and the number of its first line."""

    language: str
    code: str
    line: int


class Page:
    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        self._tokens = MarkdownIt("commonmark").enable("table").parse(text)

    @property
    def blocks(self) -> Iterator[Block]:
        for token in self._tokens:
            if token.type in {"fence", "code_block"}:
                first = (token.map or [0])[0] + (2 if token.type == "fence" else 1)
                yield Block(token.info.strip(), token.content, first)

    @property
    def links(self) -> Iterator[str]:
        for token in self._inline():
            target = token.attrGet("href") or token.attrGet("src")
            if target:
                yield str(target)

    @property
    def uneven_rows(self) -> Iterator[str]:
        """Give the rows of tables with more or fewer cells than the heading: what is too much is not shown."""
        width = 0
        for token in self._tokens:
            if token.type == "tr_open" and token.map is not None:
                row = self._lines[token.map[0]]
                cells = len(re.findall(r"(?<!\\)\|", row))
                width = width or cells
                if cells != width:
                    yield row.strip()
            elif token.type == "table_close":
                width = 0

    @cached_property
    def anchors(self) -> set[str]:
        """The anchors that a heading gets where Markdown is shown: lower case, no punctuation, dashes."""
        anchors: set[str] = set()
        for opening, inline in zip(self._tokens, self._tokens[1:], strict=False):
            if opening.type != "heading_open":
                continue
            title = "".join(token.content for token in inline.children or [])
            anchor = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
            count = 0
            while (unique := anchor if count == 0 else f"{anchor}-{count}") in anchors:
                count += 1
            anchors.add(unique)
        return anchors

    def _inline(self) -> Iterator[Token]:
        for token in self._tokens:
            yield from token.children or []
