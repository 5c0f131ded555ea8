r"""Policy gradient-driven noise mask: heat a network under learned masks, then cool it without.

A small policy network looks at an image and gives, for each cell of a grid, the two parameters of a
Beta distribution. A mask is drawn, blurred and multiplied onto the image; the classifier learns from
masked images (it is *heated*), the policy from the classifier's loss. Then the policy is dropped, and
the classifier is fine-tuned on clean images at a low rate (it is *cooled*):

.. math:: a' = (1 - \mu)\,\bar a + \mu\,a(x), \qquad m_c \sim \mathrm{Beta}(e^{a'_c}, e^{b'_c}), \qquad
          \tilde x = x \odot \mathrm{blur}(\mathrm{enlarge}(m))

Yavuz, Yang (2024). *Policy Gradient-Driven Noise Mask.* arXiv:2406.14568. What the abstract leaves
open is as in the authors' code: the slow base, the heads, the blur, the joint loss, the average of
the last checkpoints. Changed: log-parameters are kept in [-4, 4] and samples 0.0001 away from 0 and
1, where densities overflow; ``strength`` is ours; network and schedule of heating are the caller's.
"""

import copy
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit import training
from labkit.seeding import seeded

__all__ = ["BetaMaskPolicy", "MaskSample", "MaskedLoss", "average_checkpoints", "beta_mask_policy"]
__all__ += ["cool", "heat", "policy_gradient_loss", "render_mask", "sample_beta"]

LIMIT, EDGE = 4.0, 1e-4  # of the log-parameters; of the samples from 0 and from 1
FORMS = ("released", "reinforce")


class MaskSample(NamedTuple):
    """Masks drawn by a policy; only ``log_prob`` carries a gradient.

    masks: float[B, 1, H, W] in (0, 1), to be multiplied onto images.  cells: float[B, G * G] in
    (0, 1), as drawn.  log_prob: float[B, G * G], log density of each cell, in nats.
    mean: float[B, G * G], the mean of each cell's distribution.
    """

    masks: Tensor
    cells: Tensor
    log_prob: Tensor
    mean: Tensor


