from itertools import combinations

import pytest
import torch
import torch.nn.functional as F

from labkit import models, training
from labkit.augment import data_efficient_augmentation as dea
from labkit.augment.data_efficient_augmentation import (
    STRATEGIES,
    Selection,
    SubsetAugmenter,
    class_budgets,
    gradient_error,
    last_layer_gradients,
    select_per_class,
)


@pytest.fixture
def facility_location():
    """The function under test; a reader's own version runs through the same tests."""
    return dea.facility_location


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def points_of(count, width=3, seed=0):
    return torch.randn(count, width, generator=generator(seed), dtype=torch.float64)


def value(points, chosen):
    """What facility location maximizes: sum of (largest distance - distance to the nearest medoid)."""
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    return (distances.max() - distances[:, list(chosen)].amin(dim=1)).sum().item()


def plain_greedy(points, size):
    """Every candidate evaluated in every round."""
    chosen = []
    for _ in range(size):
        others = [j for j in range(len(points)) if j not in chosen]
        chosen.append(max(others, key=lambda j: value(points, [*chosen, j])))
    return chosen


def blobs(count=60, classes=3, seed=0):
    """Images whose mean brightness tells their class, and a network fitted to them for a few steps."""
    labels = torch.arange(count) % classes
    images = torch.rand(count, 1, 8, 8, generator=generator(seed)) * 0.4 + labels[:, None, None, None] * 0.3
    network = models.mlp(classes, inputs=64, widths=(16,), seed=seed)
    return training.fit(network, images, labels, steps=20, batch_size=20, lr=0.01).model, images, labels


# The greedy search


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("count", "size"), [(9, 2), (12, 3), (10, 5)])
def test_greedy_keeps_its_guarantee_against_every_subset(facility_location, seed, count, size):
    points = points_of(count, seed=seed)
    best = max(value(points, subset) for subset in combinations(range(count), size))
    found = value(points, facility_location(points, size).indices.tolist())
    assert (1 - 1 / torch.e) * best <= found <= best + 1e-9


def test_greedy_usually_finds_nearly_the_best(facility_location):
    shares = []
    for seed in range(20):
        points = points_of(12, seed=seed)
        best = max(value(points, subset) for subset in combinations(range(12), 3))
        shares.append(value(points, facility_location(points, 3).indices.tolist()) / best)
    assert sum(share > 0.95 for share in shares) >= 18


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [40, 90])  # below and above what is evaluated in one go
def test_lazy_search_chooses_what_the_plain_one_does_in_the_same_order(facility_location, seed, count):
    points = points_of(count, seed=seed)
    assert facility_location(points, 12).indices.tolist() == plain_greedy(points, 12)


def test_each_point_belongs_to_its_nearest_medoid_and_weights_count_them(facility_location):
    points = points_of(50)
    chosen = facility_location(points, 7)
    distances = torch.cdist(points, points[chosen.indices])
    assert torch.equal(chosen.assignment, distances.argmin(dim=1))
    assert torch.equal(chosen.weights, chosen.assignment.bincount(minlength=7).double())
    assert chosen.weights.sum() == 50


def test_clusters_far_apart_get_one_medoid_each_with_their_sizes(facility_location):
    centres = (
        torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]])
        .double()
        .repeat_interleave(torch.tensor([20, 9, 3]), dim=0)
    )
    chosen = facility_location(centres + points_of(32, width=2), 3)
    assert sorted(chosen.weights.tolist()) == [3, 9, 20]


def test_equal_points_are_chosen_once_each_and_the_search_ends(facility_location):
    points = torch.ones(100, 4)
    chosen = facility_location(points, 60)
    assert len(set(chosen.indices.tolist())) == 60
    assert chosen.weights.min() == 1 and chosen.weights.sum() == 100


def test_all_points_as_medoids_stand_for_themselves(facility_location):
    chosen = facility_location(points_of(15), 15)
    assert sorted(chosen.indices.tolist()) == list(range(15))
    assert torch.equal(chosen.weights, torch.ones(15).double())


