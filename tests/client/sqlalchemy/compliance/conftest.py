"""Hands the run over to SQLAlchemy's plugin."""

from __future__ import annotations

from typing import Any

import pytest

pytest_plugins = ["tests.client.sqlalchemy.compliance.closed"]
pytest.register_assert_rewrite("sqlalchemy.testing.assertions")

from sqlalchemy.testing import provision as _provision  # noqa: E402  see above
from sqlalchemy.testing.plugin.pytestplugin import *  # noqa: E402, F403  how SQLAlchemy wants it


def _temporary(_config: Any, _engine: Any) -> dict[str, Any]:
    return {"prefixes": ["TEMPORARY"]}


_for_lakeflight: Any = _provision.temp_table_keyword_args.for_db("lakeflight")
_for_lakeflight(_temporary)
