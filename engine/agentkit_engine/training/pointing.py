"""Pointing: what teaches a small model to find a tool by what is said of it.

By itself such a model learns to find the words of a request in the tools' names; where names mean
nothing it chooses by chance. So three of its layers are shown where to look: every token of a
declaration at its own tool's name, the tokens of a request at the declaration of the tool that it
means, and the canvas of a choice at the name of that tool. The likeness of a request and a
declaration is that of ColBERT (Khattab and Zaharia 2020, arXiv 2004.12832): each token counts by
what is likest to it. Must not know losses of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from agentkit_engine.training.canvases import Example
from agentkit_engine.training.model import Attended

_LIKENESS = 0.3  # of a token, in nats for a unit of what attention computes


@dataclass(frozen=True, slots=True)
class Pointing:
    """Where to look, in a batch of G trunks that declare T tools at most.

    Attributes:
        tools: [G, T, 3] int64, where each tool's name starts and stops in the trunk, and where all
            that is said of it stops; -1 for none.
        meant: [N, 2] int64, of each request its trunk, and the tool that it means.
        requests: [P, 3] int64, row and column of the tokens of requests, and of which.
        choices: [Q, 3] int64, the same of the canvases on which the choice is made.
    """

    tools: Tensor
    meant: Tensor
    requests: Tensor
    choices: Tensor

    def to(self, device: str) -> Pointing:
        """The same on another device."""
        return Pointing(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Meant:
    """A request that means a tool: where it is in a row, and the canvas of the choice."""

    row: int
    tool: int
    request: range
    choice: range


def where_to_look(
    firsts: Sequence[Example], group: Sequence[int], meant: Sequence[Meant]
) -> Pointing:
    """Of trunks, each that of an example, the trunks of rows, and the requests in those."""
    most = max(len(first.declared) for first in firsts)
    none = (-1, -1, -1)
    tools = [[*first.declared, *[none] * (most - len(first.declared))] for first in firsts]

    def places(name: str) -> Tensor:
        found = [(m.row, at, n) for n, m in enumerate(meant) for at in getattr(m, name)]
        return torch.tensor(found, dtype=torch.long).reshape(-1, 3)

    told = [(group[m.row], m.tool) for m in meant]
    return Pointing(
        torch.tensor(tools, dtype=torch.long).reshape(len(firsts), most, 3),
        torch.tensor(told, dtype=torch.long).reshape(-1, 2),
        places("request"),
        places("choice"),
    )


def pointing_loss(attended: Sequence[Attended], pointing: Pointing) -> Tensor:
    """How far the first heads of three layers are from looking there, nats.

    Args:
        attended: of the layers that find a tool's own name, the tool, and the name of that.
    """
    naming, meaning, choosing = attended
    found = naming.keys.new_zeros((), dtype=torch.float32)
    for trunk, padded in enumerate(pointing.tools.tolist()):
        tools: list[list[int]] = [tool for tool in padded if tool[0] >= 0]
        if len(tools) < 2:
            continue
        one = _own_name(naming.trunk[trunk], naming.keys[trunk], tools)
        found = found + one / len(pointing.tools)
        names = [range(start, stop) for start, stop, _ in tools]
        whole = [range(start, stop) for start, _, stop in tools]
        asked = pointing.meant[:, 0] == trunk
        parts = (
            _likeness(meaning, trunk, _of(pointing.requests, asked), whole, pointing.meant),
            _choice(choosing, trunk, _of(pointing.choices, asked), names, pointing.meant),
        )
        found = found + sum(parts) / len(pointing.meant)
    return found


def _of(places: Tensor, asked: Tensor) -> Tensor:
    """Those of some requests."""
    return places[asked[places[:, 2]]]


def _own_name(queries: Tensor, keys: Tensor, tools: Sequence[Sequence[int]]) -> Tensor:
    """Of what each token of a declaration gives to names, how little goes to that of its tool."""
    losses: list[Tensor] = []
    names = [range(start, stop) for start, stop, _ in tools]
    for number, (_, start, stop) in enumerate(tools):
        if number:  # of the first one there is no other to be seen
            given = _given(queries[:, start:stop], keys, names[: number + 1])
            losses.append(-given.log_softmax(-1)[..., number].mean(0))
    return torch.cat(losses).sum() / sum(stop - start for _, start, stop in tools)


def _likeness(
    meaning: Attended, trunk: int, places: Tensor, tools: Sequence[range], meant: Tensor
) -> Tensor:
    """How little a request's tokens are like its tool's, and look at those; of all requests."""
    row, column, request = places.unbind(1)
    queries, wanted = meaning.rows[row, :, column].transpose(0, 1), meant[request, 1]  # [H, n, K]
    likest = torch.stack(
        [_products(queries, meaning.keys[trunk], tool).amax(-1) for tool in tools], -1
    )
    shares = _given(queries, meaning.keys[trunk], tools).softmax(-1)
    looked = shares[:, torch.arange(len(wanted)), wanted]
    size = likest.new_zeros(len(meant)).index_add(0, request, torch.ones_like(likest[0, :, 0]))
    asked = size > 0

    def summed(each: Tensor) -> Tensor:  # by request
        total = each.new_zeros(len(each), len(meant), *each.shape[2:])
        return total.index_add(1, request, each)[:, asked]

    likeness = _LIKENESS * summed(likest)
    found = F.cross_entropy(
        likeness.flatten(0, 1), meant[asked, 1].repeat(len(likeness)), reduction="sum"
    )
    # what is likest must also be what is looked at
    found = found - (summed(looked) / size[asked]).log().sum()
    return found / len(likeness)


def _choice(
    choosing: Attended, trunk: int, places: Tensor, names: Sequence[range], meant: Tensor
) -> Tensor:
    """Of what canvases give to names, how little goes to that of the tool; of all requests."""
    row, column, request = places.unbind(1)
    queries, wanted = choosing.rows[row, :, column].transpose(0, 1), meant[request, 1]
    given = _given(queries, choosing.keys[trunk], names).log_softmax(-1)
    missed = -given[:, torch.arange(len(wanted)), wanted].mean(0)
    size = missed.new_zeros(len(meant)).index_add(0, request, torch.ones_like(missed))
    return (missed / size[request]).sum()


def _given(queries: Tensor, keys: Tensor, tools: Sequence[range]) -> Tensor:
    """What goes to each tool: of [..., n, K] queries and [E, K] keys [..., n, T], in nats."""
    return torch.stack([_products(queries, keys, tool).logsumexp(-1) for tool in tools], -1)


def _products(queries: Tensor, keys: Tensor, places: range) -> Tensor:
    return (queries @ keys[places.start : places.stop].T).float()
