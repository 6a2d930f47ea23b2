"""Names of the embedded corpus: families of names that sound alike and are spelt differently.

A `Sound` is a pronunciation with all its spellings. Invented names are built from units (onset, nucleus, coda,
ending), each with one pronunciation and several spellings: /k eI l @n/ may be written kaylen, cailin, keilon … Real
families (catherine, katherine, kathryn …) are listed. Only a text that shows the spelling can tell which one is meant.

Every sound belongs to exactly one split, by a hash of its pronunciation alone: for any seed and any user (the corpus,
the embedded base), no name of the test split occurs in training.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["Sound", "Split", "draw_sound", "real_sounds", "similar_sound", "split_of"]

Split = Literal["train", "dev", "test"]
Unit = tuple[str, tuple[str, ...]]  # eSpeak phonemes, spellings

ONSETS: tuple[Unit, ...] = (
    ("b", ("b",)), ("k", ("k", "c")), ("d", ("d",)), ("f", ("f", "ph")), ("g", ("g",)), ("dZ", ("j", "g")),
    ("h", ("h",)), ("l", ("l",)), ("m", ("m",)), ("n", ("n",)), ("p", ("p",)), ("r", ("r", "rh")), ("s", ("s", "c")),
    ("S", ("sh", "sch")), ("t", ("t", "th")), ("v", ("v",)), ("w", ("w", "wh")), ("z", ("z", "x")), ("tS", ("ch",)),
    ("br", ("br",)), ("kr", ("kr", "cr")), ("st", ("st",)), ("fl", ("fl", "phl")), ("tr", ("tr",)),
    ("kl", ("kl", "cl")), ("gr", ("gr",)),
)  # fmt: skip
NUCLEI: tuple[Unit, ...] = (
    ("a", ("a",)), ("E", ("e",)), ("I", ("i", "y")), ("i:", ("ee", "ea", "ie")), ("eI", ("ay", "ai", "ei")),
    ("aI", ("y", "ie")), ("oU", ("o", "oa", "oe")), ("u:", ("oo", "u", "ou")), ("O:", ("aw", "au")),
    ("aU", ("ow", "ou")), ("OI", ("oy", "oi")), ("3:", ("er", "ir", "ur")),
)  # fmt: skip
CODAS: tuple[Unit, ...] = (
    ("", ("",)), ("", ("",)), ("", ("",)), ("", ("",)), ("n", ("n",)), ("l", ("l",)), ("m", ("m",)), ("s", ("s",)),
)  # fmt: skip
ENDINGS: tuple[Unit, ...] = (
    ("@n", ("an", "en", "on", "in")), ("3", ("er", "or", "ar")), ("i", ("y", "ie", "ee", "ey")),
    ("@l", ("el", "le", "al")), ("@m", ("am", "um", "em")), ("oU", ("o", "oe", "ow")), ("@", ("a", "ah")),
    ("Is", ("is", "iss", "ys")), ("It", ("it", "ett")), ("eId", ("ade", "aid")), ("aIn", ("ine", "yne")),
    ("Vs", ("us", "uss")),
)  # fmt: skip
THIRD_SYLLABLE_SHARE = 0.1

FAMILIES: tuple[tuple[str, ...], ...] = (
    ("john", "jon"), ("catherine", "katherine", "kathryn", "catharine"), ("meyer", "maier", "myer", "meier"),
    ("steven", "stephen"), ("philip", "phillip", "filip"), ("jeffrey", "geoffrey"), ("shawn", "sean", "shaun"),
    ("brian", "bryan"), ("sarah", "sara"), ("anne", "ann"), ("clark", "clarke"), ("reed", "reid", "read"),
    ("stewart", "stuart"), ("allen", "alan", "allan"), ("mark", "marc"), ("eric", "erik", "eryk"), ("carl", "karl"),
    ("smith", "smyth"), ("brown", "browne"), ("greene", "green"), ("grey", "gray"), ("cook", "cooke"),
    ("hayes", "hays"), ("lee", "leigh"), ("nicholas", "nicolas"), ("pierce", "pearce"), ("rogers", "rodgers"),
    ("schmidt", "schmitt"), ("hoffman", "hoffmann", "hofman"), ("peterson", "petersen"), ("anderson", "andersen"),
    ("hanson", "hansen"), ("larson", "larsen"), ("olson", "olsen"), ("teresa", "theresa"), ("rachel", "rachael"),
    ("rebecca", "rebekah"), ("deborah", "debora"), ("elizabeth", "elisabeth"), ("christine", "kristine"),
    ("christopher", "kristofer"), ("nicole", "nichole"), ("megan", "meghan"), ("lindsay", "lindsey"),
    ("zachary", "zackary"), ("dylan", "dillon"), ("connor", "conor"), ("aidan", "aiden"), ("tracy", "tracey"),
    ("leslie", "lesley"), ("vivian", "vivien"), ("isabel", "isobel"), ("hannah", "hanna"), ("monica", "monika"),
    ("veronica", "veronika"), ("victor", "viktor"), ("frederick", "fredrik"), ("conrad", "konrad"),
    ("lawrence", "laurence"), ("gerard", "gerrard"), ("harrison", "harryson"), ("becker", "bekker"),
    ("fisher", "fischer"), ("kramer", "cramer"), ("wagner", "wagener"), ("weaver", "weever"), ("taylor", "tayler"),
    ("bailey", "baillie"), ("barclay", "berkley"), ("macintosh", "mackintosh"), ("forster", "forrster"),
)  # fmt: skip


@dataclass(frozen=True)
class Sound:
    """A pronunciation and its spellings.

    Invented names have `units`, real families have `family`, whose first member is synthesised.
    """

    units: tuple[Unit, ...] = ()
    family: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Identifier of this pronunciation."""
        return self.family[0] if self.family else "-".join(phonemes for phonemes, _ in self.units)

    @property
    def spoken(self) -> str:
        """Input of the synthesiser: plain text, or phonemes in double brackets."""
        if self.family:
            return self.family[0]
        first, *rest = (phonemes for phonemes, _ in self.units)
        return f"[[{first}|'{'|'.join(part for part in rest if part)}]]"

    def spell(self, rng: np.random.Generator) -> str:
        """Draw a spelling."""
        if self.family:
            return self.family[rng.integers(len(self.family))]
        return "".join(spellings[rng.integers(len(spellings))] for _, spellings in self.units)


