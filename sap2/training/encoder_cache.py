"""Cache on disk of the frozen audio encoder's output, computed once per utterance.

Each file has 256 utterances, and is named by the digest of the encoder's weights, the feature settings and the
recordings' content. So both stages and resumed or repeated runs share it, and changed audio is encoded again.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from sap2.constants import SAMPLE_RATE
from sap2.data.audio import load_audio
from sap2.errors import InputError
from sap2.files import atomic_file, sha256
from sap2.model import SapProcessor
from sap2.model.modeling import SapForConditionalGeneration
from sap2.progress import track

SHARD = 256  # utterances per file: small enough to lose little when interrupted
BATCH_SECONDS = 80.0  # audio encoded together, padding included


class EncodedSpeech:
    """Encoder states of a list of recordings, read from disk as they are needed.

    Args:
        folder: Folder of the files; may be shared by all trainings.
        recordings: Audio files; methods take indices into this list.
    """

    def __init__(
        self,
        folder: Path,
        model: SapForConditionalGeneration,
        processor: SapProcessor,
        recordings: Sequence[Path],
    ):
        self.folder, self.model, self.processor, self.recordings = Path(folder), model, processor, list(recordings)
        encoder = _encoder_digest(model, processor)
        self.files = [
            self.folder / f"speech-{_shard_digest(encoder, self.recordings[start : start + SHARD])}.safetensors"
            for start in range(0, len(self.recordings), SHARD)
        ]
        self._open: dict[int, tuple[Any, torch.Tensor]] = {}

    def fill(self, device: torch.device, rank: int = 0, world: int = 1) -> int:
        """Encode this process's share of the missing files, every `world`-th; return the number of files written."""
        missing = [shard for shard, file in enumerate(self.files) if not file.is_file()][rank::world]
        if not missing:
            return 0
        home, training = self.model.device, self.model.training
        module: nn.Module = self.model
        module.to(device).eval()
        for shard in track(missing, len(missing), f"encode speech ({SHARD} utterances each)"):
            self._encode(shard, device)
        module.to(home).train(training)
        return len(missing)

    def frames(self, index: int) -> int:
        """Return the number of frames of a recording."""
        _, offsets = self._shard(index // SHARD)
        row = index % SHARD
        return int(offsets[row + 1] - offsets[row])

    def states(self, index: int) -> torch.Tensor:
        """Return a recording's states before the projector, `(frames, encoder_hidden)`, in half precision."""
        states, offsets = self._shard(index // SHARD)
        row = index % SHARD
        return states[int(offsets[row]) : int(offsets[row + 1])]

    def _shard(self, shard: int) -> tuple[Any, torch.Tensor]:
        if shard not in self._open:
            file = safe_open(self.files[shard], framework="pt")
            self._open[shard] = (file.get_slice("states"), file.get_tensor("offsets"))
        return self._open[shard]

    def _encode(self, shard: int, device: torch.device) -> None:
        recordings = self.recordings[shard * SHARD : (shard + 1) * SHARD]
        waves = [load_audio(path) for path in recordings]
        order = sorted(range(len(waves)), key=lambda row: len(waves[row]))
        states: list[torch.Tensor] = [torch.empty(0)] * len(waves)
        for batch in _by_seconds(order, [len(wave) / SAMPLE_RATE for wave in waves]):
            try:
                features = self.processor.features([waves[row] for row in batch])
            except InputError as error:
                names = ", ".join(str(recordings[row]) for row in batch)
                raise InputError(f"{error} (one of {names})") from error
            with torch.inference_mode():
                encoded, mask = self.model.encode_speech(**{k: v.to(device) for k, v in features.items()})
            for row, padded, valid in zip(batch, encoded, mask, strict=True):
                states[row] = padded[valid].half().cpu()
        offsets = torch.tensor([0, *map(len, states)]).cumsum(0)
        with atomic_file(self.files[shard]) as partial:
            save_file({"states": torch.cat(states), "offsets": offsets}, partial)


def _by_seconds(order: list[int], seconds: list[float]) -> list[list[int]]:
    """Split rows, sorted by length, into batches of at most BATCH_SECONDS with padding."""
    batches: list[list[int]] = [[]]
    for row in order:
        if batches[-1] and (len(batches[-1]) + 1) * seconds[row] > BATCH_SECONDS:
            batches.append([])
        batches[-1].append(row)
    return batches


def _encoder_digest(model: SapForConditionalGeneration, processor: SapProcessor) -> str:
    digest = hashlib.sha256(processor.feature_extractor.to_json_string().encode())
    for name, weight in sorted(model.model.audio_tower.state_dict().items()):
        digest.update(f"{name} {weight.dtype}".encode())
        digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _shard_digest(encoder: str, recordings: Sequence[Path]) -> str:
    missing = [path for path in recordings if not path.is_file()]
    if missing:
        raise InputError(f'{missing[0]}: no such audio file, but the manifest lists it; run "sap2 prepare" again')
    return hashlib.sha256("\n".join([encoder, *(sha256(path) for path in recordings)]).encode()).hexdigest()[:24]
