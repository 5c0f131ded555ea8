"""Randomness without side effects: generators to pass on, and a scope that restores the state."""

import random
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["device", "generator", "seeded"]


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a fresh generator on ``device``; the same seed gives the same stream.

    >>> torch.equal(torch.rand(3, generator=generator(1)), torch.rand(3, generator=generator(1)))
    True
    """
    return torch.Generator(device=device).manual_seed(seed)


@contextmanager
def seeded(seed: int):
    """Seed torch, numpy and random inside the block; restore their states afterwards.

    For code that draws from the global state, such as the initialization of a network.

    >>> with seeded(0):
    ...     layer = torch.nn.Linear(2, 2)
    """
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    try:
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        yield
    finally:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        if cuda_states is not None:
            torch.cuda.set_rng_state_all(cuda_states)


def device() -> torch.device:
    """Return the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
