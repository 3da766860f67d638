"""Where in a checkpoint the weights are: the mapping of tensors that is an HRViT's."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrvit_deploy.errors import CheckpointError
from hrvit_deploy.model.inert_pickle import Inert
from hrvit_deploy.model.shown import first, printable
from hrvit_deploy.model.stored_tensor import is_stored, settle
from hrvit_deploy.model.weight_names import ANCHOR, Names, networks_in

# Where trainers put the weights, the likeliest first.
USUAL = ("state_dict", "model", "model_state_dict", "net", "network", "params", "weights")
# An average of the weights is the better network, so first.
AVERAGED = frozenset(("ema", "averaged", "average", "swa"))
# Moments of every parameter have the names of the parameters in some optimizers.
TRAINING = re.compile(r"optim|(lr_)?sched|(grad_|loss_)?scaler|amp", re.IGNORECASE)
DEEPEST = 4
MOST_NODES = 20_000
SEPARATOR = "/"
PARTS = (frozenset(("backbone", "decode_head")), frozenset(("backbone", "head")))
# What a bare state dict is called, where it is one of several.
BARE = "bare"
ENTRY_OPTION = "--checkpoint-entry"


@dataclass(frozen=True)
class Entry:
    """An HRViT in a checkpoint.

    Attributes:
        name: The keys that lead to it, with slashes between; empty for a bare state dict.
        values: Name in the file to what holds the numbers.
        names: Which of them are the network's.
    """

    name: str
    values: Mapping[str, Any]
    names: Names

    @property
    def averaged(self) -> bool:
        """Whether its name says that it is an average over the training."""
        return bool(AVERAGED & set(re.split(r"[^a-z]+", self.name.lower())))


@dataclass(frozen=True)
class Choice:
    """The entry that was taken, and those that were not."""

    entry: Entry
    others: tuple[str, ...]
    reason: str = ""

    @property
    def note(self) -> str:
        """What to say of the choice; empty where there was none."""
        if not self.others:
            return ""
        name = printable(self.entry.name or BARE)
        return (
            f"takes the weights under {name}{self.reason}; {ENTRY_OPTION} takes others:"
            f" {first(self.others, 8)}"
        )


def find_entries(loaded: Any) -> list[Entry]:
    """Find every HRViT in what a checkpoint holds."""
    return [
        Entry(SEPARATOR.join(filter(None, (name, _label(names, networks)))), values, names)
        for name, values in states_in(loaded)
        for networks in [networks_in(values)]
        for names in networks
    ]


def _label(names: Names, networks: list[Names]) -> str:
    return names.label if len(networks) > 1 else ""


def states_in(loaded: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every mapping of names to tensors, with the keys that lead to it."""
    waiting: deque[tuple[tuple[str, ...], Any]] = deque([((), loaded)])
    # What holds itself ends at the greatest depth.
    for _ in range(MOST_NODES):
        if not waiting:
            return
        keys, value = waiting.popleft()
        flat = module_state(value)
        if flat is not None:
            if flat:
                yield SEPARATOR.join(keys), flat
            continue
        children = _children(value)
        state = {
            name: settle(item)
            for name, item in children.items()
            if isinstance(name, str) and _is_weight(item)
        }
        if state:
            yield SEPARATOR.join(keys), state
        if len(keys) < DEEPEST:
            nested = {
                str(name): item
                for name, item in children.items()
                if isinstance(item, dict | Inert) and not TRAINING.match(str(name))
            }
            for parts in PARTS:
                if parts <= nested.keys():
                    yield SEPARATOR.join(keys), _joined({p: nested.pop(p) for p in parts})
            waiting.extend(((*keys, name), item) for name, item in nested.items())


def _children(value: Any) -> dict[Any, Any]:
    if isinstance(value, Inert):
        return {**value.state, **value.entries}
    return value if isinstance(value, dict) else {}


def _is_weight(item: Any) -> bool:
    """Return whether it holds numbers, or stands for a tensor of a kind that is not read."""
    return is_stored(settle(item)) or (isinstance(item, Inert) and "_rebuild_" in item.of)


