"""The HTTP interface: routes, errors in OpenAI's form, the API key, metrics."""

import asyncio
import hmac
import math
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import HTTPException
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as StarletteHTTPException

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
    Asked,
    Refused,
    ResponseFormat,
    printable,
    read_audio,
    read_form,
    understood,
)
from sap2.transcripts.formats import subtitles, verbose

__all__ = ["create_app"]


TRANSCRIPTIONS = "/v1/audio/transcriptions"
MEDIA_TYPES = {"text": "text/plain", "srt": "application/x-subrip", "vtt": "text/vtt"}
MODEL_HEADER = "x-sap2-model"
ID_HEADER = "x-sap2-id"
DECODERS = 4  # uploads that are decoded at once: each may take tens of MB while it is
LATENCY_BUCKETS: tuple[Seconds, ...] = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4)


class Metrics:
    """What Prometheus is told."""

    def __init__(self, engine: Callable[[], Engine]):
        self.registry = CollectorRegistry()
        self.requests = Counter("sap2_requests", "Requests answered.", ["path", "status"], registry=self.registry)
        self.latency = Histogram(
            "sap2_request_seconds", "From a request's arrival to its answer.", ["path"],
            buckets=LATENCY_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self.batch = Histogram(
            "sap2_batch_recordings", "Recordings recognised together.",
            buckets=(1, 2, 4, 8, 16, 32, 64), registry=self.registry,
        )  # fmt: skip
        self.audio = Counter("sap2_audio_seconds", "Seconds of audio recognised.", registry=self.registry)
        self.computing = Counter("sap2_computing_seconds", "Seconds the model computed.", registry=self.registry)
        self.listed = Counter("sap2_keywords_listed", "Keywords in the lists given.", registry=self.registry)
        self.found = Counter("sap2_keywords_found", "Of them, those that stand in the text.", registry=self.registry)
        self.switches = Counter("sap2_model_switches", "Times another model was taken.", registry=self.registry)
        self.failures = Counter("sap2_model_failures", "Times a model could not be fetched.", registry=self.registry)
        self.model = Gauge("sap2_model", "1 for the model that is served.", ["uri"], registry=self.registry)
        depth = Gauge("sap2_queue_recordings", "Recordings that wait.", registry=self.registry)
        depth.set_function(lambda: engine().depth)

    def batched(self, recordings: int, audio: Seconds, computing: Seconds) -> None:
        self.batch.observe(recordings)
        self.audio.inc(audio)
        self.computing.inc(computing)

    def holding(self, indexes: IndexFolder) -> None:
        size = Gauge("sap2_index_bytes", "Memory of the indexes held, about.", registry=self.registry)
        size.set_function(lambda: indexes.nbytes)

    def answered(self, listed: Sequence[str], answer: Answer) -> None:
        self.listed.inc(len(listed))
        self.found.inc(len(answer.transcript.found))


class Service:
    """The engine, its model, and the watch for a newer one."""

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
            self.metrics.holding(indexes)
        self.engine = Engine(limits, self.metrics.batched)
        self.decoders = asyncio.Semaphore(DECODERS)
        self.stopping = False
        self.failed: SapError | None = None

    async def fetch(self) -> None:
        """Serve what the name stands for now; no request waits for it.

        Raises: SapError: the registry does not answer, or the model cannot be loaded.
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
        print(f"serving: {current}" + (f", no more {served}" if served else ""), file=sys.stderr)

    async def watch(self, give_up: Callable[[], None]) -> None:
        """Fetch the first model, then look for another one; a registry that is away stops nothing."""
        try:
            await self.fetch()
        except SapError as error:
            self.failed = error
            give_up()
            return
        said = ""
        while self.source.moves:
            await asyncio.sleep(self.poll)
            try:
                await self.fetch()
                said = ""
            except SapError as error:
                self.metrics.failures.inc()
                if str(error) != said:
                    said = str(error)
                    print(f"serving: still {self.engine.model}: {said}", file=sys.stderr)

    async def recognise(self, asked: Asked, until: float) -> list[Answer | Refused]:
        """Every recording's answer, or why it has none.

        Raises: Refused: 429 the queue is full, 503 no model or stopping, 504 too late: for all of them.
        """
        waves = await asyncio.gather(*(self._decode(file) for file in asked.files), return_exceptions=True)
        outcomes: list[Any] = list(waves)
        good = [place for place, wave in enumerate(waves) if not isinstance(wave, BaseException)]
        for wave in waves:
            if isinstance(wave, BaseException) and not isinstance(wave, Refused):
                raise wave
        left = until - time.monotonic()
        try:
            futures = self.engine.submit([(waves[place], asked.keywords) for place in good], left)
        except QueueFull as error:
            raise Refused(
                429, f"{self.engine.depth} recordings wait already; {error}", code="rate_limit_exceeded",
                Retry_After=str(math.ceil(error.retry_after)),
            ) from error  # fmt: skip
        except EngineClosed as error:
            raise Refused(503, self.no_answer(), code="unavailable", Retry_After="5") from error
        waiting = [asyncio.wrap_future(future) for future in futures]
        done, late = await asyncio.wait(waiting, timeout=max(0.0, left)) if waiting else (set(), set())
        for future in late:
            future.cancel()
        for place, future in zip(good, waiting, strict=True):
            outcomes[place] = self._outcome(future, asked) if future in done else self._late()
            if self.keeper is not None and isinstance(outcomes[place], Answer):
                outcomes[place] = await self._kept(outcomes[place], waves[place], asked)
        return outcomes

    async def with_index(self, asked: Asked) -> Asked:
        """The request with the keywords of the index that it names, if it names one.

        Raises: Refused: 404 there is no such index, 500 its file is damaged.
        """
        if asked.index is None:
            return asked
        try:
            if self.indexes is None:
                raise KeyError(asked.index)
            return replace(asked, keywords=await asyncio.to_thread(self.indexes.get, asked.index))
        except KeyError as error:
            known = ", ".join(self.indexes.names()) if self.indexes else ""
            raise Refused(
                404, f"there is no index {printable(asked.index)!r}; there are: {known or 'none'}", "index",
                "index_not_found",
            ) from error  # fmt: skip
        except (InputError, OSError) as error:
            print(f"serving: {error}", file=sys.stderr)
            raise Refused(500, "the index cannot be read; the server's log says why", "index") from error

    async def _kept(self, answer: Answer, wave, asked: Asked) -> Answer:
        """The answer with an id, under which it is kept; a full disk takes no answer away."""
        id = self.keeper.new_id()
        try:
            await asyncio.to_thread(self.keeper.add, id, wave, _worth_keeping(asked, answer), answer)
        except (OSError, RuntimeError) as error:
            print(f"serving: an answer could not be kept: {error}", file=sys.stderr)
            return answer
        return replace(answer, id=id)

    def no_answer(self) -> str:
        if self.stopping:
            return "the server is stopping"
        return "the model is being loaded" if self.engine.alive else "the recogniser has stopped; the log says why"

    async def _decode(self, file: UploadFile):
        async with self.decoders:
            return await asyncio.to_thread(read_audio, file, self.limits)

    def _outcome(self, future: "asyncio.Future[Answer]", asked: Asked) -> Answer | Refused:
        error = future.exception()
        if error is None:
            if asked.index is None:  # an index is not chosen for the recording: nearly nothing of it is found
                self.metrics.answered(asked.keywords, future.result())
            return future.result()
        if isinstance(error, RequestTimeout):
            return self._late()
        if isinstance(error, EngineClosed):
            return Refused(503, self.no_answer(), code="unavailable", Retry_After="5")
        return Refused(500, "the recording could not be recognised; the server's log says why", code="internal_error")

    def _late(self) -> Refused:
        return Refused(504, f"no answer within {self.limits.timeout:g} s", code="timeout", Retry_After="5")


def create_app(
    source: ModelSource,
    limits: Limits | None = None,
    keys: Sequence[str] = (),
    poll: Seconds = 5.0,
    keeper: Keeper | None = None,
    give_up: Callable[[], None] = lambda: None,
    indexes: IndexFolder | None = None,
) -> FastAPI:
    """The application; its model is loaded while it answers /healthz already.

    Args:
        keys: API keys; none = everybody may ask.
        poll: Seconds between two looks at the alias.
        keeper: Keeps what is served; None = nothing is kept.
        indexes: Keyword lists that requests may name; None = there are none.
        give_up: Called when the first model cannot be loaded; `app.state.service.failed` says why.
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
        description="Speech recognition with keyword lists, as OpenAI's transcription interface has it.",
    )  # fmt: skip
    service = app.state.service = Service(source, limits, poll, keeper, indexes)

    @app.middleware("http")
    async def _measured(request: Request, call_next):
        started = time.perf_counter()
        if request.url.path.startswith("/v1/") and keys and not _allowed(request, keys):
            response = _error(Refused(401, "no valid API key; send Authorization: Bearer KEY", code="invalid_api_key"))
        else:
            response = await call_next(request)
        route = request.scope.get("route")
        path = route.path if route else "other"
        service.metrics.requests.labels(path, response.status_code).inc()
        service.metrics.latency.labels(path).observe(time.perf_counter() - started)
        return response

    @app.exception_handler(Refused)
    async def _refused(_: Request, error: Refused) -> Response:
        return _error(error)

    @app.exception_handler(StarletteHTTPException)
    async def _http(_: Request, error: HTTPException) -> Response:
        return _error(Refused(error.status_code, str(error.detail)))

    @app.exception_handler(Exception)
    async def _unexpected(_: Request, error: Exception) -> Response:
        return _error(Refused(500, "something went wrong; the server's log says what", code="internal_error"))

    @app.get("/healthz", tags=["operation"])
    async def healthz() -> dict[str, str]:
        """The process answers, and can recognise or will: if not, only another process can."""
        if not (service.engine.alive or service.stopping):
            raise Refused(503, service.no_answer(), code="unavailable")
        return {"status": "ok"}

    @app.get("/readyz", tags=["operation"])
    async def readyz() -> Response:
        """A model is loaded, what recognises with it is there, and the server is not stopping."""
        ready = service.engine.model is not None and service.engine.alive and not service.stopping
        body = {"status": "ready" if ready else service.no_answer(), "model": service.engine.model}
        return JSONResponse(body, 200 if ready else 503)

    @app.get("/metrics", tags=["operation"])
    async def metrics() -> Response:
        """Figures in Prometheus' text format."""
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/models", tags=["transcription"])
    async def models() -> dict[str, Any]:
        """The model that is served, as OpenAI lists models."""
        held = [{"id": service.source.uri, "object": "model", "owned_by": "sap2", "version": service.engine.model}]
        return {"object": "list", "data": held if service.engine.model else []}

    @app.post(TRANSCRIPTIONS, tags=["transcription"], openapi_extra=_form(many=False))
    async def transcribe(request: Request) -> Response:
        """The text of a recording, with a keyword list."""
        until = time.monotonic() + limits.timeout
        async with _asked(request, service, until) as asked:
            if len(asked.files) != 1:
                raise Refused(
                    400, f"{len(asked.files)} files, expected one; for several: {TRANSCRIPTIONS}/batch", "file"
                )
            (outcome,) = await service.recognise(asked, until)
            if isinstance(outcome, Refused):
                raise outcome
            return _response(outcome, asked)

    @app.post(f"{TRANSCRIPTIONS}/batch", tags=["transcription"], openapi_extra=_form(many=True))
    async def transcribe_batch(request: Request) -> Response:
        """The texts of several recordings with one keyword list; a broken one takes no other with it."""
        until = time.monotonic() + limits.timeout
        async with _asked(request, service, until) as asked:
            outcomes = await service.recognise(asked, until)
            results = [
                {"file": file.filename} | (_problem(one) if isinstance(one, Refused) else _named(one, asked))
                for file, one in zip(asked.files, outcomes, strict=True)
            ]
            return JSONResponse({"results": results})

    return app


