"""Batched decoding and the two-stage recogniser."""

from sap2.inference.decoding import Answer, Decoding, answers, encode, generate
from sap2.inference.recogniser import Recogniser, Segment, Transcript

__all__ = ["Answer", "Decoding", "Recogniser", "Segment", "Transcript", "answers", "encode", "generate"]
