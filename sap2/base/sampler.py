"""Training examples of the embedded base: each time a recording is drawn, with a new task, list and spelling."""

import re
from dataclasses import dataclass

import numpy as np

from sap2 import prompts
from sap2.base.corpus import REAL_NAME_SHARE, SEED, Item
from sap2.base.lexicon import Lexicon, respell
from sap2.data.names import Sound, draw_sound, similar_sound

__all__ = ["Example", "Keyword", "Sampler", "phonemes_in"]

UNSPOKEN = 0.1  # share of the lists without any spoken keyword
FEW_DISTRACTORS = 0.3  # share of the lists for transcription with at most two distractors
LISTED = 0.85  # share of the spoken rare words that are listed
RESPELT = 0.35  # share of the listed single words that are respelt
PHRASES = 0.12  # share of the keywords that are phrases of two words
COMMON = 0.04  # share of the recordings with a common word in their list
HARD = 0.1  # share of the distractors that sound similar to a spoken keyword
LECTURE_DISTRACTORS = 0.8  # share of a lecture's distractors that are drawn as its names are


@dataclass(frozen=True)
class Keyword:
    """A keyword of a list: its spelling, its phonemes if they are known, and whether it is spoken."""

    text: str
    phonemes: tuple[str, ...]
    spoken: bool


@dataclass(frozen=True)
class Example:
    """A prompt, its list and its answer; `text` is the transcript as it is spelt in this example."""

    prompt: str
    keywords: list[Keyword]
    target: str
    text: str
    phonemes: tuple[str, ...]


