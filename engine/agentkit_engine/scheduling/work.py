"""Works: what sessions do with a model, as generators that ask for its forwards.

Knows the requests a model answers. Must not know threads, queues or what is being filled. A work
yields a request, is sent back its answer, and returns a value; who drives it (`run_alone` here, the
scheduler among many others) decides when a forward runs and what runs with it. Between two requests
a work computes; it never waits.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

from torch import Tensor

from agentkit_engine.denoisers.base import Denoiser, Prefix, Reading

T = TypeVar("T")
OnEvent: TypeAlias = Callable[[Any], None]


@dataclass(frozen=True, slots=True, eq=False)
class Encode:
    """Asks for `Denoiser.encode`: a `Prefix` is sent back.

    Attributes:
        tokens: encoded behind `prefix`.
        prefix: what stands before them; None at the start of a context.
    """

    tokens: tuple[int, ...]
    prefix: Prefix | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """Asks for `Denoiser.read`: a `Reading` is sent back.

    Attributes:
        prefix: what all rows stand behind.
        rows: token sequences, each read alone.
    """

    prefix: Prefix
    rows: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Denoise:
    """Asks for `Denoiser.denoise`: a tensor [B, W, V] of raw logits is sent back, float32.

    It may be a view of a larger batch's: compute from it, don't write into it.

    Attributes:
        prefix: what all rows stand behind.
        canvas: [B, W] int64, not written to until the answer has come.
        attend: [B, W] bool, False at padding; None where there is none.
        previous: [B, W, V] float32, the logits of the step before; None at the first.
    """

    prefix: Prefix
    canvas: Tensor
    attend: Tensor | None = None
    previous: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Emit:
    """Tells the caller something on the way, such as a draft; None is sent back at once."""

    event: Any


Forward: TypeAlias = Encode | Read | Denoise  # what takes the model
Request: TypeAlias = Forward | Emit
Work: TypeAlias = Generator[Request, Any, T]


class Encoder(Protocol):
    """The shape of `Denoiser.encode`."""

    def __call__(self, tokens: Sequence[int], *, prefix: Prefix | None = None) -> Prefix: ...


def encode(tokens: Sequence[int], prefix: Prefix | None = None) -> Work[Prefix]:
    """The prefix with `tokens` behind it, to be had by `yield from`."""
    found: Prefix = yield Encode(tuple(tokens), prefix)
    return found


def read(prefix: Prefix, rows: Sequence[Sequence[int]]) -> Work[Reading]:
    """One causal pass over finished rows, to be had by `yield from`."""
    found: Reading = yield Read(prefix, tuple(tuple(row) for row in rows))
    return found


def denoise(
    prefix: Prefix,
    canvas: Tensor,
    *,
    attend: Tensor | None = None,
    previous: Tensor | None = None,
) -> Work[Tensor]:
    """One denoise step's logits [B, W, V], to be had by `yield from`."""
    found: Tensor = yield Denoise(prefix, canvas, attend, previous)
    return found


def emit(event: Any) -> Work[None]:
    """Hands `event` to the caller's `on_event`, by `yield from`; costs no forward."""
    yield Emit(event)


def answer(request: Forward, denoiser: Denoiser, *, encode: Encoder | None = None) -> Any:
    """What the model says to one request, by one call of the denoiser.

    Args:
        encode: in place of the denoiser's own, such as a store's that encodes nothing twice.
    """
    match request:
        case Encode():
            return (encode or denoiser.encode)(request.tokens, prefix=request.prefix)
        case Read():
            return denoiser.read(request.prefix, request.rows)
        case Denoise():
            return denoiser.denoise(
                request.prefix, request.canvas, attend=request.attend, previous=request.previous
            )


def run_alone(work: Work[T], denoiser: Denoiser, *, on_event: OnEvent | None = None) -> T:
    """Drives one work to its end in the calling thread, without a scheduler.

    What the denoiser raises is raised in the work, at its request; what the work raises goes on to
    the caller. The work is closed in any case.
    """
    try:
        request = next(work)
        while True:
            if isinstance(request, Emit):
                if on_event is not None:
                    on_event(request.event)
                request = work.send(None)
                continue
            try:
                found = answer(request, denoiser)
            except Exception as error:
                request = work.throw(error)
            else:
                request = work.send(found)
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        work.close()
