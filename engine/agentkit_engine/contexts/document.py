"""Documents: texts that are no chats, as contexts that grow.

Knows tokenizers and contexts. Must not know where a text comes from, nor what is filled in behind.

A document is made of pieces, and each is tokenised by itself: its tokens are the same whatever
stands around it. So a text that is sent anew, longer by what was typed meanwhile and cut into the
same pieces, begins with the same tokens, and what was encoded of it is found again.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from agentkit_engine.contexts.context import ChatMessage, Context
from agentkit_engine.contexts.prefixes import PrefixStore
from agentkit_engine.contexts.prompt import Transcript, encode_content, write_start
from agentkit_engine.errors import EngineError

_ROLE = "text"
_SHORT = 1024  # characters of a piece whose tokens are remembered
_REMEMBERED = 8192  # pieces


class Document(Context):
    """A text that is no chat, and its place among the encoded prefixes.

    It grows by pieces of text, which take the place of a chat's messages.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, store: PrefixStore, pieces: Sequence[str] = ()
    ) -> None:
        super().__init__(tokenizer, store)
        self._messages = tuple(map(self._message, pieces))

    def _message(self, message: ChatMessage | str) -> ChatMessage:
        """A piece, told from a message by its role.

        Raises:
            EngineError: it is a chat's message.
        """
        if not isinstance(message, str):
            raise EngineError(
                f"a document takes no messages, only text, and not {message!r}; "
                "open a session with `Engine.session` for a chat"
            )
        return {"role": _ROLE, "content": message}

    def _write(self, messages: Sequence[ChatMessage]) -> Transcript:
        """All pieces behind what begins a text."""
        start = Transcript().rewritten(write_start(self._tokenizer), self._tokenizer)
        pieces = [str(message["content"]) for message in messages]
        parts = [start.tokens, *(piece_tokens(self._tokenizer, piece) for piece in pieces)]
        text, tokens = start.text + "".join(pieces), tuple(itertools.chain.from_iterable(parts))
        return Transcript(text, tokens, ((len(text), len(tokens)),))


def piece_tokens(tokenizer: PreTrainedTokenizerBase, piece: str) -> tuple[int, ...]:
    """The tokens of a piece, a control token spelled in it being text.

    Those of short pieces are remembered: an editor sends nearly the same text with every key.
    """
    return (_known if len(piece) <= _SHORT else _encoded)(tokenizer, piece)


def _encoded(tokenizer: PreTrainedTokenizerBase, piece: str) -> tuple[int, ...]:
    return tuple(encode_content(tokenizer, piece))


_known = lru_cache(maxsize=_REMEMBERED)(_encoded)
