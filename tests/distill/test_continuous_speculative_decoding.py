import math

import pytest
import torch
from scipy import stats
from torch.distributions import Normal

from labkit import training
from labkit.distill import continuous_speculative_decoding as module
from labkit.distill import gaussian_chains
from labkit.distill.continuous_speculative_decoding import (
    ContinuousSpeculativeDecoder,
    decode,
    expected_tokens,
    modelled_speedup,
)
from labkit.distill.continuous_tokens import (
    ar_model,
    cut,
    distil_loss,
    elbo_gap,
    elbo_loss,
    join,
    schedule,
)
from labkit.distill.gaussian_chains import (
    MixtureChain,
    sample_residual,
    sample_trajectory,
    trajectory_log_prob,
)
from labkit.seeding import generator

CORNERS = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 2.0]])


@pytest.fixture
def speculative_sample():
    """The function under test; a reader's own version runs through the same tests."""
    return gaussian_chains.speculative_sample


def clouds(shift=0.0, steps=4):
    return MixtureChain(CORNERS + shift, spread=0.4, levels=schedule(steps, floor=0.1).level)


def nothing(count):
    """The conditions of a chain that has none."""
    return torch.zeros(count, 0)


def noisy_copy(model, amount=0.05, seed=7):
    """A draft: the same network with noise on its weights."""
    other, draws = ar_model(2, 5, **SMALL, seed=0), generator(seed)
    state = {k: v + amount * torch.randn(v.shape, generator=draws) for k, v in model.state_dict().items()}
    other.load_state_dict(state)
    return other


SMALL = {"width": 16, "layers": 2, "heads": 2, "head_width": 16, "blocks": 1, "steps": 3, "floor": 0.5}


def pair(amount=0.05):
    """A target that depends on what came before, and its draft."""
    target, draws = ar_model(2, 5, **SMALL, seed=1), generator(3)
    for weight in target.parameters():
        weight.data += 0.2 * torch.randn(weight.shape, generator=draws)
    return target, noisy_copy(target, amount)


def same(a, b, level=1e-3):
    """Two-sample tests of many directions, and products: what differs in any is found."""
    directions = torch.randn(a.flatten(1).shape[1], 12, generator=generator(5))
    p = []
    for power in (1, 2):
        x, y = ((each.flatten(1) @ directions) ** power for each in (a, b))
        p += [
            stats.ks_2samp(*ends, method="asymp").pvalue
            for ends in zip(x.T.numpy(), y.T.numpy(), strict=True)
        ]
    return min(p) > level / len(p)


# Chains


