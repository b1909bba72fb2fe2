"""The SQL of the network that an IP address in a text is in."""

from __future__ import annotations

from policies.purposes import NETWORK_BITS

_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"^{_OCTET}(\.{_OCTET}){{3}}$"
# Whatever follows is not shown, but only addresses are generalised at all.
_IPV6_REST = r"[0-9a-f:.]*$"
_IPV6_STARTS = (
    rf"^([0-9a-f]{{1,4}}:[0-9a-f]{{1,4}}:[0-9a-f]{{1,4}}):{_IPV6_REST}",
    rf"^([0-9a-f]{{1,4}}:[0-9a-f]{{1,4}})::{_IPV6_REST}",
    rf"^([0-9a-f]{{1,4}})::{_IPV6_REST}",
)


# Patterns and what takes their place; none makes a text much longer.
_TO_NETWORK = ("[0-9]+$", f"0/{NETWORK_BITS[0]}")
_TO_NETWORKS6 = tuple((start, f"\\1::/{NETWORK_BITS[1]}") for start in _IPV6_STARTS)
_SHORTENED = ("(:0)+::", "::")
PATTERNS = frozenset({_IPV4, *_IPV6_STARTS})
REPLACEMENTS = frozenset({_TO_NETWORK, *_TO_NETWORKS6, _SHORTENED})


def network(text: str) -> str:
    """Return the SQL of the network of an address, an empty text for what is none.

    ``text`` is the SQL of the address. Addresses are written as RFC 5952 says, so what stands
    before ``::`` is what is not zero.
    """
    branches = [f"WHEN regexp_like({text}, '{_IPV4}') THEN {_replaced(text, *_TO_NETWORK)}"]
    for start, shown in _TO_NETWORKS6:
        kept = _replaced(_replaced(text, start, shown), *_SHORTENED)
        branches.append(f"WHEN regexp_like({text}, '{start}') THEN {kept}")
    return f"CASE {' '.join(branches)} ELSE '' END"


def _replaced(text: str, pattern: str, by: str) -> str:
    return f"regexp_replace({text}, '{pattern}', '{by}')"
