"""The forms of the network that are timed."""

from __future__ import annotations

from enum import StrEnum


class Form(StrEnum):
    """The network as trained, its graph as PyTorch writes it, or a deploy form's.

    ``ours`` is the one graph that suits every runtime, ``ours fitted`` is laid out for the
    runtime that it runs in.
    """

    TRAINED = "trained"
    PLAIN = "plain"
    OURS = "ours"
    FITTED = "ours fitted"
