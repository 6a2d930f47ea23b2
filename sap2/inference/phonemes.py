"""A base's phoneme head: what its frames sound like, for word spotting in lists of which the tokens are rare.

A base of "sap2 base" was pretrained with CTC over phonemes, too. Where the head of that loss was kept, it lies beside
the weights of the base: `phonemes.safetensors`, with eSpeak NG's mnemonics in its metadata.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sap2.errors import ModelError
from sap2.files import atomic_file

__all__ = ["PHONEMES_FILE", "PhonemeHead"]

PHONEMES_FILE = "phonemes.safetensors"


@dataclass(frozen=True)
class PhonemeHead:
    """A linear layer from projected speech to phonemes.

    Args:
        weight, bias: `(1 + phonemes, hidden)` and `(1 + phonemes,)`; 0 is CTC's blank.
        marks: The phonemes from 1 on, as eSpeak NG writes them.
    """

    weight: Tensor
    bias: Tensor
    marks: tuple[str, ...]

    def __call__(self, speech: Tensor) -> Tensor:
        """Log-probabilities, `(frames, 1 + phonemes)`."""
        weight, bias = self.weight.to(speech.device).float(), self.bias.to(speech.device).float()
        return (speech.float() @ weight.T + bias).log_softmax(-1)

    def save(self, base: Path) -> None:
        """Write the head beside a base's weights."""
        tensors = {"weight": self.weight.contiguous(), "bias": self.bias.contiguous()}
        with atomic_file(base / PHONEMES_FILE) as partial:
            save_file(tensors, partial, {"marks": json.dumps(self.marks, ensure_ascii=False)})

    @classmethod
    def load(cls, base: str | Path) -> "PhonemeHead | None":
        """Read a base's head; None if it has none.

        Raises: ModelError: the file is damaged.
        """
        path = Path(base) / PHONEMES_FILE
        if not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as file:
                marks = tuple(json.loads((file.metadata() or {})["marks"]))
                head = cls(file.get_tensor("weight"), file.get_tensor("bias"), marks)
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise ModelError(f"{path}: not a phoneme head ({error}); delete it to spot tokens instead") from error
        if not len(head.weight) == len(head.bias) == 1 + len(marks):
            raise ModelError(
                f"{path}: has {len(marks)} phonemes for {len(head.weight)} rows, expected one row more; "
                "delete it to spot tokens instead"
            )
        return head
