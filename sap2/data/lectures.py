"""The embedded corpus: synthetic lectures with slides, where only the slide shows how a name is spelt.

    grammar + names --seed--> lectures (slides of names, sentences) --eSpeak NG, noise--> FLAC + manifests

A lecture is a sequence of slides with names; its sentences use the names of their slide. An utterance's
biasing list has the names of nearby slides, spoken or not. Names (by their sound) and sentences (by their
wording without names) each belong to one split: neither names nor sentences of the test split occur in training.
"""

import os
import re
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, get_args

import numpy as np

from sap2.data.audio import save_audio
from sap2.data.card import Card
from sap2.data.names import Sound, Split, draw_sound, similar_sound, split_of
from sap2.data.quarantine import Quarantine
from sap2.data.shards import pack
from sap2.data.speech import SAMPLE_RATE, VOICES, Synthesiser, augment
from sap2.files import atomic_dir
from sap2.manifest import Utterance, audio_path, write_manifest
from sap2.params import PrepareSection
from sap2.progress import track

__all__ = ["COMMON_WORDS", "Sentence", "draw_sentence", "prepare_lectures", "render"]

Slide = list[tuple[str, Sound]]  # names with their spelling

SENTENCES_PER_SLIDE = 2
CHUNK = 100  # utterances per process
RATES = (170, 220)  # words per minute
PITCHES = (30, 70)

SLOTS: dict[str, tuple[str, ...]] = {
    "when": ("today", "now", "next", "first", "later", "again", "finally", "here"),
    "adj": (
        "new", "simple", "large", "small", "second", "better", "common", "useful", "careful", "final", "open", "strong",
        "local", "basic", "hidden", "faster",
    ),
    "noun": (
        "method", "model", "result", "theorem", "table", "figure", "question", "answer", "problem", "system", "data",
        "test", "paper", "group", "network", "signal", "lesson", "proof", "value", "theory",
    ),
    "verb": ("explains", "shows", "needs", "changes", "gives", "supports", "follows", "improves", "measures", "breaks"),
    "past": ("found", "wrote", "solved", "changed", "described", "built", "measured", "tested"),
    "we": ("we", "they", "you", "people"),
    "act": ("compare", "see", "use", "study", "discuss", "know", "need", "like"),
}  # fmt: skip
NAMED = (
    "{when} NAME {verb} the {adj} {noun}", "the NAME {noun} {verb} the {noun}", "{we} {act} NAME and NAME",
    "{when} {we} {act} the NAME {noun}", "NAME {past} this {adj} {noun}", "ask NAME about the {noun}",
    "the {noun} of NAME is {adj}", "{noun} and {noun} by NAME", "NAME and NAME {past} the {noun}",
    "the {adj} {noun} is called NAME", "{we} {act} what NAME {past}", "thanks to NAME for the {adj} {noun}",
    "{when} {we} turn to NAME", "the NAME {noun} and the NAME {noun}",
)  # fmt: skip
PLAIN = (
    "{when} {we} {act} the {adj} {noun}", "the {adj} {noun} {verb} the {noun}", "this {noun} is {adj} and {adj}",
    "{we} {act} the {noun} of the {noun}", "the {noun} {verb} what {we} {act}", "{when} the {noun} is {adj}",
)  # fmt: skip
NAMED_SHARE = 0.8
NAME = "NAME"
FACTS = {
    "title": "Embedded lectures",
    "licence": "Apache-2.0, as this project; spoken by eSpeak NG, whose licence does not extend to its output",
}


def _common_words() -> frozenset[str]:
    text = " ".join([*NAMED, *PLAIN, *(" ".join(words) for words in SLOTS.values())])
    return frozenset(re.findall(r"\b[a-z]+\b", re.sub(r"\{\w+\}", " ", text)))


COMMON_WORDS = _common_words()  # all words that are not names: everything else is "rare"


@dataclass(frozen=True)
class Sentence:
    """A sentence in which each `NAME` stands for the next of `sounds`."""

    skeleton: str
    sounds: tuple[Sound, ...]

    def fill(self, names: list[str]) -> str:
        """Return the sentence with `names` inserted."""
        following = iter(names)
        return " ".join(next(following) if word == NAME else word for word in self.skeleton.split())


def draw_skeleton(split: Split, rng: np.random.Generator) -> str:
    """Draw a sentence of `split` with `NAME` for names."""
    while True:
        templates = NAMED if rng.random() < NAMED_SHARE else PLAIN
        template = templates[rng.integers(len(templates))]
        skeleton = re.sub(r"\{(\w+)\}", lambda slot: str(rng.choice(SLOTS[slot.group(1)])), template)
        if split_of(skeleton) == split:
            return skeleton


def draw_sentence(split: Split, rng: np.random.Generator) -> Sentence:
    """Draw a sentence and its names; in `prepare_lectures` sentences share their slide's names instead."""
    skeleton = draw_skeleton(split, rng)
    return Sentence(skeleton, tuple(draw_sound(split, rng) for _ in range(skeleton.split().count(NAME))))


def render(sentence: Sentence, rng: np.random.Generator, synthesiser: Synthesiser) -> tuple[np.ndarray, str]:
    """Speak a sentence in a random voice, speed and pitch, with noise and a random level.

    Returns: Mono float32 samples at 16 kHz, and the voice's name.
    """
    voice = VOICES[rng.integers(len(VOICES))]
    rate, pitch, spread = int(rng.integers(*RATES)), int(rng.integers(*PITCHES)), int(rng.integers(20, 80))
    spoken = sentence.fill([sound.spoken for sound in sentence.sounds])
    return augment(synthesiser.speak(spoken, voice, rate, pitch, spread), rng), voice