@pytest.mark.parametrize("size", [0, -1, 6])
def test_a_size_that_cannot_be_is_named(facility_location, size):
    with pytest.raises(ValueError, match=f"size must be 1 to 5.* got {size}"):
        facility_location(points_of(5), size)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_points_that_are_no_numbers_are_refused(facility_location, bad):
    points = points_of(5)
    points[2, 1] = bad
    with pytest.raises(ValueError, match="finite"):
        facility_location(points, 2)


@pytest.mark.parametrize("shape", [(5,), (0, 3), (2, 3, 4)])
def test_points_of_another_shape_are_refused(facility_location, shape):
    with pytest.raises(ValueError, match="points must be float"):
        facility_location(torch.zeros(shape), 1)


# Shares of the classes


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_shares_sum_to_the_budget_and_no_class_gives_more_than_it_has(equal, seed):
    sizes = torch.randint(1, 30, (7,), generator=generator(seed))
    labels = torch.arange(7).repeat_interleave(sizes)
    for budget in range(1, len(labels) + 1):
        shares = class_budgets(labels, budget, equal_per_class=equal)
        assert sum(shares.values()) == budget
        assert all(0 <= shares[c] <= sizes[c] for c in range(7))
        if equal:  # nobody has two more than a class that could have given more
            room = [shares[c] for c in range(7) if shares[c] < sizes[c]]
            assert not room or max(shares.values()) - min(room) <= 1
        else:
            assert all(abs(shares[c] - budget * sizes[c] / len(labels)) < 1 for c in range(7))


def test_labels_need_not_begin_at_zero():
    assert class_budgets(torch.tensor([4, 4, 9, 9, 9]), 4) == {4: 2, 9: 2}


@pytest.mark.parametrize("budget", [0, 6])
def test_a_budget_out_of_range_is_named(budget):
    with pytest.raises(ValueError, match="budget must be 1 to 5"):
        class_budgets(torch.arange(5) % 2, budget)


def test_medoids_are_sought_within_each_class():
    points, labels = points_of(60), torch.arange(60) % 4
    chosen = select_per_class(points, labels, 12)
    assert labels[chosen.indices].bincount().tolist() == [3] * 4
    assert torch.equal(labels[chosen.indices][chosen.assignment], labels)
    members = (labels == 2).nonzero().squeeze(1)
    alone = dea.facility_location(points[members], 3)
    of_class = labels[chosen.indices] == 2
    assert torch.equal(chosen.indices[of_class], members[alone.indices])
    assert torch.equal(chosen.weights[of_class], alone.weights)


def test_a_class_without_a_share_stands_for_nothing():
    chosen = select_per_class(points_of(9), torch.tensor([0] * 4 + [1] * 4 + [2]), 2)
    assert chosen.assignment[8] == -1 and chosen.weights.sum() == 8


def test_gradients_and_labels_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="as many: got 9 and 8"):
        select_per_class(points_of(9), torch.zeros(8, dtype=torch.long), 2)


# The gradients


@pytest.mark.parametrize("with_features", [False, True])
def test_gradients_are_those_of_autograd(with_features):
    model, images, labels = blobs()
    found = last_layer_gradients(model, images, labels, with_features=with_features)
    parameter = model.head.weight if with_features else model.head.bias
    for i in range(5):
        loss = F.cross_entropy(model(images[i : i + 1]), labels[i : i + 1])
        (expected,) = torch.autograd.grad(loss, parameter)
        assert torch.allclose(found[i], expected.flatten(), atol=1e-6)


def test_gradients_are_taken_in_evaluation_mode_and_the_mode_comes_back():
    model = models.cnn(classes=3, in_channels=1).train()
    images, labels = torch.rand(20, 1, 8, 8, generator=generator()), torch.arange(20) % 3
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for with_features in (False, True):
        whole = last_layer_gradients(model, images, labels, with_features=with_features)
        alone = last_layer_gradients(model, images[:2], labels[:2], with_features=with_features)
        assert torch.allclose(whole[:2], alone, atol=1e-6)  # statistics of the batch would differ
        assert model.training and not whole.requires_grad
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_bad_labels_and_models_without_features_are_named():
    model, images, labels = blobs()
    with pytest.raises(ValueError, match="as many, got 60 and 59"):
        last_layer_gradients(model, images, labels[1:])
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 3\), got 0 to 3"):
        last_layer_gradients(model, images, torch.arange(60) % 4)
    with pytest.raises(TypeError, match="features and head, got Sequential"):
        bare = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
        last_layer_gradients(bare, images, labels, with_features=True)


