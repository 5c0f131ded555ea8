r"""XF2T: sentences in many languages from English facts, with the role of every token told to the model.

An encoder-decoder reads facts as text and writes a sentence in the language that the prefix names. Two
things keep the structure of a fact from dissolving in a string. *Structure-aware input* puts a marker
before each field; *fact-aware embeddings* add to each token's vector one for its role :math:`r_i` (none,
subject, relation, object), in the encoder only:

.. math:: \text{rdf to L text: <H> subject <R> relation <T> object} \dots, \qquad
          h_i = E_\mathrm{token}(x_i) + E_\mathrm{role}(r_i)

One model serves all languages. Sagare, Abhishek, Singh, Sharma, Gupta, Varma (2022). *XF2T: Cross-lingual
Fact-to-Text Generation for Low-Resource Languages.* arXiv:2209.11252; markers, prefix and roles from the
authors' code. Other than there: fields are tokenized one by one, so that no token spans two of them, and
the role vectors are drawn as the tokens' are in T5, from N(0, 1).
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit import training
from labkit.seeding import generator

__all__ = ["MARKERS", "ROLES", "Encoded", "FactAware", "Field", "add_roles", "attention", "encode", "fit"]
__all__ += ["labels", "linearize", "nats_per_token", "packed", "random_roles", "silent", "slot_accuracy"]
__all__ += ["stacked_loss", "write"]

ROLES = ("none", "subject", "relation", "object")  # the role ids 0, 1, 2, 3
MARKERS = ("<H>", "<R>", "<T>")
IGNORED = -100  # the label of padding, in torch and in transformers


class Field(NamedTuple):
    """A piece of the input with its role: an index into ``ROLES``."""

    text: str
    role: int


class Encoded(NamedTuple):
    """Inputs of the encoder, each int64[B, T]: tokens, roles 0 to 3, and a mask that is 0 at padding."""

    tokens: Tensor
    roles: Tensor
    mask: Tensor


def linearize(facts: Sequence[tuple[str, str, str]], language: str, *, markers: bool = True) -> list[Field]:
    """Write facts as one string, in pieces that know their role.

    facts: (subject, relation, object) of str, at least one.  language: as the prefix shall name it.
    markers: put <H>, <R>, <T> (role none) before the fields; else the fields only follow each other.
    Raises ValueError for no facts, an empty field or language, or a field that contains a marker.

    >>> [field.text for field in linearize([("Kalo", "birthplace", "Riva")], "Tavi")]
    ['rdf to Tavi text:', ' <H>', ' Kalo', ' <R>', ' birthplace', ' <T>', ' Riva']
    """
    if len(facts) == 0:
        raise ValueError("facts must not be empty")
    if not language.strip():
        raise ValueError("language must not be empty")
    fields = [Field(f"rdf to {language} text:", 0)]
    for fact in facts:
        if len(fact) != 3:
            raise ValueError(f"a fact must be (subject, relation, object), got {fact!r}")
        for role, (marker, text) in enumerate(zip(MARKERS, fact, strict=True), start=1):
            if not text.strip() or any(each in text for each in MARKERS):
                raise ValueError(f"a field must not be empty or contain one of {MARKERS}, got {text!r}")
            if markers:
                fields.append(Field(" " + marker, 0))
            fields.append(Field(" " + text, role))
    return fields


def encode(
    tokenizer, inputs: Sequence[Sequence], languages: Sequence[str], *, markers: bool = True
) -> Encoded:
    """Tokens, roles and mask of several inputs, padded on the right.

    inputs: per example its facts.  languages: per example the language to write.  The tokenizer's
    end-of-text token closes each, with role none. Raises ValueError as :func:`linearize`, and where
    the two differ in number or are none.
    """
    if len(inputs) != len(languages) or len(inputs) == 0:
        raise ValueError(
            f"inputs and languages must be as many, and not none: {len(inputs)}, {len(languages)}"
        )
    rows, known = [], {}  # a field's tokens, which occurs many times, are looked up once
    for facts, language in zip(inputs, languages, strict=True):
        row = []
        for field in linearize(facts, language, markers=markers):
            if field.text not in known:
                known[field.text] = tokenizer(field.text, add_special_tokens=False)["input_ids"]
            row += [(token, field.role) for token in known[field.text]]
        rows.append([*row, (tokenizer.eos_token_id, 0)])
    longest, padding = max(map(len, rows)), [(tokenizer.pad_token_id, 0)]
    tokens, roles = torch.tensor([row + padding * (longest - len(row)) for row in rows]).unbind(dim=2)
    inside = torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]
    return Encoded(tokens.contiguous(), roles.contiguous(), inside.long())


def labels(tokenizer, sentences: Sequence[str]) -> Tensor:
    """The sentences with their end of text as int64[B, T], padded with -100, which no loss counts."""
    rows = tokenizer(list(sentences), add_special_tokens=False)["input_ids"]
    end, longest = tokenizer.eos_token_id, max(map(len, rows))
    return torch.tensor([[*row, end] + [IGNORED] * (longest - len(row)) for row in rows])


class FactAware(nn.Module):
    """An encoder-decoder whose encoder reads token plus role embeddings; see :func:`add_roles`."""

    def __init__(self, model: nn.Module, seed: int = 0, roles: int = len(ROLES)):
        super().__init__()
        self.model = model
        width = model.get_input_embeddings().weight.shape[1]
        self.roles = nn.Embedding(roles, width)
        nn.init.normal_(self.roles.weight, generator=generator(seed))

    def embed(self, tokens: Tensor, roles: Tensor) -> Tensor:
        """E_token + E_role: float[B, T, d]. Raises ValueError where the shapes differ."""
        if tokens.shape != roles.shape:
            raise ValueError(
                f"roles must have the shape of tokens, got {tuple(roles.shape)} and {tuple(tokens.shape)}"
            )
        return self.model.get_input_embeddings()(tokens) + self.roles(roles)

    def forward(self, tokens: Tensor, roles: Tensor, mask: Tensor, labels: Tensor, **settings):
        """What the model gives, loss included, for labels int64[B, T]; settings as the model's own."""
        settings |= dict(attention_mask=mask, labels=labels, use_cache=False)
        return self.model(inputs_embeds=self.embed(tokens, roles), **settings)

    def generate(self, tokens: Tensor, roles: Tensor, mask: Tensor, **settings) -> Tensor:
        """Token ids int64[B, T] that the decoder writes; settings as those of ``model.generate``."""
        return self.model.generate(inputs_embeds=self.embed(tokens, roles), attention_mask=mask, **settings)


