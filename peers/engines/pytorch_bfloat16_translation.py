"""PyTorch with the same weights in bfloat16."""

import torch

from peers.engines import pytorch_translation


class Engine(pytorch_translation.Engine):
    dtype = torch.bfloat16
