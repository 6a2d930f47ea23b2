"""Scores built by hand, to test pages and tables without files or scoring."""

from collections.abc import Sequence

from sap2.evaluation.alignment import align
from sap2.evaluation.keywords import KeywordCounts
from sap2.evaluation.rates import Errors
from sap2.evaluation.scores import (
    ErrorType,
    KeywordErrors,
    Line,
    Measure,
    Row,
    Scores,
    Selection,
    Settings,
    System,
    Utterance,
    WordPair,
)

SETTINGS = Settings(
    "deep-bias", "the paper", "none", "text and list as they are", "what white space separates", "utterance", 2, 100, 7
)
NOTHING = KeywordCounts()


def utterance(id: str, reference: str, keywords: Sequence[str] = (), **more) -> Utterance:
    said = tuple(keyword for keyword in keywords if keyword.lower() in reference.split())
    return Utterance(id, reference, tuple(keywords), said, said, **more)


def line(of: Utterance, hypothesis: str) -> Line:
    """Return an aligned and marked transcript; keywords are single words, each spoken or written at most once."""
    listed = {keyword.lower(): keyword for keyword in of.keywords}
    said = {keyword.lower() for keyword in of.said}
    pairs = tuple(
        WordPair(
            kind,
            spoken,
            written,
            biased=spoken in said,
            said="" if spoken not in said else "found" if kind == "equal" else "missed",
            written="false" if kind != "equal" and written in listed.keys() - said else "",
        )
        for kind, spoken, written in align(of.reference.split(), hypothesis.split())
    )
    wrong = [pair for pair in pairs if pair.kind != "equal"]
    return Line(
        hypothesis,
        pairs,
        len(wrong),
        sum(pair.biased for pair in wrong),
        missed=tuple(listed[pair.reference] for pair in pairs if pair.said == "missed"),
        false_alarms=tuple(listed[pair.hypothesis] for pair in pairs if pair.written == "false"),
    )


def system(name: str, utterances: Sequence[Utterance], hypotheses: Sequence[str], **more) -> System:
    """Return a system whose lines match its hypotheses; figures and breakdowns come from `more`."""
    lines = tuple(line(of, text) for of, text in zip(utterances, hypotheses, strict=True))
    errors = Errors(
        words=sum(len(of.reference.split()) for of in utterances), substitutions=sum(x.errors for x in lines)
    )
    kinds = tuple(
        ErrorType(kind, 1, 1, 0, Measure(rate))
        for kind, rate in (("substitutions", 5.0), ("insertions", 0.5), ("deletions", 2.0))
    )
    values = {
        "caption": "",
        "source": "",
        "figures": {"wer": Measure(7.5, 5, 10), "u_wer": Measure(7.0), "b_wer": Measure(None)},
        "all": errors,
        "unbiased": errors,
        "biased": Errors(),
        "keywords": NOTHING,
        "phrases": NOTHING,
        "list_words": NOTHING,
        "error_types": kinds,
        "breakdown": (),
        "confused": (),
        "missing": (),
        **more,
    }
    return System(name=name, lines=lines, **values)


HOSTILE = '"><script>alert("1")</script><b>\u2028&amp;'
HOSTILE_WORD = "</script><img/src=x/onerror=alert(1)>"


def contexts() -> Scores:
    """Two utterances under "none" and "predicted", with stage 1; with markup in every text that could contain it."""
    utterances = (
        utterance(
            HOSTILE, f"hi meyer {HOSTILE_WORD}", ["Meyer", HOSTILE_WORD], predicted=(HOSTILE_WORD,), talk=HOSTILE,
            duration=1.25,
        ),
        utterance("b", "good bye", ["Kathryn"], predicted=()),
    )  # fmt: skip
    wrong = KeywordErrors(HOSTILE_WORD, 2, 0, 2, 1, ((HOSTILE, 2), ("", 1)), (HOSTILE,))
    parts = (
        Row("list size", "1", 1, {"b_wer": Measure(20, 10, 30), "wer": Measure(9)}),
        Row("list size", HOSTILE, 1, {"b_wer": Measure(25.0), "wer": Measure(8)}),
    )
    recall = {"keyword_recall": Measure(0.5)}
    none = system(
        "none", utterances, ["hi maier", "kathryn by"], caption="no keywords", confused=(wrong,), breakdown=parts,
        figures={"wer": Measure(12.345, 10, 14.5), "u_wer": Measure(9), "b_wer": Measure(36, 30, 40), **recall},
    )  # fmt: skip
    predicted = system(
        "predicted", utterances, [f"hi meyer {HOSTILE_WORD}", "good old bye"], caption=HOSTILE, breakdown=parts,
        figures={
            "wer": Measure(None), "u_wer": Measure(8), "b_wer": Measure(9), "b_wer_vs_none": Measure(0.25, 0.1, 0.4),
        },
    )  # fmt: skip
    selection = Selection(
        KeywordCounts(3, 1, 0),
        {"precision": Measure(0.75, 0.7, 0.8), "recall": Measure(None), "f1": Measure(0.5)},
        20.0,
        1.25,
        (KeywordCounts(1, 0, 1), NOTHING),
        tuple(Row("list size", label, 1, {"recall": Measure(0.5)}) for label in ("1", "2")),
    )
    return Scores(SETTINGS, utterances, (none, predicted), selection)
