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


def network(text: str) -> str:
    """Return the SQL of the network of an address, an empty text for what is none.

    ``text`` is the SQL of the address. Addresses are written as RFC 5952 says, so what stands
    before ``::`` is what is not zero.
    """
    bits, bits6 = NETWORK_BITS
    branches = [
        f"WHEN regexp_like({text}, '{_IPV4}') THEN regexp_replace({text}, '[0-9]+$', '0/{bits}')"
    ]
    for start in _IPV6_STARTS:
        kept = f"regexp_replace({text}, '{start}', '\\1::/{bits6}')"
        kept = f"regexp_replace({kept}, '(:0)+::', '::')"
        branches.append(f"WHEN regexp_like({text}, '{start}') THEN {kept}")
    return f"CASE {' '.join(branches)} ELSE '' END"
