r"""Augmentors with parameters: modules that turn images and noise into other images, differentiably.

What a generator of hard examples is made of, from narrow to wide. All are called as
``augmentor(images, generator=g)``, draw their noise from that generator, and give images of the same shape;
the noise makes of one image a *distribution* of augmentations, which training moves.

:class:`AffineAugmentor`: noise to the six numbers of an affine map, each within a bound.
:class:`MixAugmentor`: noise to a soft mask that mixes each image with another of the batch.
:class:`LatentAugmentor`: noise and the code of the image under a frozen variational autoencoder
(:class:`VAE`) to a step in the space of codes, within a radius.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit import operations, training
from labkit.seeding import seeded

__all__ = ["RANGES", "VAE", "AffineAugmentor", "LatentAugmentor", "MixAugmentor", "fit_vae", "random_affine"]

RANGES = (0.25, 0.25, 0.8, 0.25, 0.25, 0.8)
"""Bounds of what is added to the identity: (a11, a12, tx, a21, a22, ty), wide enough to give little away."""


def _network(inputs: int, outputs: int, width: int, spread: float, seed: int) -> nn.Sequential:
    """Noise to numbers in (-1, 1), near zero at first: the last layer's weights have ``spread``."""
    with seeded(seed):
        network = nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, outputs), nn.Tanh())
        nn.init.normal_(network[2].weight, std=spread)
        nn.init.zeros_(network[2].bias)
    return network


def _noise(images: Tensor, size: int, generator: torch.Generator | None) -> Tensor:
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(f"images must be float[B, C, H, W], got {images.dtype}{list(images.shape)}")
    return torch.randn(len(images), size, generator=generator, device=images.device, dtype=images.dtype)


def _check_ranges(ranges: Sequence[float]) -> tuple[float, ...]:
    ranges = tuple(float(each) for each in ranges)
    if len(ranges) != 6 or not all(0 <= each < float("inf") for each in ranges):
        raise ValueError(f"ranges must be six numbers of 0 or more, got {ranges}")
    return ranges


