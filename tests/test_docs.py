"""The pages under docs say what is so."""

from __future__ import annotations

import argparse
import json
import re
import runpy
from collections.abc import Generator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from serving import serving

from agentkit_engine import Engine
from agentkit_engine.grammar.schema.keywords import KEYWORDS
from agentkit_engine.grammar.schema.options import Options
from agentkit_engine.server.command import add_options

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "schemas.md").read_text("utf-8")
SNIPPETS = [
    (page.name, snippet)
    for page in sorted(DOCS.glob("*.md"))
    for snippet in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
]
ASKS = "# needs `agentkit serve`"  # as snippets begin that ask a server
ASKING = [(page, snippet) for page, snippet in SNIPPETS if snippet.startswith(ASKS)]


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "keywords.py"))


def test_what_is_generated_is_current(script: dict[str, Any]) -> None:
    assert script["written"](PAGE) == PAGE, "run `make docs`"


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_every_keyword_is_there_once(keyword: str, script: dict[str, Any]) -> None:
    assert script["table"]().count(f"`{keyword}`") == 1


def test_every_note_is_a_sentence() -> None:
    for name, keyword in KEYWORDS.items():
        assert (keyword.note == "") is (keyword.honoured != "part"), name
        assert re.fullmatch(r"([A-Z].*\.)?", keyword.note), name


@pytest.mark.parametrize(("option", "shown"), re.findall(r"^\| `(\w+)` \| ([\d,]+)", PAGE, re.M))
def test_the_limits_are_the_defaults(option: str, shown: str) -> None:
    default = getattr(Options(), option)
    unit = 1 << 30 if option == "max_memory" else 1
    assert default == int(shown.replace(",", "")) * unit


def test_the_options_named_exist() -> None:
    for name in re.findall(r"Options\((\w+)=", PAGE):
        assert hasattr(Options(), name)
    assert Options().key_limit == int(re.search(r"`key_limit` keys \((\d+)\)", PAGE)[1])  # type: ignore[index]


@pytest.mark.parametrize(("page", "snippet"), SNIPPETS)
def test_snippets_run_as_programs(page: str, snippet: str) -> None:
    code = compile(snippet, page, "exec", dont_inherit=True)
    if not snippet.startswith("# needs"):
        exec(code, {"__name__": "docs"})


@pytest.fixture(scope="module")
def server() -> Generator[str]:
    """The URL of a server that has the embedded model."""
    engine = Engine.load("embedded")
    with serving(engine) as served:
        yield served.url
    engine.close()


@pytest.mark.parametrize(("page", "snippet"), ASKING)
def test_snippets_that_ask_a_server_are_answered(page: str, snippet: str, server: str) -> None:
    asked = snippet.replace("http://127.0.0.1:8000", server)
    assert asked != snippet
    exec(compile(asked, page, "exec", dont_inherit=True), {"__name__": "docs"})


def test_the_options_of_the_server_are_told_as_it_prints_them() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    add_options(parser)
    _, printed = parser.format_help().split("options:\n", 1)
    page = (DOCS / "command-line.md").read_text("utf-8")
    assert "".join(printed.split()) in "".join(page.split())  # however wide the terminal is


def test_the_calibration_is_drawn_from_its_bins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS)  # as when it is run
    script = runpy.run_path(str(DOCS / "calibration.py"))
    pairs = [(0.05, False), (0.97, True), (0.97, True), (0.98, False), (1.0, True)]
    found = script["bins"](pairs)
    assert [count for count, _, _ in found] == [1, 3, 1]
    assert found[1][1:] == (pytest.approx(0.9733, abs=1e-3), pytest.approx(2 / 3))
    drawn = ElementTree.fromstring(script["drawn"]({"verified": found}))
    radii = [float(one.get("r", "0")) for one in drawn.iter() if one.tag.endswith("circle")]
    assert len(radii) == 4  # and one in the legend


def test_the_losses_are_drawn_from_the_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(DOCS)
    script = runpy.run_path(str(DOCS / "accuracy.py"))
    log = tmp_path / "log.jsonl"
    rows = [{"tokens": step * 1e6, "denoise": 5 - step / 20, "causal": 3.0} for step in range(60)]
    log.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    denoise, causal = script["curves"](log)
    assert denoise.points[0] == (19.0, pytest.approx(5 - 9.5 / 20))
    assert [loss for _, loss in causal.points] == [3.0, 3.0, 3.0]
    plots = runpy.run_path(str(DOCS / "plots.py"))
    axes = [plots["Axis"]("steps", 0, 100, {0: "0"}), plots["Axis"]("loss", 0, 5, {5: "5"})]
    drawn = ElementTree.fromstring(plots["plot"]("Losses < 5", [denoise, causal], *axes))
    paths = [one.get("d", "") for one in drawn.iter() if one.get("stroke-width") == "2"]
    assert [path.count("L") for path in paths] == [2, 2]
    assert drawn.find("{*}title").text == "Losses < 5"  # type: ignore[union-attr]
