"""What the purpose of an access hides: the privacy table.

A caller states why they access data. The purpose decides what they see of the columns that tell of
a person, and it goes on record with the access, where it decides what the view of the audit log for
analysts shows of that record. Nothing is hidden in the log itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Treatment(StrEnum):
    """What an analyst sees of a part of a record."""

    KEPT = "kept"
    NETWORK = "network"  # of an address only the network that it is in
    DROPPED = "dropped"
    AGGREGATED = "aggregated"  # only in figures over many rows


class DataPart(StrEnum):
    """What a column of a table tells of a person; a column of such a name does so unasked."""

    USER_ID = "user_id"
    SOURCE_IP = "source_ip"
    DEVICE_INFO = "device_info"
    DATA_CONTENT = "data_content"


class Part(StrEnum):
    """What a record tells of the person behind an access."""

    USER = "user"
    DEVICE = "device"
    ADDRESS = "address"


@dataclass(frozen=True, slots=True)
class Disclosure:
    """How each part of a record is shown, and why."""

    user: Treatment
    device: Treatment
    address: Treatment
    reason: str
    content: Treatment = Treatment.KEPT
    needs_consent: bool = False

    def of_data(self, part: DataPart) -> Treatment:
        """Return the treatment of a column that tells this."""
        return {
            DataPart.USER_ID: self.user,
            DataPart.SOURCE_IP: self.address,
            DataPart.DEVICE_INFO: self.device,
            DataPart.DATA_CONTENT: self.content,
        }[part]

    def of(self, part: Part) -> Treatment:
        """Return the treatment of a part."""
        return {
            Part.USER: self.user,
            Part.DEVICE: self.device,
            Part.ADDRESS: self.address,
        }[part]


_KEPT, _NETWORK, _DROPPED = Treatment.KEPT, Treatment.NETWORK, Treatment.DROPPED
_ANONYMOUS = (_DROPPED, _DROPPED, _NETWORK)

PURPOSES: Mapping[str, Disclosure] = {
    "research": Disclosure(
        *_ANONYMOUS, "what is studied counts, not who studies it", needs_consent=True
    ),
    "analytics": Disclosure(
        *_ANONYMOUS,
        "figures over many people need none of them",
        content=Treatment.AGGREGATED,
        needs_consent=True,
    ),
    "machine_learning": Disclosure(
        *_ANONYMOUS, "models are made of data, not of who loads them", needs_consent=True
    ),
    "user_view": Disclosure(
        _KEPT, _DROPPED, _NETWORK, "who looked must be known; how and where from is their own"
    ),
    "provider_access": Disclosure(
        _KEPT, _KEPT, _NETWORK, "who looks at others answers for it, and for the device"
    ),
    "data_sync": Disclosure(_KEPT, _KEPT, _KEPT, "a program copies: there is nobody to protect"),
    "admin": Disclosure(_KEPT, _KEPT, _KEPT, "special rights are used in full view"),
}
# Of a record without a purpose, or with one that is not in the table.
OTHERWISE = Disclosure(*_ANONYMOUS, "nobody has said that more may be shown")

# The columns of a record by what they tell. Whoever knows the request or the session of an access
# finds its user elsewhere, and details name people in words.
COLUMNS: Mapping[Part, tuple[str, ...]] = {
    Part.USER: ("user_id", "username", "session_id", "request_id", "details"),
    Part.DEVICE: ("user_agent",),
    Part.ADDRESS: ("ip_address",),
}
# What a record is about is a table for these actions, by the start of their names, and always
# shown; for all others it may be a person, and is shown as the user is.
RESOURCE_IS_DATA = ("query", "metadata.", "schema.", "table.", "view.")
RESOURCE = "resource"
# A guess of what was dropped could be proven right by the hash of the whole record.
NEVER_SHOWN = ("prev_hash", "hash")
# An aggregate over fewer rows than this tells of its members.
GROUP_ROWS_MIN = 10
# The bits that are left of an address: IPv4 and IPv6.
NETWORK_BITS = (24, 48)


def disclosure(purpose: str | None) -> Disclosure:
    """Return what is shown of a record of this purpose."""
    return OTHERWISE if purpose is None else PURPOSES.get(purpose, OTHERWISE)


def purposes_with(part: Part, treatment: Treatment) -> tuple[str, ...]:
    """Return the purposes of the table under which a part is treated this way, sorted."""
    return tuple(sorted(name for name, shown in PURPOSES.items() if shown.of(part) is treatment))
