"""The statements that are not done, by their first word, and what to use instead."""

from __future__ import annotations

from flight_server.sql.options import NO_TRANSACTIONS

_NO_FILES = "SQL reads and writes no files: tables are found by name, rows come in by bulk ingest"
_NO_PREPARED = "SQL has no PREPARE here: use the prepared statements of the driver"
_NO_RIGHTS = "SQL does not change users or rights: use the actions user.* and grant.*"
_NO_CURSORS = "SQL has no cursors, locks or notifications here"

REFUSALS: dict[str, str] = {
    word: sentence
    for words, sentence in (
        ("REPLACE UPSERT", "use MERGE INTO to insert or update"),
        ("RENAME", "use ALTER TABLE t RENAME TO u"),
        ("COMMENT", "a comment is given when a table or view is made: COMMENT '…'"),
        ("UNDROP", "a table that was dropped is gone"),
        ("COPY LOAD UNLOAD EXPORT IMPORT ATTACH DETACH INSTALL", _NO_FILES),
        ("PRAGMA", "SQL changes no settings of the server: use SET for the options of a session"),
        ("PREPARE EXECUTE DEALLOCATE", _NO_PREPARED),
        ("BEGIN START ROLLBACK ABORT SAVEPOINT RELEASE", NO_TRANSACTIONS),
        ("COMMIT END", f"nothing is left to commit: {NO_TRANSACTIONS}"),
        ("GRANT REVOKE DENY", _NO_RIGHTS),
        ("ANALYZE", "statistics are kept with each file as it is written: leave ANALYZE out"),
        ("REFRESH MSCK REPAIR", "every statement reads the newest state: leave this one out"),
        ("CACHE UNCACHE", "what is read often is kept by itself: leave this one out"),
        ("CALL DO", "SQL calls no procedures yet"),
        ("DECLARE FETCH CLOSE MOVE LISTEN NOTIFY UNLISTEN LOCK UNLOCK KILL", _NO_CURSORS),
    )
    for word in words.split()
}