def prepare_lectures(section: PrepareSection, output: Path) -> dict[str, Any]:
    """Generate the corpus: `train.jsonl`, `dev.jsonl`, `test.jsonl`, `audio/*.flac` and the card under `output`.

    Args:
        section: The `prepare` section of params.yaml; read are seed, `{split}_utterances`, list_size, slides,
            hard_share, workers and shard_size.
        output: Folder, replaced atomically.
    Returns: The content of card.json.
    """
    card = Card("lectures", section, FACTS | {"list_size": section.list_size})
    with atomic_dir(output) as partial:
        (partial / "audio").mkdir()
        for number, split in enumerate(get_args(Split)):
            count = getattr(section, f"{split}_utterances")
            rng = np.random.default_rng((section.seed, number))
            plans = _plan_split(split, count, section, rng)
            utterances = _render_split(plans, (section.seed, number), partial / "audio", section.workers, split)
            write_manifest(partial / f"{split}.jsonl", utterances)
            for utterance in utterances:
                card.see(split, utterance.model_dump(), audio_path(utterance, partial / f"{split}.jsonl"))
        if section.shard_size is not None:
            pack(partial / "train.jsonl", section.shard_size)
        (partial / "quarantine.jsonl").touch()
        return card.write(partial, sum(figures.utterances for figures in card.splits.values()), Quarantine())


def _plan_split(split: Split, count: int, section: PrepareSection, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Draw sentence and slides of each utterance of a split."""
    list_size, slides = section.list_size, section.slides
    plans: list[dict[str, Any]] = []
    while len(plans) < count:
        talk = f"{split}-{len(plans) // (SENTENCES_PER_SLIDE * 2 * slides):04d}"
        deck = _draw_deck(split, list_size, slides, section.hard_share, rng)
        for position, slide in enumerate(deck):
            window = _slides_around(deck, position, slides)
            keywords = [name for near in window for name, _ in near][:list_size]
            for _ in range(SENTENCES_PER_SLIDE):
                skeleton = draw_skeleton(split, rng)
                chosen = rng.permutation(len(slide))[: skeleton.split().count(NAME)]
                names, sounds = zip(*(slide[i] for i in chosen), strict=True) if len(chosen) else ((), ())
                order = rng.permutation(len(keywords))
                plans.append(
                    {
                        "id": f"{talk}-{len(plans):05d}",
                        "talk": talk,
                        "sentence": Sentence(skeleton, tuple(sounds)),
                        "text": Sentence(skeleton, tuple(sounds)).fill(list(names)),
                        "keywords": [keywords[i] for i in order],
                    }
                )
    return plans[:count]


def _draw_deck(split: Split, list_size: int, slides: int, hard_share: float, rng: np.random.Generator) -> list[Slide]:
    """Draw a lecture's slides of (spelling, sound); no two names of a lecture sound or look the same."""
    per_slide = -(-list_size // slides)
    sounds: set[str] = set()
    names, deck = set(COMMON_WORDS), list[Slide]()
    for _ in range(2 * slides):
        slide: Slide = []
        while len(slide) < max(per_slide, 2):
            hard = slide and rng.random() < hard_share
            sound = similar_sound(slide[-1][1], split, rng) if hard else draw_sound(split, rng)
            name = sound.spell(rng)
            if sound.key not in sounds and name not in names:
                sounds.add(sound.key)
                names.add(name)
                slide.append((name, sound))
        deck.append(slide)
    return deck


def _slides_around(deck: list[Slide], position: int, slides: int) -> list[Slide]:
    """Return the `slides` slides nearest to `position`, the slide at `position` first."""
    start = min(max(position - slides // 2, 0), len(deck) - slides)
    return sorted(deck[start : start + slides], key=lambda slide: slide is not deck[position])


def _render_split(
    plans: list[dict[str, Any]], seed: tuple[int, ...], folder: Path, workers: int, split: Split
) -> list[Utterance]:
    """Synthesise the plans, `CHUNK` per process with a fresh engine, so that the number of workers changes nothing."""
    jobs = [(plans[start : start + CHUNK], (*seed, start), folder) for start in range(0, len(plans), CHUNK)]
    with get_context("spawn").Pool(min(workers or os.cpu_count() or 1, len(jobs)), maxtasksperchild=1) as pool:
        chunks = pool.imap(_render_chunk, jobs)
        fields = (fields for chunk in chunks for fields in chunk)
        return [Utterance(**row) for row in track(fields, total=len(plans), label=f"prepare {split}")]


def _render_chunk(job: tuple[list[dict[str, Any]], tuple[int, ...], Path]) -> list[dict[str, Any]]:
    plans, seed, folder = job
    rng, synthesiser, made = np.random.default_rng((*seed, 1)), Synthesiser(), []
    for plan in plans:
        samples, voice = render(plan["sentence"], rng, synthesiser)
        name = f"{plan['id']}.flac"
        save_audio(folder / name, samples)
        fields = {key: plan[key] for key in ("id", "talk", "text", "keywords")}
        seconds = round(len(samples) / SAMPLE_RATE, 3)
        made.append({**fields, "audio": f"audio/{name}", "duration": seconds, "speaker": voice})
    return made
