"""The one warning of the dialect."""

from __future__ import annotations

from sqlalchemy.exc import SAWarning


class NotEnforced(SAWarning):
    """A constraint was left out of CREATE TABLE, since tables have none of its kind.

    Rows that break it are accepted. Silence it by
    ``warnings.filterwarnings("ignore", category=NotEnforced)`` where that is known.
    """
