import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from labkit import models, training
from labkit.distill import datm, trajectories, trajectory_matching
from labkit.distill.datm import (
    Synthetic,
    fresh_accuracies,
    hard_logits,
    initial_set,
    upper_bound,
    window_for,
)
from labkit.distill.trajectories import (
    convnet,
    descend,
    expert_trajectories,
    flat,
    functional,
    trajectory_file,
)
from labkit.distill.trajectory_matching import batches_of, matching_loss

CLASSES = 3
BATCHES = [torch.tensor([0, 1, 2]), torch.tensor([3, 4]), slice(None)]


@pytest.fixture
def unroll():
    """The functions under test; a reader's own version runs through the same tests."""
    return trajectory_matching.unroll


@pytest.fixture
def matching_gradients():
    return trajectory_matching.matching_gradients


@pytest.fixture
def distill():
    return datm.distill


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def build(seed):
    return models.mlp(CLASSES, inputs=4, widths=(6,), seed=seed)


def clusters(count=60, seed=0):
    """Points around three centres: inputs float[N, 4] and labels."""
    draws = generator(seed)
    labels = torch.arange(count) % CLASSES
    return 2 * torch.eye(CLASSES, 4)[labels] + 0.5 * torch.randn(count, 4, generator=draws), labels


def experts(epochs=8, count=2, **settings):
    inputs, labels = clusters()
    settings = {"lr": 0.3, "batch_size": 10} | settings
    return expert_trajectories(build, inputs, labels, experts=count, epochs=epochs, **settings)


def small_set(seed=0, count=6, dtype=torch.float64):
    draws = generator(seed)
    images = torch.randn(count, 4, generator=draws, dtype=dtype)
    logits = torch.randn(count, CLASSES, generator=draws, dtype=dtype)
    return images, logits, torch.tensor(0.4, dtype=dtype)


def ends(dtype=torch.float64):
    return flat(build(0)).to(dtype), flat(build(1)).to(dtype)


# Experts


@pytest.mark.parametrize(
    "model", [build(3), convnet(4, width=6, depth=2, image_size=8)], ids=["mlp", "convnet"]
)
def test_a_model_as_a_function_of_its_weights(model):
    shape = (5, 4) if isinstance(model, models.MLP) else (5, 3, 8, 8)
    inputs, weights = torch.randn(shape, generator=generator()), flat(model)
    torch.testing.assert_close(functional(model)(weights, inputs), model(inputs))
    other = torch.randn(len(weights), generator=generator(1))
    found = functional(model)(other, inputs)
    nn.utils.vector_to_parameters(other, model.parameters())
    torch.testing.assert_close(found, model(inputs))


def test_a_trajectory_is_the_training_of_torchs_optimizer():
    inputs, labels = clusters(62)
    found = expert_trajectories(build, inputs, labels, experts=2, epochs=3, lr=0.3, batch_size=10, seed=5)
    for number in range(2):
        model, order = build(5 + number), generator(5 + number)
        stepper = torch.optim.SGD(model.parameters(), lr=0.3)
        torch.testing.assert_close(found[number, 0], flat(model))
        for epoch in range(3):
            for batch in torch.randperm(62, generator=order)[:60].split(10):  # whole batches only
                stepper.zero_grad()
                F.cross_entropy(model(inputs[batch]), labels[batch]).backward()
                stepper.step()
            torch.testing.assert_close(found[number, epoch + 1], flat(model))


def test_trajectories_are_recorded_once_and_read_afterwards(tmp_path, monkeypatch):
    first = experts(folder=tmp_path)
    [file] = tmp_path.iterdir()
    assert file.suffix == ".safetensors" and torch.equal(load_file(file)["trajectories"], first)
    assert torch.equal(first, experts())
    monkeypatch.setattr(trajectories, "_record", None)  # would fail if it were called
    assert torch.equal(experts(folder=tmp_path), first)


