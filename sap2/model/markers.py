"""Trained embeddings of the context markers, for bases whose tokenizer lacked them."""

import torch
from torch import Tensor, nn
from transformers import initialization as init


class MarkerOffsets(nn.Module):
    """Trained offset of each context marker's embedding, added to the frozen row of the base's table.

    Two rows instead of PEFT's `trainable_token_indices`, which copies the full table in every forward pass, and so for
    every decoded token. Offsets start at 0; an adapter includes them through PEFT's `modules_to_save`.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        size = (2, config.text_config.hidden_size)
        self.offsets = nn.Parameter(torch.zeros(size, dtype=torch.float32)) if config.trained_markers else None

    def reset_parameters(self) -> None:
        if self.offsets is not None:
            init.zeros_(self.offsets)

    def forward(self, embeddings: Tensor, input_ids: Tensor) -> Tensor:
        """Add the offsets at the markers' positions.

        Args:
            embeddings: Rows of the base's table, `(batch, sequence, hidden)`.
            input_ids: `(batch, sequence)`.
        """
        if self.offsets is None:
            return embeddings
        end = input_ids == self.config.context_end_id
        marked = end | (input_ids == self.config.context_start_id)
        moved = (embeddings.float() + self.offsets[end.long()]).to(embeddings.dtype)  # (batch, sequence, hidden)
        return torch.where(marked[..., None], moved, embeddings)
