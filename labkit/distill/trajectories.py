"""Experts for trajectory matching: their weights after every epoch, recorded once and kept on disk.

Weights are flat vectors, so that the distance of two networks is that of two points. Files are safetensors,
named by a hash of everything they depend on, and written whole or not at all.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from labkit.seeding import generator, seeded

__all__ = ["Recording", "convnet", "descend", "expert_trajectories", "flat", "functional"]
__all__ += ["stacked", "trajectory_file"]

FORMAT = 1  # part of every key: raise it where the recording itself changes


def flat(model: nn.Module) -> Tensor:
    """All weights of a model in one vector, float[P], in the order of ``model.parameters()``.

    Raises ValueError for a model with buffers, such as running statistics: they are no weights, and
    would be missing.

    >>> flat(nn.Linear(3, 2)).shape
    torch.Size([8])
    """
    if buffers := [name for name, _ in model.named_buffers()]:
        raise ValueError(f"model must have no buffers, since a trajectory holds weights only; got {buffers}")
    return torch.cat([each.detach().reshape(-1) for each in model.parameters()])


def functional(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """The model as a function of its weights: (weights float[P], inputs) -> outputs.

    >>> layer, inputs = nn.Linear(3, 2), torch.rand(4, 3)
    >>> torch.equal(functional(layer)(flat(layer), inputs), layer(inputs))
    True
    """
    shapes = {name: each.shape for name, each in model.named_parameters()}
    sizes = [shape.numel() for shape in shapes.values()]

    def apply(weights: Tensor, inputs: Tensor) -> Tensor:
        parts = weights.split(sizes)
        named = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        return functional_call(model, named, (inputs,), tie_weights=False)

    return apply


def stacked(apply: Callable, count: int) -> Callable:
    """The model as a function of the weights float[count, P] of so many networks, each on inputs of its own.

    apply: see :func:`functional`.  What comes back takes inputs [count, B, ...] and gives outputs
    [count * B, ...], network by network, so that :func:`descend` takes it in place of ``apply``: the loss
    is then a mean over the networks too, so a step ``count`` times as large is that of each alone.

    >>> layer = functional(nn.Linear(3, 2))
    >>> stacked(layer, 5)(torch.rand(5, 8), torch.rand(5, 4, 3)).shape
    torch.Size([20, 2])
    """
    if count == 1:
        return lambda weights, inputs: apply(weights[0], inputs[0])
    every = vmap(apply)
    return lambda weights, inputs: every(weights, inputs).flatten(0, 1)


def descend(
    apply: Callable[[Tensor, Tensor], Tensor],
    weights: Tensor,
    images: Tensor,
    targets: Tensor,
    lr: Tensor | float,
    *,
    create_graph: bool = False,
) -> Tensor:
    """One step of gradient descent on the cross-entropy: the weights float[P] after it.

    apply: see :func:`functional`.  weights: float[P], requires grad.  targets: int64[B] or float[B, K].
    create_graph: whether the step itself can be differentiated, in all that goes in.

    >>> weights = torch.zeros(2, requires_grad=True)
    >>> descend(lambda w, x: x * w, weights, torch.ones(1, 2), torch.tensor([1]), 1.0)
    tensor([-0.5000,  0.5000], grad_fn=<SubBackward0>)
    """
    loss = F.cross_entropy(apply(weights, images), targets)
    (gradient,) = torch.autograd.grad(loss, weights, create_graph=create_graph)
    return weights - lr * gradient


class Recording(NamedTuple):
    """How experts are trained: what :func:`expert_trajectories` and :func:`trajectory_file` take by name.

    experts: how many.  epochs: of each.  lr, batch_size: of plain gradient descent.  seed: of expert 0;
    expert e has ``seed + e``.
    """

    experts: int
    epochs: int
    lr: float = 0.01
    batch_size: int = 256
    seed: int = 0


def expert_trajectories(
    build: Callable[[int], nn.Module],
    images: Tensor,
    labels: Tensor,
    *,
    folder=None,
    together: int = 1,
    **recording,
) -> Tensor:
    """Train experts on the real data: float[experts, epochs + 1, P], the weights before and after each epoch.

    Plain stochastic gradient descent without momentum, as in the published command, so that an epoch
    starts from weights and nothing else. An epoch has as many whole batches as there are.

    build: seed -> an untrained network without buffers.  images: float[N, ...].  labels: int64[N].
    folder: where trajectories are kept (:func:`trajectory_file`); read from there if they are there already,
    else recorded and written. None keeps nothing.  A file that is not whole counts as absent.
    together: how many are trained side by side, the same numbers but for rounding: several times as fast for
    small networks, and as many times the memory.
    recording: the fields of :class:`Recording`; ``experts`` and ``epochs`` must be given.
    Raises ValueError for experts, epochs or together below 1.

    >>> from labkit import models
    >>> images, labels = torch.rand(8, 1, 8, 8), torch.arange(8) % 2
    >>> build = lambda seed: models.mlp(2, inputs=64, widths=(4,), seed=seed)
    >>> expert_trajectories(build, images, labels, experts=2, epochs=3, batch_size=4).shape
    torch.Size([2, 4, 270])
    """
    settings = Recording(**recording)
    counts = settings.experts, settings.epochs, together
    if min(counts) < 1:
        raise ValueError("experts, epochs and together must be at least 1, got {}, {}, {}".format(*counts))
    if folder is None:
        return _record(build, images, labels, settings, together)
    file = trajectory_file(folder, build, images, labels, **recording)
    if (kept := _read(file)) is not None:
        return kept.to(images.device)
    recorded = _record(build, images, labels, settings, together)
    _write(file, recorded)
    return recorded


def trajectory_file(
    folder, build: Callable[[int], nn.Module], images: Tensor, labels: Tensor, **recording
) -> Path:
    """The file that :func:`expert_trajectories` keeps its result in, for the same arguments.

    Its name is a hash of the data, the :class:`Recording`, the architecture and first weights of all experts.
    """
    settings, digest = Recording(**recording), hashlib.sha256()
    digest.update(json.dumps([FORMAT, *settings, torch.__version__]).encode())
    for each in (images, labels):
        digest.update(f"{each.dtype} {tuple(each.shape)}".encode())
        digest.update(each.detach().cpu().contiguous().numpy().tobytes())
    for expert in range(settings.experts):
        model = build(settings.seed + expert)
        digest.update(repr(model).encode())
        digest.update(flat(model).cpu().numpy().tobytes())
    return Path(folder) / f"trajectories-{digest.hexdigest()[:16]}.safetensors"


def _record(build, images, labels, settings: Recording, together: int) -> Tensor:
    size, recorded = min(settings.batch_size, len(images)), []
    numbers = torch.arange(settings.seed, settings.seed + settings.experts).split(together)
    for group in (each.tolist() for each in numbers):
        models = [build(number).to(images.device) for number in group]
        apply = stacked(functional(models[0]), len(group))
        weights, orders = torch.stack([flat(model) for model in models]), [generator(each) for each in group]
        passed = [weights]
        for _ in range(settings.epochs):
            shuffled = torch.stack([torch.randperm(len(images), generator=order) for order in orders])
            for batch in shuffled[:, : len(images) // size * size].to(images.device).split(size, dim=1):
                # The loss is a mean over the group too; so many times the step undoes that.
                weights = descend(
                    apply,
                    weights.requires_grad_(),
                    images[batch],
                    labels[batch].flatten(),
                    len(group) * settings.lr,
                ).detach()
            passed.append(weights)
        recorded.append(torch.stack(passed, dim=1).detach())
    return torch.cat(recorded)


def _read(file: Path) -> Tensor | None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)["trajectories"]
    except (FileNotFoundError, SafetensorError, KeyError):
        return None


def _write(file: Path, trajectories: Tensor) -> None:
    from safetensors.torch import save_file

    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.part")
    save_file({"trajectories": trajectories.cpu().contiguous()}, part)
    os.replace(part, file)  # at once or not at all


def convnet(
    classes: int,
    *,
    width: int = 128,
    depth: int = 3,
    in_channels: int = 3,
    image_size: int = 32,
    seed: int = 0,
) -> nn.Sequential:
    """The network of dataset distillation: convolution, instance normalization, ReLU, pooling, per block.

    Gidaris and Komodakis (2018), as used in the paper; without running statistics, so without buffers.
    Raises ValueError where the images are too small for so many blocks, each of which halves the side.

    >>> convnet(10, width=8)(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    side = image_size // 2**depth
    if side < 1:
        raise ValueError(f"depth must fit images of {image_size} pixels, each block halves them; got {depth}")
    with seeded(seed):
        layers, channels = [], in_channels
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.GroupNorm(width, width)]
            layers += [nn.ReLU(), nn.AvgPool2d(2)]
            channels = width
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * side * side, classes))
