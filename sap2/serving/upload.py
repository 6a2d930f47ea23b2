"""What a request holds, read within limits: recordings, keyword lists, the form of the answer."""

import math
import re
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from sap2.data.audio import FORMATS as AUDIO_FORMATS
from sap2.data.audio import load_audio
from sap2.data.biasing import split_list
from sap2.errors import InputError
from sap2.manifest import keyword_fault, unique_keywords
from sap2.serving.limits import Limits

__all__ = [
    "FIELDS",
    "FORMATS",
    "Asked",
    "Refused",
    "ResponseFormat",
    "printable",
    "read_audio",
    "read_body",
    "read_form",
    "understood",
]

ResponseFormat = Literal["json", "text", "verbose_json", "srt", "vtt"]
FORMATS: tuple[ResponseFormat, ...] = ("json", "text", "verbose_json", "srt", "vtt")
FIELDS = {
    "file": f"The recording: {AUDIO_FORMATS}, any rate, mono or stereo.",
    "model": "Name of the served model, or nothing.",
    "prompt": "Keyword list, separated by commas or lines; # begins a comment.",
    "keywords": "The same, as text or as a file; may be given more than once.",
    "index": "Name of an index that the server has, instead of a list.",
    "response_format": f"One of {', '.join(FORMATS)}; json when not given.",
    "language": "Taken as it is; the model knows one language.",
    "temperature": "0: the same recording always gets the same text.",
    "timestamp_granularities[]": "segment.",
    "stream": "false.",
}
SHORTEST = 0.1  # seconds of a recording that can hold a word
DRAINED = 4  # times the limit: a larger body is not even read to be thrown away
LENGTH = re.compile(r"\d{1,18}", re.ASCII)  # of a body, as its header says it
SHOWN = 80  # characters of what a client sent that an error repeats


class Refused(Exception):
    """A request that cannot be answered: becomes a JSON error in OpenAI's form."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None, **headers: str):
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass(frozen=True)
class Asked:
    """A request that was understood."""

    files: list[UploadFile]
    keywords: Sequence[str]
    index: str | None
    response_format: ResponseFormat
    model: str
    language: str | None


async def read_form(request: Request, limits: Limits) -> FormData:
    """The form's fields and files; large files are on disk.

    Raises: Refused: 413 too large, declared or sent; 415 no form; 400 no valid form, or text that is not UTF-8.
    """
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise Refused(415, f"content type is {printable(kind) or 'missing'}, expected multipart/form-data")
    declared = request.headers.get("content-length", "0")
    size = int(declared) if LENGTH.fullmatch(declared) else math.inf
    if size > limits.max_bytes:
        if size <= DRAINED * limits.max_bytes:
            # A client that is still sending when we hang up sees a broken connection, not the reason.
            async for _ in request.stream():
                pass
        raise _too_large(f"{declared} bytes", limits)
    parser = _Parser(request.headers, _bounded(request.stream(), limits), max_files=limits.max_files + 4, max_fields=64)
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise Refused(400, f"no valid form: {error.message}") from error


async def read_body(request: Request, most: int) -> bytes:
    """A body of at most `most` bytes, whatever its headers say.

    Raises: Refused: 413, it is longer; what is beyond is read, that the client hears why, but not kept.
    """
    kept, received = bytearray(), 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > DRAINED * most:
            break
        if received <= most:
            kept += chunk
    if received > most:
        raise Refused(413, f"the request has more than {most >> 20} MB", connection="close")
    return bytes(kept)


async def understood(form: FormData, limits: Limits) -> Asked:
    """A form's meaning.

    Raises: Refused: 400, with the field it is about.
    """
    for name in form:
        if name not in FIELDS:
            raise Refused(400, f"unknown field {printable(name)!r}; known: {', '.join(FIELDS)}", name[:SHOWN])
    files = form.getlist("file")
    if not files:
        raise Refused(400, 'there is no field "file", expected a recording in it', "file")
    for file in files:
        if isinstance(file, str):
            raise Refused(400, 'field "file" is text, expected a file with a file name', "file")
    chosen = _text(form, "response_format") or "json"
    if chosen not in FORMATS:
        raise Refused(
            400, f"response_format is {printable(chosen)!r}, expected one of {', '.join(FORMATS)}", "response_format"
        )
    _check_unsupported(form)
    keywords, index = await _keywords(form, limits), _text(form, "index") or None
    if keywords and index:
        raise Refused(400, "both a list and an index are given, expected one of them", "index")
    return Asked(
        files,  # type: ignore[arg-type]  # checked above
        keywords,
        index,
        chosen,  # type: ignore[arg-type]  # one of FORMATS
        _text(form, "model") or "",
        _text(form, "language"),
    )


def read_audio(file: UploadFile, limits: Limits) -> np.ndarray:
    """The recording as 16 kHz mono. Blocks: for a thread.

    Its name, which the client chose, names no file here: it only stands in errors.
    Raises: Refused: 400, the file is empty, too short, broken or no audio; 413, it lasts too long.
    """
    name = printable(file.filename or "file")
    with tempfile.TemporaryDirectory(prefix="sap2-upload-") as folder:
        suffix = Path(name).suffix.lower()
        path = Path(folder) / f"sap2-upload{suffix if suffix[1:].isalnum() and len(suffix) < 6 else ''}"
        with path.open("wb") as out:
            while chunk := file.file.read(1 << 20):
                out.write(chunk)
        try:
            return load_audio(path, SHORTEST, limits.max_duration)
        except InputError as error:
            message = str(error).replace(str(path), name).replace(path.name, name).replace(path.stem, Path(name).stem)
            status = 413 if "expected at most" in message and "lasts" in message else 400
            raise Refused(status, message, "file") from error


class _Parser(MultiPartParser):
    """Starlette's, which takes a field that is not UTF-8 for Latin-1; here it is an error."""

    def on_part_end(self) -> None:
        part = self._current_part
        if part.file is None:
            _utf_8(bytes(part.data), part.field_name)
        super().on_part_end()

    def __init__(self, headers: Headers, stream: AsyncIterator[bytes], **bounds: int):
        super().__init__(headers, stream, max_part_size=4 << 20, **bounds)  # type: ignore[arg-type]


