"""Templates as they are asked for: the JSON of /v1/infill, and what the engine calls it.

Knows shapes and names. Must not know sessions, routes or HTTP.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import ConfigDict, Field, JsonValue, model_validator
from pydantic.json_schema import SkipJsonSchema

from agentkit_engine.filling.settings import FillingOptions
from agentkit_engine.lattice import Bias
from agentkit_engine.server.native.wire import Count, Message, Positive, Temperature, Wire
from agentkit_engine.template import Template

TokenId = Annotated[int, Field(ge=0)]
TokenKey = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]  # as JSON has keys
Nats = Annotated[float, Field(allow_inf_nan=False)]
Schema: TypeAlias = dict[str, JsonValue] | bool
_OPTIONS = {"steps", "verify", "rounds", "candidates", "temperature", "seed", "layout"}
_EITHER: dict[str, Any] = {"oneOf": [{"required": ["schema"]}, {"required": ["template"]}]}


class JsonTemplate(Wire):
    """A JSON value that `schema` accepts."""

    kind: Literal["json_schema"]
    schema_: Annotated[Schema, Field(alias="schema")]

    def template(self) -> Template:
        """As the engine takes it."""
        return Template.json_schema(self.schema_)


class ChoiceTemplate(Wire):
    """Exactly one of `options`."""

    kind: Literal["choice"]
    options: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]

    def template(self) -> Template:
        """As the engine takes it."""
        return Template.choice(self.options)


class PatternTemplate(Wire):
    """Text that `pattern` matches from end to end. max_tokens: 0 leaves it to the pattern."""

    kind: Literal["regex"]
    pattern: str
    max_tokens: Count = 0

    def template(self) -> Template:
        """As the engine takes it."""
        return Template.regex(self.pattern, max_tokens=self.max_tokens)


class TextTemplate(Wire):
    """Free text of at most `max_tokens` tokens."""

    kind: Literal["text"]
    max_tokens: Positive

    def template(self) -> Template:
        """As the engine takes it."""
        return Template.text(self.max_tokens)


class HoleTemplate(Wire):
    """The text between `prefix` and `suffix`, of which the model sees both.

    pattern: what the hole must match from end to end.
    """

    kind: Literal["infill"]
    prefix: str = ""
    suffix: str = ""
    max_tokens: Positive
    pattern: str | None = None

    def template(self) -> Template:
        """As the engine takes it."""
        return Template.infill(
            self.prefix, self.suffix, max_tokens=self.max_tokens, pattern=self.pattern
        )


class EditTemplate(Wire):
    """`text` with the characters from `span[0]` to `span[1]` written anew.

    max_tokens: of the new part. keep: the share of the old part's tokens that is shown as a hint.
    """

    kind: Literal["edit"]
    text: str
    span: tuple[Count, Count]
    max_tokens: Positive | None = None
    pattern: str | None = None
    keep: Annotated[float, Field(ge=0, le=1)] = 0.0

    def template(self) -> Template:
        """As the engine takes it.

        Raises:
            TemplateError: the span does not lie in the text.
        """
        return Template.edit(
            self.text, self.span, max_tokens=self.max_tokens, pattern=self.pattern, keep=self.keep
        )


AnyTemplate: TypeAlias = (
    JsonTemplate | ChoiceTemplate | PatternTemplate | TextTemplate | HoleTemplate | EditTemplate
)


class BiasForm(Wire):
    """Nats for longer fillings and for tokens, and tokens that must not be written; all by id."""

    length: Nats = 0.0
    banned: tuple[TokenId, ...] = ()
    preferred: dict[TokenKey, Nats] = Field(default_factory=dict[str, float])

    def bias(self) -> Bias:
        """As the engine takes it."""
        preferred = {int(token): nats for token, nats in self.preferred.items()}
        return Bias(length=self.length, banned=frozenset(self.banned), preferred=preferred)


class Infilling(Wire):
    """Fills a template, or what a JSON Schema says, behind a chat or a text.

    instructions: the system's message.
    messages: the chat so far.
    text: what stands before, if it is no chat.
    temperature: of all drafts, or at the first step and at the last.
    width: of the row, in tokens; by default as wide as the template needs.
    stream: drafts come as events, then the filling.
    """

    model_config = ConfigDict(json_schema_extra=_EITHER)

    template: Annotated[AnyTemplate | None, Field(discriminator="kind")] = None
    schema_: Annotated[Schema | SkipJsonSchema[None], Field(alias="schema")] = None
    instructions: str = ""
    messages: tuple[Message, ...] = ()
    text: str | None = None
    steps: Positive | Literal["auto"] | None = None
    verify: Literal["off", "rerank", "exact"] | None = None
    rounds: Positive | None = None
    candidates: Positive | None = None
    temperature: Temperature | tuple[Temperature, Temperature] | None = None
    seed: int | None = None
    layout: Literal["slots", "float"] | None = None
    width: Positive | None = None
    bias: BiasForm | None = None
    stream: bool = False

    @model_validator(mode="after")
    def _one_of_each(self) -> Infilling:
        if (self.template is None) == (self.schema_ is None):
            raise ValueError("give either a template or a schema")
        if self.text is not None and (self.instructions or self.messages):
            raise ValueError("give either a text or a chat (instructions, messages)")
        return self

    def asked(self) -> Template:
        """As the engine takes it.

        Raises:
            TemplateError: it can't be filled by anything.
        """
        if self.template is not None:
            return self.template.template()
        return Template.json_schema(self.schema_)

    def options(self) -> FillingOptions:
        """As `Session.infill` takes them."""
        given = self.model_dump(include=_OPTIONS, exclude_none=True)
        if self.bias is not None:
            given["bias"] = self.bias.bias()
        return cast(FillingOptions, given)
