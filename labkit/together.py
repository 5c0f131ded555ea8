"""The same training of several networks at once, for experiments of many seeds with small networks.

A small network spends most of a step on calling operations, not on arithmetic. Here the parameters of all
the networks are stacked, and forward and backward run once for all of them (``torch.func.vmap``): the sum
of their losses has, for each network, the gradient of its own. Batches, augmentation, schedule and optimizer
are, network by network, those of :func:`labkit.training.fit`.

On one core it pays where a step is all overhead. Measured in batches of 32 on 8x8 digits: 1.4, 1.6 and 2.0
times as fast for 5, 10 and 20 perceptrons (:func:`labkit.models.mlp`), 1.5, 1.6 and 1.7 times for as many
:func:`labkit.models.cnn`; in batches of 64 the latter gain 1.1 to 1.2 times. From 12x12 in batches of 64 on
it is *slower* than one by one, because stacked convolutions are (``scripts/measure_together.py``).
"""

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from labkit.seeding import generator
from labkit.training import ADAMW, Fit, cosine, cross_entropy

__all__ = ["fit_together"]


def fit_together(
    models: Sequence[nn.Module],
    images: Sequence[Tensor],
    labels: Sequence[Tensor],
    *,
    steps: int,
    batch_size: int = 64,
    lr: float = 3e-3,
    weight_decay: float = 0.05,
    optimizer: Callable[..., torch.optim.Optimizer] = ADAMW,
    schedule: Callable[[float], float] = cosine,
    augment: Callable[..., Tensor] | None = None,
    loss: Callable[..., Tensor] = cross_entropy,
    seeds: Sequence[int] | None = None,
) -> list[Fit]:
    """Train every model on its own data, all at once; what :func:`labkit.training.fit` gives for each.

    The numbers are those of ``fit(model, images, labels, seed=seed)`` one by one, but for the rounding of
    sums that are added in another order.

    models: networks of one architecture, trained in place.  images: float[N, ...] for each model, or one
    float[S, N, ...].  labels: int64[N] or float[N, K] for each.  seeds: one for each model, of the order of
    its batches and its augmentation; 0, 1, ... by default.  The other arguments are those of ``fit``, and:
    optimizer: one that treats every number by itself, as SGD, Adam and AdamW do, because it gets the
    parameters of all models in one tensor.  augment: called for each model with its batch.  loss: called as
    in ``fit``, under ``vmap`` and with ``generator=None``: it may not draw, nor may the network (dropout).
    Raises ValueError for no models, models that differ, data or seeds that are not as many as the models,
    data sets of different sizes, none or unlabelled examples, or steps < 1; FloatingPointError, with the
    step and the seed, where a loss is not finite (looked at every 50 steps).

    >>> from labkit import models
    >>> images, labels = torch.rand(3, 8, 1, 8, 8), torch.arange(24).reshape(3, 8) % 2
    >>> fits = fit_together([models.mlp(2, inputs=64, seed=s) for s in range(3)], images, labels, steps=3)
    >>> len(fits), fits[0].losses.shape
    (3, torch.Size([3]))
    """
    models = list(models)
    seeds = range(len(models)) if seeds is None else list(seeds)
    _check(models, images, labels, seeds, steps)
    device = next(models[0].parameters()).device
    images, labels = (torch.stack([part.to(device) for part in data]) for data in (images, labels))
    rows, size = torch.arange(len(models), device=device)[:, None], images.shape[1]
    batch_size = min(batch_size, size)

    for model in models:
        model.train()
    parameters, buffers = stack_module_state(models)
    parameters = {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}
    skeleton = deepcopy(models[0]).to("meta")  # the architecture alone; its numbers come from the stacks
    stepper = optimizer(parameters.values(), lr=lr, weight_decay=weight_decay)

    def one(parameters, buffers, batch, targets, progress):
        def model(inputs):
            return functional_call(skeleton, (parameters, buffers), (inputs,))

        return loss(model, batch, targets, progress=progress, generator=None)

    each = vmap(one, in_dims=(0, 0, 0, 0, None), randomness="error")
    draws, shuffles = [generator(s, device) for s in seeds], [generator(s) for s in seeds]
    order = torch.empty(len(models), 0, dtype=torch.long)
    losses = []
    for step in range(steps):
        if order.shape[1] < batch_size:
            order = torch.stack([torch.randperm(size, generator=shuffle) for shuffle in shuffles])
        chosen, order = order[:, :batch_size].to(device), order[:, batch_size:]
        batches = images[rows, chosen]
        if augment is not None:
            batches = torch.stack(
                [augment(batch, generator=g) for batch, g in zip(batches, draws, strict=True)]
            )
        values = each(parameters, buffers, batches, labels[rows, chosen], step / steps)
        for group in stepper.param_groups:
            group["lr"] = lr * schedule((step + 1) / steps)
        stepper.zero_grad(set_to_none=True)
        values.sum().backward()
        stepper.step()
        losses.append(values.detach())
        if step % 50 == 0 or step == steps - 1:
            _check_finite(losses[-1], seeds, step, steps)

    for number, model in enumerate(models):
        stacked = (parameters | buffers).items()
        model.load_state_dict({name: value[number] for name, value in stacked}, strict=False)
    curves = torch.stack(losses, dim=1)
    return [Fit(model.eval(), curve) for model, curve in zip(models, curves, strict=True)]


def _check(models: list, images, labels, seeds, steps: int) -> None:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not models:
        raise ValueError("models must not be empty")
    shapes = [{name: tuple(value.shape) for name, value in model.state_dict().items()} for model in models]
    if any(type(model) is not type(models[0]) for model in models) or any(s != shapes[0] for s in shapes):
        raise ValueError("models must be of one architecture, with parameters of the same names and shapes")
    for name, given in {"images": images, "labels": labels, "seeds": seeds}.items():
        if len(given) != len(models):
            raise ValueError(f"{name} must be as many as models: got {len(given)} for {len(models)}")
    counts = {len(data) for data in [*images, *labels]}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(
            f"images and labels must be as many for every model, and not none: got {sorted(counts)}"
        )


def _check_finite(values: Tensor, seeds: Sequence[int], step: int, steps: int) -> None:
    for seed, value in zip(seeds, values.tolist(), strict=True):
        if not torch.isfinite(torch.tensor(value)):
            raise FloatingPointError(f"the loss of seed {seed} is {value} at step {step} of {steps}")