@pytest.mark.parametrize("steps", [1, 3])
def test_the_density_is_that_of_the_steps(steps):
    chain = clouds(steps=steps)
    drawn = sample_trajectory(chain, nothing(50), generator=generator(0))
    by_hand = torch.zeros(50)
    for t in range(1, steps + 1):
        mean = chain.mean(drawn.states[:, t], t, nothing(50))
        by_hand += Normal(mean, chain.std[t]).log_prob(drawn.states[:, t - 1]).sum(1)
    by_hand += steps * chain.size * 0.5 * math.log(2 * math.pi)  # the factor that all chains share
    found = trajectory_log_prob(chain, drawn.states, nothing(50))
    torch.testing.assert_close(found, by_hand, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(drawn.log_prob, by_hand, atol=1e-4, rtol=1e-4)


def test_the_standard_deviation_is_no_variance():
    chain = clouds(steps=1)
    z, noise = nothing(4000), torch.randn(4000, 2, 2, generator=generator(0))
    noise[:, 1] = 0.3  # one start, so that the token is normal
    tokens = sample_trajectory(chain, z, noise=noise).states[:, 0]
    assert abs(tokens.std(0).mean() / chain.std[1] - 1) < 0.05


def test_the_exact_denoiser_draws_from_its_cloud():
    levels = schedule(60, floor=0.1).level
    chain = MixtureChain(torch.tensor([[1.0, -2.0]]), spread=0.5, levels=levels)
    tokens = sample_trajectory(chain, nothing(4000), generator=generator(1)).states[:, 0]
    spread = math.sqrt(float(levels[0]) * 0.25 + 1 - float(levels[0]))
    for k, mean in enumerate((1.0, -2.0)):
        wanted = stats.norm(mean * math.sqrt(float(levels[0])), spread)
        assert abs(tokens[:, k].mean() - wanted.mean()) < 0.05
        assert abs(tokens[:, k].std() / spread - 1) < 0.06


def test_noise_can_be_shared():
    first = sample_trajectory(clouds(), nothing(20), generator=generator(0))
    again = sample_trajectory(clouds(), nothing(20), noise=first.noise)
    moved = sample_trajectory(clouds(0.1), nothing(20), noise=first.noise)
    alone = sample_trajectory(clouds(0.1), nothing(20), generator=generator(9))
    assert torch.equal(first.states, again.states)
    near, far = ((first.states - other.states).norm() for other in (moved, alone))
    assert near < 0.2 * far


# One token: exact whatever the draft is


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("shift", [0.1, 0.4])
def test_the_output_is_the_targets(speculative_sample, steps, shift):
    target, draft, z = clouds(steps=steps), clouds(shift, steps=steps), nothing(5000)
    drawn = speculative_sample(target, draft, z, z, generator=generator(2))
    plain = sample_trajectory(target, z, generator=generator(3)).states[:, 0]
    assert drawn.exhausted == 0
    assert same(drawn.tokens, plain)
    assert not same(drawn.drafted, plain)


@pytest.mark.parametrize("shift", [0.1, 0.4])
def test_acceptance_is_what_the_densities_share(speculative_sample, shift):
    target, draft, z = clouds(), clouds(shift), nothing(8000)
    accepted = speculative_sample(target, draft, z, z, generator=generator(0)).accepted.float().mean()
    own = sample_trajectory(target, z, generator=generator(1))
    # The integral of min(p, q), from the target's side
    ratio = trajectory_log_prob(draft, own.states, z) - own.log_prob
    assert abs(accepted - ratio.clamp(max=0).exp().mean()) < 0.02


@pytest.mark.parametrize("shift", [0.1, 0.4])
def test_a_judged_token_costs_one_draw_of_the_target(speculative_sample, shift):
    z = nothing(8000)
    drawn = speculative_sample(clouds(), clouds(shift), z, z, generator=generator(4), at_once=1)
    assert abs(drawn.draws / 8000 - 1) < 0.1  # P(reject) times 1 / P(reject)
    many = speculative_sample(clouds(), clouds(shift), z, z, generator=generator(4), at_once=8)
    assert many.draws > drawn.draws and same(many.tokens, drawn.tokens)


def test_the_residual_is_the_positive_part():
    levels = torch.tensor([0.2, 0.1])  # one step
    p, q = (MixtureChain(torch.tensor([[m]]), spread=0.1, levels=levels) for m in (0.0, 2.0))
    count = 20_000
    start = torch.zeros(count, 1)

    class Fixed:  # the same start for all, so that the token's density is a normal one
        size, steps = 1, 1

        def __init__(self, chain):
            self.std, self.at = chain.std, float(chain.mean(start[:1], 1, None))

        def mean(self, noisy, t, z):
            return torch.full_like(noisy, self.at)

    one, two = Fixed(p), Fixed(q)
    states = sample_residual(one, two, start, start, max_tries=400, generator=generator(0)).states[:, 0, 0]
    x = torch.linspace(-4, 4, 4001)
    left = (
        Normal(one.at, one.std[1]).log_prob(x).exp() - Normal(two.at, two.std[1]).log_prob(x).exp()
    ).clamp(0)
    share = torch.cumsum(left, 0) / left.sum()
    wanted = [float(x[int((share < level).sum())]) for level in (0.1, 0.5, 0.9)]
    found = torch.quantile(states, torch.tensor([0.1, 0.5, 0.9])).tolist()
    assert found == pytest.approx(wanted, abs=0.03)


def test_what_is_given_up_is_told():
    left = sample_residual(clouds(), clouds(), nothing(5), nothing(5), max_tries=3, generator=generator(0))
    assert left.exhausted.all() and left.draws == 15 and left.states.shape == (5, 5, 2)


# The model


def test_a_step_is_the_posterior_of_diffusion():
    chain = schedule(6, floor=0.1)
    signal, noise = torch.randn(2, 5, 1)
    for t in range(1, 7):
        level, before = chain.level[t], chain.level[t - 1]
        alpha = level / before
        noisy = level.sqrt() * signal + (1 - level).sqrt() * noise
        velocity = level.sqrt() * noise - (1 - level).sqrt() * signal
        precision = alpha / (1 - alpha) + 1 / (1 - before)  # of x_{t-1}: likelihood and prior, by Bayes
        mean = (alpha.sqrt() / (1 - alpha) * noisy + before.sqrt() / (1 - before) * signal) / precision
        torch.testing.assert_close(chain.a[t] * noisy + chain.b[t] * velocity, mean, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(chain.std[t], precision.rsqrt(), atol=1e-6, rtol=1e-4)
        # What an error of the velocity costs is the divergence of the two steps
        torch.testing.assert_close(
            chain.weight[t], (chain.b[t] / chain.std[t]) ** 2 / 2, atol=1e-6, rtol=1e-3
        )


def test_memory_changes_nothing():
    target, _ = pair()
    tokens = torch.randn(3, 5, 2, generator=generator(0))
    whole = target.contexts(tokens)
    memory = target.memory(3, 8)
    before = torch.cat([torch.randn(3, 1, 2), tokens], 1)  # what stands before the first is not read
    places = torch.tensor([[0, 1, 2]] * 3)
    stale = target.context(torch.randn(3, 5, 2), torch.arange(5).expand(3, 5), memory)
    parts = [
        target.context(before[:, :3], places, memory),
        target.context(before[:, 3:5], places[:, :2] + 3, memory),
    ]
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-4)
    assert (stale - whole).abs().max() > 1e-2


def test_sequences_stand_at_places_of_their_own():
    target, _ = pair()
    tokens = torch.randn(2, 5, 2, generator=generator(0))
    memory = target.memory(2, 8)
    target.context(torch.cat([tokens[:, :1], tokens[:, :3]], 1), torch.arange(4).expand(2, 4), memory)
    places = torch.tensor([[2, 3], [3, 4]])
    z = target.context(torch.stack([tokens[0, 1:3], tokens[1, 2:4]]), places, memory)
    whole = target.contexts(tokens)
    torch.testing.assert_close(z, torch.stack([whole[0, 2:4], whole[1, 3:5]]), atol=1e-5, rtol=1e-4)


def test_losses_are_divergences_and_training_lowers_them():
    target, draft = pair()
    tokens = decode(target, 64, generator=generator(0)).clone()
    z = target.contexts(tokens).detach()
    assert distil_loss(target)(target, tokens, z, generator=generator(1)) == 0
    before = distil_loss(target)(draft, tokens, z, generator=generator(1)).item()
    training.fit(draft, tokens, z, steps=40, lr=3e-3, loss=distil_loss(target), seed=0)
    assert distil_loss(target)(draft, tokens, z, generator=generator(1)).item() < 0.7 * before
    other = ar_model(2, 5, **SMALL)
    start = elbo_loss(other, tokens, generator=generator(2)).item()
    training.fit(other, tokens, torch.zeros(64), steps=40, lr=3e-3, loss=elbo_loss, seed=0)
    assert elbo_loss(other, tokens, generator=generator(2)).item() < start


def test_each_model_explains_its_own_samples_best():
    target, draft = pair(0.3)
    mine, its = (decode(model, 400, generator=generator(2)) for model in (target, draft))
    assert elbo_gap(target, draft, mine, generator=generator(0)).mean() > 0.05
    assert elbo_gap(target, draft, its, generator=generator(0)).mean() < -0.05
    assert not elbo_gap(target, target, mine, generator=generator(0)).any()


def test_images_to_tokens_and_back():
    images = torch.rand(3, 2, 8, 8)
    tokens = cut(images, side=2)
    assert tokens.shape == (3, 16, 8)
    torch.testing.assert_close(join(tokens, side=2, channels=2), images)
    torch.testing.assert_close(tokens[:, 1, :2], 2 * images[:, 0, 0, 2:4] - 1)  # in raster order


# The decoder


@pytest.mark.parametrize(
    "settings", [{}, {"gamma": 1}, {"gamma": 7, "prefill": 0.5, "at_once": 1}, {"prefill": 0.0}]
)
def test_decoding_is_lossless(settings):
    target, draft = pair()
    plain = decode(target, 3000, generator=generator(0))
    drawn = ContinuousSpeculativeDecoder(target, draft, **settings).generate(3000, generator=generator(1))
    assert 0.4 < drawn.stats.acceptance < 0.97
    assert same(drawn.tokens, plain)
    assert not same(decode(draft, 3000, generator=generator(2)), plain)


@pytest.mark.parametrize(
    ("settings", "exact"), [({}, True), ({"replace": "target"}, False), ({"criterion": "released"}, False)]
)
def test_the_shift_towards_the_draft_tells(settings, exact):
    target, draft = pair(0.06)
    decoder = ContinuousSpeculativeDecoder(target, draft, **settings)
    plain = decode(target, 3000, generator=generator(0))
    drawn = decoder.generate(3000, generator=generator(1)).tokens
    a, b = (elbo_gap(target, draft, tokens, generator=generator(2)) for tokens in (plain, drawn))
    errors = (a.mean() - b.mean()) / ((a.var() + b.var()) / 3000).sqrt()
    assert abs(errors) < 3.5 if exact else errors > 5


@pytest.mark.parametrize("gamma", [1, 2, 4, 9])
def test_a_perfect_draft_is_always_accepted(gamma):
    target, _ = pair()
    decoder = ContinuousSpeculativeDecoder(target, target, gamma=gamma, prefill=0.2)
    found = decoder.generate(3, generator=generator(0)).stats
    assert found.acceptance == 1 and found.exhausted == 0
    assert found.rounds == math.ceil(4 / (gamma + 1))  # four of five tokens are left to the rounds
    assert found.accepted[0] == 0 and found.tokens == 15
    assert found.target_draws == 3 * (1 + found.rounds)


def test_every_token_is_accepted_or_costs_a_draw():
    target, draft = pair(0.1)
    decoder = ContinuousSpeculativeDecoder(target, draft, prefill=0.0, at_once=1, max_tries=10_000)
    found = decoder.generate(1500, generator=generator(0)).stats
    assert abs(found.target_draws / found.tokens - 1) < 0.1
    assert (found.judged >= found.accepted).all() and found.judged.sum() < found.draft_draws


def test_alignment_is_what_makes_last_steps_comparable():
    target, draft = pair(0.02)

    def acceptance(**settings):
        decoder = ContinuousSpeculativeDecoder(target, draft, **settings)
        return decoder.generate(300, generator=generator(0)).stats.acceptance

    assert acceptance(criterion="last step") > acceptance(criterion="last step", aligned=False) + 0.2
    assert acceptance(criterion="last step", temperature=42.0, aligned=False) > 0.99


def test_prefilling_leaves_later_places_alone():
    target, draft = pair(0.1)
    rates = []
    for prefill in (0.0, 0.4):
        decoder = ContinuousSpeculativeDecoder(target, draft, prefill=prefill)
        found = decoder.generate(4000, generator=generator(0)).stats
        rates.append(found.accepted[2:4] / found.judged[2:4])
    torch.testing.assert_close(*rates, atol=0.05, rtol=0)


def test_the_seed_decides():
    target, draft = pair()
    decoder = ContinuousSpeculativeDecoder(target, draft)
    first, again, other = (decoder.generate(4, generator=generator(s)).tokens for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_cost_model_against_a_simulation():
    draws = torch.rand(200_000, 4, generator=generator(0)) < 0.7
    assert abs(draws.long().cumprod(1).sum(1).double().mean() + 1 - expected_tokens(0.7, 4)) < 0.02
    assert modelled_speedup(0.0, 4, 0.1) == pytest.approx(1 / 1.4)


# Bad input


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"prefill": 1.0}, "prefill"),
        ({"prefill": -0.1}, "prefill"),
        ({"gamma": 0}, "gamma"),
        ({"criterion": "ratio"}, "criterion"),
        ({"replace": "nothing"}, "replace"),
        ({"temperature": 2.0}, "temperature"),
        ({"criterion": "last step", "temperature": 0.0}, "temperature"),
        ({"max_tries": 0}, "max_tries"),
        ({"at_once": 0}, "at_once"),
    ],
)
def test_settings_out_of_range(settings, named):
    with pytest.raises(ValueError, match=named):
        ContinuousSpeculativeDecoder(*pair(), **settings)


