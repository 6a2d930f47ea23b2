"""Scores of the keywords in stage 1's answers."""

from collections.abc import Iterable, Mapping, Sequence

from sap2.inference.decoding import Answer
from sap2.prompts import SEPARATORS, match_pieces

__all__ = ["best", "keyword_scores"]


def keyword_scores(answer: Answer, listed: Sequence[str]) -> dict[str, float]:
    """Score each selected keyword by the sum of its tokens' log-probabilities; 0 = certain.

    The answer is constrained to the list, so tokens without alternative add nothing.

    A token with the end of a keyword and the comma counts for that keyword; commas and blanks alone count for none. A
    keyword named twice keeps the better score.

    >>> answer = Answer("Maier, jon", (" Mai", "er", ",", " jon"), (-0.2, -0.4, -3.0, -1.0))
    >>> {word: round(score, 2) for word, score in keyword_scores(answer, ["Jon", "Maier"]).items()}
    {'Jon': -1.0, 'Maier': -0.6}

    Returns: In the list's order.
    Raises: ValueError: the answer has tokens without log-probabilities.
    """
    if answer.text and not answer.logprobs:
        raise ValueError("the answer has no log-probabilities; decode with scored=True")
    matches = match_pieces(answer.text, listed)
    if not matches:
        return {}
    owned = _by_keyword(answer)
    if len(owned) != len(matches):  # separators not visible in tokens: each keyword gets the whole answer's
        owned = [list(answer.logprobs)] * len(matches)
    merged = best(
        {match: sum(logprobs)}
        for (_, match), logprobs in zip(matches, owned, strict=True)
        if match is not None and logprobs
    )
    return {word: merged[word] for word in dict.fromkeys(listed) if word in merged}


def _by_keyword(answer: Answer) -> list[list[float]]:
    """Group log-probabilities by the pieces between separators, ignoring blank tokens at both ends."""
    tokens = list(zip(answer.pieces, answer.logprobs, strict=True))
    while tokens and not tokens[0][0].strip():
        tokens.pop(0)
    while tokens and not tokens[-1][0].strip():
        tokens.pop()
    owned: list[list[float]] = [[]]
    for piece, logprob in tokens:
        for index, part in enumerate(SEPARATORS.split(piece)):
            if index:
                owned.append([])
            if part.strip():
                owned[-1].append(logprob)
    return owned


def best(several: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Merge scores of several answers; each keyword keeps its best score.

    >>> best([{"a": -1.0, "b": -2.0}, {"a": -0.5}])
    {'a': -0.5, 'b': -2.0}
    """
    merged: dict[str, float] = {}
    for scores in several:
        for word, score in scores.items():
            merged[word] = max(score, merged.get(word, score))
    return merged
