"""`agentkit schema`: what becomes of a schema, and values that it allows."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from agentkit.terminal.cli import main

BOOKING: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "people": {"type": "integer", "minimum": 1, "maximum": 20},
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    },
    "required": ["city", "people"],
}
KEY = "dependentRequired"
UNSUPPORTED = {"properties": {"code": {"type": "string", "pattern": r"^(a+)\1$"}}}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(name: str, schema: Any) -> str:
    Path(name).write_text(json.dumps(schema), encoding="utf-8")
    return name


def told(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, list[dict[str, Any]]]:
    status = main(["schema", "check", *argv, "--json"])
    out, err = capsys.readouterr()
    assert err == ""
    return status, [json.loads(line) for line in out.splitlines()]


# check


def test_a_supported_schema_is_told_with_its_size(capsys: pytest.CaptureFixture[str]) -> None:
    file = save("booking.json", BOOKING)
    status, [found] = told(capsys, file)
    assert status == 0
    assert found["file"] == file
    assert found["supported"] is True
    assert found["states"] > 0
    assert main(["schema", "check", file]) == 0
    assert capsys.readouterr().out.startswith(
        f"booking.json: supported, {found['states']} states\n"
    )


def test_what_is_written_in_part_is_told_with_where_it_stands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = save("booking.json", BOOKING)
    _, [found] = told(capsys, file)
    (part,) = found["in_part"]
    assert (part["keyword"], part["pointers"]) == ("uniqueItems", ["/properties/tags"])
    assert part["note"].endswith(".")
    main(["schema", "check", file])
    assert (
        f"  in part  uniqueItems at '/properties/tags': {part['note']}\n" in capsys.readouterr().out
    )


def test_a_schema_written_whole_has_nothing_to_be_told(capsys: pytest.CaptureFixture[str]) -> None:
    _, [found] = told(capsys, save("one.json", {"type": "string", "title": "Name"}))
    assert found["in_part"] == found["ignored"] == []


def test_recursion_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    tree = {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#"}}}}
    _, [found] = told(capsys, save("tree.json", tree))
    assert any("contains itself" in part["note"] for part in found["in_part"])


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"type": "string", "maxLenght": 3}, "maxLenght"),
        ({"type": "string", "format": "shoe-size"}, "format"),
        ({"$schema": "http://json-schema.org/draft-07/schema#", KEY: {}}, KEY),
    ],
)
def test_what_is_ignored_is_told(
    schema: Any, keyword: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = save("typo.json", {"properties": {"a": schema}} if "$schema" not in schema else schema)
    status, [found] = told(capsys, file)
    assert status == 0
    assert [one["keyword"] for one in found["ignored"]] == [keyword]
    main(["schema", "check", file])
    assert f"  ignored  {keyword} at " in capsys.readouterr().out


def test_what_is_not_supported_names_keyword_pointer_and_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = save("code.json", UNSUPPORTED)
    status, [found] = told(capsys, file)
    assert status == 1
    assert found["supported"] is False
    assert found["error"] == "UnsupportedSchema"
    assert (found["keyword"], found["pointer"]) == ("pattern", "/properties/code")
    assert main(["schema", "check", file]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "code.json: not supported",
        "  keyword  pattern",
        "  pointer  '/properties/code'",
        f"  why      {found['why']}",
    ]


def test_a_schema_without_values_is_not_supported(capsys: pytest.CaptureFixture[str]) -> None:
    status, [found] = told(capsys, save("none.json", False))
    assert status == 1
    assert (found["error"], found["pointer"]) == ("UnsatisfiableSchema", "")
    main(["schema", "check", "none.json"])
    assert "no valid value exists" in capsys.readouterr().out


def test_every_file_is_checked_and_one_failure_is_enough(
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = [save("code.json", UNSUPPORTED), "nowhere.json", save("booking.json", BOOKING)]
    status, found = told(capsys, *files)
    assert status == 1
    assert [one["file"] for one in found] == files
    assert [one["supported"] for one in found] == [False, False, True]


def test_the_syntax_may_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    file = save("booking.json", BOOKING)
    sizes = {told(capsys, file, "--syntax", name)[1][0]["states"] for name in ("json", "spaced")}
    assert len(sizes) == 2
    assert told(capsys, file, "--syntax", "gemma")[0] == 0


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"type":', "is not JSON: Expecting value at line 1, column 9"),
        (b"", "is not JSON: Expecting value at line 1, column 1"),
        (b'{"title": "\xff"}', "UTF-8"),
        (b'{"minimum": NaN}', "NaN is no JSON number"),
        (b"[" * 100_000, "is not JSON"),
        (None, "can't be read: No such file"),
    ],
)
@pytest.mark.parametrize("action", ["check", "sample"])
def test_a_file_that_holds_no_json_is_named(
    action: str, content: bytes | None, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        Path("broken.json").write_bytes(content)
    assert main(["schema", action, "broken.json"]) == 1
    out, err = capsys.readouterr()
    assert complaint in out + err
    assert "broken.json" in out + err
    assert (out == "") is (action == "sample")


@pytest.mark.parametrize("value", [[], "string", 3, None])
@pytest.mark.parametrize("action", ["check", "sample"])
def test_json_that_is_no_schema_is_refused(
    action: str, value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schema", action, save("value.json", value)]) == 1
    out, err = capsys.readouterr()
    assert "a schema is an object or a boolean" in out + err


def test_a_byte_order_mark_does_no_harm() -> None:
    Path("marked.json").write_bytes(b'\xef\xbb\xbf{"type": "string"}')
    assert main(["schema", "check", "marked.json"]) == 0


# sample


def test_samples_are_valid_and_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    file = save("booking.json", BOOKING)
    assert main(["schema", "sample", file, "-n", "7", "--seed", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(set(lines)) == 7
    for line in lines:
        Draft202012Validator(BOOKING).validate(json.loads(line))


def test_a_seed_prints_the_same_values(capsys: pytest.CaptureFixture[str]) -> None:
    file = save("booking.json", BOOKING)
    printed: list[str] = []
    for seed in ("1", "1", "2"):
        main(["schema", "sample", file, "--seed", seed])
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] != printed[2]


def test_the_schema_may_come_from_the_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = io.TextIOWrapper(io.BytesIO(b'{"const": "\xc3\xa9"}'))
    monkeypatch.setattr("sys.stdin", content)
    assert main(["schema", "sample", "-", "-n", "1"]) == 0
    assert capsys.readouterr().out == '"é"\n'


def test_a_schema_that_can_not_be_sampled_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "sample", save("code.json", UNSUPPORTED)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("agentkit: schema keyword 'pattern' at '/properties/code'")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "argv",
    [[], ["check"], ["sample"], ["sample", "a", "b"], ["sample", "a", "-n", "0"],
     ["check", "a", "--syntax", "yaml"], ["sample", "a", "--seed", "x"]],
)  # fmt: skip
def test_wrong_usage_is_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as info:
        main(["schema", *argv])
    assert info.value.code == 2
    assert "usage: agentkit" in capsys.readouterr().err


# what it takes


def program(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.mark.parametrize("action", ["check", "sample"])
def test_no_model_is_loaded(action: str) -> None:
    file = save("booking.json", BOOKING)
    code = (
        "import sys; from agentkit.terminal.cli import main\n"
        f"main(['schema', {action!r}, {file!r}])\n"
        "print({'torch', 'transformers', 'tokenizers', 'rich'} & set(sys.modules))"
    )
    assert program(code).splitlines()[-1] == "set()"


@pytest.mark.parametrize("action", ["check", "sample"])
def test_what_is_not_installed_is_told(action: str) -> None:
    file = save("booking.json", BOOKING)
    code = (
        "import sys; sys.modules['numpy'] = None\n"
        f"from agentkit.terminal.cli import main; print(main(['schema', {action!r}, {file!r}]))"
    )
    out = program(code)
    assert "pip install 'agentkit-diffusion[engine]'" in out
    assert "Traceback" not in out
    assert out.splitlines()[0] == "1"
