"""The command line: parse, call one function, print."""

from __future__ import annotations

import sys

import typer

from hrvit_deploy.cli.console import print_error
from hrvit_deploy.errors import HrvitDeployError, UsageError

# Typer carries its own copy of click since 0.20, and re-exports only this much of it.
_ParserError = typer.BadParameter.__mro__[1]
INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit with its code.

    0 is success; 1 a failed gate or refused input; 2 bad usage; 130 an interrupt. Every
    error is one line, or with ``--json`` one object.
    """
    # Imported here so that errors of the commands' own imports are caught too.
    from hrvit_deploy.cli.commands import app

    as_json = "--json" in sys.argv
    try:
        code = app(standalone_mode=False)
    except HrvitDeployError as error:
        print_error(error, as_json=as_json)
        code = error.exit_code
    except _ParserError as error:
        message = getattr(error, "format_message", error.__str__)()
        hint = "see hrvit-deploy COMMAND --help"
        print_error(UsageError(message.rstrip("."), hint), as_json=as_json)
        code = UsageError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        error = HrvitDeployError("interrupted", "nothing was left half-written")
        print_error(error, as_json=as_json)
        code = INTERRUPTED
    except BrokenPipeError:
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
