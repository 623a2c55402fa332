"""How probable a text is, however it is cut into tokens.

Knows log-probabilities and spellings. Must not know automata. A sum-product over (position, bytes
written): the forward algorithm of Baum and Welch (1970) over the ways in which tokens write one
text, each of which is a filling of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from agentkit_engine.grammar.token.spellings import Spellings

__all__ = ["log_written"]


def log_written(
    log_probs: Tensor,
    spellings: Spellings,
    *,
    room: int,
    tail: Callable[[int], Sequence[int]],
) -> float:
    """Log of the summed probability of all fillings that write a text and nothing else, in nats.

    Args:
        log_probs: [L, V], normalised or not.
        spellings: of the text.
        room: tokens there are for the text.
        tail: the tokens behind a text of so many tokens, up to the end.

    Returns:
        -inf where no spelling is short enough.
    """
    most = min(room, spellings.size)
    tokens = torch.from_numpy(spellings.token).to(log_probs.device)
    worth = log_probs[:most].index_select(1, tokens).double().cpu().numpy()  # [most, M]
    stops, first = np.unique(spellings.stop, return_index=True)
    written = np.full(spellings.size + 1, -np.inf)  # by how many bytes
    written[0] = 0.0
    whole = {0: 0.0} if spellings.size == 0 else {}  # by how many tokens
    for used in range(1, most + 1):
        ways = written[spellings.start] + worth[used - 1]
        written = np.full(spellings.size + 1, -np.inf)
        written[stops] = np.logaddexp.reduceat(ways, first)
        whole[used] = float(written[-1])
    ends = [score + _worth(log_probs[used:], tail(used)) for used, score in whole.items()]
    return float(np.logaddexp.reduce(ends)) if ends else -np.inf


def _worth(log_probs: Tensor, tokens: Sequence[int]) -> float:
    index = torch.tensor(tokens, dtype=torch.int64, device=log_probs.device)[:, None]
    return float(log_probs.gather(1, index).double().sum())
