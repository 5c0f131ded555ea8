import pytest
import torch
import torch.nn.functional as F

from labkit import models, training


def two_blobs(count=64, seed=0):
    draws = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = torch.rand(count, 3, 16, 16, generator=draws) * 0.5
    images[labels == 1, 0] += 0.5
    return images, labels


def test_fit_learns_what_can_be_learnt():
    images, labels = two_blobs()
    fitted = training.fit(models.cnn(classes=2), images, labels, steps=40, batch_size=16)
    assert training.accuracy(fitted.model, *two_blobs(seed=1)) > 95
    assert fitted.losses[-5:].mean() < fitted.losses[:5].mean()


def test_same_seed_same_weights_and_no_trace_in_the_global_state():
    images, labels = two_blobs()
    state = torch.get_rng_state()
    runs = [
        training.fit(models.cnn(classes=2, seed=s), images, labels, steps=3, seed=s).model for s in (4, 4, 5)
    ]
    weights = [torch.cat([p.flatten() for p in m.parameters()]) for m in runs]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert torch.equal(state, torch.get_rng_state())


def test_every_example_is_seen_once_per_epoch():
    images, labels = (
        torch.arange(24.0).view(24, 1, 1, 1).expand(24, 3, 16, 16),
        torch.zeros(24, dtype=torch.long),
    )
    seen = []

    def spy(model, images, labels, *, progress, generator):
        seen.extend(images[:, 0, 0, 0].tolist())
        return F.cross_entropy(model(images), labels)

    training.fit(models.cnn(classes=2), images, labels, steps=6, batch_size=8, loss=spy)
    assert sorted(seen[:24]) == sorted(seen[24:]) == list(range(24)) and seen[:24] != seen[24:]


def test_augment_loss_and_schedule_are_called_as_documented():
    images, labels, calls = *two_blobs(), []

    def augment(images, *, generator):
        return images + torch.rand(1, generator=generator)

    def loss(model, images, labels, *, progress, generator):
        calls.append(progress)
        return F.cross_entropy(model(images), labels)

    before = models.cnn(classes=2)
    after = training.fit(
        models.cnn(classes=2), images, labels, steps=4, augment=augment, loss=loss, schedule=lambda p: 0.0
    ).model
    assert calls == [0, 0.25, 0.5, 0.75]
    assert torch.equal(before.head.weight, after.head.weight)  # a schedule of zero moves nothing


def test_moving_average_equals_the_recursion():
    images, labels = two_blobs()
    snapshots = []

    def loss(model, images, labels, **_):
        snapshots.append(model.head.weight.detach().clone())
        return F.cross_entropy(model(images), labels)

    model = models.cnn(classes=2)
    averaged = training.fit(model, images, labels, steps=4, loss=loss, ema=0.5).model
    snapshots.append(model.head.weight.detach().clone())
    expected = snapshots[1]  # the average starts from the weights after the first step
    for weight in snapshots[2:]:
        expected = 0.5 * expected + 0.5 * weight
    assert torch.allclose(averaged.head.weight, expected, atol=1e-6)


def test_schedules_warm_up_and_end_where_they_should():
    assert training.cosine(0.0) == training.constant(0.0) == 0
    assert training.cosine(0.05) == training.constant(0.05) == pytest.approx(1)
    assert training.cosine(1.0) == pytest.approx(0) and training.constant(1.0) == 1
    assert training.constant(0.3, warmup=0) == 1 and training.cosine(0.5, warmup=0) == pytest.approx(0.5)


def test_accuracy_is_a_percentage_and_leaves_the_mode_alone():
    model = models.mlp(classes=2, inputs=2, widths=())
    with torch.no_grad():
        model.head.weight.copy_(torch.eye(2))
        model.head.bias.zero_()
    model.train()
    inputs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    assert training.accuracy(model, inputs, torch.tensor([0, 1, 1, 1])) == 75
    assert model.training


@pytest.mark.parametrize(
    ("change", "message"),
    [({"steps": 0}, "steps"), ({"ema": 1.5}, "ema"), ({"ema": 0.0}, "ema")],
)
def test_bad_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        training.fit(models.cnn(classes=2), *two_blobs(), **{"steps": 1, **change})


def test_lengths_that_differ_and_empty_data_are_named():
    images, labels = two_blobs()
    with pytest.raises(ValueError, match="64 and 63"):
        training.fit(models.cnn(classes=2), images, labels[1:], steps=1)
    with pytest.raises(ValueError, match="0 and 0"):
        training.fit(models.cnn(classes=2), images[:0], labels[:0], steps=1)
    with pytest.raises(ValueError, match="empty"):
        training.predict(models.cnn(classes=2), images[:0])


def test_a_loss_that_is_not_finite_stops_with_its_step():
    def loss(model, images, labels, **_):
        return F.cross_entropy(model(images), labels) * float("nan")

    with pytest.raises(FloatingPointError, match="step 0 of 5"):
        training.fit(models.cnn(classes=2), *two_blobs(), steps=5, loss=loss)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (models.cnn(classes=5), (2, 3, 24, 24)),
        (models.mlp(classes=5, inputs=64), (2, 1, 8, 8)),
        (models.vit(classes=5, image_size=16, depth=1), (2, 3, 16, 16)),
        (models.wide_resnet(classes=5, depth=10, widen=1), (2, 3, 16, 16)),
    ],
)
def test_networks_give_logits_features_and_gradients(model, shape):
    inputs = torch.rand(shape)
    logits = model(inputs)
    assert logits.shape == (2, 5) and torch.allclose(model.head(model.features(inputs)), logits, atol=1e-5)
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_patch_that_does_not_divide_the_image_is_named():
    with pytest.raises(ValueError, match="patch must divide image_size=30, got 4"):
        models.vit(classes=2, image_size=30)


def test_wide_resnet_has_the_published_number_of_parameters():
    model = models.wide_resnet(classes=10, depth=28, widen=10)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == 36.5
    with pytest.raises(ValueError, match="got 17"):
        models.wide_resnet(classes=10, depth=17)


def test_as_many_strides_as_channels_are_asked_for():
    with pytest.raises(ValueError, match="as many"):
        models.cnn(classes=2, channels=(8, 8), strides=(2,))