def test_a_file_that_is_not_whole_is_recorded_anew(tmp_path):
    first = experts(folder=tmp_path)
    [file] = tmp_path.iterdir()
    content = file.read_bytes()
    for damaged in (b"", content[:100], content[:-4]):
        file.write_bytes(damaged)
        assert torch.equal(experts(folder=tmp_path), first)
        assert file.read_bytes() == content and list(tmp_path.iterdir()) == [file]


def test_the_name_of_the_file_follows_all_that_the_weights_depend_on():
    inputs, labels = clusters()
    settings = {"experts": 2, "epochs": 3, "lr": 0.3, "batch_size": 10, "seed": 0}

    def name(make=build, inputs=inputs, labels=labels, **changed):
        return trajectory_file("folder", make, inputs, labels, **settings | changed).name

    def silent(seed):  # the same weights in another network
        model = build(seed)
        model.body[2] = nn.Tanh()
        return model

    changed = [name(**{key: value}) for key, value in [("experts", 1), ("epochs", 4), ("lr", 0.2)]]
    changed += [name(batch_size=9), name(seed=1), name(silent), name(inputs=inputs + 1e-6)]
    changed += [name(labels=labels.flip(0)), name(lambda seed: build(seed + 1)), name(inputs=inputs.double())]
    assert name() == name() and name() not in changed and len(set(changed)) == len(changed)


def test_models_with_running_statistics_are_refused():
    with pytest.raises(ValueError, match=r"no buffers.*running_mean"):
        flat(models.cnn(classes=2))


# The matching


def test_a_step_is_that_of_torchs_optimizer():
    images, logits, lr = small_set(dtype=torch.float32)
    model = build(0)
    found = descend(functional(model), flat(model).requires_grad_(), images, logits.softmax(1), lr)
    stepper = torch.optim.SGD(model.parameters(), lr=lr.item())
    F.cross_entropy(model(images), logits.softmax(1)).backward()
    stepper.step()
    torch.testing.assert_close(found, flat(model))


def test_unrolled_steps_are_training(unroll):
    images, logits, lr = small_set(dtype=torch.float32)
    model = build(0)
    found = unroll(functional(model), flat(model), images, logits, lr, BATCHES)
    stepper = torch.optim.SGD(model.parameters(), lr=lr.item())
    for batch in BATCHES:
        stepper.zero_grad()
        F.cross_entropy(model(images[batch]), logits[batch].softmax(1)).backward()
        stepper.step()
    torch.testing.assert_close(found, flat(model))


def test_one_step_of_a_linear_model_in_closed_form(unroll):
    images, logits, lr = small_set()
    linear = nn.Linear(4, CLASSES, bias=False)
    reached = unroll(functional(linear), torch.zeros(12, dtype=lr.dtype), images, logits, lr, [slice(None)])
    wanted = lr * (logits.softmax(1) - 1 / CLASSES).T @ images / len(images)
    torch.testing.assert_close(reached, wanted.reshape(-1))


def test_gradients_through_the_steps_against_finite_differences(unroll):
    def loss(images, logits, lr):
        begin, target = ends()
        smooth = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, CLASSES))
        return matching_loss(unroll(functional(smooth), begin, images, logits, lr, BATCHES), begin, target)

    assert torch.autograd.gradcheck(loss, [each.requires_grad_() for each in small_set()])


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("model", ["mlp", "convnet"])
def test_gradients_step_by_step_are_those_of_the_whole(matching_gradients, labels, model):
    images, logits, lr = small_set()
    network, (begin, target) = build(0), ends()
    if model == "convnet":
        network = convnet(CLASSES, width=4, depth=2, image_size=8)
        images = torch.randn(6, 3, 8, 8, generator=generator(), dtype=lr.dtype)
        begin = flat(network).double()
        target = begin + torch.randn(len(begin), generator=generator(1), dtype=lr.dtype)
    learnt = [each.requires_grad_() for each in ((images, logits, lr) if labels else (images, lr))]
    apply = functional(network)
    whole = matching_loss(
        trajectory_matching.unroll(apply, begin, images, logits, lr, BATCHES), begin, target
    )
    value, found = matching_gradients(apply, begin, target, images, logits, lr, BATCHES)
    torch.testing.assert_close(value, whole.detach())
    for each, wanted in zip(found, torch.autograd.grad(whole, learnt), strict=True):
        torch.testing.assert_close(each, wanted)


