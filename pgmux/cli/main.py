"""The command line of pgmux: which subcommand is meant, and what its failure looks like.

Each subcommand imports what it needs when it runs, so that `pgmux version` is quick and the
supervisor's process carries nothing else. Exit codes: 0, 1 (it failed while running),
2 (wrong usage or configuration), and 130 after Ctrl-C, as shells expect.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pgmux.cli.output import print_answer, print_error
from pgmux.errors import PgmuxError

if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]

WRONG_USAGE = 2
INTERRUPTED = 130

# Texts keep their line breaks, and an option is not guessed from its beginning.
STYLE: dict[str, Any] = {
    "formatter_class": argparse.RawDescriptionHelpFormatter,
    "allow_abbrev": False,
}

ABOUT = "A PostgreSQL connection pooler: many worker processes, one exact pool of backends."
EXAMPLES = """\
examples:
  pgmux demo                            see it work: PostgreSQL, pgmux and pgbench, nothing to prepare
  pgmux check --options > pgmux.toml    begin with a configuration that explains itself
  pgmux check -c pgmux.toml             what is wrong with it, or what pgmux would do
  pgmux run -c pgmux.toml               run in the foreground, as systemd does
  pgmux import-pgbouncer /etc/pgbouncer/pgbouncer.ini > pgmux.toml
  pgmux top                             watch it: pools, waits, workers, transactions, backends
  pgmux doctor -h db1 -U postgres       what idle connections cost there, and which pool would do
  psql -h 127.0.0.1 -p 6432 app         connect as to PostgreSQL
  pgmux ctl show pools                  how it fares

Without -c the configuration is the file that PGMUX_CONFIG names, else /etc/pgmux/pgmux.toml.
Each option can also be set as PGMUX_<KEY>: PGMUX_WORKERS=4 pgmux run
"""
RUN = """\
Runs the supervisor and its workers in the foreground and logs to standard error.

signals:
  HUP         read the configuration again; where another version has been installed, it takes over
  TERM, INT   finish running transactions, then stop; a second one breaks them off
  QUIT        stop at once
  USR1, USR2  pause, resume
  RTMIN       replace all workers, one after the other; their clients notice nothing
  RTMAX       the installed version takes over; clients notice nothing
"""
CHECK = """\
Reads the configuration and says what is wrong with it: file, line, key, and the nearest known
name. Exit code 0 when pgmux could run with it, 2 when not. With --options, prints every option
with its default and a sentence about it; the output is a configuration to begin with.
"""
CTL = """\
Talks to the pgmux that runs here, by its control socket. Any worker answers, with the figures of all.
Give it the same configuration as `pgmux run`, or the socket itself.
"""
DEMO = """\
Starts an embedded PostgreSQL and pgmux in front of it, drives both with hundreds of clients and
prints what pooling changes. Needs no preparation and leaves nothing behind.
"""
IMPORT = """\
Turns a pgbouncer.ini, with the files it includes, into a pgmux.toml: comments stay, options that are
commented out stay so in pgmux's words, and PgBouncer's defaults are written down where pgmux's are
others. What could not go on is said on standard error, with file, line and reason, and stands in the
new file as a comment. auth_file is pgmux's format already and stays where it is.

Exit code 0 when `pgmux check` accepts the result on this machine, 1 when something is left to do,
2 when PgBouncer itself would refuse the file.

example:
  pgmux import-pgbouncer /etc/pgbouncer/pgbouncer.ini -o /etc/pgmux/pgmux.toml
"""
TOP = """\
A live view of the pgmux that runs on this machine: pools with their waits and rates, workers, the longest
transactions and waits, backends. It reads the shared segment and asks nobody, so it works when PostgreSQL is
down or a worker hangs, and costs pgmux nothing. Only root and pgmux's own account may read the segment.

keys:
  Tab     the next panel          s, r   sort by the next column, reverse (or click a head)
  /       filter the panel        z      zoom the panel
  space   freeze                  + -    look more, less often
  k       disconnect the client   p, c   pause, resume (each after a question, by the control socket)
  ?       what columns mean       q      quit

Into a pipe or a file goes one look, as with --once.
"""
DOCTOR = """\
Connects to PostgreSQL and says what its connections cost: backends by state and their memory, how much of
max_connections is spent on idleness, the oldest snapshots and which client holds them, who is idle in a
transaction, and which pool would do, with the reason. Needs no pgmux in front of it; where one runs, its
clients are named by their own address and application.

Where to look: the options, a connection string as DBNAME, PGHOST and the other variables, ~/.pgpass, as psql
does. Without any, the servers of pgmux's configuration; without that, the local server.

On PostgreSQL's own machine run it as root: it logs in as the owner of PostgreSQL's Unix socket, as
`sudo -u postgres psql` does, measures memory, and names pgmux's clients. Elsewhere the role needs pg_monitor.

Exit code 0, or 1 when something is alarming or PostgreSQL cannot be reached, 2 for wrong usage.

examples:
  sudo pgmux doctor
  pgmux doctor -h db1 -U monitor -d postgres --seconds 60
  pgmux doctor postgresql://monitor@db1/postgres --json | jq .servers[0].advice
