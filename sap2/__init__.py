"""SAP²-ASR: contextual speech recognition that prunes the keyword list by listening, then transcribes with what is left."""

__version__ = "0.1.0"
