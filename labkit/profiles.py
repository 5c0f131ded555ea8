"""Profiles: the same notebook, sized for a test, a reader, a record or a GPU.

A notebook starts with ``P = labkit.setup(profile)`` and writes every size once, where it is used:
``steps = P(smoke=20, book=300, full=20_000)``.
"""

from dataclasses import dataclass

__all__ = ["PROFILES", "Profile"]

# Each profile and where it looks for a size that was not given for it.
PROFILES = {
    "smoke": ("smoke", "book"),
    "book": ("book",),
    "judge": ("judge", "book"),
    "full": ("full", "judge", "book"),
}


@dataclass(frozen=True)
class Profile:
    """How large a notebook runs.

    profile: "smoke" (the code path only; judges nothing), "book" (a reader's run of five seeds),
    "judge" (the record, all seeds of the claim) or "full" (GPU and hub data).
    seed: one seed to run instead of the profile's own seeds, for sweeps; None runs the profile's.

    >>> P = Profile("judge")
    >>> P(smoke=5, book=300)
    300
    """

    profile: str = "book"
    seed: int | None = None

    def __post_init__(self):
        if self.profile not in PROFILES:
            raise ValueError(f"profile must be one of {', '.join(PROFILES)}, got {self.profile!r}")
        if self.seed is not None and (isinstance(self.seed, bool) or not isinstance(self.seed, int)):
            raise TypeError(f"seed must be an int or None, got {self.seed!r}")
        if self.seed is not None and self.seed < 0:
            raise ValueError(f"seed must be 0 or more, got {self.seed}")

    def __call__(self, **sizes):
        """Return the size for this profile; ``book`` must be given, the others may be left out."""
        unknown = sorted(set(sizes) - set(PROFILES))
        if unknown:
            raise ValueError(f"sizes are given per profile ({', '.join(PROFILES)}), got {', '.join(unknown)}")
        for name in PROFILES[self.profile]:
            if name in sizes:
                return sizes[name]
        raise ValueError(f"no size for profile {self.profile!r}: give at least book=…")
