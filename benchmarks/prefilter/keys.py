"""Recall@K of the phonetic match by similarity measure: letters, sounds, and their sums.

    python benchmarks/prefilter/keys.py --json benchmarks/prefilter/records/keys.json

The first pass (by the bare base) and the list are those of recall.py; similarities of the same stretch are summed.
"""

from collections.abc import Callable, Sequence

import jellyfish
import numpy as np
from rapidfuzz.distance import Indel, JaroWinkler, Levenshtein
from rapidfuzz.process import cdist
from recall import first_passes, glossary, parser, record

Measure = tuple[Callable[[str], str], Callable[..., float]]  # a key, and the similarity of two keys

LEVENSHTEIN, INDEL = Levenshtein.normalized_similarity, Indel.normalized_similarity
COMPARED: dict[str, list[Measure]] = {
    "letters, indel ratio": [(str, INDEL)],
    "letters, Jaro-Winkler": [(str, JaroWinkler.normalized_similarity)],
    "letters": [(str, LEVENSHTEIN)],
    "Metaphone": [(jellyfish.metaphone, LEVENSHTEIN)],
    "letters + NYSIIS (indel ratio)": [(str, INDEL), (jellyfish.nysiis, INDEL)],
    "letters + match rating codex": [(str, LEVENSHTEIN), (jellyfish.match_rating_codex, LEVENSHTEIN)],
    "letters + Metaphone": [(str, LEVENSHTEIN), (jellyfish.metaphone, LEVENSHTEIN)],  # the prefilter's
}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--size", type=int, default=10_000, help="N: names in the list")
    options.add_argument("--keep", type=int, nargs="+", default=[50, 100, 200], help="K: names kept")
    arguments = options.parse_args()

    names, transcripts = first_passes(arguments.models, arguments.data, arguments.utterances)
    texts, words = next(iter(transcripts.values())), glossary(names, arguments.size)
    print("| compared | " + " | ".join(f"recall@{keep}" for keep in arguments.keep) + " |")
    print("|---" * (len(arguments.keep) + 1) + "|")
    rows = []
    for name, measures in COMPARED.items():
        positions = ranks(texts, names, words, measures)
        recalls = {keep: round(float(np.mean(positions < keep)), 4) for keep in arguments.keep}
        rows.append({"compared": name, "recall": recalls})
        print(f"| {name} | " + " | ".join(f"{recall:.3f}" for recall in recalls.values()) + " |", flush=True)
    record(arguments, names=sum(map(len, names)), rows=rows)


def ranks(
    texts: Sequence[str], names: Sequence[Sequence[str]], words: list[str], measures: Sequence[Measure]
) -> np.ndarray:
    """Return the rank of every spoken name in the list sorted by similarity; ties keep the list's order."""
    listed = [[key(word) for word in words] for key, _ in measures]
    position = {word: index for index, word in enumerate(words)}
    rank_list: list[int] = []
    for text, spoken in zip(texts, names, strict=True):
        stretches = _stretches(text.split())
        scores = sum(
            cdist([key(stretch) for stretch in stretches], keys, scorer=scorer, dtype=np.float32)
            for (key, scorer), keys in zip(measures, listed, strict=True)
        ).max(axis=0)
        order = np.argsort(-scores, kind="stable")
        rank_list += [int(np.flatnonzero(order == position[word])[0]) for word in spoken]
    return np.array(rank_list)


def _stretches(spoken: list[str]) -> list[str]:
    """Return words and joined pairs of neighbours, as the prefilter tries them for lists of single words."""
    return list(dict.fromkeys("".join(spoken[i : i + size]) for size in (1, 2) for i in range(len(spoken) - size + 1)))


if __name__ == "__main__":
    main()