def test_the_loss_is_a_share_of_the_experts_way():
    begin, target = ends()
    assert matching_loss(begin, begin, target) == 1 and matching_loss(target, begin, target) == 0
    small = begin + 1e-3 * (target - begin)  # a short way counts as much as a long one
    assert matching_loss(begin + (small - begin) / 2, begin, small).item() == pytest.approx(0.25)
    with pytest.raises(ValueError, match="nothing to match"):
        matching_loss(begin, target, target)


# The distillation

QUICK = {"window": (1, 4), "steps": 4, "iterations": 12, "lr": 0.3, "lr_images": 0.05, "lr_logits": 0.05}
QUICK |= {"lr_lr": 0.01, "optimizer": torch.optim.Adam}


def beginning(recorded, per_class=2):
    return initial_set(build(0), recorded, *clusters(), per_class=per_class, generator=generator())


def test_the_set_that_the_expert_was_trained_on_is_a_match_already(distill):
    inputs, labels = clusters(9)
    recorded = expert_trajectories(build, inputs, labels, experts=2, epochs=6, lr=0.3, batch_size=9)
    start = Synthetic(inputs, hard_logits(labels, CLASSES), labels)
    found = distill(build(0), recorded, start, **QUICK | {"steps": 2, "iterations": 1})
    assert found.losses.max() < 1e-6


def test_distilling_lowers_the_loss_and_leaves_its_inputs_alone(distill):
    recorded = experts()
    start = beginning(recorded)
    kept = [each.clone() for each in (*start, recorded)]
    state = torch.get_rng_state()
    found = distill(build(0), recorded, start, **QUICK | {"iterations": 60}, generator=generator())
    assert found.losses[-10:].mean() < 0.6 * found.losses[:10].mean()
    assert found.lr != pytest.approx(0.3) and found.skipped == 0
    assert not torch.equal(found.images, start.images) and not torch.equal(found.logits, start.logits)
    torch.testing.assert_close(found.targets.sum(1), torch.ones(6))
    assert all(map(torch.equal, kept, (*start, recorded))) and torch.equal(state, torch.get_rng_state())


def test_the_first_update_is_that_of_the_published_optimizers(distill):
    """SGD; the momentum shows in the second: 0.5 for pixels, 0.9 for logits."""
    recorded = experts(epochs=3, count=1)
    start = beginning(recorded)
    settings = {"window": (1, 2), "steps": 3, "lr": 0.3, "lr_images": 0.2, "lr_logits": 0.1, "lr_lr": 1e-3}
    parts = [each.clone().requires_grad_() for each in (start.images, start.logits, torch.tensor(0.3))]
    speeds = [torch.zeros_like(each) for each in parts]
    for iterations in (1, 2):
        reached = trajectory_matching.unroll(functional(build(0)), recorded[0, 1], *parts, [slice(None)] * 3)
        loss = matching_loss(reached, recorded[0, 1], recorded[0, 3])
        gradients = torch.autograd.grad(loss, parts)
        with torch.no_grad():
            for i, (momentum, rate) in enumerate([(0.5, 0.2), (0.9, 0.1), (0.5, 1e-3)]):
                speeds[i] = momentum * speeds[i] + gradients[i]
                parts[i] -= rate * speeds[i]
        found = distill(build(0), recorded, start, iterations=iterations, **settings)
        torch.testing.assert_close(found.images, parts[0].detach())
        torch.testing.assert_close(found.logits, parts[1].detach())
        assert found.lr == pytest.approx(parts[2].item())


