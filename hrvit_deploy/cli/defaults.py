"""Defaults of a project, from ``hrvit-deploy.toml`` in the folder a command runs in.

A table holds the defaults of one command, by the names of its options::

    [export]
    variant = "b2"
    size = "512x1024"
    with = ["convolve-values"]

What is given on the command line comes first, then environment variables such as
``HRVIT_DEPLOY_EXPORT_VARIANT``, then this file.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from typer.core import TyperGroup

from hrvit_deploy.cli.help import NEVER_DEFAULT, option_of
from hrvit_deploy.errors import InputError

FILE = Path("hrvit-deploy.toml")
# The one option of the program itself that a project may have a default for.
MAX_PIXELS = "max_pixels"
Defaults = dict[str, dict[str, Any]]


def read_defaults(program: TyperGroup, file: Path = FILE) -> Defaults:
    """Read the defaults of a project; none where there is no such file.

    Args:
        program: Knows all commands and their options.
        file: The project's defaults.

    Returns:
        Command name to parameter name to value, as the parser takes them.

    Raises:
        InputError: The file cannot be read, or names a command or option there is not.
    """
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            f"cannot read {file}: {error}", "correct or remove the file"
        ) from error
    defaults: Defaults = {}
    for name, table in tables.items():
        command = program.commands.get(name)
        if command is None or not isinstance(table, dict):
            raise InputError(
                f"{file}: [{name}] is no command", _closest(name, program.commands)
            )
        options = {
            option: param.name
            for param in (*command.params, *(p for p in program.params if p.name == MAX_PIXELS))
            if (option := option_of(param)) and option not in NEVER_DEFAULT
        }
        for option in table:
            if option not in options:
                raise InputError(
                    f"{file}: [{name}] has no option {option!r}", _closest(option, options)
                )
        defaults[name] = {
            str(options[option]): _as_typed(value) for option, value in table.items()
        }
    return defaults


def _as_typed(value: Any) -> Any:
    """Return a value as it would be typed: numbers and words as text, lists of them."""
    if isinstance(value, bool):
        return value
    if isinstance(value, list):
        return [str(item) for item in value]
    return str(value)


def _closest(name: str, names: Iterable[str]) -> str:
    known = list(names)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"
