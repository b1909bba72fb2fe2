"""The client side: connections, results and their presentation.

from flight_server.client import connect

with connect("grpc://127.0.0.1:31337", user="admin", password="...") as lake:
    for batch in lake.query("SELECT * FROM tpch.nation"):
        ...
"""

from flight_server.client.connection import Connection, Result, TableName, connect

__all__ = ["Connection", "Result", "TableName", "connect"]
