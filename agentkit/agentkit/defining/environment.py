"""Reads settings from the environment, by pydantic-settings.

Knows variables and the types of fields. Must not know other sources. Importing it imports
pydantic-settings, so nothing that `import agentkit` loads may import it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast, get_args, get_origin

from pydantic import BaseModel, create_model
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource


def read_environment(config: type[BaseModel], prefix: str) -> dict[str, Any]:
    """What the variables that begin with `prefix` say of a configuration's fields.

    Nested fields follow a double underscore. Lists are JSON or separated by commas, all else that
    is not plain text is JSON. An empty variable says nothing.
    """
    bases: Any = (config, BaseSettings)
    kind = cast("type[BaseSettings]", create_model("Settings", __base__=bases))
    source = _Environment(kind, env_prefix=prefix, env_nested_delimiter="__", env_ignore_empty=True)
    return source()


class _Environment(EnvSettingsSource):
    """Leaves what it can't read to the validation, which tells the field."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            # within a dictionary there is no field
            if isinstance(value, str) and _is_listed(getattr(field, "annotation", None)):
                return [part.strip() for part in value.split(",")]
            return value


def _is_listed(annotation: Any) -> bool:
    """Whether values are several, one beside the other."""
    options = [one for one in get_args(annotation) if one is not type(None)]
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type) and issubclass(kind, Collection):
        return issubclass(kind, list | tuple | set | frozenset)
    return len(options) == 1 and _is_listed(options[0])
