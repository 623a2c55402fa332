"""Unicode's general categories, under the names that `\\p{...}` knows them by.

Knows the Unicode data of this Python. Must not know patterns. Source: PropertyValueAliases.txt
(UAX 44), the values of General_Category.
"""

from __future__ import annotations

import sys
import unicodedata
from functools import lru_cache

from agentkit_engine.grammar.text.characters import ALL, Characters, complement, span, union

__all__ = ["property_characters"]

_NAMES = {
    "C": "Other", "Cc": "Control cntrl", "Cf": "Format", "Cn": "Unassigned", "Co": "Private_Use",
    "L": "Letter", "LC": "Cased_Letter", "Ll": "Lowercase_Letter", "Lm": "Modifier_Letter",
    "Lo": "Other_Letter", "Lt": "Titlecase_Letter", "Lu": "Uppercase_Letter",
    "M": "Mark Combining_Mark", "Mc": "Spacing_Mark", "Me": "Enclosing_Mark",
    "Mn": "Nonspacing_Mark", "N": "Number", "Nd": "Decimal_Number digit", "Nl": "Letter_Number",
    "No": "Other_Number", "P": "Punctuation punct", "Pc": "Connector_Punctuation",
    "Pd": "Dash_Punctuation", "Pe": "Close_Punctuation", "Pf": "Final_Punctuation",
    "Pi": "Initial_Punctuation", "Po": "Other_Punctuation", "Ps": "Open_Punctuation",
    "S": "Symbol", "Sc": "Currency_Symbol", "Sk": "Modifier_Symbol", "Sm": "Math_Symbol",
    "So": "Other_Symbol", "Z": "Separator", "Zl": "Line_Separator", "Zp": "Paragraph_Separator",
    "Zs": "Space_Separator",
}  # fmt: skip
_CATEGORY = {
    name: category for category, names in _NAMES.items() for name in (category, *names.split())
}
_PROPERTIES = frozenset({"General_Category", "gc"})
_PLAIN = {"Any": ALL, "ASCII": span(0, 0x7F)}


def property_characters(name: str, value: str | None) -> tuple[Characters, Characters] | None:
    """The characters of a property, and those that may get it in another version of Unicode.

    `name` stands alone, or is a property with a `value`. None for what is not a general category:
    scripts and binary properties but Any, Assigned and ASCII.
    """
    if value is None and name in _PLAIN:
        return _PLAIN[name], ()
    if value is not None and name not in _PROPERTIES:
        return None
    unassigned = _categories().get("Cn", ())
    if value is None and name == "Assigned":
        return complement(unassigned), unassigned
    category = _CATEGORY.get(value if value is not None else name)
    if category is None:
        return None
    if category in {"C", "Cn"}:  # what is unassigned may be assigned one day
        return _of(category, without="Cn"), unassigned
    return _of(category), () if category in {"Cc", "Co", "Zl", "Zp"} else unassigned


def _of(category: str, *, without: str = "") -> Characters:
    wanted = ("Lu", "Ll", "Lt") if category == "LC" else (category,)
    return union(
        *(
            ranges
            for name, ranges in _categories().items()
            if name.startswith(wanted) and name != without
        )
    )


@lru_cache(maxsize=1)
def _categories() -> dict[str, Characters]:
    """The characters of each two-letter category."""
    ranges: dict[str, list[tuple[int, int]]] = {}
    last = ""
    for code in range(sys.maxunicode + 1):
        category = unicodedata.category(chr(code))
        if category == last:
            continue
        if last:
            ranges[last][-1] = (ranges[last][-1][0], code - 1)
        ranges.setdefault(category, []).append((code, sys.maxunicode))
        last = category
    return {name: union(tuple(found)) for name, found in ranges.items()}
