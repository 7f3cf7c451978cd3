"""The console script ``trasvase``: one module per command.

A module has ``add_arguments(parser)``, which sets ``run_command``. It is imported only when its command is
named, so that ``trasvase --help`` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

COMMANDS = {
    "doctor": "what is installed, reachable and configured, and what to do about it",
    "status": "jobs: chunks done and missing, rejected rows, requests, money",
    "verify": "hold a table, a chunk, a job or the tables' folder against what it should be",
    "explain": "one row from source to result, with every check",
    "funnel": "how many jokes of a table stay after each stage of a funnel",
    "memory": "the texts that people settled: list them, exchange them as TMX",
    "judge-counts": "whether two win rates against a common opponent differ, from counts alone",
    "serve": "the local Prefect server and worker, and a run on them",
    "argilla": "a local Argilla for reviewers, without Docker",
}

_EPILOG = """\
examples:
  trasvase doctor
  trasvase serve --run translate-llava/spanish --param source=rows.json
  trasvase status
  trasvase verify data/tables
  trasvase explain data/tables/llava-es.parquet 17
  trasvase argilla --background
  trasvase explain --help

exit codes:
  0    all is well
  1    something is wrong with what was looked at
  2    it could not be looked at or done: wrong usage or setting, no such file, job or row, no answer
  130  ended by Ctrl-C

Settings are variables of the environment, TRASVASE_DATA first of all; `trasvase doctor` lists them.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: As typed after ``trasvase``; None takes them from the command line.

    Returns:
        The exit code.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(
        "trasvase",
        description="Look at what the flows made and need, and run them: `trasvase serve --run DEPLOYMENT`.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter)
        if given[:1] == [name]:
            importlib.import_module(f"tasks.cli.{name.replace('-', '_')}").add_arguments(command)
    options = parser.parse_args(given)
    try:
        return _run(options)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `trasvase status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(options: argparse.Namespace) -> int:
    from tasks.storage.errors import ForeignTable, PermanentError, TornFile, TransientError

    try:
        code: int = options.run_command(options)
        sys.stdout.flush()
        return code
    except (TornFile, ForeignTable) as error:
        print(f"trasvase: {error}", file=sys.stderr)
        return 1
    except (PermanentError, TransientError) as error:
        print(f"trasvase: {error}", file=sys.stderr)
        return 2
    except (FileNotFoundError, PermissionError) as error:
        print(f"trasvase: {error.filename} cannot be read: {error.strerror}.", file=sys.stderr)
        return 2