def test_save_memory_changes_nothing_else(distill):
    recorded = experts()
    plain, lean = (
        distill(build(0), recorded, beginning(recorded), **QUICK, save_memory=lean, generator=generator())
        for lean in (False, True)
    )
    torch.testing.assert_close(plain.images, lean.images, atol=1e-4, rtol=1e-4)
    assert plain.lr == pytest.approx(lean.lr, rel=1e-4)


def test_sets_side_by_side_are_those_one_by_one(distill):
    """Windows, labels kept or learnt, threshold and step size differ; each set is what it is alone."""
    recorded = experts()
    start = beginning(recorded)
    hard = start._replace(logits=hard_logits(start.labels, CLASSES))
    starts = [start, hard, start]
    plans = [
        QUICK | {"window": (0, 3), "lr_images": 0.02},
        QUICK | {"learn_labels": False, "lr": 0.1},
        QUICK | {"skip": 1e-9},
    ]
    found = datm.distill_side_by_side(
        build(0), recorded, starts, plans, keep=(0, 5), generators=[generator(i) for i in range(3)]
    )
    for i, (one, begin, plan) in enumerate(zip(found, starts, plans, strict=True)):
        alone = distill(build(0), recorded, begin, **plan, keep=(0, 5), generator=generator(i))
        assert torch.equal(one.starts, alone.starts) and one.skipped == alone.skipped
        for name in ("images", "logits", "losses"):
            torch.testing.assert_close(getattr(one, name), getattr(alone, name), atol=1e-4, rtol=1e-4)
        assert one.lr == pytest.approx(alone.lr, rel=1e-4)
        torch.testing.assert_close(one.seen[5], alone.seen[5], atol=1e-4, rtol=1e-4)
    assert found[2].skipped == 12 and torch.equal(found[1].logits, hard.logits)


@pytest.mark.parametrize(
    ("plans", "said"),
    [
        ([QUICK], "must be as many, and not none: 2, 1, 2"),
        ([QUICK, QUICK | {"steps": 3}], "must have one shape, steps and iterations"),
        ([QUICK, QUICK | {"batch_size": 4}], "no batches"),
    ],
)
def test_sets_side_by_side_must_fit_together(plans, said):
    recorded = experts()
    starts = [beginning(recorded)] * 2
    with pytest.raises(ValueError, match=said):
        datm.distill_side_by_side(build(0), recorded, starts, plans, generators=[generator(), generator()])


def test_starts_fill_the_window_and_follow_its_end(distill):
    recorded = experts()
    fixed = distill(build(0), recorded, beginning(recorded), **QUICK | {"iterations": 60}).starts
    assert sorted(set(fixed.tolist())) == [1, 2, 3]
    settings = QUICK | {"window": (1, 7), "iterations": 60, "upper_start": 2, "expand_iters": 40}
    growing = distill(build(0), recorded, beginning(recorded), **settings).starts
    bounds = torch.tensor([upper_bound(i, 7, start=2, over=40) for i in range(60)])
    assert (growing < bounds).all() and (growing[:8] == 1).all() and growing[40:].max() == 6


def test_the_end_of_the_window_is_that_of_the_published_code():
    for iteration in range(0, 3000, 7):
        wanted = min(20 + int((40 - 20) * iteration / 2000), 40)
        assert upper_bound(iteration, 40, start=20, over=2000) == wanted
    assert upper_bound(5, 9, start=None, over=None) == 9


def test_iterations_above_the_threshold_change_nothing(distill):
    recorded = experts()
    start = beginning(recorded)
    found = distill(build(0), recorded, start, **QUICK | {"skip": 1e-9})
    assert found.skipped == 12 and found.lr == pytest.approx(0.3)
    assert torch.equal(found.images, start.images) and torch.equal(found.logits, start.logits)


def test_labels_may_be_kept_and_the_step_size_stays_above_zero(distill):
    recorded = experts()
    start = beginning(recorded)
    found = distill(build(0), recorded, start, **QUICK | {"learn_labels": False, "lr_lr": 5.0, "skip": 1e9})
    assert torch.equal(found.logits, start.logits) and found.lr >= datm.LEAST_LR


