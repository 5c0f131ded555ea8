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
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.distill.adapters import add_lora, answer, checked_texts, fit_lora, load_peft, speaking
from labkit.distill.trans_lora_inputs import (
    MODES,
    REAL,
    Discriminator,
    Filtered,
    rejection_filter,
    synthesize_inputs,
    train_discriminator,
    transfer_inputs,
)
from labkit.language import IGNORED

__all__ = ["MODES", "Discriminator", "Filtered", "TransferBundle", "add_lora", "answer", "fit_lora"]
__all__ += ["rejection_filter", "speaking", "synthesize_inputs", "train_discriminator", "transfer_inputs"]
__all__ += ["transfer_lora"]


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
    prompts = checked_texts("prompts", prompts)
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
            model = load_peft().PeftModel.from_pretrained(
                base, str(Path(folder) / kept["task"]), adapter_name=kept["task"]
            )
            model.load_adapter(str(Path(folder) / kept["discriminator"]), adapter_name=kept["discriminator"])
        return cls(model.eval(), **kept)

    def judge(self, tokenizer) -> Discriminator:
        """The kept discriminator, with the source model's tokenizer."""
        return Discriminator(self.model, tokenizer, self.discriminator, self.template, tuple(self.words))


_KEPT = ("seeds", "size", "task", "discriminator", "template", "words")