@asynccontextmanager
async def _asked(request: Request, service: Service, until: float) -> AsyncIterator[Asked]:
    """The request, read and understood; its files are closed in the end.

    Raises: Refused: see `read_form` and `understood`; 408 a body that does not end, 404 another model.
    """
    try:
        form = await asyncio.wait_for(read_form(request, service.limits), until - time.monotonic())
    except TimeoutError as error:
        raise Refused(408, f"the request's body was not complete within {service.limits.timeout:g} s") from error
    try:
        asked = await understood(form, service.limits)
        _check_model(asked.model, service)
        yield await service.with_index(asked)
    finally:
        await form.close()


def _worth_keeping(asked: Asked, answer: Answer) -> list[str]:
    """The list; of an index what stage 1 selected and the text has, as the rest is the same in every request."""
    if asked.index is None:
        return list(asked.keywords)
    return list(dict.fromkeys([*answer.transcript.predicted, *answer.transcript.found]))


def _check_model(name: str, service: Service) -> None:
    """Clients must name a model: any way of naming this one will do, and OpenAI's, which many have written in."""
    source = service.source
    if name not in {"", "whisper-1", source.name, source.uri, service.engine.model}:
        raise Refused(404, f"there is no model {name[:80]!r}; {source.uri} is served", "model", "model_not_found")


