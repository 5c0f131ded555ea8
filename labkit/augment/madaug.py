r"""MADAug: a policy learns, while the model trains, which operation each image needs, and how strong.

A small head :math:`h_\theta` reads the features :math:`\phi_w(x)` of the *current* model, and gives each
image a magnitude and a probability for every operation:

.. math:: (a, b) = h_\theta(\phi_w(x)), \qquad \lambda = \mathrm{sigmoid}(a), \qquad
          p = \mathrm{softmax}(b / T)

Training images get k operations drawn from :math:`p`. The head itself is trained by looking one step ahead.
All operations are applied and their images mixed by :math:`p`; the model pretends to take a step on the
mixture, and the loss on held-out images after that step is what the head lowers:

.. math:: \tilde x = \sum_j p_j\, o_j(x; \lambda_j), \qquad
          w'(\theta) = w - \eta \nabla_w L(f_w(\tilde x), y), \qquad
          \theta \leftarrow \theta - \eta_h \nabla_\theta L_\mathrm{val}(w'(\theta))

A ramp lets the augmented images in: a share :math:`\tanh(t / \tau)` of each batch at time t.
Hou, Zhang, Zhou (2023). *When to Learn What: Model-Adaptive Data Augmentation Curriculum.*
arXiv:2309.04747; details from the authors' code. Other than there: the pretended step is plain gradient
descent, without momentum; what the head reads is held fixed in it; and a new head starts at zero, with the
same treatment for all images (there at random, but near that on the features of a wide network).
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from labkit import operations as ops

__all__ = ["MADAug", "Policy", "Treatment", "augment", "augmented_share", "look_ahead"]
__all__ += ["mixture", "policy_step", "treatment", "uniform"]


class Treatment(NamedTuple):
    """For each image and operation, float[B, K]: magnitudes in [0, 1]; probabilities, each row sums to 1."""

    magnitudes: Tensor
    probabilities: Tensor


class Policy(nn.Module):
    """The policy head, one linear layer: features float[B, D] to two numbers per operation.

    features: D.  operations: K. It starts with zeros: every operation as likely, every magnitude 0.5.
    Raises ValueError where D or K is below 1.

    >>> Policy(features=32, operations=4)(torch.rand(1, 32)).probabilities.tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    def __init__(self, features: int, operations: int):
        super().__init__()
        if features < 1 or operations < 1:
            raise ValueError(f"features and operations must be at least 1, got {features} and {operations}")
        self.layer = nn.Linear(features, 2 * operations)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, features: Tensor, *, temperature: float = 1.0) -> Treatment:
        """The treatment of each image. temperature: above 1 makes the probabilities more even; > 0."""
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        strength, choice = self.layer(features).chunk(2, dim=1)
        return Treatment(strength.sigmoid(), (choice / temperature).softmax(dim=1))


def treatment(model: nn.Module, policy: Policy, images: Tensor, *, temperature: float = 1.0) -> Treatment:
    """What the policy prescribes for images, read off the model's features as they are now.

    model: has ``features(images) -> float[B, D]``, or TypeError; it is read in evaluation mode (its own
    is restored) and gets no gradient.  images: float[B, C, H, W] in [0, 1].
    """
    if not callable(getattr(model, "features", None)):
        raise TypeError(f"model must have a method features(images), {type(model).__name__} has none")
    training = model.training
    model.eval()
    with torch.no_grad():
        features = model.features(images)
    model.train(training)
    return policy(features, temperature=temperature)


def uniform(count: int, operations: int, *, magnitude: float | None = None, generator=None) -> Treatment:
    """The random policy: for ``count`` images, every operation as likely as every other.

    magnitude: of every operation, in [0, 1] or ValueError, as in RandAugment; None draws each uniformly.
    """
    if magnitude is not None and not 0 <= magnitude <= 1:
        raise ValueError(f"magnitude must lie in [0, 1], got {magnitude}")
    device = generator.device if generator is not None else "cpu"
    magnitudes = torch.rand(count, operations, generator=generator, device=device)
    if magnitude is not None:
        magnitudes = torch.full_like(magnitudes, magnitude)
    return Treatment(magnitudes, torch.full_like(magnitudes, 1 / operations))


