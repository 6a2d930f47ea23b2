"""The HTTP interface: routes, errors in OpenAI's format, API keys, metrics."""

import asyncio
import hmac
import math
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import HTTPException
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.base import RequestResponseEndpoint

from sap2 import __version__
from sap2.constants import Seconds
from sap2.errors import InputError, SapError
from sap2.serving.engine import Answer, Engine, EngineClosed, QueueFull, RequestTimeout
from sap2.serving.indexes import IndexFolder
from sap2.serving.keeping import Keeper
from sap2.serving.limits import Limits
from sap2.serving.models import ModelSource
from sap2.serving.upload import (
    FIELDS,
    FORMATS,
    ParsedRequest,
    RequestError,
    ResponseFormat,
    parse_form,
    printable,
    read_audio,
    read_form,
)
from sap2.transcripts.formats import subtitles, verbose

__all__ = ["create_app"]


TRANSCRIPTIONS = "/v1/audio/transcriptions"
MEDIA_TYPES = {"text": "text/plain", "srt": "application/x-subrip", "vtt": "text/vtt"}
MODEL_HEADER = "x-sap2-model"
ID_HEADER = "x-sap2-id"
DECODERS = 4  # maximum number of uploads decoded at once; each may take tens of MB meanwhile
LATENCY_BUCKETS: tuple[Seconds, ...] = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4)