class AffineAugmentor(nn.Module):
    """HARD-Affine: a small network maps noise to affine maps, and the images are warped by them.

    ranges: bounds of what is added to the identity's (a11, a12, tx, a21, a22, ty); tx and ty in halves of
    the image's side, as in :func:`labkit.operations.affine`.  noise_dim, width: of the network.
    spread: of the last layer's weights; small, so that the untrained augmentor changes little.
    fill: the value of what comes from outside.  seed: of the weights.
    Raises ValueError for other than six ranges, or negative ones, and for images that are not [B, C, H, W].

    >>> AffineAugmentor()(torch.rand(4, 1, 8, 8)).shape
    torch.Size([4, 1, 8, 8])
    """

    def __init__(
        self,
        noise_dim: int = 8,
        ranges: Sequence[float] = RANGES,
        *,
        width: int = 64,
        spread: float = 0.03,
        fill: float = 0.0,
        seed: int = 0,
    ):
        super().__init__()
        self.noise_dim, self.fill = noise_dim, fill
        self.register_buffer("ranges", torch.tensor(_check_ranges(ranges)))
        self.register_buffer("identity", torch.tensor([1.0, 0, 0, 0, 1, 0]))
        self.network = _network(noise_dim, 6, width, spread, seed)

    def matrices(self, noise: Tensor) -> Tensor:
        """Affine maps float[B, 2, 3] from noise float[B, noise_dim]."""
        return (self.identity + self.ranges * self.network(noise)).view(-1, 2, 3)

    def forward(self, images: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """float[B, C, H, W] -> the same shape"""
        matrices = self.matrices(_noise(images, self.noise_dim, generator))
        return operations.affine(images, matrices, fill=self.fill, resample="bilinear")


def random_affine(
    images: Tensor,
    *,
    ranges: Sequence[float] = RANGES,
    fill: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Affine maps drawn uniformly within the bounds of an :class:`AffineAugmentor`: nothing is learnt.

    Arguments, result and errors as there.

    >>> random_affine(torch.rand(4, 1, 8, 8)).shape
    torch.Size([4, 1, 8, 8])
    """
    bounds = images.new_tensor(_check_ranges(ranges))
    draws = 2 * torch.rand(len(images), 6, generator=generator, device=images.device) - 1
    identity = images.new_tensor([1.0, 0, 0, 0, 1, 0])
    matrices = (identity + bounds * draws).view(-1, 2, 3)
    return operations.affine(images, matrices, fill=fill, resample="bilinear")


class MixAugmentor(nn.Module):
    """HARD-Mix: warps each image, then mixes it with the next of the batch through a mask that is learnt.

    The mask has ``grid`` by ``grid`` cells in (0, 1), interpolated to the size of the image: 1 shows the
    image itself, 0 its partner. It begins near 0.95, so that an untrained augmentor hardly mixes.
    Other arguments and errors as :class:`AffineAugmentor`; ValueError also for a grid below 1.

    >>> MixAugmentor(grid=3)(torch.rand(4, 1, 8, 8)).shape
    torch.Size([4, 1, 8, 8])
    """

    def __init__(self, noise_dim: int = 8, ranges: Sequence[float] = RANGES, *, grid: int = 4, **options):
        super().__init__()
        if grid < 1:
            raise ValueError(f"grid must be at least 1, got {grid}")
        self.affine = AffineAugmentor(noise_dim, ranges, **options)
        self.noise_dim, self.grid = noise_dim, grid
        seed, width = options.get("seed", 0), options.get("width", 64)
        self.network = _network(noise_dim, grid * grid, width, options.get("spread", 0.03), seed + 1)

    def masks(self, noise: Tensor) -> Tensor:
        """Masks float[B, 1, grid, grid] in (0, 1) from noise float[B, noise_dim]."""
        return torch.sigmoid(3 + 6 * self.network(noise)).view(-1, 1, self.grid, self.grid)

    def forward(self, images: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """float[B, C, H, W] -> the same shape"""
        warped = self.affine(images, generator=generator)
        coarse = self.masks(_noise(images, self.noise_dim, generator))
        mask = F.interpolate(coarse, size=images.shape[2:], mode="bilinear", align_corners=False)
        return mask * warped + (1 - mask) * warped.roll(1, dims=0)


class VAE(nn.Module):
    """A variational autoencoder of two layers each way, for images in [0, 1] of one fixed size.

    shape: (C, H, W).  latent: size of the codes.  seed: of the weights.

    >>> vae = VAE((1, 8, 8), latent=4)
    >>> vae.decode(vae.encode(torch.rand(2, 1, 8, 8))[0]).shape
    torch.Size([2, 1, 8, 8])
    """

    def __init__(self, shape: tuple[int, int, int], *, latent: int = 16, width: int = 128, seed: int = 0):
        super().__init__()
        self.shape, self.latent = tuple(shape), latent
        values = shape[0] * shape[1] * shape[2]
        with seeded(seed):
            self.encoder = nn.Sequential(
                nn.Flatten(), nn.Linear(values, width), nn.ReLU(), nn.Linear(width, 2 * latent)
            )
            self.decoder = nn.Sequential(
                nn.Linear(latent, width), nn.ReLU(), nn.Linear(width, values), nn.Sigmoid()
            )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """float[B, C, H, W] -> mean and logarithm of the variance of the code, float[B, latent] each"""
        return self.encoder(images).chunk(2, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """float[B, latent] -> images float[B, C, H, W] in (0, 1)"""
        return self.decoder(codes).view(-1, *self.shape)


def fit_vae(
    vae: VAE, images: Tensor, *, steps: int, beta: float = 1.0, lr: float = 3e-3, seed: int = 0
) -> VAE:
    """Train a :class:`VAE` on images in [0, 1]: cross-entropy of the pixels plus beta times the KL term.

    Labels are not used. Returns the same module, in evaluation mode and frozen.

    >>> fit_vae(VAE((1, 8, 8), latent=2), torch.rand(16, 1, 8, 8), steps=2).training
    False
    """

    def negative_elbo(model, batch, labels, *, progress, generator):
        mean, log_variance = model.encode(batch)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        made = model.decode(mean + noise * (0.5 * log_variance).exp())
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
        return (F.binary_cross_entropy(made, batch, reduction="sum") + beta * kl) / len(batch)

    none = torch.zeros(len(images), dtype=torch.long)
    options = {"steps": steps, "lr": lr, "weight_decay": 0.0, "loss": negative_elbo, "seed": seed}
    return training.fit(vae, images, none, **options).model.requires_grad_(False)


class LatentAugmentor(nn.Module):
    """HARD-VAE: a learnt step of the code of each image, decoded by a frozen autoencoder.

    vae: has ``encode(images) -> (mean, ...)``, ``decode(codes)`` and ``latent``, the size of a code; it is
    frozen here.  radius: bound of each coordinate of the step, in units of the prior's standard deviation.
    The network sees the noise and the code, so that the step may depend on the image.
    Raises ValueError for a radius that is not positive, and for images that are not [B, C, H, W].

    >>> LatentAugmentor(VAE((1, 8, 8), latent=4))(torch.rand(3, 1, 8, 8)).shape
    torch.Size([3, 1, 8, 8])
    """

    def __init__(
        self,
        vae: nn.Module,
        noise_dim: int = 8,
        radius: float = 2.0,
        *,
        width: int = 64,
        spread: float = 0.03,
        seed: int = 0,
    ):
        super().__init__()
        if not 0 < radius < float("inf"):
            raise ValueError(f"radius must be positive, got {radius}")
        self.vae, self.noise_dim, self.radius = vae.requires_grad_(False).eval(), noise_dim, radius
        self.network = _network(noise_dim + vae.latent, vae.latent, width, spread, seed)

    def forward(self, images: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """float[B, C, H, W] -> the same shape"""
        noise = _noise(images, self.noise_dim, generator)
        code = self.vae.encode(images)[0]
        step = self.radius * self.network(torch.cat([noise, code], dim=1))
        return self.vae.decode(code + step)
