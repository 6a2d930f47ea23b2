"""The MLflow model itself: MLflow runs this file to load a registered recogniser (models-from-code).

Input: a table with `audio` (a file's path, the file's bytes, or those in base64) and `keywords` (a list, or a text
separated by commas; may be missing). Output: `text`, `found` (list words that stand in it), `predicted` (list words
that stage 1 heard).
"""

import base64
import binascii
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from sap2.errors import InputError
from sap2.settings import parse_settings
from sap2.tracking.packaging import build

LONGEST_PATH = 4096  # characters
OUTPUTS = ("text", "found", "predicted")


class TwoStageRecogniser(mlflow.pyfunc.PythonModel):
    """Recognise a table of recordings at a time, each with its list."""

    def load_context(self, context):
        settings = parse_settings(context.model_config or {}, "the model's settings")
        self._recogniser = build(context.artifacts, settings)
        self._one_at_a_time = threading.Lock()  # the two stages take turns with one model's adapters

    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:
        """Transcribe every row.

        Raises: InputError: a row's audio or keywords cannot be used; the message names the row, no row is answered.
        """
        from sap2.data.audio import load_audio

        rows = model_input.to_dict("records")
        waves, lists = [], []
        with tempfile.TemporaryDirectory(prefix="sap2-audio-") as folder:
            for number, row in enumerate(rows):
                try:
                    waves.append(load_audio(audio_file(row.get("audio"), Path(folder))))
                    lists.append(keyword_list(row.get("keywords")))
                except InputError as error:
                    raise InputError(f"row {number}: {error}") from error
        with self._one_at_a_time:
            transcripts = self._recogniser.recognise(waves, lists)
        return pd.DataFrame({name: [getattr(one, name) for one in transcripts] for name in OUTPUTS})


def audio_file(audio: Any, folder: Path) -> Path:
    """The file a row's audio stands for; bytes and base64 are written into `folder`."""
    if isinstance(audio, str):
        if not audio.startswith("data:") and len(audio) <= LONGEST_PATH and Path(audio).is_file():
            return Path(audio)
        try:
            # "data:audio/wav;base64,UklGR…" as browsers send it, or the base64 text alone
            audio = base64.b64decode(audio.partition(",")[2] if audio.startswith("data:") else audio, validate=True)
        except (binascii.Error, ValueError) as error:
            shown = audio if len(audio) <= 80 else f"{audio[:80]}…"
            reason = f"audio {shown!r} is neither a file here nor base64"
            raise InputError(f"{reason}; send a file's path or content") from error
    if not isinstance(audio, bytes | bytearray):
        raise InputError(f"audio is {type(audio).__name__}, expected a file's path, its bytes, or those in base64")
    with tempfile.NamedTemporaryFile(dir=folder, prefix="audio-", delete=False) as file:
        file.write(audio)
    return Path(file.name)


def keyword_list(keywords: Any) -> list[str]:
    """A row's keywords, each once; a missing list is an empty one."""
    from sap2.data.biasing import split_list
    from sap2.manifest import keyword_fault, unique_keywords

    if keywords is None or (isinstance(keywords, float) and keywords != keywords):  # pandas' missing value
        return []
    if isinstance(keywords, str):
        keywords = [keyword for _, keyword in split_list(keywords)]
    if not isinstance(keywords, Iterable) or not all(isinstance(keyword, str) for keyword in keywords):
        raise InputError(f"keywords are {type(keywords).__name__}, expected a list of texts, or one text with commas")
    keywords = unique_keywords(filter(str.strip, keywords))
    if faults := list(filter(None, map(keyword_fault, keywords))):
        raise InputError("; ".join(faults))
    return keywords


mlflow.models.set_model(TwoStageRecogniser())
