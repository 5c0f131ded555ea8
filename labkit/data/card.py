"""Data cards: where data come from, what is in them (computed), what they are good for."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from labkit.data.build import labels_of

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from torch import Tensor

__all__ = ["Card", "Composition", "Texts", "compose"]


class Texts(NamedTuple):
    """Figures of a text column, over the training examples; words are what white space separates.

    different: texts that differ.  words: in all of them.  median: words per text.
    distinct: words that differ, their case kept.  longest: characters of the longest text.
    """

    different: int
    words: int
    median: float
    distinct: int
    longest: int


@dataclass(frozen=True)
class Composition:
    """Figures computed from loaded data.

    splits: number of examples per split.
    classes: per class of the column ``label``, its count in each split; empty without that column.
    images: (channels, height, width), None without images or where they differ in size.
    mean, std: per channel, of the training images in [0, 1]; empty where ``images`` is None.
    columns: name and type of each column.  settings: how the data were loaded.
    texts: figures of each column of text, of the training examples.
    """

    splits: dict[str, int]
    classes: dict[str, dict[str, int]]
    images: tuple[int, int, int] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    columns: dict[str, str]
    settings: str
    texts: dict[str, Texts] = field(default_factory=dict)


@dataclass(frozen=True)
class Card:
    """A data card.

    composition: None where the data could not be loaded; ``missing`` then says why.
    settings: the names of what :func:`labkit.data.load` takes for these data.
    """

    name: str
    summary: str
    origin: str
    licence: str
    limits: tuple[str, ...]
    use: str
    composition: Composition | None = None
    missing: str = ""
    settings: tuple[str, ...] = ()

    def markdown(self) -> str:
        """The card as a Markdown section."""
        parts = [
            f"## {self.name}",
            self.summary,
            f"**Origin.** {self.origin}",
            f"**Licence.** {self.licence}",
            f"**Recommended use.** {self.use}",
            "**Limits.**\n\n" + "\n".join(f"- {limit}" for limit in self.limits),
            "**Settings.** " + ", ".join(f"`{name}`" for name in ("size", "seed", *self.settings)),
            self._composition(),
        ]
        return "\n\n".join(parts) + "\n"

    def _repr_markdown_(self) -> str:
        return self.markdown()

    def _composition(self) -> str:
        if self.composition is None:
            return f"**Composition.** Not computed: {self.missing}"
        facts = self.composition
        measured = "."
        if facts.images is not None:
            channels, height, width = facts.images
            measured = (
                f"; images of {height}x{width} pixels, {channels} channel{'s' if channels > 1 else ''}; "
                f"mean {_figures(facts.mean)}, standard deviation {_figures(facts.std)}."
            )
        splits = ", ".join(f"{count:,} {split}" for split, count in facts.splits.items())
        lines = [
            f"**Composition** (computed from `{facts.settings}`). {splits} examples{measured}",
        ]
        if facts.texts:
            lines += ["", "| text (train) | different | words | per text, median | different words |"]
            lines += ["|---|---:|---:|---:|---:|"]
            lines += [
                f"| {name} | {t.different:,} | {t.words:,} | {t.median:g} | {t.distinct:,} |"
                for name, t in facts.texts.items()
            ]
        if facts.classes:
            lines += ["", "| class | " + " | ".join(facts.splits) + " |"]
            lines += ["|---|" + "---:|" * len(facts.splits)]
        for name, counts in facts.classes.items():
            lines.append(f"| {name} | " + " | ".join(f"{counts[split]:,}" for split in facts.splits) + " |")
        lines += ["", "| column | type |", "|---|---|"]
        lines += [f"| {name} | {kind} |" for name, kind in facts.columns.items()]
        return "\n".join(lines)


def compose(data: "DatasetDict", settings: str) -> Composition:
    """Count classes and words and measure images.

    data: "train" and other splits; where it has a column ``label``, that is a ``ClassLabel``.
    settings: the call that loaded them, as text.
    """
    features = data["train"].features
    names = features["label"].names if "label" in features else []
    images = _images(data["train"])
    return Composition(
        splits={split: len(part) for split, part in data.items()},
        classes=_classes(data, names) if names else {},
        images=None if images is None else tuple(images.shape[1:]),
        mean=() if images is None else tuple(images.mean(dim=(0, 2, 3)).tolist()),
        std=() if images is None else tuple(images.std(dim=(0, 2, 3)).tolist()),
        columns={name: _kind(feature) for name, feature in features.items()},
        settings=settings,
        texts={
            name: _texts(data["train"].with_format("arrow")[:].column(name).to_pylist())
            for name, feature in features.items()
            if getattr(feature, "dtype", None) == "string"
        },
    )


def _classes(data: "DatasetDict", names: list[str]) -> dict[str, dict[str, int]]:
    counts = {split: np.bincount(labels_of(part), minlength=len(names)) for split, part in data.items()}
    return {name: {split: int(counts[split][k]) for split in data} for k, name in enumerate(names)}


def _texts(texts: list[str]) -> Texts:
    """The figures of a column.

    >>> _texts(["to be", "or not to be", "to be"])
    Texts(different=2, words=8, median=2.0, distinct=4, longest=12)
    """
    words = [text.split() for text in texts]
    return Texts(
        different=len(set(texts)),
        words=sum(map(len, words)),
        median=float(np.median([len(each) for each in words])),
        distinct=len({word for each in words for word in each}),
        longest=max(map(len, texts)),
    )


def _images(part: "Dataset") -> "Tensor | None":
    """The images of a split, or None where it has none or they differ in size."""
    from labkit.data.tensors import MixedSizes, tensors

    if "image" not in part.features:
        return None
    try:
        return tensors(part.select_columns(["image", "label"])).images
    except MixedSizes:
        return None


def _kind(feature) -> str:
    """A short name of a feature's type.

    >>> from datasets import ClassLabel, List, Value
    >>> _kind(ClassLabel(names=["a", "b"])), _kind(List(List(Value("int32"), length=4)))
    ('class of 2', 'list of list of int32')
    >>> _kind({"text": Value("string"), "start": Value("int32")})
    'record of text, start'
    """
    if isinstance(feature, dict):
        return f"record of {', '.join(feature)}"
    kind = type(feature).__name__
    if kind == "ClassLabel":
        return f"class of {feature.num_classes}"
    if kind == "List":
        return f"list of {_kind(feature.feature)}"
    return feature.dtype if kind == "Value" else kind.lower()


def _figures(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)
