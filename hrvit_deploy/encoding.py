"""JSON of whatever is written or printed, names of files included that are no text."""

from __future__ import annotations

from typing import Any

import msgspec


def encode_json(value: Any) -> bytes:
    """Encode a value as JSON; what JSON does not know becomes text.

    Names of files need not be UTF-8. Bytes that are not are escaped.
    """
    try:
        return msgspec.json.encode(value, enc_hook=str)
    except UnicodeEncodeError:
        return msgspec.json.encode(_escaped(msgspec.to_builtins(value, enc_hook=str)))


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_escaped(key): _escaped(each) for key, each in value.items()}
    return [_escaped(each) for each in value] if isinstance(value, list | tuple) else value
