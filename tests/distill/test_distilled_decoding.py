import numpy as np
import pytest
import torch

from labkit import language
from labkit.distill import distilled_decoding as module
from labkit.distill.distilled_decoding import (
    CachedTeacher,
    Pairs,
    ar_sample,
    fm_path,
    fm_velocity,
    record_pairs,
)
from labkit.distill.distilled_decoding_codes import (
    PatchCodes,
    bigrams,
    code_teacher,
    fit_teacher,
    frechet_distance,
    independent_sample,
    total_variation,
)
from labkit.distill.distilled_decoding_student import (
    dense_student,
    distill,
    distill_loss,
    intermediate,
    sample,
    student_from_teacher,
)
from labkit.seeding import generator


@pytest.fixture
def fm_token():
    """The function under test; a reader's own version runs through the same tests."""
    return module.fm_token


@pytest.fixture
def fm_trajectory():
    return module.fm_trajectory


def drawn(seed=0, codes=16, dim=4):
    g = generator(seed)
    probs = torch.softmax(1.5 * torch.randn(codes, generator=g), dim=0)
    return probs, torch.randn(codes, dim, generator=g), g


def chain(codes=4, seed=0):
    """next_probs of a Markov chain, its start and its transitions."""
    g = generator(seed)
    start = torch.softmax(torch.randn(codes, generator=g), dim=0)
    rows = torch.softmax(2 * torch.randn(codes, codes, generator=g), dim=1)

    def next_probs(tokens):
        return rows[tokens[:, -1]] if tokens.shape[1] else start.expand(len(tokens), -1)

    return next_probs, start, rows


# The map from noise to a token


@pytest.mark.parametrize(("codes", "dim", "seed"), [(2, 1, 0), (6, 2, 1), (16, 4, 2)])
def test_the_map_has_the_distribution_that_it_was_given(fm_token, codes, dim, seed):
    from scipy.stats import chisquare

    probs, codebook, g = drawn(seed, codes, dim)
    count = 40_000
    found = fm_token(probs.expand(count, -1), codebook, torch.randn(count, dim, generator=g), steps=32).index
    counts = torch.bincount(found, minlength=codes).double()
    expected = probs.double() / probs.double().sum() * count
    assert chisquare(counts.numpy(), expected.numpy()).pvalue > 1e-3


def test_too_few_steps_bend_the_distribution(fm_token):
    probs, codebook, g = drawn(3)
    noise = torch.randn(40_000, 4, generator=g)

    def off(steps):
        found = fm_token(probs.expand(len(noise), -1), codebook, noise, steps=steps).index
        return total_variation(torch.bincount(found, minlength=16) / len(noise), probs)

    assert off(2) > 5 * off(32)


def test_the_map_is_the_solution_of_the_equation(fm_token):
    from scipy.integrate import solve_ivp

    probs, codebook, g = drawn(4, codes=8, dim=2)
    probs, codebook = probs.double(), codebook.double()
    noise = torch.randn(25, 2, generator=g, dtype=torch.float64)
    path = fm_path(probs.expand(25, -1), codebook, noise, steps=400)
    for row in range(25):

        def velocity(t, x):
            return fm_velocity(torch.from_numpy(x)[None], float(t), probs[None], codebook)[0].numpy()

        exact = solve_ivp(
            velocity, (0, 0.999), noise[row].numpy(), rtol=1e-8, atol=1e-10, t_eval=[0.5, 0.999]
        )
        assert np.allclose(path[200, row].numpy(), exact.y[:, 0], atol=1e-4)
        end = np.square(codebook.numpy() - exact.y[:, 1]).sum(1).argmin()
        assert fm_token(probs[None], codebook, noise[row : row + 1], steps=400).index.item() == end


