"""From SQLAlchemy's schema objects to CREATE and DROP."""

from __future__ import annotations

import warnings
from typing import Any

from sqlalchemy import exc, schema
from sqlalchemy import types as sqltypes
from sqlalchemy.sql import compiler

from flight_server.client.sqlalchemy.warnings import NotEnforced

# What a statement that has nothing to do comes out as; the dialect does not send it.
NOTHING = ""


class LakeflightDDLCompiler(compiler.DDLCompiler):
    """CREATE TABLE without what the tables cannot hold; it says so where rows would differ."""

    def get_column_specification(self, column: Any, **kwargs: Any) -> str:
        """Write name, type, NOT NULL and comment; refuse a default, which no table keeps."""
        if column.server_default is not None and not isinstance(
            column.server_default, schema.Identity | schema.Computed
        ):
            raise exc.CompileError("tables have no DEFAULT; use default= for one in Python")
        if column.computed is not None:
            raise exc.CompileError("tables have no computed columns")
        if column.identity is not None:
            raise exc.CompileError("tables have no identity columns: supply the keys")
        kind = self.dialect.type_compiler_instance.process(column.type, type_expression=column)
        text = f"{self.preparer.format_column(column)} {kind}"
        if not column.nullable:
            text += " NOT NULL"
        if column.comment is not None:
            text += f" COMMENT {self._literal(column.comment)}"
        return text

    def create_table_constraints(
        self, table: Any, _include_foreign_key_constraints: Any = None, **kw: Any
    ) -> str:
        """Leave all out, with a warning for each kind that would have refused rows."""
        left_out = sorted(
            {
                _NAMES.get(type(constraint), type(constraint).__name__)
                for constraint in table.constraints
                if not isinstance(constraint, schema.PrimaryKeyConstraint) or constraint.columns
            }
        )
        if left_out:
            warnings.warn(
                f"table {table.name}: {', '.join(left_out)} not created, rows are not checked",
                NotEnforced,
                stacklevel=2,
            )
        return ""

    def post_create_table(self, table: Any) -> str:
        """Write the partitioning and the comment."""
        text = ""
        if partition_by := table.dialect_options["lakeflight"]["partition_by"]:
            names = [partition_by] if isinstance(partition_by, str) else partition_by
            text += f"\nPARTITIONED BY ({', '.join(map(self.preparer.quote, names))})"
        if table.comment is not None:
            text += f"\nCOMMENT {self._literal(table.comment)}"
        return text

    def visit_create_index(self, create: Any, *args: Any, **kw: Any) -> str:
        """Write nothing: data files carry their own statistics. A unique one is warned about."""
        if create.element.unique:
            warnings.warn(
                f"index {create.element.name}: UNIQUE not created, rows are not checked",
                NotEnforced,
                stacklevel=2,
            )
        return NOTHING

    def visit_drop_index(self, drop: Any, **kw: Any) -> str:
        """Write nothing: there are no indexes."""
        return NOTHING

    def visit_create_sequence(self, create: Any, prefix: Any = None, **kw: Any) -> str:
        """Refuse."""
        raise exc.CompileError("there are no sequences: supply the keys")

    def visit_add_constraint(self, create: Any, **kw: Any) -> str:
        """Refuse: somebody asks for this constraint by itself."""
        raise exc.CompileError("tables have no constraints but NOT NULL")

    def _literal(self, text: str) -> str:
        return self.sql_compiler.render_literal_value(text, sqltypes.STRINGTYPE)


_NAMES: dict[type[Any], str] = {
    schema.PrimaryKeyConstraint: "PRIMARY KEY",
    schema.ForeignKeyConstraint: "FOREIGN KEY",
    schema.UniqueConstraint: "UNIQUE",
    schema.CheckConstraint: "CHECK",
}