@pytest.mark.parametrize(("change", "named"), [({"steps": 4}, "steps"), ({}, "length")])
def test_models_that_do_not_fit(change, named):
    other = ar_model(2, 5 if change else 6, **{**SMALL, **change})
    with pytest.raises(ValueError, match=f"one {named}"):
        ContinuousSpeculativeDecoder(pair()[0], other)
    with pytest.raises(ValueError, match="one size"):
        ContinuousSpeculativeDecoder(pair()[0], ar_model(3, 5, **SMALL))


def test_a_spread_of_zero_has_no_density():
    target, draft = pair()
    draft.std = [0.0] * 4
    with pytest.raises(ValueError, match="draft"):
        ContinuousSpeculativeDecoder(target, draft)


def test_other_bad_input(speculative_sample):
    with pytest.raises(ValueError, match="steps"):
        speculative_sample(clouds(), clouds(steps=3), nothing(2), nothing(2))
    with pytest.raises(ValueError, match="means"):
        MixtureChain(torch.zeros(2), spread=1.0, levels=schedule(2).level)
    with pytest.raises(ValueError, match="spread"):
        MixtureChain(CORNERS, spread=0.0, levels=schedule(2).level)
    with pytest.raises(ValueError, match="levels"):
        MixtureChain(CORNERS, spread=1.0, levels=torch.tensor([0.1, 0.5]))
    with pytest.raises(ValueError, match="max_tries"):
        sample_residual(clouds(), clouds(), nothing(1), nothing(1), max_tries=0)
    for call in (lambda: schedule(0), lambda: ar_model(0, 4), lambda: ar_model(4, 4, layers=-1)):
        with pytest.raises(ValueError, match=r"steps|size|layers"):
            call()
    with pytest.raises(ValueError, match="floor"):
        schedule(4, floor=0.0)
    with pytest.raises(ValueError, match="heads"):
        ar_model(4, 4, width=10, heads=4)
    with pytest.raises(ValueError, match="side"):
        cut(torch.zeros(1, 1, 8, 8), side=3)
    with pytest.raises(ValueError, match="square"):
        join(torch.zeros(1, 15, 4), side=2)
    with pytest.raises(ValueError, match="count"):
        decode(pair()[0], 0)
    with pytest.raises(ValueError, match="count"):
        ContinuousSpeculativeDecoder(*pair()).generate(0)
    with pytest.raises(ValueError, match="acceptance"):
        expected_tokens(1.2, 3)
    with pytest.raises(ValueError, match="cost"):
        modelled_speedup(0.5, 3, -1)


def test_the_module_has_what_it_promises():
    assert all(hasattr(module, name) for name in module.__all__)
