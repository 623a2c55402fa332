"""Whether a JSON value satisfies a schema, and if not, why, in words for the model.

Knows JSON Schema; must not know servers. Fetches nothing. Importing it takes a while.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import jsonschema
from jsonschema import exceptions, validators
from referencing import Registry
from referencing.exceptions import Unresolvable

from agentkit.errors import UnsupportedSchema
from agentkit_engine.panics import panics_as_recursion


class Check:
    """A schema, compiled once."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Compile a schema.

        Raises:
            UnsupportedSchema: it is none; says where and why.
        """
        document = dict(schema)
        kind = validators.validator_for(document, default=jsonschema.Draft202012Validator)
        try:
            kind.check_schema(document)
        except exceptions.SchemaError as error:
            path = [str(part) for part in error.absolute_path]
            keyword = path[-1] if path else str(error.validator)
            pointer = "".join(f"/{part}" for part in path)
            raise UnsupportedSchema(keyword, pointer, error.message) from error
        self._validator: Any = kind(document, registry=cast(Any, Registry)())
        self._best_of: Any = cast(Any, exceptions).best_match

    def fault(self, value: object) -> str:
        """What is wrong with the value, and where; empty where it is valid, or can't be judged.

        What the validator gets lost in is let through: the loop has checks of its own.
        """
        try:
            with panics_as_recursion():
                error = self._best_of(self._validator.iter_errors(value))
        except (Unresolvable, RecursionError, re.error):
            return ""
        if error is None:
            return ""
        pointer = "".join(f"/{part}" for part in error.absolute_path)
        return f"{f'at {pointer}: ' if pointer else ''}{error.message}"
