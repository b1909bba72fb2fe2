"""What statements ask for that are no queries: one frozen value for each kind.

Names are resolved to ``TableRef`` with the default names of the session. Expressions, conditions
and queries stay the text that the user wrote, cut out where the grammar says that they begin and
end: the engine plans them, nobody else reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from flight_server.sql.names import AsOf
from policies.names import TableRef


class IfThere(Enum):
    """What making something does when its name is taken."""

    FAIL = "fail"
    KEEP = "keep"  # IF NOT EXISTS
    REPLACE = "replace"  # OR REPLACE


@dataclass(frozen=True, slots=True)
class Assignment:
    """``column = expression``."""

    column: str
    expression: str


@dataclass(frozen=True, slots=True)
class Insert:
    """Add the rows of ``source``, a query or VALUES; no ``columns`` means all, in their order.

    ``by_name`` pairs columns by name instead; ``overwrite`` removes what was there.
    """

    target: TableRef
    source: str
    columns: tuple[str, ...] = ()
    by_name: bool = False
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Update:
    """Change the rows for which ``where`` is true, all without one; ``alias`` names the table."""

    target: TableRef
    assignments: tuple[Assignment, ...]
    alias: str
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the rows for which ``where`` is true, all without one; ``alias`` names the table."""

    target: TableRef
    alias: str
    where: str | None = None


class Matched(Enum):
    """Which rows a clause of MERGE is about."""

    BOTH = "matched"
    SOURCE_ONLY = "not matched"
    TARGET_ONLY = "not matched by source"


@dataclass(frozen=True, slots=True)
class MergeUpdate:
    """``UPDATE SET …``; no assignments is ``UPDATE SET *``, all columns by name."""

    assignments: tuple[Assignment, ...] = ()


@dataclass(frozen=True, slots=True)
class MergeDelete:
    """``DELETE``."""


@dataclass(frozen=True, slots=True)
class MergeInsert:
    """``INSERT (columns) VALUES (values)``; no values is ``INSERT *``, all columns by name."""

    columns: tuple[str, ...] = ()
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MergeClause:
    """``WHEN … [AND condition] THEN action``; ``action`` None is DO NOTHING."""

    matched: Matched
    condition: str | None
    action: MergeUpdate | MergeDelete | MergeInsert | None


@dataclass(frozen=True, slots=True)
class Merge:
    """Pair the rows of table and source by ``on``; the first clause that fits a row acts on it.

    ``source`` is the text of a table or a subquery in parentheses, without its alias.
    """

    target: TableRef
    alias: str
    source: str
    source_alias: str
    on: str
    clauses: tuple[MergeClause, ...]

    @property
    def inserts(self) -> bool:
        """Whether it may add rows."""
        return any(isinstance(clause.action, MergeInsert) for clause in self.clauses)


@dataclass(frozen=True, slots=True)
class Column:
    """A column as it is declared; ``kind`` is the text of its type."""

    name: str
    kind: str
    nullable: bool = True
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class CreateTable:
    """Make a table of ``columns``, or of the rows of ``source``.

    Temporary ones end with the session. With both, ``source`` fills the declared columns by their
    place.
    """

    target: TableRef
    columns: tuple[Column, ...] = ()
    source: str | None = None
    partition_by: tuple[str, ...] = ()
    comment: str | None = None
    if_there: IfThere = IfThere.FAIL
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class DropTable:
    """Remove a table."""

    target: TableRef
    if_exists: bool = False


@dataclass(frozen=True, slots=True)
class Truncate:
    """Remove all rows of a table."""

    target: TableRef


@dataclass(frozen=True, slots=True)
class AddColumns:
    """``ADD COLUMN``."""

    columns: tuple[Column, ...]
    if_not_exists: bool = False


@dataclass(frozen=True, slots=True)
class RenameColumn:
    """``RENAME COLUMN``."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class DropColumns:
    """``DROP COLUMN``."""

    names: tuple[str, ...]
    if_exists: bool = False


@dataclass(frozen=True, slots=True)
class RenameTable:
    """``RENAME TO``; the table stays in its bucket."""

    new: TableRef


@dataclass(frozen=True, slots=True)
class AlterTable:
    """Change what a table is."""

    target: TableRef
    change: AddColumns | RenameColumn | DropColumns | RenameTable
    if_exists: bool = False


@dataclass(frozen=True, slots=True)
class CreateSchema:
    """Make a schema."""

    bucket: str
    schema: str
    if_not_exists: bool = False


@dataclass(frozen=True, slots=True)
class DropSchema:
    """Remove a schema; with ``cascade`` also what is in it."""

    bucket: str
    schema: str
    if_exists: bool = False
    cascade: bool = False


@dataclass(frozen=True, slots=True)
class CreateView:
    """Store a query under a name; ``columns`` rename its columns."""

    target: TableRef
    query: str
    columns: tuple[str, ...] = ()
    comment: str | None = None
    if_there: IfThere = IfThere.FAIL


@dataclass(frozen=True, slots=True)
class DropView:
    """Forget a view."""

    target: TableRef
    if_exists: bool = False


@dataclass(frozen=True, slots=True)
class Restore:
    """Bring back an older state of a table, as its newest version."""

    target: TableRef
    as_of: AsOf


@dataclass(frozen=True, slots=True)
class Optimize:
    """Join small files; with ``z_order`` sort all rows, so that near values share files."""

    target: TableRef
    z_order: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Vacuum:
    """Remove files that no version within the retention needs; None is the table's own."""

    target: TableRef
    retain_hours: float | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Use:
    """Set the default names of the session; None leaves one as it is.

    With ``is_either`` the one name given, as ``bucket``, means a schema of the present bucket where
    there is no bucket of that name.
    """

    bucket: str | None
    schema: str | None
    is_either: bool = False


@dataclass(frozen=True, slots=True)
class SetOption:
    """Set an option of the session; None brings its default back."""

    name: str
    value: str | int | float | bool | None


Dml = Insert | Update | Delete | Merge | Truncate
Command = (
    Dml
    | CreateTable
    | DropTable
    | AlterTable
    | CreateSchema
    | DropSchema
    | CreateView
    | DropView
    | Restore
    | Optimize
    | Vacuum
    | Use
    | SetOption
)
