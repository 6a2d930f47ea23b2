"""The MLflow model: MLflow runs this file to load a registered recogniser (models-from-code).

Input: a table with `audio` (a file's path, its bytes, or the bytes in base64) and optionally `keywords` (a list, or a
string separated by commas). Output: `text`, `found` (keywords in the text), `predicted` (keywords that stage 1
selected).
"""

import base64
import binascii
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from sap2.errors import InputError
from sap2.settings import parse_settings
from sap2.tracking.packaging import build

LONGEST_PATH = 4096  # characters
OUTPUTS = ("text", "found", "predicted")


class TwoStageRecogniser(PythonModel):
    """Recognise tables of recordings, each with its keyword list."""

    def load_context(self, context: PythonModelContext) -> None:
        settings = parse_settings(context.model_config or {}, "the model's settings")
        self._recogniser = build(context.artifacts, settings)
        self._lock = threading.Lock()  # the two stages switch adapters on a shared model

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Transcribe all rows.

        Raises: InputError: a row's audio or keywords cannot be used; the message names the row, and no row is
        transcribed.
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
        with self._lock:
            transcripts = self._recogniser.recognise(waves, lists)
        return pd.DataFrame({name: [getattr(transcript, name) for transcript in transcripts] for name in OUTPUTS})


def audio_file(audio: Any, folder: Path) -> Path:
    """Return the file of a row's audio; bytes and base64 are written into `folder`."""
    if isinstance(audio, str):
        if not audio.startswith("data:") and len(audio) <= LONGEST_PATH and Path(audio).is_file():
            return Path(audio)
        try:
            # "data:audio/wav;base64,UklGR…" as browsers send it, or only the base64 string
            audio = base64.b64decode(audio.partition(",")[2] if audio.startswith("data:") else audio, validate=True)
        except (binascii.Error, ValueError) as error:
            shown = audio if len(audio) <= 80 else f"{audio[:80]}…"
            message = f"audio {shown!r} is neither an existing file nor base64; send a file's path or content"
            raise InputError(message) from error
    if not isinstance(audio, bytes | bytearray):
        raise InputError(f"audio is {type(audio).__name__}, expected a file's path, its bytes, or its bytes in base64")
    with tempfile.NamedTemporaryFile(dir=folder, prefix="audio-", delete=False) as file:
        file.write(audio)
    return Path(file.name)


def keyword_list(keywords: Any) -> list[str]:
    """Return a row's keywords without duplicates; a missing list counts as empty."""
    from sap2.data.biasing import split_list
    from sap2.manifest import keyword_fault, unique_keywords

    if keywords is None or (isinstance(keywords, float) and keywords != keywords):  # pandas' missing value
        return []
    if isinstance(keywords, str):
        keywords = [keyword for _, keyword in split_list(keywords)]
    if not isinstance(keywords, Iterable) or not all(isinstance(keyword, str) for keyword in keywords):
        raise InputError(
            f"keywords are {type(keywords).__name__}, expected a list of strings, or a string separated by commas"
        )
    keywords = unique_keywords(filter(str.strip, keywords))
    if faults := list(filter(None, map(keyword_fault, keywords))):
        raise InputError("; ".join(faults))
    return keywords


set_model(TwoStageRecogniser())
