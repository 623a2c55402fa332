"""The file tools: reading, writing, editing and finding, texts, limits, patterns and the plugin.

That nothing outside of the folder is touched is specified in test_tools_files_attacks.py.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from files_house import Hands, furnished, posix
from hypothesis import given
from hypothesis import strategies as st

from agentkit import Agent, PluginError, Retry, RunContext, Toolset
from agentkit.testing import ScriptedBackend, answer, call
from agentkit_tools.files import FilesConfig, files_toolset, plugin
from agentkit_tools.system.globs import BadGlob, expanded, matches
from agentkit_tools.system.rooted import Refused, Root
from agentkit_tools.system.text import NotText, decoded


@pytest.fixture
def house(tmp_path: Path) -> Path:
    return furnished(tmp_path)


@pytest.fixture
def hands(house: Path) -> Hands:
    return Hands(house)


# Reading, writing, editing


def test_a_folder_is_listed_with_what_its_entries_are(hands: Hands, house: Path) -> None:
    assert hands.list_files() == "notes.txt (11 bytes)\nsrc/"
    assert hands.list_files(folder="src") == "a.py (14 bytes)"
    (house / "new").mkdir()
    assert hands.list_files(folder="./new/") == "The folder is empty."


def test_a_file_is_read_whole_or_by_lines(hands: Hands) -> None:
    assert hands.read_file(path="src/a.py") == "one\ntwo\nthree"
    assert hands.read_file(path="src/a.py", start=2) == "two\nthree\n[lines 2 to 3 of 3]"
    assert hands.read_file(path="src/a.py", start=1, end=2) == "one\ntwo\n[lines 1 to 2 of 3]"
    with pytest.raises(Retry, match="lines 1 to 3") as caught:
        hands.read_file(path="src/a.py", start=4)
    assert caught.value.value == "start"


def test_a_long_file_is_read_in_pieces_that_make_the_whole(house: Path) -> None:
    lines = [f"line {number} " + "x" * (number % 37) for number in range(300)]
    (house / "long.txt").write_text("\n".join(lines))
    hands = Hands(house, result_characters=500)
    read: list[str] = []
    while len(read) < len(lines):
        piece = hands.read_file(path="long.txt", start=len(read) + 1).split("\n")
        assert piece[-1].startswith(f"[lines {len(read) + 1} to ")
        assert sum(map(len, piece)) < 600
        read += piece[:-1]
    assert read == lines


def test_a_line_longer_than_what_is_told_is_cut_and_said_so(house: Path) -> None:
    (house / "wide.txt").write_text("y" * 10_000 + "\nend")
    told = Hands(house, result_characters=1000).read_file(path="wide.txt")
    assert "[cut: 10,000 characters]" in told
    assert len(told) < 1200


def test_a_file_is_made_with_the_folders_on_its_way(hands: Hands, house: Path) -> None:
    assert hands.write_file(path="x/y/z.txt", content="a\nb") == "Created 'x/y/z.txt': 2 lines."
    assert (house / "x" / "y" / "z.txt").read_text() == "a\nb"


def test_an_edit_replaces_the_one_place(hands: Hands, house: Path) -> None:
    told = hands.edit_file(path="src/a.py", old="two\n", new="2\n2b\n")
    assert told == "Changed 'src/a.py' at line 2."
    assert (house / "src" / "a.py").read_text() == "one\n2\n2b\nthree\n"


@pytest.mark.parametrize(
    ("content", "old", "why"),
    [
        ("a b\nx\na b\n", "a b", "2 times in 'f', in lines 1, 3"),
        ("aaa", "aa", "2 times in 'f', in lines 1, 1"),  # overlapping: which one is not said
        ("x\n" * 9, "x", "several times in 'f', in lines 1, 2, 3, 4, 5 and more"),
        ("if a:\n\treturn  b\n", "if a:\n    return b", "line 1 differs in white space only"),
        ("a", "b", "is not in 'f'; read the file"),
        ("a", "", "is empty"),
    ],
)
def test_an_edit_that_is_not_sure_changes_nothing_and_blames_the_text(
    hands: Hands, house: Path, content: str, old: str, why: str
) -> None:
    (house / "f").write_text(content)
    with pytest.raises(Retry, match=why) as caught:
        hands.edit_file(path="f", old=old, new="new")
    assert caught.value.value == "old"
    assert (house / "f").read_text() == content


def test_a_missing_file_is_told_with_the_one_that_was_meant(hands: Hands) -> None:
    with pytest.raises(Retry, match=r"did you mean 'src/a\.py'\?") as caught:
        hands.edit_file(path="src/b.py", old="one", new="1")
    assert caught.value.value == "path"


def test_what_is_appended_begins_a_line(hands: Hands, house: Path) -> None:
    (house / "log").write_text("one")
    hands.append_to_file(path="log", content="two\n")
    hands.append_to_file(path="log", content="three\n")
    assert (house / "log").read_text() == "one\ntwo\nthree\n"


def test_files_and_folders_move_onto_nothing_else(hands: Hands, house: Path) -> None:
    hands.move_file(source="src", destination="lib/deep/src")
    assert (house / "lib" / "deep" / "src" / "a.py").exists()
    hands.move_file(source="notes.txt", destination="lib/notes.txt")
    (house / "other").write_text("mine")
    with pytest.raises(Retry, match="'other' is there already"):
        hands.move_file(source="lib/notes.txt", destination="other")
    assert (house / "other").read_text() == "mine"
    assert (house / "lib" / "notes.txt").read_text() == "milk\nbread\n"
    with pytest.raises(Retry, match="into itself"):
        hands.move_file(source="lib", destination="lib/deep/lib")


def test_deleting_takes_files_and_empty_folders(hands: Hands, house: Path) -> None:
    with pytest.raises(ValueError, match="not empty"):
        hands.delete_file(path="src")
    hands.delete_file(path="src/a.py")
    assert hands.delete_file(path="src") == "Deleted the folder 'src'."
    assert not (house / "src").exists()


def test_text_and_names_are_found(hands: Hands, house: Path) -> None:
    (house / "src" / "b.txt").write_text("a\n  Two times\n")
    assert hands.search_files(text="two") == "src/a.py:2: two"
    found = hands.search_files(text="two", folder="src", ignore_case=True)
    assert found == "src/a.py:2: two\nsrc/b.txt:2: Two times"
    assert hands.find_files(pattern="*.txt") == "notes.txt (11 bytes)\nsrc/b.txt (14 bytes)"
    assert hands.find_files(pattern="src/*.py") == "src/a.py (14 bytes)"
    assert hands.find_files(pattern="*.rs") == "No file matches '*.rs'."
    assert hands.search_files(text="nowhere") == "No line contains 'nowhere'."


# What a run has seen


def test_a_file_is_overwritten_only_as_the_run_has_seen_it(hands: Hands, house: Path) -> None:
    with pytest.raises(Retry, match="Read it before"):
        hands.write_file(path="notes.txt", content="new")
    hands.read_file(path="notes.txt")
    (house / "notes.txt").write_text("by another editor")
    with pytest.raises(Retry, match="changed since"):
        hands.write_file(path="notes.txt", content="new")
    hands.read_file(path="notes.txt")
    hands.write_file(path="notes.txt", content="new")
    hands.edit_file(path="notes.txt", old="new", new="newer")
    hands.write_file(path="notes.txt", content="newest")  # what it wrote itself, it knows
    assert (house / "notes.txt").read_text() == "newest"


def test_what_one_run_has_read_another_has_not(hands: Hands) -> None:
    hands.read_file(path="notes.txt")
    hands.context = RunContext[Any](deps=None)
    with pytest.raises(Retry, match="Read it before"):
        hands.write_file(path="notes.txt", content="new")


def test_the_second_of_two_edits_sees_the_first(hands: Hands, house: Path) -> None:
    hands.edit_file(path="notes.txt", old="milk", new="cream")
    with pytest.raises(Retry, match=r"not in 'notes\.txt'"):
        hands.edit_file(path="notes.txt", old="milk", new="oat milk")
    assert (house / "notes.txt").read_text() == "cream\nbread\n"


# Texts


@pytest.mark.parametrize(
    ("data", "content", "after"),
    [
        (b"a\r\nb\r\n", "a\nb", b"a\r\nB\r\nC\r\n"),
        (b"\xef\xbb\xbfa\nb\n", "a\nb", b"\xef\xbb\xbfa\nB\nC\n"),
        ("\ufeffa\nb\n".encode("utf-16-le"), "a\nb", "\ufeffa\nB\nC\n".encode("utf-16-le")),
        ("\ufeffa\r\nb\n".encode("utf-16-be"), "a\r\nb", "\ufeffa\r\nB\nC\n".encode("utf-16-be")),
        ("ä\nb\n".encode("cp1252"), "ä\nb", "ä\nB\nC\n".encode("cp1252")),
        ("ä\nb\n".encode(), "ä\nb", "ä\nB\nC\n".encode()),
    ],
)
def test_an_edit_keeps_encoding_mark_and_line_ends(
    hands: Hands, house: Path, data: bytes, content: str, after: bytes
) -> None:
    (house / "f").write_bytes(data)
    assert hands.read_file(path="f") == content
    hands.edit_file(path="f", old="b\n", new="B\nC\n")
    assert (house / "f").read_bytes() == after


@given(st.binary(max_size=60))
def test_a_text_that_is_read_is_written_back_byte_by_byte(data: bytes) -> None:
    try:
        text = decoded(data, fallback="cp1252")
    except NotText:
        return
    assert text.encoded(text.content) == data


def test_what_the_encoding_can_not_write_is_told(hands: Hands, house: Path) -> None:
    (house / "f").write_bytes("ä\n".encode("cp1252"))
    with pytest.raises(ValueError, match=r"'→' can't be written in cp1252"):
        hands.append_to_file(path="f", content="→")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0", "a PNG image, 10 bytes"),
        (b"%PDF-1.7 \xe2\xe3\xcf\x81", "a PDF document"),
        (b"SQLite format 3\0....", "an SQLite database"),
        (b"\0\1\2", "binary data, 3 bytes"),
    ],
)
def test_a_binary_file_is_told_for_what_it_is(
    hands: Hands, house: Path, data: bytes, kind: str
) -> None:
    (house / "f").write_bytes(data)
    with pytest.raises(Retry, match=f"is no text: {kind}") as caught:
        hands.read_file(path="f")
    assert caught.value.value == "path"


@posix
def test_odd_names_are_told_so_that_they_can_be_read(hands: Hands, house: Path) -> None:
    (house / "two\nlines").write_text("x")
    try:
        (Path(os.fsdecode(os.fsencode(house) + b"/caf\xe9"))).write_text("x")
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    told = hands.list_files()
    told.encode()
    assert r"'two\nlines' (1 bytes)" in told
    assert r"caf\udce9" in told
    assert hands.find_files(pattern="*").count("\n") == told.count("\n") + 1  # and src/a.py


# Limits


def test_large_files_are_neither_read_nor_written(house: Path) -> None:
    hands = Hands(house, file_bytes=1000)
    (house / "big").write_text("milk" * 251)
    with pytest.raises(Retry, match=r"1,004 bytes, and at most 1,000"):
        hands.read_file(path="big")
    with pytest.raises(Retry, match="too many"):
        hands.write_file(path="new", content="ä" * 501)
    with pytest.raises(Retry, match="too many"):
        hands.append_to_file(path="notes.txt", content="x" * 990)
    assert hands.search_files(text="milk") == "notes.txt:1: milk"
    assert not (house / "new").exists()


@posix
def test_a_file_without_an_end_is_not_read_to_it(house: Path) -> None:
    folder = Root("/proc/self") if Path("/proc/self/pagemap").exists() else None
    if folder is None:
        pytest.skip("of Linux")
    with folder.folder() as opened, pytest.raises((Refused, OSError)):
        opened.read("pagemap", limit=1000)  # says it has 0 bytes


def test_results_are_counted_and_the_rest_told(house: Path) -> None:
    for number in range(20):
        (house / f"f{number}").write_text("milk\n" * 3)
    hands = Hands(house, results=5)
    assert hands.list_files().endswith("[and 17 more]")
    for told in (hands.search_files(text="milk"), hands.find_files(pattern="f*")):
        assert told.count("\n") == 5
        assert "[the first 5; " in told


def test_searching_ends_when_its_time_is_up(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(10**6))
    monkeypatch.setattr("agentkit_tools.files.folder.time.monotonic", lambda: float(next(now)))
    for number in range(20):
        (house / f"f{number}").write_text("milk")
    told = Hands(house, seconds=7).search_files(text="milk")
    assert "[given up after 7 s; " in told
    assert 0 < told.count("milk") < 20


# Patterns


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("*.py", "a.py", True),
        ("*.py", "src/a.py", True),
        ("src/*.py", "src/a.py", True),
        ("src/*.py", "src/b/a.py", False),
        ("src/**", "src/b/a.py", True),
        ("src/**", "src", False),
        ("src/", "src/a.py", True),
        ("**/a.py", "a.py", True),
        ("**/b/*.py", "src/b/a.py", True),
        ("src/**/a.py", "src/a.py", True),
        ("*.{py,ts}", "src/a.ts", True),
        ("{src,lib}/*.{py,ts}", "lib/a.py", True),
        ("[ab].py", "b.py", True),
        ("[!ab].py", "b.py", False),
        ("/a.py", "a.py", True),
        ("./src/a.py", "src/a.py", True),
        ("?.py", "ab.py", False),
        ("**", "src/a.py", True),
    ],
)
def test_what_a_pattern_matches(pattern: str, path: str, fits: bool) -> None:
    assert any(matches(path.split("/"), one) for one in expanded(pattern)) is fits


@pytest.mark.parametrize(
    "pattern",
    ["", "../*", "a//b", "!a", "a\\b", "{a", "a**b/c", "[", "a]", "{a,b}" * 9, "x" * 300, "a\0"],
)
def test_patterns_that_mean_nothing_are_refused(pattern: str) -> None:
    with pytest.raises(BadGlob):
        expanded(pattern)


def test_no_pattern_takes_forever() -> None:
    pattern = "**/" * 60 + "x"
    assert not matches(["a"] * 60, pattern)
    assert not matches(["a" * 200], "*a" * 60 + "b")


# The plugin, and an agent


def test_a_read_only_toolset_has_only_what_reads(house: Path) -> None:
    assert list(Hands(house, read_only=True).tools) == [
        *("list_files", "read_file", "find_files", "search_files")
    ]


def test_deleting_waits_for_a_human_and_so_does_what_is_configured(house: Path) -> None:
    def waiting(**options: Any) -> set[str]:
        return {name for name, tool in Hands(house, **options).tools.items() if tool.approval}

    assert waiting() == {"delete_file"}
    assert waiting(approve={"write", "move"}) == {"write_file", "move_file"}
    assert waiting(approve=()) == set()


def test_what_a_human_approved_need_not_have_been_read(house: Path) -> None:
    hands = Hands(house, approve={"write"})
    assert hands.write_file(path="notes.txt", content="new") == "Overwrote 'notes.txt': 1 line."


def test_a_root_that_is_no_folder_is_told(house: Path) -> None:
    with pytest.raises(PluginError, match=r"files: root: .* is no folder"):
        files_toolset(FilesConfig(root=house / "notes.txt"))


async def test_the_plugin_opens_and_passes_its_own_test(house: Path) -> None:
    opened = plugin.open(FilesConfig(root=house))
    assert plugin.check is not None
    assert plugin.permissions
    assert isinstance(opened, Toolset)
    await plugin.check(opened)


async def test_an_agent_reads_edits_and_is_told_of_its_mistakes(house: Path) -> None:
    model = ScriptedBackend(
        [
            call("read_file", path="../secret.txt"),
            call("read_file", path="notes.txt"),
            call("write_file", path="notes.txt", content="cream\n"),
            call("delete_file", path="notes.txt"),
            answer("Done."),
        ]
    )
    agent = Agent(tools=[files_toolset(FilesConfig(root=house))], backend=model)
    paused = await agent.run("Change my notes")
    assert paused.status == "paused"
    results = [message.content for message in paused.history if message.role == "result"]
    assert "'..'" in results[0]
    assert results[1:] == ["milk\nbread", "Overwrote 'notes.txt': 1 line."]
    assert (house / "notes.txt").read_text() == "cream\n"
