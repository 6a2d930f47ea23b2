"""Compare the pooling's scores with stage 1's tags as a pruner.

    python -m experiments.relevance --models models --lists data/lists

Nothing is trained: the scores are the dot products of speech and embeddings that `pool_context` weights by.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from sap2.inference import AudioInput, EncodedAudio, Pruner, load_pruner
from sap2.inference.threshold import curve
from sap2.manifest import audio_path, read_manifest, spoken
from sap2.settings import PrunerSettings

PRECISION = 0.8

Scores = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder with base and pruner")
    parser.add_argument("--lists", type=Path, default=Path("data/lists"), help="folder with test.jsonl")
    options = parser.parse_args()
    manifest = options.lists / "test.jsonl"
    rows = read_manifest(manifest)
    audio, lists = [audio_path(row, manifest) for row in rows], [row.keywords for row in rows]
    tags_alone = PrunerSettings(first_pass=None, prefilter=None)
    pruner = load_pruner(options.models / "base", options.models / "pruner", tags_alone)
    speech = pruner.encode(audio, label="encode")
    alike = pooled(pruner, speech, lists)
    alike["stage 1's tags"] = pruner.score_keywords(speech, lists, label="tag")
    said = [spoken(row) for row in rows]
    for kind, scored in alike.items():
        print(f"{kind}: recall {recall(scored, said):.3f} at precision {PRECISION}")


def pooled(pruner: Pruner, speech: Sequence[EncodedAudio], lists: Sequence[Sequence[str]]) -> dict[str, list[Scores]]:
    """Score each utterance's keywords by their tokens' frame scores, in two ways."""
    alike: dict[str, list[Scores]] = {"each token's best frame": [], "the same, in order": []}
    for recording, words in zip(speech, lists, strict=True):
        tokens = [pruner.stage.processor.tokenise_word(word, first=False) for word in words]
        scores = frame_scores(pruner, recording, sum(tokens, [])).mean(0)  # (frames, tokens)
        each = np.split(scores, np.cumsum([len(ids) for ids in tokens])[:-1], axis=1)
        for kind, of in zip(alike, (anywhere, in_order), strict=True):
            alike[kind].append(dict(zip(words, map(of, each), strict=True)))
    return alike


@torch.no_grad()
def frame_scores(pruner: Pruner, audio: AudioInput, tokens: Sequence[int]) -> np.ndarray:
    """Return the score of each token in each frame as in `pool_context`, `(heads, frames, tokens)`."""
    (states,) = pruner.encode([audio])[0].by(pruner.stage)
    model = pruner.stage.model.get_base_model()
    heads = model.config.pooling_heads
    with pruner.stage.switched_on():
        speech = model.model.multi_modal_projector(states).float().unflatten(-1, (heads, -1))
    context = model.get_input_embeddings()(torch.tensor(tokens)).float().unflatten(-1, (heads, -1))
    return (torch.einsum("thd,chd->htc", speech, context) * speech.shape[-1] ** -0.5).numpy()


def anywhere(scores: np.ndarray) -> float:
    """Average each token's best frame score; `scores` is `(frames, tokens)`."""
    return float(scores.max(0).mean())


def in_order(scores: np.ndarray) -> float:
    """Average the best frame scores in token order; -inf if there are fewer frames than tokens.

    >>> in_order(np.array([[0.0, 5.0], [1.0, 0.0], [0.0, 2.0]]))
    1.5
    """
    best = np.maximum.accumulate(scores[:, 0])
    for token in scores.T[1:]:
        best = np.maximum.accumulate(np.concatenate(([-np.inf], best[:-1])) + token)
    return float(best[-1] / scores.shape[1])


def recall(scored: Sequence[Scores], said: Sequence[Sequence[str]]) -> float:
    """Return the highest recall at a precision of at least `PRECISION`."""
    most = max((score for scores in scored for score in scores.values()), default=0.0)
    # `curve` expects scores up to 0; keywords with more tokens than frames have no finite score.
    shifted = [{word: score - most for word, score in scores.items() if np.isfinite(score)} for scores in scored]
    recalls = [row["recall"] for row in curve(shifted, said) if (row["precision"] or 0) >= PRECISION]
    return max((float(value) for value in recalls if value is not None), default=0.0)


if __name__ == "__main__":
    main()
