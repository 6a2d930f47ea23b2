"""What the embedded base learns before any stage of the pipeline, and how: the data side.

The trap is memory. A decoder this small learns a few thousand names by heart and never looks at the list. So a name's
spelling is drawn anew each time the same recording comes by: only the list can tell it. Names and sentences come from
the train split alone (`sap2.data.names.split_of`), so that the pipeline's dev and test splits stay unheard and unread.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch

from sap2 import prompts
from sap2.data.lectures import Sentence, draw_sentence, render
from sap2.data.names import CODAS, ENDINGS, NUCLEI, ONSETS, Sound, draw_sound, similar_sound
from sap2.data.speech import Synthesiser

__all__ = [
    "SLOTS",
    "UNITS",
    "Example",
    "Recording",
    "Sampler",
    "phoneme_labels",
    "record",
    "unit_labels",
    "vocabulary_texts",
]

SEED = 20_000  # apart from every seed params.yaml allows for the corpus
REAL_SHARE = 0.25  # of the spoken names and of the distractors, those that are real ones
# English spelling is no sum of syllables: real names, none of the corpus's families, of which dev and test have theirs.
REAL_NAMES = """
james robert michael david william richard joseph thomas charles daniel matthew anthony donald paul andrew
joshua kenneth kevin george timothy ronald edward jason ryan jacob gary jonathan justin scott brandon benjamin
samuel gregory alexander patrick jack dennis jerry peter harold douglas henry nathan walter kyle noah ethan
jeremy roger keith austin gerald terry arthur albert willie wayne ralph roy eugene louis russell bobby johnny
randy vincent ernest martin alice mary patricia jennifer linda barbara susan jessica karen nancy betty sandra
margaret ashley kimberly emily donna michelle carol amanda melissa dorothy stephanie cynthia kathleen amy angela
shirley brenda pamela emma samantha katherina debra janet helen maria heather diane ruth julie olivia joyce
virginia kelly lauren christina joan evelyn judith andrea cheryl jacqueline martha gloria grace judy denise
amber doris marilyn danielle beverly diana brittany natalie sophia rose alexis kayla charlotte abigail jane lori
amelia alma edith florence harriet josephine penelope priscilla rosalind sylvia ursula wilhelmina johnson
williams jones garcia miller davis martinez wilson moore jackson thompson white harris sanchez ramirez lewis
robinson walker young king wright hill flores adams nelson baker hall rivera campbell mitchell carter roberts
gomez phillips evans turner diaz parker cruz edwards collins reyes morris morales murphy cooper richardson
howard ward torres ramsey watson brooks chavez wood bennett mendoza ruiz hughes price alvarez castillo sanders
patel long ross foster jimenez powell jenkins perry sullivan bell coleman butler henderson barnes gonzales
simmons patterson jordan reynolds hamilton graham wallace west cole chapman sutton griffin dixon burke spencer
gardner hudson payne knight bishop carpenter harper lawson bradley elliott hicks crawford mason hunter kennedy
warren porter gordon shaw holmes rice robertson black daniels palmer mills nichols grant stone ferguson hawkins
dunn perkins wheeler holloway goldstein rosenberg feldman schneider zimmerman hartman koch krueger neumann bauer
lehmann vogel keller brandt lindgren nystrom sorensen nakamura tanaka watanabe yamamoto kobayashi suzuki rossi
bianchi romano ferrari esposito moreau dubois laurent lefebvre fournier girard kowalski novak petrov ivanov
sokolov haddad rahman hussain mehta gupta sharma banerjee oconnor mcdonald mcgregor mackenzie fitzgerald
gallagher donovan brennan callahan maguire pritchard llewellyn ackerman aldrich ainsworth ashworth atkinson
babcock bancroft barlow bartlett beaumont bellamy blackwell bradford bradshaw bramwell brewster bridges bromley
buchanan buckley burgess cartwright chamberlain chandler chester christensen churchill clayton clifford clifton
colbert cornell cromwell crosby cunningham dalton davenport dawson delaney dickinson drummond eastwood ellsworth
emerson everett fairbanks fairfax farnsworth fielding fitzpatrick fleming fletcher forsyth franklin garfield
gibbons gilbert gladstone goddard goodwin granger greenwood gresham hathaway haywood hemingway hendricks hobbs
holbrook hopkins huxley ingram irving jefferson kingsley kirkpatrick lambert langley lattimer leighton lennox
lincoln lockwood lombard longfellow lowell maddox marlowe marshall maxwell merritt middleton monroe montgomery
mortimer newton norwood oakley ogden osborne pemberton prescott quincy radcliffe randall raymond redmond
reinhardt remington ridley rockwell roosevelt rutherford salisbury sawyer seymour sheffield sheridan sinclair
stafford stanford stanley sterling stratton summers sumner talbot thornton townsend trevelyan truman underwood
vance vaughan wadsworth wakefield walton webster wellington whitaker whitfield whitman wilcox winslow winthrop
woodward wyatt yates york
""".split()
SLOTS = 5  # first onset, nucleus and coda (or next onset), last onset, ending
UNITS = {phonemes: n for n, phonemes in enumerate(sorted({u[0] for u in (*ONSETS, *NUCLEI, *CODAS, *ENDINGS)}))}
PHONEME = re.compile(r"tS|dZ|aI|eI|aU|oU|OI|O:|i:|u:|3:|A:|.")
NO_CONTEXT, SELECT = 0.15, 0.45  # shares of the tasks; the rest transcribes with a list
UNSPOKEN = 0.1  # share of lists without any spoken name
HARD = 0.1  # share of distractors that sound almost like a spoken name
LISTED_ONLY = 0.3  # share of the transcription tasks whose list is nearly or exactly what is spoken


@dataclass(frozen=True)
class Recording:
    """One sentence spoken: `states` are the frozen encoder's, `(frames, encoder_hidden)`, float16."""

    sentence: Sentence
    states: torch.Tensor