def test_the_velocity_is_the_mean_direction_of_the_straight_lines():
    """By Monte Carlo: E[c - noise | (1 - t) noise + t c is near x]."""
    g, t = generator(5), 0.6
    probs, codebook = torch.tensor([0.2, 0.5, 0.3]), torch.tensor([[-1.0], [0.2], [1.5]])
    picked = codebook[torch.multinomial(probs, 2_000_000, replacement=True, generator=g), 0]
    noise = torch.randn(len(picked), generator=g)
    at = (1 - t) * noise + t * picked
    for x in (-0.5, 0.1, 0.8):
        near = (at - x).abs() < 0.01
        expected = (picked - noise)[near].mean().item()
        found = fm_velocity(torch.tensor([[x]]), t, probs[None], codebook).item()
        assert found == pytest.approx(expected, abs=0.03)


def test_a_code_without_probability_is_never_reached(fm_token):
    _, codebook, g = drawn(6)
    probs = torch.zeros(500, 16)
    probs[:, [3, 9]] = 0.5
    found = fm_token(probs, codebook, torch.randn(500, 4, generator=g))
    assert set(found.index.tolist()) == {3, 9}
    assert torch.equal(found.vector, codebook[found.index])


def test_it_draws_nothing(fm_token):
    probs, codebook, g = drawn(7)
    noise = torch.randn(50, 4, generator=g)
    first, second = (fm_token(probs.expand(50, -1), codebook, noise).index for _ in range(2))
    one_by_one = [fm_token(probs[None], codebook, each[None]).index.item() for each in noise]
    assert torch.equal(first, second) and first.tolist() == one_by_one


# Trajectories


def test_a_trajectory_has_the_joint_distribution_of_the_teacher(fm_trajectory):
    from scipy.stats import chisquare

    next_probs, start, rows = chain()
    g = generator(0)
    tokens = fm_trajectory(next_probs, torch.randn(4, 2, generator=g), torch.randn(30_000, 3, 2, generator=g))
    every = (tokens * torch.tensor([16, 4, 1])).sum(1)
    exact = (start[:, None, None] * rows[:, :, None] * rows[None]).flatten().double()
    counts = torch.bincount(every, minlength=64).double()
    assert chisquare(counts.numpy(), (exact / exact.sum() * len(tokens)).numpy()).pvalue > 1e-3


def test_later_noise_does_not_change_earlier_tokens(fm_trajectory):
    next_probs, _, _ = chain()
    g = generator(1)
    codebook, noise = torch.randn(4, 2, generator=g), torch.randn(200, 6, 2, generator=g)
    other = noise.clone()
    other[:, 3:] = torch.randn(200, 3, 2, generator=g)
    one, two = (fm_trajectory(next_probs, codebook, each) for each in (noise, other))
    assert torch.equal(one[:, :3], two[:, :3]) and not torch.equal(one[:, 3:], two[:, 3:])
    assert torch.equal(fm_trajectory(next_probs, codebook, noise, prefix=one[:, :4]), one)


def test_plain_sampling_follows_the_teacher():
    next_probs, start, rows = chain()
    tokens = ar_sample(next_probs, 30_000, 2, generator=generator(0))
    assert total_variation(bigrams(tokens, 4), (start[:, None] * rows).double()) < 0.02


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_cache_changes_nothing(kind):
    model = (
        code_teacher(16, 6, classes=3) if kind == "gpt2" else language.causal(19, width=16, layers=2, heads=2)
    )
    labels, tokens = torch.tensor([0, 2, 1]), torch.randint(16, (3, 5), generator=generator(0))
    teacher = CachedTeacher(model, labels, 16)
    for length in (0, 1, 2, 5):  # the last step brings three tokens at once
        found = teacher(tokens[:, :length])
        rows = torch.cat([labels[:, None] + 16, tokens[:, :length]], dim=1)
        with torch.no_grad():
            expected = model(input_ids=rows).logits[:, -1, :16].softmax(-1)
        assert torch.allclose(found, expected, atol=1e-5)
    assert teacher.passes == 4


def test_pairs_are_what_the_teacher_makes_of_the_noise(fm_trajectory):
    model, labels = code_teacher(8, 4, classes=2), torch.tensor([0, 1, 1, 0, 1])
    codebook = torch.randn(8, 2, generator=generator(0))
    pairs = record_pairs(model, labels, codebook, 4, batch_size=2, generator=generator(1))
    again = fm_trajectory(CachedTeacher(model, labels, 8), codebook, pairs.noise)
    assert torch.equal(pairs.tokens, again) and torch.equal(pairs.labels, labels)


