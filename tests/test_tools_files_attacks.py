"""The file tools under attack: whatever path they get, nothing outside of the folder is touched.

Also while others swap files for links, write the same file, or are killed at it.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from files_house import SECRET, Hands, furnished, posix
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentkit import Retry
from agentkit_tools.files import FilesConfig
from agentkit_tools.files.folder import RootedFiles
from agentkit_tools.system.rooted import HAS_DESCRIPTORS, Folder, Refused, Root
from agentkit_tools.system.text import NotText


@pytest.fixture
def house(tmp_path: Path) -> Path:
    return furnished(tmp_path)


@pytest.fixture
def hands(house: Path) -> Hands:
    return Hands(house)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What must stay outside


ATTACKS = [
    *("..", "../secret.txt", "src/../../secret.txt", "src/..", "./../root/notes.txt"),
    *("/etc/passwd", "//etc/passwd", "~/x", "~root/x", "C:\\x", "c:x"),
    *("a\0b", "notes.txt\0.png", "x" * 2000, "a/" * 600),
    *("link", "link/secret.txt", "up/secret.txt", "loop", "dangling", "src/deep/secret.txt"),
    *(".git/config", ".GIT/config", ".git./config", ".g\u200cit/config", "src/.git/x"),
]


@pytest.fixture
def trapped(house: Path) -> Path:
    """The folder, with links in it that lead out."""
    (house / "link").symlink_to(house.parent / "secret.txt")
    (house / "up").symlink_to("..")
    (house / "loop").symlink_to("loop")
    (house / "dangling").symlink_to(house.parent / "new.txt")
    (house / "src" / "deep").symlink_to(house.parent / "outside")
    (house / ".git").mkdir()
    (house / ".git" / "config").write_text("[core]")
    return house


@posix
@pytest.mark.parametrize("path", ATTACKS)
@pytest.mark.parametrize("by_descriptor", [True, False])
def test_no_path_leads_out(trapped: Path, path: str, by_descriptor: bool) -> None:
    if by_descriptor and not HAS_DESCRIPTORS:
        pytest.skip("this system has no openat")
    files = RootedFiles(FilesConfig(root=trapped), by_descriptor=by_descriptor)
    before = snapshot(trapped.parent)
    seen: dict[str, str] = {}
    attempts: list[Callable[[], object]] = [
        lambda: files.read(path),
        lambda: files.create(path, "mine"),
        lambda: files.replace(path, "mine", seen, approved=True),
        lambda: files.edit(path, "secret", "public"),
        lambda: files.append(path, "mine"),
        lambda: files.move("notes.txt", path),
        lambda: files.listed(path),
        lambda: files.searched("secret", path, ignore_case=False),
    ]
    for attempt in attempts:
        with pytest.raises((Refused, NotText, OSError)):
            attempt()
    assert snapshot(trapped.parent) == before
    assert not (trapped.parent / "new.txt").exists()


@posix
def test_links_are_told_and_not_followed(trapped: Path) -> None:
    hands = Hands(trapped)
    assert "link (a link, not followed)" in hands.list_files()
    assert SECRET not in hands.search_files(text="e", ignore_case=True)
    assert "outside" not in hands.find_files(pattern="**")
    with pytest.raises(Retry, match="links are not followed"):
        hands.read_file(path="link")


@posix
def test_deleting_or_moving_a_link_leaves_what_it_leads_to(trapped: Path) -> None:
    hands = Hands(trapped)
    hands.move_file(source="link", destination="src/link")
    hands.delete_file(path="src/link")
    assert (trapped.parent / "secret.txt").read_text() == SECRET


def test_what_is_hidden_is_neither_seen_nor_reached(house: Path) -> None:
    (house / ".git").mkdir()
    (house / ".git" / "config").write_text("milk")
    (house / "key.PEM").write_text("milk")
    hands = Hands(house, hidden=(".git", "*.pem"))
    assert hands.list_files() == "notes.txt (11 bytes)\nsrc/"
    assert hands.search_files(text="milk") == "notes.txt:1: milk"
    assert hands.find_files(pattern="**") == "notes.txt (11 bytes)\nsrc/\nsrc/a.py (14 bytes)"
    for path in (".git/hooks/pre-commit", "key.pem", "src/a.Pem"):
        with pytest.raises(Retry, match="hidden"):
            hands.write_file(path=path, content="x")
    with pytest.raises(Retry, match="hidden"):
        hands.move_file(source="src", destination=".git")


@posix
@pytest.mark.parametrize("path", ["pipe", "socket", "null"])
def test_pipes_sockets_and_devices_are_not_opened(house: Path, path: str) -> None:
    os.mkfifo(house / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.getcwd()
        os.chdir(house)  # the whole path may be too long for a socket
        try:
            listening.bind("socket")
        finally:
            os.chdir(here)
        if os.geteuid() == 0:
            os.mknod(house / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        elif path == "null":
            pytest.skip("only root makes devices")
        hands = Hands(house)
        with pytest.raises(Retry, match="device, pipe or socket"):
            hands.read_file(path=path)
        with pytest.raises(Retry, match="device, pipe or socket"):
            hands.append_to_file(path=path, content="x")
        assert f"{path} (a device, pipe or socket)" in hands.list_files()
        assert hands.search_files(text="milk") == "notes.txt:1: milk"


@posix
@pytest.mark.skipif(not HAS_DESCRIPTORS, reason="this system has no openat")
def test_a_folder_swapped_for_a_link_at_any_moment_leads_nowhere(house: Path) -> None:
    """Somebody swaps a folder for a link to the neighbours as fast as they can."""
    outside = house.parent / "outside"
    (house / "src" / "secret.txt").write_text("ours")
    over = threading.Event()

    def rename(source: str, target: str) -> None:
        while True:
            try:
                os.rename(house / source, house / target)
                return
            except OSError:  # one was made where none was
                shutil.rmtree(house / target, ignore_errors=True)

    def swap() -> None:
        (house / "trap").symlink_to(outside)
        while not over.is_set():
            rename("src", "aside")
            rename("trap", "src")
            rename("src", "trap")
            rename("aside", "src")

    files = RootedFiles(FilesConfig(root=house))
    swapping = threading.Thread(target=swap)
    swapping.start()
    read = 0
    try:
        for number in range(60):
            for attempt in (
                lambda: files.append("src/secret.txt", "more\n"),
                lambda number=number: files.create(f"src/new{number}", "mine"),
                lambda: files.read("src/secret.txt"),
                lambda: files.searched("secret", ".", ignore_case=False),
            ):
                try:
                    told = attempt()
                except (Refused, OSError):
                    continue
                read += 1
                assert SECRET not in str(told)
    finally:
        over.set()
        swapping.join()
    assert read  # the race was run, and not lost before it began
    assert [path.name for path in outside.iterdir()] == ["secret.txt"]
    assert (outside / "secret.txt").read_text() == SECRET


@posix
@pytest.mark.skipif(not HAS_DESCRIPTORS, reason="this system has no openat")
@pytest.mark.parametrize("moment", ["open", "stat", "replace", "unlink"])
@pytest.mark.parametrize("work", ["read", "append", "create", "delete"])
def test_a_file_swapped_for_a_link_between_look_and_use_is_not_followed(
    house: Path, monkeypatch: pytest.MonkeyPatch, moment: str, work: str
) -> None:
    real = getattr(os, moment)
    swapped: list[str] = []

    def swap() -> None:
        if not swapped:
            swapped.append(moment)
            os.rename(house / "notes.txt", house / "aside")
            (house / "notes.txt").symlink_to(house.parent / "secret.txt")

    def spied(path: Any, *args: Any, **kwargs: Any) -> Any:
        ours = path == "notes.txt" or str(path).startswith(".agentkit-")
        if ours and moment != "stat":
            swap()  # after the last look
        result = real(path, *args, **kwargs)
        if ours:
            swap()  # after the first one
        return result

    files = RootedFiles(FilesConfig(root=house))
    works: dict[str, Callable[[], object]] = {
        "read": lambda: files.read("notes.txt"),
        "append": lambda: files.append("notes.txt", "mine"),
        "create": lambda: files.create("notes.txt", "mine"),
        "delete": lambda: files.delete("notes.txt"),
    }
    with monkeypatch.context() as patch:
        patch.setattr(os, moment, spied)
        with suppress(Refused, OSError):
            assert SECRET not in str(works[work]())
    assert (house.parent / "secret.txt").read_text() == SECRET
    if swapped:
        assert (house / "aside").read_text().startswith("milk")


@posix
@pytest.mark.skipif(not HAS_DESCRIPTORS, reason="this system has no openat")
@pytest.mark.parametrize("moment", ["open", "stat"])
@pytest.mark.parametrize("work", ["read", "append", "create", "delete", "move", "search"])
def test_a_folder_swapped_for_a_link_between_look_and_use_is_not_followed(
    house: Path, monkeypatch: pytest.MonkeyPatch, moment: str, work: str
) -> None:
    (house / "src" / "secret.txt").write_text("ours")
    real = getattr(os, moment)
    swapped: list[str] = []

    def spied(path: Any, *args: Any, **kwargs: Any) -> Any:
        result = real(path, *args, **kwargs)
        if Path(str(path)).name == "src" and not swapped:
            swapped.append(moment)
            os.rename(house / "src", house / "aside")
            (house / "src").symlink_to(house.parent / "outside")
        return result

    files = RootedFiles(FilesConfig(root=house))
    works: dict[str, Callable[[], object]] = {
        "read": lambda: files.read("src/secret.txt"),
        "append": lambda: files.append("src/secret.txt", "mine"),
        "create": lambda: files.create("src/new.txt", "mine"),
        "delete": lambda: files.delete("src/secret.txt"),
        "move": lambda: files.move("src/secret.txt", "src/moved.txt"),
        "search": lambda: files.searched("secret", "src", ignore_case=False),
    }
    with monkeypatch.context() as patch:
        patch.setattr(os, moment, spied)
        with suppress(Refused, OSError):
            assert SECRET not in str(works[work]())
    assert swapped == [moment]
    outside = house.parent / "outside"
    assert [path.name for path in outside.iterdir()] == ["secret.txt"]
    assert (outside / "secret.txt").read_text() == SECRET


NAMES = st.sampled_from(
    ["a", "b", "src", "up", "in", ".git", "..", ".", "", "~", "secret.txt", "\0"]
)


@posix
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NAMES, max_size=6).map("/".join) | st.text(max_size=12))
def test_any_path_is_refused_or_lies_within(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    if not root.exists():
        (root / "src" / "a").mkdir(parents=True)
        (root / "up").symlink_to("..")
        (root / "src" / "in").symlink_to("a")
        (tmp_path / "secret.txt").write_text(SECRET)
        (root / "secret.txt").write_text("ours")
    files = RootedFiles(FilesConfig(root=root))
    attempts: list[Callable[[str], object]] = [
        files.read,
        files.listed,
        lambda path: files.create(path, "mine"),
    ]
    for attempt in attempts:
        try:
            told = attempt(path)
        except (ValueError, OSError):
            continue
        assert SECRET not in str(told)
        real = (root / path).resolve()
        assert real.is_relative_to(root.resolve())
        assert real == root.resolve() / os.path.normpath(path)  # by way of no link
    assert sorted(found.name for found in tmp_path.iterdir()) == ["root", "secret.txt"]


# What a crash, or another writer, finds


@posix
def test_a_killed_writer_leaves_the_old_content_or_the_new(house: Path) -> None:
    program = (
        "import sys\n"
        "from agentkit_tools.files.folder import RootedFiles\n"
        "from agentkit_tools.files.config import FilesConfig\n"
        "files = RootedFiles(FilesConfig(root=sys.argv[1]))\n"
        "seen = {}\n"
        "files.read('big', seen)\n"
        "print('ready', flush=True)\n"
        "for n in range(10**9): files.replace('big', str(n % 10) * 300_000, seen)\n"
    )
    chance = random.Random(7)
    (house / "big").write_text("0" * 300_000)
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(house)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(chance.uniform(0.005, 0.03))
            writer.send_signal(signal.SIGKILL)
        content = (house / "big").read_text()
        assert content == content[0] * 300_000


def test_a_failing_write_leaves_the_file_and_nothing_beside_it(
    hands: Hands, house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = snapshot(house)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ValueError, match="No space left"):
            hands.append_to_file(path="notes.txt", content="x")
        with pytest.raises(ValueError, match="No space left"):
            hands.write_file(path="new.txt", content="x")
    assert snapshot(house) == before


@posix
def test_permissions_stay_and_hard_links_outside_keep_their_content(
    hands: Hands, house: Path
) -> None:
    os.link(house.parent / "secret.txt", house / "ours")
    os.chmod(house / "ours", 0o640)
    (house / "script").write_text("x\n")
    os.chmod(house / "script", 0o755)
    for path in ("ours", "script"):
        hands.append_to_file(path=path, content="more")
    assert stat.S_IMODE((house / "ours").stat().st_mode) == 0o640
    assert stat.S_IMODE((house / "script").stat().st_mode) == 0o755
    assert (house.parent / "secret.txt").read_text() == SECRET


def test_many_writers_of_one_file_lose_nothing(house: Path) -> None:
    program = (
        "import sys\n"
        "from agentkit_tools.files.folder import RootedFiles\n"
        "from agentkit_tools.files.config import FilesConfig\n"
        "files = RootedFiles(FilesConfig(root=sys.argv[1]))\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "for n in range(15): files.append('log', f'{sys.argv[2]}:{n}\\n')\n"
    )
    (house / "log").write_text("")
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(house), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in range(2)
    ]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    files = RootedFiles(FilesConfig(root=house))

    def write(number: int) -> None:
        for n in range(15):
            files.append("log", f"t{number}:{n}\n")

    threads = [threading.Thread(target=write, args=[number]) for number in range(2)]
    for thread in threads:
        thread.start()
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
    for thread in threads:
        thread.join()
    assert [writer.returncode for writer in writers] == [0, 0]
    expected = {f"{who}:{n}" for who in ("0", "1", "t0", "t1") for n in range(15)}
    lines = (house / "log").read_text().split("\n")
    assert sorted(lines[:-1]) == sorted(expected)


def test_a_change_by_others_between_reading_and_renaming_is_not_overwritten(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands = Hands(house)
    real = os.fsync

    def meanwhile(descriptor: int) -> None:
        real(descriptor)
        (house / "notes.txt").write_text("by another editor")

    monkeypatch.setattr(os, "fsync", meanwhile)
    with pytest.raises(Retry, match="changed meanwhile"):
        hands.edit_file(path="notes.txt", old="milk", new="cream")
    assert (house / "notes.txt").read_text() == "by another editor"


def test_a_file_that_appears_meanwhile_is_not_overwritten(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.link

    def first(*args: Any, **kwargs: Any) -> None:
        (house / "new.txt").write_text("theirs")
        real(*args, **kwargs)

    monkeypatch.setattr(os, "link", first)
    with pytest.raises(Retry, match="already"):
        Hands(house).write_file(path="new.txt", content="ours")
    assert (house / "new.txt").read_text() == "theirs"
    assert not list(house.glob(".agentkit-*"))


# What is left open


@pytest.fixture
def _folder_leaks() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="of Linux")
@pytest.mark.usefixtures("_folder_leaks")
def test_no_descriptor_is_left_open(trapped: Path) -> None:
    hands = Hands(trapped)
    for path in ("notes.txt", "link", "up/x", "src/a.py", "src/none", "src"):
        for attempt in (hands.read_file, hands.delete_file):
            with suppress(ValueError, Retry):
                attempt(path=path)
    hands.find_files(pattern="**")
    hands.search_files(text="x")


def test_a_walk_that_is_left_early_closes_its_folders(house: Path) -> None:
    opened: list[Folder] = []
    for folder, _, _ in Root(house).walk():
        opened.append(folder)
        break
    if opened[0].descriptor is not None:
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(opened[0].descriptor)
