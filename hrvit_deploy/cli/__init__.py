"""The command line: parse, call one function, print."""

from __future__ import annotations

import io
import os
import sys
import traceback
import warnings
from typing import Any

import typer
from typer.core import TyperGroup

from hrvit_deploy.cli import console
from hrvit_deploy.cli.console import print_error
from hrvit_deploy.cli.defaults import FILE, read_defaults
from hrvit_deploy.errors import HrvitDeployError, UsageError

# Typer may carry a click of its own, and shows only some of its errors: this is the
# class above them all.
_ParserError: Any = typer.BadParameter.__mro__[2]
INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit with its code.

    0 is success; 1 a failed gate or refused input; 2 bad usage; 130 an interrupt. Every
    error is one line, or with ``--json`` one object.
    """
    # Imported here so that errors of the commands' own imports are caught too.
    from hrvit_deploy.cli.app import app

    _show_all_text()
    as_json = "--json" in sys.argv
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    console.verbosity = console.Verbosity.USUAL
    try:
        program = typer.main.get_command(app)
        assert isinstance(program, TyperGroup)
        code = program(standalone_mode=False, default_map=read_defaults(program))
    except BrokenPipeError:
        code = 1
    except (HrvitDeployError, OSError, UnicodeEncodeError) as error:
        if console.verbosity is console.Verbosity.VERBOSE:
            traceback.print_exc()
        ours = _as_ours(error)
        print_error(ours, as_json=as_json)
        code = ours.exit_code
    except _ParserError as error:
        where = "see hrvit-deploy --help" + (f", and {FILE}" if FILE.exists() else "")
        usage = UsageError(error.format_message().rstrip("."), where)
        print_error(usage, as_json=as_json)
        code = usage.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:  # Typer's own answer to Ctrl-C too, which says nothing
        stopped = HrvitDeployError("interrupted", "nothing was left half-written")
        print_error(stopped, as_json=as_json)
    sys.exit(code if isinstance(code, int) else 0)


def _show_all_text() -> None:
    """Escape what a stream cannot show: names of files need not be text at all."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Pillow comments on odd files, with paths of its own source.
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _as_ours(error: HrvitDeployError | OSError | UnicodeEncodeError) -> HrvitDeployError:
    """Return what the system or a runtime refused as an error of one line, too."""
    if isinstance(error, HrvitDeployError):
        return error
    if isinstance(error, UnicodeEncodeError):
        near = error.object[max(0, error.start - 60) : error.end + 20]
        what = f"a name holds bytes that are not UTF-8: {near}"
        return HrvitDeployError(what, "rename the file or folder")
    where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
    return HrvitDeployError(
        f"{where}{error.strerror or error}",
        "check the path, its permissions, and the room on the disk; --verbose shows where"
        " in the code it arose",
    )
