"""`sap2 demo`: a local page for a single user that transcribes a talk with its slides and colours names by slide.

The most recent talks are kept in memory. Only temporary uploads are written to disk, and no data leaves the machine.
"""

import io
import re
import shutil
import threading
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.middleware.base import RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware

from sap2.data.biasing import read_list
from sap2.errors import InputError, SapError
from sap2.pages import look, page_file
from sap2.serving.engine import Engine
from sap2.serving.limits import Limits
from sap2.serving.upload import SHORTEST, RequestError, printable, read_body, read_form
from sap2.slides import Options
from sap2.slides.keywords import Keyword, keywords_tsv, read_keywords
from sap2.slides.talk import transcribe_talk
from sap2.slides.talk_input import TalkInput, read_talk
from sap2.slides.talk_output import drawn_slides
from sap2.transcripts.talk import Talk
from sap2.transcripts.talk_formats import rendered
from sap2.transcripts.talk_page import Slide, render_talk, talk_script, talk_style, talk_view
from sap2.transcripts.transcript import left_out_notice, warning_of

if TYPE_CHECKING:
    from sap2.inference import AudioSegment

__all__ = ["LIMITS", "create_demo", "serve_demo"]

LIMITS = Limits(max_bytes=512 << 20, max_duration=3 * 3600.0, timeout=3600.0, batch_wait=0.0)
MAX_TALKS = 4  # in memory
MAX_LIST = 4 << 20  # bytes of an edited list
# By URL: the part shared with the page of `sap2 talk`, the file of the demo, and the media type.
PAGE: dict[str, tuple[Callable[[], str], str, str]] = {
    "": (str, "page.html", "text/html"),
    "page.js": (talk_script, "page.js", "text/javascript"),
    "page.css": (lambda: look() + talk_style(), "page.css", "text/css"),
}
POLICY = "default-src 'self'; img-src data:; media-src blob:; frame-ancestors 'none'"
READING = threading.Lock()  # PDFium is not thread-safe
DOWNLOADS = {"srt": "application/x-subrip", "md": "text/markdown", "json": "application/json", "html": "text/html"}


class _QueuedRecogniser:
    """A recogniser for `transcribe_talk` that sends segments through the engine's queue."""

    def __init__(self, engine: Engine, recogniser: Any, limits: Limits):
        self._engine, self._limits = engine, limits
        self.cut, self.settings, self.index = recogniser.cut, recogniser.settings, recogniser.index

    def recognise(self, audio: "Sequence[AudioSegment]", keywords: Sequence[Sequence[str]]) -> list[Any]:
        futures = self._engine.submit(list(zip(audio, keywords, strict=True)), self._limits.timeout)
        return [future.result().transcript for future in futures]

    def transcribe(self, audio: "Sequence[AudioSegment]") -> list[str]:
        return [transcript.text for transcript in self.recognise(audio, [[]] * len(audio))]


@dataclass
class _DemoTalk:
    """A talk with its progress and its result."""

    name: str
    given: TalkInput
    slides: list[Slide]
    step: str = "waiting"
    finished: int = 0
    total: int = 0
    talk: Talk | None = None
    error: str | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def track(self, groups: Iterable[list[int]], _count: int, label: str) -> Iterator[list[int]]:
        """Track progress over groups of segments, for `transcribe_talk`."""
        todo = list(groups)
        self.step, self.finished, self.total = label, 0, sum(map(len, todo))
        for group in todo:
            yield group
            self.finished += len(group)

    @property
    def about(self) -> list[str]:
        """Summaries of the talk's inputs."""
        return [*self.given.used, *([f"slides: {self.given.timed_by}"] if self.given.texts else [])]

    def state(self) -> dict[str, Any]:
        """Return progress and result for the page."""
        state: dict[str, Any] = {"step": self.step, "finished": self.finished, "total": self.total}
        state |= {"done": self.talk is not None, "error_text": self.error, "notices": self.given.notices}
        if self.talk is not None:
            transcript = self.talk.transcript
            warnings = filter(None, (left_out_notice(transcript), warning_of(transcript)))
            rows = keywords_tsv(self.given.keywords).splitlines()[1:]
            state |= {"view": talk_view(self.talk, self.slides), "about": self.about, "keywords": "\n".join(rows)}
            state["notices"] = [*self.given.notices, *(f"{self.name}: {warning}" for warning in warnings)]
        return state

    def file(self, kind: str) -> str:
        """Format the transcript as a file for download."""
        assert self.talk is not None
        if kind == "html":
            address = f"./{quote(PurePath(self.name).name)}"  # words play if it is saved next to the recording
            return render_talk(self.talk, self.name, self.slides, address, self.about, self.given.notices)
        return rendered(self.talk, self.name, kind)  # type: ignore[arg-type]