@dataclass(frozen=True)
class Example:
    """A prompt, its list and its answer for one recording, with which list entries are spoken."""

    recording: Recording
    prompt: str
    keywords: list[str]
    is_spoken: list[bool]
    target: str
    sounds: tuple[Sound, ...] = ()  # of the keywords
    text: str = ""  # the sentence, as the names are spelt this time


def record(count: int, seed: int) -> list[tuple[Sentence, np.ndarray]]:
    """Draw and speak `count` sentences of the train split; samples are 16-bit at 16 kHz."""
    rng = np.random.default_rng((SEED, seed))
    synthesiser = Synthesiser()
    spoken = []
    for _ in range(count):
        sentence = draw_sentence("train", rng)
        sentence = replace(sentence, sounds=tuple(_real(rng) or sound for sound in sentence.sounds))
        samples, _ = render(sentence, rng, synthesiser)
        spoken.append((sentence, (samples * 32767).astype(np.int16)))
    return spoken


def _real(rng: np.random.Generator) -> Sound | None:
    """A real name, or none."""
    return Sound(family=(str(rng.choice(REAL_NAMES)),)) if rng.random() < REAL_SHARE else None


def vocabulary_texts(count: int = 20_000) -> list[str]:
    """Text the tokenizer is trained on: sentences, lists of names, and the prompts' own words."""
    rng = np.random.default_rng((SEED, 1_000_000))
    texts = []
    for _ in range(count):
        sentence = draw_sentence("train", rng)
        texts.append(" " + sentence.fill([sound.spell(rng) for sound in sentence.sounds]))
        texts.append(" " + ", ".join(draw_sound("train", rng).spell(rng) for _ in range(3)) + ",")
    wording = [prompts.pruning_prompt(), prompts.recognition_prompt(True), prompts.recognition_prompt(False), " none,"]
    markers = re.compile(r"<\|\w+\|>")
    return texts + [markers.sub("", text) for text in (*wording, "user", "assistant", "Audio 1:")] * count