def test_weighted_coreset_is_nearer_to_the_full_gradient_than_without_weights_and_than_chance():
    weighted, unweighted, chance = [], [], []
    for seed in range(5):
        model, images, labels = blobs(count=150, seed=seed)
        gradients = last_layer_gradients(model, images, labels)
        chosen = select_per_class(gradients, labels, 15)
        weighted.append(gradient_error(gradients, chosen.indices, chosen.weights))
        unweighted.append(gradient_error(gradients, chosen.indices))
        draws = [torch.randperm(150, generator=generator(seed * 50 + i))[:15] for i in range(20)]
        chance.append(sum(gradient_error(gradients, draw) for draw in draws) / 20)
    assert sum(weighted) < sum(unweighted) and 2 * sum(weighted) < sum(chance)


def test_gradient_error_is_bounded_by_the_mean_distance_to_the_medoids():
    gradients, labels = points_of(80, width=5), torch.arange(80) % 4
    chosen = select_per_class(gradients, labels, 20)
    apart = (gradients - gradients[chosen.indices][chosen.assignment]).norm(dim=1).mean()
    error = gradient_error(gradients, chosen.indices, chosen.weights) * gradients.norm(dim=1).mean()
    assert error <= apart
    everything = torch.arange(80)
    assert gradient_error(gradients, everything) == pytest.approx(0, abs=1e-12)


# The training set


def marked(images, *, generator):
    """A strong augmentation that can be recognized: everything is negative."""
    return -1 - images


def shifted_by_ten(images, *, generator):
    return images + 10


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_epoch_is_everything_plain_and_a_strong_copy_of_each_selected_point(strategy):
    model, images, labels = blobs()
    data = SubsetAugmenter(images, labels, strong=marked, fraction=0.2, strategy=strategy)
    chosen = data.select(model, generator=generator())
    size = {"all": 60, "none": 0}.get(strategy, 12)
    assert len(data.positions) == 60 + size and len(set(chosen.indices.tolist())) == size
    got, target, weights = data.batch(data.positions)
    assert torch.equal(got[:60], images) and torch.equal(target[:60], labels)
    assert torch.equal(got[60:], -1 - images[chosen.indices])
    assert torch.equal(target[60:], labels[chosen.indices])
    assert torch.equal(weights, torch.ones(60 + size)) and data.calls == size


def test_training_on_the_subset_alone_weighs_its_plain_part_by_cluster_size():
    model, images, labels = blobs()
    data = SubsetAugmenter(images, labels, strong=marked, fraction=0.2, train_on="subset")
    chosen = data.select(model)
    got, target, weights = data.batch(data.positions)
    assert torch.equal(got[:12], images[chosen.indices]) and torch.equal(got[12:], -1 - got[:12])
    assert torch.equal(target, labels[chosen.indices].repeat(2))
    assert torch.allclose(weights[:12], chosen.weights / 5) and torch.equal(weights[12:], torch.ones(12))


@pytest.mark.parametrize("train_on", ["all", "subset"])
def test_weights_of_the_copies_have_a_mean_of_one(train_on):
    model, images, labels = blobs()
    data = SubsetAugmenter(images, labels, strong=marked, fraction=0.2, weighted=True, train_on=train_on)
    chosen = data.select(model)
    weights = data.batch(data.positions)[2]
    assert torch.allclose(weights[-12:], chosen.weights / chosen.weights.mean())
    assert weights.mean().item() == pytest.approx(1)


def test_weak_augmentation_goes_to_the_plain_part_only():
    model, images, labels = blobs()
    data = SubsetAugmenter(images, labels, strong=marked, weak=shifted_by_ten, fraction=0.1)
    data.select(model)
    got, _, _ = data.batch(torch.tensor([3, 61]))
    assert torch.equal(got[0], images[3] + 10) and (got[1] < 0).all()