async def _bounded(stream: AsyncIterator[bytes], limits: Limits) -> AsyncIterator[bytes]:
    """A body that is longer than it said, or did not say."""
    received = 0
    async for chunk in stream:
        received += len(chunk)
        if received > limits.max_bytes:
            raise _too_large("more bytes", limits)
        yield chunk


def _too_large(got: str, limits: Limits) -> Refused:
    return Refused(
        413, f"the request has {printable(got)}, expected at most {limits.max_bytes}", "file", connection="close"
    )


def _check_unsupported(form: FormData) -> None:
    """What OpenAI's interface has and this one has not: refused, not ignored."""
    if (_text(form, "stream") or "false").lower() not in ("false", "0"):
        raise Refused(400, "stream is true; answers come whole, leave it out", "stream")
    granularities = set(form.getlist("timestamp_granularities[]"))
    if granularities - {"segment"}:
        raise Refused(400, "only times of segments are known, not of words", "timestamp_granularities[]")
    temperature = _text(form, "temperature") or "0"
    try:
        zero = math.isclose(float(temperature), 0)
    except ValueError:
        zero = False
    if not zero:
        raise Refused(
            400, f"temperature is {printable(temperature)}, expected 0: nothing is drawn by chance", "temperature"
        )


async def _keywords(form: FormData, limits: Limits) -> list[str]:
    found: list[str] = []
    for field in ("keywords", "prompt"):
        for given in form.getlist(field):
            text = given if isinstance(given, str) else _utf_8(await given.read(), field)
            found += [word for _, word in split_list(text)]
            if len(found) > limits.max_keywords:
                raise Refused(400, f"a list of {len(found)} keywords, expected at most {limits.max_keywords}", field)
            for word in found:
                if fault := keyword_fault(word):
                    raise Refused(400, f"{field}: {printable(fault, 200)}", field)
    return unique_keywords(found)


def _text(form: FormData, field: str) -> str | None:
    value = form.get(field)
    if isinstance(value, UploadFile):
        raise Refused(400, f"field {field!r} is a file, expected text", field)
    return value


def _utf_8(content: bytes, field: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(
            400, f"{printable(field)} is not UTF-8: {error.reason} at byte {error.start}", field[:SHOWN]
        ) from error


def printable(text: Sequence, most: int = SHOWN) -> str:
    """What a client sent, as it may stand in an answer: short, without line ends, controls and marks of direction."""
    shown = "".join(character if character.isprintable() else "�" for character in text[:most])
    return shown + ("…" if len(text) > most else "")