def augment(
    images: Tensor,
    operations: Mapping[str, ops.Operation],
    given: Treatment,
    *,
    k: int = 2,
    wobble: float = 0.0,
    generator: torch.Generator | None = None,
    **drawing,
) -> Tensor:
    """Training images: k different operations for each, drawn from its probabilities, one after the other.

    images: float[B, C, H, W] in [0, 1].  operations: K of them, by name.  given: the treatment.
    k: at most K; the authors' scripts take 2.  wobble: each magnitude moves by up to this much, up or
    down, within [0, 1]; the authors' code has 0.3.  drawing: ``fill`` and ``resample``, see
    :func:`labkit.operations.apply`.
    Raises ValueError for k outside 1 to K, wobble outside [0, 1], or a treatment of another shape.

    >>> augment(torch.rand(8, 3, 16, 16), ops.OPERATIONS, uniform(8, 14)).shape
    torch.Size([8, 3, 16, 16])
    """
    _check(images, operations, given)
    if not 1 <= k <= len(operations):
        raise ValueError(f"k must lie in 1 to {len(operations)}, the number of operations, got {k}")
    if not 0 <= wobble <= 1:
        raise ValueError(f"wobble must lie in [0, 1], got {wobble}")
    chosen = torch.multinomial(given.probabilities.detach(), k, generator=generator)
    strength = given.magnitudes.detach().gather(1, chosen)
    if wobble:
        moved = torch.rand(strength.shape, generator=generator, device=images.device)
        strength = (strength + wobble * (2 * moved - 1)).clamp(0, 1)
    for turn in zip(chosen.T, strength.T, strict=True):
        images = ops.apply(images, operations, *turn, generator=generator, **drawing)
    return images


def mixture(
    images: Tensor,
    operations: Mapping[str, ops.Operation],
    given: Treatment,
    *,
    generator: torch.Generator | None = None,
    **drawing,
) -> Tensor:
    """Every operation applied, and each image's K versions mixed by its probabilities: float[B, C, H, W].

    Differentiable in the treatment. The gradient of a magnitude is straight-through, as in the authors'
    code: 1 at every pixel, whatever the operation does.  Arguments and errors as in :func:`augment`.
    """
    _check(images, operations, given)
    count, total = given.magnitudes.shape
    each = torch.arange(total, device=images.device).repeat(count)
    copies, strength = images.repeat_interleave(total, dim=0), given.magnitudes.detach().flatten()
    changed = ops.apply(copies, operations, each, strength, generator=generator, **drawing)
    through = (given.magnitudes - given.magnitudes.detach())[:, :, None, None, None]  # zero, with a gradient
    versions = changed.unflatten(0, (count, total)) + through
    return torch.einsum("bk,bkchw->bchw", given.probabilities, versions)


def _check(images: Tensor, operations: Mapping[str, ops.Operation], given: Treatment) -> None:
    wanted = (len(images), len(operations))
    for name, value in given._asdict().items():
        if tuple(value.shape) != wanted:
            raise ValueError(f"{name} must be float[B, K] = {wanted} here, got {tuple(value.shape)}")


def look_ahead(
    model: nn.Module, train: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor], *, lr: float
) -> Tensor:
    """The loss on held-out images after one pretended step on training images; a scalar in nats.

    train, held_out: (images, labels).  lr: size of the step, > 0, or ValueError.
    Differentiable in the training images and whatever they were made of. The model is not changed: the
    step is taken on copies, in evaluation mode, so that no image sees another through batch statistics.

    >>> from labkit import models
    >>> data = torch.rand(8, 3, 16, 16), torch.arange(8) % 2
    >>> look_ahead(models.cnn(classes=2), data, data, lr=0.1).requires_grad
    True
    """
    if not lr > 0:
        raise ValueError(f"lr must be positive, got {lr}")
    training = model.training
    model.eval()
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    now = F.cross_entropy(model(train[0]), train[1])
    chain = {"create_graph": True, "materialize_grads": True}  # zeros for weights that are not used
    gradients = torch.autograd.grad(now, list(weights.values()), **chain)
    stepped = {name: weights[name].detach() - lr * g for name, g in zip(weights, gradients, strict=True)}
    after = F.cross_entropy(functional_call(model, stepped, (held_out[0],)), held_out[1])
    model.train(training)
    return after


