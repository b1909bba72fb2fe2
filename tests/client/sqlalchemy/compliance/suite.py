"""Everything that SQLAlchemy asks of a dialect."""

from __future__ import annotations

from sqlalchemy.testing.suite import *  # noqa: F403  how SQLAlchemy wants it
