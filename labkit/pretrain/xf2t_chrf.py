r"""chrF, the score of generated text that XF2T's comparisons are reported in: n-grams of characters.

For each length :math:`n` of 1 to 6, the precision :math:`P_n` is the share of the texts' n-grams that the
references have too, and the recall :math:`R_n` the share of the references' that the texts have, both
counted over all sentences, blanks left out:

.. math:: \mathrm{chrF}_\beta = 100\,\frac{(1+\beta^2)\,P R}{\beta^2 P + R}, \qquad
          P, R \text{ the means of } P_n, R_n

Popović (2015), *chrF: character n-gram F-score for automatic MT evaluation*; averages as sacreBLEU takes
them: of the whole set, over the lengths that both sides have. With :math:`\beta = 2`, recall counts double.
"""

from collections import Counter
from collections.abc import Sequence

__all__ = ["chrf"]


def chrf(texts: Sequence[str], references: Sequence[str], *, order: int = 6, beta: float = 2.0) -> float:
    """chrF of a set of texts, in [0, 100]; one reference each.

    order: the longest n-grams.  beta: how much recall counts against precision, above 0.
    Raises ValueError for numbers of texts that differ or are none, an order below 1, or a beta of 0 or less.

    >>> chrf(["ka Ba ne Fi sova."], ["ka Ba ne Fi sova."])
    100.0
    >>> round(chrf(["abc"], ["abd"], order=2, beta=1), 2)  # P = R = (2/3 + 1/2) / 2
    58.33
    """
    if len(texts) != len(references) or len(texts) == 0:
        raise ValueError(
            f"texts and references must be as many, and not none: {len(texts)}, {len(references)}"
        )
    if order < 1:
        raise ValueError(f"order must be at least 1, got {order}")
    if beta <= 0:
        raise ValueError(f"beta must be above 0, got {beta}")
    precisions, recalls = [], []
    for n in range(1, order + 1):
        pairs = [(_grams(a, n), _grams(b, n)) for a, b in zip(texts, references, strict=True)]
        written, wanted = (sum(side.total() for side in sides) for sides in zip(*pairs, strict=True))
        if written and wanted:  # texts shorter than n have no n-grams, which says nothing about them
            common = sum((a & b).total() for a, b in pairs)
            precisions.append(common / written)
            recalls.append(common / wanted)
    if sum(precisions) == 0:
        return 0.0
    precision, recall = (sum(each) / len(each) for each in (precisions, recalls))
    return 100 * (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def _grams(text: str, n: int) -> Counter:
    letters = "".join(text.split())
    return Counter(letters[i : i + n] for i in range(len(letters) - n + 1))
