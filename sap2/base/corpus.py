"""Speech and text for pretraining the embedded base.

Each source of speech is a folder with `samples.i16` (16-bit samples at 16 kHz, recordings one after the other) and
`items.jsonl` (one line per recording: transcript, position of its samples). A source is written completely or not at
all, so an interrupted run resumes with the next source.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path

import numpy as np

from sap2.base.lexicon import Lexicon, plain
from sap2.data.audio import SAMPLE_RATE, load_audio
from sap2.data.entries import Entry
from sap2.data.lectures import Sentence, draw_sentence, render
from sap2.data.names import Sound
from sap2.data.quarantine import Rejected
from sap2.data.speech import VOICES, Synthesiser, augment
from sap2.errors import InputError
from sap2.files import atomic_dir, read_jsonl, write_jsonl
from sap2.params import FolderSource, LibriSpeechSource, PrepareSection
from sap2.progress import track

__all__ = [
    "LECTURES",
    "READ_ALOUD",
    "Item",
    "add_lectures",
    "add_read_aloud",
    "add_speech",
    "excerpts",
    "read_items",
    "sentences",
    "speech_section",
]

LECTURES, READ_ALOUD = "lectures", "read-aloud"  # the synthetic sources
SEED = 20_000  # differs from every corpus seed that params.yaml allows
CHUNK = 1000  # sentences spoken per process
HELD_OUT_SHARE = 20  # one speaker in 20 is held out
HELD_OUT_LECTURES = 64
MIN_SECONDS, MAX_SECONDS = 0.5, 24.0
REAL_NAME_SHARE = 0.25  # of the lectures' names
WORDS = (2, 45)  # length of a sentence of text


@dataclass(frozen=True)
class Item:
    """One recording.

    Args:
        source: Name of its source.
        offset, samples: Position and number of its samples in the source.
        text: Transcript in plain words.
        sentence: For lectures: the sentence with placeholders, whose names are spelt anew each time.
        held_out: Whether it is excluded from training.
    """

    source: str
    offset: int
    samples: int
    text: str
    sentence: Sentence | None = None
    held_out: bool = False


Spoken = tuple[str, Sentence | None, bool, np.ndarray]


def speech_section(folder: Path) -> PrepareSection:
    """How to read a folder of speech: a part of LibriSpeech, or recordings with one TSV (`sap2.data.folder`).

    Raises: InputError: the folder does not exist.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected recordings with one TSV, or a part of LibriSpeech")
    if any(folder.glob("*/*/*.trans.txt")):
        return PrepareSection(
            source="librispeech", librispeech=LibriSpeechSource(root=str(folder.parent), train=[folder.name])
        )
    return PrepareSection(source="folder", folder=FolderSource(root=str(folder)))


def add_speech(name: str, section: PrepareSection, output: Path, workers: int) -> dict:
    """Decode the training recordings of a corpus into the source `name`.

    One speaker in 20 is held out, chosen by a hash of the name; recordings without a speaker, and those of a corpus
    with a single speaker, are all trained on. Transcripts with digits or foreign letters are left out, because their
    spelling does not say how they are spoken.

    Returns: `utterances`, `hours`, and the number `left_out` by reason.
    Raises: InputError: the corpus cannot be read, or nothing in it can be used.
    """
    from sap2.data.corpora import read_corpus

    entries, _ = read_corpus(section)
    left_out = {"rejected by the reader": 0, "digits or foreign letters": 0, "unreadable": 0, "too short or long": 0}
    wanted: list[tuple[Entry, str]] = []
    for entry in entries:
        if isinstance(entry, Rejected):
            left_out["rejected by the reader"] += 1
        elif entry.split in (None, "train"):
            text = plain(entry.text)
            if text:
                wanted.append((entry, text))
            else:
                left_out["digits or foreign letters"] += 1
    several = len({entry.speaker for entry, _ in wanted}) > 1
    spoken: list[Spoken] = []
    with ProcessPoolExecutor(workers or cpu_count(), mp_context=get_context("spawn")) as pool:
        decoded = pool.map(_decode, [entry for entry, _ in wanted], chunksize=16)
        for (entry, text), samples in track(zip(wanted, decoded, strict=True), len(wanted), f"decode {name}"):
            if samples is None:
                left_out["unreadable"] += 1
            elif not MIN_SECONDS <= len(samples) / SAMPLE_RATE <= MAX_SECONDS:
                left_out["too short or long"] += 1
            else:
                held_out = several and entry.speaker is not None and _hash(entry.speaker) % HELD_OUT_SHARE == 0
                spoken.append((text, None, held_out, samples))
    if not spoken:
        raise InputError(f"{name}: no recording can be used ({left_out}); correct the speech section")
    return _write(output, name, spoken) | {"left_out": {reason: count for reason, count in left_out.items() if count}}


