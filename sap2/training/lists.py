"""Lists and targets of training, drawn again in each epoch: they depend on seed, epoch and id only.

Stage 1 (pruner) gets lists of many sizes, in any order, some empty or without a spoken word; its target is the spoken
keywords. Stage 2 (recogniser) gets a short list such as stage 1 selects, or none; its target is the text. The single
model of the methods PC and JPI gets lists as stage 1 does; its target is the text, with JPI after the spoken keywords.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sap2.errors import InputError
from sap2.manifest import Utterance, spoken, unique_keywords
from sap2.prompts import joint_prompt, joint_target, pruning_prompt, pruning_target, recognition_prompt

Stage = Literal["pruner", "recogniser"]
Method = Literal["tpi", "pc", "jpi"]
Lists = Literal["oracle", "predicted", "corrupted"]

LOOKED_AT = 2000  # words of the pool among which those most like a spoken one are looked for
OWN_SHARE = 0.5  # distractors from the utterance's own slides; the rest come from other utterances' and change most
DROP_SHARE = 0.15  # corrupted lists: a spoken keyword that stage 1 missed
# Corrupted lists: keywords that stage 1 let through though nobody said them, at most; more of a list of thousands.
FEW, MANY, MANY_SHARE = 2, 10, 0.3
ALIKE_SHARE = 0.7  # of these, such as are spelt like what is said, if anything is; the others are the utterance's own
NOT_PRUNED = (
    'run "sap2 prune" with pruning.train and train on its manifests, or set recogniser.lists to oracle or corrupted'
)


@dataclass(frozen=True)
class Draw:
    """Prompt, list and target of an utterance in an epoch."""

    prompt: str
    keywords: tuple[str, ...]
    target: str
    spoken: frozenset[str] = frozenset()  # of the keywords


class ListDrawer:
    """Draw prompts, lists and targets of one stage.

    Args:
        utterances: The training's utterances; distractors come from all their keywords.
        method: Which of the three (see `sap2.params.ModelSection`) the stage is of.
        lists: Stage 2's: what was said (`oracle`), stage 1's answers (`predicted`) or spoiled oracles (`corrupted`).
        list_sizes: Smallest and largest pruning list, in keywords; a list may end up shorter when too few words exist.
        no_context_share: Share of draws without keywords: stage 2 must work without context, and stage 1's answer
            `none` must not need a list.
        unspoken_share: Share of whole lists (stage 1's, PC's, JPI's) with distractors only: without them it is learnt
            that something is always spoken.
        hard_share: Share of the distractors, beside those of the utterance's own slides, that are spelt most like what
            is spoken; the others are drawn at random.
        pool: All the utterances' keywords, each once, in order, where there are too many utterances to hold; none need
            then be given.
    Raises: InputError: `lists` is `predicted` and an utterance has no `predicted`.
    """

    SETTINGS = frozenset({"seed", "list_sizes", "lists", "no_context_share", "unspoken_share", "hard_share"})

    def __init__(
        self,
        stage: Stage,
        utterances: Sequence[Utterance],
        *,
        seed: int,
        method: Method = "tpi",
        list_sizes: tuple[int, int] = (10, 100),
        lists: Lists = "oracle",
        no_context_share: float = 0.0,
        unspoken_share: float = 0.0,
        hard_share: float = 0.0,
        pool: Sequence[str] | None = None,
    ):
        self.stage, self.method, self.seed, self.lists, self.list_sizes = stage, method, seed, lists, list_sizes
        self.no_context_share, self.unspoken_share = no_context_share, unspoken_share
        self.hard_share = hard_share
        words = {keyword for utterance in utterances for keyword in utterance.keywords}
        self.pool = sorted(words) if pool is None else pool
        if stage == "recogniser" and method == "tpi" and lists == "predicted":
            missing = [utterance.id for utterance in utterances if utterance.predicted is None]
            if missing:
                raise InputError(
                    f"{len(missing)} of {len(utterances)} utterances have no `predicted` list, {missing[0]} the first; "
                    f"{NOT_PRUNED}"
                )

    def draw(self, utterance: Utterance, epoch: int) -> Draw:
        rng = random.Random(f"{self.seed}/{self.stage}/{epoch}/{utterance.id}")
        said = spoken(utterance)
        if self.stage == "recogniser" and self.method == "tpi":
            keywords = self._recognition_list(utterance, said, rng)
        else:
            keywords = self._whole_list(utterance, said, rng)
        selected = [word for word in keywords if word in said]
        if self.stage == "pruner":
            return Draw(pruning_prompt(), tuple(keywords), pruning_target(selected), frozenset(selected))
        if self.method == "jpi":
            return Draw(joint_prompt(), tuple(keywords), joint_target(selected, utterance.text))
        return Draw(recognition_prompt(bool(keywords)), tuple(keywords), utterance.text)

    def _whole_list(self, utterance: Utterance, spoken_words: list[str], rng: random.Random) -> list[str]:
        kind, size = rng.random(), rng.randint(*self.list_sizes)
        if kind < self.no_context_share:
            return []
        said = [] if kind < self.no_context_share + self.unspoken_share else list(spoken_words)
        rng.shuffle(said)
        said = said[:size]
        keywords = unique_keywords(said + self._distractors(utterance, set(spoken_words), size - len(said), rng))
        rng.shuffle(keywords)
        return keywords

    def _distractors(self, utterance: Utterance, said: set[str], count: int, rng: random.Random) -> list[str]:
        """Draw `count` words that are not spoken: some of the utterance's own slides, the others of all slides."""
        own = set(utterance.keywords)
        near = [word for word in utterance.keywords if word not in said]
        rng.shuffle(near)
        few = round(count * OWN_SHARE)
        far = self._alike(said, round(count * self.hard_share), rng)
        far += rng.sample(self.pool, min(len(self.pool), 2 * count))
        far = [word for word in dict.fromkeys(far) if word not in own]
        far = _unspoken(utterance, far)
        drawn = near[:few] + far[: count - min(few, len(near))]
        return drawn + near[few : few + count - len(drawn)]

    def _let_through(self, utterance: Utterance, said: set[str], rng: random.Random) -> list[str]:
        """What a stage 1 might select though nobody said it."""
        count = rng.randint(FEW + 1, MANY) if rng.random() < MANY_SHARE else rng.randint(0, FEW)
        others = [word for word in utterance.keywords if word not in said]
        words = self._alike(said, sum(rng.random() < ALIKE_SHARE for _ in range(count)), rng)
        words = _unspoken(utterance, words)
        return words + rng.sample(others, min(len(others), count - len(words)))

    def _alike(self, said: set[str], count: int, rng: random.Random) -> list[str]:
        """Words of the pool that are spelt like what is said, the most like ones first."""
        if not said or not count:
            return []
        from rapidfuzz.distance import Levenshtein
        from rapidfuzz.process import cdist

        seen = rng.sample(self.pool, min(len(self.pool), LOOKED_AT))
        nearness = cdist(sorted(said), seen, scorer=Levenshtein.normalized_similarity).max(axis=0)
        return [seen[place] for place in (-nearness).argsort(kind="stable")[:count]]

    def _recognition_list(self, utterance: Utterance, said: list[str], rng: random.Random) -> list[str]:
        if rng.random() < self.no_context_share:
            return []
        if self.lists == "predicted" and utterance.predicted is None:
            raise InputError(f"{utterance.id}: has no `predicted` list; {NOT_PRUNED}")
        keywords = list(utterance.predicted or []) if self.lists == "predicted" else list(said)
        if self.lists == "corrupted":
            keywords = [word for word in keywords if rng.random() >= DROP_SHARE]
            keywords = unique_keywords(keywords + self._let_through(utterance, set(said), rng))
        rng.shuffle(keywords)
        return keywords


def _unspoken(utterance: Utterance, words: list[str]) -> list[str]:
    """Return the words that the utterance does not contain."""
    present = set(spoken(utterance.model_copy(update={"keywords": words})))
    return [word for word in words if word not in present]
