"""The tables of a database, as SQLAlchemy's inspection tells them.

Knows schemas; must not know rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Table:
    """A table or a view. columns: its names."""

    name: str
    schema: str | None
    is_view: bool
    columns: tuple[str, ...]

    def line(self) -> str:
        """The table in a line."""
        kind = " (view)" if self.is_view else ""
        return f"{self.name}{kind}: {', '.join(self.columns)}"

    def described(self, connection: Connection) -> str:
        """Columns with types, keys and defaults, a line each, and the indexes."""
        from sqlalchemy import inspect

        inspector = inspect(connection)
        keys: Sequence[Any] = ()
        primary: Sequence[str] = ()
        if not self.is_view:
            keys = inspector.get_foreign_keys(self.name, self.schema)
            primary = inspector.get_pk_constraint(self.name, self.schema)["constrained_columns"]
        points = {
            column: f"{key['referred_table']}.{there}"
            for key in keys
            for column, there in zip(
                key["constrained_columns"], key["referred_columns"], strict=False
            )
        }
        lines = [f"{'view' if self.is_view else 'table'} {self.name}"]
        lines += [
            f"  {_column(column, column['name'] in primary, points)}"
            for column in inspector.get_columns(self.name, self.schema)
        ]
        for index in [] if self.is_view else inspector.get_indexes(self.name, self.schema):
            unique = "unique " if index["unique"] else ""
            names = ", ".join(name or "an expression" for name in index["column_names"])
            lines.append(f"  {unique}index on {names}")
        return "\n".join(lines)


def tables_of(connection: Connection, schema: str | None) -> list[Table]:
    """The tables and views, in order of name, the tables first."""
    from sqlalchemy import inspect
    from sqlalchemy.engine import ObjectKind

    inspector = inspect(connection)
    found: list[Table] = []
    for kind in (ObjectKind.TABLE, ObjectKind.ANY_VIEW):
        listed = inspector.get_multi_columns(schema, kind=kind)
        for (_, name), columns in sorted(listed.items(), key=lambda item: item[0][1]):
            names = tuple(column["name"] for column in columns)
            found.append(Table(name, schema, kind is not ObjectKind.TABLE, names))
    return found


def _column(column: Any, primary: bool, points: dict[str, str]) -> str:
    parts = [column["name"], str(column["type"])]
    if primary:
        parts.append("primary key")
    elif not column["nullable"]:
        parts.append("not null")
    if column["name"] in points:
        parts.append(f"references {points[column['name']]}")
    if column.get("default") is not None:
        parts.append(f"default {column['default']}")
    return " ".join(parts)
