"""PyTorch with the same weights in bfloat16."""

import torch

from peers.engines import pytorch_sentiment


class Engine(pytorch_sentiment.Engine):
    dtype = torch.bfloat16
