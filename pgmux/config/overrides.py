"""The tables [databases.NAME] and [users.NAME]: where PostgreSQL is, and what goes before the options for all.

A field is an option, as in settings.py.
"""

from typing import Annotated

import msgspec

from pgmux.config.notations import Hosts, OnPin, PoolMode, SessionAttributes
from pgmux.config.option import Option


class Database(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table [databases.NAME]. NAME is what clients ask for; "*" stands for any other name."""

    host: Annotated[
        Hosts,
        Option(
            "PostgreSQL's host name or address, or its Unix socket's directory; a list is tried in its order."
        ),
    ] = ("/var/run/postgresql",)
    port: Annotated[int, Option("PostgreSQL's port.", bounds=(1, 65_535))] = 5432
    target_session_attrs: Annotated[
        SessionAttributes,
        Option(
            "Which of several hosts will do, with libpq's words; PostgreSQL 14 or newer tells what it is."
        ),
    ] = "any"
    dbname: Annotated[
        str,
        Option('Name of the database in PostgreSQL; "" = the same name.', example="app"),
    ] = ""
    user: Annotated[str, Option('PostgreSQL user for all clients; "" = each client\'s own.')] = ""
    password: Annotated[
        str,
        Option('Password for PostgreSQL; "" = the one in auth_file.', is_secret=True),
    ] = ""
    max_backends: Annotated[
        int,
        Option(
            "Backends that all pools of this database may have together; 0 = no limit of its own.",
            unit="backends",
            bounds=(0, 65_536),
        ),
    ] = 0
    max_client_conn: Annotated[
        int,
        Option(
            "Clients that may be connected to this database, all workers together; 0 = no limit of its own.",
            unit="clients",
            bounds=(0, 1_000_000),
        ),
    ] = 0
    pool_size: Annotated[
        int | None,
        Option("In place of default_pool_size.", unit="backends", bounds=(1, 65_536), example=20),
    ] = None
    pool_mode: Annotated[
        PoolMode | None,
        Option("In place of the global pool_mode.", example="transaction"),
    ] = None
    on_pin: Annotated[
        OnPin | None,
        Option("In place of the global on_pin.", example="allow"),
    ] = None
    min_pool_size: Annotated[
        int | None,
        Option("In place of the global min_pool_size.", unit="backends", bounds=(0, 65_536), example=0),
    ] = None
    reserve_pool_size: Annotated[
        int | None,
        Option("In place of the global reserve_pool_size.", unit="backends", bounds=(0, 65_536), example=0),
    ] = None


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table [users.NAME]: settings of this user's pools, before the database's and the global ones."""

    max_client_conn: Annotated[
        int,
        Option(
            "Clients of this user that may be connected, all workers together; 0 = no limit of its own.",
            unit="clients",
            bounds=(0, 1_000_000),
        ),
    ] = 0
    pool_size: Annotated[
        int | None,
        Option("In place of the database's pool_size.", unit="backends", bounds=(1, 65_536), example=20),
    ] = None
    pool_mode: Annotated[
        PoolMode | None,
        Option("In place of the database's pool_mode.", example="transaction"),
    ] = None
    min_pool_size: Annotated[
        int | None,
        Option("In place of the database's min_pool_size.", unit="backends", bounds=(0, 65_536), example=0),
    ] = None
    reserve_pool_size: Annotated[
        int | None,
        Option(
            "In place of the database's reserve_pool_size.", unit="backends", bounds=(0, 65_536), example=0
        ),
    ] = None
