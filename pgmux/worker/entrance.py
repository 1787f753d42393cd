"""The doors of a configuration: its files for log-ins read, and what follows from them."""

import functools
import ipaddress
import os
import pwd
from collections.abc import Iterator, Mapping

from pgmux.config import Config
from pgmux.errors import PgmuxError
from pgmux.session.auth_file import parse_auth_file
from pgmux.session.doors import Doors
from pgmux.session.hba import Rules, parse_hba_file
from pgmux.session.hba_parts import Interface
from pgmux.session.ident_map import IdentMap, parse_ident_file
from pgmux.session.secret import Secret


def open_doors(config: Config, mock_key: bytes) -> tuple[Mapping[str, Secret], Doors]:
    """The secrets of auth_file (none without one), and the doors. Raises PgmuxError.

    `mock_key` must be the same in all workers, and after a reload.
    """
    settings = config.pgmux
    secrets = read_secrets(settings.auth_file)

    def has_database(name: str) -> bool:
        return name in config.databases or "*" in config.databases

    doors = Doors(
        settings.auth_type,
        secrets,
        has_database,
        mock_key,
        rules=read_rules(config) if settings.auth_type == "hba" else None,
        name_of_uid=functools.lru_cache(maxsize=1000)(_name_of_uid),  # until a reload
        looks_up=bool(settings.auth_user),
        owner_uids=(0, os.geteuid()),
    )
    return secrets, doors


def read_secrets(path: str) -> Mapping[str, Secret]:
    """The secrets in auth_file; none without one. Raises PgmuxError."""
    return parse_auth_file(_read("auth_file", path), path) if path else {}


def read_rules(config: Config) -> Rules:
    """The rules in auth_hba_file. Raises PgmuxError."""
    settings = config.pgmux
    maps: Mapping[str, IdentMap] = {}
    if settings.auth_ident_file:
        maps = parse_ident_file(_read("auth_ident_file", settings.auth_ident_file), settings.auth_ident_file)
    text, has_auth_user = _read("auth_hba_file", settings.auth_hba_file), bool(settings.auth_user)
    return parse_hba_file(text, settings.auth_hba_file, maps, _interfaces(), knows_roles=has_auth_user)


def _read(option: str, path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError as error:
        raise PgmuxError(f"cannot read {option} {path}: {error.strerror}") from None


def _interfaces() -> Iterator[Interface]:
    """This machine's addresses."""
    import psutil  # a megabyte, for the rules that say samehost or samenet

    for addresses in psutil.net_if_addrs().values():
        for each in addresses:
            try:
                address = ipaddress.ip_address(each.address.partition("%")[0])
                bits = int(ipaddress.ip_address(each.netmask)).bit_count() if each.netmask else 0
            except ValueError:
                continue  # the address of a network card
            yield ipaddress.ip_interface(f"{address}/{bits or address.max_prefixlen}")


def _name_of_uid(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
