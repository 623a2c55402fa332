"""Pointing: what teaches a small model to find a tool by what is said of it.

By itself such a model learns to find the words of a request in the tools' names; where names mean
nothing it chooses by chance. So four of its layers are shown where to look: every token of a
declaration at its own tool's name, the tokens of a request at the declaration of the tool that it
means, then at its name, and the canvas of a choice at that name. The likeness of a request and a
declaration is that of ColBERT (Khattab and Zaharia 2020, arXiv 2004.12832): each token counts by
what is likest to it. Must not know losses of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from agentkit_engine.errors import EngineError
from agentkit_engine.training.canvases import Example
from agentkit_engine.training.model import Attended

_LAYERS = 4  # and the last, which copies what was found
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
    """How far the first heads of four layers are from looking there, nats.

    Args:
        attended: of layers one behind the other.

    Raises:
        EngineError: there are fewer.
    """
    if len(attended) < _LAYERS:
        raise EngineError("pointing takes a model of five layers at least; train without it")
    naming, meaning, recalling, choosing = attended
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
        requests, choices = (
            _Places(trunk, places[asked[places[:, 2]]], pointing.meant)
            for places in (pointing.requests, pointing.choices)
        )
        parts = (
            _likeness(meaning, requests, whole),
            _missed(meaning, requests, whole),
            _missed(recalling, requests, names),
            _missed(choosing, choices, names),
        )
        found = found + sum(parts) / max(1, len(pointing.meant))  # a batch may choose nothing
    return found


@dataclass(frozen=True, slots=True)
class _Places:
    """Of n places in the rows of one trunk row, column and request, [n, 3] int64."""

    trunk: int
    places: Tensor
    meant: Tensor

    def queries(self, look: Attended) -> Tensor:
        """[H, n, K]."""
        row, column, _ = self.places.unbind(1)
        return look.rows[row, :, column].transpose(0, 1)

    def of_tool(self, each: Tensor) -> Tensor:
        """Of [H, n, T] that of the tool that is meant: [H, n]."""
        wanted = self.meant[self.places[:, 2], 1]
        return each[:, torch.arange(len(wanted)), wanted]

    def summed(self, each: Tensor) -> Tensor:
        """[H, n, ...] by request, of the requests of this trunk: [H, requests, ...]."""
        total = each.new_zeros(len(each), len(self.meant), *each.shape[2:])
        return total.index_add(1, self.places[:, 2], each)[:, self.meant[:, 0] == self.trunk]

    @property
    def tools(self) -> Tensor:
        """[requests] int64, the tools that are meant."""
        return self.meant[self.meant[:, 0] == self.trunk, 1]


def _own_name(queries: Tensor, keys: Tensor, tools: Sequence[Sequence[int]]) -> Tensor:
    """Of what each token of a declaration gives away, how little goes to the name of its tool."""
    losses: list[Tensor] = []
    for start, behind, stop in tools:
        products = _products(queries[:, behind:stop], keys, range(stop))  # [H, n, E]
        seen = torch.ones_like(products[0], dtype=torch.bool).tril(behind)
        products = products.masked_fill(~seen, -torch.inf)
        losses.append(products.logsumexp(-1) - products[..., start:behind].logsumexp(-1))
    return torch.cat(losses, 1).mean()


def _likeness(look: Attended, places: _Places, tools: Sequence[range]) -> Tensor:
    """How much liker other tools are to the requests than those that are meant; of all requests."""
    queries, keys = places.queries(look), look.keys[places.trunk]
    likest = [_products(queries, keys, tool).amax(-1) for tool in tools]
    likeness = _LIKENESS * places.summed(torch.stack(likest, -1))
    wanted = places.tools.repeat(len(likeness))
    return F.cross_entropy(likeness.flatten(0, 1), wanted, reduction="sum") / len(likeness)


def _missed(look: Attended, places: _Places, tools: Sequence[range]) -> Tensor:
    """Of what requests give to the trunk, how little goes to the tools that are meant; of all."""
    queries, keys = places.queries(look), look.keys[places.trunk]
    given = [_products(queries, keys, tool).logsumexp(-1) for tool in tools]
    every = _products(queries, keys, range(tools[-1].stop)).logsumexp(-1)
    right = (places.of_tool(torch.stack(given, -1)) - every).exp()
    share = places.summed(right) / places.summed(torch.ones_like(right))
    return -share.log().sum() / len(share)


def _products(queries: Tensor, keys: Tensor, places: range) -> Tensor:
    return (queries @ keys[places.start : places.stop].T).float()
