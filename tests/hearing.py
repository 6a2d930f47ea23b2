"""Fake recogniser of three known segments, to test how transcripts are processed."""

from types import SimpleNamespace

import numpy as np
from fake_stage import FakeStage

from sap2.inference import AudioCut
from sap2.inference.index import IndexCache
from sap2.settings import RecogniserSettings

SPANS = [(0.0, 2.0), (2.0, 4.0), (4.0, 6.0)]
# The level of a sample identifies its segment.
WAVE = np.repeat(np.array([0.0, 0.1, 0.2], np.float32), 32_000)
PLAIN = ["of zorvin", "by catherine maier", "and kwine"]
SPELT = {"Zorvan": "zorvin", "Kathryn Meyer": "catherine maier", "Quine": "kwine"}


class Hearing:
    """Recognise `PLAIN` in segments of two seconds, with the list's spelling."""

    settings = RecogniserSettings()
    name = "three segments"

    def __init__(self):
        self.asked = []
        self.indexes = IndexCache(FakeStage().vocabulary)
        self.check = self.indexes.check

    def index(self, keywords, first=()):
        index = self.indexes.of(keywords)
        return index.after(self.indexes.of(first)) if first else index

    @staticmethod
    def cut(wave):
        return AudioCut(SPANS)

    @staticmethod
    def place(segment):
        return round(float(segment.wave[0]) * 10)

    def transcribe(self, audio):
        return [PLAIN[self.place(segment)] for segment in audio]

    def recognise(self, audio, keywords):
        self.asked += [(self.place(one), list(words)) for one, words in zip(audio, keywords, strict=True)]
        return [self.answer(PLAIN[self.place(one)], words) for one, words in zip(audio, keywords, strict=True)]

    @staticmethod
    def answer(text, words):
        kept = [word for word in words if SPELT.get(word, "-") in text]
        for word in kept:
            text = text.replace(SPELT[word], word)
        return SimpleNamespace(text=text, scores=dict.fromkeys(kept, -0.25), predicted=kept, segments=[])
