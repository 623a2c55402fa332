"""Bytes of a file as text, and back without a change that nobody asked for.

Knows encodings, byte order marks and line ends; must not know files.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

_MARKS = (  # UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_KINDS = (
    (b"\x89PNG\r\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive (or a document made of one)"),
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"BZh", "bzip2-compressed data"),
    (b"\xfd7zXZ", "xz-compressed data"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data"),
    (b"\x7fELF", "a Linux program"),
    (b"MZ", "a Windows program"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"OggS", "Ogg audio or video"),
    (b"ID3", "MP3 audio"),
    (b"RIFF", "RIFF audio or video"),
    (b"\0asm", "WebAssembly"),
)


class NotText(ValueError):
    """The bytes are no text; says what they look like."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text, and what it takes to write it as it was.

    content: its line ends are all "\\n" where they were all the same.
    """

    content: str
    encoding: str = "utf-8"
    mark: bytes = b""
    newline: str = "\n"

    def encoded(self, content: str) -> bytes:
        """Another content, written in the manner of this one.

        Raises:
            ValueError: the encoding has no bytes for it.
        """
        if self.newline == "\r\n":
            content = content.replace("\r\n", "\n").replace("\n", "\r\n")
        try:
            return self.mark + content.encode(self.encoding)
        except UnicodeEncodeError as error:
            letter = content[error.start]
            raise ValueError(f"{letter!r} can't be written in {self.encoding}") from error


def decoded(data: bytes, *, fallback: str | None = None) -> Text:
    """Read bytes by their byte order mark, else as UTF-8, else in the encoding `fallback`.

    Raises:
        NotText: they are no text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return _with_newlines(data[len(mark) :].decode(encoding), encoding, mark)
            except UnicodeDecodeError as error:
                raise NotText(f"text of broken {encoding}") from error
    if b"\0" in data:
        raise NotText(_looks_like(data))
    for encoding in ("utf-8", *([] if fallback is None else [fallback])):
        try:
            return _with_newlines(data.decode(encoding), encoding, b"")
        except UnicodeDecodeError:
            if _known(data):
                break
    raise NotText(_looks_like(data))


def _with_newlines(content: str, encoding: str, mark: bytes) -> Text:
    ends = content.count("\r\n")
    if ends and content.count("\n") == ends and content.count("\r") == ends:
        return Text(content.replace("\r\n", "\n"), encoding, mark, "\r\n")
    return Text(content, encoding, mark)


def _known(data: bytes) -> str | None:
    return next((kind for start, kind in _KINDS if data.startswith(start)), None)


def _looks_like(data: bytes) -> str:
    return _known(data) or "binary data"
