r"""A small autoregressive model of continuous tokens: a causal transformer with a diffusion head.

The transformer reads the tokens so far and gives a vector :math:`z`. From noise, the head draws the next
token :math:`x_0` in :math:`T` Gaussian steps

.. math:: x_{t-1} \sim \mathcal N\bigl(a_t x_t + b_t v_\theta(x_t, t, z),\ \sigma_t^2 I\bigr),
          \qquad x_T \sim \mathcal N(0, I)

which are those of a denoising diffusion model that predicts the velocity :math:`v`. The chain ends at a
little noise instead of none, so that every step has a density.
Li, Tian, Li, Deng, He (2024). *Autoregressive Image Generation without Vector Quantization.*
arXiv:2406.11838. Simplified: tokens are pixels, in raster order, without classes and without masks.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.data.build import check_count, real
from labkit.seeding import seeded

__all__ = ["ContinuousAR", "Memory", "Schedule", "ar_model", "cut", "distil_loss", "elbo_gap"]
__all__ += ["elbo_loss", "join", "schedule"]


class Schedule(NamedTuple):
    """Constants of the chain, each float[T + 1], indexed by t; a, b and std at 0 are not used.

    level: share of the signal's variance left after t steps.  a, b, std: of the step from t to t - 1.
    weight: what a squared error of the velocity at t costs, in nats.
    """

    level: Tensor
    a: Tensor
    b: Tensor
    std: Tensor
    weight: Tensor


def schedule(steps: int, *, floor: float = 0.2) -> Schedule:
    """A cosine schedule of T steps whose last state keeps noise of standard deviation about ``floor``.

    steps: from 1 up.  floor: in [0.001, 0.9], in units of the data's standard deviation. ValueError else.

    >>> chain = schedule(4)
    >>> chain.std.shape, bool((chain.std[1:] > 0).all())
    (torch.Size([5]), True)
    """
    check_count("steps", steps)
    real("floor", floor, 0.001, 0.9)
    first, last = math.asin(floor), math.pi / 2 * 0.99
    level = torch.cos(torch.linspace(first, last, steps + 1, dtype=torch.float64)) ** 2
    before = torch.cat([level[:1], level[:-1]])
    alpha = level / before
    beta = 1 - alpha
    signal = before.sqrt() * beta / (1 - level)  # how much the mean takes of the predicted signal
    a = alpha.sqrt() * (1 - before) / (1 - level) + signal * level.sqrt()
    b = -signal * (1 - level).sqrt()
    std = (beta * (1 - before) / (1 - level)).sqrt()
    ratio = level / (1 - level)
    gain = torch.cat([torch.zeros(1, dtype=torch.float64), ratio[:-1] - ratio[1:]])
    return Schedule(*(each.float() for each in (level, a, b, std, 0.5 * gain * (1 - level))))


class Memory(NamedTuple):
    """Keys and values of each layer, float[2, B, H, L, C], to be written in place."""

    layers: list[Tensor]


class Layer(nn.Module):
    """Causal attention and a perceptron, each after a layer norm and added to its input."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, h: Tensor, mask: Tensor | None, memory: Tensor | None, slots: Tensor | None) -> Tensor:
        count, new, width = h.shape
        qkv = self.qkv(self.before(h)).view(count, new, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if memory is None:
            mixed = F.scaled_dot_product_attention(*qkv, is_causal=True)
        else:
            memory.scatter_(3, slots, qkv[1:])
            mixed = F.scaled_dot_product_attention(qkv[0], *memory, attn_mask=mask)
        h = h + self.out(mixed.transpose(1, 2).reshape(count, new, width))
        return h + self.down(F.gelu(self.up(self.between(h))))


class ContinuousAR(nn.Module):
    """See the module; :func:`ar_model` makes one.  size: of a token.  length: tokens of a sequence."""

    def __init__(self, size, length, width, layers, heads, head_width, blocks, steps, floor):
        super().__init__()
        self.size, self.length, self.steps = size, length, steps
        self.chain = schedule(steps, floor=floor)
        self.std = [float(each) for each in self.chain.std]
        self.read = nn.Linear(size, width)
        self.start, self.place = nn.Parameter(torch.zeros(width)), nn.Embedding(length, width)
        self.layers = nn.ModuleList([Layer(width, heads) for _ in range(layers)])
        self.context_out = nn.Linear(width, head_width)
        self.noisy_in, self.time = nn.Linear(size, head_width), nn.Embedding(steps + 1, head_width)
        self.blocks = nn.ModuleList(
            [
                nn.Sequential(
                    nn.LayerNorm(head_width),
                    nn.Linear(head_width, head_width),
                    nn.SiLU(),
                    nn.Linear(head_width, head_width),
                )
                for _ in range(blocks)
            ]
        )
        self.velocity_out = nn.Linear(head_width, size)
        self._a, self._b = ([float(each) for each in part] for part in (self.chain.a, self.chain.b))

    def memory(self, count: int, slots: int) -> Memory:
        """Room for the keys and values of ``count`` sequences of ``slots`` tokens."""
        weight, heads = self.read.weight, self.layers[0].heads if len(self.layers) else 1
        shape = (2, count, heads, slots, weight.shape[0] // heads)
        return Memory([weight.new_zeros(shape) for _ in self.layers])

    def context(self, previous: Tensor, places: Tensor, memory: Memory) -> Tensor:
        """z for tokens at some places: float[B, K, d] -> float[B, K, D].

        previous: the token before each (anything at place 0).  places: int64[B, K], rising by one; what the
        memory holds at them is replaced, what it holds at later ones is not looked at.
        """
        h = self._embed(previous, places)
        slots = memory.layers[0].shape[3] if memory.layers else 0
        mask = (torch.arange(slots, device=places.device) <= places[..., None])[:, None]
        for layer, kept in zip(self.layers, memory.layers, strict=True):
            where = places[None, :, None, :, None].expand(2, -1, kept.shape[2], -1, kept.shape[4])
            h = layer(h, mask, kept, where)
        return self.context_out(h)

    def contexts(self, tokens: Tensor) -> Tensor:
        """z for every token of whole sequences at once: float[B, L, d] -> float[B, L, D]."""
        previous = F.pad(tokens[:, :-1], (0, 0, 1, 0))
        h = self._embed(previous, torch.arange(tokens.shape[1], device=tokens.device).expand(len(tokens), -1))
        for layer in self.layers:
            h = layer(h, None, None, None)
        return self.context_out(h)

    def _embed(self, previous: Tensor, places: Tensor) -> Tensor:
        h = torch.where((places == 0)[..., None], self.start, self.read(previous))
        return h + self.place(places.clamp(max=self.length - 1))

    def velocity(self, noisy: Tensor, t, z: Tensor) -> Tensor:
        """v at noisy float[N, d], t int or int64[N], z float[N, D]."""
        h = self.noisy_in(noisy) + z + self.time.weight[t]
        for block in self.blocks:
            h = h + block(h)
        return self.velocity_out(F.silu(h))

    def mean(self, noisy: Tensor, t, z: Tensor) -> Tensor:
        """Mean of the step from t to t - 1, float[N, d]; its standard deviation is ``std[t]``."""
        v = self.velocity(noisy, t, z)
        if isinstance(t, int):
            return torch.add(noisy * self._a[t], v, alpha=self._b[t])
        a, b = self.chain.a.to(noisy.device)[t], self.chain.b.to(noisy.device)[t]
        return a[:, None] * noisy + b[:, None] * v


def ar_model(
    size: int,
    length: int,
    *,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    head_width: int = 128,
    blocks: int = 3,
    steps: int = 8,
    floor: float = 0.2,
    seed: int = 0,
) -> ContinuousAR:
    """A new model, initialized from ``seed``.

    size, length: of a token, and tokens per sequence.  width, layers, heads: of the transformer.
    head_width, blocks: of the head.  steps, floor: see :func:`schedule`. Counts from 1 up (layers and
    blocks from 0), else ValueError; width must be a multiple of heads.

    >>> model = ar_model(4, 16)
    >>> model.contexts(torch.zeros(2, 16, 4)).shape
    torch.Size([2, 16, 128])
    """
    counts = {"size": size, "length": length, "width": width, "heads": heads, "head_width": head_width}
    for name, value in counts.items():
        check_count(name, value)
    for name, value in {"layers": layers, "blocks": blocks}.items():
        check_count(name, value, low=0)
    if width % heads:
        raise ValueError(f"width must be a multiple of heads = {heads}, got {width}")
    with seeded(seed):
        model = ContinuousAR(size, length, width, layers, heads, head_width, blocks, steps, floor)
        for layer in (model.place, model.time):
            nn.init.normal_(layer.weight, std=0.02)
        for layer in model.layers:  # deep ones start near the identity, as GPT-2's do
            for last in (layer.out, layer.down):
                nn.init.normal_(last.weight, std=0.02 / math.sqrt(2 * layers))
    return model


def _noised(model: ContinuousAR, tokens: Tensor, generator):
    """For every token a step t, its noisy state and the velocity there."""
    chain, flat = model.chain, tokens.flatten(0, 1)
    t = torch.randint(1, model.steps + 1, (len(flat),), generator=generator, device=flat.device)
    noise = torch.randn(flat.shape, generator=generator, device=flat.device)
    level = chain.level.to(flat.device)[t][:, None]
    noisy = level.sqrt() * flat + (1 - level).sqrt() * noise
    return noisy, t, level.sqrt() * noise - (1 - level).sqrt() * flat


def elbo_loss(model: ContinuousAR, tokens: Tensor, labels=None, *, progress=0.0, generator=None) -> Tensor:
    """A loss of ``labkit.training.fit``: what the chain loses against the data, in nats per token.

    tokens: float[B, L, d], of about unit variance. The errors of the T steps are weighted by what each costs,
    so the loss is the bound of a diffusion model without its constant.
    """
    noisy, t, velocity = _noised(model, tokens, generator)
    error = (model.velocity(noisy, t, model.contexts(tokens).flatten(0, 1)) - velocity).square().sum(1)
    return model.steps * (model.chain.weight.to(t.device)[t] * error).mean()


def distil_loss(teacher: ContinuousAR):
    """A loss of ``labkit.training.fit``: the divergence of a draft's chain from a teacher's, nats per token.

    Both read the same real tokens; the draft is trained on the teacher's velocities, not on the data. The
    labels are the teacher's ``contexts(tokens)``, computed once.
    """

    def loss(model, tokens, labels, *, progress=0.0, generator=None):
        noisy, t, _ = _noised(model, tokens, generator)
        with torch.no_grad():
            wanted = teacher.velocity(noisy, t, labels.flatten(0, 1))
        error = (model.velocity(noisy, t, model.contexts(tokens).flatten(0, 1)) - wanted).square().sum(1)
        return model.steps * (model.chain.weight.to(t.device)[t] * error).mean()

    return loss


@torch.inference_mode()
def elbo_gap(model: ContinuousAR, other: ContinuousAR, tokens: Tensor, *, draws: int = 4, generator=None):
    """How much better ``model`` explains each sequence than ``other`` does, float[B], in nats per token.

    tokens: float[B, L, d].  draws: noisy states per token. The difference of the two models' bounds; its mean
    tells their samples apart, since each explains its own best.
    """
    found = torch.zeros(len(tokens), device=tokens.device)
    z, z_other = model.contexts(tokens).flatten(0, 1), other.contexts(tokens).flatten(0, 1)
    for _ in range(draws):
        noisy, t, velocity = _noised(model, tokens, generator)
        better = (other.velocity(noisy, t, z_other) - velocity).square().sum(1)
        better -= (model.velocity(noisy, t, z) - velocity).square().sum(1)
        found += (model.chain.weight.to(t.device)[t] * better).view(len(tokens), -1).mean(1)
    return model.steps * found / draws


def cut(images: Tensor, *, side: int) -> Tensor:
    """Images to tokens: float[B, C, H, W] -> float[B, H/side * W/side, C * side * side], in raster order.

    Pixels in [0, 1] are taken to [-1, 1].  Raises ValueError where ``side`` does not divide H and W.

    >>> cut(torch.rand(3, 1, 8, 8), side=2).shape
    torch.Size([3, 16, 4])
    """
    height, width = images.shape[2:]
    if side < 1 or height % side or width % side:
        raise ValueError(f"side must divide the images' {height} x {width} pixels, got {side}")
    return F.unfold(2 * images - 1, side, stride=side).transpose(1, 2)


def join(tokens: Tensor, *, side: int, channels: int = 1) -> Tensor:
    """Tokens to square images, as :func:`cut` took them apart; pixels in about [0, 1]."""
    edge = math.isqrt(tokens.shape[1])
    if edge * edge != tokens.shape[1] or tokens.shape[2] != channels * side * side:
        raise ValueError(f"tokens must be a square of {channels * side * side} numbers, got {tokens.shape}")
    return (F.fold(tokens.transpose(1, 2), edge * side, side, stride=side) + 1) / 2
