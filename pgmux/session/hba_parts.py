"""The parts of a rule that have a syntax of their own: its addresses, and its method with its options.

Manual: "The pg_hba.conf File", fields `address`, `IP-mask`, `auth-method` and `auth-options`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

from pgmux.session.fields import Field
from pgmux.session.ident_map import IdentMap
from pgmux.session.method import METHODS, Method

Network = IPv4Network | IPv6Network
Interface = IPv4Interface | IPv6Interface  # an address of this machine, and the network that it is in

_OTHERS: Final = ("gss", "sspi", "ldap", "radius", "pam", "bsd", "oauth", "ident")  # PostgreSQL's, not ours


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a client may come from."""

    networks: tuple[Network, ...]

    def hold(self, address: IPv4Address | IPv6Address) -> bool:
        """Tell whether an address is among them."""
        return any(address in network for network in self.networks)


def parse_addresses(
    fields: list[Field], interfaces: tuple[Interface, ...]
) -> tuple[Addresses | None, list[Field]]:
    """Give the addresses (None = all) and the fields that follow. Raises ValueError."""
    if not fields:
        raise ValueError("the address is missing")
    [word, *more] = fields[0]
    if more:
        raise ValueError("one address stands in a rule, no list: write a rule for each")
    if word.is_keyword("all"):
        return None, fields[1:]
    if word.is_keyword("samenet"):
        return Addresses(tuple(interface.network for interface in interfaces)), fields[1:]
    if word.is_keyword("samehost"):
        return Addresses(tuple(ip_network(interface.ip) for interface in interfaces)), fields[1:]
    if "/" in word.text:
        return Addresses((_parse_network(word.text),)), fields[1:]
    try:
        ip_address(word.text)
    except ValueError:
        raise ValueError(
            f'"{word.text}" is no address: names are not supported, write as 192.0.2.0/24 or 2001:db8::/32'
        ) from None
    if len(fields) < 2:
        raise ValueError(f'"{word.text}" is followed by neither a mask nor a method: write {word.text}/32')
    return Addresses((_parse_masked(word.text, fields[1][0].text),)), fields[2:]


def _parse_network(text: str) -> Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f'"{text}" is no address range, as 192.0.2.0/24 or 2001:db8::/32') from None


def _parse_masked(address: str, mask: str) -> Network:
    """An address and its mask in two fields, as 10.0.0.0 255.0.0.0 or ::1 ffff:…."""
    try:
        bits = int(ip_address(mask))
        width = ip_address(mask).max_prefixlen
        ones = bits.bit_count()
        if width != ip_address(address).max_prefixlen or bits != ((1 << ones) - 1) << (width - ones):
            raise ValueError
    except ValueError:
        raise ValueError(f'"{mask}" is no mask for {address}: write the range as {address}/…') from None
    return ip_network(f"{address}/{ones}", strict=False)


def parse_method(fields: list[Field], kind: str, maps: Mapping[str, IdentMap], line: int) -> Method:
    """Give the method that the rest of a rule of this type names. Raises ValueError."""
    if not fields:
        raise ValueError("the method is missing")
    [word, *more] = fields[0]
    name = "peer" if kind == "local" and word.text == "ident" else word.text  # as PostgreSQL reads it
    if name in _OTHERS:
        raise ValueError(f'method "{name}" is not supported, use one of {", ".join(METHODS)}')
    if more or name not in METHODS:
        raise ValueError(f'"{name}" is no method, use one of {", ".join(METHODS)}')
    if name == "peer" and kind != "local":
        raise ValueError("peer is possible in a rule for local only: there are no peers across a network")
    if name == "cert" and kind != "hostssl":
        raise ValueError("cert is possible in a rule for hostssl only: certificates come with TLS")
    options = dict(_parse_option(field) for field in fields[1:])
    if len(options) != len(fields) - 1:
        raise ValueError("an option is given twice")
    return _apply_options(Method(name, line=line), options, kind, maps)


def _parse_option(field: Field) -> tuple[str, str]:
    name, equals, value = field[0].text.partition("=")
    if len(field) != 1 or not equals or not name:
        raise ValueError(f'"{field[0].text}" is no option: write name=value, without blanks')
    return name, value


def _apply_options(
    method: Method, options: Mapping[str, str], kind: str, maps: Mapping[str, IdentMap]
) -> Method:
    for name, value in options.items():
        match name, value:
            case "map", _ if method.name not in ("peer", "cert"):
                raise ValueError(f'option map has no meaning for method "{method.name}"')
            case "map", _ if value not in maps:
                raise ValueError(f'there is no map "{value}": auth_ident_file would have to hold it')
            case "map", _:
                method = replace(method, names=maps[value])
            case (("clientcert" | "clientname"), _) if kind != "hostssl":
                raise ValueError(f"option {name} is possible in a rule for hostssl only")
            case "clientcert", ("verify-ca" | "verify-full"):
                if method.name == "cert" and value == "verify-ca":
                    raise ValueError("cert verifies the name: clientcert=verify-ca contradicts it")
                method = replace(method, certificate=value)
            case "clientcert", _:
                raise ValueError(f'clientcert is verify-ca or verify-full, not "{value}"')
            case "clientname", ("CN" | "DN"):
                method = replace(method, is_by_subject=value == "DN")
            case "clientname", _:
                raise ValueError(f'clientname is CN or DN, not "{value}"')
            case _:
                raise ValueError(f'option "{name}" is not supported')
    return method
