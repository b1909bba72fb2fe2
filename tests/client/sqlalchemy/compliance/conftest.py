"""Hands the run over to SQLAlchemy's plugin."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("sqlalchemy.testing.assertions")

from sqlalchemy.testing.plugin.pytestplugin import *  # noqa: E402, F403  how SQLAlchemy wants it
