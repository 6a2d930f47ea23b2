"""Biasing lists: the spoken keywords of an utterance among distractors, and lists spoiled the way a pruner errs."""

import random
from collections.abc import Sequence
from pathlib import Path

from sap2.errors import InputError
from sap2.manifest import keyword_fault, unique_keywords

__all__ = ["corrupt", "draw_list", "read_list"]


def draw_list(spoken: Sequence[str], distractors: Sequence[str], size: int, seed: int | str) -> list[str]:
    """A list of `size` keywords in random order: all spoken ones, filled up with distractors.

    Args:
        spoken: Keywords that are said; all of them enter, even when there are more than `size`.
        distractors: Where the others are drawn from, without repetition; spoken ones among them are passed over.
        size: Number of keywords wanted; fewer come back when the distractors run out.
        seed: Same seed, same list. For lists that differ between utterances put the id in it: `f"{seed}/{id}"`.

    Source: Le et al. 2021, biasing lists for LibriSpeech.

    >>> sorted(draw_list(["meyer"], ["zorvan", "Meyer", "kathryn"], 3, "1/talk3-0007"))
    ['kathryn', 'meyer', 'zorvan']
    """
    if size < 0:
        raise InputError(f"a list of {size} keywords was asked for, expected 0 or more")
    said = unique_keywords(spoken)
    known = {keyword.casefold() for keyword in said}
    others = [keyword for keyword in unique_keywords(distractors) if keyword.casefold() not in known]
    rng = random.Random(str(seed))
    drawn = said + rng.sample(others, min(max(size - len(said), 0), len(others)))
    rng.shuffle(drawn)
    return drawn


def corrupt(
    oracle: Sequence[str], listed: Sequence[str], seed: int | str, miss_share: float = 0.15, false_alarms: int = 2
) -> list[str]:
    """An oracle list with a pruner's errors: some spoken keywords missing, some that nobody said let through.

    Args:
        oracle: The spoken keywords.
        listed: The whole list, from which false alarms are drawn.
        seed: As in `draw_list`.
        miss_share: Chance of each spoken keyword to go missing.
        false_alarms: Most keywords let through; their number is uniform from 0.

    >>> corrupt(["meyer"], ["meyer", "zorvan"], seed=1, miss_share=0.0, false_alarms=0)
    ['meyer']
    """
    rng = random.Random(str(seed))
    known = {keyword.casefold() for keyword in oracle}
    others = [keyword for keyword in listed if keyword.casefold() not in known]
    kept = [keyword for keyword in oracle if rng.random() >= miss_share]
    kept += rng.sample(others, min(len(others), rng.randint(0, false_alarms)))
    rng.shuffle(kept)
    return kept


def read_list(text: str | None = None, file: Path | str | None = None) -> list[str]:
    """Keywords that a person typed or keeps in a file: one a line, or separated by commas; each once, in order.

    >>> read_list("Meyer, deep zorvan,, meyer")
    ['Meyer', 'deep zorvan']

    Raises: InputError: the file is missing or not UTF-8, or a keyword holds a marker; the message says where.
    """
    sources = [("--keywords", 0, text or "")]
    if file is not None:
        try:
            lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
        except (FileNotFoundError, IsADirectoryError) as error:
            raise InputError(f"{file}: no such file, expected keywords, one a line") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{file}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
        sources += [(str(file), number, line) for number, line in enumerate(lines, start=1)]
    found: list[str] = []
    for where, number, line in sources:
        for keyword in filter(str.strip, line.split(",")):
            if fault := keyword_fault(keyword.strip()):
                raise InputError(f"{where}{f':{number}' if number else ''}: {fault}")
            found.append(keyword)
    return unique_keywords(found)
