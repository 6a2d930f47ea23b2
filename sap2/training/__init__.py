"""Fine-tuning of both stages: LoRA on projector and language model, with the Hugging Face Trainer through DeepSpeed."""

from sap2.training.launch import node_rank
from sap2.training.trainer import leave_out, train

__all__ = ["leave_out", "node_rank", "train"]
