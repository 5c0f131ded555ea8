from functools import partial

import pytest
import torch
from scipy.stats import binom, chisquare, kstest

from labkit.augment import randaugment
from labkit.augment.randaugment import OPERATIONS, choose, distortion, grid_search
from labkit.operations import EXTRA, Operation, apply, jitter


@pytest.fixture
def rand_augment():
    """The function under test; a reader's own version runs through the same tests."""
    return randaugment.rand_augment


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count=64, channels=3, side=16, seed=0):
    """Smooth random images: noise would look the same after many an operation."""
    coarse = torch.rand(count, channels, 4, 4, generator=generator(seed))
    return torch.nn.functional.interpolate(coarse, size=side, mode="bilinear").clamp(0, 1)


def bars(count=128, side=24):
    """Soft tilted bars of random colour on black: a larger move shows more of a white outside."""
    line = torch.linspace(-1, 1, side)
    across = (line[:, None] - 0.5 * line).abs()
    bar = (1.2 - 2 * across).clamp(0, 1) * (line.abs() < 0.5) * (line.abs() < 0.5)[:, None]
    return bar * (0.3 + 0.7 * torch.rand(count, 3, 1, 1, generator=generator(8)))


def test_every_sequence_of_operations_is_equally_likely(rand_augment):
    """With replacement and in order: 4 x 4 pairs, read off from images that remember them."""
    ways = {
        f"shift to {k}": Operation(lambda images, value, k=k: (images + (k + 1)) / 8, 0.0, 1.0)
        for k in range(4)
    }
    end = rand_augment(torch.zeros(8000, 1, 1, 1), n=2, m=9, operations=ways, generator=generator(1))
    expected = torch.tensor([((a + 1) / 8 + b + 1) / 8 for a in range(4) for b in range(4)])
    counts = (end.flatten()[:, None] - expected).abs().lt(1e-6).sum(dim=0)
    assert counts.sum() == 8000
    assert chisquare(counts).pvalue > 0.01


def test_the_fourteen_are_drawn_uniformly_and_independently():
    first, second = choose(14_000, n=2, generator=generator(2))
    assert chisquare(torch.bincount(first, minlength=14)).pvalue > 0.01
    together = torch.bincount(first * 14 + second, minlength=196)
    assert chisquare(together).pvalue > 0.01
    twice = (first == second).sum().item()  # with replacement: one pair in fourteen is the same twice
    assert 0.005 < binom.cdf(twice, 14_000, 1 / 14) < 0.995


def test_each_image_has_its_own_draw(rand_augment):
    """The same image over and over comes out in many ways, and never as one batch."""
    same = pictures(1).expand(200, -1, -1, -1)
    results = rand_augment(same, n=2, m=15, generator=generator())
    assert len({tuple(each.flatten().tolist()) for each in results}) > 60


def test_what_an_image_becomes_does_not_hang_on_its_neighbours(rand_augment):
    images = pictures()
    others = torch.cat([images[:1], pictures(63, seed=9)])
    first = rand_augment(images, n=3, m=20, generator=generator(4))[0]
    assert torch.equal(first, rand_augment(others, n=3, m=20, generator=generator(4))[0])


def test_operations_are_those_that_choose_gives_for_the_same_generator(rand_augment):
    """One after the other, in the order drawn, against the shared ``apply``."""
    images, draws = pictures(), generator(5)
    expected = images
    for chosen in choose(len(images), n=3, generator=draws):
        expected = apply(expected, OPERATIONS, chosen, 0.4, generator=draws)
    assert torch.equal(rand_augment(images, n=3, m=12, generator=generator(5)), expected)


@pytest.mark.parametrize("name", OPERATIONS)
def test_nothing_happens_at_magnitude_zero_but_where_there_is_no_magnitude(rand_augment, name):
    images = (pictures() * 255).round() / 255  # posterize counts in bytes
    images[0, :, :4] = 1.0  # white, which solarize must leave alone
    result = rand_augment(images, n=2, m=0, operations={name: OPERATIONS[name]}, generator=generator())
    if name in ("autocontrast", "equalize"):
        assert not torch.equal(result, images)
    else:
        assert torch.allclose(result, images, atol=1e-6)


@pytest.mark.parametrize("name", [name for name, each in OPERATIONS.items() if each.start is not None])
def test_every_operation_with_a_strength_grows_with_m(rand_augment, name):
    def moved(m):
        only = {name: OPERATIONS[name]}
        augment = partial(rand_augment, n=1, m=m, operations=only, fill=1.0, resample="bilinear")
        return distortion(augment, images, generator=generator(6))

    images = bars()
    amounts = [moved(m) for m in (0, 6, 12, 18, 24, 30)]
    assert amounts == sorted(amounts) and amounts[-1] > amounts[1] > amounts[0]


def test_the_whole_policy_distorts_more_with_m_and_with_n(rand_augment):
    images = pictures(512)
    over_m = [distortion(partial(rand_augment, m=m), images, generator=generator()) for m in (0, 9, 18, 27)]
    over_n = [distortion(partial(rand_augment, n=n), images, generator=generator()) for n in (0, 1, 2, 3)]
    assert over_m == sorted(over_m) and over_n == sorted(over_n) and over_n[0] == 0


