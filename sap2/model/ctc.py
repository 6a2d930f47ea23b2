"""CTC beside the decoder: what each frame of the encoder sounds like, in tokens and in phonemes.

Not part of Qwen2-Audio. A base of `sap2 base` has such a head in a file of its own, `ctc.safetensors`; the base's
weights stay a stock folder. The head serves joint decoding (`sap2.inference.joint`) and word spotting
(`sap2.inference.spotting`).
"""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sap2.errors import ModelError
from sap2.files import atomic_file

__all__ = ["CTC_FILE", "CtcHead"]

CTC_FILE = "ctc.safetensors"
PHONEME_BLANK = 0


class CtcHead(nn.Module):
    """Convolutions over encoder states, and a linear layer each for tokens and phonemes.

    The blocks are Conformer's without attention (Gulati et al., 2020): a gated depthwise convolution and a feed-forward
    layer.

    Args:
        encoder_hidden: Dimensions of the encoder's states.
        tokens: Size of the base's vocabulary.
        blank: Token that stands for CTC's blank, one that no transcript contains.
        phonemes: Phonemes as eSpeak NG writes them; index 0 of the phoneme scores is the blank, then these.
        hidden, blocks, kernel: Size of the head; the kernel counts frames.
    """

    def __init__(
        self,
        encoder_hidden: int,
        tokens: int,
        blank: int,
        phonemes: tuple[str, ...],
        hidden: int = 256,
        blocks: int = 4,
        kernel: int = 15,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.settings = {
            "encoder_hidden": encoder_hidden, "tokens": tokens, "blank": blank, "phonemes": list(phonemes),
            "hidden": hidden, "blocks": blocks, "kernel": kernel,
        }  # fmt: skip
        self.encoder_hidden, self.blank, self.phonemes = encoder_hidden, blank, tuple(phonemes)
        self.project = nn.Sequential(nn.LayerNorm(encoder_hidden), nn.Linear(encoder_hidden, hidden))
        self.blocks = nn.ModuleList(_Block(hidden, kernel, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(hidden)
        self.to_tokens = nn.Linear(hidden, tokens)
        self.to_phonemes = nn.Linear(hidden, 1 + len(phonemes))

    def forward(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of tokens `(batch, frames, tokens)` and phonemes `(batch, frames, 1 + phonemes)`.

        Args:
            states: The encoder's, `(batch, frames, encoder_hidden)`.
            mask: True = valid, `(batch, frames)`.
        """
        hidden = self.hidden_states(states, mask)
        return self.to_tokens(hidden).float().log_softmax(-1), self.to_phonemes(hidden).float().log_softmax(-1)

    def hidden_states(self, states: Tensor, mask: Tensor) -> Tensor:
        """The last block's output, `(batch, frames, hidden)`."""
        hidden = self.project(states)
        for block in self.blocks:
            hidden = block(hidden, mask[..., None])
        return self.norm(hidden)

    def save(self, folder: Path) -> None:
        """Write the head in float16 beside a base's weights."""
        tensors = {name: value.detach().half().cpu().contiguous() for name, value in self.state_dict().items()}
        with atomic_file(folder / CTC_FILE) as partial:
            save_file(tensors, partial, {"settings": json.dumps(self.settings, ensure_ascii=False)})

    @classmethod
    def load(cls, folder: str | Path) -> "CtcHead | None":
        """Read a base's head; None if it has none.

        Raises: ModelError: the file is damaged.
        """
        path = Path(folder) / CTC_FILE
        if not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as file:
                settings = json.loads((file.metadata() or {})["settings"])
                weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
            head = cls(**{**settings, "phonemes": tuple(settings["phonemes"])})
            head.load_state_dict(weights)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(
                f"{path}: not a CTC head ({error}); restore the file, or delete it to decode without CTC"
            ) from error
        return head.eval().requires_grad_(False)


class _Block(nn.Module):
    def __init__(self, hidden: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.conv_norm = nn.LayerNorm(hidden)
        self.gate = nn.Linear(hidden, 2 * hidden)
        self.depthwise = nn.Conv1d(hidden, hidden, kernel, padding=kernel // 2, groups=hidden)
        self.depth_norm = nn.LayerNorm(hidden)
        self.mix = nn.Linear(hidden, hidden)
        self.feed = nn.Sequential(
            nn.LayerNorm(hidden),
            nn.Linear(hidden, 4 * hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(4 * hidden, hidden),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """`hidden`: `(batch, frames, hidden)`; `mask`: `(batch, frames, 1)`."""
        gated = nn.functional.glu(self.gate(self.conv_norm(hidden)), -1) * mask
        heard = self.depthwise(gated.transpose(1, 2)).transpose(1, 2)
        hidden = hidden + self.dropout(self.mix(nn.functional.silu(self.depth_norm(heard))))
        return hidden + self.dropout(self.feed(hidden))
