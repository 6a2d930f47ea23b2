"""Draw the pooling's scores: which frames of an utterance call for which list tokens, and the tokens' shares.

python -m experiments.picture --models models --lists data/lists
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments.relevance import frame_scores
from sap2.inference import load_pruner
from sap2.manifest import audio_path, read_manifest, spoken

KEYWORDS = 7  # number of keywords drawn, including the spoken ones


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder with base and pruner")
    parser.add_argument("--lists", type=Path, default=Path("data/lists"), help="folder with test.jsonl")
    parser.add_argument("--utterance", help="its id (the first with two spoken keywords)")
    parser.add_argument("--output", type=Path, default=Path("docs/images/pooling.png"))
    options = parser.parse_args()
    manifest = options.lists / "test.jsonl"
    rows = read_manifest(manifest)
    row = next(row for row in rows if (row.id == options.utterance if options.utterance else len(spoken(row)) == 2))
    said = spoken(row)
    keywords = sorted([*said, *[word for word in row.keywords if word not in said][: KEYWORDS - len(said)]])
    pruner = load_pruner(options.models / "base", options.models / "pruner")
    stage = pruner.stage
    ids, windows = stage.processor.tokenise_context(keywords)
    scores = frame_scores(pruner, audio_path(row, manifest), ids)
    tokens = [stage.processor.tokenizer.decode([token]) for token in ids]
    draw(scores, tokens, np.array(windows), row.text, said, stage.frame_seconds, options.output)
    print(f"{options.output}: {row.id}, {row.text!r}, list {', '.join(keywords)}")


def shares(scores: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Compute each token's share of its window, `(tokens,)`: softmax of its mean score over frames, mean over heads."""
    weights = np.exp(scores.mean(1) - scores.mean(1).max(1, keepdims=True))  # (heads, tokens)
    together = windows[:, None] == windows[None]  # (tokens, tokens)
    return (weights / (weights @ together)).mean(0)


def draw(scores, tokens, windows, text: str, said: list[str], frame_seconds: float, path: Path) -> None:
    """Draw frame scores of tokens above and tokens' shares below, with lines at window borders."""
    canvas = Figure(figsize=(9, 5), dpi=150, layout="constrained")
    heat, bars = canvas.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    mean = scores.mean(0)  # (frames, tokens)
    image = heat.imshow(mean, aspect="auto", origin="lower", cmap="RdBu_r", vmin=-abs(mean).max(), vmax=abs(mean).max())
    heat.set_yticks(*zip(*[(at, f"{at * frame_seconds:.1f}") for at in range(0, len(mean), 10)], strict=True))
    heat.set(ylabel="seconds", title=f"“{text}”; said of the list: {', '.join(said) or 'nothing'}")
    canvas.colorbar(image, ax=heat, label="score, mean over heads")
    bars.bar(range(len(tokens)), shares(scores, windows), color="#3a6ea5")
    bars.set(ylabel="share of its window", ylim=(0, 1.05))
    bars.set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=8)
    for axes in (heat, bars):
        for edge in np.flatnonzero(np.diff(windows)) + 0.5:
            axes.axvline(edge, color="black", linewidth=0.4)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, metadata={"Software": None})


if __name__ == "__main__":
    main()
