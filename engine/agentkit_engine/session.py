"""Sessions: an encoded context, and what is filled in behind it.

Knows chat messages, the prefix and forms. Must not know agents: it fills templates and decides
between schemas it is given. Every method with a `_sync` twin runs in a worker thread, one at a time
an engine; cancelling is honoured between two denoise steps.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

import anyio
import anyio.to_thread

from agentkit_engine.denoise import Clock, Denoising, run_steps
from agentkit_engine.denoisers import Prefix
from agentkit_engine.errors import EngineError, TemplateError
from agentkit_engine.forms import Form
from agentkit_engine.layouts import Layout
from agentkit_engine.outcome import Decision, Draft, DraftRow, Filling, OnDraft, Timings
from agentkit_engine.prompt import common_prefix_length, render_prompt
from agentkit_engine.runtime import Runtime
from agentkit_engine.template import Schema, Template, inline

T = TypeVar("T")
ChatMessage: TypeAlias = Mapping[str, Any]


class _Abandoned(Exception):
    """Nobody waits for this work any more."""


class Session:
    """A context that grows, encoded once. Made by `Engine.session`; used by one task at a time."""

    def __init__(
        self, runtime: Runtime, *, instructions: str = "", tools: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        self._runtime = runtime
        self._tools = [_declared(tool) for tool in tools]
        self._messages: list[ChatMessage] = []
        if instructions:
            self._messages.append({"role": "system", "content": instructions})
        self._prefix: Prefix | None = None
        self._encoded = 0  # messages that the prefix holds
        self._encode_seconds = 0.0

    @property
    def messages(self) -> tuple[ChatMessage, ...]:
        """The chat so far, as the checkpoint's template takes it."""
        return tuple(self._messages)

    def fork(self) -> Session:
        """A second session that goes on from here; the encoded context is shared, not copied."""
        other = Session(self._runtime)
        other._tools, other._messages = self._tools, list(self._messages)
        other._prefix, other._encoded = self._prefix, self._encoded
        return other

    async def extend(self, *messages: ChatMessage | str) -> None:
        """Adds messages to the context and encodes what is new; a string is a user's message.

        Raises:
            ContextTooLong: the context is longer than the model's; the session stays as it was.
        """
        await self._in_thread(partial(self._extend, messages))

    def extend_sync(self, *messages: ChatMessage | str) -> None:
        """`extend` for synchronous code."""
        self._extend(messages, stop=_never)

    async def infill(
        self,
        template: Template,
        *,
        steps: int = 1,
        layout: Layout | None = None,
        width: int | None = None,
        seed: int = 0,
        on_draft: OnDraft | None = None,
    ) -> Filling:
        """Fills a template behind the context.

        Args:
            steps: decoder forwards at most; fewer where the model is sure sooner.
            layout: "slots" or "float"; by default the checkpoint's first.
            width: the canvas, in tokens; by default as wide as the template needs.
            seed: of the noise, where the checkpoint starts from random tokens.
            on_draft: called in the worker thread with the noise and with each step's draft.

        Raises:
            UnsupportedSchema: what the schema says can't be guaranteed.
            CanvasTooShort: no valid filling is as short as the canvas.
            LayoutError: the checkpoint does not know the layout.
        """
        work = partial(
            self._infill,
            template,
            steps=steps,
            layout=layout,
            width=width,
            seed=seed,
            on_draft=on_draft,
        )
        return await self._in_thread(work)

    def infill_sync(
        self,
        template: Template,
        *,
        steps: int = 1,
        layout: Layout | None = None,
        width: int | None = None,
        seed: int = 0,
        on_draft: OnDraft | None = None,
    ) -> Filling:
        """`infill` for synchronous code."""
        return self._infill(
            template,
            steps=steps,
            layout=layout,
            width=width,
            seed=seed,
            on_draft=on_draft,
            stop=_never,
        )

    async def decide(
        self,
        calls: Mapping[str, Schema],
        *,
        steps: int = 1,
        layout: Layout | None = None,
        seed: int = 0,
        on_draft: OnDraft | None = None,
    ) -> Decision:
        """Chooses one of `calls` (name -> schema of its arguments) or answers in words.

        The choice, the arguments of every call and the answer are rows of one batch over the shared
        context: with `steps=1` the whole turn is one decoder forward, with more it is as many as
        the model needs to be sure.
        """
        work = partial(
            self._decide, calls, steps=steps, layout=layout, seed=seed, on_draft=on_draft
        )
        return await self._in_thread(work)

    def decide_sync(
        self,
        calls: Mapping[str, Schema],
        *,
        steps: int = 1,
        layout: Layout | None = None,
        seed: int = 0,
        on_draft: OnDraft | None = None,
    ) -> Decision:
        """`decide` for synchronous code."""
        return self._decide(
            calls, steps=steps, layout=layout, seed=seed, on_draft=on_draft, stop=_never
        )

    async def _in_thread(self, work: Callable[..., T]) -> T:
        gone = threading.Event()

        def stop() -> None:
            if gone.is_set():
                raise _Abandoned

        try:
            return await anyio.to_thread.run_sync(partial(work, stop=stop), abandon_on_cancel=True)
        finally:
            gone.set()

    def _extend(self, messages: Sequence[ChatMessage | str], *, stop: Callable[[], None]) -> None:
        before = list(self._messages)
        with self._runtime.lock:
            stop()
            self._messages += [_chat_message(message) for message in messages]
            try:
                self._encode()
            except BaseException:
                self._messages = before
                raise

    def _encode(self) -> Prefix:
        """The prefix of all messages; only what is new is encoded."""
        if self._prefix is not None and self._encoded == len(self._messages):
            return self._prefix
        began = time.perf_counter()
        denoiser = self._runtime.denoiser
        tokens = render_prompt(self._runtime.checkpoint.tokenizer, self._messages, self._tools)
        kept: Prefix | None = None
        if self._prefix is not None:  # a template may write the end of the last turn anew
            common = common_prefix_length(self._prefix.tokens, tokens)
            kept = denoiser.rewind(self._prefix, common)
        self._prefix = denoiser.encode(tokens[kept.length if kept else 0 :], prefix=kept)
        self._encoded = len(self._messages)
        self._encode_seconds += time.perf_counter() - began
        return self._prefix

    def _infill(
        self,
        template: Template,
        *,
        steps: int,
        layout: Layout | None,
        width: int | None,
        seed: int,
        on_draft: OnDraft | None,
        stop: Callable[[], None],
    ) -> Filling:
        _require_steps(steps)
        form = self._runtime.forms.template(template, layout=layout, width=width)
        began = time.perf_counter()
        with self._runtime.lock:
            stop()
            clock, denoising = self._begin([form], seed)
            rows = (0,) if form.regions else ()
            self._run(denoising, [form], steps if rows else 0, lambda: rows, on_draft, stop)
            filled = denoising.filled(0) if rows else None
            value = form.read(filled.tokens if filled else form.tokens)  # type: ignore[arg-type]
        is_json = template.kind == "json_schema"
        return Filling(
            value=value,
            text=json.dumps(value, ensure_ascii=False, separators=(",", ":")) if is_json else value,
            forwards=denoising.forwards,
            confidence=filled.posteriors if filled else {},
            elapsed=time.perf_counter() - began,
            tokens=form.free,
            timings=_timings(clock),
        )

    def _decide(
        self,
        calls: Mapping[str, Schema],
        *,
        steps: int,
        layout: Layout | None,
        seed: int,
        on_draft: OnDraft | None,
        stop: Callable[[], None],
    ) -> Decision:
        _require_steps(steps)
        names = list(calls)
        forms = self._runtime.turn(calls, layout=layout)
        began = time.perf_counter()
        with self._runtime.lock:
            stop()
            clock, denoising = self._begin(forms, seed)

            def chosen() -> int:
                # rows: 0 the choice, then one a call in order, and the answer last
                options = denoising.filled(0).options
                return 1 + options.index(max(options))

            self._run(denoising, forms, steps, lambda: (0, chosen()), on_draft, stop)
            row = chosen()
            filled = denoising.filled(row)
            value = forms[row].read(filled.tokens)
            options = denoising.filled(0).options
        return Decision(
            name=names[row - 1] if row <= len(names) else None,
            value=value,
            choice=dict(zip([*names, ""], options, strict=True)),
            confidence=filled.posteriors,
            forwards=denoising.forwards,
            elapsed=time.perf_counter() - began,
            tokens=forms[0].free + forms[row].free,
            timings=_timings(clock),
        )

    def _begin(self, forms: Sequence[Form], seed: int) -> tuple[Clock, Denoising]:
        prefix = self._encode()
        clock = Clock(encode=self._encode_seconds)
        self._encode_seconds = 0.0
        runtime = self._runtime
        tokens = runtime.checkpoint.tokens
        masked = runtime.checkpoint.dialect.start == "mask"
        denoising = Denoising(
            runtime.denoiser,
            prefix,
            forms,
            start=tokens.mask if masked else None,
            pad=tokens.pad,
            seed=seed,
            clock=clock,
        )
        return clock, denoising

    def _run(
        self,
        denoising: Denoising,
        forms: Sequence[Form],
        steps: int,
        wanted: Callable[[], Sequence[int]],
        on_draft: OnDraft | None,
        stop: Callable[[], None],
    ) -> None:
        def on_step(done: int) -> None:
            if on_draft is not None:
                rows = tuple(range(len(forms))) if done == 0 else wanted()
                on_draft(self._draft(denoising, forms, rows, done, steps))

        run_steps(denoising, steps, wanted=wanted, on_step=on_step, stop=stop)

    def _draft(
        self,
        denoising: Denoising,
        forms: Sequence[Form],
        rows: Sequence[int],
        done: int,
        steps: int,
    ) -> Draft:
        drawn: list[DraftRow] = []
        for row in rows:
            width = forms[row].width
            tokens = (
                denoising.filled(row).tokens if done else denoising.canvas[row, :width].tolist()
            )
            texts = tuple(self._runtime.token_text(token) for token in tokens)
            states = denoising.states(row, last=done == steps)
            drawn.append(DraftRow(forms[row].name, texts, tuple(states)))
        return Draft(done, steps, tuple(drawn))


def _declared(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A declaration whose parameters hold no references: chat templates don't follow them."""
    function = tool.get("function")
    if not isinstance(function, Mapping) or "parameters" not in function:
        raise EngineError(
            f"the tool {tool!r} is no declaration; write it as "
            '{"type": "function", "function": {"name", "description", "parameters"}}'
        )
    return {**tool, "function": {**function, "parameters": inline(function["parameters"])}}


def _chat_message(message: ChatMessage | str) -> ChatMessage:
    if isinstance(message, str):
        message = {"role": "user", "content": message}
    if not message.get("role"):
        raise EngineError(f"the message {message!r} has no role; say 'user', 'assistant' or 'tool'")
    return message


def _require_steps(steps: int) -> None:
    if steps < 1:
        raise TemplateError(f"steps is {steps}; at least one denoise step is needed")


def _timings(clock: Clock) -> Timings:
    return Timings(encode=clock.encode, denoise=clock.denoise, lattice=clock.lattice)


def _never() -> None:
    """Synchronous work is never abandoned."""
