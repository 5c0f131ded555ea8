"""Small networks in plain torch, seeded without touching the global random state."""

from labkit.models.images import CNN, MLP, ViT, cnn, mlp, vit
from labkit.models.wide_resnet import WideResNet, wide_resnet

__all__ = ["CNN", "MLP", "ViT", "WideResNet", "cnn", "mlp", "vit", "wide_resnet"]