def policy_step(
    model: nn.Module,
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    operations: Mapping[str, ops.Operation],
    train: tuple[Tensor, Tensor],
    held_out: tuple[Tensor, Tensor],
    *,
    lr: float = 0.1,
    generator: torch.Generator | None = None,
    **drawing,
) -> float:
    """One update of the policy, towards a lower held-out loss one step of the model ahead: that loss.

    optimizer: of the policy's parameters.  train, held_out, lr: see :func:`look_ahead`; to first order lr
    only scales the policy's gradient, which Adam undoes.  The policy is read at temperature 1.
    Raises RuntimeError where no gradient reaches the policy, or one that is not finite: without the
    error it would go on and learn nothing.
    """
    given = treatment(model, policy, train[0])
    mixed = mixture(train[0], operations, given, generator=generator, **drawing)
    after = look_ahead(model, (mixed, train[1]), held_out, lr=lr)
    parameters = list(policy.parameters())
    found = torch.autograd.grad(after, parameters, allow_unused=True)
    norm = math.sqrt(sum(each.square().sum().item() for each in found if each is not None))
    if not 0 < norm < math.inf:
        raise RuntimeError(
            f"the held-out loss gives the policy a gradient of norm {norm}: do the model's logits depend on "
            "its images, and are all images finite?"
        )
    for parameter, gradient in zip(parameters, found, strict=True):
        parameter.grad = gradient
    optimizer.step()
    return after.item()


def augmented_share(time: float, tau: float) -> float:
    """The share of each batch that the policy treats: min(tanh(time / tau) + 0.01, 1).

    time, tau: in one unit, >= 0 and > 0, or ValueError; the authors' code has tau = 40 epochs of 240.

    >>> augmented_share(0, 40), round(augmented_share(40, 40), 3), augmented_share(400, 40)
    (0.01, 0.772, 1.0)
    """
    if not (tau > 0 and time >= 0):
        raise ValueError(f"takes time >= 0 and tau > 0, got {time} and {tau}")
    return min(math.tanh(time / tau) + 0.01, 1.0)


class MADAug:
    """The whole method, as the ``loss`` of :func:`labkit.training.fit`.

    policy: learns as the model trains, by Adam (``policy_lr``, weight decay 0.001).
    operations: by name, as many as the policy has.  held_out: (images, labels) to look ahead at.
    every: one policy update in so many steps; 0 for none.  start: share of training before the first.
    k, wobble: see :func:`augment`.  temperature: of the training images' treatment.
    ramp: tau of :func:`augmented_share`, as a share of training.  step: ``lr`` of :func:`look_ahead`.
    watch: called as ``watch(model, policy, progress)`` after every update.  drawing: see :func:`augment`.
    The defaults, but for ``wobble``, are those of the authors' script for CIFAR-10.
    Raises ValueError for every below 0, start outside [0, 1], or held-out data that do not fit.
    """

    def __init__(
        self,
        policy: Policy,
        operations: Mapping[str, ops.Operation],
        held_out: tuple[Tensor, Tensor],
        *,
        policy_lr: float = 1e-3,
        every: int = 3,
        start: float = 0.0,
        k: int = 2,
        wobble: float = 0.0,
        temperature: float = 3.0,
        ramp: float = 1 / 6,
        step: float = 0.1,
        watch: Callable[[nn.Module, Policy, float], None] | None = None,
        **drawing,
    ):
        if every < 0 or not 0 <= start <= 1:
            raise ValueError(f"every must be 0 or more, start lie in [0, 1], got {every} and {start}")
        counts = [len(part) for part in held_out]
        if not counts[0] == counts[1] > 0:
            raise ValueError(f"held_out must be as many images as labels, got {counts[0]} and {counts[1]}")
        self.policy, self.operations, self.held_out = policy, operations, held_out
        self.every, self.start, self.k, self.wobble, self.temperature = every, start, k, wobble, temperature
        self.ramp, self.step, self.watch, self.drawing, self.calls = ramp, step, watch, drawing, 0
        self.optimizer = torch.optim.Adam(policy.parameters(), lr=policy_lr, weight_decay=1e-3)

    def __call__(self, model, images: Tensor, labels: Tensor, *, progress: float, generator) -> Tensor:
        draws = self.drawing | {"generator": generator}
        if self.every and self.calls % self.every == 0 and progress >= self.start:
            order = torch.randperm(len(self.held_out[0]), generator=generator, device=images.device)
            batch = [part.to(images.device)[order[: len(images)]] for part in self.held_out]
            learner = model, self.policy, self.optimizer, self.operations
            policy_step(*learner, (images, labels), batch, lr=self.step, **draws)
            if self.watch is not None:
                self.watch(model, self.policy, progress)
        self.calls += 1
        count = int(augmented_share(progress, self.ramp) * len(images))
        plain, chosen = images[count:], images[:count]
        if count:
            given = treatment(model, self.policy, chosen, temperature=self.temperature)
            chosen = augment(chosen, self.operations, given, k=self.k, wobble=self.wobble, **draws)
        return F.cross_entropy(model(torch.cat([chosen, plain])), labels)
