"""Tokenizers that train in a second, lose nothing, and save as any ``transformers`` tokenizer does."""

from collections.abc import Iterable, Sequence

__all__ = ["lexicon", "tokenizer"]

PAD, EOS, MASK = "<pad>", "<eos>", "<mask>"  # always the ids 0, 1 and 2
BYTES = 256
# A piece costs its score, and the cheapest split wins: words before pieces, pieces before single bytes.
SCORES = {"word": -1.5, "piece": -1.0, "byte": -20.0}


def tokenizer(texts: Iterable[str], *, size: int = 1024, special: Sequence[str] = ()):
    """Train byte-pair encoding on texts and return a fast ``transformers`` tokenizer.

    Every text encodes, also with characters that the training never saw, because all 256 bytes are in
    the vocabulary; and decoding gives it back exactly. Digits stand alone. Ids 0, 1, 2 are padding, end
    of text and mask; then ``special``. Padding is on the left, as generation wants it.

    texts: str, at least one.  size: of the vocabulary, at least 259 and the number of ``special``; few texts
    give a smaller one, where nothing is left to join.
    special: further tokens that never split.
    Raises ValueError for no texts or a size that is too small; TypeError where a text is no str.

    >>> words = tokenizer(["the cat sat", "the cat ran"], size=280)
    >>> words.decode(words("the cat näht 12")["input_ids"])
    'the cat näht 12'
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    texts = _checked(texts)
    names = _special(special)
    if size < len(names) + BYTES:
        raise ValueError(f"size must be at least {len(names) + BYTES} (bytes and special tokens), got {size}")
    raw = Tokenizer(models.BPE())
    _lossless(raw)
    raw.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=names,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    return _wrapped(raw, special)


def lexicon(
    words: Iterable[str],
    pieces: Iterable[str] = (),
    *,
    texts: Iterable[str] | None = None,
    special: Sequence[str] = (),
):
    """Build a tokenizer from known words and pieces of names, without training.

    A word is one token, with or without a space before it, with or without a capital. Anything else splits
    into ``pieces`` (for names: their syllables), so that a name that no text contained still consists of
    known tokens; what remains falls back to bytes, and numbers to digits. Lossless as :func:`tokenizer`.

    words, pieces: str without spaces.  texts: where given, only the forms that occur in them are kept,
    which makes the vocabulary smaller.  special: further tokens that never split.
    Raises ValueError for no words, an empty one or one with a space.

    >>> names = lexicon(["lives", "in"], ["ka", "lo", "ri"])
    >>> [names.decode(i) for i in names("Kalori lives in Lokari")["input_ids"]]
    ['Ka', 'lo', 'ri', ' lives', ' in', ' Lo', 'ka', 'ri']
    """
    from tokenizers import Tokenizer, models, pre_tokenizers

    words, pieces = list(words), list(pieces)
    for word in (*words, *pieces):
        if not isinstance(word, str) or not word or word.split() != [word]:
            raise ValueError(f"words and pieces must be strings without spaces, got {word!r}")
    if not words and not pieces:
        raise ValueError("words and pieces must not both be empty")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    scores = {name: 0.0 for name in _special(special)}
    scores |= {letter: SCORES["byte"] for letter in alphabet}

    raw = Tokenizer(models.Unigram())
    _lossless(raw)
    split = raw.pre_tokenizer.pre_tokenize_str
    seen = None if texts is None else {part for text in _checked(texts) for part, _ in split(text)}
    for kind, given in (("piece", pieces), ("word", words)):
        for word in given:
            for form in (word, word[:1].upper() + word[1:]):
                for spaced in (form, " " + form):
                    parts = [part for part, _ in split(spaced)]
                    if len(parts) == 1 and (seen is None or _occurs(parts[0], kind, seen)):
                        scores.setdefault(parts[0], SCORES[kind])
    raw.model = models.Unigram(list(scores.items()), unk_id=0)
    return _wrapped(raw, special)


def _occurs(form: str, kind: str, seen: set[str]) -> bool:
    return form in seen if kind == "word" else any(form in part for part in seen)


def _special(special: Sequence[str]) -> list[str]:
    names = [PAD, EOS, MASK, *special]
    if len(set(names)) < len(names):
        raise ValueError(f"special tokens must differ from each other and from {PAD} {EOS} {MASK}: {special}")
    return names


def _checked(texts: Iterable[str]) -> list[str]:
    texts = [texts] if isinstance(texts, str) else list(texts)
    if not texts:
        raise ValueError("texts must not be empty")
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"texts must be str, got {type(text).__name__}")
    return texts


def _lossless(raw) -> None:
    """Bytes as letters, digits alone, words with the space before them; and the way back."""
    from tokenizers import decoders, pre_tokenizers

    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    raw.decoder = decoders.ByteLevel()


def _wrapped(raw, special: Sequence[str]):
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token=PAD,
        eos_token=EOS,
        mask_token=MASK,
        additional_special_tokens=list(special),
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
