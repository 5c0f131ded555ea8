import random

import numpy as np
import pytest
import torch

from labkit import seeding
from labkit.profiles import Profile


@pytest.mark.parametrize(("profile", "size"), [("smoke", 1), ("book", 2), ("judge", 3), ("full", 4)])
def test_each_profile_takes_its_own_size(profile, size):
    assert Profile(profile)(smoke=1, book=2, judge=3, full=4) == size


@pytest.mark.parametrize("profile", ["smoke", "book", "judge", "full"])
def test_a_size_that_is_left_out_is_that_of_the_book(profile):
    assert Profile(profile)(book=2) == 2


def test_full_takes_the_size_of_judge_before_that_of_the_book():
    assert Profile("full")(book=2, judge=3) == 3


def test_bad_profiles_seeds_and_sizes_are_named():
    with pytest.raises(ValueError, match="smoke, book, judge, full, got 'quick'"):
        Profile("quick")
    with pytest.raises(ValueError, match="seed must be 0 or more, got -1"):
        Profile(seed=-1)
    with pytest.raises(TypeError, match="seed must be an int or None, got True"):
        Profile(seed=True)
    with pytest.raises(ValueError, match="got large"):
        Profile()(book=1, large=2)
    with pytest.raises(ValueError, match="at least book"):
        Profile("judge")(smoke=1)


def test_setup_gives_one_thread_and_the_profile():
    import labkit

    threads = torch.get_num_threads()
    try:
        assert labkit.setup("smoke", seed=3) == Profile("smoke", 3)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


def draw():
    return torch.rand(1).item(), np.random.rand(), random.random()


def test_seeded_repeats_inside_and_restores_outside_even_after_an_error():
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    expected = draw()
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    with seeding.seeded(1):
        first = draw()
    with pytest.raises(RuntimeError), seeding.seeded(1):
        assert draw() == first
        raise RuntimeError
    assert draw() == expected


def test_generators_of_one_seed_agree_and_of_two_differ():
    one, same, other = (torch.rand(4, generator=seeding.generator(s)) for s in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