class BetaMaskPolicy(nn.Module):
    """Two heads on a backbone, over a base that follows them slowly.

    backbone: float[B, C, H, W] -> float[B, features].  grid: cells along each side.
    mix: weight of the image's own parameters against those of the base, in [0, 1].
    base_momentum: in [0, 1].  kernel, sigma: of the blur, in pixels.
    strength: the mask is 1 - strength * (1 - drawn), in [0, 1]; 1 is the paper's, 0 no mask at all.
    The defaults are the code's, for images of 224 pixels and a grid of 64.
    Raises ValueError where grid < 1, or mix, base_momentum or strength lie outside their range.
    """

    def __init__(
        self, backbone: nn.Module, *, features: int, grid: int = 64, mix: float = 0.1,
        base_momentum: float = 0.99, kernel: int = 13, sigma: float = 6.0, strength: float = 1.0,
    ):  # fmt: skip
        super().__init__()
        if grid < 1:
            raise ValueError(f"grid must be at least 1, got {grid}")
        for name, value in (("mix", mix), ("strength", strength), ("base_momentum", base_momentum)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {value}")
        self.backbone, self.grid, self.mix, self.base_momentum = backbone, grid, mix, base_momentum
        self.kernel, self.sigma, self.strength = kernel, sigma, strength
        self.alpha_head, self.beta_head = _head(features, grid), _head(features, grid)
        self.register_buffer("base_alpha", torch.rand(1, grid * grid))
        self.register_buffer("base_beta", torch.rand(1, grid * grid))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """float[B, C, H, W] -> (alpha, beta), float[B, G * G]; moves the base in training mode."""
        features, parameters = self.backbone(images), []
        for name in ("alpha", "beta"):
            own, base = getattr(self, f"{name}_head")(features), getattr(self, f"base_{name}")
            parameters.append(((1 - self.mix) * base + self.mix * own).clamp(-LIMIT, LIMIT).exp())
            if self.training:
                batch = own.detach().mean(dim=0, keepdim=True)
                setattr(self, f"base_{name}", base.lerp(batch, 1 - self.base_momentum))
        return parameters[0], parameters[1]

    def sample(self, images: Tensor, *, generator: torch.Generator | None = None) -> MaskSample:
        """Draw a mask for each image, float[B, C, H, W]; ValueError where the grid is finer than it."""
        size = tuple(images.shape[2:])
        if self.grid > min(size):
            raise ValueError(f"grid must be at most the image's side, got {self.grid} for {size}")
        alpha, beta = self(images)
        cells = sample_beta(alpha, beta, generator=generator)
        log_prob = torch.distributions.Beta(alpha, beta, validate_args=False).log_prob(cells)
        drawn = render_mask(cells, size, kernel=self.kernel, sigma=self.sigma)
        return MaskSample(1 - self.strength * (1 - drawn), cells, log_prob, (alpha / (alpha + beta)).detach())


def beta_mask_policy(
    *, image_size: int, in_channels: int = 3, features: int = 64, seed: int = 0, **options
) -> BetaMaskPolicy:
    """A seeded policy with a light backbone: one strided convolution and one linear layer.

    image_size: side of the square images, in pixels.  options: those of :class:`BetaMaskPolicy`.

    >>> policy = beta_mask_policy(image_size=12, in_channels=1, grid=4, kernel=3, sigma=1.0)
    >>> policy.sample(torch.rand(8, 1, 12, 12)).masks.shape
    torch.Size([8, 1, 12, 12])
    """
    side = (image_size + 1) // 2
    with seeded(seed):
        convolution = [nn.Conv2d(in_channels, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten()]
        backbone = nn.Sequential(*convolution, nn.Linear(8 * side * side, features), nn.ReLU())
        return BetaMaskPolicy(backbone, features=features, **options)


def sample_beta(alpha: Tensor, beta: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw from Beta(alpha, beta), elementwise, without a gradient; float of their shape.

    alpha, beta: of one shape. Raises ValueError where they are not positive.

    >>> sample_beta(torch.full((2, 3), 2.0), torch.ones(2, 3)).shape
    torch.Size([2, 3])
    """
    for name, value in (("alpha", alpha), ("beta", beta)):
        if not bool((value > 0).all()):
            raise ValueError(f"{name} must be positive, got a smallest value of {value.min().item():.3g}")
    # what torch.distributions.Beta calls as well, but with a generator
    both = torch._sample_dirichlet(torch.stack([alpha, beta], dim=-1).detach(), generator=generator)
    return both[..., 0].clamp(EDGE, 1 - EDGE)


def render_mask(cells: Tensor, size: tuple[int, int], *, kernel: int = 13, sigma: float = 6.0) -> Tensor:
    """Enlarge cells by repetition, then blur with a Gaussian, the borders reflected.

    cells: float[B, G * G], row by row.  size: (height, width) in pixels.  kernel: side of the blur
    in pixels, odd.  sigma: its standard deviation in pixels.
    Returns float[B, 1, H, W], between the smallest and the largest cell.
    Raises ValueError where cells are no square, the grid is finer than the image, sigma is not
    positive, or the kernel is even or reaches further than a reflection, the side less one pixel.

    >>> render_mask(torch.full((2, 16), 0.5), (12, 12), kernel=3, sigma=1.0).shape
    torch.Size([2, 1, 12, 12])
    """
    grid, half = round(cells.shape[-1] ** 0.5), kernel // 2
    if cells.ndim != 2 or grid * grid != cells.shape[1]:
        raise ValueError(f"cells must be float[B, G * G], got shape {tuple(cells.shape)}")
    if grid > min(size):
        raise ValueError(f"grid must be at most the image's side, got {grid} for {tuple(size)}")
    if kernel % 2 == 0 or not 0 <= half < min(size):
        raise ValueError(f"kernel must be odd and below twice the side of {tuple(size)}, got {kernel}")
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, got {sigma}")
    weights = torch.arange(-half, half + 1, dtype=cells.dtype, device=cells.device)
    weights = torch.softmax(-(weights**2) / (2 * sigma**2), dim=0)
    enlarged = F.interpolate(cells.reshape(-1, 1, grid, grid), size=size)
    padded = F.pad(enlarged, [half] * 4, mode="reflect")  # zeros would darken the border
    return F.conv2d(F.conv2d(padded, weights[None, None, None]), weights[None, None, :, None])


def policy_gradient_loss(
    losses: Tensor, log_prob: Tensor, *, form: str = "released", baseline: float | Tensor = 0.0
) -> Tensor:
    r"""One loss for classifier and policy, minimized by both; a scalar.

    losses: float[B], cross-entropy of each image, in nats.  log_prob: float[B, cells], in nats.
    form: "released", as in the authors' code, is the mean of log(sum of densities) times the loss.
    The policy learns through the first factor, which *weighs* the images for the classifier; where
    the densities of an image sum to less than 1 the weight is negative, so keep the cells many.
    "reinforce" is the textbook's (Williams 1992): mean loss, plus (loss - baseline) times the sum of
    log densities, where the loss is detached.
    baseline: of "reinforce" alone, such as the loss's running mean: less variance, same expectation.
    Raises ValueError for another form, losses that are not one per image, or a baseline elsewhere.

    >>> losses, log_prob = torch.tensor([1.0, 3.0]), torch.zeros(2, 4)
    >>> round(policy_gradient_loss(losses, log_prob).item(), 4)  # 2 * log 4
    2.7726
    """
    if losses.ndim != 1 or log_prob.ndim != 2 or len(losses) != len(log_prob):
        shapes = f"{tuple(losses.shape)} and {tuple(log_prob.shape)}"
        raise ValueError(f"losses must be one per image and log_prob float[B, cells], got shapes {shapes}")
    if form == "reinforce":
        return losses.mean() + ((losses.detach() - baseline) * log_prob.sum(dim=1)).mean()
    if form != "released":
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    if isinstance(baseline, Tensor) or baseline != 0:
        raise ValueError(f"baseline must be 0 with form 'released', got {baseline}")
    return (log_prob.logsumexp(dim=1) * losses).mean()


class MaskedLoss:
    """The loss of heating, for :func:`labkit.training.fit`; it trains the policy on the way.

    policy: trained in place, or frozen where lr is 0: then its masks are random noise.
    lr: of gradient descent with momentum 0.9 and weight decay 1e-4; the code takes a tenth of the
    classifier's.  form: see :func:`policy_gradient_loss`; the baseline is the loss's running mean.
    Raises ValueError for a negative lr or an unknown form.
    """

    def __init__(self, policy: BetaMaskPolicy, *, lr: float = 0.01, form: str = "released"):
        if form not in FORMS or not lr >= 0:
            raise ValueError(f"form must be one of {', '.join(FORMS)}, lr 0 or more, got {form!r} and {lr}")
        self.policy, self.form, self.usual, self.optimizer = policy.train(lr > 0), form, None, None
        if lr > 0:
            settings = {"lr": lr, "momentum": 0.9, "weight_decay": 1e-4, "fused": True}
            self.optimizer = torch.optim.SGD(policy.parameters(), **settings)

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, *, progress: float, generator):
        with torch.set_grad_enabled(self.optimizer is not None):
            drawn = self.policy.sample(images, generator=generator)
        losses = F.cross_entropy(model(images * drawn.masks), labels, reduction="none")
        if self.optimizer is None:
            return losses.mean()
        options = {"form": self.form}
        if self.form == "reinforce":
            now = losses.detach().mean()
            options["baseline"] = now if self.usual is None else self.usual
            self.usual = 0.9 * options["baseline"] + 0.1 * now
        # No gradient runs through the sample. So the joint loss falls apart into the policy's part
        # and the classifier's: each is the joint loss with the other factor held constant.
        self.optimizer.zero_grad(set_to_none=True)
        policy_gradient_loss(losses.detach(), drawn.log_prob, **options).backward()
        self.optimizer.step()
        return policy_gradient_loss(losses, drawn.log_prob.detach(), **options)


def heat(
    model: nn.Module, policy: BetaMaskPolicy, images: Tensor, labels: Tensor, *, steps: int,
    policy_lr: float = 0.01, form: str = "released", average: int = 3, **options,
) -> training.Fit:  # fmt: skip
    """Train a classifier on masked images, and the policy with it; average the last checkpoints.

    model, policy: trained in place.  policy_lr, form: see :class:`MaskedLoss`; 0 freezes the policy.
    average: how many checkpoints, an epoch apart, the last one at the end.
    options: those of :func:`labkit.training.fit`. Raises ValueError for fewer epochs than checkpoints.

    >>> from labkit import models
    >>> policy = beta_mask_policy(image_size=12, in_channels=1, grid=4, kernel=3, sigma=1.0)
    >>> images, labels = torch.rand(8, 1, 12, 12), torch.arange(8) % 2
    >>> heat(models.cnn(classes=2, in_channels=1), policy, images, labels, steps=4).losses.shape
    torch.Size([4])
    """
    epoch = max(1, len(images) // options.get("batch_size", 64))
    if average < 1 or (average - 1) * epoch >= max(steps, 1):
        raise ValueError(f"average must be from 1 to all {steps / epoch:.3g} epochs, got {average}")
    masked, kept = MaskedLoss(policy, lr=policy_lr, form=form), []
    moments = [round((steps - back * epoch) / steps, 9) for back in range(1, average)]

    def loss(network, batch, targets, *, progress, generator):
        if round(progress, 9) in moments:
            kept.append(copy.deepcopy(network.state_dict()))
        return masked(network, batch, targets, progress=progress, generator=generator)

    fitted = training.fit(model, images, labels, steps=steps, loss=loss, **options)
    fitted.model.load_state_dict(average_checkpoints([*kept, fitted.model.state_dict()]))
    return fitted


def cool(
    model: nn.Module, images: Tensor, labels: Tensor, *, steps: int, lr: float, warmup: float = 0.7, **options
) -> training.Fit:
    """Fine-tune a heated classifier on clean images at a low rate, with a long linear warm-up.

    model: trained in place.  lr: the authors take a hundredth of the rate of heating.
    warmup: the share of the steps over which the rate rises, in [0, 1]; theirs is 7 of 10 epochs.
    options: those of :func:`labkit.training.fit`. Raises ValueError for a warmup outside its range.

    >>> from labkit import models
    >>> images, labels = torch.rand(8, 1, 12, 12), torch.arange(8) % 2
    >>> cool(models.cnn(classes=2, in_channels=1), images, labels, steps=3, lr=1e-3).losses.shape
    torch.Size([3])
    """
    if not 0 <= warmup <= 1:
        raise ValueError(f"warmup must lie in [0, 1], got {warmup}")
    schedule = partial(training.constant, warmup=warmup)
    return training.fit(model, images, labels, steps=steps, lr=lr, schedule=schedule, **options)


def average_checkpoints(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several ``state_dict()``; ValueError for none, or for names that differ.

    Whole numbers, such as counters, are those of the last.

    >>> average_checkpoints([{"w": torch.zeros(2)}, {"w": torch.ones(2)}])["w"].tolist()
    [0.5, 0.5]
    """
    if not states or any(state.keys() != states[0].keys() for state in states):
        raise ValueError(f"states must be one or more with the same names, got {len(states)}")
    mean = {name: last.clone() for name, last in states[-1].items()}
    for name in (name for name, last in mean.items() if last.is_floating_point()):
        mean[name] = torch.stack([state[name] for state in states]).mean(dim=0)
    return mean


def _head(features: int, grid: int) -> nn.Sequential:
    """Three linear layers, as in the authors' code."""
    hidden = [(nn.Linear(features, features), nn.BatchNorm1d(features), nn.ReLU()) for _ in range(2)]
    return nn.Sequential(*hidden[0], *hidden[1], nn.Linear(features, grid * grid))
