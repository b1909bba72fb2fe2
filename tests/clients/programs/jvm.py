"""A Java process that calls JDBC for us: see ``jdbc/Bridge.java`` for what is sent."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.clients.environments import jdbc_class_path

ANSWER_SECONDS_MAX = 50.0
_NUMBERS = {"Byte": int, "Short": int, "Integer": int, "Long": int, "Float": float, "Double": float}


class JavaError(Exception):
    """What a call threw: its class, its message, and SQLState and causes where there are any."""

    def __init__(self, description: dict[str, Any]) -> None:
        super().__init__(f"{description['type']}: {description['message']}")
        self.kind: str = description["type"].rpartition(".")[2]
        self.message: str = description["message"]
        self.state: str | None = description.get("state")
        self.causes: str = description["causes"]


@dataclass(frozen=True, slots=True)
class Java:
    """A value of a Java type that Python has no type for, as the text that Java shows of it."""

    type: str
    text: str


@dataclass(frozen=True, slots=True)
class Result:
    """The labels and rows of a ResultSet."""

    labels: list[str]
    rows: list[tuple[Any, ...]]

    def column(self, label: str) -> list[Any]:
        """Return the values of a column."""
        at = self.labels.index(label)
        return [row[at] for row in self.rows]

    def records(self, *labels: str) -> list[tuple[Any, ...]]:
        """Return the rows with these columns only."""
        columns = [self.column(label) for label in labels]
        return list(zip(*columns, strict=True))


class Remote:
    """An object of JDBC in the Java process; its methods are called as if they were here."""

    def __init__(self, machine: Machine, handle: int) -> None:
        self._machine = machine
        self.handle = handle

    def __getattr__(self, method: str) -> Any:
        def call(*arguments: Any) -> Any:
            given = [_encoded(argument) for argument in arguments]
            return self._machine.ask(
                {"do": "call", "on": self.handle, "method": method, "arguments": given}
            )

        return call

    def aside(self, method: str, *arguments: Any) -> Pending:
        """Call a method without waiting for it."""
        given = [_encoded(argument) for argument in arguments]
        request = {"do": "call", "on": self.handle, "method": method, "arguments": given}
        return self._machine.send({**request, "aside": True})

    def read(self, rows: int = 1_000_000_000) -> Result:
        """Read a ResultSet from where it is, at most that many rows."""
        answer = self._machine.ask({"do": "read", "on": self.handle, "rows": rows})
        decoded = [tuple(self._machine.decoded(v) for v in row) for row in answer["rows"]]
        return Result(answer["labels"], decoded)

    def is_result_set(self) -> bool:
        """Tell whether this is a ResultSet."""
        return bool(
            self._machine.ask({"do": "is", "on": self.handle, "type": "java.sql.ResultSet"})
        )

    def getters(self, names: str = ".*") -> dict[str, Any]:
        """Call every method without parameters that matches; an error is a value here."""
        answer = self._machine.ask({"do": "getters", "on": self.handle, "names": names})
        return {
            name: JavaError(found["error"])
            if "error" in found
            else self._machine.decoded(found["value"])
            for name, found in answer.items()
        }


class Pending:
    """An answer that has not come yet."""

    def __init__(self, machine: Machine, number: int) -> None:
        self._machine = machine
        self._number = number
        self.ready = threading.Event()
        self.answer: dict[str, Any] = {}

    def wait(self) -> Any:
        """Wait for it: the result, or JavaError."""
        if not self.ready.wait(ANSWER_SECONDS_MAX):
            raise TimeoutError(f"Java did not answer within {ANSWER_SECONDS_MAX:g} s")
        if "error" in self.answer:
            raise JavaError(self.answer["error"])
        return self._machine.decoded(self.answer.get("result"))


class Machine:
    """The Java process; ends with this one, whose end closes its input."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [
                "java",
                "--add-opens=java.base/java.nio=ALL-UNNAMED",
                "-Duser.timezone=UTC",
                "-Xmx512m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-cp",
                jdbc_class_path(),
                "Bridge",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._pending: dict[int, Pending] = {}
        self._numbers = iter(range(1, 1_000_000_000))
        self._writing = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def connect(self, url: str, properties: dict[str, str]) -> Remote:
        """DriverManager.getConnection."""
        made = self.ask({"do": "connect", "url": url, "properties": properties})
        assert isinstance(made, Remote)
        return made

    def ask(self, request: dict[str, Any]) -> Any:
        """Send a request and wait for its result."""
        return self.send(request).wait()

    def send(self, request: dict[str, Any]) -> Pending:
        """Send a request."""
        assert self._process.stdin is not None
        with self._writing:
            number = next(self._numbers)
            pending = self._pending[number] = Pending(self, number)
            line = json.dumps({"id": number, **request}) + "\n"
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        return pending

    def decoded(self, value: Any) -> Any:
        """Turn a value of the wire into one of Python, where it has one."""
        if not isinstance(value, dict):
            return value
        if "handle" in value:
            return Remote(self, value["handle"])
        if "items" in value:
            return _items(value["type"], [self._item(item) for item in value["items"]])
        if "text" not in value:
            return value
        kind, text = value["type"], value["text"]
        if kind in _NUMBERS:
            return _NUMBERS[kind](text)
        if kind == "BigDecimal":
            return Decimal(text)
        return base64.b64decode(text) if kind == "byte[]" else Java(kind, text)

    def _item(self, item: Any) -> Any:
        """An entry of a map is a pair."""
        return [self.decoded(v) for v in item] if isinstance(item, list) else self.decoded(item)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            pending = self._pending.pop(answer["id"])
            pending.answer = answer
            pending.ready.set()


def _items(kind: str, items: list[Any]) -> Any:
    if kind == "int[]":
        return [int(item) for item in items]
    return tuple(items) if kind == "Struct" else items


def _encoded(value: Any) -> Any:
    if isinstance(value, Remote):
        return {"handle": value.handle}
    if isinstance(value, Java):
        return {"type": value.type, "text": value.text}
    if isinstance(value, bytes):
        return {"type": "byte[]", "text": base64.b64encode(value).decode()}
    if isinstance(value, Decimal):
        return {"type": "BigDecimal", "text": str(value)}
    return value


@contextmanager
def closing(remote: Remote) -> Iterator[Remote]:
    """Close an object of JDBC at the end."""
    try:
        yield remote
    finally:
        remote.close()
