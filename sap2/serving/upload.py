"""Parsing of requests within limits: recordings, keyword lists and the response format."""

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
    "ParsedRequest",
    "RequestError",
    "ResponseFormat",
    "printable",
    "read_audio",
    "read_body",
    "read_form",
    "parse_form",
]

ResponseFormat = Literal["json", "text", "verbose_json", "srt", "vtt"]
FORMATS: tuple[ResponseFormat, ...] = ("json", "text", "verbose_json", "srt", "vtt")
FIELDS = {
    "file": f"The recording: {AUDIO_FORMATS}, any rate, mono or stereo.",
    "model": "Name of the served model, or empty.",
    "prompt": "Keyword list, separated by commas or line breaks; # begins a comment.",
    "keywords": "Keyword list in the same format, as text or as a file; repeatable.",
    "index": "Name of a keyword index on the server, instead of a list.",
    "response_format": f"Either of {', '.join(FORMATS)}; default: json.",
    "language": "Repeated in the response; the model supports a single language.",
    "temperature": "Must be 0: decoding is deterministic.",
    "timestamp_granularities[]": "Must be segment.",
    "stream": "Must be false.",
}
SHORTEST = 0.1  # seconds: a shorter recording cannot hold a word
DRAINED = 4  # multiple of the limit up to which a body that is too large is read and discarded
LENGTH = re.compile(r"\d{1,18}", re.ASCII)  # a Content-Length
SHOWN = 80  # maximum characters of a client's input in an error message


class RequestError(Exception):
    """An error response to a request, sent as JSON in OpenAI's format."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None, **headers: str):
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass(frozen=True)
class ParsedRequest:
    """The fields of a valid transcription request."""

    files: list[UploadFile]
    keywords: Sequence[str]
    index: str | None
    response_format: ResponseFormat
    model: str
    language: str | None


async def read_form(request: Request, limits: Limits) -> FormData:
    """Read a form's fields and files; large files are spooled to disk.

    Raises: RequestError: 413 too large, declared or sent; 415 not a form; 400 a malformed form, or text not in UTF-8.
    """
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise RequestError(415, f"content type is {printable(kind) or 'missing'}, expected multipart/form-data")
    declared = request.headers.get("content-length", "0")
    size = int(declared) if LENGTH.fullmatch(declared) else math.inf
    if size > limits.max_bytes:
        if size <= DRAINED * limits.max_bytes:
            # Read the body to its end: a client that is cut off while sending would not see the response.
            async for _ in request.stream():
                pass
        raise _too_large(f"{declared} bytes", limits)
    parser = _Parser(request.headers, _bounded(request.stream(), limits), max_files=limits.max_files + 4, max_fields=64)
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise RequestError(400, f"the form is malformed: {error.message}") from error


async def read_body(request: Request, most: int) -> bytes:
    """Read a body of at most `most` bytes, regardless of its headers.

    Raises: RequestError: 413, it is longer. The excess is read and discarded, so that the client sees the response.
    """
    kept, received = bytearray(), 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > DRAINED * most:
            break
        if received <= most:
            kept += chunk
    if received > most:
        raise RequestError(413, f"the request has more than {most >> 20} MB", connection="close")
    return bytes(kept)


async def parse_form(form: FormData, limits: Limits) -> ParsedRequest:
    """Parse a transcription request.

    Raises: RequestError: 400, with the name of the invalid field.
    """
    for name in form:
        if name not in FIELDS:
            raise RequestError(400, f"unknown field {printable(name)!r}; known: {', '.join(FIELDS)}", name[:SHOWN])
    files: list[UploadFile] = []
    for file in form.getlist("file"):
        if isinstance(file, str):
            raise RequestError(400, 'field "file" is text, expected a file with a file name', "file")
        files.append(file)
    if not files:
        raise RequestError(400, 'field "file" is missing, expected a recording', "file")
    response_format = _response_format(_text(form, "response_format") or "json")
    _check_unsupported(form)
    keywords, index = await _keywords(form, limits), _text(form, "index") or None
    if keywords and index:
        raise RequestError(400, "both a list and an index are given, expected at most one of them", "index")
    return ParsedRequest(files, keywords, index, response_format, _text(form, "model") or "", _text(form, "language"))


def _response_format(name: str) -> ResponseFormat:
    for known in FORMATS:
        if name == known:
            return known
    raise RequestError(
        400, f"response_format is {printable(name)!r}, expected one of {', '.join(FORMATS)}", "response_format"
    )


def read_audio(file: UploadFile, limits: Limits) -> np.ndarray:
    """Decode a recording as 16 kHz mono; blocks, so call it in a thread.

    The client's file name is only used in error messages, never as a path.

    Raises: RequestError: 400, the file is empty, too short, damaged or not audio; 413, it is too long.
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
            raise RequestError(status, message, "file") from error