def test_images_are_kept_as_they_change(distill):
    recorded = experts()
    start = beginning(recorded)
    found = distill(build(0), recorded, start, **QUICK, keep=(0, 3, 12))
    assert list(found.seen) == [0, 3, 12]
    assert torch.equal(found.seen[0], start.images) and torch.equal(found.seen[12], found.images)
    assert not torch.equal(found.seen[3], found.images)


def test_the_same_generator_gives_the_same_set(distill):
    recorded = experts()
    sets = [
        distill(
            build(0), recorded, beginning(recorded), **QUICK, batch_size=4, generator=generator(seed)
        ).images
        for seed in (1, 1, 2)
    ]
    assert torch.equal(sets[0], sets[1]) and not torch.equal(sets[0], sets[2])


def test_the_initial_set_against_its_definition():
    inputs, labels = clusters(90)
    recorded = experts(epochs=2, count=3, lr=0.05)
    found = initial_set(build(0), recorded, inputs, labels, per_class=5, generator=generator(1))
    logits = [functional(build(0))(each[-1], inputs) for each in recorded]
    assert found.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    for image, mean, label in zip(*found, strict=True):
        [place] = (inputs == image).all(1).nonzero()[:, 0].tolist()
        right = [each[place] for each in logits if each[place].argmax() == labels[place]]
        assert labels[place] == label and right
        torch.testing.assert_close(mean, torch.stack(right).mean(0))
    # The first expert's images come first, at random; the others only where those do not suffice.
    mine = [(logits[0].argmax(1) == labels) & (labels == c) for c in range(CLASSES)]
    for label, each in enumerate(mine):
        from_first = functional(build(0))(recorded[0, -1], found.images[label * 5 : label * 5 + 5])
        assert (from_first.argmax(1) == label).sum() == min(5, int(each.sum()))
    other = initial_set(build(0), recorded, inputs, labels, per_class=5, generator=generator(2))
    assert not torch.equal(other.images, found.images)


def test_batches_cover_the_set_before_they_repeat():
    found = batches_of(7, 3, 5, generator())
    assert [len(each) for each in found] == [3, 3, 1, 3, 3]
    assert sorted(torch.cat(found[:3]).tolist()) == list(range(7))
    assert batches_of(7, 7, 2, None) == batches_of(7, None, 2, None) == [slice(None)] * 2


def test_windows_by_set_size():
    found = [window_for(size, 100) for size in (1, 7, 8, 50, 223, 224, 5000)]
    assert found == [(0, 4), (0, 4), (0, 40), (0, 40), (0, 40), (40, 60), (40, 60)]
    assert window_for(1, 10) == (0, 1)  # never empty
    assert window_for(3, 20, {2: (0.5, 1.0)}) == (10, 20)


def test_fresh_networks_are_trained_by_plain_gradient_descent_on_the_targets():
    inputs, labels = clusters()
    targets = hard_logits(labels, CLASSES).softmax(1)
    [found] = fresh_accuracies(
        build, inputs, targets, inputs, labels, lr=0.3, steps=5, batch_size=60, seeds=[4]
    )
    weights = flat(build(4)).requires_grad_()
    for _ in range(5):
        weights = descend(functional(build(4)), weights, inputs, labels, 0.3).detach().requires_grad_()
    right = functional(build(4))(weights, inputs).argmax(1) == labels
    assert found == pytest.approx(100 * right.float().mean().item())
    assert fresh_accuracies(
        build, inputs, labels, inputs, labels, lr=0.3, steps=5, batch_size=60, seeds=[4]
    ) == [found]


@pytest.mark.parametrize("together", [2, 3, 9])
def test_experts_trained_side_by_side_are_those_one_by_one(together):
    settings = {"experts": 3, "epochs": 4, "lr": 0.3, "batch_size": 16}
    alone = expert_trajectories(build, *clusters(), **settings)
    found = expert_trajectories(build, *clusters(), together=together, **settings)
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(alone[0], alone[1])


