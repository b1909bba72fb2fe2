"""Checks every byte of Arrow data from outside, and brings what Arrow trips over into order."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from flight_server.errors import InvalidRequest

_VIEW_BYTES = 16


def sound(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the same rows in a form that no kernel of Arrow reads or crashes beyond.

    Lists and maps without any element may come with no offsets at all, as several writers send
    them, or with any number as their one offset: full validation lets both pass, and ``flatten``
    ends the process. Such columns are copied. Raises InvalidRequest for data that are damaged.
    """
    try:
        batch.validate(full=True)
        if not any(map(_has_empty_lists, batch.columns)):
            return batch
        columns = [
            pa.concat_arrays([each]) if _has_empty_lists(each) else each for each in batch.columns
        ]
        made = pa.RecordBatch.from_arrays(columns, schema=batch.schema)
        made.validate(full=True)
    except UnicodeDecodeError:
        raise InvalidRequest("the name of a column is not valid UTF-8") from None
    except KeyError:  # the library lacks a class for the arrays of some intervals
        raise InvalidRequest("the Arrow data hold a type that is not supported") from None
    except pa.ArrowException:  # its text may quote what is there
        raise InvalidRequest("the Arrow data are not valid: a batch is damaged") from None
    return made


def plain_from_views(values: Any) -> Any:
    """Return an array of a view type as one of the plain type.

    The view of a NULL may point anywhere, which full validation lets pass and a cast follows.
    """
    kind = values.type
    if values.null_count:
        valid: Any = values.is_valid()
        validity, views, *data = values.buffers()
        each: Any = pa.Array.from_buffers(
            pa.binary(_VIEW_BYTES), len(values), [None, views], offset=values.offset
        )
        views = pc.if_else(valid, each, pa.scalar(bytes(_VIEW_BYTES), each.type)).buffers()[1]
        validity = valid.buffers()[1]
        values = pa.Array.from_buffers(kind, len(values), [validity, views, *data])
    return values.cast(pa.string() if pt.is_string_view(kind) else pa.binary())


def _has_empty_lists(values: Any) -> bool:
    """Whether there are lists or maps at any depth whose offsets nobody has validated."""
    kind = values.type
    if isinstance(values, pa.ExtensionArray):
        return _has_empty_lists(values.storage)
    if pt.is_dictionary(kind):
        if pt.is_nested(kind.value_type) and _has_empty_lists(values.dictionary):
            # A copy keeps the dictionary as it is.
            raise InvalidRequest("dictionaries of empty lists are not supported")
        return False
    if not pt.is_nested(kind):
        return False
    if pt.is_list(kind) or pt.is_large_list(kind) or pt.is_map(kind):
        return not len(values) or any(map(_has_empty_lists, _parts(values)))
    return any(map(_has_empty_lists, _parts(values)))


def _parts(values: Any) -> list[Any]:
    """Return the arrays below a nested one as they are; nothing here reads an offset."""
    kind = values.type
    if pt.is_map(kind):
        return [values.keys, values.items]
    if pt.is_struct(kind) or pt.is_union(kind):
        return [values.field(place) for place in range(kind.num_fields)]
    return [values.values]
