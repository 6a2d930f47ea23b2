"""SAP²-ASR: contextual speech recognition that prunes a keyword list by listening, then transcribes with the rest."""

__version__ = "0.2.0"
