r"""Trans-LoRA: carry a LoRA adapter over to another base model, without the data that it was trained on.

An adapter fits one base model. While the client's data are there, three things are made on the *source*
model: the adapter, a **discriminator** (another adapter) that tells the client's inputs :math:`\mathcal D`
from inputs that the source model wrote after a few kept ones, and those few, the *seeds*:

.. math::

    \min_\psi\; -\mathbb E_{x \sim \mathcal D} \log D_\psi(x)
    - \mathbb E_{x \sim p_S(\cdot \mid \text{seeds})} \log (1 - D_\psi(x)).

Later the data are gone. The *target* model writes new inputs after the seeds, the discriminator keeps what
looks like the client's until they are as many as the data were, the source model with its adapter answers
them, and an adapter of the target learns the answers:

.. math:: \min_\theta\; -\mathbb E_{x \sim p_T(\cdot \mid \text{seeds}),\, D_\psi(x) > 1/2}
    \log p_{T+\theta}\bigl(y_{S}(x) \mid x\bigr), \qquad y_S(x) = \text{the reply of source and adapter}.

Text goes between the models and nothing else, so they may differ in family, size and tokenizer.
Adapters are those of ``peft``; models are any causal ones of ``transformers``.

Wang, Ghosh, Cox, Antognini, Oliva, Feris, Karlinsky (2024). *Trans-LoRA: towards data-free Transferable
Parameter Efficient Finetuning.* arXiv:2405.17258. The published repository (raywang4/TransLoRA) holds no
code: the steps follow the abstract and the caption of its first figure, the rest is ours (the words of the
prompts, the threshold of one half, and as many inputs as there were data).
"""

import json
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit import language
from labkit.data.build import check_count
from labkit.data.build import real as number
from labkit.language import IGNORED
from labkit.seeding import generator as draws_of
from labkit.seeding import seeded

__all__ = ["MODES", "Discriminator", "Filtered", "TransferBundle", "add_lora", "answer", "fit_lora"]
__all__ += ["rejection_filter", "speaking", "synthesize_inputs", "train_discriminator", "transfer_inputs"]
__all__ += ["transfer_lora"]

MODES = ("threshold", "sample", "top")
LEAST = 0.01  # below this share of accepted inputs the seeds, the generator or the discriminator is wrong
REAL = "{input}\nIs this a real request?"  # what the discriminator is asked; it answers yes or no
SEEDS = "{examples}\n"  # a base model continues a list of examples; an instruct model wants words around it


class Filtered(NamedTuple):
    """What a filter kept, in random order; how many it saw; and the share of them that it would accept."""

    kept: list[str]
    seen: int
    acceptance: float


def _peft():
    try:
        import peft
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "adapters need the package peft, an extra of labkit: pip install 'labkit[adapters]'"
        ) from error
    return peft


