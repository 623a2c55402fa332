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
    """Where to look, in a batch of G trunks of E positions.

    Attributes:
        named: [G, E] int64, which tool is named there; -1 for none.
        declared: [G, E] int64, which tool something else is said of there; -1 for none.
        meant: [N, 6] int64, of each request its row, the tool that it means, and in which columns
            it and the canvas of the choice start and stop.
    """

    named: Tensor
    declared: Tensor
    meant: Tensor

    def to(self, device: str) -> Pointing:
        """The same on another device."""
        return Pointing(*(getattr(self, field.name).to(device) for field in fields(self)))


def where_to_look(
    firsts: Sequence[Example], width: int, meant: Sequence[Sequence[int]]
) -> Pointing:
    """Of trunks of `width`, each that of an example, and of the requests in all rows."""
    named = torch.full((len(firsts), width), -1)
    declared = named.clone()
    for number, first in enumerate(firsts):
        for tool, (start, behind, stop) in enumerate(first.declared):
            named[number, start:behind] = tool
            declared[number, behind:stop] = tool
    return Pointing(named, declared, torch.tensor(meant, dtype=torch.long).reshape(-1, 6))


def pointing_loss(attended: Sequence[Attended], group: Tensor, pointing: Pointing) -> Tensor:
    """How far the first heads of three layers are from looking there, nats.

    Args:
        attended: of the layers that find a tool's own name, the tool, and the name of that.
        group: [R] int64, the trunk of each row.
    """
    naming, meaning, choosing = attended
    found = naming.keys.new_zeros((), dtype=torch.float32)
    for trunk, (named, declared) in enumerate(zip(pointing.named, pointing.declared, strict=True)):
        tools = torch.arange(int(named.max()) + 1, device=named.device)[:, None]
        if len(tools) < 2:
            continue
        own = _own_name(naming.trunk[trunk], naming.keys[trunk], named, declared, tools)
        found = found + own / len(pointing.named)
        asked = pointing.meant[group[pointing.meant[:, 0]] == trunk]
        places = (declared == tools) | (named == tools)
        for row, tool, *columns in asked:
            request, choice = slice(*columns[:2]), slice(*columns[2:])
            products = meaning.rows[row, :, request] @ meaning.keys[trunk].T
            likeness = _LIKENESS * _spread(products, places).amax(-1).sum(1)  # [H, T]
            one = F.cross_entropy(likeness, tool.expand(len(likeness)))
            # what is likest must also be what is looked at
            shares = _spread(products, places).logsumexp(-1).softmax(-1)  # [H, n, T]
            one = one - shares[..., tool].mean(1).log().mean()
            products = choosing.rows[row, :, choice] @ choosing.keys[trunk].T
            given = _spread(products, named == tools).logsumexp(-1).flatten(0, 1)  # [H * n, T]
            one = one + F.cross_entropy(given, tool.expand(len(given)))
            found = found + one / len(pointing.meant)
    return found


def _own_name(
    queries: Tensor, keys: Tensor, named: Tensor, declared: Tensor, tools: Tensor
) -> Tensor:
    """Of what each token of a declaration gives to names, how little goes to that of its tool."""
    about = declared >= 0
    given = _spread(queries[:, about] @ keys.T, named == tools).logsumexp(-1)  # [H, n, T]
    later = declared[about][:, None] < tools.T  # it can't see those
    given = given.masked_fill(later, -torch.inf)
    target = declared[about].expand(len(given), -1)
    return F.cross_entropy(given.flatten(0, 1), target.flatten())


def _spread(products: Tensor, places: Tensor) -> Tensor:
    """[..., E] products with keys, for each tool those at its places [T, E]: [..., T, E]."""
    return products.float()[..., None, :].masked_fill(~places, -torch.inf)
