"""Training on targets alone, and asking without examples: which option is likeliest after a prompt form."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit import language
from labkit.pretrain.restructured_pretraining import PromptForm

__all__ = ["best_form", "target_loss", "zero_shot"]


def target_loss(model: nn.Module, tokens: Tensor, labels: Tensor, **_) -> Tensor:
    """Mean cross-entropy, in nats, of the tokens that count, which alone get logits; for ``language.fit``.

    It equals :func:`labkit.language.next_token_loss`, and is faster where few tokens count, as in pairs.
    model: any causal model of transformers. tokens, labels: int64[B, T], -100 where a token does not count.
    """
    states = model.base_model(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
    counted = labels[:, 1:] != language.IGNORED
    return F.cross_entropy(model.get_output_embeddings()(states[counted]), labels[:, 1:][counted])


def zero_shot(
    model: nn.Module,
    tokenizer,
    examples: Sequence[Mapping[str, str]],
    form: PromptForm,
    *,
    batch_size: int = 64,
) -> float:
    """Percentage of the examples of which the right option is the likeliest, in [0, 100].

    examples: the fields of each.  form: asks for one of its options; the filled target is what is right.
    Where all options are single tokens, one pass per example is enough.
    Raises ValueError for no examples, a form without options, or a right target that is no option.
    """
    if not examples or not form.options:
        raise ValueError(
            f"there must be examples and options, got {len(examples)} examples and options {form.options}"
        )
    filled = [form.fill(each) for each in examples]
    prompts = [source for source, _ in filled]
    options = list(form.options)
    ids = tokenizer(options, add_special_tokens=False)["input_ids"]
    if all(len(each) == 1 for each in ids):
        chosen = _next(model, tokenizer, prompts, batch_size)[:, [each[0] for each in ids]].argmax(dim=1)
    else:
        chosen = language.choose(model, tokenizer, prompts, options, batch_size=batch_size)
    hits = [options[i] == target for i, (_, target) in zip(chosen.tolist(), filled, strict=True)]
    return 100 * sum(hits) / len(hits)


def best_form(
    model: nn.Module,
    tokenizer,
    examples: Sequence[Mapping[str, str]],
    forms: Sequence[PromptForm],
    *,
    batch_size: int = 64,
) -> PromptForm:
    """The form that answers most validation examples; of equals the first. ValueError for no forms."""
    if not forms:
        raise ValueError("there must be a form to choose from")
    scores = [zero_shot(model, tokenizer, examples, form, batch_size=batch_size) for form in forms]
    return forms[int(np.argmax(scores))]


@torch.no_grad()
def _next(model: nn.Module, tokenizer, prompts: list[str], batch_size: int) -> Tensor:
    """Logits of the token after each prompt: float[N, V]. Padded behind."""
    training = model.training
    model.eval()
    ids = [torch.tensor(each) for each in tokenizer(prompts)["input_ids"]]
    device = next(model.parameters()).device
    out = []
    for at in range(0, len(ids), batch_size):
        part = ids[at : at + batch_size]
        tokens = nn.utils.rnn.pad_sequence(part, batch_first=True).to(device)
        logits = model(input_ids=tokens, use_cache=False).logits
        last = torch.tensor([len(each) - 1 for each in part], device=device)
        out.append(logits[torch.arange(len(part), device=device), last].float().cpu())
    model.train(training)
    return torch.cat(out)
