"""An exported HRViT: images in, label maps or class probabilities out.

Written by hrvit-deploy, and needs nothing of it: see README.md beside this folder.
"""

from .session import Session as Session
