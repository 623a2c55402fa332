"""Turns: the engine is asked, and what of its drafts is certain is told at once.

Knows the engine's sessions, decisions and drafts. Must not know any API.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias

import anyio.to_thread

from agentkit_engine.engine import Engine
from agentkit_engine.errors import (
    CheckpointError,
    ContextTooLong,
    TemplateError,
)
from agentkit_engine.filling.outcome import Call, Decision, Draft
from agentkit_engine.notes import ANSWER_NOTE, arguments_note
from agentkit_engine.server.beliefs import believed_all
from agentkit_engine.server.chat.asked import (
    Asked,
    CallDelta,
    Delta,
    Reason,
    TextDelta,
    TurnCall,
    Turned,
    new_id,
)
from agentkit_engine.server.stopping import Told
from agentkit_engine.server.transport.problems import Refused
from agentkit_engine.server.transport.service import Service
from agentkit_engine.server.transport.together import together
from agentkit_engine.session import Session

Hear: TypeAlias = Callable[[Delta], None]

_LONGEST = 2000  # characters of an error, which may quote what was asked


async def take_turn(service: Service, asked: Asked, hear: Hear | None = None) -> list[Turned]:
    """What came of each choice.

    Args:
        hear: told more of an answer and of calls as soon as they are certain, all of them in the
            end.

    Raises:
        Refused: as of `refusing`.
        EngineError: as of `Engine.session`, `Session.extend` and `Session.decide`.
    """
    sessions: list[Session] = []
    try:
        with refusing(asked):
            sessions.append(await heard_session(service.engine, asked))
            sessions += [sessions[0].fork() for _ in range(asked.choices - 1)]
            works = [
                partial(_choice, service, asked, number, session, hear)
                for number, session in enumerate(sessions)
            ]
            return await together(works)  # their forwards are batched
    finally:
        for one in sessions:
            one.close()


async def heard_session(engine: Engine, asked: Asked) -> Session:
    """A session that has heard the chat; the caller's to close.

    Raises:
        EngineError: as of `Engine.session` and `Session.extend`.
    """
    tools = [tool.declaration for tool in asked.tools]
    make = partial(engine.session, instructions=asked.instructions, tools=tools)
    session = await anyio.to_thread.run_sync(make, abandon_on_cancel=True)
    try:
        await session.extend(*asked.messages)
    except BaseException:
        session.close()
        raise
    return session


@contextmanager
def refusing(asked: Asked) -> Generator[None]:
    """Blames what goes wrong inside on the field that it is about.

    Raises:
        Refused: a schema or a wish can't be honoured, the chat template refuses the chat, or there
            is more of it than the model attends to.
    """
    try:
        yield
    except CheckpointError as error:
        why = f"the chat template refuses this chat: {error.__cause__ or error}"[:_LONGEST]
        raise Refused(422, "ChatRefused", why, asked.place) from error
    except ContextTooLong as error:
        raise Refused(422, "ContextTooLong", str(error), asked.place) from error
    except (TemplateError, RecursionError) as error:
        notes: list[str] = getattr(error, "__notes__", [])
        kind, what = type(error).__name__, str(error)[:_LONGEST]
        if isinstance(error, RecursionError):  # only what is asked is nested
            kind, what = "NestedTooDeeply", "this is nested too deeply, or endlessly; nest less"
        why = "\n".join((what, *notes))
        raise Refused(422, kind, why, _blamed(asked, notes)) from error


def _blamed(asked: Asked, notes: Sequence[str]) -> str:
    """The field to blame, by what an error says it is about; else only a bias can be."""
    for tool in asked.tools:
        if arguments_note(tool.name) in notes:
            return tool.place
    if ANSWER_NOTE in notes:
        return asked.output_place
    return "logit_bias" if "bias" in asked.options else ""


async def _choice(
    service: Service, asked: Asked, number: int, session: Session, hear: Hear | None
) -> Turned:
    telling = _Telling(number, asked.stop, hear)
    options = asked.options.copy()
    options["must_call"] = asked.must_call
    options["seed"] = options.get("seed", 0) + number
    parameters = {tool.name: tool.parameters for tool in asked.tools}
    decision = await session.decide(
        {name: parameters[name] for name in asked.callable},
        answer=asked.output,
        on_draft=telling.draw if hear else None,
        **options,
    )
    service.meter.filled(decision)
    await believed_all(decision)
    return telling.turned(decision, options["seed"])


class _Telling:
    """What is told of one choice: each thing once, and nothing that may yet change."""

    def __init__(self, choice: int, stop: Sequence[str], hear: Hear | None) -> None:
        self._choice, self._hear = choice, hear
        self._calls: list[TurnCall] = []
        self._answer = Told(stop, self._tell_text if hear else None)

    def draw(self, draft: Draft) -> None:
        """Tells what a draft is certain of."""
        settled = [call for call in draft.calls[: draft.settled] if isinstance(call, Call)]
        self._tell_calls(settled)
        self._answer.certain(draft.said)

    def turned(self, decision: Decision, seed: int) -> Turned:
        """What came of it; tells what was not told yet."""
        self._tell_calls(decision.calls)
        answered, by = decision.answered, None
        text = answered.text if answered else None
        reason: Reason = "calls"
        if answered is not None:
            if answered.words:
                text, by = self._answer.words(answered.text)
            else:
                self._answer.whole(answered.text)
            reason = "length" if answered.full and not by else "stop"
        return Turned(
            text=text,
            calls=tuple(self._calls),
            reason=reason,
            stopped_by=by,
            seed=seed,
            decision=decision,
        )

    def _tell_calls(self, calls: Sequence[Call]) -> None:
        for call in calls[len(self._calls) :]:
            made = TurnCall(
                id=new_id("call_"),
                name=call.name,
                arguments=call.arguments,
            )
            if self._hear:
                self._hear(CallDelta(choice=self._choice, number=len(self._calls), call=made))
            self._calls.append(made)

    def _tell_text(self, text: str) -> None:
        if self._hear:
            self._hear(TextDelta(choice=self._choice, text=text))
