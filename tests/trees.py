"""Small corpora of noise in the published layouts; recordings are as long as their texts require."""

from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000


def tone(seconds: float = 1.0, rate: int = RATE, seed: int = 0, channels: int = 1) -> np.ndarray:
    """Return noise at the level of speech, `(samples,)` or `(samples, channels)`."""
    noise = np.random.default_rng(seed).normal(0, 0.1, (round(seconds * rate), channels)).clip(-0.9, 0.9)
    return noise[:, 0] if channels == 1 else noise


def write_audio(path: Path, seconds: float = 1.0, rate: int = RATE, seed: int = 0, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(seconds, rate, seed, options.pop("channels", 1)), rate, **options)
    return path


def librispeech(root: Path, parts: dict[str, dict[str, str]], seconds: float = 2.0) -> Path:
    """Write `{part: {utterance id: TEXT}}` in the layout of OpenSLR 12."""
    for part, utterances in parts.items():
        for number, (id, text) in enumerate(utterances.items()):
            speaker, chapter, _ = id.split("-")
            folder = root / part / speaker / chapter
            write_audio(folder / f"{id}.flac", seconds, seed=number)
            with (folder / f"{speaker}-{chapter}.trans.txt").open("a") as table:
                table.write(f"{id} {text}\n")
    return root


def kaldi(
    folder: Path, root: Path, recordings: dict[str, list[tuple[str, float, float, str]]], scp: bool = True
) -> Path:
    """Write `{recording: [(utterance id, start, end, TEXT)]}` as segments, text and utt2spk; audio in root/wav."""
    folder.mkdir(parents=True, exist_ok=True)
    segments, text, speakers, paths = [], [], [], []
    for number, (recording, utterances) in enumerate(recordings.items()):
        write_audio(root / "wav" / f"{recording}.wav", 1 + max(end for _, _, end, _ in utterances), seed=number)
        paths.append(f"{recording} wav/{recording}.wav")
        for id, start, end, words in utterances:
            segments.append(f"{id} {recording} {start:.2f} {end:.2f}")
            text.append(f"{id} {words}")
            speakers.append(f"{id} {recording}-speaker")
    files = {"segments": segments, "text": text, "utt2spk": speakers} | ({"wav.scp": paths} if scp else {})
    for name, lines in files.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder
