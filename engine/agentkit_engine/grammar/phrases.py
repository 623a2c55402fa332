"""Texts that a random value is readable with: words, names, dates, addresses and small numbers.

Knows what people write. Must not know what is allowed: each text is an offer, taken where it fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from random import Random

__all__ = ["numbers", "phrases"]


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_WORDS = _listed(
    """
    acorn amber anchor apple april atlas autumn badge basil beacon birch bread bridge brook candle
    canyon cedar cello cherry cloud clover coast comet copper coral cotton crane daisy delta drum
    eagle ember falcon fern field flute forest garden ginger glacier grape green hazel honey island
    ivory jasmine juniper kettle lagoon lantern lemon lilac linen lotus maple marble meadow melon
    mint mirror moon moss nectar oak ocean olive onyx orchid otter paper pearl pebble pepper pine
    planet plum pond poppy quartz quill rain raven reef ridge river robin rose saffron sage salt
    sand shell silver sky snow spring spruce star stone storm summer sun swan tea thyme tiger tulip
    valley velvet violet walnut water willow wind winter
    """
)
_START = date(2025, 1, 1)


def phrases(chance: Random) -> Iterator[bytes]:
    """Texts to offer where a string is wanted, plain words before everything else."""
    count = chance.choice((1, 1, 2, 2, 3))
    yield " ".join(_some(chance, count)).encode()
    yield _word(chance).encode()
    for maker in chance.sample(_MAKERS, len(_MAKERS)):
        yield maker(chance).encode()
    for longer in (5, 8, 13, 21, 34):
        yield " ".join(_some(chance, longer)).encode()


def numbers(chance: Random) -> Iterator[bytes]:
    """Numbers to offer, small ones first."""
    whole = [
        str(chance.randint(1, 9)),
        str(chance.randint(10, 99)),
        str(10 * chance.randint(10, 99)),
    ]
    parts = [
        f"{chance.randint(0, 9)}.{chance.choice('13579')}",
        f"{chance.randint(10, 99)}.{chance.choice('25')}5",
        f"0.{chance.choice('123456789')}",
    ]
    chance.shuffle(whole)
    chance.shuffle(parts)
    offered = parts[:1] + whole if chance.random() < 0.4 else whole + parts
    for text in (*offered, *parts, str(chance.randint(1000, 9999)), "0", "-" + whole[0]):
        yield text.encode()


def _word(chance: Random) -> str:
    return chance.choice(_WORDS)


def _some(chance: Random, count: int) -> list[str]:
    return [_word(chance) for _ in range(count)]


def _date(chance: Random) -> str:
    return (_START + timedelta(days=chance.randrange(1000))).isoformat()


def _time(chance: Random) -> str:
    return f"{chance.randrange(24):02}:{chance.randrange(0, 60, 5):02}:00"


def _host(chance: Random) -> str:
    return f"{_word(chance)}.example.org"


def _url(chance: Random) -> str:
    return f"https://{_host(chance)}/{_word(chance)}"


def _uuid(chance: Random) -> str:
    digits = f"{chance.getrandbits(128):032x}"
    kinds = f"4{digits[13:16]}", f"{chance.choice('89ab')}{digits[17:20]}"
    return "-".join((digits[:8], digits[8:12], *kinds, digits[20:]))


_MAKERS: tuple[Callable[[Random], str], ...] = (
    _date,
    _time,
    _host,
    _url,
    _uuid,
    lambda chance: _time(chance) + "Z",
    lambda chance: f"{_date(chance)}T{_time(chance)}Z",
    lambda chance: f"{_word(chance)}@{_host(chance)}",
    lambda chance: _word(chance).title(),
    lambda chance: " ".join(_some(chance, 2)).title(),
    lambda chance: "_".join(_some(chance, 2)),
    lambda chance: "-".join(_some(chance, 2)),
    lambda chance: "/" + "/".join(_some(chance, 2)),
    lambda chance: f"#/{_word(chance)}",
    lambda chance: ".".join(str(chance.randint(1, 254)) for _ in range(4)),
    lambda chance: ".".join(str(chance.randint(0, 9)) for _ in range(3)),
    lambda chance: f"2001:db8::{chance.randint(1, 9999)}",
    lambda chance: f"PT{chance.randint(1, 59)}M",
    lambda chance: f"#{chance.getrandbits(24):06x}",
    lambda chance: f"+49 30 {chance.randint(100000, 999999)}",
    lambda chance: str(chance.randint(10000, 99999)),
)
