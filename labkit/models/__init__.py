"""Small networks in plain torch, seeded without touching the global random state."""

from labkit.models.images import CNN, MLP, ViT, cnn, mlp, vit

__all__ = ["CNN", "MLP", "ViT", "cnn", "mlp", "vit"]
