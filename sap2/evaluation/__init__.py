"""The evaluation room: alignment, error rates, keyword scores, significance and the report. Opens without torch."""

from sap2.evaluation.alignment import DEFINITIONS, Alignment, Edit, align, align_all
from sap2.evaluation.evaluate import evaluate
from sap2.evaluation.keywords import KeywordCounts, score_selection, score_transcript, spoken
from sap2.evaluation.normalise import NORMALISERS, normalise
from sap2.evaluation.rates import Errors, Rates, by_id, score
from sap2.evaluation.report import markdown_table
from sap2.evaluation.scores import score_contexts

__all__ = [
    "DEFINITIONS",
    "NORMALISERS",
    "Alignment",
    "Edit",
    "Errors",
    "KeywordCounts",
    "Rates",
    "align",
    "align_all",
    "by_id",
    "evaluate",
    "markdown_table",
    "normalise",
    "score",
    "score_contexts",
    "score_selection",
    "score_transcript",
    "spoken",
]
