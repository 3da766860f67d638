"""Write protobuf's text format, as Triton reads it from ``config.pbtxt``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

# A message: field to scalar, message, or a list of either, which is a repeated field.
Message = Mapping[str, "Value"]
Value = str | int | bool | Message | Sequence[int] | Sequence[Message]


class Word(str):
    """A value of an enumeration, which stands without quotes."""

    __slots__ = ()


def write_text(message: Message) -> str:
    """Write a message, one field a line."""
    return "".join(f"{line}\n" for line in _lines(message, ""))


def named(values: Mapping[str, Value]) -> list[Message]:
    """Make a map field, whose entries are messages of a key and a value."""
    return [{"key": key, "value": value} for key, value in values.items()]


def _lines(message: Message, indent: str) -> Iterator[str]:
    for field, value in message.items():
        for one in _repeated(value):
            if isinstance(one, Mapping):
                yield f"{indent}{field} {{"
                yield from _lines(one, indent + "  ")
                yield f"{indent}}}"
            else:
                yield f"{indent}{field}: {_scalar(one)}"


def _repeated(value: Value) -> Sequence[Value]:
    """Return the messages of a repeated field; a list of numbers is one line."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        messages = [one for one in value if isinstance(one, Mapping)]
        return messages if len(messages) == len(value) else [value]
    return [value]


def _scalar(value: Value) -> str:
    if isinstance(value, Word):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[ {', '.join(map(str, value))} ]"
    # JSON's escapes are among protobuf's.
    return json.dumps(value, ensure_ascii=False)
