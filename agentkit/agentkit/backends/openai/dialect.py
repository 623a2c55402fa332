"""What a server takes of a request. It is asked for the most first, and what it refuses is kept.

Knows requests and refusals; must not know who sends them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

OutputFormat: TypeAlias = Literal["strict", "json_schema", "json_object", "words"]
"""How the schema of answers is put to a server, the surest first.

strict, json_schema: as `response_format`, followed to the letter or as the server can.
json_object: `response_format` asks for some JSON object, the instructions for the schema.
words: the instructions ask for it.
"""

_FORMATS: tuple[OutputFormat, ...] = get_args(OutputFormat)
# Refused by name: sent under the older name, or left out where a reply is as good without.
_OLDER = {"max_completion_tokens": "max_tokens", "stream_options": "", "parallel_tool_calls": ""}


@dataclass(frozen=True, slots=True)
class Wording:
    """A way to put requests. `without`: the parameters that the server refuses."""

    output: OutputFormat
    without: frozenset[str] = frozenset()

    def instructions(self, given: str, schema: Mapping[str, Any] | None) -> str:
        """The instructions, and the schema of answers where nothing else tells it."""
        if schema is None or self.output in ("strict", "json_schema"):
            return given
        asked = (
            "When you answer, write JSON and nothing else: one value that satisfies this JSON "
            f"Schema.\n{json.dumps(schema, ensure_ascii=False)}"
        )
        return f"{given}\n\n{asked}" if given else asked

    def options(self, asked: Mapping[str, Any], schema: Mapping[str, Any] | None) -> dict[str, Any]:
        """What a request asks for beside its messages."""
        options = {_OLDER[name] if name in self.without else name: asked[name] for name in asked}
        options.pop("", None)
        if schema is not None and self.output == "json_object":
            options["response_format"] = {"type": "json_object"}
        elif schema is not None and self.output != "words":
            described = {"name": "answer", "schema": schema, "strict": self.output == "strict"}
            options["response_format"] = {"type": "json_schema", "json_schema": described}
        return options

    def after(self, refusal: str, asked: Mapping[str, Any], *, schema: bool) -> Wording | None:
        """What to try after the server refused this; None where it refused something else."""
        for name in _OLDER:
            if name in asked and name not in self.without and name in refusal:
                return replace(self, without=self.without | {name})
        if not schema or self.output == "words":
            return None
        looser = _FORMATS[_FORMATS.index(self.output) + 1]
        return replace(self, output=looser)


class Dialect:
    """What one server was found to take.

    Shared by the conversations of a backend, over threads too: it only ever learns, so that two
    that learn at once cost a request and no more. Schemas are remembered one by one, since a server
    may refuse one for a keyword and take the next.
    """

    def __init__(self, output: OutputFormat) -> None:
        self._first: OutputFormat = output
        self._formats: dict[str, OutputFormat] = {}
        self._without: frozenset[str] = frozenset()

    def wording(self, schema: str) -> Wording:
        """The surest way not known to be refused. `schema`: the answers' as text, or empty."""
        return Wording(self._formats.get(schema, self._first), self._without)

    def learn(self, schema: str, taken: Wording) -> None:
        """The server took a request in these words."""
        self._formats[schema] = taken.output
        self._without |= taken.without