class _Parser(MultiPartParser):
    """Starlette's parser, except that a field not in UTF-8 is an error instead of being read as Latin-1."""

    def on_part_end(self) -> None:
        part = self._current_part
        if part.file is None:
            _utf_8(bytes(part.data), part.field_name)
        super().on_part_end()

    def __init__(self, headers: Headers, stream: AsyncIterator[bytes], **bounds: int):
        super().__init__(headers, stream, max_part_size=4 << 20, **bounds)  # type: ignore[arg-type]


async def _bounded(stream: AsyncIterator[bytes], limits: Limits) -> AsyncIterator[bytes]:
    """Pass a body on, up to the limit, as its declared length may be missing or wrong."""
    received = 0
    async for chunk in stream:
        received += len(chunk)
        if received > limits.max_bytes:
            raise _too_large("more bytes", limits)
        yield chunk


def _too_large(got: str, limits: Limits) -> RequestError:
    return RequestError(
        413, f"the request has {printable(got)}, expected at most {limits.max_bytes}", "file", connection="close"
    )


def _check_unsupported(form: FormData) -> None:
    """Reject options of OpenAI's interface that are not supported here, rather than ignoring them."""
    if (_text(form, "stream") or "false").lower() not in ("false", "0"):
        raise RequestError(400, "stream is true, but streaming is not supported; omit it", "stream")
    granularities = set(form.getlist("timestamp_granularities[]"))
    if granularities - {"segment"}:
        raise RequestError(400, "only timestamps of segments are supported, not of words", "timestamp_granularities[]")
    temperature = _text(form, "temperature") or "0"
    try:
        zero = math.isclose(float(temperature), 0)
    except ValueError:
        zero = False
    if not zero:
        raise RequestError(
            400, f"temperature is {printable(temperature)}, expected 0: decoding does not sample", "temperature"
        )


async def _keywords(form: FormData, limits: Limits) -> list[str]:
    keywords: list[str] = []
    for field in ("keywords", "prompt"):
        for value in form.getlist(field):
            text = value if isinstance(value, str) else _utf_8(await value.read(), field)
            keywords += [word for _, word in split_list(text)]
            if len(keywords) > limits.max_keywords:
                raise RequestError(
                    400, f"a list of {len(keywords)} keywords, expected at most {limits.max_keywords}", field
                )
            for word in keywords:
                if fault := keyword_fault(word):
                    raise RequestError(400, f"{field}: {printable(fault, 200)}", field)
    return unique_keywords(keywords)


def _text(form: FormData, field: str) -> str | None:
    value = form.get(field)
    if isinstance(value, UploadFile):
        raise RequestError(400, f"field {field!r} is a file, expected text", field)
    return value


def _utf_8(content: bytes, field: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(
            400, f"{printable(field)} is not UTF-8: {error.reason} at byte {error.start}", field[:SHOWN]
        ) from error


def printable(text: str, most: int = SHOWN) -> str:
    """Make a client's text safe for a response: short, without line ends, control and direction characters."""
    shown = "".join(character if character.isprintable() else "�" for character in text[:most])
    return shown + ("…" if len(text) > most else "")