class Sampler:
    """Draws training examples: a new spelling, a new list and a task for a recording, each time it comes by."""

    def __init__(self, seed: int, sounds: int = 30_000) -> None:
        self._rng = np.random.default_rng((SEED, 2_000_000 + seed))
        self._sounds = [_real(self._rng) or draw_sound("train", self._rng) for _ in range(sounds)]

    def example(self, recording: Recording, largest: int) -> Example:
        """One example whose list has at most `largest` entries."""
        rng = self._rng
        sentence = recording.sentence
        names = [sound.spell(rng) for sound in sentence.sounds]
        text = sentence.fill(names)
        task = rng.random()
        if task < NO_CONTEXT:
            return Example(recording, prompts.recognition_prompt(False), [], [], text, text=text)
        select = task < NO_CONTEXT + SELECT
        distractors = int(rng.integers(0, largest + 1))
        if not select and rng.random() < LISTED_ONLY:
            distractors = min(distractors, int(rng.integers(0, 3)))
        listed = [] if rng.random() < UNSPOKEN else list(dict.fromkeys(names))
        entries = {name: (sound, True) for name, sound in zip(names, sentence.sounds, strict=True) if name in listed}
        for _ in range(max(distractors - len(listed), 0)):
            sound = self._distractor(sentence.sounds)
            entries.setdefault(sound.spell(rng), (sound, False))
        keywords = list(entries)
        keywords = [keywords[i] for i in rng.permutation(len(keywords))]
        sounds = tuple(entries[keyword][0] for keyword in keywords)
        is_spoken = [entries[keyword][1] for keyword in keywords]
        if select and keywords:
            chosen = [keyword for keyword, spoken in zip(keywords, is_spoken, strict=True) if spoken]
            target = prompts.pruning_target(chosen)
            return Example(recording, prompts.pruning_prompt(), keywords, is_spoken, target, sounds, text)
        return Example(recording, prompts.recognition_prompt(bool(keywords)), keywords, is_spoken, text, sounds, text)

    def size(self, largest: int) -> int:
        """How long the lists of one batch may be: they are padded to the longest."""
        return int(self._rng.integers(1, largest + 1))

    def listing(self, recording: Recording, size: int) -> Example:
        """A list of about `size` entries, the spoken names among them, and no answer."""
        rng = self._rng
        sounds = list({sound.key: sound for sound in recording.sentence.sounds}.values())
        marks = [True] * len(sounds)
        while len(sounds) < size:
            sounds.append(self._distractor(recording.sentence.sounds))
            marks.append(False)
        order = rng.permutation(len(sounds))
        chosen = tuple(sounds[i] for i in order)
        return Example(
            recording, prompts.pruning_prompt(), [s.spell(rng) for s in chosen], [marks[i] for i in order], "", chosen
        )

    def _distractor(self, spoken: tuple[Sound, ...]) -> Sound:
        rng = self._rng
        while True:
            if spoken and rng.random() < HARD:
                sound = similar_sound(spoken[rng.integers(len(spoken))], "train", rng)
            else:
                sound = self._sounds[rng.integers(len(self._sounds))]
            if all(sound.key != other.key for other in spoken):
                return sound


@lru_cache(maxsize=4096)
def _word_phonemes(word: str) -> tuple[str, ...]:
    return tuple(Synthesiser().phonemes(word))


def phoneme_labels(sentence: Sentence) -> list[str]:
    """The sentence as phonemes, for the auxiliary CTC loss."""
    labels: list[str] = []
    sounds = iter(sentence.sounds)
    for word in sentence.skeleton.split():
        sound = next(sounds) if word == "NAME" else None
        if sound is not None and sound.units:
            labels += [mark for phonemes, _ in sound.units for mark in PHONEME.findall(phonemes)]
        else:
            labels += _word_phonemes(sound.spoken if sound is not None else word)
    return labels


def unit_labels(sound: Sound) -> list[int]:
    """Which unit stands in each of `SLOTS` places of an invented name; -100 in all of them for a real one."""
    if not sound.units:
        return [-100] * SLOTS
    return [UNITS[sound.units[place][0]] for place in (0, 1, 2, -2, -1)]