class Metrics:
    """The server's metrics for Prometheus."""

    def __init__(self, engine: Callable[[], Engine]):
        self.registry = CollectorRegistry()
        self.requests = Counter("sap2_requests", "Requests answered.", ["path", "status"], registry=self.registry)
        self.latency = Histogram(
            "sap2_request_seconds", "Seconds from a request's arrival to its response.", ["path"],
            buckets=LATENCY_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self.batch = Histogram(
            "sap2_batch_recordings", "Recordings per batch.",
            buckets=(1, 2, 4, 8, 16, 32, 64), registry=self.registry,
        )  # fmt: skip
        self.audio = Counter("sap2_audio_seconds", "Seconds of audio recognised.", registry=self.registry)
        self.computing = Counter(
            "sap2_computing_seconds", "Seconds of computation by the model.", registry=self.registry
        )
        self.listed = Counter("sap2_keywords_listed", "Keywords in the requests' lists.", registry=self.registry)
        self.found = Counter(
            "sap2_keywords_found", "Listed keywords that occur in the transcript.", registry=self.registry
        )
        self.switches = Counter("sap2_model_switches", "Switches to another model.", registry=self.registry)
        self.failures = Counter("sap2_model_failures", "Failed attempts to fetch a model.", registry=self.registry)
        self.model = Gauge("sap2_model", "1 for the served model.", ["uri"], registry=self.registry)
        depth = Gauge("sap2_queue_recordings", "Recordings in the queue.", registry=self.registry)
        depth.set_function(lambda: engine().depth)

    def observe_batch(self, recordings: int, audio: Seconds, computing: Seconds) -> None:
        self.batch.observe(recordings)
        self.audio.inc(audio)
        self.computing.inc(computing)

    def watch_indexes(self, indexes: IndexFolder) -> None:
        size = Gauge("sap2_index_bytes", "Approximate memory of the loaded indexes.", registry=self.registry)
        size.set_function(lambda: indexes.nbytes)

    def observe_answer(self, listed: Sequence[str], answer: Answer) -> None:
        self.listed.inc(len(listed))
        self.found.inc(len(answer.transcript.found))


class Service:
    """The engine and its model, which follows the registry's alias."""

    def __init__(
        self,
        source: ModelSource,
        limits: Limits,
        poll: Seconds,
        keeper: Keeper | None,
        indexes: IndexFolder | None,
    ):
        self.source, self.limits, self.poll, self.keeper, self.indexes = source, limits, poll, keeper, indexes
        self.metrics = Metrics(lambda: self.engine)
        if indexes is not None:
            self.metrics.watch_indexes(indexes)
        self.engine = Engine(limits, self.metrics.observe_batch)
        self.decoders = asyncio.Semaphore(DECODERS)
        self.stopping = False
        self.failed: SapError | None = None

    async def fetch(self) -> None:
        """Load the model that the name currently refers to, and switch to it; requests continue meanwhile.

        Raises: SapError: the registry is unavailable, or the model cannot be loaded.
        """
        current = await asyncio.to_thread(self.source.current)
        served = self.engine.model
        if current == served:
            return
        model = await asyncio.to_thread(self.source.load, current)
        self.engine.switch(current, model)
        self.metrics.model.clear()
        self.metrics.model.labels(current).set(1)
        if served is not None:
            self.metrics.switches.inc()
        print(f"serving: {current}" + (f", replaces {served}" if served else ""), file=sys.stderr)

    async def watch(self, give_up: Callable[[], None]) -> None:
        """Load the first model, then poll for a newer model; the served model survives failures of the registry."""
        try:
            await self.fetch()
        except SapError as error:
            self.failed = error
            give_up()
            return
        reported = ""
        while self.source.moves:
            await asyncio.sleep(self.poll)
            try:
                await self.fetch()
                reported = ""
            except SapError as error:
                self.metrics.failures.inc()
                if str(error) != reported:
                    reported = str(error)
                    print(f"serving: still {self.engine.model}: {reported}", file=sys.stderr)

    async def recognise(self, parsed: ParsedRequest, until: float) -> list[Answer | RequestError]:
        """Recognise all recordings of a request; return an answer or an error for each.

        Raises: RequestError: 429 the queue is full, 503 there is no model or the server is stopping.
        """
        decoded = await asyncio.gather(*(self._decode(file) for file in parsed.files), return_exceptions=True)
        outcomes: dict[int, Answer | RequestError] = {}
        waves: dict[int, np.ndarray] = {}
        for index, wave in enumerate(decoded):
            if isinstance(wave, RequestError):
                outcomes[index] = wave
            elif isinstance(wave, BaseException):
                raise wave
            else:
                waves[index] = wave
        left = until - time.monotonic()
        try:
            futures = self.engine.submit([(wave, parsed.keywords) for wave in waves.values()], left)
        except QueueFull as error:
            raise RequestError(
                429, f"no room in the queue, which holds {self.engine.depth} recordings; {error}",
                code="rate_limit_exceeded", Retry_After=str(math.ceil(error.retry_after)),
            ) from error  # fmt: skip
        except EngineClosed as error:
            raise RequestError(503, self.unavailable(), code="unavailable", Retry_After="5") from error
        waiting = [asyncio.wrap_future(future) for future in futures]
        done, late = await asyncio.wait(waiting, timeout=max(0.0, left)) if waiting else (set(), set())
        for future in late:
            future.cancel()
        for (index, wave), future in zip(waves.items(), waiting, strict=True):
            outcome = self._outcome(future, parsed) if future in done else self._timed_out()
            if self.keeper is not None and isinstance(outcome, Answer):
                outcome = await _stored(self.keeper, outcome, wave, parsed)
            outcomes[index] = outcome
        return [outcomes[index] for index in range(len(decoded))]

    async def with_index(self, parsed: ParsedRequest) -> ParsedRequest:
        """Load the index that a request names, if any, as its keyword list.

        Raises: RequestError: 404 there is no such index, 500 its file is damaged.
        """
        if parsed.index is None:
            return parsed
        try:
            if self.indexes is None:
                raise KeyError(parsed.index)
            return replace(parsed, keywords=await asyncio.to_thread(self.indexes.get, parsed.index))
        except KeyError as error:
            known = ", ".join(self.indexes.names()) if self.indexes else ""
            raise RequestError(
                404, f"there is no index {printable(parsed.index)!r}; there are: {known or 'none'}", "index",
                "index_not_found",
            ) from error  # fmt: skip
        except (InputError, OSError) as error:
            print(f"serving: {error}", file=sys.stderr)
            raise RequestError(500, "the index cannot be read; see the server's log", "index") from error

    def unavailable(self) -> str:
        """Explain why the server cannot recognise now."""
        if self.stopping:
            return "the server is stopping"
        return "the model is being loaded" if self.engine.alive else "the recogniser has stopped; see the server's log"

    async def _decode(self, file: UploadFile) -> np.ndarray:
        async with self.decoders:
            return await asyncio.to_thread(read_audio, file, self.limits)

    def _outcome(self, future: "asyncio.Future[Answer]", parsed: ParsedRequest) -> Answer | RequestError:
        error = future.exception()
        if error is None:
            if parsed.index is None:  # an index is not specific to the recording: almost all of it is unspoken
                self.metrics.observe_answer(parsed.keywords, future.result())
            return future.result()
        if isinstance(error, RequestTimeout):
            return self._timed_out()
        if isinstance(error, EngineClosed):
            return RequestError(503, self.unavailable(), code="unavailable", Retry_After="5")
        return RequestError(500, "the recording could not be recognised; see the server's log", code="internal_error")

    def _timed_out(self) -> RequestError:
        return RequestError(504, f"no answer within {self.limits.timeout:g} s", code="timeout", Retry_After="5")


async def _stored(keeper: Keeper, answer: Answer, wave: np.ndarray, parsed: ParsedRequest) -> Answer:
    """Store an answer and return it with its id; if it cannot be stored, return it without an id."""
    id = keeper.new_id()
    try:
        await asyncio.to_thread(keeper.add, id, wave, _stored_keywords(parsed, answer), answer)
    except (OSError, RuntimeError) as error:
        print(f"serving: an answer could not be stored: {error}", file=sys.stderr)
        return answer
    return replace(answer, id=id)


def create_app(
    source: ModelSource,
    limits: Limits | None = None,
    keys: Sequence[str] = (),
    poll: Seconds = 5.0,
    keeper: Keeper | None = None,
    give_up: Callable[[], None] = lambda: None,
    indexes: IndexFolder | None = None,
) -> FastAPI:
    """Create the application; /healthz responds while the model is still being loaded.

    Args:
        keys: API keys; empty = no authentication.
        poll: Seconds between two queries of the alias.
        keeper: Stores requests and answers; None = nothing is stored.
        indexes: Keyword indexes that requests may name; None = there are none.
        give_up: Called if the first model cannot be loaded; `app.state.service.failed` holds the error.
    """
    limits = limits or Limits()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(service.watch(give_up))
        yield
        service.stopping = True
        watching.cancel()
        await asyncio.to_thread(service.engine.close, limits.timeout)

    app = FastAPI(
        title="SAP²-ASR", version=__version__, lifespan=lifespan,
        description="Speech recognition with keyword lists, by OpenAI's transcription interface.",
    )  # fmt: skip
    service = app.state.service = Service(source, limits, poll, keeper, indexes)

    @app.middleware("http")
    async def _measured(request: Request, call_next: RequestResponseEndpoint) -> Response:
        started = time.perf_counter()
        if request.url.path.startswith("/v1/") and keys and not _allowed(request, keys):
            response = _error(
                RequestError(401, "no valid API key; send Authorization: Bearer KEY", code="invalid_api_key")
            )
        else:
            response = await call_next(request)
        route = request.scope.get("route")
        path = route.path if route else "other"
        service.metrics.requests.labels(path, response.status_code).inc()
        service.metrics.latency.labels(path).observe(time.perf_counter() - started)
        return response

    @app.exception_handler(RequestError)
    async def _refused(_: Request, error: RequestError) -> Response:
        return _error(error)

    @app.exception_handler(StarletteHTTPException)
    async def _http(_: Request, error: HTTPException) -> Response:
        return _error(RequestError(error.status_code, str(error.detail)))

    @app.exception_handler(Exception)
    async def _unexpected(_: Request, error: Exception) -> Response:
        return _error(RequestError(500, "internal error; see the server's log", code="internal_error"))

    @app.get("/healthz", tags=["operation"])
    async def healthz() -> dict[str, str]:
        """Liveness: the process responds, and its recogniser is running; if not, it must be restarted."""
        if not (service.engine.alive or service.stopping):
            raise RequestError(503, service.unavailable(), code="unavailable")
        return {"status": "ok"}

    @app.get("/readyz", tags=["operation"])
    async def readyz() -> Response:
        """Readiness: a model is loaded, its recogniser is running, and the server is not stopping."""
        ready = service.engine.model is not None and service.engine.alive and not service.stopping
        body = {"status": "ready" if ready else service.unavailable(), "model": service.engine.model}
        return JSONResponse(body, 200 if ready else 503)

    @app.get("/metrics", tags=["operation"])
    async def metrics() -> Response:
        """Metrics in Prometheus' text format."""
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/models", tags=["transcription"])
    async def models() -> dict[str, Any]:
        """The served model, in OpenAI's list format."""
        served = [{"id": service.source.uri, "object": "model", "owned_by": "sap2", "version": service.engine.model}]
        return {"object": "list", "data": served if service.engine.model else []}

    @app.post(TRANSCRIPTIONS, tags=["transcription"], openapi_extra=_form(many=False))
    async def transcribe(request: Request) -> Response:
        """Transcribe a recording with a keyword list."""
        until = time.monotonic() + limits.timeout
        async with _parsed(request, service, until) as parsed:
            if len(parsed.files) != 1:
                raise RequestError(
                    400, f"{len(parsed.files)} files, expected 1; for several use {TRANSCRIPTIONS}/batch", "file"
                )
            (outcome,) = await service.recognise(parsed, until)
            if isinstance(outcome, RequestError):
                raise outcome
            return _response(outcome, parsed)

    @app.post(f"{TRANSCRIPTIONS}/batch", tags=["transcription"], openapi_extra=_form(many=True))
    async def transcribe_batch(request: Request) -> Response:
        """Transcribe several recordings with a common keyword list; an unusable recording does not affect others."""
        until = time.monotonic() + limits.timeout
        async with _parsed(request, service, until) as parsed:
            outcomes = await service.recognise(parsed, until)
            bodies = [
                _problem(outcome) if isinstance(outcome, RequestError) else _content_with_id(outcome, parsed)
                for outcome in outcomes
            ]
            results = [{"file": file.filename} | body for file, body in zip(parsed.files, bodies, strict=True)]
            return JSONResponse({"results": results})

    return app


@asynccontextmanager
async def _parsed(request: Request, service: Service, until: float) -> AsyncIterator[ParsedRequest]:
    """Read and parse a request; close its files at the end.

    Raises: RequestError: see `read_form` and `parse_form`; 408 an incomplete body, 404 another model.
    """
    try:
        form = await asyncio.wait_for(read_form(request, service.limits), until - time.monotonic())
    except TimeoutError as error:
        raise RequestError(408, f"the request's body was not complete within {service.limits.timeout:g} s") from error
    try:
        parsed = await parse_form(form, service.limits)
        _check_model(parsed.model, service)
        yield await service.with_index(parsed)
    finally:
        await form.close()


def _stored_keywords(parsed: ParsedRequest, answer: Answer) -> list[str]:
    """Return the list of a request; of an index only its selected or written keywords, as the index itself is known."""
    if parsed.index is None:
        return list(parsed.keywords)
    return list(dict.fromkeys([*answer.transcript.predicted, *answer.transcript.found]))


def _check_model(name: str, service: Service) -> None:
    """Check the model name of a request: any name of the served model, or OpenAI's, which many clients hard-code."""
    source = service.source
    if name not in {"", "whisper-1", source.name, source.uri, service.engine.model}:
        raise RequestError(404, f"there is no model {name[:80]!r}; {source.uri} is served", "model", "model_not_found")


def _allowed(request: Request, keys: Sequence[str]) -> bool:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    matches = [hmac.compare_digest(key.strip().encode(), known.encode()) for known in keys]
    return scheme.lower() == "bearer" and any(matches)


def _content_with_id(answer: Answer, parsed: ParsedRequest) -> dict[str, Any]:
    """Format an answer as JSON with the id under which it is stored."""
    return _content(answer, parsed) | ({"id": answer.id} if answer.id else {})


def _response(answer: Answer, parsed: ParsedRequest) -> Response:
    headers = {MODEL_HEADER: answer.model} | ({ID_HEADER: answer.id} if answer.id else {})
    if parsed.response_format in MEDIA_TYPES:
        content = _rendered(answer, parsed.response_format)
        return PlainTextResponse(content, headers=headers, media_type=MEDIA_TYPES[parsed.response_format])
    return JSONResponse(_content(answer, parsed), headers=headers)


def _content(answer: Answer, parsed: ParsedRequest) -> dict[str, Any]:
    """Format an answer as JSON; `text` holds the subtitles if they are requested."""
    if parsed.response_format == "verbose_json":
        return verbose(answer.transcript) | {"language": parsed.language or "und", "model": answer.model}
    return {"text": _rendered(answer, parsed.response_format)}


def _rendered(answer: Answer, response_format: ResponseFormat) -> str:
    if response_format in ("srt", "vtt"):
        return subtitles(answer.transcript, response_format)
    return answer.transcript.text + ("\n" if response_format == "text" else "")


def _problem(error: RequestError) -> dict[str, Any]:
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}


def _error(error: RequestError) -> Response:
    return JSONResponse(_problem(error), error.status, headers=error.headers)


def _form(many: bool) -> dict[str, Any]:
    """Describe the form for the API documentation."""
    binary = {"type": "string", "format": "binary"}
    properties: dict[str, Any] = {name: {"type": "string", "description": text} for name, text in FIELDS.items()}
    file = {"type": "array", "items": binary} if many else binary
    properties["file"] = file | {"description": FIELDS["file"]}
    properties["response_format"] |= {"enum": list(FORMATS), "default": "json"}
    schema = {"type": "object", "required": ["file"], "properties": properties}
    return {
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": schema}},
        }
    }
