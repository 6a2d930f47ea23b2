"""Recognition with a list of thousands, cut by the prefilter, against a short list: the whole of both stages.

    python benchmarks/model/prefilter_cost.py --models models --short 100 --long 2000 --keep 100 50

Where as many are left as the short list has, what is measured is the first pass and the cut. Each list holds the
utterance's own keywords.
"""

from functools import partial
from pathlib import Path

from common import alternately, best_device, default_recogniser, names, parser, report, utterances


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--models", type=Path, help="folder with base, pruner and recogniser; else the embedded base")
    options.add_argument("--utterances", type=int, default=64, help="of the test split")
    options.add_argument("--short", type=int, default=100, help="keywords of the short list, which is read in full")
    options.add_argument("--long", type=int, default=2000, help="keywords of the long list")
    options.add_argument("--keep", type=int, nargs="+", default=[100, 50], help="what the prefilter leaves of it")
    options.add_argument("--repeats", type=int, default=5)
    arguments = options.parse_args()

    device = best_device()
    default = default_recogniser(arguments.models, device)
    rows, waves = utterances(arguments, arguments.utterances, "test")
    pool = names(arguments.long)

    def recognise(size: int, keep: int | None):
        settings = default.settings.with_changes({"pruning": {"prefilter": keep}}, "--keep")
        recogniser = default.with_settings(settings)
        speech = recogniser.encode(waves)
        lists = [list(dict.fromkeys([*row.keywords, *pool]))[:size] for row in rows]
        recogniser.transcribe(speech, recogniser.prune(speech, lists))

    sides = {f"N = {arguments.short}": partial(recognise, arguments.short, None)}
    for keep in arguments.keep:
        sides[f"N = {arguments.long}, {keep} left"] = partial(recognise, arguments.long, keep)
    seconds = alternately(sides, arguments.repeats, device)
    report(arguments, device, seconds, utterances=len(rows))


if __name__ == "__main__":
    main()
