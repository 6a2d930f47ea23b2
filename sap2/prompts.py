"""Prompts and targets of both stages, and parsers of their answers.

A prompt has an empty marker pair for the keyword list: the processor fills it (`sap2.model.processing`), so a
keyword is never part of the prompt's own text. The wording is that of the public SAP² checkpoints.
"""

import re
from collections.abc import Sequence

from sap2.spelling import composed

CONTEXT_START = "<|startofcontext|>"
CONTEXT_END = "<|endofcontext|>"
SEPARATOR = ", "
SEPARATORS = re.compile(r"[,\n]")  # between the keywords of an answer; exactly what a keyword cannot contain
NOTHING = "none"
TAGS = (" no", " yes")  # tags at the end of a listed keyword, whether it was spoken; their tokens' logits are compared

_CONTEXT = CONTEXT_START + CONTEXT_END
_SELECTED = "Selected keywords are: "
_TRANSCRIPTION = "Transcription:"


def pruning_prompt() -> str:
    """Return stage 1's prompt."""
    return f"Select keywords that may appear in the speech from the following keywords list: {_CONTEXT}"


def recognition_prompt(has_keywords: bool) -> str:
    """Return stage 2's prompt; without keywords the marker pair stays empty."""
    if not has_keywords:
        return f"Transcribe speech to text.{_CONTEXT}"
    return (
        "Transcribe speech to text according to keywords may appear in the utterance. "
        f"Possible keywords are: {_CONTEXT}"
    )


def joint_prompt() -> str:
    """Return the prompt for both stages in a single answer (ablation)."""
    return (
        "First select keywords that may appear in the speech from given keywords list. "
        f"Then Transcribe speech to text according to selected keywords. Keywords are: {_CONTEXT}"
    )


def pruning_target(keywords: Sequence[str]) -> str:
    """Return the answer that stage 1 learns.

    >>> pruning_target(["Kathryn", "Maier"]), pruning_target([])
    ('Kathryn, Maier', 'none')
    """
    return SEPARATOR.join(keywords) or NOTHING


def joint_target(keywords: Sequence[str], text: str) -> str:
    r"""Return the answer of the joint ablation.

    >>> joint_target(["Maier"], "ask maier")
    'Selected keywords are: Maier.\nTranscription: ask maier'
    """
    return f"{_SELECTED}{pruning_target(keywords)}.\n{_TRANSCRIPTION} {text}"


def parse_selection(answer: str, listed: Sequence[str]) -> tuple[list[str], list[str]]:
    """Parse stage 1's answer against its list.

    Returns: The selected keywords, in the list's spelling and order, without duplicates; and the answer's words that
    are
        not in the list, which are dropped. A lone "none", in any case or with a full stop, selects nothing.

    >>> parse_selection("maier, KATHRYN, Smith, maier.", ["Kathryn", "Meyer", "Maier"])
    (['Kathryn', 'Maier'], ['Smith'])
    >>> parse_selection("None.", ["Kathryn"])
    ([], [])
    """
    pieces = match_pieces(answer, listed)
    chosen = {match for _, match in pieces if match is not None}
    unknown = dict.fromkeys(word for word, match in pieces if match is None and word and _key(word) != NOTHING)
    return [word for word in dict.fromkeys(listed) if word in chosen], list(unknown)


def match_pieces(answer: str, listed: Sequence[str]) -> list[tuple[str, str | None]]:
    r"""Split stage 1's answer at commas and line ends; return each tidied piece with the listed keyword it names.

    >>> match_pieces("maier, Smith.", ["Maier"])
    [('maier', 'Maier'), ('Smith', None)]
    """
    if _key(answer).rstrip(".") in ("", NOTHING):
        return []
    exact = {" ".join(word.split()): word for word in reversed(listed)}
    folded = {_key(word): word for word in reversed(listed)}
    pieces = []
    for piece in SEPARATORS.split(answer):
        word = " ".join(piece.split())
        # A full stop ends the answer; a full stop of the keyword itself ("Inc.") matches before it is removed.
        bare = word.rstrip(".")
        matches = (exact.get(word), folded.get(_key(word)), exact.get(bare), folded.get(_key(bare)))
        pieces.append((bare, next((match for match in matches if match is not None), None)))
    return pieces


def parse_joint(answer: str, listed: Sequence[str]) -> tuple[list[str], list[str], str]:
    r"""Parse a joint answer into selected keywords, unknown words and transcript; without label it is all
    transcript.

    >>> parse_joint("Selected keywords are: maier.\nTranscription: ask maier", ["Maier"])
    (['Maier'], [], 'ask maier')
    >>> parse_joint("ask maier", ["Maier"])
    ([], [], 'ask maier')
    """
    head, label, text = answer.partition(_TRANSCRIPTION)
    if not label:
        return [], [], answer.strip()
    selected, unknown = parse_selection(head.strip().removeprefix(_SELECTED.strip()).strip(), listed)
    return selected, unknown, text.strip()


def _key(word: str) -> str:
    return composed(" ".join(word.split())).casefold()
