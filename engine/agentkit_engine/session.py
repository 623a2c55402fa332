"""Sessions: a context that grows, and what is filled in behind it.

Knows contexts and turns, and hands their works to the scheduler. Must not know agents: it fills
templates and decides between schemas it is given. Every method that needs the model has a `_sync`
twin for plain threads; cancelling is honoured between two forwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Unpack, get_args

from agentkit_engine.compiling import compiled
from agentkit_engine.contexts.context import ChatMessage, Context
from agentkit_engine.errors import EngineError, TemplateError
from agentkit_engine.filling.deciding import decide
from agentkit_engine.filling.outcome import Decision, Filling, OnDraft, Origin, Value
from agentkit_engine.filling.settings import Batch, DecidingOptions, FillingOptions, Settings
from agentkit_engine.filling.turn import Turn
from agentkit_engine.runtime import Runtime
from agentkit_engine.scheduling.work import Work
from agentkit_engine.template import Schema, Template


class Session:
    """A context that grows, encoded once. Used by one task at a time.

    Made by `Engine.session`, for a chat, or `Engine.document`, for a text that is none: it grows by
    pieces of text where a chat does by messages.

    Whatever fills something takes the `FillingOptions` of a filling, and

        on_draft: called in the caller's own thread with the noise and with each step's draft.
        deadline: by the clock of `time.monotonic`; then it ends between two forwards.

    and raises

        ContextTooLong: the context is longer than the model's; the session stays as it was.
        EngineBusy: too many works are waiting; nothing was begun.
        DeadlineExceeded: the deadline has passed.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        instructions: str = "",
        tools: Sequence[Mapping[str, Any]] = (),
        context: Context | None = None,
    ) -> None:
        self._runtime = runtime
        self._context = context or Context(
            runtime.checkpoint.tokenizer, runtime.prefixes, instructions=instructions, tools=tools
        )
        self._encode_seconds = 0.0

    @property
    def messages(self) -> tuple[ChatMessage, ...]:
        """The chat so far, as the checkpoint's template takes it."""
        return self._context.messages

    def fork(self) -> Session:
        """A second session that goes on from here; the encoded context is shared, not copied."""
        return Session(self._runtime, context=self._context.fork())

    def rewind(self, messages: int) -> None:
        """Drops all messages behind the first `messages`.

        Raises:
            EngineError: there are not as many, or the system message would be dropped.
        """
        self._context.rewind(messages)

    def close(self) -> None:
        """Lets go of the encoded context. The session can still be used: it encodes anew."""
        self._context.close()

    async def extend(self, *messages: ChatMessage | str, deadline: float | None = None) -> None:
        """Adds messages to the context and encodes what is new; a string is a user's message.

        A document takes strings only, which are more of its text.

        Messages that say what the last decision decided take over the tokens of its canvas. Where
        it is cancelled, `messages` tells whether they were added before that.

        Raises:
            EngineError: a message has no role, or is one of a document.
            CheckpointError: the chat template refuses the chat, or there is none.
            ContextTooLong, EngineBusy, DeadlineExceeded: as of the class; nothing was added.
        """
        await self._runtime.scheduler.run(self._extend(messages), deadline=deadline)

    def extend_sync(self, *messages: ChatMessage | str, deadline: float | None = None) -> None:
        """`extend` for synchronous code."""
        self._runtime.scheduler.run_sync(self._extend(messages), deadline=deadline)

    async def infill(
        self,
        template: Template,
        *,
        width: int | None = None,
        on_draft: OnDraft | None = None,
        deadline: float | None = None,
        **options: Unpack[FillingOptions],
    ) -> Filling:
        """Fills a template behind the context.

        Args:
            width: of the row, in tokens; by default as wide as the template needs. What is wider
                than the model's canvas, as much as eight times, is filled canvas by canvas, each
                behind those before, and not verified.

        Raises:
            UnsupportedSchema: what the schema says can't be guaranteed.
            CanvasTooShort: no valid filling is as short as the row.
            TemplateError: an option is out of its range, can't be had for this template or model,
                or bans what every filling needs.
            LayoutError: the checkpoint does not know the layout.
        """
        turn = self._turn(options, on_draft)
        work = await compiled(partial(turn.infill, template, width=width))
        return await self._runtime.scheduler.run(work, deadline=deadline, on_event=on_draft)

    def infill_sync(
        self,
        template: Template,
        *,
        width: int | None = None,
        on_draft: OnDraft | None = None,
        deadline: float | None = None,
        **options: Unpack[FillingOptions],
    ) -> Filling:
        """`infill` for synchronous code."""
        work = self._turn(options, on_draft).infill(template, width=width)
        return self._runtime.scheduler.run_sync(work, deadline=deadline, on_event=on_draft)

    async def decide(
        self,
        calls: Mapping[str, Schema],
        *,
        answer: Schema | None = None,
        on_draft: OnDraft | None = None,
        deadline: float | None = None,
        **options: Unpack[DecidingOptions],
    ) -> Decision:
        """Chooses one or several of `calls` (name -> schema of its arguments), or answers.

        The choice, the arguments of every call and the answer are rows of one batch over the shared
        context: with `steps=1` and `verify="off"` the whole turn is one decoder forward. Without
        calls it is the answer alone.

        Args:
            answer: the schema of an answer, which is then JSON and as valid as a call's arguments;
                None for an answer in words.

        Raises:
            UnsupportedSchema, UnsatisfiableSchema: a schema can't be guaranteed.
            CanvasTooShort: the shortest form of a call or an answer is longer than eight canvases.
            TemplateError, LayoutError: as of `infill`; or a call must be made and there is none.
            EngineError: `max_calls` is below 1.
        """
        work = await compiled(self._deciding(calls, answer, options, on_draft))
        return await self._runtime.scheduler.run(work, deadline=deadline, on_event=on_draft)

    def decide_sync(
        self,
        calls: Mapping[str, Schema],
        *,
        answer: Schema | None = None,
        on_draft: OnDraft | None = None,
        deadline: float | None = None,
        **options: Unpack[DecidingOptions],
    ) -> Decision:
        """`decide` for synchronous code."""
        work = self._deciding(calls, answer, options, on_draft)()
        return self._runtime.scheduler.run_sync(work, deadline=deadline, on_event=on_draft)

    async def refill(
        self,
        filled: Value | Decision,
        rejected: Sequence[str],
        *,
        on_draft: OnDraft | None = None,
        deadline: float | None = None,
        **options: Unpack[FillingOptions],
    ) -> Filling:
        """Fills rejected values again, with others: one forward, all else stays as it is.

        What is refilled may be refilled again: a value that was rejected never comes back. A call
        or an answer is then what the model says in its turn, behind the context as it is now.

        Args:
            filled: what this session has filled in; or a call that it has decided on, an answer
                that it has given or, for its answer, the decision.
            rejected: JSON pointers of the values that won't do.

        Raises:
            UnsatisfiableSchema: no other value is valid.
            TemplateError: nothing was filled in at a pointer, or a decision holds no answer.
        """
        turn = self._turn(_unverified(options), on_draft)
        work = await compiled(partial(turn.refill, _origin(filled), rejected))
        return await self._runtime.scheduler.run(work, deadline=deadline, on_event=on_draft)

    def refill_sync(
        self,
        filled: Value | Decision,
        rejected: Sequence[str],
        *,
        on_draft: OnDraft | None = None,
        deadline: float | None = None,
        **options: Unpack[FillingOptions],
    ) -> Filling:
        """`refill` for synchronous code."""
        work = self._turn(_unverified(options), on_draft).refill(_origin(filled), rejected)
        return self._runtime.scheduler.run_sync(work, deadline=deadline, on_event=on_draft)

    def _extend(self, messages: Sequence[ChatMessage | str]) -> Work[None]:
        began = time.perf_counter()
        yield from self._context.extend(*messages)
        self._encode_seconds += time.perf_counter() - began

    def _turn(self, options: FillingOptions, on_draft: OnDraft | None) -> Turn:
        spent, self._encode_seconds = self._encode_seconds, 0.0
        return Turn(
            self._runtime,
            self._context,
            Settings(**options),
            encode_seconds=spent,
            drafts=on_draft is not None,
        )

    def _deciding(
        self,
        calls: Mapping[str, Schema],
        answer: Schema | None,
        options: DecidingOptions,
        on_draft: OnDraft | None,
    ) -> Callable[[], Work[Decision]]:
        """What makes the work of a decision, and compiles what that needs."""
        most, batch = options.pop("max_calls", 1), options.pop("batch", None)
        if most < 1:
            raise EngineError(f"max_calls is {most}; at least 1 is needed")
        if batch not in (None, *get_args(Batch)):
            raise EngineError(f"batch is {batch!r}; take one of {', '.join(get_args(Batch))}")
        tokens, must_call = options.pop("answer_tokens", None), options.pop("must_call", False)
        return partial(
            decide,
            self._turn(options, on_draft),
            calls,
            answer=answer,
            answer_tokens=tokens,
            most=most,
            must_call=must_call,
            batch=batch,
        )


def _origin(filled: Value | Decision) -> Origin:
    """Where it came from.

    Raises:
        TemplateError: from calls, which are refilled one by one.
    """
    if not isinstance(filled, Decision):
        return filled.origin
    if filled.answered is None:
        raise TemplateError("this decision holds calls and no answer; refill one of its calls")
    return filled.answered.origin


def _unverified(options: FillingOptions) -> FillingOptions:
    """A refill is one forward unless something else is asked for."""
    return {"verify": "off", **options}
