"""Evaluation: word alignment, error rates, keyword scores, significance and the report. Imports without torch.

`align` aligns words, `score` (or `score_files`) scores systems, `compare` compares two systems.
"""

from sap2.evaluation.alignment import DEFINITIONS, Alignment, Edit, align, align_all
from sap2.evaluation.comparison import Comparison, compare
from sap2.evaluation.keywords import KeywordCounts, spoken
from sap2.evaluation.normalise import NORMALISERS, normalise
from sap2.evaluation.rates import Errors
from sap2.evaluation.scores import Measure, Scores, System, Utterance
from sap2.evaluation.scoring import score
from sap2.evaluation.testset import score_contexts, score_files

__all__ = [
    "DEFINITIONS",
    "NORMALISERS",
    "Alignment",
    "Comparison",
    "Edit",
    "Errors",
    "KeywordCounts",
    "Measure",
    "Scores",
    "System",
    "Utterance",
    "align",
    "align_all",
    "compare",
    "normalise",
    "score",
    "score_contexts",
    "score_files",
    "spoken",
]
