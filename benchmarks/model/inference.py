"""Two-stage inference, ours in batches against the baseline one by one, side by side: same weights, same words.

    python benchmarks/model/inference.py --models models

Ours encodes an utterance once, at its own length, for both stages, and decodes in batches. The baseline takes one
utterance at a time, pads it to 30 s, and encodes it again in the second stage. The third side tells what the batches
alone bring: one utterance at a time, but encoded once and at its own length. A turn is the next part of the split.
"""

from pathlib import Path

from baseline import padded_features, padded_states
from common import alternately, best_device, default_recogniser, parser, report, utterances

from sap2.inference import EncodedAudio
from sap2.model import SAMPLE_RATE


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--models", type=Path, help="folder with base, pruner and recogniser; else the embedded base")
    options.add_argument("--utterances", type=int, default=400, help="of the test split")
    options.add_argument("--turns", type=int, default=10, help="parts the utterances are taken in")
    arguments = options.parse_args()

    device = best_device()
    recogniser = default_recogniser(arguments.models, device)
    stage = recogniser.transcriber.stage
    rows, waves = utterances(arguments, arguments.utterances, "test")
    size = len(rows) // arguments.turns
    # The first turn is not measured.
    parts = [slice(0, 4), *(slice(first, first + size) for first in range(0, size * arguments.turns, size))]
    texts: dict[str, list[str]] = {"ours": [], "one by one, 30 s": [], "one by one, own length": []}

    def ours(waves, lists):
        speech = recogniser.encode(waves)
        return recogniser.transcribe(speech, recogniser.prune(speech, lists))

    def padded(wave):
        seconds = len(wave) / SAMPLE_RATE
        states = padded_states(stage.model, padded_features(stage.processor, [wave]))
        return EncodedAudio.whole(states[0], seconds)

    def one_by_one(waves, lists):
        results = []
        for wave, words in zip(waves, lists, strict=True):
            predicted = recogniser.prune([padded(wave)], [words])
            results += recogniser.transcribe([padded(wave)], predicted)
        return results

    def alone(waves, lists):
        return [text for wave, words in zip(waves, lists, strict=True) for text in ours([wave], [words])]

    def taking_turns(name, side):
        order = iter(parts)

        def turn():
            part = next(order)
            texts[name].append(side(waves[part], [row.keywords for row in rows[part]]))

        return turn

    sides = zip(texts, (ours, one_by_one, alone), strict=True)
    seconds = alternately({name: taking_turns(name, side) for name, side in sides}, arguments.turns, device)
    mine, *others = ([text for part in parts[1:] for text in part] for parts in texts.values())
    same = {name: sum(map(str.__eq__, mine, other)) for name, other in zip(list(texts)[1:], others, strict=True)}
    report(arguments, device, seconds, utterances=len(mine), same_words=same)


if __name__ == "__main__":
    main()