def add_roles(model: nn.Module, *, seed: int = 0) -> FactAware:
    """Give an encoder-decoder of ``transformers`` (T5, mT5) fact-aware embeddings, without patching it.

    seed: of the role vectors. They start apart, at the size of T5's token vectors, so that attention can
    tell the fields from the first step; from zero, learning to use them takes longer.
    Raises TypeError for a model that is no encoder-decoder.
    """
    if not getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        raise TypeError(f"model must be an encoder-decoder, got {type(model).__name__}")
    return FactAware(model, seed)


def silent(model: nn.Module) -> FactAware:
    """The same model in the form of one with roles: their vectors are 0 and stay so in training."""
    model = add_roles(model)
    model.roles.requires_grad_(False).weight.zero_()
    return model


def random_roles(encoded: Encoded, *, vocabulary: int, seed: int = 0) -> Encoded:
    """The control: as many parameters, no information. Each token of the vocabulary has one fixed role.

    The role is drawn once per token id, so it says nothing that the token does not say, and it is no noise
    either: the same text always gets the same roles.
    """
    drawn = torch.randint(len(ROLES), (vocabulary,), generator=generator(seed))
    return encoded._replace(roles=drawn[encoded.tokens] * encoded.mask)


def _outputs(model: nn.Module, encoded: Encoded, wanted: Tensor, **settings):
    if isinstance(model, FactAware):
        return model(*encoded, wanted, **settings)
    settings |= dict(attention_mask=encoded.mask, labels=wanted, use_cache=False)
    return model(input_ids=encoded.tokens, **settings)


def _loss(model: nn.Module, packed: Tensor, wanted: Tensor, **_) -> Tensor:
    inside = int(packed[:, 2].any(dim=0).sum())  # padding that the whole batch has costs time only
    wanted = wanted[:, : int((wanted != IGNORED).any(dim=0).sum())].contiguous()
    return _outputs(model, Encoded(*packed[..., :inside].unbind(dim=1)), wanted).loss


def fit(model: nn.Module, encoded: Encoded, wanted: Tensor, **settings) -> training.Fit:
    """Train a model, with or without roles, in place: mean cross-entropy of the sentences, in nats.

    wanted: of :func:`labels`.  settings: as those of :func:`labkit.training.fit`.
    """
    return training.fit(model, torch.stack(encoded, dim=1), wanted, loss=_loss, **settings)


