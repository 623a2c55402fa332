"""Code search: ripgrep and its stand-in find the same, and neither finds what is not ours."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentkit import Agent, PluginError, Retry
from agentkit.testing import ScriptedBackend, answer, call
from agentkit_tools.code_search import CodeSearch, CodeSearchConfig, code_search_toolset, plugin
from agentkit_tools.system.globs import expanded
from agentkit_tools.system.rooted import HAS_DESCRIPTORS
from agentkit_tools.system.scanning import Line, Request, scan

RIPGREP = shutil.which("rg")
needs_ripgrep = pytest.mark.skipif(RIPGREP is None, reason="ripgrep is not installed")
ENGINES = ["python", pytest.param("ripgrep", marks=needs_ripgrep)]
posix = pytest.mark.skipif(os.name == "nt", reason="of POSIX systems")

Make = Callable[..., CodeSearch]

FILES: dict[str, bytes] = {
    "main.py": b"import os\n\ndef main():\n    return os.name  # TODO\n",
    "src/util.py": b"def util():\n    pass\n\n\ndef unused():\n    pass\n",
    "src/deep/er/mod.ts": b"export function mod() {\n  // todo: more\n}\n",
    "src/crlf.txt": b"one\r\ntwo def\r\nthree",
    "src/#odd name.py": b"def odd():\n",
    "no_end": b"def last",
    "empty.py": b"",
    "blank.py": b"\n\n\n",
    "umlaut.txt": "Größe def\nΣίσυφος\n".encode(),
    "latin.txt": b"caf\xe9 def\nnext\n",
    "utf16.txt": "\ufeffdef wide\n".encode("utf-16-le"),
    "bom.py": b"\xef\xbb\xbfdef marked\n",
    "binary.bin": b"def\n\0\1\2def\n",
    "late.bin": b"def\n" + b"x" * 100_000 + b"\n\0",
    ".hidden.py": b"def hidden():\n",
    ".github/ci.yml": b"run: def\n",
    ".git/config": b"def secret\n",
    "big.py": b"def big\n" + b"#" * 200_000 + b"\n",
    "build/out.py": b"def built():\n",
    "src/build/out.py": b"def built():\n",
    "logs/a.log": b"def log\n",
    "logs/keep.log": b"def kept\n",
    "src/gen/a.py": b"def generated():\n",
    "src/gen/sub/b.py": b"def deeper():\n",
    "vendor/x/y.py": b"def vendored():\n",
    "src/vendor/y.py": b"def vendored():\n",
    "build.py": b"def build():\n",
    "space /x.py": b"def spaced\n",
    "a-b.py": b"def dash\n",
    "a/b.py": b"def slash\n",
    "a.py": b"def dot\n",
    ".gitignore": b"# comment\nbuild/\n*.log\n!keep.log\n/vendor\n\n",
    "src/.gitignore": b"gen/*\n!gen/sub/\nunused*\n",
    ".ignore": b"*.ts\n",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of every kind; a neighbour and a .gitignore above that are not ours."""
    above = tmp_path_factory.mktemp("above")
    (above / ".gitignore").write_text("*.py\n")
    (above / "neighbour.py").write_text("def neighbour():\n")
    (above / "outside").mkdir()
    (above / "outside" / "x.py").write_text("def outside():\n")
    root = above / "root"
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    if os.name != "nt":
        (root / "out").symlink_to(above / "outside")
        (root / "out.py").symlink_to(above / "neighbour.py")
        os.mkfifo(root / "pipe.py")
    return root


def searching(root: Path, engine: str, **options: Any) -> CodeSearch:
    given = {"file_bytes": 150_000, "lines": 1000, **options}
    return CodeSearch(CodeSearchConfig(root=root, engine=engine, **given))  # type: ignore[arg-type]


def paths(found: list[Line]) -> list[str]:
    return list(dict.fromkeys(line.path for line in found))


# The same from both


