from __future__ import annotations

import pyarrow as pa
import pytest

from flight_server.engine.faults import Stage, translate
from flight_server.errors import InvalidRequest, LakeflightError, LimitExceeded, Unavailable
from tests.engine.lake import Session

SECRET = "hidden"


@pytest.fixture
def secrets(lakeside: Session) -> Session:
    names = pa.array([f"{SECRET}{i}" for i in range(100)])
    values = pa.array([float(i) * 1e30 for i in range(100)])
    lakeside.lake.write("secrets", pa.table({"n": list(range(100)), "s": names, "f": values}))
    return lakeside


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT CAST(s AS BIGINT) FROM secrets", "a value could not be cast to BIGINT"),
        ("SELECT * FROM secrets WHERE s = 5", "could not be cast"),
        ("SELECT CAST(s AS DATE) FROM secrets", "a value could not be cast to DATE"),
        ("SELECT CAST(f AS INT) FROM secrets", "a value could not be cast"),
        ("SELECT s::timestamp FROM secrets", "could not be"),
        ("SELECT to_timestamp(s) FROM secrets", "could not be read"),
        ("SELECT arrow_cast(s, 'Decimal128(5, 2)') FROM secrets", "could not be cast"),
        ("SELECT s::boolean FROM secrets", "could not be cast"),
        ("SELECT s::interval FROM secrets", "could not"),
        ("SELECT 1 / (n - 5) FROM secrets", "a division by zero"),
        ("SELECT n % (n - 5) FROM secrets", "a division by zero"),
        ("SELECT (SELECT s FROM secrets)", "more than one row"),
        ("SELECT regexp_like(s, s || '(') FROM secrets", "regular expression"),
        ("SELECT date_trunc(s, now()) FROM secrets", ""),
        ("SELECT decode(s, 'hex') FROM secrets", ""),
        ("SELECT chr(n * 55296) FROM secrets", ""),
        ("SELECT to_date(s) FROM secrets", ""),
        ("SELECT make_date(n::int, n::int, n::int) FROM secrets", ""),
        ("SELECT factorial(n) FROM secrets", ""),
        ("SELECT range(n, n + 2, 0) FROM secrets", ""),
        ("SELECT s::uuid FROM secrets", ""),
        ("SELECT encode(s, 'none') FROM secrets", "could not work with its arguments"),
        ("SELECT digest(s, s) FROM secrets", ""),
        ("SELECT 1 / 0", "a division by zero"),
        ("SELECT CAST('abc' AS INT)", "a value could not be cast to INT"),
        ("SELECT * FROM secrets WHERE n = $1", "parameters"),
    ],
)
def test_no_error_quotes_a_cell(secrets: Session, sql: str, message: str) -> None:
    with pytest.raises(LakeflightError) as raised:
        secrets.rows(sql)
    assert message in raised.value.message
    assert SECRET not in raised.value.message
    assert "e30" not in raised.value.message
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT nope FROM t", "Valid fields are t.id, t.name"),
        ("SELECT 1 +", "Expected: an expression, found: EOF"),
        ("SELECT 1\nFROM t WHERE", "Expected: an expression, found: EOF"),
        ("SELECT *\nFROM t GROUP GROUP", "line=2 column=8"),
        ("SELECT sqrt(name) FROM t", "sqrt"),
        ("SELECT nofunction(1)", "Invalid function 'nofunction'"),
        ("SELECT max(id), name FROM t", "GROUP BY"),
        ("SELECT 1 UNION SELECT 1, 2", "UNION"),
        ("SELECT id FROM t a JOIN t b ON a.id = b.id", "Ambiguous reference"),
        ("SELECT 1 AS a, 2 AS a", "have the same name"),
        ("SELECT 1 LIMIT 'a'", "LIMIT takes a number"),
        ("SELECT * FROM t WHERE id", "filter"),
        ("SELECT * FROM t ORDER BY 9", "Order by column out of bounds"),
        ("SELECT interval 'x'", "literal"),
    ],
)
def test_mistakes_in_the_text_are_explained(lakeside: Session, sql: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        lakeside.describe(sql)
    assert message in raised.value.message
    assert "\n" not in raised.value.message
    assert "DataFusion" not in raised.value.message


def test_the_place_is_left_out_where_the_text_was_rewritten(lakeside: Session) -> None:
    with pytest.raises(InvalidRequest) as raised:
        lakeside.describe("SELECT * FROM t VERSION AS OF 0 GROUP GROUP")
    assert "column=" not in raised.value.message


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        ("Resources exhausted: Failed to allocate 3 MB", LimitExceeded, "limit_exceeded"),
        ("IO error: No space left on device (os error 28)", LimitExceeded, "limit_exceeded"),
        ("Object Store error: Object at location /a/b not found", Unavailable, "table_damaged"),
        ("Parquet error: Parquet error: Invalid Parquet file", Unavailable, "table_damaged"),
    ],
)
def test_kinds_that_are_hard_to_cause(text: str, kind: type[LakeflightError], code: str) -> None:
    error = translate(Exception(f"DataFusion error: {text}"), stage=Stage.RUNNING)
    assert isinstance(error, kind)
    assert error.code == code
    assert "/a/b" not in str(error)


def test_the_unknown_and_our_own_pass_as_they_are() -> None:
    for error in (RuntimeError("what is this"), Unavailable("x")):
        assert translate(error, stage=Stage.RUNNING) is error
