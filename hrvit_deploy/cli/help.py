"""How ``--help`` shows commands: in groups, with whole summaries and the common options."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption

# Options of the program that every command takes, too.
COMMON = ("max_pixels", "quiet", "verbose")
# As wide as tables are on a terminal that is wide enough.
MOST_WIDTH = 100
# Options that are given where the output is read, and have no default of a project.
NEVER_DEFAULT = ("json", "help", "version")


def option_of(param: Any) -> str:
    """Return the name of an option without its dashes; empty for an argument."""
    names = [name for name in param.opts if name.startswith("--")]
    return names[0].lstrip("-") if names else ""


def environment_variable(command: str, option: str) -> str:
    """Return ``HRVIT_DEPLOY_BUILD_TRT_TIMING_CACHE`` for that option of that command."""
    return f"HRVIT_DEPLOY_{command}_{option}".upper().replace("-", "_")


def at_home(value: Any) -> Any:
    """Return a value with the home directory where a path, or each of several, says ``~``."""
    if isinstance(value, list | tuple):
        return type(value)(map(at_home, value))
    if isinstance(value, Path):
        return Path(at_home(str(value)))
    # As text, so that a user there is not leaves the path as it is.
    return os.path.expanduser(value) if isinstance(value, str) else value  # noqa: PTH111


class GroupedCommands(TyperGroup):
    """The program: its commands stand in groups, in the order of their registration."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each group, with the whole first sentence of each command."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            assert isinstance(command, TyperCommand)
            summary = (command.help or "").partition("\n\n")[0].replace("\n", " ")
            groups.setdefault(command.rich_help_panel or "Commands", []).append((name, summary))
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl(rows)


class Command(TyperCommand):
    """A command: takes the program's common options, and ends its help with an example."""

    def __init__(self, name: str | None, **attributes: Any) -> None:
        """Name an environment variable after each option, such as ``HRVIT_DEPLOY_RUN_SIZE``."""
        super().__init__(name, **attributes)
        for param in self.params:
            option = option_of(param)
            if option and option not in NEVER_DEFAULT:
                param.envvar = environment_variable(name or "", option)
            if isinstance(param, TyperOption):
                # One line of the program's help says how they are called.
                param.show_envvar = False

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the command's own options and the common ones of the program."""
        params = super().get_params(ctx)
        program = None if ctx.parent is None else ctx.parent.command
        common = [] if program is None else [p for p in program.params if p.name in COMMON]
        # The last one is --help.
        return [*params[:-1], *common, *params[-1:]]

    def invoke(self, ctx: Any) -> Any:
        """Run the command, with the home directory in place of ``~`` before its paths.

        A shell replaces it at the beginning of a word alone, and so neither in ``--out=~/x``
        nor in a variable or a file of defaults.
        """
        ctx.params = {name: at_home(value) for name, value in ctx.params.items()}
        return super().invoke(ctx)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Write the example, whose lines stay whole, to be copied."""
        if not self.epilog:
            return
        formatter.write_paragraph()
        formatter.write("Example:\n\n")
        formatter.write(textwrap.indent(self.epilog, "  ") + "\n")
