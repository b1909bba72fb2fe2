"""Placeholders of a statement and the values bound to them.

Placeholders are ``$1``, ``$2``, …; values come as rows of an Arrow IPC stream whose column i is
``$i``. Values are bound to the plan as values and never become text.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import pyarrow as pa
from datafusion.plan import LogicalPlan

from flight_server.engine.output import plain_type
from flight_server.errors import InvalidRequest, LimitExceeded
from flight_server.sql.lexer import Kind, tokens

# Typing them is a convenience for clients: an expression larger than this leaves some open.
_EXPRESSIONS_VISITED_MAX = 20_000

Value = TypeVar("Value")
Types = Sequence[pa.DataType | None]


def read_rows(stream: bytes, *, rows_max: int, bytes_max: int) -> pa.Table:
    """Return the bound rows of an Arrow IPC stream.

    Raises InvalidRequest for what is no such stream and for types that cannot be bound,
    LimitExceeded beyond a limit.
    """
    if len(stream) > bytes_max:
        raise LimitExceeded(f"the bound values are too large; parameters_bytes_max={bytes_max}")
    batches, count = [], 0
    try:
        with pa.ipc.open_stream(pa.py_buffer(stream)) as reader:
            schema = reader.schema
            for batch in reader:
                batch.validate(full=True)
                batches.append(batch)
                count += batch.num_rows
                if count > rows_max:
                    raise LimitExceeded(
                        f"there are too many rows of bound values; parameter_rows_max={rows_max}"
                    )
        names = [str(i) for i in range(1, len(schema) + 1)]
        rows = pa.Table.from_batches(batches, schema).rename_columns(names)
        plain = pa.schema([pa.field(f.name, plain_type(f.type)) for f in rows.schema])
        return rows if rows.schema.equals(plain) else rows.cast(plain)
    except (pa.ArrowException, OSError, ValueError, TypeError):
        raise InvalidRequest("the bound values cannot be read") from None


def check_count(given: int, *, expected: int) -> None:
    """Raise InvalidRequest unless there is a value for each placeholder."""
    if given != expected:
        raise InvalidRequest(
            f"the statement has {expected} parameters, and values were bound for {given}"
        )


def fitted(rows: pa.Table, types: Types) -> pa.Table:
    """Return the rows with values cast to the types of their placeholders where nothing is lost.

    What does not fit without loss stays as it is, for the engine to coerce as it would a literal;
    but a whole number outside the range of a whole-number placeholder is an InvalidRequest.
    """
    for i, kind in enumerate(types):
        column = rows.column(i)
        if kind is not None and column.type != kind and _may_be_cast(column.type, kind):
            try:
                rows = rows.set_column(i, rows.field(i).name, column.cast(kind))
            except pa.ArrowException:
                if pa.types.is_integer(column.type) and pa.types.is_integer(kind):
                    raise InvalidRequest(
                        f"the value of parameter {i + 1} is out of the range of its type {kind}"
                    ) from None
    return rows


def values_of(rows: pa.Table) -> Iterator[dict[str, pa.Scalar[Any]]]:
    """Return each row as values by the number of their placeholder."""
    for batch in rows.to_batches():
        for row in range(batch.num_rows):
            yield {str(i): _bindable(column[row]) for i, column in enumerate(batch.columns, 1)}


def _bindable(value: pa.Scalar[Any]) -> pa.Scalar[Any]:
    # Binding asks a list for its length, also one that is NULL.
    is_lost = not value.is_valid and pa.types.is_nested(value.type)
    return pa.scalar(None, pa.null()) if is_lost else value


def _may_be_cast(given: pa.DataType, kind: pa.DataType) -> bool:
    """Return whether a cast between types asks for the same value in another form."""
    if pa.types.is_null(given):
        return True
    if _is_number(kind):
        return _is_number(given) or pa.types.is_string(given)
    if pa.types.is_temporal(kind):
        return pa.types.is_temporal(given) or pa.types.is_string(given)
    return pa.types.is_boolean(kind) and pa.types.is_string(given)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def renumbered(text: str, values: Mapping[str, Value]) -> tuple[str, dict[str, Value]]:
    """Return a part of a statement with its placeholders counted from one, and their values."""
    order: dict[str, str] = {}
    text = with_placeholders(
        text, lambda number: "$" + order.setdefault(number, str(len(order) + 1))
    )
    return text, {new: values[old] for old, new in order.items() if old in values}


def with_placeholders(text: str, replaced: Callable[[str], str]) -> str:
    """Return a text with what ``replaced`` makes of the number of each placeholder in its place."""
    if "$" not in text:
        return text
    pieces: list[str] = []
    found = tokens(text)
    at = 0
    while at < len(found):
        piece = found[at].text
        if piece == "$" and at + 1 < len(found) and found[at + 1].kind is Kind.NUMBER:
            at += 1
            piece = replaced(found[at].text)
        pieces.append(piece)
        at += 1
    return "".join(pieces)


def declared(types: Types) -> pa.Schema:
    """Return the schema that says to clients what to bind: text where a type is open."""
    return pa.schema([pa.field(str(i), kind or pa.string()) for i, kind in enumerate(types, 1)])


def placeholder_types(plans: Iterable[LogicalPlan], count: int) -> tuple[pa.DataType | None, ...]:
    """Return the types that plans with unbound placeholders give to ``$1`` … ``$count``.

    Of one statement, as it was written and optimized: the former knows what stands beside a
    placeholder, the latter the casts that were put around it, and subqueries as joins.
    """
    found: dict[str, pa.DataType] = {}
    nodes: deque[LogicalPlan] = deque(plans)
    visited = 0
    while nodes and visited < _EXPRESSIONS_VISITED_MAX:
        node = nodes.popleft()
        waiting: list[tuple[Any, Any]] = [(each, None) for each in _expressions(node, found)]
        while waiting and visited < _EXPRESSIONS_VISITED_MAX:
            visited += 1
            expression, outer = waiting.pop()
            if expression.variant_name() == "Placeholder":
                _note(expression, outer, found)
            else:
                waiting.extend((inner, expression) for inner in _operands(expression))
        nodes.extendleft(node.inputs())
    return tuple(found.get(f"${i}") for i in range(1, count + 1))


def _note(placeholder: Any, outer: Any, found: dict[str, pa.DataType]) -> None:
    """Write down the type of a placeholder: the inferred one, else that of a cast around it."""
    value = placeholder.to_variant()
    field = value.field()
    kind = None
    if field is not None:
        kind = field.type
    elif outer is not None and outer.variant_name() in ("Cast", "TryCast"):
        kind = _type_named(outer.canonical_name().rpartition(" AS ")[2].removesuffix(")"))
    if kind is not None and not pa.types.is_null(kind):
        found.setdefault(value.id(), plain_type(kind))


# Casts show the type in the engine's words; those of which people write parameters.
_ARROW_TYPES: Mapping[str, pa.DataType] = {
    "Boolean": pa.bool_(),
    "Int8": pa.int8(),
    "Int16": pa.int16(),
    "Int32": pa.int32(),
    "Int64": pa.int64(),
    "Float32": pa.float32(),
    "Float64": pa.float64(),
    "Utf8": pa.string(),
    "Date32": pa.date32(),
    "Timestamp(ns)": pa.timestamp("ns"),
    "Timestamp(us)": pa.timestamp("us"),
    "Binary": pa.binary(),
}


_DECIMAL = re.compile(r"Decimal128\((\d+), ?(-?\d+)\)")


def _type_named(name: str) -> pa.DataType | None:
    if match := _DECIMAL.fullmatch(name):
        return pa.decimal128(int(match[1]), int(match[2]))
    return _ARROW_TYPES.get(name)


def _expressions(node: LogicalPlan, found: dict[str, pa.DataType]) -> list[Any]:
    """Return the expressions of a node of a plan; a bare LIMIT $n is noted at once."""
    name, _, shown = node.display().partition(":")
    if name == "Limit":
        for part in shown.split(","):
            number = part.partition("=")[2]
            if number.startswith("$"):
                found.setdefault(number, pa.int64())
    try:
        variant = node.to_variant()
    except (ValueError, TypeError, NotImplementedError):
        return []
    read = _PARTS.get(type(variant).__name__)
    return [] if read is None else list(read(variant))


def _join_parts(join: Any) -> Iterable[Any]:
    for pair in join.on():
        yield from pair
    if join.filter() is not None:
        yield join.filter()


def _window_parts(window: Any) -> Iterable[Any]:
    for expression in window.get_window_expr():
        yield from window.get_args(expression)
        yield from window.get_partition_exprs(expression)
        yield from (each.expr() for each in window.get_sort_exprs(expression))


_PARTS: Mapping[str, Callable[[Any], Iterable[Any]]] = {
    "Projection": lambda node: node.projections(),
    "Filter": lambda node: [node.predicate()],
    "Join": _join_parts,
    "Aggregate": lambda node: [*node.group_by_exprs(), *node.aggregate_exprs()],
    "Sort": lambda node: [each.expr() for each in node.sort_exprs()],
    "Values": lambda node: [each for row in node.values() for each in row],
    "TableScan": lambda node: node.filters(),
    "WindowExpr": _window_parts,
}


def _operands(expression: Any) -> list[Any]:
    """Return what an expression is made of, as far as the engine tells.

    What stands in a subquery is not told.
    """
    if expression.variant_name() in ("Column", "Literal"):
        return []
    try:
        return list(expression.rex_call_operands())
    except (ValueError, TypeError, RuntimeError):
        return []
