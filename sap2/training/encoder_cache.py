"""The frozen audio encoder's output, computed once an utterance and kept on disk.

Files hold 256 utterances each and are named by what made them: the encoder's weights, its features' settings and the
recordings' bytes. So both stages, an interrupted run and a second run share them, and changed audio is encoded anew.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from sap2.constants import SAMPLE_RATE
from sap2.data.audio import load_audio
from sap2.errors import InputError
from sap2.files import atomic_file, sha256
from sap2.progress import track

SHARD = 256  # utterances a file: small enough to lose little when interrupted
BATCH_SECONDS = 80.0  # audio encoded together, padding included


class EncodedSpeech:
    """Encoder states of a list of recordings, read from disk as they are needed.

    Args:
        folder: Where the files are kept; shared by everything with the same encoder.
        recordings: Audio files; all that follows goes by their place in this list.
    """

    def __init__(self, folder: Path, model, processor, recordings: Sequence[Path]):
        self.folder, self.model, self.processor, self.recordings = Path(folder), model, processor, list(recordings)
        encoder = _encoder_digest(model, processor)
        self.files = [
            self.folder / f"speech-{_shard_digest(encoder, self.recordings[start : start + SHARD])}.safetensors"
            for start in range(0, len(self.recordings), SHARD)
        ]
        self._open: dict[int, tuple] = {}

    def fill(self, device: torch.device, rank: int = 0, world: int = 1) -> int:
        """Encode what is not there yet, every `world`-th file from `rank` on; return the number of files written."""
        missing = [shard for shard, file in enumerate(self.files) if not file.is_file()][rank::world]
        if not missing:
            return 0
        home, training = self.model.device, self.model.training
        self.model.to(device).eval()
        for shard in track(missing, len(missing), f"encode speech ({SHARD} utterances each)"):
            self._encode(shard, device)
        self.model.to(home).train(training)
        return len(missing)

    def frames(self, index: int) -> int:
        _, offsets = self._shard(index // SHARD)
        place = index % SHARD
        return int(offsets[place + 1] - offsets[place])

    def states(self, index: int) -> torch.Tensor:
        """States before the projector, `(frames, encoder_hidden)`, half precision."""
        states, offsets = self._shard(index // SHARD)
        place = index % SHARD
        return states[int(offsets[place]) : int(offsets[place + 1])]

    def _shard(self, shard: int):
        if shard not in self._open:
            file = safe_open(self.files[shard], framework="pt")
            self._open[shard] = (file.get_slice("states"), file.get_tensor("offsets"))
        return self._open[shard]

    def _encode(self, shard: int, device: torch.device) -> None:
        recordings = self.recordings[shard * SHARD : (shard + 1) * SHARD]
        waves = [load_audio(path) for path in recordings]
        order = sorted(range(len(waves)), key=lambda place: len(waves[place]))
        states: list[torch.Tensor] = [torch.empty(0)] * len(waves)
        for batch in _by_seconds(order, [len(wave) / SAMPLE_RATE for wave in waves]):
            try:
                features = self.processor.features([waves[place] for place in batch])
            except InputError as error:
                names = ", ".join(str(recordings[place]) for place in batch)
                raise InputError(f"{error} (one of {names})") from error
            with torch.inference_mode():
                encoded, mask = self.model.encode_speech(**{k: v.to(device) for k, v in features.items()})
            for place, row, valid in zip(batch, encoded, mask, strict=True):
                states[place] = row[valid].half().cpu()
        offsets = torch.tensor([0, *(len(one) for one in states)]).cumsum(0)
        with atomic_file(self.files[shard]) as partial:
            save_file({"states": torch.cat(states), "offsets": offsets}, partial)


def _by_seconds(order: list[int], seconds: list[float]) -> list[list[int]]:
    """Cut an order from short to long into batches whose padded length stays below BATCH_SECONDS."""
    batches: list[list[int]] = [[]]
    for place in order:
        if batches[-1] and (len(batches[-1]) + 1) * seconds[place] > BATCH_SECONDS:
            batches.append([])
        batches[-1].append(place)
    return batches


def _encoder_digest(model, processor) -> str:
    digest = hashlib.sha256(processor.feature_extractor.to_json_string().encode())
    for name, weight in sorted(model.model.audio_tower.state_dict().items()):
        digest.update(f"{name} {weight.dtype}".encode())
        digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _shard_digest(encoder: str, recordings: Sequence[Path]) -> str:
    missing = [path for path in recordings if not path.is_file()]
    if missing:
        raise InputError(f'{missing[0]}: no such audio file, though the manifest names it; run "sap2 prepare" again')
    return hashlib.sha256("\n".join([encoder, *(sha256(path) for path in recordings)]).encode()).hexdigest()[:24]