# The student


def test_it_learns_the_map_and_not_only_its_marginals(fm_trajectory):
    next_probs, _, _ = chain()
    g = generator(2)
    codebook, noise = torch.randn(4, 2, generator=g), torch.randn(4000, 4, 2, generator=g)
    zeros = torch.zeros(4000, dtype=torch.long)
    pairs = Pairs(noise, fm_trajectory(next_probs, codebook, noise), zeros)
    fresh = torch.randn(4000, 4, 2, generator=g)
    right = fm_trajectory(next_probs, codebook, fresh)
    truth = bigrams(right, 4)

    def student(noise):
        made = dense_student(codebook, length=4, hidden=64)
        distill(made, pairs._replace(noise=noise), starts=(0, 2), steps=250, batch_size=128, lr=5e-3)
        return made

    paired, mixed = student(noise), student(noise[torch.randperm(4000, generator=g)])
    one, two = (sample(paired, fresh, starts=starts).tokens for starts in ((0,), (0, 2)))
    assert (one == right).float().mean() > 0.85
    assert (two == right).float().mean() > (one == right).float().mean()
    # without the pairing, it is the independent sampler
    random = sample(mixed, fresh, generator=g).tokens
    apart = total_variation(bigrams(independent_sample(right, 4000, generator=g), 4), truth)
    assert total_variation(bigrams(random, 4), truth) == pytest.approx(apart, abs=0.06)
    assert total_variation(bigrams(one, 4), truth) < 0.5 * apart


def test_states_between_are_data_first_and_noise_after():
    x, noise = torch.ones(3, 4, 2), torch.zeros(3, 4, 2)
    found = intermediate(x, noise, torch.tensor([0, 2, 4]))
    assert found[:, :, 0].tolist() == [[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]


class Told(torch.nn.Module):
    """A student that always says the same, and notes what it was given."""

    length, codebook = 4, torch.tensor([[-1.0], [0.0], [1.0]])

    def __init__(self, answers):
        super().__init__()
        self.answers, self.given = list(answers), []

    def forward(self, x, labels, start):
        self.given.append((x, start))
        logits = torch.nn.functional.one_hot(self.answers.pop(0), 3).float().expand(len(x), -1, -1)
        return logits, torch.full((len(x), 4, 1), 0.25)


def test_two_steps_keep_the_first_positions_and_bring_back_the_noise():
    student = Told([torch.tensor([2, 2, 2, 2]), torch.tensor([0, 0, 0, 0])])
    noise = torch.full((1, 4, 1), 9.0)
    found = sample(student, noise, starts=(0, 2))
    assert found.tokens.tolist() == [[2, 2, 0, 0]] and found.passes == 2
    assert student.given[0][0].flatten().tolist() == [9, 9, 9, 9]
    assert student.given[1][0].flatten().tolist() == [1, 1, 9, 9]
    assert [start.item() for _, start in student.given] == [0, 2]


def test_late_positions_can_come_from_the_other_head():
    student = Told([torch.tensor([2, 2, 2, 2])])
    found = sample(student, torch.zeros(1, 4, 1), split=3)
    assert found.vectors.flatten().tolist() == [1, 1, 1, 0.25]


def test_the_loss_looks_at_noise_only():
    codebook = torch.randn(3, 1)
    student = dense_student(codebook, length=4)
    noise, targets = torch.randn(5, 4, 1), torch.randint(3, (5, 5), generator=generator(0))
    targets[:, -1] = 0
    start = torch.full((5,), 2)
    logits, told = student(intermediate(codebook[targets[:, :-1]], noise, start), targets[:, -1], start)
    late = torch.nn.functional.cross_entropy(logits[:, 2:].flatten(0, 1), targets[:, 2:4].flatten())
    square = (told[:, 2:] - codebook[targets[:, 2:4]]).square().mean()
    for weight in (0.0, 0.5):
        found = distill_loss(student, noise, targets, starts=(2,), weight=weight)
        assert found.item() == pytest.approx((late + weight * square).item(), abs=1e-6)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_student_can_begin_as_its_teacher(kind):
    teacher = (
        code_teacher(8, 5, classes=2) if kind == "gpt2" else language.causal(10, width=16, layers=1, heads=2)
    )
    before = [each.clone() for each in teacher.parameters()]
    codebook = torch.randn(8, 2, generator=generator(0))
    student = student_from_teacher(teacher, codebook, length=5, classes=2)
    words = teacher.get_input_embeddings().weight
    assert torch.equal(student.label.weight, words[8:10]) and torch.equal(student.logits.weight, words[:8])
    noise = torch.randn(40, 5, 2, generator=generator(1))
    pairs = Pairs(noise, torch.zeros(40, 5, dtype=torch.long), torch.zeros(40, dtype=torch.long))
    losses = distill(student, pairs, steps=5, lr=1e-2).losses
    assert losses[-1] < losses[0]
    # the teacher stays as it was, and a causal body looks at no later noise
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True))
    other = noise.clone()
    other[:, 3:] += 1
    zeros = torch.zeros(40, dtype=torch.long)
    with torch.no_grad():
        one, two = (student(each, zeros, zeros)[0] for each in (noise, other))
    assert torch.allclose(one[:, :3], two[:, :3], atol=1e-5) and not torch.allclose(one[:, 3:], two[:, 3:])


