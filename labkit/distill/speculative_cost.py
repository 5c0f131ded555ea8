r"""What an acceptance rate is worth: tokens per call of the target, speed-up, the best number of guesses.

With acceptance rate :math:`\alpha`, :math:`k` guesses per call, and a draft whose call takes :math:`c` times
as long as the target's,

.. math:: \mathrm{tokens\ per\ call} = \frac{1 - \alpha^{k+1}}{1 - \alpha}, \qquad
          \mathrm{speed{\text-}up} = \frac{1 - \alpha^{k+1}}{(1 - \alpha)(ck + 1)}.

It takes every guess to be kept with the same probability, and a call that checks several tokens to take as
long as one that reads one. Liu and others (2023), arXiv:2310.07177; code: LiuXiaoxuanPKU/OSD, cost_model.py.
"""

from labkit.data.build import real as number

__all__ = ["best_k", "expected_tokens", "speedup"]


def expected_tokens(acceptance: float, k: int) -> float:
    """Tokens per call of the target, where each guess is kept with the same probability, in [0, 1].

    >>> expected_tokens(0.5, 2), expected_tokens(1.0, 4)
    (1.75, 5.0)
    """
    number("acceptance", acceptance, 0, 1)
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    return float(sum(acceptance**i for i in range(k + 1)))


def speedup(acceptance: float, k: int, cost_ratio: float) -> float:
    """How many times faster than plain decoding. cost_ratio: a draft call's time over a target call's.

    >>> speedup(0.5, 2, 0.25)
    1.1666666666666667
    """
    number("cost_ratio", cost_ratio, 0, float("inf"))
    return expected_tokens(acceptance, k) / (cost_ratio * k + 1)


def best_k(acceptance: float, cost_ratio: float, *, most: int = 99) -> int:
    """The number of guesses, from 1 to ``most``, with the largest :func:`speedup`.

    >>> [best_k(0.6, cost) for cost in (0.01, 0.02, 0.05, 0.1)]
    [7, 6, 4, 3]
    """
    return max(range(1, most + 1), key=lambda k: speedup(acceptance, k, cost_ratio))
