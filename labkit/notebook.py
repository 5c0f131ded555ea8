"""The first line of every notebook."""

from labkit.profiles import Profile

__all__ = ["setup"]


def setup(profile: str = "book", *, seed: int | None = None) -> Profile:
    """Begin a notebook: one torch thread, the book's figure style, and the profile.

    One thread per notebook makes timings comparable, and lets two notebooks run side by side on
    two cores. On a GPU nothing changes.
    profile, seed: see :class:`labkit.profiles.Profile`.
    Raises ValueError for an unknown profile or a negative seed, TypeError for a seed that is no int.

    >>> setup("smoke")(smoke=5, book=300)
    5
    """
    import torch

    from labkit import show

    chosen = Profile(profile, seed)
    torch.set_num_threads(1)
    show.style()
    return chosen