def _joined(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Join the state dicts of a network's parts, saved one by one."""
    return {
        f"{part}.{name}": settle(item)
        for part, held in parts.items()
        for name, item in (module_state(held) or _children(held)).items()
        if isinstance(name, str) and _is_weight(item)
    }


def module_state(value: Any) -> dict[str, Any] | None:
    """Return the state dict of a network that was pickled whole; None for anything else."""
    if not isinstance(value, Inert) or not isinstance(value.state.get("_modules"), dict):
        return None
    state: dict[str, Any] = {}
    waiting: list[tuple[str, Any]] = [("", value)]
    seen: set[int] = set()
    while waiting and len(seen) < MOST_NODES:
        prefix, module = waiting.pop()
        if not isinstance(module, Inert) or id(module) in seen:
            continue
        seen.add(id(module))
        for kind in ("_parameters", "_buffers"):
            tensors = module.state.get(kind)
            if isinstance(tensors, dict):
                state |= {
                    f"{prefix}{name}": settle(item)
                    for name, item in tensors.items()
                    if _is_weight(item)
                }
        inner = module.state.get("_modules")
        if isinstance(inner, dict):
            waiting += [(f"{prefix}{name}.", item) for name, item in inner.items()]
    return state


def choose_entry(loaded: Any, path: Path, asked: str | None = None) -> Choice:
    """Choose the weights to take.

    Args:
        loaded: What the checkpoint holds.
        path: Named in errors.
        asked: The name of an entry; None to choose the only or the likeliest one.

    Raises:
        CheckpointError: There is no HRViT, none of that name, or several of which none is
            the likeliest.
    """
    entries = find_entries(loaded)
    if not entries:
        raise _none(loaded, path)
    names = [entry.name or BARE for entry in entries]
    if asked is not None:
        for entry in entries:
            if asked in (entry.name, entry.name or BARE):
                return Choice(entry, ())
        raise CheckpointError(
            f"{path} holds no weights under {printable(asked)!r}", f"it has {first(names, 8)}"
        )
    chosen, reason = _likeliest(entries, loaded)
    if chosen is None:
        raise CheckpointError(
            f"{path} holds {len(entries)} networks: {first(names, 8)}",
            f"say which with {ENTRY_OPTION} NAME",
        )
    others = tuple(name for name in names if name != (chosen.name or BARE))
    return Choice(chosen, others, reason)


def _likeliest(entries: list[Entry], loaded: Any) -> tuple[Entry | None, str]:
    by_name = {entry.name: entry for entry in entries}
    if "ema_state_dict" in by_name and "state_dict" in by_name and _by_mmengine(loaded):
        # Its EMAHook puts the average under state_dict and the last weights under the other.
        return by_name["state_dict"], " (mmengine keeps the average there)"
    averaged = [entry for entry in entries if entry.averaged]
    if averaged:
        return _usual(averaged), " (an average over the training)"
    return _usual(entries), ""


def _usual(entries: list[Entry]) -> Entry | None:
    if len(entries) == 1:
        return entries[0]
    for usual in (*(f"{name}_ema" for name in USUAL), *USUAL):
        for entry in entries:
            if entry.name == usual:
                return entry
    return None


def _by_mmengine(loaded: Any) -> bool:
    if not isinstance(loaded, dict):
        return False
    meta = loaded.get("meta")
    return "message_hub" in loaded or (isinstance(meta, dict) and "mmengine_version" in meta)


def _none(loaded: Any, path: Path) -> CheckpointError:
    """Describe a checkpoint without an HRViT by what is in it."""
    states = sorted(states_in(loaded), key=lambda state: -len(state[1]))
    if not states:
        held = sorted(map(str, loaded)) if isinstance(loaded, dict) else []
        entries = f"; its entries are {first(held, 8)}" if held else ""
        return CheckpointError(
            f"{path} holds no weights",
            f"save a state dict, bare or under {USUAL[0]!r}{entries}",
        )
    told = [
        f"{printable(name or BARE)} ({len(values):,} tensors, as {printable(min(values))})"
        for name, values in states
    ]
    hint = "give the checkpoint of an HRViT"
    if any("_flat_param" in name or name == "flat_param" for _, v in states for name in v):
        hint = "FSDP saved flattened parameters: save its full state dict"
    return CheckpointError(
        f"{path} holds no HRViT: no entry has {ANCHOR}; there is {first(told)}", hint
    )