def test_networks_trained_side_by_side_are_those_one_by_one():
    """In batches too, whose order is each network's own."""
    inputs, labels = clusters(200)
    settings = {"lr": 0.3, "steps": 9, "batch_size": 16}
    several, alone = (
        [fresh_accuracies(build, *clusters(50), inputs, labels, **settings, seeds=each) for each in groups]
        for groups in ([[3, 4, 5]], [[3], [4], [5]])
    )
    assert several[0] == pytest.approx([each for [each] in alone]) and len(set(several[0])) > 1
    with pytest.raises(ValueError, match="seeds must not be empty"):
        fresh_accuracies(build, *clusters(50), inputs, labels, **settings, seeds=[])


def test_a_distilled_set_teaches_a_new_network_more_than_its_start(distill):
    """With two images per class of overlapping clusters, and the same steps of training."""
    inputs, labels = clusters(300)
    recorded = experts(epochs=8, count=4)
    start = beginning(recorded, per_class=1)
    settings = QUICK | {"window": (0, 3), "iterations": 80}
    found = distill(build(0), recorded, start, **settings, generator=generator())
    loss = [
        sum(
            training.cross_entropy(model, inputs, labels, progress=0, generator=None).item()
            for model in trained(images, targets, found.lr)
        )
        for images, targets in ((start.images, start.logits.softmax(1)), (found.images, found.targets))
    ]
    assert loss[1] < loss[0]


def trained(images, targets, lr):
    for seed in range(20, 24):
        model = build(seed)
        weights = flat(model).requires_grad_()
        for _ in range(12):
            weights = descend(functional(model), weights, images, targets, lr).detach().requires_grad_()
        nn.utils.vector_to_parameters(weights.detach(), model.parameters())
        yield model


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda r, s: datm.distill(build(0), r, s, window=(3, 3)), r"window must be \(lo, hi\)"),
        (lambda r, s: datm.distill(build(0), r, s, window=(-1, 3)), r"window must be \(lo, hi\)"),
        (
            lambda r, s: datm.distill(build(0), r, s, window=(0, 8)),
            "reach epoch 9, the trajectories end at 8",
        ),
        (lambda r, s: datm.distill(build(0), r, s, window=(0, 3), steps=0), "steps must be at least 1"),
        (lambda r, s: datm.distill(build(0), r, s, window=(0, 3), iterations=0), "iterations must be"),
        (lambda r, s: datm.distill(build(0), r, s, window=(0, 3), expert_epochs=0), "expert_epochs must be"),
        (lambda r, s: datm.distill(build(0), r, s, window=(0, 3), upper_start=2), "go together"),
        (
            lambda r, s: datm.distill(build(0), r, s, window=(1, 3), upper_start=1, expand_iters=5),
            "upper_start must lie in 2 to 3",
        ),
        (lambda r, s: initial_set(build(0), r, *clusters(), per_class=0), "per_class must be at least 1"),
        (
            lambda r, s: initial_set(build(0), r, *clusters(), per_class=99),
            r"right about \d+ images of class 0",
        ),
        (lambda r, s: window_for(0, 100), "must be 1 or more"),
        (lambda r, s: window_for(1, 100, {}), "must be 1 or more"),
        (lambda r, s: experts(epochs=0), "experts, epochs and together must be at least 1"),
        (lambda r, s: convnet(2, image_size=4), "depth must fit images of 4 pixels"),
    ],
)
def test_bad_input(call, said):
    recorded = experts()
    with pytest.raises(ValueError, match=said):
        call(recorded, beginning(recorded))


def test_a_loss_that_is_not_finite_stops():
    recorded = experts()
    with pytest.raises(FloatingPointError, match="at iteration 0"):
        datm.distill(build(0), recorded, beginning(recorded), **QUICK | {"lr": 1e30})
