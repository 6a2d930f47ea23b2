"""All that is counted about results, utterance by utterance: what metrics, plots and report are made of."""

from dataclasses import dataclass
from pathlib import Path

from sap2.evaluation.keywords import Keyword, KeywordCounts, Occurrences, compare, distinct, score_selection
from sap2.evaluation.rates import Rates, score
from sap2.evaluation.results import Result, read_contexts

__all__ = ["ContextScores", "Scores", "score_contexts"]


@dataclass(frozen=True)
class ContextScores:
    """One context: its results as scored, and for each, in the same order, the list words written and their counts."""

    results: list[Result]
    rates: Rates
    written: list[Occurrences]
    keywords: list[KeywordCounts]


@dataclass(frozen=True)
class Scores:
    """All contexts, on the same utterances in the same order.

    Attributes:
        listed: Each utterance's biasing list, keyword as compared -> its spelling.
        said: Where list words stand in each reference.
        selections: Stage 1's answers against what was spoken; None without the context "predicted".
    """

    contexts: dict[str, ContextScores]
    listed: list[dict[Keyword, str]]
    said: list[Occurrences]
    selections: list[KeywordCounts] | None


def score_contexts(paths: dict[str, Path], definition: str = "deep-bias", normaliser: str = "none") -> Scores:
    """Read, normalise and score a results file for each context.

    Raises: InputError, ParamsError: see `results.read_contexts` and `alignment.definition_of`.
    """
    contexts = {context: list(by_id.values()) for context, by_id in read_contexts(paths, normaliser).items()}
    first = next(iter(contexts.values()))
    listed = [distinct(result.keywords) for result in first]
    said = [Occurrences(keywords, result.reference.split()) for keywords, result in zip(listed, first, strict=True)]
    # SlideSpeech knows single words: any list word in the reference is a biasing word, its phrase complete or not.
    biasing = listed if definition == "slidespeech" else [found.places for found in said]
    words = [{word for keyword in keywords for word in keyword} for keywords in biasing]
    scored = {context: _score(results, listed, said, words, definition) for context, results in contexts.items()}
    selections = None
    if "predicted" in contexts:
        selections = [
            score_selection(result.predicted or (), (keywords[keyword] for keyword in found.places))
            for result, keywords, found in zip(contexts["predicted"], listed, said, strict=True)
        ]
    return Scores(scored, listed, said, selections)


def _score(
    results: list[Result],
    listed: list[dict[Keyword, str]],
    said: list[Occurrences],
    biasing: list[set[str]],
    definition: str,
) -> ContextScores:
    hypotheses = [result.hypothesis.split() for result in results]
    written = [Occurrences(keywords, words) for keywords, words in zip(listed, hypotheses, strict=True)]
    rates = score(
        {result.id: result.reference for result in results},
        {result.id: result.hypothesis for result in results},
        {result.id: _as_written(words, result) for result, words in zip(results, biasing, strict=True)},
        definition,
    )
    return ContextScores(results, rates, written, list(map(compare, said, written)))


def _as_written(words: set[str], result: Result) -> set[str]:
    """Caseless biasing words as reference and hypothesis spell them: error rates compare words as they are."""
    tokens = {*result.reference.split(), *result.hypothesis.split()}
    return {token for token in tokens if token.casefold() in words}