def add_lectures(output: Path, count: int, workers: int, real_names: Sequence[str]) -> dict:
    """Speak `count` sentences of the embedded corpus's train split, some of their names real ones."""
    jobs = [(min(CHUNK, count - start), start // CHUNK, tuple(real_names)) for start in range(0, count, CHUNK)]
    spoken: list[Spoken] = []
    for sentence, samples in _synthesised(_speak_lectures, jobs, workers, "speak lectures"):
        text = sentence.fill([sound.spoken for sound in sentence.sounds])
        spoken.append((text, sentence, len(spoken) >= count - HELD_OUT_LECTURES, samples))
    return _write(output, LECTURES, spoken)


def add_read_aloud(output: Path, texts: Sequence[str], workers: int) -> dict:
    """Let the synthesiser read `texts`, to hear rare words that no recording contains."""
    jobs = [(texts[start : start + CHUNK], start // CHUNK) for start in range(0, len(texts), CHUNK)]
    spoken: list[Spoken] = [
        (text, None, False, samples) for text, samples in _synthesised(_speak_texts, jobs, workers, "read aloud")
    ]
    return _write(output, READ_ALOUD, spoken)


def excerpts(texts: Iterable[str], lexicon: Lexicon, count: int) -> list[str]:
    """Draw excerpts of 4 to 14 words with a rare word in each, at most one per text, in random order."""
    rng = np.random.default_rng((SEED, 7))
    stretches = []
    for text in texts:
        words = text.split()
        rare = [index for index, word in enumerate(words) if lexicon.is_rare(word)]
        if rare:
            centre, length = rare[rng.integers(len(rare))], int(rng.integers(4, 15))
            start = max(0, min(centre - int(rng.integers(length)), len(words) - length))
            stretches.append(" ".join(words[start : start + length]))
    return [stretches[index] for index in rng.permutation(len(stretches))[:count]]


def sentences(paths: Iterable[Path]) -> Iterator[str]:
    """Sentences of text files (plain or `.zst`) in plain words; those with digits or foreign letters are left out.

    A line in capitals (LibriSpeech's) is one sentence; other lines are split at their marks.
    """
    shortest, longest = WORDS
    for path in paths:
        for line in _lines(path):
            for sentence in [line] if line.isupper() else re.split(r"(?<=[.!?])\s+", line):
                words = plain(sentence)
                if words and shortest <= len(words.split()) <= longest:
                    yield words


def read_items(output: Path) -> list[Item]:
    """The items of all sources, ordered by the sources' names."""
    items = []
    for path in sorted(output.glob("*/items.jsonl")):
        for _, row in read_jsonl(path):
            saved = row.pop("sentence")
            sounds = saved and tuple(
                Sound(_tuples(sound["units"]), _tuples(sound["family"])) for sound in saved["sounds"]
            )
            items.append(Item(**row, sentence=saved and Sentence(saved["skeleton"], sounds)))
    return items


def _tuples(value):
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _write(output: Path, name: str, spoken: Sequence[Spoken]) -> dict:
    output.mkdir(parents=True, exist_ok=True)
    offset, rows = 0, []
    with atomic_dir(output / name) as partial, (partial / "samples.i16").open("wb") as file:
        for text, sentence, held_out, samples in spoken:
            file.write(samples.tobytes())
            rows.append(asdict(Item(name, offset, len(samples), text, sentence, held_out)))
            offset += len(samples)
        write_jsonl(partial / "items.jsonl", rows)
    return {"utterances": len(rows), "hours": round(offset / SAMPLE_RATE / 3600, 3)}


def _decode(entry: Entry) -> np.ndarray | None:
    path, content = (entry.location, entry.audio) if isinstance(entry.audio, bytes) else (entry.audio, None)
    try:
        return _int16(load_audio(path, start=entry.start, end=entry.end, content=content).clip(-1, 1))
    except InputError:
        return None


def _speak_lectures(job: tuple[int, int, tuple[str, ...]]) -> list[tuple[Sentence, np.ndarray]]:
    count, number, names = job
    rng, synthesiser, spoken = np.random.default_rng((SEED, number)), Synthesiser(), []
    for _ in range(count):
        sentence = draw_sentence("train", rng)
        sounds = tuple(
            Sound(family=(str(rng.choice(names)),)) if rng.random() < REAL_NAME_SHARE else sound
            for sound in sentence.sounds
        )
        sentence = replace(sentence, sounds=sounds)
        samples, _ = render(sentence, rng, synthesiser)
        spoken.append((sentence, _int16(samples)))
    return spoken


def _speak_texts(job: tuple[Sequence[str], int]) -> list[tuple[str, np.ndarray]]:
    texts, number = job
    rng, synthesiser, spoken = np.random.default_rng((SEED, 1, number)), Synthesiser(), []
    for text in texts:
        voice = VOICES[rng.integers(len(VOICES))]
        rate, pitch, spread = int(rng.integers(140, 230)), int(rng.integers(30, 70)), int(rng.integers(20, 80))
        samples = augment(synthesiser.speak(text, voice, rate, pitch, spread), rng)
        if len(samples) <= MAX_SECONDS * SAMPLE_RATE:
            spoken.append((text, _int16(samples)))
    return spoken


def _int16(samples: np.ndarray) -> np.ndarray:
    return (samples * 32767).astype(np.int16)


def _synthesised(speak: Callable, jobs: list, workers: int, label: str) -> Iterator:
    """The results of all jobs, each run in a fresh process: the synthesiser's jitter depends on everything that the
    process has synthesised before."""
    with get_context("spawn").Pool(min(workers or cpu_count() or 1, len(jobs)), maxtasksperchild=1) as pool:
        for chunk in track(pool.imap(speak, jobs), len(jobs), label):
            yield from chunk


def _lines(path: Path) -> Iterator[str]:
    if path.suffix == ".zst":
        import pyarrow

        with pyarrow.input_stream(str(path), compression="zstd") as stream:
            yield from stream.read().decode("utf-8").splitlines()
    else:
        yield from path.read_text(encoding="utf-8").splitlines()


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big")
