"""Exact inference: the most probable valid filling, the log-partition, the marginals.

Knows log-probabilities and plans of automata. Must not know what the tokens write. The lattice's
paths are the valid fillings; a path's score is the sum of its tokens' log-probabilities. Max-plus
gives the best one (Viterbi 1967), sum-product all of them together (Baum and Welch 1970). All sums
are float64 nats in log space, so that a needed but improbable token can't underflow.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agentkit_engine.errors import CanvasTooShort, InvalidLogProbs, TemplateError
from agentkit_engine.grammar.token.automaton import TokenAutomaton
from agentkit_engine.grammar.token.runs import spread
from agentkit_engine.lattice.plan import Plan, Segments, plan_of

__all__ = ["Best", "best", "checked", "entropies", "marginals"]

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
Pins = Mapping[int, int]
_CHUNK = 1 << 24  # elements of [L, N] that are reduced at a time


@dataclass(frozen=True, slots=True)
class Best:
    """The most probable valid filling.

    tokens: int64 [L], on the device of the log-probabilities. score: its log-probability.
    log_partition: that of all valid fillings together. Pinned positions count 0 in both.
    """

    tokens: Tensor
    score: float
    log_partition: float

    @property
    def log_posterior(self) -> float:
        """Log-probability of this filling among the valid ones."""
        return self.score - self.log_partition


@dataclass(frozen=True, slots=True)
class _Reduced:
    """Positions by classes, [L, C]: the best token's log-probability, the class's, that token."""

    top: Floats
    total: Floats
    first: Longs


def best(log_probs: Tensor, automaton: TokenAutomaton, *, pins: Pins | None = None) -> Best:
    """The exact maximum over all fillings that the automaton accepts.

    log_probs: float [L, V'], nats, normalised or not; V' at least the automaton's vocabulary.
    pins: position -> token that must stand there. Of equal fillings the one with the lowest token
    ids, from left to right, is taken. Where that one repeats a key of an object, the answer is the
    best of the automaton's `strict` part, in which none can; log_partition stays that of all moves,
    so that log_posterior is a lower bound.

    Raises CanvasTooShort, TemplateError (nothing valid fits: says whether the length, a pin or the
    log-probabilities forbid it) or InvalidLogProbs.
    """
    found = _best(log_probs, automaton, checked(log_probs, automaton, pins))
    if automaton.repeats is None or not automaton.repeats(found.tokens.tolist()):
        return found
    if automaton.strict is None:
        raise TemplateError(
            "the best filling repeats a key, which nothing in the grammar rules out"
        )
    strict = automaton.strict
    answer = _best(log_probs, strict, checked(log_probs, strict, pins))
    return replace(answer, log_partition=found.log_partition)


def _best(log_probs: Tensor, automaton: TokenAutomaton, pins: Pins) -> Best:
    plan = plan_of(automaton)
    reduced = _reduce(log_probs, automaton, plan, pins)
    ahead = _best_ahead(automaton, plan, reduced.top)
    score = float(ahead[0, automaton.start])
    if score == -math.inf:
        raise _impossible(automaton, plan, len(log_probs), pins)
    tokens = _trace(automaton, plan, reduced, ahead)
    summed = _ahead(automaton, plan, _set_sums(plan, reduced.total))
    return Best(
        torch.tensor(tokens, dtype=torch.int64, device=log_probs.device),
        score,
        float(summed[0, automaton.start]),
    )


def marginals(log_probs: Tensor, automaton: TokenAutomaton, *, pins: Pins | None = None) -> Tensor:
    """How probable each token is at each position, among the valid fillings: [L, V'].

    Takes and raises what `best` does. Rows sum to 1; the dtype is that of `log_probs`, at least
    float32.
    """
    pins = checked(log_probs, automaton, pins)
    plan = plan_of(automaton)
    reduced = _reduce(log_probs, automaton, plan, pins)
    weights = _set_sums(plan, reduced.total)
    ahead = _ahead(automaton, plan, weights)
    log_partition = float(ahead[0, automaton.start])
    if log_partition == -math.inf:
        raise _impossible(automaton, plan, len(log_probs), pins)
    behind = _behind(automaton, plan, weights)
    context = np.full((len(log_probs), plan.classes), -np.inf)
    for at in range(len(log_probs)):
        through = behind[at, plan.pair_src] + ahead[at + 1, plan.pair_dst] - log_partition
        sets = _log_sums(through[plan.set_order], plan.by_set)
        context[at, plan.by_class.key] = _log_sums(sets[plan.entry_set], plan.by_class)
    return _spread(log_probs, plan, context, pins)


def entropies(probabilities: Tensor) -> Tensor:
    """Entropy of each position in nats: [L, V] -> [L]. A pinned position has 0."""
    return torch.special.entr(probabilities).sum(dim=-1)


def checked(log_probs: Tensor, automaton: TokenAutomaton, pins: Pins | None) -> Pins:
    """Refuses what can be refused before any work; returns the pins."""
    size = len(automaton.class_of)
    if log_probs.ndim != 2 or log_probs.shape[1] < size:
        raise InvalidLogProbs(
            f"log_probs has the shape {tuple(log_probs.shape)}; it needs [positions, at least "
            f"{size} tokens]"
        )
    length = len(log_probs)
    if length < automaton.min_tokens:
        raise CanvasTooShort(automaton.min_tokens, length)
    if length:
        highest = float(log_probs.amax())
        if math.isnan(highest) or highest == math.inf:
            raise InvalidLogProbs("log_probs holds NaN or +inf; look for an overflow in the model")
    for position, token in (pins or {}).items():
        if not 0 <= position < length:
            raise TemplateError(
                f"the pin at position {position} is outside the canvas of {length} tokens"
            )
        if not 0 <= token < size or automaton.class_of[token] < 0:
            raise TemplateError(
                f"token {token}, pinned at position {position}, never occurs in this grammar"
            )
    return pins or {}


def _reduce(log_probs: Tensor, automaton: TokenAutomaton, plan: Plan, pins: Pins) -> _Reduced:
    """Tokens -> classes. A pinned row holds nothing but its pin, at no cost."""
    length = len(log_probs)
    device = log_probs.device
    tokens, token_class = plan.tokens.to(device), plan.token_class.to(device)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    rows = max(1, _CHUNK // max(1, len(tokens)))
    for low in range(0, length, rows):
        x = log_probs[low : low + rows].index_select(1, tokens).double()
        index = token_class.expand(len(x), -1)
        shape = (len(x), plan.classes)
        top = x.new_full(shape, -math.inf).scatter_reduce(1, index, x, "amax")
        own = top.gather(1, index)
        first = torch.full(shape, len(automaton.class_of), dtype=torch.int64, device=device)
        holders = torch.where(x == own, tokens, len(automaton.class_of))
        first = first.scatter_reduce(1, index, holders, "amin")
        share = torch.exp(x - own).nan_to_num_(0.0)
        total = x.new_zeros(shape).scatter_add(1, index, share).log() + top
        parts.append((top, total.nan_to_num_(nan=-math.inf, neginf=-math.inf), first))
    if not parts:
        empty = np.zeros((0, plan.classes))
        return _Reduced(empty, empty, empty.astype(np.int64))
    tops, totals, firsts = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
    for position, token in pins.items():
        number = automaton.class_of[token]
        for sums in (tops, totals):
            sums[position] = -np.inf
            sums[position, number] = 0.0
        firsts[position, number] = token
    return _Reduced(tops, totals, firsts)


def _best_ahead(automaton: TokenAutomaton, plan: Plan, top: Floats) -> Floats:
    """Best score from each state on to the canvas's end: [L + 1, S]."""
    sets = np.maximum.reduceat(top[:, plan.set_class], plan.sets.start, axis=1)
    ahead = _ends(automaton, len(top))
    for at in range(len(top) - 1, -1, -1):
        onward = sets[at, plan.pair_set] + ahead[at + 1, plan.pair_dst]
        ahead[at, plan.by_src.key] = np.maximum.reduceat(onward, plan.by_src.start)
    return ahead


def _trace(automaton: TokenAutomaton, plan: Plan, reduced: _Reduced, ahead: Floats) -> list[int]:
    """From the start along best edges; among equals the lowest token."""
    state = automaton.start
    tokens: list[int] = []
    for at in range(len(ahead) - 1):
        pairs = slice(plan.pair_first[state], plan.pair_first[state + 1])
        sets, targets = plan.pair_set[pairs], plan.pair_dst[pairs]
        starts = plan.sets.start[sets]
        pair, entry = spread(starts, starts + plan.sets.length[sets])
        classes = plan.set_class[entry]
        onward = reduced.top[at, classes] + ahead[at + 1, targets[pair]]
        equal = np.flatnonzero(onward == onward.max())
        candidates = reduced.first[at, classes[equal]]
        chosen = int(candidates.argmin())
        tokens.append(int(candidates[chosen]))
        state = int(targets[pair[equal[chosen]]])
    return tokens


def _set_sums(plan: Plan, total: Floats) -> Floats:
    return _log_sums(total[:, plan.set_class], plan.sets)


def _ahead(automaton: TokenAutomaton, plan: Plan, sets: Floats) -> Floats:
    """Log of the summed probability from each state on to the canvas's end: [L + 1, S]."""
    ahead = _ends(automaton, len(sets))
    for at in range(len(sets) - 1, -1, -1):
        onward = sets[at, plan.pair_set] + ahead[at + 1, plan.pair_dst]
        ahead[at, plan.by_src.key] = _log_sums(onward, plan.by_src)
    return ahead


def _behind(automaton: TokenAutomaton, plan: Plan, sets: Floats) -> Floats:
    """Log of the summed probability from the start up to each state: [L + 1, S]."""
    behind = np.full((len(sets) + 1, automaton.states), -np.inf)
    behind[0, automaton.start] = 0.0
    for at in range(len(sets)):
        onward = (behind[at, plan.pair_src] + sets[at, plan.pair_set])[plan.dst_order]
        behind[at + 1, plan.by_dst.key] = _log_sums(onward, plan.by_dst)
    return behind


def _ends(automaton: TokenAutomaton, length: int) -> Floats:
    ahead = np.full((length + 1, automaton.states), -np.inf)
    ahead[length, automaton.accepting] = 0.0
    return ahead


def _log_sums(values: Floats, runs: Segments) -> Floats:
    """Log-sum-exp of each run of the last axis."""
    if not len(runs.start):
        return np.zeros((*values.shape[:-1], 0))
    top = np.maximum.reduceat(values, runs.start, axis=-1)
    top[np.isneginf(top)] = 0.0
    shares = np.exp(values - np.repeat(top, runs.length, axis=-1))
    with np.errstate(divide="ignore"):
        summed: Floats = np.log(np.add.reduceat(shares, runs.start, axis=-1))
    return summed + top


def _spread(log_probs: Tensor, plan: Plan, context: Floats, pins: Pins) -> Tensor:
    """Classes -> tokens: a token's marginal is its probability times its class's context."""
    device = log_probs.device
    tokens, token_class = plan.tokens.to(device), plan.token_class.to(device)
    dtype = torch.promote_types(log_probs.dtype, torch.float32)
    found = torch.zeros(log_probs.shape, dtype=dtype, device=device)
    for at, row in enumerate(torch.from_numpy(context).to(device)):
        if at in pins:
            found[at, pins[at]] = 1.0
        else:
            found[at, tokens] = torch.exp(log_probs[at, tokens].double() + row[token_class]).to(
                dtype
            )
    return found


def _impossible(automaton: TokenAutomaton, plan: Plan, length: int, pins: Pins) -> TemplateError:
    """Why no filling is left: the length, a pin, or the log-probabilities."""
    if not _fits(automaton, plan, length, {}):
        return TemplateError(
            f"no valid filling has exactly {length} tokens; give the automaton a filler or an end"
        )
    held: dict[int, int] = {}
    for position, token in sorted(pins.items()):
        held[position] = token
        if not _fits(automaton, plan, length, held):
            return TemplateError(
                f"token {token} pinned at position {position} fits no valid filling of {length} "
                "tokens, given the pins before it"
            )
    return TemplateError(
        "the log-probabilities give every valid filling probability 0; don't mask needed tokens"
    )


def _fits(automaton: TokenAutomaton, plan: Plan, length: int, pins: Pins) -> bool:
    top = np.zeros((length, plan.classes))
    for position, token in pins.items():
        top[position] = -np.inf
        top[position, automaton.class_of[token]] = 0.0
    return bool(np.isfinite(_best_ahead(automaton, plan, top)[0, automaton.start]))