class Sampler:
    """Draws examples of items.

    Args:
        lexicon: Pronunciations, and the entries that lists are drawn from.
        real_names: Names that replace a share of the lectures' invented ones.
        sounds: Size of the pool of names for the lectures' distractors.
    """

    def __init__(self, lexicon: Lexicon, real_names: list[str], sounds: int = 30_000) -> None:
        self.lexicon = lexicon
        rng = np.random.default_rng((SEED, 2))
        self._sounds = [
            Sound(family=(str(rng.choice(real_names)),)) if rng.random() < REAL_NAME_SHARE else draw_sound("train", rng)
            for _ in range(sounds)
        ]

    def example(self, item: Item, largest: int, rng: np.random.Generator, task: str) -> Example:
        """An example with at most `largest` distractors; `task` is "none" (no list), "list" or "select"."""
        if task == "none":
            spelt = self._spoken(item, rng, respelt=0.0)[0]
            return Example(prompts.recognition_prompt(False), [], spelt, spelt, self.phonemes(item))
        unspoken = rng.random() < UNSPOKEN
        text, spoken = self._spoken(item, rng, respelt=0.0 if unspoken else RESPELT)
        distractors = int(rng.integers(0, largest + 1))
        if task == "list" and rng.random() < FEW_DISTRACTORS:
            distractors = int(rng.integers(0, 3))
        keywords = self._listed([] if unspoken else spoken, distractors, item, text, rng)
        if task == "select" and keywords:
            chosen = [keyword.text for keyword in keywords if keyword.spoken]
            return Example(
                prompts.pruning_prompt(), keywords, prompts.pruning_target(chosen), text, self.phonemes(item)
            )  # fmt: skip
        return Example(prompts.recognition_prompt(bool(keywords)), keywords, text, text, self.phonemes(item))

    def listed(self, item: Item, distractors: int, rng: np.random.Generator) -> tuple[str, list[str]]:
        """The transcript as it is spelt, and a list of its rare words and `distractors` others, in random order."""
        text, spoken = self._spoken(item, rng, respelt=0.0)
        return text, [keyword.text for keyword in self._listed(spoken, distractors, item, text, rng)]

    def listing(self, item: Item | None, size: int, rng: np.random.Generator) -> Example:
        """A list of about `size` keywords without an answer, for the losses on keywords alone; without speech if `item`
        is None."""
        text, spoken = self._spoken(item, rng, respelt=RESPELT) if item else ("", [])
        keywords = self._listed(spoken, max(size - len(spoken), 1), item, text, rng)
        return Example(prompts.pruning_prompt(), keywords, "", text, self.phonemes(item) if item else ())

    def reading(self, text: str) -> Example:
        """Text without speech, for the decoder as a language model."""
        return Example(prompts.recognition_prompt(False), [], text, text, ())

    def _spoken(self, item: Item, rng: np.random.Generator, respelt: float) -> tuple[str, list[Keyword]]:
        """The transcript in a new spelling, and those of its words that a list may hold."""
        if item.sentence is not None:
            sounds = item.sentence.sounds
            names = [sound.spell(rng) for sound in sounds]
            listed = {
                name: Keyword(name, self._sounds_of(sound), True) for name, sound in zip(names, sounds, strict=True)
            }
            return item.sentence.fill(names), list(listed.values())
        words = item.text.split()
        rare = [index for index, word in enumerate(words) if self.lexicon.is_rare(word) and rng.random() < LISTED]
        if rng.random() < COMMON:
            rare += [index for index in rng.integers(len(words), size=1) if len(words[index]) > 3 and index not in rare]
        keywords: dict[str, Keyword] = {}
        spelt, taken = list(words), set()
        for index in rare:
            if index in taken:
                continue
            sound = self.lexicon.phonemes(words[index])
            neighbour = index + (1 if rng.random() < 0.5 else -1)
            if rng.random() < PHRASES and 0 <= neighbour < len(words) and neighbour not in taken:
                first, last = min(index, neighbour), max(index, neighbour)
                phrase = f"{words[first]} {words[last]}"
                keywords[phrase] = Keyword(phrase, self.lexicon.phonemes(phrase), True)
                taken |= {first, last}
                continue
            word = respell(words[index], rng) if rng.random() < respelt else words[index]
            for other, same in enumerate(words):
                if same == words[index] and other not in taken:
                    spelt[other] = word
            taken.add(index)
            keywords[word] = Keyword(word, sound, True)
        text = " ".join(spelt)
        return text, [keyword for keyword in keywords.values() if f" {keyword.text} " in f" {text} "]

    def _listed(
        self, spoken: list[Keyword], distractors: int, item: Item | None, text: str, rng: np.random.Generator
    ) -> list[Keyword]:
        """The spoken keywords and distractors that do not occur in the text, in random order."""
        entries = {keyword.text: keyword for keyword in spoken}
        padded_text = f" {text} "
        for _ in range(distractors):
            keyword = self._distractor(spoken, item, rng)
            if f" {keyword.text} " not in padded_text:
                entries.setdefault(keyword.text, keyword)
        keywords = list(entries.values())
        return [keywords[index] for index in rng.permutation(len(keywords))]

    def _distractor(self, spoken: list[Keyword], item: Item | None, rng: np.random.Generator) -> Keyword:
        sentence = item.sentence if item else None
        if sentence and rng.random() < LECTURE_DISTRACTORS or item is None and rng.random() < 0.3:
            sounds = sentence.sounds if sentence else ()
            while True:
                if sounds and rng.random() < HARD:
                    sound = similar_sound(sounds[rng.integers(len(sounds))], "train", rng)
                else:
                    sound = self._sounds[rng.integers(len(self._sounds))]
                if all(sound.key != other.key for other in sounds):
                    return Keyword(sound.spell(rng), self._sounds_of(sound), False)
        listed = self.lexicon.listed
        entry = None
        if spoken and rng.random() < HARD:
            entry = self.lexicon.similar(spoken[rng.integers(len(spoken))].text, rng)
        entry = entry or listed[rng.integers(len(listed))]
        if " " not in entry and rng.random() < PHRASES:
            entry = f"{entry} {listed[rng.integers(len(listed))].split()[0]}"
        elif " " not in entry and rng.random() < RESPELT * LISTED:  # as often as spoken keywords: no hint
            return Keyword(respell(entry, rng), self.lexicon.phonemes(entry), False)
        return Keyword(entry, self.lexicon.phonemes(entry), False)

    def phonemes(self, item: Item) -> tuple[str, ...]:
        if item.sentence is None:
            return self.lexicon.phonemes(item.text)
        sounds = iter(item.sentence.sounds)
        words = item.sentence.skeleton.split()
        return tuple(
            mark
            for word in words
            for mark in (self._sounds_of(next(sounds)) if word == "NAME" else self.lexicon.phonemes(word))
        )

    def _sounds_of(self, sound: Sound) -> tuple[str, ...]:
        if sound.units:
            return tuple(mark for phonemes, _ in sound.units for mark in phonemes_in(phonemes))
        return self.lexicon.phonemes(sound.spoken)


def phonemes_in(phonemes: str) -> list[str]:
    """Split a string of eSpeak's phoneme mnemonics.

    >>> phonemes_in("tSeIl")
    ['tS', 'eI', 'l']
    """
    return re.findall(r"tS|dZ|aI|eI|aU|oU|OI|O:|i:|u:|3:|A:|.", phonemes)