# Codes and distances


def test_patches_survive_where_there_is_a_code_for_each():
    images = torch.randint(0, 2, (6, 1, 4, 4), generator=generator(0)).float()
    pieces = len(torch.unique(images.unfold(2, 2, 2).unfold(3, 2, 2).reshape(-1, 4), dim=0))
    coder = PatchCodes(images, patch=2, codes=pieces)
    tokens = coder.encode(images)
    assert torch.allclose(coder.decode(tokens), images, atol=1e-5)
    assert torch.allclose(coder.decode_vectors(coder.codebook[tokens]), images, atol=1e-5)
    assert coder.codebook.std().item() == pytest.approx(1, abs=1e-5)


def test_fewer_coordinates_are_the_principal_ones():
    images = torch.rand(40, 3, 8, 8, generator=generator(0))
    coder = PatchCodes(images, patch=4, codes=20, dim=5)
    assert coder.codebook.shape == (20, 5)
    whole = PatchCodes(images, patch=4, codes=20).codebook
    kept = torch.linalg.svdvals(whole)[:5].square().sum() / whole.square().sum()
    centred = coder.means - coder.means.mean(0)
    error = (coder.codebook * coder.scale @ coder.axes - centred).square().sum() / centred.square().sum()
    assert error.item() == pytest.approx(1 - kept.item(), abs=1e-4)


def test_a_teacher_learns_what_follows_what():
    tokens = torch.arange(5).repeat(64, 1)
    labels = torch.zeros(64, dtype=torch.long)
    model = code_teacher(8, 5, width=16, heads=2)
    fit_teacher(model, tokens, labels, 8, steps=60, lr=2e-2)
    found = ar_sample(CachedTeacher(model, labels, 8), 64, 5, generator=generator(0))
    assert (found == tokens).float().mean() > 0.9


def test_independent_drawing_keeps_the_marginals_of_each_class_alone():
    g = generator(0)
    labels = torch.arange(2).repeat_interleave(500)
    same = torch.randint(3, (1000, 1), generator=g) + 3 * labels[:, None]
    found = independent_sample(same.expand(-1, 2), 4000, labels=labels, wanted=torch.ones(4000), generator=g)
    assert set(found.unique().tolist()) == {3, 4, 5}
    assert (found[:, 0] == found[:, 1]).float().mean().item() == pytest.approx(1 / 3, abs=0.04)


