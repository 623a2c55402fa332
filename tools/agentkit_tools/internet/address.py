"""Which URLs, hosts and addresses may be reached.

Knows the address plan of the internet (the IANA special-purpose registries) and how hosts are
written. Must not look anything up: see `connecting`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from httpx2 import URL

Address: TypeAlias = IPv4Address | IPv6Address

MAX_URL = 4000
"""Characters in a URL."""

# Listed here, since `ipaddress.is_global` differs between versions of Python.
_V4 = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "this host's"),
        ("10.0.0.0/8", "private"),
        ("100.100.100.200/32", "a cloud's metadata"),
        ("100.64.0.0/10", "private"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud's metadata"),
        ("169.254.0.0/16", "link-local"),  # 169.254.169.254 gives out a cloud's credentials
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "reserved"),
        ("192.88.99.0/24", "reserved"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "reserved"),
        ("198.51.100.0/24", "reserved"),
        ("203.0.113.0/24", "reserved"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_V6 = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        ("::/128", "this host's"),
        ("::1/128", "loopback"),
        ("fd00:ec2::/32", "a cloud's metadata"),
        ("fd20:ce::254/128", "a cloud's metadata"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "private"),
        ("ff00::/8", "multicast"),
        ("2001::/23", "reserved"),  # Teredo among them, which wraps an IPv4 address
        ("2001:db8::/32", "reserved"),
        ("2002::/16", "reserved"),  # 6to4: wraps an IPv4 address, given up in 2015
        ("3fff::/20", "reserved"),
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_PRIVATE = frozenset({"loopback", "private"})
_NUMBER_LABEL = re.compile(r"(0x[0-9a-f]*|[0-9]+)", re.IGNORECASE)
# East Asian texts mix these, and Latin with them.
_MIXED_ANYWAY = frozenset(
    {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO"}
)


class Refused(ValueError):
    """A URL, host or address that may not be reached; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What may be reached.

    allow: hosts, and no others, unless it is empty; "*.example.org" is each host below that one.
    deny: hosts that are refused though `allow` has them.
    private: loopback and private networks may be reached too. Link-local, metadata, multicast and
        reserved addresses never may.
    ports: that may be reached; None: all.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    private: bool = False
    ports: frozenset[int] | None = None

    def check(self, url: URL) -> None:
        """Raise `Refused` for a URL whose scheme, host or port may not be reached."""
        if url.scheme not in {"http", "https"}:
            raise Refused(f"{url.scheme or 'no'!r} is no scheme for a page; use http or https")
        if url.userinfo:
            raise Refused("a user name or password stands in the URL; leave it out")
        host = canonical(url.raw_host.decode())
        check_host(host)
        if _matches(host, self.deny) or (self.allow and not _matches(host, self.allow)):
            known = f"; allowed: {', '.join(self.allow)}" if self.allow else ""
            raise Refused(f"the host {host!r} may not be reached{known}")
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        if self.ports is not None and port not in self.ports:
            known = ", ".join(map(str, sorted(self.ports)))
            raise Refused(f"port {port} may not be reached; allowed: {known}")

    def check_addresses(self, host: str, addresses: Iterable[Address]) -> None:
        """Raise `Refused` where one of the addresses of a host may not be reached."""
        for address in addresses:
            kind = special(address)
            if kind is not None and not (self.private and kind in _PRIVATE):
                raise Refused(f"the host {host!r} has the {kind} address {address}")


def special(address: Address) -> str | None:
    """What sets an address apart from those of the public internet; None for one of these."""
    if isinstance(address, IPv4Address):
        return next((kind for network, kind in _V4 if address in network), None)
    if address.scope_id is not None:
        return "link-local"
    if address.ipv4_mapped is not None:
        return special(address.ipv4_mapped)
    if address in _NAT64:  # how an IPv6-only network reaches IPv4
        return special(IPv4Address(int(address) & 0xFFFFFFFF))
    for network, kind in _V6:
        if address in network:
            return kind
    return None if address in _GLOBAL_V6 else "reserved"


def parsed(text: str) -> URL:
    """A URL as it was written.

    Raises:
        Refused: it is none, or one that programs read differently.
    """
    import httpx2

    if len(text) > MAX_URL:
        raise Refused(f"the URL is longer than {MAX_URL} characters")
    if any(char.isspace() or char == "\\" for char in text):
        raise Refused("a space or backslash stands in the URL; write %20 or %5C")
    try:
        return httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise Refused(f"{text!r} is no URL: {error}") from None


def canonical(host: str) -> str:
    """A host as rules compare it: lower case, without the root's dot, in ASCII."""
    plain = host.lower().removesuffix(".")
    if plain.isascii():
        return plain
    import idna

    star = "*." if plain.startswith("*.") else ""
    return star + idna.encode(plain.removeprefix(star)).decode()


def check_host(host: str) -> None:
    """Raise `Refused` for a host that is written to be mistaken for another."""
    if not host:
        raise Refused("the URL has no host; write it as https://example.org/page")
    if "%" in host:
        raise Refused(f"the host {host!r} has a zone or an escape; write it plainly")
    if ":" in host:
        return  # an IPv6 address, as the parser has checked
    labels = host.split(".")
    if _NUMBER_LABEL.fullmatch(labels[-1]):
        _check_dotted(host)
        return
    for label in labels:
        if not label or len(label) > 63:
            raise Refused(f"the host {host!r} has a label that is empty or too long")
        _check_script(host, label)


def _check_dotted(host: str) -> None:
    # 2130706433, 0x7f.1 and 0177.0.0.1 are all 127.0.0.1 to some resolvers.
    try:
        IPv4Address(host)
    except ValueError:
        raise Refused(f"the host {host!r} is a number; write an address as four decimals") from None


def _check_script(host: str, label: str) -> None:
    if not label.startswith("xn--"):
        return
    try:
        text = label.removeprefix("xn--").encode().decode("punycode")
        scripts = {unicodedata.name(char).split()[0] for char in text if char.isalpha()}
    except ValueError:
        raise Refused(f"the host {host!r} has a label that is no name: {label!r}") from None
    if len(scripts - _MIXED_ANYWAY) > 1:
        mixed = " and ".join(sorted(scripts))
        raise Refused(f"the host {host!r} mixes letters to look like another: {text!r} ({mixed})")


def _matches(host: str, patterns: Iterable[str]) -> bool:
    for pattern in map(canonical, patterns):
        below = pattern.removeprefix("*")
        if host == pattern or (below != pattern and host.endswith(below) and host != below):
            return True
    return False


def addresses_of(texts: Iterable[str]) -> list[Address]:
    """Addresses as a resolver wrote them, each once."""
    return list(dict.fromkeys(ip_address(text) for text in texts))
