"""Formats: what is written for each, and what surely has it not.

Knows RFC 1123, 3339, 3986, 4122, 4291, 5321, 6570 and 6901, or a common part of each. Must not know
schemas or bytes. What is written conforms to the RFC and passes the checks of `jsonschema`, with or
without the packages that it can use. Without these it lets everything pass for most formats, so
that only few can surely not be had.
"""

from __future__ import annotations

from functools import lru_cache

from agentkit_engine.grammar.text.regex import pattern_texts
from agentkit_engine.grammar.text.sets import TextSet
from agentkit_engine.grammar.truth import Between

__all__ = ["FORMATS", "format_texts"]

_YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"  # Python has no year 0
_FOURTH = "(?:0[48]|[2468][048]|[13579][26])"
_LEAP = f"(?:[0-9]{{2}}{_FOURTH}|{_FOURTH}00)"  # divisible by 4, and a century by 400
_DATE = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    f"|{_LEAP}-02-29)"
)
_TIME = (  # no leap seconds: whether there is one depends on the date and the offset
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
    "(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_SECONDS = "[0-9]+S"
_MINUTES = f"[0-9]+M(?:{_SECONDS})?"
_CLOCK = f"T(?:[0-9]+H(?:{_MINUTES})?|{_MINUTES}|{_SECONDS})"
_DAYS = "[0-9]+D"
_MONTHS = f"[0-9]+M(?:{_DAYS})?"
_DURATION = f"P(?:(?:[0-9]+Y(?:{_MONTHS})?|{_MONTHS}|{_DAYS})(?:{_CLOCK})?|{_CLOCK}|[0-9]+W)"

_HEX = "[0-9A-Fa-f]"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"(?:{_OCTET}\.){{3}}{_OCTET}"
_GROUP = f"{_HEX}{{1,4}}"
_IPV6 = "|".join(
    [
        f"(?:{_GROUP}:){{7}}{_GROUP}",
        f"(?:{_GROUP}:){{6}}{_IPV4}",
        *(  # `::` stands for at least one group, behind `before` of them
            f"{':'.join([_GROUP] * before)}::(?:{_GROUP}(?::{_GROUP}){{0,{6 - before}}})?"
            for before in range(7)
        ),
        f"{':'.join([_GROUP] * 7)}::",
        *(
            f"{':'.join([_GROUP] * before)}::(?:{_GROUP}:){{0,{5 - before}}}{_IPV4}"
            for before in range(6)
        ),
    ]
)

# two hyphens in a row are left out: at one place they mark an encoded label, which may be wrong
_LABEL = "[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*"
_ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL = rf"{_ATOM}(?:\.{_ATOM})*"

_ENCODED = f"%{_HEX}{{2}}"
_PCHAR = f"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|{_ENCODED})"
_NO_COLON = f"(?:[A-Za-z0-9._~!$&'()*+,;=@-]|{_ENCODED})"
_REG_NAME = f"(?:[A-Za-z0-9._~!$&'()*+,;=-]|{_ENCODED})*"
_AUTHORITY = f"(?:(?:[A-Za-z0-9._~!$&'()*+,;=:-]|{_ENCODED})*@)?{_REG_NAME}(?::[0-9]*)?"
_ABSOLUTE = f"//{_AUTHORITY}(?:/{_PCHAR}*)*|/(?:{_PCHAR}+(?:/{_PCHAR}*)*)?"
_BEHIND = rf"(?:\?(?:{_PCHAR}|[/?])*)?(?:#(?:{_PCHAR}|[/?])*)?"
_URI = f"[A-Za-z][A-Za-z0-9+.-]*:(?:{_ABSOLUTE}|{_PCHAR}+(?:/{_PCHAR}*)*)?{_BEHIND}"
_RELATIVE = f"(?:{_ABSOLUTE}|{_NO_COLON}+(?:/{_PCHAR}*)*)?{_BEHIND}"
_VARIABLE = r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*(?:\*|:[1-9][0-9]{0,2})?"
_TEMPLATE = (
    f"(?:[A-Za-z0-9._~:/?#@!$&()*+,;=-]|{_ENCODED}"
    rf"|\{{[+#./;?&]?{_VARIABLE}(?:,{_VARIABLE})*\}})*"
)
_POINTER = "(?:/(?:[^/~]|~[01])*)*"

_CLASS = r"\[\^?(?:[A-Za-z0-9_ .,:;@#%+*/]|a-z|A-Z|0-9|\\[dwsDWS])+\]"
_PIECE = (
    rf"(?:(?:[A-Za-z0-9_ .,:;@#%&=!~'\"<>/-]|\\[dwsDWS.*+?()\[\]{{}}|^$/\\]|{_CLASS})"
    r"(?:(?:[*+?]|\{[0-9]{1,2},?\})\??)?|\^|\$)"
)
_PIECES = rf"(?:{_PIECE}|\((?:\?:)?{_PIECE}*(?:\|{_PIECE}*)*\)(?:[*+?]\??)?)*"
_REGEX = rf"{_PIECES}(?:\|{_PIECES})*"

_WRITTEN = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}[Tt]{_TIME}",
    "duration": _DURATION,
    "email": rf"{_LOCAL}@{_HOST}",
    "idn-email": rf"{_LOCAL}@{_HOST}",
    "hostname": _HOST,
    "idn-hostname": _HOST,
    "ipv4": _IPV4,
    "ipv6": _IPV6,
    "uri": _URI,
    "uri-reference": f"{_URI}|{_RELATIVE}",
    "iri": _URI,
    "iri-reference": f"{_URI}|{_RELATIVE}",
    "uri-template": _TEMPLATE,
    "uuid": f"{_HEX}{{8}}-(?:{_HEX}{{4}}-){{3}}{_HEX}{{12}}",
    "json-pointer": _POINTER,
    # `jsonschema` refuses a digit behind a zero
    "relative-json-pointer": f"(?:0|[1-9]+0?)(?:#|{_POINTER})",
    "regex": _REGEX,
}
_SHORT_HOST = "[^@]{1,63}"
_LIMITS = {  # RFC 5321 allows 64 characters before the `@`; 63 behind it are within every limit
    "email": f"[^@]{{1,64}}@{_SHORT_HOST}",
    "idn-email": f"[^@]{{1,64}}@{_SHORT_HOST}",
    "hostname": _SHORT_HOST,
    "idn-hostname": _SHORT_HOST,
}
_NECESSARY = {  # what no reader takes for the format lacks this; all others may be taken for it
    "email": "[^@]*@(?:[^@]|@)*",
    "idn-email": "[^@]*@(?:[^@]|@)*",
    "ipv4": _IPV4,
    "ipv6": "[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*",
}

FORMATS = frozenset(_WRITTEN)
"""The formats that are guaranteed."""


@lru_cache(maxsize=64)
def format_texts(name: str) -> Between[TextSet] | None:
    """The texts of a format; None for a name that is not known.

    inner: what is written, in full for dates and times (years 1 to 9999, fractions of a second to
    9 digits, no leap seconds), durations, addresses, URIs (without IP literals), pointers and
    templates; ASCII alone for what is internationalized; a simple part of regular expressions.
    """
    if name not in _WRITTEN:
        return None
    inner = _whole(_WRITTEN[name])
    if name in _LIMITS:
        inner &= _whole(_LIMITS[name])
    outer = _whole(_NECESSARY[name]) if name in _NECESSARY else TextSet.everything()
    return Between(inner, outer)


def _whole(pattern: str) -> TextSet:
    return pattern_texts(pattern, pointer="", whole=True).inner