def create_demo(recogniser: Any, limits: Limits = LIMITS) -> FastAPI:
    """Create the application: the page and its endpoints.

    Args:
        recogniser: A `sap2.inference.Recogniser`.
    """
    engine = Engine(limits)
    engine.switch("demo", recogniser)
    queued = _QueuedRecogniser(engine, recogniser, limits)
    talks: OrderedDict[str, _DemoTalk] = OrderedDict()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        engine.close(1.0)

    app = FastAPI(title="SAP²-ASR demo", lifespan=lifespan, openapi_url=None)
    # Requests from other sites, through DNS rebinding or a form, are rejected.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])

    @app.middleware("http")
    async def _own_page_only(request: Request, call_next: RequestResponseEndpoint) -> Response:
        origin = request.headers.get("origin")
        if origin is not None and origin != f"http://{request.headers.get('host')}":
            return JSONResponse({"error": {"message": "the request comes from another page"}}, 403)
        response = await call_next(request)
        response.headers["content-security-policy"] = POLICY
        response.headers["x-content-type-options"] = "nosniff"
        return response

    @app.exception_handler(RequestError)
    async def _refused(_: Request, error: RequestError) -> Response:
        return JSONResponse({"error": {"message": error.message}}, error.status)

    @app.exception_handler(InputError)
    async def _unusable(_: Request, error: InputError) -> Response:
        return JSONResponse({"error": {"message": str(error)}}, 400)

    def begin(talk: _DemoTalk) -> dict[str, str]:
        talks[talk.id] = talk
        while len(talks) > MAX_TALKS:
            talks.popitem(last=False)
        threading.Thread(target=_run, args=[talk, queued], daemon=True).start()
        return {"id": talk.id}

    def kept(id: str) -> _DemoTalk:
        if id not in talks:
            raise RequestError(404, "this talk is no longer in memory; upload it again")
        return talks[id]

    @app.get("/")
    @app.get("/{name}")
    async def page(name: str = "") -> Response:
        if name not in PAGE:
            raise RequestError(404, "there is no such page")
        shared, file, kind = PAGE[name]
        content = shared() + page_file("sap2.serving", f"demo_page/{file}")
        return Response(content, media_type=kind, headers={"cache-control": "no-store"})

    @app.post("/talks")
    async def add(request: Request) -> dict[str, str]:
        form = await read_form(request, limits)
        try:
            return begin(await run_in_threadpool(_read, form, limits, recogniser.check))
        finally:
            await form.close()

    @app.post("/talks/{id}/again")
    async def again(id: str, request: Request) -> dict[str, str]:
        previous = kept(id)
        text = (await read_body(request, MAX_LIST)).decode("utf-8", "replace")
        keywords = _edited(text, limits)
        used = [f"{len(keywords)} keywords, as edited"]
        if previous.given.glossary:
            used.append(previous.given.glossary_used)
        given = replace(previous.given, keywords=keywords, used=used, notices=[])
        return begin(_DemoTalk(previous.name, given, previous.slides))

    @app.get("/talks/{id}")
    async def state(id: str) -> dict[str, Any]:
        return kept(id).state()

    @app.get("/talks/{id}/audio.wav")
    def audio(id: str) -> Response:
        import soundfile

        out = io.BytesIO()
        soundfile.write(out, kept(id).given.wave, 16_000, format="WAV", subtype="PCM_16")
        return Response(out.getvalue(), media_type="audio/wav")

    @app.get("/talks/{id}/talk.{kind}")
    async def download(id: str, kind: str) -> Response:
        talk = kept(id)
        if talk.talk is None or kind not in DOWNLOADS:
            raise RequestError(404, "there is no such file")
        attached = {"content-disposition": f'attachment; filename="talk.{kind}"'}
        return Response(talk.file(kind), media_type=DOWNLOADS[kind], headers=attached)

    return app


