"""Formats that are guaranteed, as patterns.

Knows what RFC 3339, 4122, 2673 and 5321 allow, or a common part of it. Must not know schemas or
tokens. A format that is not here can't be guaranteed and is refused by the caller.
"""

__all__ = ["FORMATS"]

_YEAR = "[1-9][0-9]{3}"
# divisible by 4, and a century by 400
_LEAP = "(?:[1-9][0-9](?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26])00)"
_DATE = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    f"|{_LEAP}-02-29)"
)
_TIME = (
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
    "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_HEX = "[0-9a-fA-F]"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_ATOM = "[A-Za-z0-9_+-]+"
_LABEL = "[A-Za-z0-9]+(?:-+[A-Za-z0-9]+)*"

FORMATS = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}$",
    "date-time": f"^{_DATE}T{_TIME}$",
    "email": rf"^{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+[A-Za-z]{{2,}}$",
    "uuid": f"^{_HEX}{{8}}-(?:{_HEX}{{4}}-){{3}}{_HEX}{{12}}$",
    "ipv4": rf"^(?:{_OCTET}\.){{3}}{_OCTET}$",
}
"""format -> the pattern of what is written for it"""
