"""One training loop for supervised networks, its schedules, and its evaluation.

What a method changes is the loss or the augmentation, so a method is compared with its baseline by
handing :func:`fit` another function and nothing else.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from labkit.seeding import generator

__all__ = ["Fit", "accuracy", "constant", "cosine", "cross_entropy", "fit", "predict"]

ADAMW = partial(torch.optim.AdamW, fused=True)  # the fused one takes half the time of small steps


class Fit(NamedTuple):
    """What training gives: the trained model, or its moving average, and the loss of each step."""

    model: nn.Module
    losses: Tensor


def constant(progress: float, *, warmup: float = 0.05) -> float:
    """Learning-rate factor: linear from 0 to 1 over the first ``warmup`` of training, then 1.

    progress: share of the steps that are done, in [0, 1].

    >>> constant(0.025), constant(0.5)
    (0.5, 1.0)
    """
    return min(1.0, progress / warmup) if warmup else 1.0


def cosine(progress: float, *, warmup: float = 0.05) -> float:
    """Learning-rate factor: the warm-up of :func:`constant`, then half a cosine down to 0.

    >>> cosine(0.025), round(cosine(0.525), 3), cosine(1.0)
    (0.5, 0.5, 0.0)
    """
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def cross_entropy(model: nn.Module, images: Tensor, labels: Tensor, *, progress: float, generator) -> Tensor:
    """The plain loss of :func:`fit`: mean cross-entropy of the model's logits, in nats."""
    return F.cross_entropy(model(images), labels)


def fit(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int,
    batch_size: int = 64,
    lr: float = 3e-3,
    weight_decay: float = 0.05,
    optimizer: Callable[..., torch.optim.Optimizer] = ADAMW,
    schedule: Callable[[float], float] = cosine,
    augment: Callable[..., Tensor] | None = None,
    loss: Callable[..., Tensor] = cross_entropy,
    ema: float | None = None,
    seed: int = 0,
) -> Fit:
    """Train on batches drawn without replacement, epoch after epoch.

    model: trained in place, on its own device.  images: float[N, ...].  labels: int64[N] or
    float[N, K].  batch_size: examples per step; all N where N is smaller.
    optimizer: called as ``optimizer(parameters, lr=lr, weight_decay=weight_decay)``; AdamW by default.
    augment: called as ``augment(images, generator=g)`` on each batch.
    loss: called as ``loss(model, images, labels, progress=p, generator=g)``; p is the share of
    steps already done, in [0, 1), so that a loss can change late in training.
    ema: decay of an exponential moving average of the weights, in (0, 1); the average is returned.
    seed: of the order of the batches, the augmentation and the loss.
    Raises ValueError for steps < 1, an empty data set, lengths that differ or ema outside (0, 1);
    FloatingPointError, with the step, where a loss is not finite (looked at every 50 steps).

    >>> from labkit import models
    >>> images, labels = torch.rand(8, 3, 16, 16), torch.arange(8) % 2
    >>> fit(models.cnn(classes=2), images, labels, steps=3).losses.shape
    torch.Size([3])
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if len(images) == 0 or len(images) != len(labels):
        raise ValueError(
            f"images and labels must be as many, and not none: got {len(images)} and {len(labels)}"
        )
    if ema is not None and not 0 < ema < 1:
        raise ValueError(f"ema must lie in (0, 1), got {ema}")

    device = next(model.parameters()).device
    images, labels = images.to(device), labels.to(device)
    draws, order = generator(seed, device), torch.empty(0, dtype=torch.long)
    shuffle = generator(seed)
    batch_size = min(batch_size, len(images))
    stepper = optimizer(model.parameters(), lr=lr, weight_decay=weight_decay)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(ema), use_buffers=True) if ema else None

    losses = []
    model.train()
    for step in range(steps):
        if len(order) < batch_size:
            order = torch.randperm(len(images), generator=shuffle)
        chosen, order = order[:batch_size].to(device), order[batch_size:]
        batch = images[chosen]
        if augment is not None:
            batch = augment(batch, generator=draws)
        value = loss(model, batch, labels[chosen], progress=step / steps, generator=draws)
        for group in stepper.param_groups:
            group["lr"] = lr * schedule((step + 1) / steps)
        stepper.zero_grad(set_to_none=True)
        value.backward()
        stepper.step()
        if average is not None:
            average.update_parameters(model)
        losses.append(value.detach())
        look = step % 50 == 0 or step == steps - 1  # not at every step: on a GPU each look waits for it
        if look and not torch.isfinite(losses[-1]):
            raise FloatingPointError(f"the loss is {losses[-1].item()} at step {step} of {steps}")

    trained = average.module if average is not None else model
    return Fit(trained.eval(), torch.stack(losses))


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, *, batch_size: int = 1024) -> Tensor:
    """Return the logits float[N, K] of a model in evaluation mode, computed in batches.

    images: float[N, ...]. The model's training mode is restored. Raises ValueError for no images.
    """
    if len(images) == 0:
        raise ValueError("images must not be empty")
    device, training = next(model.parameters()).device, model.training
    model.eval()
    logits = torch.cat([model(part.to(device)) for part in images.split(batch_size)])
    model.train(training)
    return logits


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the percentage of images whose largest logit is at their label, in [0, 100].

    images: float[N, ...].  labels: int64[N].

    >>> from labkit import models
    >>> 0 <= accuracy(models.cnn(classes=2), torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 0, 1])) <= 100
    True
    """
    if len(images) != len(labels):
        raise ValueError(f"images and labels must be as many: got {len(images)} and {len(labels)}")
    hits = predict(model, images).argmax(dim=1).cpu() == labels.cpu()
    return 100 * hits.double().mean().item()