def test_the_distance_is_that_of_two_gaussians():
    from scipy.linalg import sqrtm

    g = generator(0)
    a, b = torch.randn(300, 5, generator=g), torch.randn(200, 5, generator=g) * torch.arange(1, 6) + 1
    first, second = np.cov(a.double().numpy().T), np.cov(b.double().numpy().T)
    expected = (a.double().mean(0) - b.double().mean(0)).square().sum().item()
    expected += np.trace(first + second - 2 * np.real(sqrtm(first @ second)))
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


# Bad input

PROBS, BOOK, NOISE = torch.full((2, 2), 0.5), torch.tensor([[-1.0], [1.0]]), torch.zeros(2, 1)
LABELS = torch.zeros(2, dtype=torch.long)


@pytest.mark.parametrize(
    ("probs", "codebook", "noise", "steps", "named"),
    [
        (PROBS * 0.9, BOOK, NOISE, 4, "probs"),
        (torch.tensor([[1.5, -0.5]] * 2), BOOK, NOISE, 4, "probs"),
        (PROBS * float("nan"), BOOK, NOISE, 4, "probs"),
        (PROBS[:1], BOOK, NOISE, 4, "probs"),
        (PROBS, torch.ones(2, 1), NOISE, 4, "codebook"),
        (PROBS, BOOK, torch.zeros(2, 3), 4, "noise"),
        (PROBS, BOOK, NOISE, 0, "steps"),
    ],
)
def test_the_map_refuses(fm_token, probs, codebook, noise, steps, named):
    with pytest.raises(ValueError, match=named):
        fm_token(probs, codebook, noise, steps=steps)


def student(**settings):
    return dense_student(torch.randn(3, 2), length=4, **settings)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: fm_velocity(NOISE, 1.0, PROBS, BOOK), "t must"),
        (lambda: ar_sample(lambda tokens: PROBS, 0, 3), "count"),
        (lambda: ar_sample(lambda tokens: PROBS, 2, 3, prefix=torch.zeros(2, 4)), "prefix"),
        (lambda: CachedTeacher(None, torch.tensor([-1]), 2), "labels"),
        (lambda: CachedTeacher(None, LABELS, 2)(torch.zeros(3, 0)), "tokens"),
        (lambda: record_pairs(None, LABELS[:0], BOOK, 3), "labels"),
        (lambda: student(hidden=0), "hidden"),
        (lambda: student()(torch.zeros(2, 3, 2), LABELS, LABELS), "x must"),
        (lambda: sample(student(), torch.zeros(2, 4, 2), starts=(2,)), "starts"),
        (lambda: sample(student(), torch.zeros(2, 4, 2), starts=(0, 2, 2)), "starts"),
        (lambda: sample(student(), torch.zeros(2, 4, 2), starts=(0, 4)), "starts"),
        (lambda: distill(student(), None, starts=(), steps=1), "starts"),
        (lambda: student_from_teacher(code_teacher(4, 3), torch.randn(5, 2), length=3), "the model"),
        (lambda: code_teacher(0, 3), "codes"),
        (lambda: PatchCodes(torch.rand(3, 1, 8, 8), patch=3, codes=2), "patch"),
        (lambda: PatchCodes(torch.zeros(3, 1, 8, 8), patch=2, codes=2), "codes"),
        (lambda: independent_sample(torch.zeros(2, 2), 3, labels=LABELS), "wanted"),
        (lambda: independent_sample(torch.zeros(2, 2), 1, labels=LABELS, wanted=LABELS[:1] + 7), "7"),
        (lambda: total_variation(torch.zeros(2), torch.zeros(3)), "shape"),
        (lambda: frechet_distance(torch.zeros(3, 2), torch.zeros(3, 3)), "K"),
        (lambda: frechet_distance(torch.zeros(1, 2), torch.zeros(3, 2)), "two rows"),
    ],
)
def test_what_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()


def test_a_cache_belongs_to_growing_sequences():
    teacher = CachedTeacher(code_teacher(4, 5), LABELS, 4)
    teacher(torch.zeros(2, 2, dtype=torch.long))
    with pytest.raises(ValueError, match="longer"):
        teacher(torch.zeros(2, 2, dtype=torch.long))