def test_max_loss_takes_the_highest_losses():
    model, images, labels = blobs()
    data = SubsetAugmenter(images, labels, strong=marked, fraction=0.1, strategy="maxloss")
    losses = F.cross_entropy(model(images), labels, reduction="none")
    assert set(data.select(model).indices.tolist()) == set(losses.argsort(descending=True)[:6].tolist())


def test_coreset_is_that_of_the_gradients_and_of_other_points_where_given():
    model, images, labels = blobs()
    data = SubsetAugmenter(images, labels, strong=marked, fraction=0.2)
    expected = select_per_class(last_layer_gradients(model, images, labels), labels, 12)
    assert torch.equal(data.select(model).indices, expected.indices)
    pixels = SubsetAugmenter(
        images, labels, strong=marked, fraction=0.2, points=lambda model, images, labels: images.flatten(1)
    )
    expected = select_per_class(images.flatten(1), labels, 12)
    assert torch.equal(pixels.select(model).indices, expected.indices)


@pytest.mark.parametrize("every", [1, 3])
def test_the_subset_is_chosen_anew_after_as_many_epochs_as_said(every):
    model, images, labels = blobs()
    data = SubsetAugmenter(images, labels, strong=marked, fraction=0.5, strategy="random", every=every)
    epoch = len(data.positions) // 30
    steps = 6 * epoch
    training.fit(model, data.positions, data.positions, loss=data, steps=steps, batch_size=30)
    assert len(data.history) == 6 // every and data.scored == 0
    chosen = {tuple(selection.indices.tolist()) for selection in data.history}
    assert len(chosen) == len(data.history)
    assert data.calls == 6 * 30  # fit draws without replacement: each copy once an epoch


@pytest.mark.parametrize("strategy", ["coreset", "maxloss"])
def test_passes_to_select_are_counted(strategy):
    model, images, labels = blobs()
    data = SubsetAugmenter(images, labels, strong=marked, fraction=0.5, strategy=strategy, every=1)
    training.fit(model, data.positions, data.positions, loss=data, steps=6, batch_size=30)
    assert data.scored == 2 * 60 and isinstance(data.history[0], Selection)


def test_nothing_selected_and_everything_plain_is_the_training_of_fit():
    _, images, labels = blobs()
    plain, through = (models.mlp(3, inputs=64, widths=(16,)) for _ in range(2))
    data = SubsetAugmenter(images, labels, strong=marked, strategy="none")
    expected = training.fit(plain, images, labels, steps=10, batch_size=20).losses
    found = training.fit(through, data.positions, data.positions, loss=data, steps=10, batch_size=20).losses
    assert torch.allclose(found, expected)


def test_same_seed_same_training_and_the_global_state_stays():
    _, images, labels = blobs()

    def losses():
        data = SubsetAugmenter(images, labels, strong=marked, strategy="random", fraction=0.3)
        network = models.mlp(3, inputs=64, widths=(16,))
        return training.fit(network, data.positions, data.positions, loss=data, steps=8, batch_size=20).losses

    state = torch.get_rng_state()
    assert torch.equal(losses(), losses())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"strategy": "best"}, "strategy must be one of coreset, .* got 'best'"),
        ({"train_on": "half"}, "train_on must be 'all', or 'subset' .* got 'half'"),
        ({"train_on": "subset", "strategy": "none"}, "train_on must be 'all'"),
        ({"fraction": 0.0}, r"fraction must lie in \(0, 1\], .* got 0.0"),
        ({"fraction": 1.5}, "got 1.5"),
        ({"every": 0}, "every from 1 up, got .* 0"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, "as many, got 60 and 3"),
    ],
)
def test_what_cannot_be_is_named(given, message):
    _, images, labels = blobs()
    with pytest.raises(ValueError, match=message):
        SubsetAugmenter(**({"images": images, "labels": labels, "strong": marked} | given))


def test_a_batch_before_any_selection_is_refused():
    _, images, labels = blobs()
    with pytest.raises(ValueError, match="call select"):
        SubsetAugmenter(images, labels, strong=marked).batch(torch.arange(3))
