"""Which peers are meant by a list of addresses and networks."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

Networks = tuple[IPv4Network | IPv6Network, ...]


def networks(listed: Iterable[str]) -> Networks:
    """Addresses and networks in CIDR notation as networks; raises `ValueError`."""
    return tuple(ip_network(one) for one in listed)


def is_within(peer: str, among: Networks) -> bool:
    """Whether an address is in one of the networks, also when a dual-stack socket shows IPv4 as IPv6.

    >>> listed = networks(["10.0.0.0/8", "::1"])
    >>> [is_within(peer, listed) for peer in ("10.1.2.3", "::ffff:10.1.2.3", "::1", "11.0.0.1", "fe80::1%eth0")]
    [True, True, True, False, False]
    """
    if not among:
        return False
    address = ip_address(peer.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in among)