def test_one_strength_is_shared_and_a_pair_gives_each_its_own(rand_augment):
    """An operation that paints its own parameter shows which strengths were used."""
    paint = {"paint": Operation(lambda images, value: images * 0 + value[:, None, None, None], 0.0, 1.0)}
    images = torch.zeros(2000, 1, 1, 1)
    shared = rand_augment(images, n=1, m=12, operations=paint, generator=generator())
    assert torch.allclose(shared, torch.tensor(0.4))
    spread = rand_augment(images, n=2, m=(6, 18), operations=paint, generator=generator()).flatten()
    assert kstest(spread, "uniform", args=(0.2, 0.4)).pvalue > 0.01


def test_signs_are_fair_and_drawn_for_each_image(rand_augment):
    images = torch.full((2000, 1, 4, 4), 0.5)
    result = rand_augment(
        images, n=1, m=15, operations={"brightness": OPERATIONS["brightness"]}, generator=generator()
    )
    brighter = (result[:, 0, 0, 0] > 0.5).sum().item()
    assert 0.005 < binom.cdf(brighter, 2000, 0.5) < 0.995


@pytest.mark.parametrize("channels", [1, 3])
def test_values_stay_in_range_input_and_global_state_stay_untouched(rand_augment, channels):
    images = pictures(channels=channels)
    before, state = images.clone(), torch.get_rng_state()
    first, second = (rand_augment(images, n=3, m=30, generator=generator(7)) for _ in range(2))
    assert torch.equal(first, second) and first.shape == images.shape
    assert first.min() >= 0 and first.max() <= 1
    assert torch.equal(images, before) and torch.equal(torch.get_rng_state(), state)


def test_dtype_is_kept_and_other_operations_can_be_given(rand_augment):
    images = pictures().double()
    assert rand_augment(images, operations=OPERATIONS | EXTRA).dtype == torch.float64
    upside_down = rand_augment(images, n=1, operations={"invert": EXTRA["invert"]})
    assert torch.allclose(upside_down, 1 - images)


def test_scale_of_m_is_that_of_max_m(rand_augment):
    images = pictures()
    of_thirty = rand_augment(images, m=9, generator=generator())
    assert torch.equal(of_thirty, rand_augment(images, m=3, max_m=10, generator=generator()))


def test_fill_is_what_comes_in_from_outside(rand_augment):
    only = {"translate_x": OPERATIONS["translate_x"]}
    for fill in (0.0, 0.5):
        moved = rand_augment(torch.ones(8, 1, 16, 16), n=1, m=30, operations=only, fill=fill)
        assert set(moved.unique().tolist()) == {fill, 1.0}


def test_distortion_is_the_mean_root_mean_square():
    images = pictures(32)
    augment = partial(jitter, shift=0.2)
    change = (augment(images, generator=generator()) - images).numpy()
    by_hand = [((each**2).mean()) ** 0.5 for each in change]
    assert distortion(augment, images, generator=generator()) == pytest.approx(sum(by_hand) / 32, rel=1e-5)


def test_search_tries_every_pair_once_and_finds_the_best():
    seen = []

    def score(n, m):
        seen.append((n, m))
        return -abs(n - 2) - abs(m - 12)

    found = grid_search(score, n=(1, 2, 3), m=(4, 8, 12, 16))
    assert seen == [(n, m) for n in (1, 2, 3) for m in (4, 8, 12, 16)]
    assert found.best == (2, 12) and found.scores.shape == (3, 4)
    assert found.scores[1, 2] == found.scores.max() == 0


def test_of_equal_cells_the_weakest_wins():
    assert grid_search(lambda n, m: 1.0, n=(1, 2), m=(3, 9)).best == (1, 3)


@pytest.mark.parametrize("m", [-1, 31, (3, 40), (9, 3), float("nan")])
def test_a_magnitude_out_of_range_is_named(rand_augment, m):
    with pytest.raises(ValueError, match=r"m must lie in \[0, 30\]"):
        rand_augment(pictures(), m=m)


@pytest.mark.parametrize("max_m", [0, -1, float("inf")])
def test_a_bad_scale_is_named(rand_augment, max_m):
    with pytest.raises(ValueError, match="max_m must be positive"):
        rand_augment(pictures(), m=0, max_m=max_m)


@pytest.mark.parametrize("n", [1.5, "2", True])
def test_n_is_a_whole_number(rand_augment, n):
    with pytest.raises(TypeError, match="n must be a whole number"):
        rand_augment(pictures(), n=n)


def test_a_negative_n_is_refused(rand_augment):
    with pytest.raises(ValueError, match="n must be 0 or more, got -1"):
        rand_augment(pictures(), n=-1)
    with pytest.raises(ValueError, match="n must be 0 or more"):
        choose(4, n=-1)


def test_no_operations_are_refused(rand_augment):
    with pytest.raises(ValueError, match="at least one operation"):
        rand_augment(pictures(), operations={})


def test_normalized_images_and_bytes_are_refused(rand_augment):
    with pytest.raises(ValueError, match="before they are normalized"):
        rand_augment(pictures() * 4 - 2)
    with pytest.raises(ValueError, match="float"):
        rand_augment((pictures() * 255).byte())
    with pytest.raises(ValueError, match=r"float\[B, C, H, W\]"):
        rand_augment(pictures()[0])


@pytest.mark.parametrize("n, m", [((), (1,)), ((1,), ()), ((2, 1), (1,)), ((1,), (9, 9))])
def test_a_search_over_nothing_or_out_of_order_is_refused(n, m):
    with pytest.raises(ValueError, match="rising"):
        grid_search(lambda n, m: 0.0, n=n, m=m)


def test_a_search_refuses_a_score_that_is_no_number():
    with pytest.raises(ValueError, match="finite"):
        grid_search(lambda n, m: float("nan"), n=(1,), m=(1,))
