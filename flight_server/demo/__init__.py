"""A deterministic sample lakehouse."""

from flight_server.demo.build import SCHEMAS, Progress, build, is_complete

__all__ = ["SCHEMAS", "Progress", "build", "is_complete"]
