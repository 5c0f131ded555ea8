r"""Online distillation of a draft: it learns, while it serves, from what the target said in its place.

Each request leaves its tokens and the places where a guess was rejected. After every eight requests the draft
takes one step on the target's distributions :math:`p` at those places :math:`W`,

.. math:: L(\theta) = \frac{1}{|W|} \sum_{t \in W} D\left(p_t \,\|\, q_{\theta, t}\right),

and forgets them. :math:`D` is the forward Kullback-Leibler divergence, or the reverse one, or nine tenths of
the first and one tenth of the second. Liu, Hu, Bailis, Cheung, Deng, Stoica, Zhang (2023). *Online
Speculative Decoding.* arXiv:2310.07177; code: LiuXiaoxuanPKU/OSD.

The published code notes the place of the last token of every step, and takes the logits at that place, which
predict the token after it. Here a token is learnt from the logits before it; ``positions="after"`` takes
those of the place itself.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

__all__ = ["LOSSES", "POSITIONS", "DraftRouter", "OnlineDistiller", "divergence"]

LOSSES = ("forward", "reverse", "mixed")
POSITIONS = ("rejected", "after", "random", "all")
ADAMW = partial(torch.optim.AdamW, weight_decay=0.0, fused=True)


def divergence(logits: Tensor, targets: Tensor, kind: str = "forward") -> Tensor:
    """How far a draft is from its target at each place, in nats: float[N], from logits float[N, V] of each.

    kind: "forward" is KL(p || q), "reverse" KL(q || p), "mixed" 0.9 forward + 0.1 reverse.
    Raises ValueError for another kind, or shapes that differ.

    >>> divergence(torch.zeros(1, 2), torch.tensor([[0.0, 50.0]])).item()  # log 2
    0.6931471824645996
    """
    if kind not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {kind!r}")
    if logits.shape != targets.shape:
        raise ValueError(f"logits and targets must have one shape: {logits.shape}, {targets.shape}")
    q, p = logits.float().log_softmax(dim=-1), targets.float().log_softmax(dim=-1)
    forward = (p.exp() * (p - q)).sum(dim=-1)
    if kind == "forward":
        return forward
    reverse = (q.exp() * (q - p)).sum(dim=-1)
    return reverse if kind == "reverse" else 0.9 * forward + 0.1 * reverse


class OnlineDistiller:
    """Trains a draft, in place, on the requests that it serves.

    target, draft: causal models of ``transformers`` with one vocabulary.  every: requests per update, from 1
    up.  positions: which places of a reply count:

    - "rejected": where a guess was not kept (the method);
    - "random": as many, drawn from the reply (a control);
    - "all": the whole reply;
    - "after": the place after each rejection, as the published code has it.

    loss: see :func:`divergence`.  lr: constant, 1e-4 for models of usual size; a tiny one needs more.
    optimizer: called as ``optimizer(parameters, lr=lr)``; AdamW without weight decay.
    generator: of the "random" places.  ``losses`` holds the loss of each update, ``buffer`` what waits.
    Raises ValueError for other numbers and names.

    >>> from labkit import language
    >>> target, draft = (language.causal(9, width=8, layers=1, heads=2, seed=seed) for seed in (0, 1))
    >>> distiller = OnlineDistiller(target, draft, every=1, lr=1e-2)
    >>> distiller.observe(torch.tensor([2, 3, 4, 5]), rejected=[2], start=1)
    >>> len(distiller.losses)
    1
    """

    def __init__(
        self,
        target: nn.Module,
        draft: nn.Module,
        *,
        every: int = 8,
        positions: str = "rejected",
        loss: str = "forward",
        lr: float = 1e-4,
        optimizer: Callable[..., torch.optim.Optimizer] = ADAMW,
        generator: torch.Generator | None = None,
    ):
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        if positions not in POSITIONS:
            raise ValueError(f"positions must be one of {', '.join(POSITIONS)}, got {positions!r}")
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")
        if not lr > 0:
            raise ValueError(f"lr must be above 0, got {lr}")
        self.target, self.draft = target, draft
        self.every, self.positions, self.loss, self.generator = every, positions, loss, generator
        self.stepper = optimizer(draft.parameters(), lr=lr)
        self.buffer, self.losses = [], []

    def observe(
        self, tokens: Tensor, rejected: Sequence[int], start: int, logits: Tensor | None = None
    ) -> None:
        """Remember a request, and after every ``every`` of them take a step.

        tokens: int64[T], prompt and reply.  rejected: places in it of the tokens that replaced a guess.
        start: where the reply begins, from 1 up.  logits: float[T, V] of the target on these tokens, where
        they were kept from checking; else the target reads the text once more when the step is due.
        Raises ValueError for places outside of the reply.
        """
        places = [int(place) for place in rejected]
        if not 1 <= start <= len(tokens) or any(not start <= place < len(tokens) for place in places):
            raise ValueError(
                f"rejected places must lie in the reply, {start} to {len(tokens) - 1}, got {places}"
            )
        self.buffer.append((tokens, self._places(places, start, len(tokens)), logits))
        if len(self.buffer) >= self.every:
            self.update()

    def update(self) -> None:
        """One step on what was remembered, which is forgotten then; none where no place counts."""
        held, self.buffer = self.buffer, []
        rows = [row for row, (_, places, _) in enumerate(held) for _ in places]
        before = [place - 1 for _, places, _ in held for place in places]  # logits at i predict token i + 1
        if not rows:
            return
        # Padded on the right, where a causal model does not look.
        tokens = nn.utils.rnn.pad_sequence([each for each, _, _ in held], batch_first=True)
        if all(logits is not None for _, _, logits in held):
            known = torch.stack([logits[place - 1] for _, places, logits in held for place in places])
        else:
            with torch.no_grad():
                known = self.target.eval()(input_ids=tokens, use_cache=False).logits[rows, before]
        guessed = self.draft.train()(input_ids=tokens, use_cache=False).logits[rows, before]
        value = divergence(guessed, known, self.loss).mean()
        self.stepper.zero_grad(set_to_none=True)
        value.backward()
        self.stepper.step()
        self.draft.eval()
        self.losses.append(value.item())

    def _places(self, rejected: list[int], start: int, length: int) -> list[int]:
        """The places of the tokens to learn."""
        if self.positions == "all":
            return list(range(start, length))
        if self.positions == "after":
            return [place + 1 for place in rejected if place + 1 < length]
        if self.positions == "random":
            order = torch.randperm(length - start, generator=self.generator)
            return sorted((start + order[: len(rejected)]).tolist())
        return rejected


class DraftRouter:
    """Several drafts, one for each kind of query.

    drafts: kind -> draft, or draft and distiller, or whatever serves a query.  key: query -> kind.
    Raises ValueError for no drafts, and on a call whose kind has none.

    >>> kind = lambda text: "code" if "(" in text else "prose"
    >>> DraftRouter({"code": "draft A", "prose": "draft B"}, kind)("print(1)")
    'draft A'
    """

    def __init__(self, drafts: Mapping, key: Callable):
        if not drafts:
            raise ValueError("drafts must not be empty")
        self.drafts, self.key = dict(drafts), key

    def __call__(self, query):
        kind = self.key(query)
        if kind not in self.drafts:
            raise ValueError(f"no draft for {kind!r}; there are {', '.join(map(repr, self.drafts))}")
        return self.drafts[kind]
