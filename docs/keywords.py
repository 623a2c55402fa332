"""Writes the generated parts of docs/schemas.md anew: `make docs`.

They are the table of keywords, from what the engine knows, and a session on the command line.
"""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from pathlib import Path

from agentkit.terminal.cli import main
from agentkit_engine.grammar.schema.drafts import Draft
from agentkit_engine.grammar.schema.keywords import KEYWORDS, Keyword

PAGE = Path(__file__).parent / "schemas.md"
COMMANDS = ("schema check booking.json", "schema sample booking.json -n 3 --seed 3")
EXACT = "All that it says is honoured."
NAMES = {
    Draft.DRAFT4: "4",
    Draft.DRAFT6: "6",
    Draft.DRAFT7: "7",
    Draft.DRAFT2019: "2019-09",
    Draft.DRAFT2020: "2020-12",
}


def table() -> str:
    """The keywords that say something of a value, a row each, and then those that say nothing."""
    rows = ["| keyword | honoured | drafts | |", "|---|---|---|---|"]
    silent: list[str] = []
    for name, keyword in KEYWORDS.items():
        if keyword.honoured == "annotation":
            silent.append(f"`{name}`")
        else:
            note = keyword.note or EXACT
            rows.append(f"| `{name}` | {keyword.honoured} | {drafts(keyword)} | {note} |")
    ignored = f"Ignored, since they allow and forbid nothing: {', '.join(silent)}."
    return "\n".join([*rows, "", ignored])


def drafts(keyword: Keyword) -> str:
    """The drafts that know a keyword: all, the one, or from which one on."""
    known = sorted(keyword.drafts)
    if len(known) == len(Draft):
        return "all"
    return (
        NAMES[known[0]] if len(known) == 1 and known[0] != max(Draft) else f"{NAMES[known[0]]} on"
    )


def session(page: str) -> str:
    """What the commands print about the page's own schema."""
    schema = re.findall(r"```json\n(.*?)```", page, re.DOTALL)[0]
    lines = ["```"]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("booking.json").write_text(schema, "utf-8")
        for command in COMMANDS:
            with contextlib.redirect_stdout(io.StringIO()) as out:
                main(command.split())
            lines += [f"$ agentkit {command}", out.getvalue().rstrip()]
    return "\n".join([*lines, "```"])


def written(page: str) -> str:
    """The page with its generated parts as they are at this moment."""
    return _between(_between(page, "keywords", table()), "example", session(page))


def _between(page: str, name: str, text: str) -> str:
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