def _allowed(request: Request, keys: Sequence[str]) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    matches = [hmac.compare_digest(given.strip().encode(), key.encode()) for key in keys]
    return scheme.lower() == "bearer" and any(matches)


def _named(answer: Answer, asked: Asked) -> dict[str, Any]:
    """The content, with the id under which it is kept."""
    return _content(answer, asked) | ({"id": answer.id} if answer.id else {})


def _response(answer: Answer, asked: Asked) -> Response:
    headers = {MODEL_HEADER: answer.model} | ({ID_HEADER: answer.id} if answer.id else {})
    if asked.response_format in MEDIA_TYPES:
        content = _rendered(answer, asked.response_format)
        return PlainTextResponse(content, headers=headers, media_type=MEDIA_TYPES[asked.response_format])
    return JSONResponse(_content(answer, asked), headers=headers)


def _content(answer: Answer, asked: Asked) -> dict[str, Any]:
    """The answer as JSON; subtitles stand in `text`."""
    if asked.response_format == "verbose_json":
        return verbose(answer.transcript) | {"language": asked.language or "und", "model": answer.model}
    return {"text": _rendered(answer, asked.response_format)}


def _rendered(answer: Answer, response_format: ResponseFormat) -> str:
    if response_format in ("srt", "vtt"):
        return subtitles(answer.transcript, response_format)
    return answer.transcript.text + ("\n" if response_format == "text" else "")


def _problem(error: Refused) -> dict[str, Any]:
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}


def _error(error: Refused) -> Response:
    return JSONResponse(_problem(error), error.status, headers=error.headers)


def _form(many: bool) -> dict[str, Any]:
    """The form's description for the API documentation."""
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
