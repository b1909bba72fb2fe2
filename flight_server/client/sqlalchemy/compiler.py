"""From SQLAlchemy's expressions to the SQL of the server."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import exc
from sqlalchemy import types as sqltypes
from sqlalchemy.sql import compiler
from sqlalchemy.sql.elements import Cast, quoted_name

# Words that the server's parser does not take as a name, beside SQLAlchemy's own list.
_ESCAPE: Final = "\\"
_ASIDE: Final = "\x01"
_RESERVED_TEXT: Final = """
    anti array asof any begin by call case cast cluster connect create cross cube default delete
    describe distinct distribute drop else end escape except exists explain fetch filter final
    format from full function global group grouping having if inner insert intersect interval
    into is join lateral left like limit list local map match_condition match_recognize merge
    minus natural not null offset on or order outer over overlaps overwrite partition pivot
    prewhere qualify recursive right rollup sample select semi set settings show sort start
    struct table tablesample then top trim true truncate try_cast union unnest unpivot update
    use using values version view when where window with within
"""
_RESERVED: Final = frozenset(_RESERVED_TEXT.split())


class LakeflightIdentifierPreparer(compiler.IdentifierPreparer):
    """Quotes names, and takes ``bucket.schema`` where SQLAlchemy says schema."""

    reserved_words = compiler.RESERVED_WORDS | _RESERVED

    def quote_schema(self, schema: str, *args: Any, **kwargs: Any) -> str:
        """Quote a schema, or a bucket and a schema with a point between them."""
        return ".".join(self.quote(part) for part in split_schema(schema) if part is not None)


def split_schema(schema: str) -> tuple[str | None, str]:
    """Return bucket and schema of what SQLAlchemy calls a schema; None when it names no bucket.

    A name with a point of its own is given as ``quoted_name(name, quote=True)``.
    """
    if isinstance(schema, quoted_name) and schema.quote:
        return None, schema
    bucket, point, rest = schema.partition(".")
    return (bucket, rest) if point else (None, schema)


class LakeflightCompiler(compiler.SQLCompiler):
    """Queries and changes of rows."""

    def get_select_precolumns(self, select: Any, **kw: Any) -> str:
        """Write DISTINCT, or DISTINCT ON."""
        if not select._distinct_on:
            return "DISTINCT " if select._distinct else ""
        return f"DISTINCT ON ({', '.join(self.process(c, **kw) for c in select._distinct_on)}) "

    def visit_frame_clause(self, frameclause: Any, **kw: Any) -> str:
        """Write the bounds of a window as they are: they are no parameters."""
        write: Any = super().visit_frame_clause
        return str(write(frameclause, **{**kw, "literal_execute": True}))

    def _format_frame_clause(self, range_: Any, **kw: Any) -> str:
        # The same for SQLAlchemy before 2.1.
        write: Any = getattr(super(), "_format_frame_clause")  # noqa: B009  2.1 does not know it
        return str(write(range_, **{**kw, "literal_execute": True}))

    def limit_clause(self, select: Any, **kw: Any) -> str:
        """Write LIMIT and OFFSET; either may stand alone."""
        text = ""
        if select._limit_clause is not None:
            text += "\n LIMIT " + self.process(select._limit_clause, **kw)
        if select._offset_clause is not None:
            text += "\n OFFSET " + self.process(select._offset_clause, **kw)
        return text

    def fetch_clause(self, select: Any, fetch_clause: Any = None, *args: Any, **kw: Any) -> str:
        """Write FETCH as LIMIT, which is the same without WITH TIES and PERCENT."""
        options = select._fetch_clause_options or {}
        if options.get("with_ties") or options.get("percent"):
            raise exc.CompileError("FETCH with WITH TIES or PERCENT is not supported")
        count = select._fetch_clause if fetch_clause is None else fetch_clause
        text = "\n LIMIT " + self.process(count, **kw)
        if select._offset_clause is not None:
            text += "\n OFFSET " + self.process(select._offset_clause, **kw)
        return text

    def for_update_clause(self, select: Any, **kw: Any) -> str:
        """Write nothing: there are no locks, and a query reads one version of each table."""
        return ""

    def visit_empty_set_expr(self, element_types: Any, **kw: Any) -> str:
        """Write a query of the right width without rows, for ``IN ()``."""
        kinds = element_types or [sqltypes.Integer()]
        columns = ", ".join(
            f"CAST(NULL AS {self.dialect.type_compiler_instance.process(kind)})"
            if not kind._isnull
            else "NULL"
            for kind in kinds
        )
        return f"SELECT {columns} WHERE 1 != 1"

    def visit_truediv_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        """Write a division; of two integers, or what may be such, it makes an exact one."""
        affinities = {side.type._type_affinity for side in (binary.left, binary.right)}
        right = binary.right
        if not affinities & {sqltypes.Numeric, sqltypes.Float}:
            right = Cast(right, sqltypes.Numeric())
        return f"{self.process(binary.left, **kw)} / {self.process(right, **kw)}"

    def visit_like_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        """Write LIKE."""
        return self._like("LIKE", binary, **kw)

    def visit_not_like_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        """Write NOT LIKE."""
        return self._like("NOT LIKE", binary, **kw)

    def visit_ilike_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        """Write ILIKE, which the server has."""
        return self._like("ILIKE", binary, **kw)

    def visit_not_ilike_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        """Write NOT ILIKE."""
        return self._like("NOT ILIKE", binary, **kw)

    def visit_regexp_match_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        """Write a call, which takes flags."""
        return self._call("regexp_like", binary, **kw)

    def visit_not_regexp_match_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        """Write a negated call."""
        return f"NOT {self._call('regexp_like', binary, **kw)}"

    def visit_regexp_replace_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        """Write a call that replaces all that matches, as the other dialects do."""
        flags = binary.modifiers["flags"]
        left = self.process(binary.left, **kw)
        right = self.process(binary.right, **kw)
        text = self.render_literal_value(flags or "g", sqltypes.STRINGTYPE)
        return f"regexp_replace({left}, {right}, {text})"

    def visit_now_func(self, fn: Any, **kw: Any) -> str:
        """Write the call: CURRENT_TIMESTAMP is the same."""
        return "now()"

    def _like(self, word: str, binary: Any, **kw: Any) -> str:
        left = binary.left._compiler_dispatch(self, **kw)
        right = binary.right._compiler_dispatch(self, **kw)
        escape = binary.modifiers.get("escape")
        if escape is not None and escape != _ESCAPE:
            right = self._escaped(right, escape)
        return f"{left} {word} {right}"

    def _escaped(self, pattern: str, escape: str) -> str:
        """Return a pattern with the one escape that the server has, a backslash, for another.

        What was an escape by itself is set aside meanwhile, as a character that no text holds.
        """
        for old, new in (
            (_ESCAPE, _ESCAPE * 2),
            (escape * 2, _ASIDE),
            (escape, _ESCAPE),
            (_ASIDE, escape),
        ):
            texts = [self.render_literal_value(t, sqltypes.STRINGTYPE) for t in (old, new)]
            pattern = f"replace({pattern}, {texts[0]}, {texts[1]})"
        return pattern

    def _call(self, function: str, binary: Any, **kw: Any) -> str:
        parts = [self.process(binary.left, **kw), self.process(binary.right, **kw)]
        if (flags := binary.modifiers["flags"]) is not None:
            parts.append(self.render_literal_value(flags, sqltypes.STRINGTYPE))
        return f"{function}({', '.join(parts)})"


class LakeflightTypeCompiler(compiler.GenericTypeCompiler):
    """Names of types in CREATE TABLE and CAST. Lengths of text and bytes are not kept anywhere."""

    def visit_TINYINT(self, type_: Any, **kw: Any) -> str:
        """8 bits."""
        return "TINYINT"

    def visit_FLOAT(self, type_: Any, **kw: Any) -> str:
        """Python's float has 64 bits, and so has its column, unless 24 binary digits suffice."""
        few = type_.precision is not None and type_.precision <= 24
        return "REAL" if few else "DOUBLE"

    def visit_DOUBLE(self, type_: Any, **kw: Any) -> str:
        """64 bits."""
        return "DOUBLE"

    def visit_DOUBLE_PRECISION(self, type_: Any, **kw: Any) -> str:
        """64 bits."""
        return "DOUBLE"

    def visit_NUMERIC(self, type_: Any, **kw: Any) -> str:
        """Exact; the precision is 38 at most."""
        if type_.precision is None:
            return "DECIMAL(38, 10)"
        return f"DECIMAL({type_.precision}, {type_.scale or 0})"

    visit_DECIMAL = visit_NUMERIC

    def _render_string_type(self, *args: Any, **kw: Any) -> str:
        return "VARCHAR"

    def visit_TEXT(self, type_: Any, **kw: Any) -> str:
        """Text of any length."""
        return "VARCHAR"

    visit_CLOB = visit_TEXT
    visit_JSON = visit_TEXT
    visit_UUID = visit_TEXT

    def visit_BLOB(self, type_: Any, **kw: Any) -> str:
        """Bytes of any number."""
        return "BYTEA"

    visit_BINARY = visit_BLOB
    visit_VARBINARY = visit_BLOB

    def visit_DATETIME(self, type_: Any, **kw: Any) -> str:
        """Microseconds; with a zone they are counted in UTC."""
        return "TIMESTAMP WITH TIME ZONE" if type_.timezone else "TIMESTAMP"

    visit_TIMESTAMP = visit_DATETIME

    def visit_INTERVAL(self, type_: Any, **kw: Any) -> str:
        """Spans of time."""
        return "INTERVAL"

    def visit_ARRAY(self, type_: Any, **kw: Any) -> str:
        """One list for each dimension, one in the other."""
        item = self.process(type_.item_type, **kw)
        return item + "[]" * (type_.dimensions or 1)

    def visit_STRUCT(self, type_: Any, **kw: Any) -> str:
        """Named fields."""
        quote = self.dialect.identifier_preparer.quote
        fields = [f"{quote(name)} {self.process(t, **kw)}" for name, t in type_.fields.items()]
        return f"STRUCT({', '.join(fields)})"

    def visit_MAP(self, type_: Any, **kw: Any) -> str:
        """Keys to values."""
        key, value = self.process(type_.key_type, **kw), self.process(type_.value_type, **kw)
        return f"MAP<{key}, {value}>"