def packed(inputs: Sequence[Encoded], wanted: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs and sentences of several models, at one length, for training them side by side.

    They are the rows and labels of ``fit_side_by_side`` in ``labkit.pretrain.side_by_side``.
    """
    read, said = max(each.tokens.shape[1] for each in inputs), max(each.shape[1] for each in wanted)
    rows = [torch.stack(each, dim=1) for each in inputs]  # the mask hides padding, whatever its token
    rows = [F.pad(each, (0, read - each.shape[-1])) for each in rows]
    return rows, [F.pad(each, (0, said - each.shape[1]), value=IGNORED) for each in wanted]


def stacked_loss(model, rows: Tensor, wanted: Tensor, **_) -> Tensor:
    """The loss of :func:`fit` for a :class:`FactAware` model, on rows of :func:`packed`, under ``vmap``."""
    tokens, roles, mask = rows.unbind(dim=1)
    hidden = (1 - mask)[:, None, None] * torch.finfo(torch.float32).min  # what attention adds to its logits
    return model(tokens, roles, hidden, wanted).loss


@torch.no_grad()
def nats_per_token(model: nn.Module, encoded: Encoded, wanted: Tensor, *, batch_size: int = 64) -> float:
    """Mean negative log-likelihood of the tokens of held-out sentences, in nats."""
    device, total = next(model.parameters()).device, 0.0
    packed = torch.stack(encoded, dim=1)
    model.eval()
    for part, sentences in zip(packed.split(batch_size), wanted.split(batch_size), strict=True):
        counted = int((sentences != IGNORED).sum())
        total += float(_loss(model, part.to(device), sentences.to(device))) * counted
    return total / int((wanted != IGNORED).sum())


@torch.no_grad()
def attention(model: nn.Module, encoded: Encoded, wanted: Tensor) -> Tensor:
    """Where the last layer of the decoder looks while it writes: float[B, heads, written, read].

    Weights of the cross-attention to the encoder's tokens, each row of sum 1, for the sentences of
    :func:`labels`. The fast implementations of attention never form them: this sets the model's to
    "eager", the one that does, and it stays so. Raises ValueError for a model that gives none all the same.
    """
    inner = model.model if isinstance(model, FactAware) else model
    for part in inner.modules():  # encoder and decoder may have configurations of their own
        if hasattr(part, "set_attn_implementation"):
            part.set_attn_implementation("eager")
    model.eval()
    seen = _outputs(model, encoded, wanted, output_attentions=True).get("cross_attentions") or (None,)
    if seen[-1] is None:
        raise ValueError(
            f"model must give cross-attentions, {type(inner).__name__} gives none: "
            'load it with attn_implementation="eager"'
        )
    return seen[-1]


@torch.no_grad()
def write(
    model: nn.Module,
    tokenizer,
    encoded: Encoded,
    *,
    beams: int = 4,
    max_tokens: int = 64,
    batch_size: int = 64,
) -> list[str]:
    """One sentence per input, by beam search (greedy where ``beams`` is 1).

    Raises ValueError for fewer than one beam.
    """
    if beams < 1:
        raise ValueError(f"beams must be at least 1, got {beams}")
    device, texts = next(model.parameters()).device, []
    model.eval()
    for at in range(0, len(encoded.tokens), batch_size):
        tokens, roles, mask = (part[at : at + batch_size].to(device) for part in encoded)
        settings = dict(num_beams=beams, max_new_tokens=max_tokens, do_sample=False)
        if isinstance(model, FactAware):
            ids = model.generate(tokens, roles, mask, **settings)
        else:
            ids = model.generate(input_ids=tokens, attention_mask=mask, **settings)
        texts += tokenizer.batch_decode(ids, skip_special_tokens=True)
    return texts


def slot_accuracy(texts: Sequence[str], references: Sequence[str], names: Sequence[Sequence[str]]) -> float:
    """Percentage of slots that hold the right name, in [0, 100].

    A reference is a frame of function words around slots for names. A text fills a slot right if the
    frame fits it, word for word, and the slot then holds the reference's name; a text that the frame does
    not fit has no slot right.  names: per reference, the names that it contains.
    Raises ValueError for numbers that differ, or a name that its reference lacks.

    >>> slot_accuracy(["Kalo was born in Ri."], ["Kalo was born in Riva."], [["Kalo", "Riva"]])
    50.0
    """
    if not len(texts) == len(references) == len(names) or len(texts) == 0:
        raise ValueError(
            f"texts, references and names must be as many: {len(texts)}, {len(references)}, {len(names)}"
        )
    right = total = 0
    for text, reference, inside in zip(texts, references, names, strict=True):
        missing = [name for name in inside if name not in reference]
        if missing:
            raise ValueError(f"the reference {reference!r} must contain {missing[0]!r}")
        parts = re.split(
            "(" + "|".join(map(re.escape, sorted(inside, key=len, reverse=True))) + ")", reference
        )
        slots = parts[1::2]
        frame = "(.+?)".join(map(re.escape, parts[::2]))
        found = re.fullmatch(frame, text.strip())
        total += len(slots)
        right += sum(a == b for a, b in zip(found.groups(), slots, strict=True)) if found else 0
    return 100 * right / total
