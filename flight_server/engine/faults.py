"""Turns what DataFusion raises into our errors, by kind, with text that holds no value of any row.

While a statement is planned, its message speaks of the statement's own text and of names the caller
may see, so it is kept and tidied. Once data has been read, a message may quote a cell or a path;
then only its kind is used.
"""

from __future__ import annotations

import re
from enum import Enum

from flight_server.errors import (
    InvalidRequest,
    LakeflightError,
    LimitExceeded,
    Unavailable,
    Unsupported,
)

MESSAGE_CHARACTERS_MAX = 600


class Stage(Enum):
    """How far a statement had come when it failed."""

    PLANNING = "planning"  # nothing of any table's content was read
    RUNNING = "running"


DAMAGED = "a data file of a table is missing or damaged"
_TYPE_WORDS = {
    "Boolean": "BOOLEAN",
    "Int8": "TINYINT",
    "Int16": "SMALLINT",
    "Int32": "INT",
    "Int64": "BIGINT",
    "UInt64": "BIGINT UNSIGNED",
    "Float32": "REAL",
    "Float64": "DOUBLE",
    "Utf8": "VARCHAR",
    "Date32": "DATE",
}
_CAST_TARGET = re.compile(
    r"(?:Cannot cast string '.*' to value of|Can't cast value .* to type) (\w+)(?: type)?",
    re.DOTALL,
)
_PLACE = re.compile(r" at Line: (\d+), Column: (\d+)")
_PARSER = re.compile(r"(?:SQL error: )?(?:ParserError|TokenizerError)\(\"(.*)\"\)", re.DOTALL)
_NOISE = re.compile(
    r"^(?:DataFusion error: |Error during planning: |Schema error: |Internal error: |SQL error: "
    r"|Diagnostic for: )+"
)
_BUG_NOTICE = re.compile(
    r"\s*This issue was likely caused by a bug in DataFusion's code\..*?/issues"
)
_PATH = re.compile(r"(?:file:/+|/)[\w.%@~+=-]+(?:/[^\s'\",)]*)+")

# First match wins. Kinds that can quote a cell come with the sentence that replaces them.
_BY_KIND: tuple[tuple[re.Pattern[str], type[LakeflightError], str, str | None], ...] = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), error, sentence, code)
    for pattern, error, sentence, code in (
        (
            r"max_temp_directory_size|disk space|used disk space|temporary file|No space left",
            LimitExceeded,
            "the query needs more disk space for spilling than it may use setting=spill_bytes_max",
            None,
        ),
        (
            # The last is what a join says that finds no room at its very start.
            r"Resources exhausted|Failed to allocate|memory limit|OutOfMemory|no data to spill",
            LimitExceeded,
            "the query needs more memory than it may use setting=memory_bytes_max",
            None,
        ),
        (
            r"Object ?Store|Object at location|No such file|Permission denied|IO ?error",
            Unavailable,
            DAMAGED,
            "table_damaged",
        ),
        (r"divide by zero", InvalidRequest, "a division by zero", None),
        (r"CastError|Cast error", InvalidRequest, "a value could not be cast", None),
        (r"(?:arithmetic )?overflow", InvalidRequest, "a number is too large for its type", None),
        (
            r"Error parsing timestamp|Error parsing date|Parser error|ParseError",
            InvalidRequest,
            "a text could not be read as the type it was cast to",
            None,
        ),
        (
            r"more than one row",
            InvalidRequest,
            "a subquery used as a value returned more than one row",
            None,
        ),
        (r"regex parse error|Invalid regex", InvalidRequest, "a regular expression is wrong", None),
        (r"CompiledTooBig", InvalidRequest, "a regular expression is too large", None),
        (
            r"Placeholder '.*' was not provided",
            InvalidRequest,
            "the statement has parameters, and no values were bound to them",
            None,
        ),
        (
            r"Parquet error(?!.*(?:ArrowError|Compute error))|EOF: |footer|corrupt",
            Unavailable,
            DAMAGED,
            "table_damaged",
        ),
        (r"LIMIT must be|Expected LIMIT", InvalidRequest, "LIMIT takes a number from 0 on", None),
        (
            # The last is said of a subquery that nothing could be made of, once it is to run.
            r"This feature is not implemented|NotImplemented|Schema error: No field named",
            Unsupported,
            "the query uses a feature that is not supported",
            None,
        ),
        (
            r"Arrow error|ArrowError|Compute error|Execution error",
            InvalidRequest,
            "a function or an operator could not work on a value of the data",
            None,
        ),
    )
)


def translate(error: Exception, *, stage: Stage, is_rewritten: bool = False) -> Exception:
    """Our error for what DataFusion raised; the same error back when it is of no known kind.

    ``is_rewritten`` leaves out the place in the text, which would be that of a text the user never
    wrote.
    """
    if isinstance(error, LakeflightError):
        return error
    text = str(error)
    if stage is Stage.PLANNING and isinstance(error, ValueError):
        return _planning_error(text, is_rewritten=is_rewritten)
    if "Null byte" in text:
        return InvalidRequest("a column name holds a NUL character")
    for pattern, kind, sentence, code in _BY_KIND:
        if pattern.search(text):
            return kind(_with_type(sentence, text), code=code)
    if _is_about_the_text(text):
        if stage is Stage.PLANNING:
            return _planning_error(text, is_rewritten=is_rewritten)
        # Some functions look at their arguments when there is a row, in the words of the planner.
        return InvalidRequest("a function could not work with its arguments")
    return error


def _with_type(sentence: str, text: str) -> str:
    match = _CAST_TARGET.search(text) if sentence.endswith("could not be cast") else None
    return f"{sentence} to {_TYPE_WORDS.get(match[1], match[1])}" if match else sentence


def _is_about_the_text(text: str) -> bool:
    return any(mark in text for mark in ("Error during planning", "Schema error", "type_coercion"))


def _planning_error(text: str, *, is_rewritten: bool) -> LakeflightError:
    """Return the error of a statement that cannot be planned; its text holds nothing of any row."""
    text = _BUG_NOTICE.sub("", text)  # shown for plain mistakes as well
    if re.search(r"(?:DDL|DML|Statement) not supported", text):
        return Unsupported("this server runs queries only; this statement would do more")
    if text.startswith("This feature is not implemented"):
        said = _tidy(text.removeprefix("This feature is not implemented: "))
        # What follows is the parser's own tree of the statement.
        named = said.partition("{")[0].rstrip(" (:")
        return Unsupported(f"not supported: {named}")
    if "Arrow error" in text:
        return InvalidRequest("a literal cannot be read as the type it is given as")
    place = ""
    if match := _PARSER.search(text):
        text = match[1].replace('\\"', '"').replace("\\'", "'")
        if found := _PLACE.search(text):
            text = _PLACE.sub("", text)
            place = "" if is_rewritten else f" line={found[1]} column={found[2]}"
    elif "caused by" in text:
        text = text.rsplit("caused by", 1)[1].strip()
    return InvalidRequest(_tidy(text) + place)


def _tidy(text: str) -> str:
    """Return the message on one line, bounded, without the engine's prefixes and without paths."""
    text = _NOISE.sub("", " ".join(text.split()))
    text = _PATH.sub("…", text).replace("?table?.", "").rstrip(". ")
    if len(text) > MESSAGE_CHARACTERS_MAX:
        text = text[:MESSAGE_CHARACTERS_MAX] + "…"
    return text
