"""Train HRViT to segment digit scenes, on a CPU or a GPU.

Usage: python examples/digit_scenes/train.py CHECKPOINT.safetensors [--variant b1]
           [--steps 1500] [--batch 16] [--device cpu|cuda]

The first steps see crops of 96 x 96, which cost a seventh; the others see whole scenes.
Stopped at any time, the same command goes on where it was: the state lies in
CHECKPOINT.state.pt until the training is done. --start begins with the weights of another
training, its state or its safetensors, and the card tells of both. The weights are written
in float16 with the names of the classes, and a card beside them (CHECKPOINT.json) says how
they were made and what they reach on scenes that were held out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from scenes import CLASSES, PLAIN, Scene, Split, make_scene, scenes
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from hrvit_deploy import load_variant
from hrvit_deploy.measure.accuracy.confusion import ConfusionMatrix
from hrvit_deploy.model.network import Network, build_network
from hrvit_deploy.options import IMAGENET_MEAN, IMAGENET_STD, ImageSize, Task, parse_size

SAVE_EVERY_S = 60


@dataclass(frozen=True)
class Schedule:
    """Everything that decides the weights besides the scenes.

    Attributes:
        variant: Name or file.
        steps: Updates in all.
        batch: Crops per update.
        last_batch: Whole scenes per update.
        crop: Size of the scenes at first.
        size: Size of the scenes at last.
        share: Of the steps that take crops.
        rate: AdamW's highest learning rate, after the warm-up; it falls as a cosine.
        warm_up: Share of the steps in which the rate rises.
        decay: Of weights; not of biases and norms.
        level: Of the scenes, from scenes.py.
        seed: Of weights and scenes.
    """

    variant: str = "b1"
    steps: int = 1500
    batch: int = 16
    last_batch: int = 4
    crop: str = "96x96"
    size: str = "256x256"
    share: float = 0.5
    rate: float = 1e-3
    warm_up: float = 0.04
    decay: float = 0.02
    level: str = PLAIN
    seed: int = 0

    @property
    def crops(self) -> int:
        """How many steps see crops."""
        return round(self.share * self.steps)

    def scenes_of(self, step: int) -> range:
        """Numbers of the scenes of a step; no two steps share one."""
        first = step * self.batch
        return range(first, first + (self.batch if step < self.crops else self.last_batch))

    def size_at(self, step: int) -> ImageSize:
        """Of the scenes of a step, in pixels."""
        return parse_size(self.crop if step < self.crops else self.size)

    def rate_at(self, step: int) -> float:
        """As a share of the highest."""
        rise = self.warm_up * self.steps
        if step < rise:
            return (step + 1) / rise
        left = (self.steps - step) / (self.steps - rise)
        return float(0.5 - 0.5 * np.cos(np.pi * left))


class Batches(Dataset[tuple[Tensor, Tensor]]):
    """The steps of a schedule that are left: normalised images and labels."""

    def __init__(self, first: int, schedule: Schedule) -> None:
        self.first, self.schedule = first, schedule

    def __len__(self) -> int:
        return self.schedule.steps - self.first

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        step, seed = self.first + index, self.schedule.seed
        size = self.schedule.size_at(step)
        made = [
            make_scene(number, Split.TRAINING, size, seed=seed, level=self.schedule.level)
            for number in self.schedule.scenes_of(step)
        ]
        labels = np.stack([scene.labels for scene in made]).astype(np.int64)
        return torch.stack([normalise(scene) for scene in made]), torch.from_numpy(labels)


def normalise(scene: Scene) -> Tensor:
    """``3 x H x W`` float32 as ImageNet's networks take it."""
    mean, std = (np.asarray(v, np.float32) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return torch.from_numpy(((scene.pixels - mean) / std).transpose(2, 0, 1).copy())


class Training:
    """A network on its way, and all that is needed to go on with it."""

    def __init__(self, schedule: Schedule, device: str) -> None:
        torch.manual_seed(schedule.seed)
        self.schedule, self.device = schedule, device
        variant = load_variant(schedule.variant)
        network = build_network(variant, Task.SEGMENT, len(CLASSES)).train()
        # Convolutions take channels last by a seventh faster on a CPU.
        self.network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        groups: list[dict[str, Any]] = [
            {"params": decayed},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups,
            lr=schedule.rate,
            weight_decay=schedule.decay,
            # A fifth of a small network's step goes to its many small parameters otherwise.
            fused=True,
        )
        self.step = 0
        self.start: dict[str, Any] | None = None

    def update(self, images: Tensor, labels: Tensor) -> float:
        """One step of AdamW; returns the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate * self.schedule.rate_at(self.step)
        images = images.to(self.device, memory_format=torch.channels_last)
        labels = labels.to(self.device)
        # On CPUs the gradient of depthwise convolutions is slower in bfloat16.
        with torch.autocast(self.device, torch.bfloat16, enabled=self.device != "cpu"):
            scores = self.network(images)
        loss = loss_of(scores.float(), labels)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return loss.item()

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all."""
        state = {
            "schedule": asdict(self.schedule),
            "step": self.step,
            "start": self.start,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        staged = path.with_suffix(".part")
        torch.save(state, staged)
        staged.replace(path)

    def start_from(self, path: Path) -> None:
        """Take the weights of another training, and remember its schedule.

        Args:
            path: A state, or the safetensors of a finished training with its card beside it.
        """
        if path.suffix == ".safetensors":
            weights = load_file(path)
            card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            state = {**card, "step": card["schedule"]["steps"]}
        else:
            state = torch.load(path, weights_only=True, map_location=self.device)
            weights = state["network"]
        # Copied into the network's own float32.
        self.network.load_state_dict(weights)
        self.start = {key: state.get(key) for key in ("schedule", "step", "start")}

    def resume(self, path: Path) -> None:
        """Go on from a state of the same schedule."""
        state = torch.load(path, weights_only=True, map_location=self.device)
        if state["schedule"] != asdict(self.schedule):
            raise SystemExit(f"{path} is of another schedule: remove it, or take its options")
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.start = state["step"], state["start"]


def loss_of(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the pixels plus the mean soft Dice loss of the classes seen.

    The first treats pixels alike, so the background outweighs every digit; the second
    treats classes alike, as mIoU does (Milletari et al., V-Net, 2016).

    Args:
        scores: ``B x K x H x W``.
        labels: ``B x H x W`` int64.
    """
    truth = F.one_hot(labels, scores.shape[1]).movedim(-1, 1).to(scores.dtype)
    shares = scores.softmax(dim=1)
    both, either = ((shares * truth).sum((0, 2, 3)), (shares + truth).sum((0, 2, 3)))
    seen = truth.sum((0, 2, 3)) > 0
    dice = 1 - 2 * both[seen] / either[seen]
    return F.cross_entropy(scores, labels) + dice.mean()


def train(training: Training, state: Path, workers: int) -> float:
    """Take the steps that are left, with a bar; returns the seconds they took."""
    columns = (
        TextColumn("{task.description}"),
        *Progress.get_default_columns()[1:2],
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    began = saved = time.monotonic()
    with Progress(*columns) as bar:
        task = bar.add_task("loss", total=training.schedule.steps, completed=training.step)
        mean = float("nan")
        left = Batches(training.step, training.schedule)
        # A batch is a step's own, so the loader makes none of them.
        for images, labels in DataLoader(left, batch_size=None, num_workers=workers):
            loss = training.update(images, labels)
            mean = loss if np.isnan(mean) else 0.98 * mean + 0.02 * loss
            bar.update(task, completed=training.step, description=f"loss {mean:.3f}")
            if training.step % 50 == 0 and not bar.console.is_terminal:
                bar.console.print(f"step {training.step}: loss {mean:.4f}")
            if time.monotonic() - saved > SAVE_EVERY_S:
                training.save(state)
                saved = time.monotonic()
    return time.monotonic() - began


def judge(network: Network, count: int, size: ImageSize) -> ConfusionMatrix:
    """The network on so many held-out scenes."""
    matrix = ConfusionMatrix(len(CLASSES))
    for scene in scenes(count, Split.VALIDATION, size):
        with torch.inference_mode():
            scores = network(normalise(scene)[None])
        matrix.add(scene.labels, scores[0].argmax(dim=0).numpy())
    return matrix


def main() -> None:
    """Train, write the weights and the card."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    for name, default in asdict(Schedule()).items():
        option = "--" + name.replace("_", "-")
        parser.add_argument(option, type=type(default), default=default)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument(
        "--start", type=Path, help="state or safetensors of another training to begin from"
    )
    given = vars(parser.parse_args())
    path, device, workers = (given.pop(name) for name in ("checkpoint", "device", "workers"))
    held_out, start = given.pop("held_out"), given.pop("start")
    schedule = Schedule(**given)
    training = Training(schedule, device)
    state = path.with_suffix(".state.pt")
    if start is not None and not state.exists():
        training.start_from(start)
    if state.exists():
        training.resume(state)
        print(f"going on from step {training.step}")
    seconds = train(training, state, workers)
    training.save(state)

    # Judged as they are stored: in float16.
    stored = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).cpu().contiguous()
        for name, tensor in training.network.state_dict().items()
    }
    network = build_network(load_variant(schedule.variant), Task.SEGMENT, len(CLASSES))
    network.load_state_dict(stored)
    matrix = judge(network, held_out, parse_size(schedule.size))
    classes = json.dumps(CLASSES)
    save_file(stored, path, {"classes": classes, "task": "segment"})
    card = {
        "data": "digit scenes: scenes.py beside this card",
        "schedule": asdict(schedule),
        "start": training.start,
        "miou": round(matrix.miou, 4),
        "pixel_accuracy": round(matrix.accuracy, 4),
        "iou": dict(zip(CLASSES, matrix.iou.round(4).tolist(), strict=True)),
        "held_out_scenes": held_out,
        "seconds_since_resumed": round(seconds),
        "device": device,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    path.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    state.unlink()
    print(f"{path}: mIoU {matrix.miou:.3f} on {held_out} scenes that were held out")


if __name__ == "__main__":
    main()
