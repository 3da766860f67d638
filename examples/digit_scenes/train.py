"""Train HRViT to segment digit scenes, on a CPU or a GPU.

Usage: python examples/digit_scenes/train.py CHECKPOINT.safetensors [--variant b1]
           [--steps 2000] [--batch 16] [--device cpu|cuda]

Most steps see crops of 96 x 96, which cost a seventh; the last ones see whole scenes.
Stopped at any time, the same command goes on where it was: the state lies in
CHECKPOINT.state.pt until the training is done. The weights are written in float16 with
the names of the classes, and a card beside them (CHECKPOINT.json) says how they were
made and what they reach on scenes that were held out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save_file
from scenes import CLASSES, Scene, Split, make_scene, scenes
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from hrvit_deploy import load_variant
from hrvit_deploy.measure.confusion import ConfusionMatrix
from hrvit_deploy.model.network import Network, build_network
from hrvit_deploy.options import IMAGENET_MEAN, IMAGENET_STD, ImageSize, Task, parse_size

SAVE_EVERY_S = 60


@dataclass(frozen=True)
class Schedule:
    """Everything that decides the weights besides the scenes.

    Attributes:
        variant: Name or file.
        steps: Updates in all.
        batch: Scenes per update.
        crop: Size of the scenes at first.
        size: Size of the scenes at last.
        share: Of the steps that take crops.
        rate: AdamW's highest learning rate, after the warm-up; it falls as a cosine.
        warm_up: Share of the steps in which the rate rises.
        decay: Of weights; not of biases and norms.
        average: Decay of the exponential moving average that is kept.
        seed: Of weights and scenes.
    """

    variant: str = "b1"
    steps: int = 2000
    batch: int = 16
    crop: str = "96x96"
    size: str = "256x256"
    share: float = 0.92
    rate: float = 1e-3
    warm_up: float = 0.04
    decay: float = 0.02
    average: float = 0.998
    seed: int = 0

    def size_at(self, step: int) -> ImageSize:
        """Of the scenes of a step, in pixels."""
        return parse_size(self.crop if step < self.share * self.steps else self.size)

    def rate_at(self, step: int) -> float:
        """As a share of the highest."""
        rise = self.warm_up * self.steps
        if step < rise:
            return (step + 1) / rise
        left = (self.steps - step) / (self.steps - rise)
        return float(0.5 - 0.5 * np.cos(np.pi * left))


class Scenes(Dataset[tuple[Tensor, Tensor]]):
    """Training scenes from a number on: normalised images and labels."""

    def __init__(self, first: int, last: int, schedule: Schedule) -> None:
        self.first, self.last, self.schedule = first, last, schedule

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        number = self.first + index
        size = self.schedule.size_at(number // self.schedule.batch)
        scene = make_scene(number, Split.TRAINING, size, seed=self.schedule.seed)
        return normalise(scene), torch.from_numpy(scene.labels.astype(np.int64))


def normalise(scene: Scene) -> Tensor:
    """``3 x H x W`` float32 as ImageNet's networks take it."""
    mean, std = np.float32(IMAGENET_MEAN), np.float32(IMAGENET_STD)
    return torch.from_numpy(((scene.pixels - mean) / std).transpose(2, 0, 1).copy())


class Training:
    """A network on its way, and all that is needed to go on with it."""

    def __init__(self, schedule: Schedule, device: str) -> None:
        torch.manual_seed(schedule.seed)
        self.schedule, self.device = schedule, device
        variant = load_variant(schedule.variant)
        self.network = build_network(variant, Task.SEGMENT, len(CLASSES)).to(device).train()
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed}, {"params": others, "weight_decay": 0.0}],
            lr=schedule.rate,
            weight_decay=schedule.decay,
        )
        self.average = AveragedModel(
            self.network,
            multi_avg_fn=get_ema_multi_avg_fn(schedule.average),
            use_buffers=True,
        )
        self.step = 0

    def update(self, images: Tensor, labels: Tensor) -> float:
        """One step of AdamW on the mean cross-entropy of the pixels; returns the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate * self.schedule.rate_at(self.step)
        images, labels = images.to(self.device), labels.to(self.device)
        # On CPUs the gradient of depthwise convolutions is slower in bfloat16.
        with torch.autocast(self.device, torch.bfloat16, enabled=self.device != "cpu"):
            scores = self.network(images)
        loss = F.cross_entropy(scores.float(), labels)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        self.step += 1
        return loss.item()

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all."""
        state = {
            "schedule": asdict(self.schedule),
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        staged = path.with_suffix(".part")
        torch.save(state, staged)
        staged.replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a state of the same schedule."""
        state = torch.load(path, weights_only=True, map_location=self.device)
        if state["schedule"] != asdict(self.schedule):
            raise SystemExit(f"{path} is of another schedule: remove it, or take its options")
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


def batches(training: Training, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """What is left of the schedule, in order."""
    schedule = training.schedule
    first, last = (step * schedule.batch for step in (training.step, schedule.steps))
    return iter(DataLoader(Scenes(first, last, schedule), schedule.batch, num_workers=workers))


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
        for images, labels in batches(training, workers):
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
    given = vars(parser.parse_args())
    path, device, workers = (given.pop(name) for name in ("checkpoint", "device", "workers"))
    held_out = given.pop("held_out")
    schedule = Schedule(**given)
    training = Training(schedule, device)
    state = path.with_suffix(".state.pt")
    if state.exists():
        training.resume(state)
        print(f"going on from step {training.step}")
    seconds = train(training, state, workers)
    training.save(state)

    # Judged as they are stored: in float16.
    stored = {
        name: tensor.cpu().half() if tensor.is_floating_point() else tensor.cpu()
        for name, tensor in training.average.module.state_dict().items()
    }
    network = build_network(load_variant(schedule.variant), Task.SEGMENT, len(CLASSES))
    network.load_state_dict(stored)
    matrix = judge(network, held_out, parse_size(schedule.size))
    classes = json.dumps(CLASSES)
    save_file(stored, path, {"classes": classes, "task": "segment"})
    card = {
        "data": "digit scenes: scenes.py beside this card",
        "schedule": asdict(schedule),
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
