"""LoRA adapters of ``peft`` on causal models: add one, choose which one speaks, train it, let it answer.

Adapters are those of ``peft``, an extra; models are any causal ones of ``transformers``.
Hu and others (2021),
*LoRA: Low-Rank Adaptation of Large Language Models.* arXiv:2106.09685.
"""

import warnings
from collections.abc import Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from labkit import language
from labkit.data.build import check_count
from labkit.seeding import seeded

__all__ = ["add_lora", "answer", "checked_texts", "fit_lora", "load_peft", "speaking"]


def load_peft():
    """The package peft, or ModuleNotFoundError with what to do."""
    try:
        import peft
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("adapters need the package peft: pip install peft") from error
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
    peft = load_peft()
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


def checked_texts(name: str, texts: Sequence[str], *, least: int = 1) -> list[str]:
    """The texts as a list; ValueError where they are fewer than ``least``, or one is empty."""
    if isinstance(texts, str) or len(texts) < least or not all(text.strip() for text in texts):
        raise ValueError(f"{name} must be {least} or more strings, and none empty, got {texts!r:.80}")
    return list(texts)
