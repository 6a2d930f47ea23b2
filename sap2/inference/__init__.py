"""Batched decoding and the two-stage recogniser."""

from sap2.inference.decoding import Decoding, encode, generate
from sap2.inference.recogniser import Recogniser, Transcript

__all__ = ["Decoding", "Recogniser", "Transcript", "encode", "generate"]
