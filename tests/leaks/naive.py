"""The same rules as views of the bare library, which is what one would write first: they leak."""

from __future__ import annotations

from functools import reduce
from urllib.parse import unquote

import pyarrow as pa
from datafusion import DataFrame, SessionContext

from flight_server.engine.base import FileScan, GovernedScan, KeyFilter, Narrowing
from flight_server.sql.names import quoted
from policies.lens import ShownColumn
from policies.rules import Redaction, RedactionKind
from tests.leaks import searching
from tests.leaks.searching import Outcome

NAME = "t"


class Naive:
    """A session in which a governed scan is a view: filters, joins and expressions, and no more."""

    def __init__(self, scan: GovernedScan) -> None:
        self._ctx = SessionContext()
        frame = self._source(scan.source)
        for narrowing in scan.narrowings:
            frame = self._narrowed(frame, narrowing)
        self._ctx.register_view(NAME, frame)

    def ask(self, sql: str) -> Outcome:
        """Run a query on the view, and return what comes as it comes."""
        try:
            frame = self._ctx.sql(sql)
            batches = [batch.to_pyarrow() for batch in frame.execute_stream()]
            return searching.of_rows(batches[0].schema if batches else pa.schema([]), batches)
        except Exception as error:  # noqa: BLE001  whatever the library raises
            return searching.of_error(error)

    def _source(self, source: object) -> DataFrame:
        assert isinstance(source, FileScan)
        paths = [unquote(path) for group in source.groups for path in group.paths]
        frames = [self._ctx.read_parquet(path.removeprefix("file://")) for path in paths]
        return reduce(DataFrame.union, frames)

    def _narrowed(self, frame: DataFrame, narrowing: Narrowing) -> DataFrame:
        for each in narrowing.keys:
            frame = self._with_keys(frame, each)
        for condition in narrowing.conditions:
            frame = frame.filter(frame.parse_sql_expr(condition))
        columns = [
            frame.parse_sql_expr(_shown(column)).alias(column.name) for column in narrowing.columns
        ]
        return frame.select(*columns)

    def _with_keys(self, frame: DataFrame, keys: KeyFilter) -> DataFrame:
        batch = pa.RecordBatch.from_arrays([keys.keys], names=["hidden_key"])
        relation = self._ctx.from_arrow(pa.Table.from_batches([batch]))
        how = "semi" if keys.keeps else "anti"
        return frame.join(relation, left_on=keys.column, right_on="hidden_key", how=how)  # type: ignore[call-overload,no-any-return]  # the name of a join


def _shown(column: ShownColumn) -> str:
    text = quoted(column.name)
    for path, redaction in column.redactions:
        # Of a field within: the whole column, as who knows no better would do.
        text = _redacted(text, redaction) if not path else f"nullif({text}, {text})"
    return text


def _redacted(text: str, redaction: Redaction) -> str:
    if redaction.kind is RedactionKind.MASK:
        return f"substr({text}, 1, {redaction.keep_prefix or 2})"
    if redaction.kind is RedactionKind.HASH:
        return text if text == '"code"' else f"md5({text})"
    if redaction.kind is RedactionKind.GENERALISE and redaction.to == "network":
        return f"regexp_replace({text}, '[0-9]+$', '0/24')"
    return f"CASE WHEN id < 0 THEN {text} END"
