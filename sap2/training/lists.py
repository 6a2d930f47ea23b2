"""Keyword lists and targets for training, drawn again in each epoch; they depend only on seed, epoch and id.

Stage 1 (pruner) gets shuffled lists of varying size, some empty or without spoken keywords; its target is the spoken
keywords. Stage 2 (recogniser) gets a short list as stage 1 would select it, or no list; its target is the transcript.
The single model of the methods PC and JPI gets lists as stage 1 does; its target is the transcript, preceded by the
spoken keywords with JPI.
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

CANDIDATES = 2000  # keywords sampled from the pool, among which the most similar to a spoken keyword are searched
OWN_SHARE = 0.5  # of distractors, from the utterance's own slides; the others, of other utterances, vary most
# Corrupted lists:
DROP_SHARE = 0.15  # probability that a spoken keyword is dropped, as if stage 1 had missed it
FEW, MANY, MANY_SHARE = 2, 10, 0.3  # unspoken keywords added: at most FEW, or at most MANY in this share of lists
SIMILAR_SHARE = 0.7  # of these, spelt like a spoken keyword, if there is any; the others are the utterance's own
NOT_PRUNED = (
    'run "sap2 prune" with pruning.train and train on its manifests, or set recogniser.lists to oracle or corrupted'
)


@dataclass(frozen=True)
class Draw:
    """Prompt, list and target of an utterance in an epoch."""

    prompt: str
    keywords: tuple[str, ...]
    target: str
    spoken: frozenset[str] = frozenset()  # the spoken keywords of the list; for stage 1 only


class ListDrawer:
    """Draw prompts, keyword lists and targets for a stage.

    Args:
        utterances: The training utterances; distractors are drawn from all their keywords.
        method: The method that the stage belongs to (see `sap2.params.ModelSection`).
        lists: Stage 2's lists: spoken keywords (`oracle`), stage 1's selections (`predicted`), or spoken keywords
            with simulated errors of stage 1 (`corrupted`).
        list_sizes: Minimum and maximum number of keywords in a pruning list; a list may be shorter if there are too
            few keywords.
        no_context_share: Share of draws without keywords: stage 2 must work without context, and stage 1 must
            answer `none` to an empty list.
        unspoken_share: Share of full lists (for stage 1, PC and JPI) that contain only distractors; without them the
            model learns that some keyword is always spoken.
        hard_share: Share of the distractors, besides those from the utterance's own slides, whose spelling is most
            similar to a spoken keyword; the others are drawn at random.
        pool: Sorted unique keywords of all utterances, for corpora too large for memory; `utterances` may then be
            empty.
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
                    f"{len(missing)} of {len(utterances)} utterances have no `predicted` list, first {missing[0]}; "
                    f"{NOT_PRUNED}"
                )

    def draw(self, utterance: Utterance, epoch: int) -> Draw:
        """Draw the example of an utterance in an epoch."""
        rng = random.Random(f"{self.seed}/{self.stage}/{epoch}/{utterance.id}")
        spoken_words = spoken(utterance)
        if self.stage == "recogniser" and self.method == "tpi":
            keywords = self._recognition_list(utterance, spoken_words, rng)
        else:
            keywords = self._full_list(utterance, spoken_words, rng)
        selected = [word for word in keywords if word in spoken_words]
        if self.stage == "pruner":
            return Draw(pruning_prompt(), tuple(keywords), pruning_target(selected), frozenset(selected))
        if self.method == "jpi":
            return Draw(joint_prompt(), tuple(keywords), joint_target(selected, utterance.text))
        return Draw(recognition_prompt(bool(keywords)), tuple(keywords), utterance.text)

    def _full_list(self, utterance: Utterance, spoken_words: list[str], rng: random.Random) -> list[str]:
        """Draw a list as stage 1 reads it: spoken keywords and distractors, shuffled."""
        kind, size = rng.random(), rng.randint(*self.list_sizes)
        if kind < self.no_context_share:
            return []
        listed = [] if kind < self.no_context_share + self.unspoken_share else list(spoken_words)
        rng.shuffle(listed)
        listed = listed[:size]
        distractors = self._distractors(utterance, set(spoken_words), size - len(listed), rng)
        keywords = unique_keywords(listed + distractors)
        rng.shuffle(keywords)
        return keywords

    def _distractors(self, utterance: Utterance, spoken_words: set[str], count: int, rng: random.Random) -> list[str]:
        """Draw `count` unspoken keywords, some from the utterance's own slides, the others from the pool."""
        own = set(utterance.keywords)
        near = [word for word in utterance.keywords if word not in spoken_words]
        rng.shuffle(near)
        few = round(count * OWN_SHARE)
        far = self._similar(spoken_words, round(count * self.hard_share), rng)
        far += rng.sample(self.pool, min(len(self.pool), 2 * count))
        far = [word for word in dict.fromkeys(far) if word not in own]
        far = _unspoken(utterance, far)
        drawn = near[:few] + far[: count - min(few, len(near))]
        return drawn + near[few : few + count - len(drawn)]

    def _false_selections(self, utterance: Utterance, spoken_words: set[str], rng: random.Random) -> list[str]:
        """Draw unspoken keywords that stage 1 might select by mistake."""
        count = rng.randint(FEW + 1, MANY) if rng.random() < MANY_SHARE else rng.randint(0, FEW)
        others = [word for word in utterance.keywords if word not in spoken_words]
        words = self._similar(spoken_words, sum(rng.random() < SIMILAR_SHARE for _ in range(count)), rng)
        words = _unspoken(utterance, words)
        return words + rng.sample(others, min(len(others), count - len(words)))

    def _similar(self, spoken_words: set[str], count: int, rng: random.Random) -> list[str]:
        """Return keywords of the pool that are spelt like a spoken keyword, the most similar first."""
        if not spoken_words or not count:
            return []
        from rapidfuzz.distance import Levenshtein
        from rapidfuzz.process import cdist

        candidates = rng.sample(self.pool, min(len(self.pool), CANDIDATES))
        similarity = cdist(sorted(spoken_words), candidates, scorer=Levenshtein.normalized_similarity).max(axis=0)
        return [candidates[index] for index in (-similarity).argsort(kind="stable")[:count]]

    def _recognition_list(self, utterance: Utterance, spoken_words: list[str], rng: random.Random) -> list[str]:
        """Draw a list as stage 2 reads it: a selection by stage 1, real or simulated."""
        if rng.random() < self.no_context_share:
            return []
        if self.lists == "predicted" and utterance.predicted is None:
            raise InputError(f"{utterance.id}: has no `predicted` list; {NOT_PRUNED}")
        keywords = list(utterance.predicted or []) if self.lists == "predicted" else list(spoken_words)
        if self.lists == "corrupted":
            keywords = [word for word in keywords if rng.random() >= DROP_SHARE]
            keywords = unique_keywords(keywords + self._false_selections(utterance, set(spoken_words), rng))
        rng.shuffle(keywords)
        return keywords


def _unspoken(utterance: Utterance, words: list[str]) -> list[str]:
    """Return the words that are not spoken in the utterance."""
    present = set(spoken(utterance.model_copy(update={"keywords": words})))
    return [word for word in words if word not in present]