CASES: list[dict[str, Any]] = [
    {"pattern": "def"},
    {"pattern": "DEF"},
    {"pattern": "DEF", "ignore_case": True},
    {"pattern": r"^def \w+\(\):$"},
    {"pattern": r"def$"},
    {"pattern": r"^$"},
    {"pattern": r"."},
    {"pattern": r"\bdef\b", "context": 2},
    {"pattern": "pass", "context": 1},
    {"pattern": "pass", "context": 5},
    {"pattern": "größe", "ignore_case": True},
    {"pattern": r"\w{7}", "files": "umlaut.txt"},
    {"pattern": "todo|TODO"},
    {"pattern": "-e"},
    {"pattern": "--files"},
    {"pattern": "-f/etc/passwd"},
    {"pattern": r"(?i)TODO"},
    {"pattern": "three", "files": "*.txt"},
    {"pattern": "def", "files": "*.py"},
    {"pattern": "def", "files": "src/*.py"},
    {"pattern": "def", "files": "src/**/*.py"},
    {"pattern": "def", "files": "src/**"},
    {"pattern": "def", "files": "**/sub/*.py"},
    {"pattern": "def", "files": "src/"},
    {"pattern": "def", "files": "src"},
    {"pattern": "def", "files": "*.{ts,txt}"},
    {"pattern": "def", "files": "{a,src}/*.py"},
    {"pattern": "def", "files": "[ab].py"},
    {"pattern": "def", "files": "[!ab].py"},
    {"pattern": "def", "files": "?.py"},
    {"pattern": "def", "files": "#odd name.py"},
    {"pattern": "def", "files": "/a.py"},
    {"pattern": "def", "files": "./a/b.py"},
    {"pattern": "def", "files": "space /*"},
    {"pattern": "def", "files": "**"},
    {"pattern": "def", "files": "-x"},
    {"pattern": "def", "files": "*.none"},
    {"pattern": "nowhere at all"},
]


@needs_ripgrep
@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(map(str, case.values())))
async def test_both_find_the_same_lines(corpus: Path, case: dict[str, Any]) -> None:
    by_ripgrep = await searching(corpus, "ripgrep").find(**case)
    by_python = await searching(corpus, "python").find(**case)
    assert by_python == by_ripgrep


def test_the_cases_find_something(corpus: Path) -> None:
    """So that "the same" is more than nothing twice."""
    counts = [len(scanned(corpus, **case)) for case in CASES]
    assert sum(count > 0 for count in counts) >= 28
    assert counts[0] >= 20


PATTERNS = st.sampled_from(
    [
        *("a", "b/", "/a", "*.py", "!a.py", "a/b", "**/b", "b/**", "a/**/c", "!b/", "!*.py", "#x"),
        *("\\#x", "a*", "?", "[ab]", "!/b/c", "/*", "!/a", "a/*", "!a/b", "*", "!*/", "c.py ", ""),
        *("[!a]", "[a-b].py", "\\a", "!c", "/**/c", "**", "!**/c.py", "b/c/", "a.py\r", "/"),
    ]
)
NAMES = ["a", "b", "c", "a.py", "c.py", "#x"]


def planted(root: Path, upper: list[str], lower: list[str]) -> None:
    """Files of all names at several depths, and two ignore files."""
    for folder in ("", "a", "b", "a/b", "b/c"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for folder in ("", "a", "b", "a/b", "b/c"):
        for name in NAMES:
            if not (root / folder / name).is_dir():
                (root / folder / name).write_text("x\n")
    (root / ".gitignore").write_text("\n".join(upper))
    (root / "a" / ".gitignore").write_text("\n".join(lower))


def scanned(root: Path, pattern: str = "^x$", files: str = "**", **options: Any) -> list[Line]:
    """What the stand-in finds, asked in this process."""
    globs, hidden = tuple(expanded(files)), (".git",)
    fold = options.get("ignore_case", False)
    return list(
        scan(Request(str(root), pattern, globs, hidden, fold, 0, 150_000, 1000, HAS_DESCRIPTORS))
    )


def unignored_by_git(root: Path) -> set[str]:
    environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "HOME": str(root)}
    subprocess.run(["git", "init", "-q"], cwd=root, env=environment, check=True)
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard", "-z"],
        cwd=root,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return {path for path in listed.split("\0") if path and not path.endswith(".gitignore")}


EXAMPLES = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@EXAMPLES
@given(
    st.lists(PATTERNS | st.just("!"), max_size=4),  # a lone "!" is read in another way by ripgrep
    st.lists(PATTERNS, max_size=3),
)
def test_ignore_files_mean_what_git_takes_them_to_mean(
    tmp_path_factory: pytest.TempPathFactory, upper: list[str], lower: list[str]
) -> None:
    root = tmp_path_factory.mktemp("ignored")
    planted(root, upper, lower)
    assert set(paths(scanned(root))) == unignored_by_git(root)