"""


class _CtlHelp(argparse.Action):
    """`pgmux ctl --help`: the commands are listed only when they are asked for, as that takes an import."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from pgmux.cli.ctl import describe_commands

        parser.epilog = describe_commands()
        parser.print_help()
        parser.exit()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments` (default: the process's own) and give its exit code."""
    parser = build_parser()
    chosen = parser.parse_args(arguments)
    subcommand: Callable[[argparse.Namespace], int] | None = chosen.subcommand
    if subcommand is None:
        parser.print_help()
        return WRONG_USAGE
    try:
        return subcommand(chosen)
    except PgmuxError as error:
        print_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; the man page is made from it, too."""
    parser = argparse.ArgumentParser(prog="pgmux", description=ABOUT, epilog=EXAMPLES, **STYLE)
    parser.add_argument(
        "--version", dest="subcommand", action="store_const", const=_version, help="print the version"
    )
    parser.set_defaults(subcommand=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    run = commands.add_parser("run", help="run the pooler in the foreground", description=RUN, **STYLE)
    _add_config(run)
    run.set_defaults(subcommand=_run)

    check = commands.add_parser("check", help="check a configuration", description=CHECK, **STYLE)
    one_of = check.add_mutually_exclusive_group()
    _add_config(one_of)
    one_of.add_argument("--options", action="store_true", help="print every option, as a configuration")
    check.set_defaults(subcommand=_check)

    _add_ctl(commands)
    demo = commands.add_parser("demo", help="see pooling, nothing prepared", description=DEMO, **STYLE)
    demo.add_argument("--keep", action="store_true", help="stay up and print the psql line to connect with")
    demo.set_defaults(subcommand=_demo)

    _add_top(commands)
    _add_doctor(commands)
    _add_import(commands)
    version = commands.add_parser("version", help="print the version", **STYLE)
    version.set_defaults(subcommand=_version)
    return parser


def _add_ctl(commands: "_Commands") -> None:
    ctl = commands.add_parser(
        "ctl", help="talk to a running pgmux: show, pause, ...", description=CTL, add_help=False, **STYLE
    )
    ctl.add_argument("-h", "--help", action=_CtlHelp, nargs=0, help="show this help message and exit")
    one_of = ctl.add_mutually_exclusive_group()
    _add_config(one_of)
    one_of.add_argument(
        "--socket", metavar="PATH", help="the control socket, in place of the configuration's"
    )
    ctl.add_argument("--json", action="store_true", help="print JSON: an array of objects, one a row")
    ctl.add_argument("words", metavar="COMMAND", nargs="*", help="a command and its arguments, see below")
    ctl.set_defaults(subcommand=_ctl, parser=ctl)


def _add_top(commands: "_Commands") -> None:
    top = commands.add_parser("top", help="live view of a running pgmux", description=TOP, **STYLE)
    _add_config(top)
    top.add_argument(
        "--interval", type=float, default=1.0, metavar="SECONDS", help="between looks (default: 1)"
    )
    top.add_argument("--once", action="store_true", help="print one look as text")
    top.set_defaults(subcommand=_top)


def _add_doctor(commands: "_Commands") -> None:
    doctor = commands.add_parser(
        "doctor", help="what PostgreSQL's connections cost", description=DOCTOR, add_help=False, **STYLE
    )
    doctor.add_argument("--help", action="help", help="show this help message and exit")  # -h is psql's
    doctor.add_argument("database", nargs="?", metavar="DBNAME", help="as -d")
    doctor.add_argument("-h", "--host", metavar="HOST", help="PostgreSQL's host, or its socket's directory")
    doctor.add_argument("-p", "--port", metavar="PORT", help="its port (default: 5432)")
    doctor.add_argument("-U", "--username", dest="user", metavar="NAME", help="the role to log in as")
    doctor.add_argument("-d", "--dbname", metavar="DBNAME", help="database, or connection string")
    _add_config(doctor)
    doctor.add_argument(
        "--seconds", type=float, default=2.0, metavar="N", help="how long to watch what is busy (default: 2)"
    )
    doctor.add_argument("--json", action="store_true", help="print everything as JSON")
    doctor.set_defaults(subcommand=_doctor)


def _add_import(commands: "_Commands") -> None:
    imported = commands.add_parser(
        "import-pgbouncer", help="turn a pgbouncer.ini into a pgmux.toml", description=IMPORT, **STYLE
    )
    imported.add_argument("ini", metavar="FILE", help="the pgbouncer.ini")
    imported.add_argument("-o", "--output", metavar="FILE", help="write there, mode 0640 (default: print it)")
    imported.set_defaults(subcommand=_import_pgbouncer)


def _add_config(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        help="the configuration (default: $PGMUX_CONFIG, else /etc/pgmux/pgmux.toml)",
    )


def _run(chosen: argparse.Namespace) -> int:
    from pgmux.config import load

    config = load(chosen.config)
    from pgmux.supervisor.main import Supervisor

    return Supervisor(config).run()


def _check(chosen: argparse.Namespace) -> int:
    if chosen.options:
        from pgmux.config.sample import render_sample

        print_answer(render_sample().rstrip("\n"))
        return 0
    from pgmux.cli.check import check

    return check(chosen.config)


def _ctl(chosen: argparse.Namespace) -> int:
    from pgmux.cli.ctl import ctl, describe_commands

    if not chosen.words:
        chosen.parser.epilog = describe_commands()
        chosen.parser.print_help()
        return WRONG_USAGE
    return ctl(chosen.words, chosen.config, chosen.socket, as_json=chosen.json)


def _demo(chosen: argparse.Namespace) -> int:
    from pgmux.demo.run import run_demo

    return run_demo(keep=chosen.keep)


def _top(chosen: argparse.Namespace) -> int:
    from pgmux.cli.top import watch

    return watch(chosen.config, chosen.interval, is_once=chosen.once)


def _doctor(chosen: argparse.Namespace) -> int:
    from pgmux.cli.doctor import examine

    chosen.dbname = chosen.dbname or chosen.database
    return examine(chosen)


def _import_pgbouncer(chosen: argparse.Namespace) -> int:
    from pgmux.cli.import_pgbouncer import import_pgbouncer

    return import_pgbouncer(chosen.ini, chosen.output)


def _version(_: argparse.Namespace) -> int:
    from pgmux import __version__

    print_answer(f"pgmux {__version__}")
    return 0
