"""Solutions: one row's valid filling by its logits.

Knows forms, what is held of them, and the lattice. Must not know steps, models or prompts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from heapq import heappop, heappush
from typing import Any

import torch
from torch import Tensor

from agentkit_engine.errors import InvalidLogProbs
from agentkit_engine.filling.course import Held
from agentkit_engine.filling.outcome import Alternative
from agentkit_engine.grammar import Vocabulary
from agentkit_engine.grammar.machine.repetition import identity
from agentkit_engine.grammar.token.spellings import spellings_of
from agentkit_engine.lattice import Bias, Lattice, Problem, check
from agentkit_engine.lattice.placing import lengths, marked, row_entropies
from agentkit_engine.lattice.writings import log_written
from agentkit_engine.layouts.forms import Choice, Form, Region
from agentkit_engine.template import path_of

_WRITINGS = 4  # fillings looked at for another value: most often the second is one


@dataclass(frozen=True, eq=False)
class Filled:
    """A row whose regions hold a valid filling.

    Attributes:
        tokens: the whole row, pins included.
        score: the filling's log-probability by the logits, in nats, pins included.
        shares: of each choice, the probabilities of its options.
        lattice: what was solved, one problem for each region that is no choice.
    """

    form: Form
    tokens: tuple[int, ...]
    score: float
    shares: tuple[tuple[float, ...], ...]
    lattice: Lattice

    @cached_property
    def entropies(self) -> list[float]:
        """Of each position's constrained posterior, in nats; 0 at pins.

        A choice is one decision: its entropy stands at its first position.
        """
        found = [0.0] * self.form.width
        solved = enumerate(self.lattice.entropies() if self.form.values else ())
        shares = iter(self.shares)
        for region in self.form.regions:
            if isinstance(region, Choice):
                found[region.start] = -sum(p * math.log(p) for p in next(shares) if p > 0)
            else:
                number, nats = next(solved)
                if region.markers is not None:
                    chances = lengths(self.lattice, number, region.markers[0])
                    nats = row_entropies(nats, chances, region.ending, region.padding)
                found[region.start : region.stop] = nats.tolist()
        return found


def require_filling(form: Form, bias: Bias | None) -> None:
    """Refuses a row that can't be filled under a bias; asked before a forward is spent on it.

    Raises:
        TemplateError: the banned tokens leave a value nothing.
    """
    for region in form.values:
        length = region.width if region.markers is None else region.room + 1
        check(region.automaton, length, bias=bias)


def solve(
    logits: Tensor,
    form: Form,
    held: Sequence[Held] = (Held(),),
    *,
    temperature: float = 0.0,
    random: torch.Generator | None = None,
    bias: Bias | None = None,
    entropies: bool = False,
) -> Filled:
    """The best valid filling, or a sample.

    Args:
        logits: [W, V], normalised or not.
        held: the cases that are left; of several the likeliest is taken.
        temperature: 0 takes the best filling, else an exact sample at it is drawn.
        random: of the sample.
        entropies: they will be asked for; so they cost less.
    """
    if len(held) > 1:
        logits = logits.log_softmax(-1)  # cases pin unlike positions: their scores must compare
    found = max((_case(logits, form, case, bias, entropies) for case in held), key=_score)
    return _sampled(found, form, temperature, random) if temperature else found


def fillings(filled: Filled, form: Form, count: int) -> Iterator[tuple[float, tuple[int, ...]]]:
    """The best valid fillings of a row with their scores, best first: regions are independent.

    Scores are log-probabilities in nats, relative to the best.
    """
    ranked = [filled.lattice.n_best(k, count) for k in range(len(form.values))]
    first: tuple[int, ...] = (0,) * len(ranked)
    heap: list[tuple[float, tuple[int, ...]]] = [(0.0, first)]
    seen: set[tuple[int, ...]] = {first}
    for _ in range(count):
        if not heap:
            return
        loss, ranks = heappop(heap)
        tokens = list(filled.tokens)
        for region, found, rank in zip(form.values, ranked, ranks, strict=True):
            tokens[region.start : region.stop] = region.written(found[rank].tokens.tolist())
        yield -loss, tuple(tokens)
        for k, rank in enumerate(ranks):
            after = (*ranks[:k], rank + 1, *ranks[k + 1 :])
            if rank + 1 < len(ranked[k]) and after not in seen:
                seen.add(after)
                more = ranked[k][rank].score - ranked[k][rank + 1].score
                heappush(heap, (loss + more, after))


def confidences(
    filled: Filled, form: Form, tokens: Sequence[int], vocabulary: Vocabulary
) -> dict[str, float]:
    """JSON pointer of each value of a filled row -> its posterior probability.

    That of its text: of all fillings together that write it, however they cut it into tokens. Of a
    value that goes on elsewhere, or before a text, that of its tokens.
    """
    return {
        region.pointer: _share(filled, k, region, tokens, vocabulary)
        for k, region in enumerate(form.values)
    }


def runners_up(
    filled: Filled, form: Form, tokens: Sequence[int], vocabulary: Vocabulary, *, start: int = 0
) -> dict[str, Alternative]:
    """JSON pointer of each value of a filled row -> the likeliest value but that.

    Args:
        start: where in the row lies what `filled` is of; values that go on elsewhere have none.
    """
    found: dict[str, Alternative] = {}
    taken = identity(form.read(tokens))
    for k, region in enumerate(filled.form.values):
        for other in () if region.parted else filled.lattice.n_best(k, _WRITINGS):
            written = region.written(other.tokens.tolist())
            place = start + region.start
            row = [*tokens[:place], *written, *tokens[place + region.width :]]
            value = form.read(row)
            if identity(value) != taken:  # as a whole: a key may be absent, or null
                own = row[start : start + filled.form.width]
                share = _share(filled, k, region, own, vocabulary)
                found[region.pointer] = Alternative(_at(value, region.pointer), share)
                break
    return found


def _case(logits: Tensor, form: Form, held: Held, bias: Bias | None, entropies: bool) -> Filled:
    regions = form.values
    problems = [_problem(logits, region, k, held, bias) for k, region in enumerate(regions)]
    lattice = Lattice(problems, entropies=entropies)
    tokens = [token or 0 for token in form.tokens]
    score = sum(float(logits[place, token]) for place, token in held.pins.items())
    shares: list[tuple[float, ...]] = []
    for region in form.regions:
        if isinstance(region, Choice):
            part = logits[region.start : region.stop]
            chosen, probabilities = _choose(part, region)
            # what is behind the option is never emitted: the model goes on as it likes
            rest = part[len(chosen) :].argmax(-1).tolist()
            tokens[region.start : region.stop] = [*chosen, *rest]
            shares.append(probabilities)
            score += math.log(max(probabilities))
    for region, best in zip(regions, lattice.best(), strict=True):
        tokens[region.start : region.stop] = region.written(best.tokens.tolist())
        score += best.score
    return Filled(form, tuple(tokens), score, tuple(shares), lattice)


def _sampled(
    filled: Filled, form: Form, temperature: float, random: torch.Generator | None
) -> Filled:
    tokens = list(filled.tokens)
    for k, region in enumerate(form.values):
        drawn = filled.lattice.sample(k, temperature=temperature, generator=random)[0]
        tokens[region.start : region.stop] = region.written(drawn.tolist())
    return replace(filled, tokens=tuple(tokens))


def _problem(logits: Tensor, region: Region, number: int, held: Held, bias: Bias | None) -> Problem:
    automaton = region.present if number in held.present else region.automaton
    if held.values == "strict":
        automaton = automaton.strict or automaton
    elif held.values == "loose":
        automaton = replace(automaton, repeats=None, strict=None)
    pins = {
        place - region.start: token
        for place, token in held.pins.items()
        if region.start <= place < region.stop
    }
    within = logits[region.start : region.stop]
    if region.markers is not None:
        within = marked(within, region.ending, pad=region.padding, markers=region.markers)
    return Problem(within, automaton, pins=pins, bias=bias)


def _share(
    filled: Filled, number: int, region: Region, tokens: Sequence[int], vocabulary: Vocabulary
) -> float:
    """The posterior probability of what a row of `tokens` says in a region."""
    problem, said = filled.lattice.problems[number], region.said(tokens)
    if said is None or region.parted or region.markers is not None:
        score = _worth(problem, region.sequence(tokens))
    else:
        text = b"".join(vocabulary.token_bytes[token] or b"" for token in said)
        spellings = spellings_of(text, vocabulary)
        score = log_written(_biased(problem), spellings, room=region.room, tail=region.tail)
    return min(1.0, math.exp(score - filled.lattice.log_partition(number)))


def _biased(problem: Problem) -> Tensor:
    """The log-probabilities with the bias in them."""
    bias, scores = problem.bias, problem.log_probs
    if bias is None:
        return scores
    more = scores.new_full(scores.shape[-1:], bias.length)
    for tokens, nats in ((problem.automaton.tail, 0.0), (bias.banned, -math.inf)):
        more[torch.tensor(sorted(tokens), dtype=torch.int64, device=scores.device)] = nats
    for token, nats in bias.preferred.items():
        more[token] += nats
    return scores + more


def _worth(problem: Problem, tokens: Sequence[int]) -> float:
    """The score of a filling, as the lattice has it."""
    bias = problem.bias or Bias()
    index = torch.tensor(tokens, device=problem.log_probs.device)[:, None]
    nats = problem.log_probs.gather(1, index)[:, 0].double().tolist()
    return math.fsum(
        score + bias.preferred.get(token, 0.0) + bias.length * (token not in problem.automaton.tail)
        for place, (token, score) in enumerate(zip(tokens, nats, strict=True))
        if place not in (problem.pins or {})
    )


def _at(value: Any, pointer: str) -> Any:
    """What lies at a JSON pointer; None where there is nothing."""
    for part in path_of(pointer):
        if isinstance(value, list):
            value = value[int(part)]
        elif part in value:
            value = value[part]
        else:
            return None
    return value


def _score(filled: Filled) -> float:
    return filled.score


def _choose(logits: Tensor, region: Choice) -> tuple[list[int], tuple[float, ...]]:
    """The likeliest option's tokens and the distribution over all, positions being independent."""
    log_probs = logits.log_softmax(-1).cpu()
    places = torch.arange(len(log_probs))
    scores = [
        log_probs[places[: len(option)], torch.tensor(option)].sum()
        if option is not None
        else _anything_else(log_probs, region)
        for option in region.sequences
    ]
    probabilities = torch.stack(scores).double().softmax(0)
    if probabilities.isnan().any():
        raise InvalidLogProbs(
            "the logits of a choice hold NaN or infinities; look for an overflow in the model"
        )
    chosen = region.sequences[int(probabilities.argmax())]
    return list(chosen or ()), tuple(probabilities.tolist())


def _anything_else(log_probs: Tensor, region: Choice) -> Tensor:
    """The probability that the row begins with the first token of none of the options."""
    first = sorted({option[0] for option in region.sequences if option})
    taken = log_probs[0, torch.tensor(first, dtype=torch.long)].exp().sum()
    return torch.log1p(-taken.clamp(max=1 - 1e-9))