def split_of(key: str) -> Split:
    """Return the split of a sound or sentence by its hash: 10 % dev, 20 % test."""
    bucket = hashlib.blake2b(key.encode(), digest_size=4).digest()[0] % 10
    return "test" if bucket < 2 else "dev" if bucket == 2 else "train"


def real_sounds(split: Split) -> list[Sound]:
    """Return the real families of a split."""
    return [sound for sound in map(lambda family: Sound(family=family), FAMILIES) if split_of(sound.key) == split]


def draw_sound(split: Split, rng: np.random.Generator, real_share: float = 0.15) -> Sound:
    """Draw a sound of `split`: a real family with probability `real_share`, else invented, of 2 or 3 syllables."""
    if rng.random() < real_share:
        families = real_sounds(split)
        return families[rng.integers(len(families))]
    while True:
        units = [_pick(ONSETS, rng), _pick(NUCLEI, rng), _pick(CODAS, rng)]
        if rng.random() < THIRD_SYLLABLE_SHARE:
            units += [_pick(ONSETS, rng), _pick(NUCLEI, rng)]
        sound = Sound(units=(*units, _pick(ONSETS, rng), _pick(ENDINGS, rng)))
        if split_of(sound.key) == split:
            return sound


def similar_sound(sound: Sound, split: Split, rng: np.random.Generator) -> Sound:
    """Draw a hard distractor: an invented sound of `split` that differs from `sound` in its last consonant or ending.

    If `sound` is a real family or has no such neighbour in the split, draw any invented sound of the split.
    """
    neighbours = [
        other
        for index, units in ((-1, ENDINGS), (-2, ONSETS))
        for unit in (units if sound.units else ())
        if (other := _with_unit(sound, index, unit)).key != sound.key and split_of(other.key) == split
    ]
    return neighbours[rng.integers(len(neighbours))] if neighbours else draw_sound(split, rng, real_share=0)


def _with_unit(sound: Sound, index: int, unit: Unit) -> Sound:
    changed = list(sound.units)
    changed[index] = unit
    return Sound(units=tuple(changed))


def _pick(units: tuple[Unit, ...], rng: np.random.Generator) -> Unit:
    return units[rng.integers(len(units))]
