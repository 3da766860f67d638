"""Docstrings that are shown to people, also where Python was told to drop them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from typing import Any


def docstring_of(function: Callable[..., Any]) -> str:
    """Return a function's docstring; ``python -OO`` keeps none, and it is read from the source.

    Returns:
        Without indentation; empty where there is none, and no source either.
    """
    if function.__doc__:
        return inspect.cleandoc(function.__doc__)
    try:
        tree = ast.parse(inspect.getsource(inspect.getmodule(function) or function))
    except (OSError, TypeError, SyntaxError):
        return ""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == function.__name__:
            return ast.get_docstring(node) or ""
    return ""
