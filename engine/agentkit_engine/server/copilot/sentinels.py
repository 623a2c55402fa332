"""Prompts that mark a hole themselves, by the words that other models were taught to read.

Knows those words and in which orders they come. Must not know what is done with a hole.

Clients write such prompts for a model by its name, and keep doing so when another one answers. Both
orders are read, text before the hole first ("PSM") and text behind it first ("SPM"); what stands
behind the last of the three words is where the hole's own text has begun already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from agentkit_engine.server.copilot.hole import File


@dataclass(frozen=True, slots=True)
class Family:
    """The words of some models.

    Attributes:
        before, behind: open the text before the hole and the one behind it.
        middle: opens what fills it.
        open_ended: it may be missing; such a prompt ends with the text before the hole.
        file: open other files, each with its name on the first line.
        repository: open the repository's name, of which nothing is made.
        spaced: one space around the words belongs to them.
    """

    before: str
    behind: str
    middle: str
    file: tuple[str, ...] = ()
    repository: tuple[str, ...] = ()
    spaced: bool = False
    open_ended: bool = False


FAMILIES = (
    # StarCoder, StarCoder2, StableCode, Granite, Refact, Mellum
    Family(
        "<fim_prefix>",
        "<fim_suffix>",
        "<fim_middle>",
        file=("<file_sep>", "<filename>"),
        repository=("<repo_name>", "<reponame>"),
    ),
    # SantaCoder
    Family("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    # Qwen's coders, CodeGemma, Granite 4
    Family(
        "<|fim_prefix|>",
        "<|fim_suffix|>",
        "<|fim_middle|>",
        file=("<|file_sep|>", "<|file_separator|>"),
        repository=("<|repo_name|>",),
    ),
    # Code Llama
    Family("<PRE>", "<SUF>", "<MID>", spaced=True),
    # Codestral
    Family("[PREFIX]", "[SUFFIX]", "[MIDDLE]", open_ended=True),
    # DeepSeek's coders, and as they are often typed
    Family("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    Family("<|fim▁begin|>", "<|fim▁hole|>", "<|fim▁end|>"),
    Family("<|fim_begin|>", "<|fim_hole|>", "<|fim_end|>"),
    # CodeGeeX, GLM
    Family("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
    # Seed-Coder
    Family("<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """What a prompt says that marks its hole; the fields are those of `Hole`."""

    before: str
    behind: str
    name: str = ""
    files: tuple[File, ...] = ()


def marked(prompt: str) -> Marked | None:
    """The hole that a prompt marks; None where it marks none and is all text."""
    for family in FAMILIES:
        found = _read(family, prompt)
        if found is not None:
            return found
    return None


def _read(family: Family, prompt: str) -> Marked | None:
    before, behind = prompt.find(family.before), prompt.find(family.behind)
    if before < 0 or behind < 0:
        return None
    middle = prompt.rfind(family.middle)
    if middle < max(before, behind):  # it is missing, or stands somewhere else
        if not family.open_ended:
            return None
        middle = len(prompt)
    ends = sorted((before, behind, middle))

    def text(start: int, word: str) -> str:
        stop = next((end for end in ends if end > start), len(prompt))
        said = prompt[start + len(word) : stop]
        if not family.spaced:
            return said
        # behind the words that open what is read or written, and before whatever comes next
        said = said if word == family.behind else said.removeprefix(" ")
        return said.removesuffix(" ") if stop < len(prompt) else said

    name, files = _files(family, prompt[: ends[0]])
    return Marked(
        before=text(before, family.before) + text(middle, family.middle),
        behind=text(behind, family.behind),
        name=name,
        files=files,
    )


def _files(family: Family, head: str) -> tuple[str, tuple[File, ...]]:
    """What stands before the first word: the name of the file with the hole, and other files."""
    words = (*family.file, *family.repository)
    if not words:
        return "", _nameless(head)
    parts = re.split("(" + "|".join(map(re.escape, words)) + ")", head)
    files = [*_nameless(parts[0]), *_named(family, parts[1:])]
    # the last one has a name and no text yet: that is what the hole is in
    if files and files[-1].name and not files[-1].text:
        return files[-1].name, tuple(files[:-1])
    return "", tuple(files)


def _named(family: Family, parts: list[str]) -> Iterator[File]:
    for word, said in zip(parts[::2], parts[1::2], strict=True):
        if word in family.file:
            name, _, text = said.lstrip("\n").partition("\n")
            yield File(name=name.strip(), text=text if text.strip() else "")


def _nameless(text: str) -> tuple[File, ...]:
    return (File(text=text),) if text.strip() else ()
