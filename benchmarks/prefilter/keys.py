"""What is compared of a name and a stretch of the first pass: letters and sounds, by several measures, and their sums.

    python benchmarks/prefilter/keys.py --json benchmarks/prefilter/records/keys.json

First pass (the bare base's) and list are recall.py's; the sum is that of the same stretch's similarities.
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
    options.add_argument("--size", type=int, default=10_000, help="N: names of the list")
    options.add_argument("--keep", type=int, nargs="+", default=[50, 100, 200], help="K: names kept of it")
    arguments = options.parse_args()

    said, heard = first_passes(arguments.models, arguments.data, arguments.utterances)
    texts, words = next(iter(heard.values())), glossary(said, arguments.size)
    print("| compared | " + " | ".join(f"recall@{keep}" for keep in arguments.keep) + " |")
    print("|---" * (len(arguments.keep) + 1) + "|")
    rows = []
    for name, measures in COMPARED.items():
        places = ranks(texts, said, words, measures)
        found = {keep: round(float(np.mean(places < keep)), 4) for keep in arguments.keep}
        rows.append({"compared": name, "recall": found})
        print(f"| {name} | " + " | ".join(f"{recall:.3f}" for recall in found.values()) + " |", flush=True)
    record(arguments, names=sum(map(len, said)), rows=rows)


def ranks(
    texts: Sequence[str], said: Sequence[Sequence[str]], words: list[str], measures: Sequence[Measure]
) -> np.ndarray:
    """The place of every name said in the list ordered by similarity, of equals the first in the list first."""
    listed = [[key(word) for word in words] for key, _ in measures]
    position = {word: place for place, word in enumerate(words)}
    places = []
    for text, one in zip(texts, said, strict=True):
        stretches = _stretches(text.split())
        scores = sum(
            cdist([key(stretch) for stretch in stretches], keys, scorer=scorer, dtype=np.float32)
            for (key, scorer), keys in zip(measures, listed, strict=True)
        ).max(axis=0)
        order = np.argsort(-scores, kind="stable")
        places += [int(np.flatnonzero(order == position[word])[0]) for word in one]
    return np.array(places)


def _stretches(spoken: list[str]) -> list[str]:
    """Words and neighbours joined: what the prefilter tries for lists of single words."""
    return list(dict.fromkeys("".join(spoken[i : i + size]) for size in (1, 2) for i in range(len(spoken) - size + 1)))


if __name__ == "__main__":
    main()
