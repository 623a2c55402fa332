"""What went wrong between the client and its server, as errors that name the mend.

Knows the client's exceptions; must not know conversations.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import openai

from agentkit.errors import AgentKitError, BackendError, ContextTooLong

_TOO_LONG = re.compile(
    r"context.{0,20}(length|size|window)|exceed_context", re.IGNORECASE | re.DOTALL
)
_LIMITS = (  # the tokens a model attends to, as servers word it
    re.compile(
        r"(?:maximum context length|max_model_len|context size|context window)\D{0,30}(\d+)"
    ),
    re.compile(r"'n_ctx': (\d+)"),
)
_NEEDED = (
    re.compile(
        r"(?:resulted in|requested|request has|prompt contains at least|request \()\s*(\d+)"
    ),
    re.compile(r"'n_prompt_tokens': (\d+)"),
)


@contextmanager
def explained(server: str, model: str) -> Generator[None]:
    """Raise what the client raises as ours.

    Raises:
        ContextTooLong: the server says that the model attends to less.
        BackendError: anything else that is wrong; says which server, what it said, and the mend.
    """
    try:
        yield
    except openai.APIStatusError as error:
        raise _refused(error, server, model) from error
    except openai.APITimeoutError as error:
        raise BackendError(
            f"{server} did not reply in time; give it longer with `timeout=`, or see why it is slow"
        ) from error
    except openai.APIConnectionError as error:
        raise BackendError(
            f"no connection to {server}: {error.__cause__ or error}; is it running, and is "
            "`base_url` right?"
        ) from error
    except openai.APIError as error:  # what it says in the middle of a stream
        if is_too_long(error):
            raise _too_long(error) from error
        raise BackendError(f"{server} broke off: {error.message}") from error
    except (openai.OpenAIError, ValueError) as error:
        raise BackendError(
            f"{server} can't be understood: {error}; does `base_url` end where its "
            "`/chat/completions` begins, in `/v1` for most?"
        ) from error


def _refused(error: openai.APIStatusError, server: str, model: str) -> AgentKitError:
    if error.status_code in (400, 413, 422) and is_too_long(error):
        return _too_long(error)
    status = error.status_code
    said = f"{server} replied {status} to a request for {model!r}: {message_of(error)}"
    mend = _MENDS.get(status, "")
    if "tool" in said and ("tool-call-parser" in said or "--jinja" in said):
        mend = "start the server with tool calling switched on, as it says"
    return BackendError(f"{said}; {mend}" if mend else said)


_MENDS = {
    401: "give a valid key with `api_key=` or in the environment variable OPENAI_API_KEY",
    403: "the key may not use this model; give another with `api_key=`, or another model",
    404: "check the model's name, and that `base_url` ends where `/chat/completions` begins "
    "(in `/v1` for most servers)",
    429: "it was asked again `max_retries` times; wait, ask less often, or raise the quota",
}


def message_of(error: openai.APIError) -> str:
    """What the server said, without the client's words around it."""
    body = error.body
    message = cast(dict[str, Any], body).get("message") if isinstance(body, dict) else None
    return message if isinstance(message, str) and message else error.message


def is_too_long(error: openai.APIError) -> bool:
    """Whether the server says that the conversation does not fit the model."""
    return _TOO_LONG.search(_all_said(error)) is not None


def _all_said(error: openai.APIError) -> str:
    return f"{error.code} {error.type} {error.message} {error.body}"


def _too_long(error: openai.APIError) -> AgentKitError:
    text = _all_said(error)
    limit, needed = _number(_LIMITS, text), _number(_NEEDED, text)
    if limit is None or needed is None:
        return BackendError(
            f"the conversation is too long for the model: {message_of(error)}; shorten it, offer "
            "fewer tools, or allow fewer tokens to be written"
        )
    return ContextTooLong(needed, limit)


def _number(patterns: tuple[re.Pattern[str], ...], text: str) -> int | None:
    found = next((match for pattern in patterns if (match := pattern.search(text))), None)
    return None if found is None else int(found[1])
