"""Inference: batched decoding, the two stages, and the recogniser composed of them."""

from sap2.inference.decoding import Answer, answers, encode, generate
from sap2.inference.encoded import AudioCut, AudioEncoder, AudioInput, AudioSegment, EncodedAudio
from sap2.inference.loading import best_device, load_checkpoints, load_pruner, load_recogniser
from sap2.inference.pruner import Pruner
from sap2.inference.recogniser import Recogniser
from sap2.inference.stage_model import StageModel
from sap2.inference.transcriber import JointTranscriber, Transcriber, make_transcriber

__all__ = [
    "Answer",
    "AudioCut",
    "AudioEncoder",
    "AudioInput",
    "AudioSegment",
    "EncodedAudio",
    "JointTranscriber",
    "Pruner",
    "Recogniser",
    "StageModel",
    "Transcriber",
    "answers",
    "best_device",
    "encode",
    "generate",
    "load_checkpoints",
    "load_pruner",
    "load_recogniser",
    "make_transcriber",
]
