"""Selection of PyTorch's attention kernels."""

import torch

__all__ = ["avoid_planned_kernels"]


def avoid_planned_kernels() -> None:
    """Disable cuDNN's kernel of `scaled_dot_product_attention` in this process.

    cuDNN plans its kernel again for every new shape, 0.2 s on the host, and PyTorch prefers it on an H100 or H200.
    Shapes differ from batch to batch in training and from token to token in decoding: pretraining the embedded base on
    an H200 (torch 2.11) took 0.35 s per step with it and 0.09 s without. Flash and memory-efficient attention remain.
    """
    if torch.cuda.is_available():
        torch.backends.cuda.enable_cudnn_sdp(False)