@needs_ripgrep
@EXAMPLES
@given(
    st.lists(PATTERNS, max_size=4),
    st.lists(PATTERNS, max_size=3),
    st.sampled_from(["**", "*.py", "a/**", "[ac]*", "**/b/*"]),
)
async def test_both_heed_ignore_files_alike(
    tmp_path_factory: pytest.TempPathFactory, upper: list[str], lower: list[str], files: str
) -> None:
    root = tmp_path_factory.mktemp("ignored")
    planted(root, upper, lower)
    by_ripgrep, _ = await searching(root, "ripgrep").find("^x$", files=files)
    assert paths(scanned(root, files=files)) == paths(by_ripgrep)


# What is searched


@posix
@pytest.mark.parametrize("engine", ENGINES)
async def test_nothing_outside_binary_hidden_large_or_ignored_is_found(
    corpus: Path, engine: str
) -> None:
    found = paths((await searching(corpus, engine).find("def"))[0])
    kept = {
        *("main.py", "src/util.py", "src/#odd name.py", "no_end", "umlaut.txt", "latin.txt"),
        *("utf16.txt", "bom.py", ".hidden.py", ".github/ci.yml", "logs/keep.log", "build.py"),
        *("src/gen/sub/b.py", "src/vendor/y.py", "space /x.py", "a-b.py", "a/b.py", "a.py"),
        "src/crlf.txt",
    }
    assert set(found) == kept


@posix
@pytest.mark.parametrize("engine", ENGINES)
async def test_hidden_names_are_hidden_whatever_their_case_and_the_pattern(
    corpus: Path, engine: str
) -> None:
    search = searching(corpus, engine, hidden=(".git", "SRC", "*.TXT"))
    for files in ("", "src/**", "*.txt", ".git/**", "**"):
        found = paths((await search.find("def", files=files))[0])
        assert not [path for path in found if path.startswith(("src", ".git/"))]
        assert not [path for path in found if path.endswith(".txt")]


@pytest.mark.parametrize("files", ["../*", "..", "/../*.py", "a/../../*"])
@pytest.mark.parametrize("engine", ENGINES)
async def test_no_file_pattern_leads_out(corpus: Path, engine: str, files: str) -> None:
    with pytest.raises(Retry) as caught:
        await searching(corpus, engine).find("def", files=files)
    assert caught.value.value == "files"


@posix
@pytest.mark.parametrize("engine", ENGINES)
async def test_an_ignore_file_that_is_a_link_or_a_pipe_harms_nothing(
    tmp_path: Path, engine: str
) -> None:
    (tmp_path / "a.py").write_text("def a\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.py").write_text("def b\n")
    (tmp_path / "sub" / ".gitignore").write_bytes(b"\xff\xfe[\n")
    found, _ = await searching(tmp_path, engine).find("def")
    assert paths(found) == ["a.py", "sub/b.py"]


