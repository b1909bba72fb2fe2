"""The bounds of messages, whatever they are."""

from __future__ import annotations

import pytest

from flight_server.errors import LimitExceeded
from flight_server.protocol import actions, commands
from flight_server.protocol.codec import MESSAGE_BYTES_MAX


def test_a_huge_message_is_not_looked_at() -> None:
    data = bytes(MESSAGE_BYTES_MAX + 1)
    with pytest.raises(LimitExceeded, match="message_bytes_max"):
        commands.decode_command(data)
    with pytest.raises(LimitExceeded, match="message_bytes_max"):
        actions.decode_action("CreatePreparedStatement", data)
