"""Write a Markdown page for each command of the program, from what Typer knows of it.

Nothing here names a command or an option: a page holds what ``hrvit-deploy COMMAND --help``
prints, with an anchor for each option.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

PROGRAM = "hrvit-deploy"
# Options of a command, and commands, that name no panel.
NO_PANEL = ""
_MARKUP = re.compile(r"([\\`*_{}\[\]|#])")
_EXTRAS = re.compile(r"\s+\[(?P<extras>[^\[\]]*)\]$")


@dataclass(frozen=True)
class Parameter:
    """An option or an argument.

    Attributes:
        anchor: Where its page is entered, such as ``size`` for ``--size``.
        panel: The group that it is shown in; empty for none.
        declared: Its names and what it takes, such as ``--size <str>``.
        help: What it does.
        extras: Default and limits, such as ``default: 1``; empty for none.
        required: Whether the command needs it.
    """

    anchor: str
    panel: str
    declared: str
    help: str
    extras: str
    required: bool


@dataclass(frozen=True)
class Command:
    """What the program says of one of its commands.

    Attributes:
        name: As it is typed.
        panel: The group that it is listed in; empty for none.
        usage: The line that shows how it is called.
        help: What it does, in paragraphs.
        arguments: What follows the options, in order.
        options: In the order of ``--help``.
    """

    name: str
    panel: str
    usage: str
    help: str
    arguments: tuple[Parameter, ...]
    options: tuple[Parameter, ...]

    @property
    def summary(self) -> str:
        """The first paragraph of its help on one line."""
        return " ".join(self.help.partition("\n\n")[0].split())


def read_commands() -> tuple[Command, ...]:
    """Return every command that is not hidden, in the order of ``--help``."""
    program, context = _program()
    return tuple(
        _command(name, command, command.context_class(command, info_name=name, parent=context))
        for name, command in program.commands.items()
        if not getattr(command, "hidden", False)
    )


def read_program() -> Command:
    """Return what is said of the program itself, which has options too."""
    program, context = _program()
    return _command(PROGRAM, program, context)


def by_panel(commands: tuple[Command, ...]) -> dict[str, list[Command]]:
    """Return the commands of each panel, panels in the order they are first named in."""
    panels: dict[str, list[Command]] = {}
    for command in commands:
        panels.setdefault(command.panel, []).append(command)
    return panels


def command_page(command: Command) -> str:
    """Return a command's page as Markdown."""
    parts = [f"# {command.name}", escaped(command.help)]
    parts.append(f"```text\n{command.usage}\n```")
    if command.arguments:
        parts += ["## Arguments", *_definitions(command.arguments)]
    for panel, options in _panels(command.options).items():
        parts += [f"## {panel}", *_definitions(options)]
    return "\n\n".join(parts) + "\n"


def table_of_commands(commands: tuple[Command, ...], *, linked: bool) -> str:
    """Return a Markdown table of the commands, a group at a time.

    Args:
        commands: In the order of the table.
        linked: Whether each name leads to a page of that name beside the table's.
    """
    panels = by_panel(commands)
    grouped = set(panels) != {NO_PANEL}
    lines = ["| | command | what it does |", "|---|---|---|"]
    if not grouped:
        lines = ["| command | what it does |", "|---|---|"]
    for panel, members in panels.items():
        for place, command in enumerate(members):
            name = f"`{command.name}`"
            cells = [f"[{name}]({command.name}.md)" if linked else name]
            cells.append(escaped(command.summary))
            if grouped:
                cells.insert(0, "" if place else panel)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Return plain text as Markdown that shows it as it is."""
    return _MARKUP.sub(r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;"))


def options_of(command: Command) -> set[str]:
    """Return the names of its options as they are typed."""
    return {
        name
        for option in command.options
        for name in re.findall(r"(?<!\S)--?[\w-]+", option.declared.replace("/", " "))
    }


def _program() -> tuple[Any, Any]:
    from typer.main import get_command

    from hrvit_deploy.cli.app import app

    program: Any = get_command(app)
    return program, program.context_class(program, info_name=PROGRAM)


def _command(name: str, command: Any, context: Any) -> Command:
    parameters = list(_parameters(command, context))
    return Command(
        name=name,
        panel=_panel_of(command),
        usage=" ".join(command.get_usage(context).removeprefix("Usage: ").split()),
        help=(command.help or "").strip(),
        arguments=tuple(held for kind, held in parameters if kind == "argument"),
        options=tuple(held for kind, held in parameters if kind == "option"),
    )


def _parameters(command: Any, context: Any) -> Iterator[tuple[str, Parameter]]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None:
            continue
        declared, text = record
        text = " ".join(text.split())
        extras = _EXTRAS.search(text)
        said = extras["extras"] if extras else ""
        yield (
            parameter.param_type_name,
            Parameter(
                anchor=_anchor(parameter),
                panel=_panel_of(parameter),
                declared=declared,
                help=_EXTRAS.sub("", text),
                extras="; ".join(part for part in said.split("; ") if part != "required"),
                required=bool(parameter.required),
            ),
        )


def _panel_of(thing: Any) -> str:
    """Return the panel of a command or a parameter; Typer marks those without by an object."""
    panel = getattr(thing, "rich_help_panel", None)
    return panel if isinstance(panel, str) else NO_PANEL


def _anchor(parameter: Any) -> str:
    """Return the longest name without its dashes: ``help`` for ``-h, --help``."""
    return str(max(parameter.opts, key=len)).lstrip("-")


def _panels(options: tuple[Parameter, ...]) -> dict[str, list[Parameter]]:
    """Return options by the title of their panel; those without come first, as Options."""
    panels: dict[str, list[Parameter]] = {}
    for option in sorted(options, key=lambda option: option.panel != NO_PANEL):
        panels.setdefault(option.panel or "Options", []).append(option)
    return panels


def _definitions(parameters: tuple[Parameter, ...] | list[Parameter]) -> Iterator[str]:
    """Yield a definition for each, which holds where a table would be too wide."""
    for parameter in parameters:
        term = f"[`{parameter.declared}`](#{parameter.anchor}){{ #{parameter.anchor} }}"
        notes = ["required"] if parameter.required else []
        notes += [parameter.extras] if parameter.extras else []
        note = f" *({escaped('; '.join(notes))})*" if notes else ""
        yield f"{term}\n:   {escaped(parameter.help) or '&nbsp;'}{note}"
