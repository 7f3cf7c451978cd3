"""`trasvase argilla`: a local Argilla for reviewers, without Docker."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence

from tasks.cli.local_argilla import PORT, LocalArgilla, LogIn, last_port
from tasks.cli.serve import say, until_interrupted
from tasks.cli.terminal import table
from tasks.settings import Settings

_EPILOG = """\
The real Argilla 2.8.0 on 127.0.0.1, with SQLite. For one team and up to about 20,000 records, not for the open net: whoever
is to reach it from elsewhere needs a tunnel (ssh -L), or an Argilla of your own (ARGILLA_API_URL and ARGILLA_API_KEY).

examples:
  trasvase argilla                           in the foreground; Ctrl-C ends it
  trasvase argilla --background              leave it running; a second time changes nothing
  trasvase argilla --reviewers 5             reviewer-1 to reviewer-5
  trasvase argilla --reviewers ana,luis      these two as well; nobody is ever removed
  trasvase argilla --stop                    end what --background left running

The first start makes up passwords and keys and prints them; later they stand in argilla/users.json of the data root.

exit codes: 0 done; 2 it cannot be started: not installed, or the port is taken; 130 Ctrl-C while it starts
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `trasvase argilla`."""
    parser.description = "A local Argilla where people review translations. The flows find it by themselves."
    parser.epilog = _EPILOG
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--background", action="store_true", help="leave it running")
    what.add_argument("--stop", action="store_true", help="end it")
    parser.add_argument("--port", type=_port, help=f"port on 127.0.0.1 ({PORT} at first, then the one of last time)")
    parser.add_argument(
        "--reviewers",
        type=parse_reviewers,
        metavar="N|NAME,…",
        help="how many log-ins for reviewers there have to be, or whose (3 at first)",
    )
    parser.set_defaults(run_command=run)


def run(options: argparse.Namespace) -> int:
    """Do what the arguments say; the exit code."""
    data = Settings().data
    local = LocalArgilla(data, options.port or last_port(data), say=say)
    if options.stop:
        ended = local.stop()
        say(f"Ended {', '.join(ended)}." if ended else "Nothing of ours was running.")
        return 0
    reviewers = options.reviewers or ([] if local.log_ins else parse_reviewers("3"))
    if options.background:
        _tell(local, local.ensure(reviewers))
        say(f"Argilla: {local.url}   end it: trasvase argilla --stop   log: {local.server.log}")
        return 0
    return _foreground(local, reviewers)


def _foreground(local: LocalArgilla, reviewers: Sequence[str]) -> int:
    """Keep it, started anew when it dies, until Ctrl-C or SIGTERM."""
    if local.runs():
        _tell(local, local.ensure(reviewers))
        say(f"It runs in the background already. Argilla: {local.url}   end it: trasvase argilla --stop")
        return 0

    def end() -> None:
        if ended := local.stop():
            say(f"Ended {', '.join(ended)}.")

    with until_interrupted(end):
        _tell(local, local.ensure(reviewers))
        say(f"Argilla: {local.url}   log: {local.server.log}   Ctrl-C ends it")
        while local.server.pid_file.exists():  # what dies leaves its pid file, what is ended does not
            if not local.runs():
                local.ensure()
            time.sleep(0.5)
        say("Ended by another command.")
    return 0


def _tell(local: LocalArgilla, made: Sequence[LogIn]) -> None:
    """New log-ins once; then where they stand."""
    if made:
        for line in table(["user", "password", "role"], [(user.username, user.password, user.role) for user in made]):
            say(f"  {line}")
        say("For one team and up to about 20,000 records. It answers on this machine only; keep it off the open net.")
    say(f"Log-ins and keys: {local.users_file}")


def _port(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text} is no port: 1 to 65535")


def parse_reviewers(text: str) -> list[str]:
    """User names: as many as a number says, or those that are named."""
    if text.isdecimal() and 1 <= int(text) <= 100:
        return [f"reviewer-{number}" for number in range(1, int(text) + 1)]
    names = [name.strip() for name in text.split(",")]
    if text.isdecimal() or not all(re.fullmatch(r"[^\W\d_][\w.-]{0,30}", name) for name in names):
        raise argparse.ArgumentTypeError(
            f"{text!r}: give a number from 1 to 100, or names of up to 31 letters, digits, . _ - with commas between them"
        )
    return names
