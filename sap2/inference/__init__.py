"""Batched decoding and the two-stage recogniser."""

from sap2.inference.decoding import Answer, Decoding, answers, encode, generate
from sap2.inference.recogniser import Heard, Recogniser, Segment, Transcript

__all__ = ["Answer", "Decoding", "Heard", "Recogniser", "Segment", "Transcript", "answers", "encode", "generate"]