def add_lora(
    model: nn.Module,
    *,
    name: str = "task",
    rank: int = 8,
    alpha: float | None = None,
    targets: str | Sequence[str] = "all-linear",
    seed: int = 0,
    **settings,
):
    """Give a model a new adapter and make it the active one, the only thing that trains: a ``PeftModel``.

    The model's layers are wrapped in place, as peft does it. A model that has adapters already keeps them:
    several share one base, and :func:`speaking` chooses. The new one changes nothing before it is trained.

    name: of the adapter.  rank: from 1 up.  alpha: the change is scaled by alpha / rank; twice the rank
    where None.  targets: modules to adapt, as ``LoraConfig`` takes them.  seed: of its first weights.
    settings: further ones of ``LoraConfig``, such as ``use_dora=True``.
    Raises ModuleNotFoundError without peft, ValueError for rank below 1 or a name that is taken.

    >>> adapted = add_lora(language.causal(300, width=16, layers=1, heads=2), rank=2)
    >>> sum(weight.requires_grad for weight in adapted.parameters()) > 0
    True
    """
    peft = _peft()
    check_count("rank", rank)
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
        **settings,
    )
    with seeded(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of transformers, about what peft asks it
        if not isinstance(model, peft.PeftModel):
            return peft.get_peft_model(model, config, adapter_name=name)
        if name in model.peft_config:
            raise ValueError(f"name must be new, there is an adapter {name!r} already")
        model.add_adapter(name, config)
    model.set_adapter(name)
    return model


@contextmanager
def speaking(model: nn.Module, name: str | None):
    """The model with the adapter ``name``, or with none, inside the block; afterwards as before.

    A model without adapters is left alone where name is None. Raises ValueError for an unknown name, and
    for a model that :func:`add_lora` has wrapped, where not what it returned is given but what it got.
    """
    if not hasattr(model, "peft_config"):
        if name is not None:
            raise ValueError(f"name must be None for a model without adapters, got {name!r}")
        yield model
        return
    if not hasattr(model, "disable_adapter"):  # its layers are wrapped, and it cannot switch them off
        raise ValueError("this model's layers have adapters: give the model that add_lora returned")
    if name is not None and name not in model.peft_config:
        raise ValueError(f"name must be one of {list(model.peft_config)}, the model's adapters, got {name!r}")
    if name is None:
        with model.disable_adapter():
            yield model
        return
    before = model.active_adapter
    model.set_adapter(name)
    try:
        yield model
    finally:
        model.set_adapter(before)


def fit_lora(
    model: nn.Module,
    tokenizer,
    prompts: Sequence[str],
    answers: Sequence[str],
    *,
    steps: int,
    lr: float = 1e-3,
    batch_size: int = 16,
    seed: int = 0,
    **settings,
) -> Tensor:
    """Train the active adapter, in place, to give each answer to its prompt: the losses, float[steps].

    Cross-entropy on the answer and the end of text after it. An answer begins with a space, as in
    :func:`labkit.language.pairs`; settings, and errors, as there and in :func:`labkit.training.fit`.
    """
    rows = language.pairs(prompts, answers, tokenizer)
    settings = {"weight_decay": 0.0} | settings
    return language.fit(
        model, rows.tokens, mask=rows.mask, steps=steps, lr=lr, batch_size=batch_size, seed=seed, **settings
    ).losses


def answer(
    model: nn.Module,
    tokenizer,
    prompts: Sequence[str],
    *,
    adapter: str | None = "task",
    max_tokens: int = 8,
    stop: Sequence[str] = (),
    batch_size: int = 256,
) -> list[str]:
    """The likeliest reply to each prompt, with an adapter or without; outer spaces cut off."""
    with speaking(model, adapter):
        said = language.generate(
            model, tokenizer, prompts, max_tokens=max_tokens, stop=stop, batch_size=batch_size
        )
    return [text.strip() for text in said]


def synthesize_inputs(
    model: nn.Module,
    tokenizer,
    seeds: Sequence[str],
    n: int,
    *,
    shots: int = 3,
    template: str = SEEDS,
    max_tokens: int = 64,
    stop: Sequence[str] = ("\n",),
    temperature: float = 1.0,
    batch_size: int = 256,
    seed: int = 0,
) -> list[str]:
    """The bare model writes ``n`` inputs, each after ``shots`` of the seeds in random order.

    Empty replies and copies of a seed count as written, and are left out: the list may be shorter.
    seeds: the kept inputs, two or more.  shots: how many of them one prompt shows, 0 to all.
    template: the prompt; ``{examples}`` becomes one line per example. Without shots, the token for the
    beginning or the end of a text stands alone.
    max_tokens, stop, temperature, seed: as in :func:`labkit.language.generate`.
    Raises ValueError for fewer than two seeds, an empty one, and shots outside 0 to their number.

    >>> words = language.tokenizer(["one two\\ntwo three\\n"], size=270)
    >>> model = language.causal(words, width=16, layers=1, heads=2)
    >>> len(synthesize_inputs(model, words, ["one two", "two three"], 4, shots=2, max_tokens=3)) <= 4
    True
    """
    seeds = _texts("seeds", seeds, least=2)
    check_count("n", n)
    check_count("shots", shots, low=0, high=len(seeds))
    draws = draws_of(seed)
    blank = tokenizer.bos_token or tokenizer.eos_token
    prompts = []
    for _ in range(n):
        chosen = [seeds[i] for i in torch.randperm(len(seeds), generator=draws)[:shots].tolist()]
        prompts.append(template.format(examples="\n".join(chosen)) if chosen else blank)
    with speaking(model, None):
        said = language.generate(
            model,
            tokenizer,
            prompts,
            max_tokens=max_tokens,
            stop=stop,
            temperature=temperature,
            seed=seed,
            batch_size=batch_size,
        )
    known = set(seeds)
    return [text for text in (each.strip() for each in said) if text and text not in known]


@dataclass(frozen=True)
class Discriminator:
    """Tells inputs that a client would send from inputs that a model wrote: an adapter of the source model.

    model, tokenizer: the source model's, with the adapter ``name``.  template: the question, with the text
    at ``{input}``.  words: the two answers, for real and for synthetic.
    """

    model: nn.Module
    tokenizer: object
    name: str = "discriminator"
    template: str = REAL
    words: tuple[str, str] = (" yes", " no")

    def score(self, texts: Sequence[str], *, batch_size: int = 256) -> Tensor:
        """Probability that each text is real, of the two answers: float64[N] in [0, 1]."""
        asked = [self.template.format(input=text) for text in _texts("texts", texts)]
        with speaking(self.model, self.name):
            yes, no = (
                language.log_likelihoods(
                    self.model, self.tokenizer, asked, [word] * len(asked), batch_size=batch_size
                )
                for word in self.words
            )
        return (yes - no).sigmoid()


def train_discriminator(
    model: nn.Module,
    tokenizer,
    real: Sequence[str],
    synthetic: Sequence[str],
    *,
    steps: int,
    name: str = "discriminator",
    template: str = REAL,
    words: tuple[str, str] = (" yes", " no"),
    shuffled: bool = False,
    rank: int = 8,
    alpha: float | None = None,
    targets: str | Sequence[str] = "all-linear",
    seed: int = 0,
    **settings,
) -> Discriminator:
    """Add an adapter to the *source* model that answers whether an input is real, and train it.

    real: the client's inputs.  synthetic: what the source model wrote after the seeds.  Batches draw from
    both as they are: give as many of each, and the score's odds are the ratio of their densities.
    shuffled: the control: the same texts, answers and steps, the answers in random order.
    rank, alpha, targets, seed: of the adapter.  settings: of :func:`fit_lora` (lr, batch_size).  The adapter
    that was active stays so.
    Raises ValueError where a list is empty or holds an empty text, where the two words are the same, or
    the name is taken.
    """
    real, synthetic = _texts("real", real), _texts("synthetic", synthetic)
    if words[0] == words[1]:
        raise ValueError(f"words must be two different answers, got {words}")
    said = [words[0]] * len(real) + [words[1]] * len(synthetic)
    if shuffled:
        said = [said[i] for i in torch.randperm(len(said), generator=draws_of(seed)).tolist()]
    before = getattr(model, "active_adapter", None)
    adapted = add_lora(model, name=name, rank=rank, alpha=alpha, targets=targets, seed=seed)
    prompts = [template.format(input=text) for text in (*real, *synthetic)]
    fit_lora(adapted, tokenizer, prompts, said, steps=steps, seed=seed, **settings)
    if before is not None:
        adapted.set_adapter(before)
    return Discriminator(adapted, tokenizer, name, template, words)


def rejection_filter(
    candidates: Sequence[str],
    scores: Tensor,
    n: int | None = None,
    *,
    mode: str = "threshold",
    threshold: float = 0.5,
    generator: torch.Generator | None = None,
) -> Filtered:
    """Keep up to ``n`` of the candidates by their scores; all that are accepted where n is None.

    candidates: texts.  scores: float[N] in [0, 1], as :meth:`Discriminator.score` gives them.
    mode: "threshold" accepts a score above ``threshold``; "sample" accepts with the odds score / (1 - score),
    relative to the largest odds, at most those of 0.95: rejection sampling, exact where the score is the true
    posterior; "top" takes the ``n`` highest scores, which gives up variety.
    Raises ValueError for another mode, lengths that differ, no candidates, a score outside [0, 1], "top"
    without n, and where less than one in a hundred is accepted.

    >>> rejection_filter(["a", "b", "c"], torch.tensor([0.9, 0.2, 0.8]), mode="top", n=1)
    Filtered(kept=['a'], seen=3, acceptance=0.3333333333333333)
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    if len(candidates) == 0 or scores.shape != (len(candidates),):
        raise ValueError(
            f"scores must be one for each candidate, and not none: {tuple(scores.shape)}, {len(candidates)}"
        )
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("scores must lie in [0, 1]")
    number("threshold", threshold, 0, 1)
    if mode == "top":
        if n is None:
            raise ValueError("mode 'top' needs n, the number to keep")
        chosen = scores.argsort(descending=True, stable=True)[:n].tolist()
        return Filtered([candidates[i] for i in chosen], len(candidates), len(chosen) / len(candidates))
    if mode == "sample":
        odds = scores.clamp(max=0.95) / (1 - scores.clamp(max=0.95))
        chance = odds / odds.max().clamp(min=torch.finfo(odds.dtype).tiny)
        accepted = torch.rand(len(scores), generator=generator, device=scores.device) < chance
    else:
        accepted = scores > threshold
    share = accepted.double().mean().item()
    if share < LEAST:
        raise ValueError(
            f"the discriminator accepts {share:.2%} of the inputs, less than {LEAST:.0%}: look at what is "
            "written and at the scores; more shots, a lower temperature, other seeds, or a threshold below "
            f"{threshold} may help"
        )
    order = torch.randperm(len(scores), generator=generator).tolist()
    kept = [candidates[i] for i in order if accepted[i]]
    return Filtered(kept[:n], len(candidates), share)


def transfer_inputs(
    model: nn.Module,
    tokenizer,
    seeds: Sequence[str],
    n: int,
    *,
    discriminator: Discriminator | None,
    mode: str = "threshold",
    threshold: float = 0.5,
    rounds: int = 20,
    seed: int = 0,
    **writing,
) -> Filtered:
    """The target model writes, the discriminator rejects, until ``n`` inputs are kept.

    discriminator: None keeps all that is written.  rounds: at most so many times ``n`` inputs are written.
    mode, threshold: of :func:`rejection_filter`; not "top".  writing: of :func:`synthesize_inputs`.
    Raises ValueError for mode "top", and RuntimeError, with the acceptance rate, where too few are kept.
    """
    if mode == "top":
        raise ValueError("mode must be 'threshold' or 'sample': the best of what is written has no end")
    kept: list[str] = []
    seen, shares = 0, []
    for turn in range(rounds):
        written = synthesize_inputs(model, tokenizer, seeds, n, seed=1_000 * seed + turn, **writing)
        if not written:
            continue
        if discriminator is None:
            found = Filtered(written, len(written), 1.0)
        else:
            scores = discriminator.score(written)
            found = rejection_filter(
                written, scores, mode=mode, threshold=threshold, generator=draws_of(1_000 * seed + turn)
            )
        kept, seen = kept + found.kept, seen + found.seen
        shares.append(found.acceptance * found.seen)
        if len(kept) >= n:
            return Filtered(kept[:n], seen, sum(shares) / seen)
    raise RuntimeError(
        f"{len(kept)} of {n} inputs after {rounds} rounds of {n}; of {seen} that were written and were not "
        f"empty, {sum(shares):.0f} were accepted: give more rounds, or look at what is written"
    )


def transfer_lora(
    source: nn.Module,
    source_tokenizer,
    target: nn.Module,
    tokenizer,
    prompts: Sequence[str],
    *,
    steps: int,
    adapter: str = "task",
    loss: str = "ce",
    name: str = "task",
    rank: int = 8,
    alpha: float | None = None,
    targets: str | Sequence[str] = "all-linear",
    max_tokens: int = 8,
    stop: Sequence[str] = (),
    seed: int = 0,
    **settings,
):
    """A new adapter of the target that has learnt what the source and its adapter reply: a ``PeftModel``.

    source: with the adapter ``adapter``; None for the bare model.  prompts: the inputs, in the words in
    which the task is asked. An input to which the source replies nothing is left out.
    loss: "ce" learns the text of the replies, whatever the tokenizers; "kl" the distribution at each of
    their tokens, which takes one vocabulary.  name, rank, alpha, targets, seed: of the new adapter.
    max_tokens, stop: of a reply.  settings: of :func:`fit_lora` (lr, batch_size).
    Raises ValueError for another loss, "kl" between different vocabularies, no prompts, no replies at all.
    """
    if loss not in ("ce", "kl"):
        raise ValueError(f"loss must be 'ce' or 'kl', got {loss!r}")
    if loss == "kl" and source_tokenizer.get_vocab() != tokenizer.get_vocab():
        raise ValueError("loss 'kl' needs one vocabulary for source and target; take loss='ce'")
    prompts = _texts("prompts", prompts)
    said = answer(source, source_tokenizer, prompts, adapter=adapter, max_tokens=max_tokens, stop=stop)
    pairs = [(prompt, f" {reply}") for prompt, reply in zip(prompts, said, strict=True) if reply]
    if not pairs:
        raise ValueError(f"the source replies nothing to any of the {len(prompts)} prompts")
    if loss == "kl":
        settings["loss"] = _divergence(source.eval(), adapter)
    adapted = add_lora(target, name=name, rank=rank, alpha=alpha, targets=targets, seed=seed)
    fit_lora(adapted, tokenizer, *zip(*pairs, strict=True), steps=steps, seed=seed, **settings)
    return adapted


def _divergence(source: nn.Module, adapter: str | None):
    """The loss KL(source || target) at the counted positions, in nats."""

    def loss(model: nn.Module, tokens: Tensor, labels: Tensor, **_) -> Tensor:
        counted = labels[:, 1:] != IGNORED
        with torch.no_grad(), speaking(source, adapter):
            known = source(input_ids=tokens[:, :-1], use_cache=False).logits[counted].log_softmax(dim=-1)
        guessed = model(input_ids=tokens[:, :-1], use_cache=False).logits[counted].log_softmax(dim=-1)
        return F.kl_div(guessed, known, reduction="batchmean", log_target=True)

    return loss


@dataclass(frozen=True)
class TransferBundle:
    """What is kept when the data go: the two adapters of the source model, the seeds, the number of data.

    model: the source model with its adapters ``task`` and ``discriminator``, by name.  seeds: the kept
    inputs.  size: how many data there were, so that as many inputs are written.
    """

    model: nn.Module
    seeds: Sequence[str]
    size: int
    task: str = "task"
    discriminator: str = "discriminator"
    template: str = REAL
    words: Sequence[str] = field(default=(" yes", " no"))

    def save(self, folder: str | Path) -> None:
        """Write adapters (safetensors) and seeds into a folder; the base model is not written."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of peft, about a base model that no hub knows
            self.model.save_pretrained(folder, selected_adapters=[self.task, self.discriminator])
        kept = {name: getattr(self, name) for name in _KEPT}
        path = Path(folder) / "transfer.json"
        path.write_text(json.dumps(kept, ensure_ascii=False, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path, base: nn.Module) -> "TransferBundle":
        """Read what :meth:`save` wrote, onto the base model that the adapters were made for."""
        kept = json.loads((Path(folder) / "transfer.json").read_text(encoding="utf-8"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            model = _peft().PeftModel.from_pretrained(
                base, str(Path(folder) / kept["task"]), adapter_name=kept["task"]
            )
            model.load_adapter(str(Path(folder) / kept["discriminator"]), adapter_name=kept["discriminator"])
        return cls(model.eval(), **kept)

    def judge(self, tokenizer) -> Discriminator:
        """The kept discriminator, with the source model's tokenizer."""
        return Discriminator(self.model, tokenizer, self.discriminator, self.template, tuple(self.words))


_KEPT = ("seeds", "size", "task", "discriminator", "template", "words")


def _texts(name: str, texts: Sequence[str], *, least: int = 1) -> list[str]:
    if isinstance(texts, str) or len(texts) < least or not all(text.strip() for text in texts):
        raise ValueError(f"{name} must be {least} or more strings, and none empty, got {texts!r:.80}")
    return list(texts)
