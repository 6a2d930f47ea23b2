"""Two-stage inference, ours in batches against the baseline one by one, side by side: same weights, same words.

    python benchmarks/model/inference.py --utterances 400 --models models

Ours encodes an utterance once, at its own length, for both stages, and decodes in batches. The baseline takes one
utterance at a time, pads it to 30 s, and encodes it again in the second stage.
"""

import argparse
from pathlib import Path

from common import alternately, best_device, machine, padded_states, summary, utterances

from sap2.inference import Decoding, Recogniser
from sap2.training.shapes import EMBEDDED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", type=Path, help="folder with base, pruner and recogniser; else the embedded base")
    parser.add_argument("--folder", type=Path, default=Path("data/bench-model"))
    parser.add_argument("--utterances", type=int, default=400, help="of the test split")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=1, help="measured runs of each side, after one to warm up")
    arguments = parser.parse_args()

    device = best_device()
    decoding = Decoding(batch_size=arguments.batch_size, max_new_tokens=arguments.max_new_tokens)
    folders = [EMBEDDED]
    if arguments.models is not None:
        folders = [arguments.models / name for name in ("base", "pruner", "recogniser")]
    recogniser = Recogniser.load(*folders, decoding=decoding, device=device.type)
    rows, waves = utterances(arguments.folder, arguments.utterances, "test")
    lists = [row.keywords for row in rows]
    texts: dict[str, list[str]] = {}

    def ours():
        speech = recogniser.encode(waves)
        texts["ours"] = recogniser.transcribe(speech, recogniser.prune(speech, lists))

    def one_by_one():
        texts["one by one"] = []
        for wave, words in zip(waves, lists, strict=True):
            model, processor = recogniser.model, recogniser.processor
            predicted = recogniser.prune([padded_states(model, processor, [wave])], [words])
            texts["one by one"] += recogniser.transcribe([padded_states(model, processor, [wave])], predicted)

    seconds = alternately({"ours": ours, "one by one": one_by_one}, arguments.repeats, device)
    print(f"{machine(device)}; {len(rows)} utterances of the test split, batch {arguments.batch_size}")
    print(summary(seconds))
    same = sum(a == b for a, b in zip(*texts.values(), strict=True))
    print(f"same words: {same} of {len(rows)} utterances")


if __name__ == "__main__":
    main()
