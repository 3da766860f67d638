"""HRViT, from a PyTorch checkpoint to an engine a service runs."""

from hrvit_deploy.version import VERSION as __version__

__all__ = ["__version__"]