@posix
async def test_a_pipe_for_an_ignore_file_does_not_stop_python(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def a\n")
    os.mkfifo(tmp_path / ".gitignore")
    found, _ = await searching(tmp_path, "python").find("def")
    assert paths(found) == ["a.py"]


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_configuration_file_of_the_host_changes_nothing(
    corpus: Path, tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("--follow\n--no-ignore\n--invert-match\n")
    expected = await searching(corpus, engine).find("def")
    monkeypatch.setenv("RIPGREP_CONFIG_PATH", str(tmp_path / "config"))
    assert await searching(corpus, engine).find("def") == expected


# What is told


def tool_of(search: CodeSearch) -> Callable[..., Any]:
    [tool] = search.tools()

    def called(**arguments: Any) -> Any:
        return tool.function(**tool.bind(arguments))

    return called


@pytest.mark.parametrize("engine", ENGINES)
async def test_lines_are_told_with_path_number_and_context(corpus: Path, engine: str) -> None:
    tool = tool_of(searching(corpus, engine))
    assert await tool(pattern="os", files="main.py") == (
        "main.py:1: import os\nmain.py:4:     return os.name  # TODO"
    )
    assert await tool(pattern="pass", files="util.py", context=1) == (
        "src/util.py-1- def util():\nsrc/util.py:2:     pass\nsrc/util.py-3-\n--\n"
        "src/util.py-5- def unused():\nsrc/util.py:6:     pass"
    )
    assert await tool(pattern="zzz") == "No line matches."
    assert await tool(pattern="zzz", files="*.py") == "No line matches in *.py."


@pytest.mark.parametrize("engine", ENGINES)
async def test_lines_are_counted_and_cut(tmp_path: Path, engine: str) -> None:
    (tmp_path / "a.py").write_text("x\n" * 30)
    (tmp_path / "b.py").write_text("y" * 1000 + "\n")
    tool = tool_of(searching(tmp_path, engine, lines=10, line_characters=50))
    told = (await tool(pattern="x")).split("\n")
    assert told[:-1] == [f"a.py:{number}: x" for number in range(1, 11)]
    assert told[-1] == "[the first 10 matches; say more with `pattern` or `files`]"
    assert await tool(pattern="y+") == f"b.py:1: {'y' * 50}… [1,000 characters]"
    exactly = tool_of(searching(tmp_path, engine, lines=30))
    assert "[" not in await exactly(pattern="x")


@pytest.mark.parametrize("engine", ENGINES)
async def test_much_more_than_is_told_is_no_trouble(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentkit_tools.code_search._MAX_OUTPUT", 20_000)
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text("x" * 3000 + "\n")
    found, more = await searching(tmp_path, engine).find("x")
    assert more
    assert 0 < len(found) < 20
    assert {line.text for line in found} == {"x" * 3000}


# What goes wrong


@pytest.mark.parametrize(
    "pattern", ["(", "[a", "*a", r"\p{Nope}", "a{2,1}", "(" * 400, ")(", "a)|(b"]
)
@pytest.mark.parametrize("engine", ENGINES)
async def test_a_pattern_that_can_not_be_read_is_blamed(
    corpus: Path, engine: str, pattern: str
) -> None:
    with pytest.raises(Retry, match="is no regular expression: ") as caught:
        await searching(corpus, engine).find(pattern)
    assert caught.value.value == "pattern"
    assert pattern[:50] in caught.value.why


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pattern", ["a\nb", "a\0b"])
async def test_a_pattern_is_of_one_line(corpus: Path, engine: str, pattern: str) -> None:
    with pytest.raises(Retry, match="within one line"):
        await searching(corpus, engine).find(pattern)


async def test_a_pattern_that_takes_forever_is_ended(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a" * 60 + "!\n")
    search = searching(tmp_path, "python", seconds=1)
    with pytest.raises(Retry, match=r"took longer than 1 s") as caught:
        await search.find("(a+)+$")
    assert caught.value.value == "pattern"


@needs_ripgrep
async def test_ripgrep_takes_no_time_over_such_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a" * 60 + "!\n")
    assert await searching(tmp_path, "ripgrep").find("(a+)+$") == ([], False)


# What searches


def test_without_ripgrep_python_searches(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert searching(corpus, "auto").ripgrep is None
    with pytest.raises(PluginError, match="install ripgrep"):
        searching(corpus, "ripgrep")


@needs_ripgrep
def test_ripgrep_is_taken_where_it_is(corpus: Path) -> None:
    assert searching(corpus, "auto").ripgrep == RIPGREP


def test_a_root_that_is_no_folder_is_told(corpus: Path) -> None:
    with pytest.raises(PluginError, match="code_search: root"):
        code_search_toolset(CodeSearchConfig(root=corpus / "main.py"))


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_plugin_opens_and_passes_its_own_test(corpus: Path, engine: Any) -> None:
    opened = plugin.open(CodeSearchConfig(root=corpus, engine=engine))
    assert plugin.check is not None
    await plugin.check(opened)  # type: ignore[arg-type]


async def test_an_agent_searches(corpus: Path) -> None:
    model = ScriptedBackend(
        [call("code_search", pattern="def main", files="*.py"), answer("In main.py.")]
    )
    agent = Agent(tools=[code_search_toolset(CodeSearchConfig(root=corpus))], backend=model)
    result = await agent.run("Where is main?")
    told = [message.content for message in result.history if message.role == "result"]
    assert told == ["main.py:3: def main():"]