def _read(form: Any, limits: Limits, check: Callable[[Sequence[str]], None]) -> _DemoTalk:
    """Read the talk in a form.

    Args:
        check: Rejects an index of another base.
    Raises: RequestError, InputError: an upload is missing or unusable.
    """
    recordings, decks, times = (_uploaded(form, field) for field in ("file", "slides", "times"))
    if not recordings:
        raise RequestError(400, "the recording is missing, expected an audio file or a video", "file")
    if times and not decks:
        raise RequestError(400, "times of slides need slides, expected both", "times")
    everywhere = read_list(str(form.get("keywords") or ""))
    language = str(form.get("language") or "") or None
    options = Options("always" if form.get("ocr") else "auto", notes=bool(form.get("notes")))
    with TemporaryDirectory(prefix="sap2-demo-") as folder, READING:
        uploads = _UploadFolder(Path(folder))
        try:
            saved = [uploads.saved(deck, f"slides-{n}") for n, deck in enumerate(decks, start=1)]
            recording = uploads.saved(recordings[0], "recording")
            shown = uploads.saved(times[0], "times") if times else None
            given = read_talk(recording, saved, everywhere, shown, language, options, SHORTEST, limits.max_duration)
            check(given.glossary)
            slides, undrawn = drawn_slides(given)
        except InputError as error:
            raise InputError(uploads.as_named(str(error))) from error
    given = replace(
        given,
        timed_by=uploads.as_named(given.timed_by),
        used=list(map(uploads.as_named, given.used)),
        notices=[uploads.as_named(notice) for notice in (*given.notices, *undrawn)],
    )
    return _DemoTalk(recordings[0].filename or "", given, slides)


class _UploadFolder:
    """A folder of uploads under names of its own; only the extension, for the format, is the client's."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._names: dict[str, str] = {}

    def saved(self, upload: UploadFile, name: str) -> Path:
        """Save an upload as a file."""
        given = upload.filename or ""
        ending = re.sub(r"[^.a-z0-9]", "", PurePath(given).suffix.lower())[:8]
        path = self._folder / f"{name}{ending}"
        self._names[str(path)] = printable(given)
        with path.open("wb") as out:
            shutil.copyfileobj(upload.file, out)
        return path

    def as_named(self, message: str) -> str:
        """Replace the paths of uploads in a message by the clients' names."""
        # In a single pass, so that a client's name is never replaced in turn; longest path first.
        paths = "|".join(map(re.escape, sorted(self._names, key=len, reverse=True)))
        return re.sub(paths, lambda match: self._names[match[0]], message) if paths else message


def _uploaded(form: Any, field: str) -> list[UploadFile]:
    return [upload for upload in form.getlist(field) if isinstance(upload, UploadFile) and upload.filename]


def _edited(text: str, limits: Limits) -> list[Keyword]:
    keywords = read_keywords(text, "keywords", headed=False) or []
    if len(keywords) > 50 * limits.max_keywords:
        raise RequestError(400, f"{len(keywords)} keywords, expected at most {50 * limits.max_keywords}")
    return keywords


def _run(talk: _DemoTalk, recogniser: Any) -> None:
    try:
        talk.talk = transcribe_talk(
            recogniser,
            talk.given.wave,
            talk.given.keywords,
            talk.given.texts,
            talk.given.times,
            explain=True,
            progress=talk.track,
            glossary=talk.given.glossary,
        )
    except SapError as error:
        talk.error = str(error)
    except Exception as error:  # the page must not wait forever
        talk.error = f"the talk could not be recognised ({type(error).__name__}); see the server's log"
        raise


def serve_demo(recogniser: Any, port: int) -> None:
    """Serve the page on 127.0.0.1 until the process is stopped."""
    import uvicorn

    uvicorn.run(create_demo(recogniser), host="127.0.0.1", port=port, log_level="warning", server_header=False)
