"""The SQLAlchemy dialect ``lakeflight``, over the ADBC driver of Flight SQL.

import sqlalchemy as sa

engine = sa.create_engine("lakeflight://admin:...@127.0.0.1:31337/primary/tpch")
with engine.connect() as connection:
    connection.execute(sa.text("SELECT count(*) FROM nation")).scalar_one()

Installed by ``pip install 'lakeflight[sqlalchemy]'``; docs/sqlalchemy.md describes it.
"""

from flight_server.client.sqlalchemy.dialect import LakeflightDialect, LakeflightTLSDialect
from flight_server.client.sqlalchemy.types import DOUBLE, MAP, STRUCT, TINYINT
from flight_server.client.sqlalchemy.warnings import NotEnforced

__all__ = [
    "DOUBLE",
    "MAP",
    "STRUCT",
    "TINYINT",
    "LakeflightDialect",
    "LakeflightTLSDialect",
    "NotEnforced",
]
