"""`sap2 demo`: a page on this machine, for one person: a talk and its slides in, names coloured by slide out.

The last few talks are kept in memory; nothing is written but temporary uploads, and nothing leaves the machine.
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
from starlette.middleware.trustedhost import TrustedHostMiddleware

from sap2.data.biasing import read_list
from sap2.errors import InputError, SapError
from sap2.pages import look, page_file
from sap2.serving.engine import Engine
from sap2.serving.limits import Limits
from sap2.serving.upload import SHORTEST, Refused, printable, read_body, read_form
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
KEPT = 4  # talks in memory
MOST_LIST = 4 << 20  # bytes of an edited list
# By address: what it shares with the page of `sap2 talk`, its own file, and the kind.
PAGE = {
    "": (str, "page.html", "text/html"),
    "page.js": (talk_script, "page.js", "text/javascript"),
    "page.css": (lambda: look() + talk_style(), "page.css", "text/css"),
}
POLICY = "default-src 'self'; img-src data:; media-src blob:; frame-ancestors 'none'"
READING = threading.Lock()  # PDFium serves one thread at a time
DOWNLOADS = {"srt": "application/x-subrip", "md": "text/markdown", "json": "application/json", "html": "text/html"}


class _Queued:
    """The engine as `transcribe_talk` needs a recogniser: what several pages ask is recognised one after another."""

    def __init__(self, engine: Engine, recogniser: Any, limits: Limits):
        self._engine, self._limits = engine, limits
        self.cut, self.settings, self.index = recogniser.cut, recogniser.settings, recogniser.index

    def recognise(self, audio: "Sequence[AudioSegment]", keywords: Sequence[Sequence[str]]) -> list[Any]:
        futures = self._engine.submit(list(zip(audio, keywords, strict=True)), self._limits.timeout)
        return [future.result().transcript for future in futures]

    def transcribe(self, audio: "Sequence[AudioSegment]") -> list[str]:
        return [one.text for one in self.recognise(audio, [[]] * len(audio))]


@dataclass
class _Held:
    """A talk, how far it is, and what became of it."""

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
        """For `transcribe_talk`: notes how many segments are done."""
        todo = list(groups)
        self.step, self.finished, self.total = label, 0, sum(map(len, todo))
        for group in todo:
            yield group
            self.finished += len(group)

    @property
    def about(self) -> list[str]:
        """What the talk was made from."""
        return [*self.given.used, *([f"slides: {self.given.timed_by}"] if self.given.texts else [])]

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = {"step": self.step, "finished": self.finished, "total": self.total}
        state |= {"done": self.talk is not None, "error_text": self.error, "notices": self.given.notices}
        if self.talk is not None:
            transcript = self.talk.transcript
            said = filter(None, (left_out_notice(transcript), warning_of(transcript)))
            rows = keywords_tsv(self.given.keywords).splitlines()[1:]
            state |= {"view": talk_view(self.talk, self.slides), "about": self.about, "keywords": "\n".join(rows)}
            state["notices"] = [*self.given.notices, *(f"{self.name}: {one}" for one in said)]
        return state

    def file(self, kind: str) -> str:
        """The transcript as a file of a kind."""
        assert self.talk is not None
        if kind == "html":
            address = f"./{quote(PurePath(self.name).name)}"  # where it is saved beside the recording, words play
            return render_talk(self.talk, self.name, self.slides, address, self.about, self.given.notices)
        return rendered(self.talk, self.name, kind)  # type: ignore[arg-type]


def create_demo(recogniser: Any, limits: Limits = LIMITS) -> FastAPI:
    """The page and what it asks for.

    Args:
        recogniser: A `sap2.inference.Recogniser`.
    """
    engine = Engine(limits)
    engine.switch("demo", recogniser)
    queued = _Queued(engine, recogniser, limits)
    talks: OrderedDict[str, _Held] = OrderedDict()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        engine.close(1.0)

    app = FastAPI(title="SAP²-ASR demo", lifespan=lifespan, openapi_url=None)
    # Another site's page may send its visitor here by a name of its own, or by a form: neither is answered.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])

    @app.middleware("http")
    async def _own_page_only(request: Request, call_next) -> Response:
        origin = request.headers.get("origin")
        if origin is not None and origin != f"http://{request.headers.get('host')}":
            return JSONResponse({"error": {"message": "asked from another page"}}, 403)
        response = await call_next(request)
        response.headers["content-security-policy"] = POLICY
        response.headers["x-content-type-options"] = "nosniff"
        return response

    @app.exception_handler(Refused)
    async def _refused(_: Request, error: Refused) -> Response:
        return JSONResponse({"error": {"message": error.message}}, error.status)

    @app.exception_handler(InputError)
    async def _unusable(_: Request, error: InputError) -> Response:
        return JSONResponse({"error": {"message": str(error)}}, 400)

    def begin(held: _Held) -> dict[str, str]:
        talks[held.id] = held
        while len(talks) > KEPT:
            talks.popitem(last=False)
        threading.Thread(target=_run, args=[held, queued], daemon=True).start()
        return {"id": held.id}

    def found(id: str) -> _Held:
        if id not in talks:
            raise Refused(404, "this talk is no longer kept; upload it again")
        return talks[id]

    @app.get("/")
    @app.get("/{name}")
    async def page(name: str = "") -> Response:
        if name not in PAGE:
            raise Refused(404, "there is no such page")
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
        held = found(id)
        text = (await read_body(request, MOST_LIST)).decode("utf-8", "replace")
        keywords = _edited(text, limits)
        used = [f"{len(keywords)} keywords, as edited", *([held.given.glossary_used] if held.given.glossary else [])]
        given = replace(held.given, keywords=keywords, used=used, notices=[])
        return begin(_Held(held.name, given, held.slides))

    @app.get("/talks/{id}")
    async def state(id: str) -> dict[str, Any]:
        return found(id).state()

    @app.get("/talks/{id}/audio.wav")
    def audio(id: str) -> Response:
        import soundfile

        out = io.BytesIO()
        soundfile.write(out, found(id).given.wave, 16_000, format="WAV", subtype="PCM_16")
        return Response(out.getvalue(), media_type="audio/wav")

    @app.get("/talks/{id}/talk.{kind}")
    async def download(id: str, kind: str) -> Response:
        held = found(id)
        if held.talk is None or kind not in DOWNLOADS:
            raise Refused(404, "there is no such file")
        attached = {"content-disposition": f'attachment; filename="talk.{kind}"'}
        return Response(held.file(kind), media_type=DOWNLOADS[kind], headers=attached)

    return app


def _read(form: Any, limits: Limits, check: Callable[[Sequence[str]], None]) -> _Held:
    """The talk that a form holds. Raises: Refused, InputError: what is wrong with it.

    Args:
        check: Refuses an index of another base.
    """
    recordings, decks, times = (_uploaded(form, field) for field in ("file", "slides", "times"))
    if not recordings:
        raise Refused(400, "there is no recording, expected an audio file or a video", "file")
    if times and not decks:
        raise Refused(400, "there are times of slides without slides, expected both", "times")
    everywhere = read_list(str(form.get("keywords") or ""))
    language = str(form.get("language") or "") or None
    options = Options("always" if form.get("ocr") else "auto", notes=bool(form.get("notes")))
    with TemporaryDirectory(prefix="sap2-demo-") as folder, READING:
        room = _Room(Path(folder))
        try:
            saved = [room.saved(deck, f"slides-{n}") for n, deck in enumerate(decks, start=1)]
            recording = room.saved(recordings[0], "recording")
            shown = room.saved(times[0], "times") if times else None
            given = read_talk(recording, saved, everywhere, shown, language, options, SHORTEST, limits.max_duration)
            check(given.glossary)
            slides, undrawn = drawn_slides(given)
        except InputError as error:
            raise InputError(room.as_named(str(error))) from error
    given = replace(
        given,
        timed_by=room.as_named(given.timed_by),
        used=list(map(room.as_named, given.used)),
        notices=[room.as_named(notice) for notice in (*given.notices, *undrawn)],
    )
    return _Held(recordings[0].filename or "", given, slides)


class _Room:
    """A folder of uploads: of a client's name only the ending, which tells the kind, names a file in it."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._names: dict[str, str] = {}

    def saved(self, upload: UploadFile, name: str) -> Path:
        """The upload as a file."""
        given = upload.filename or ""
        ending = re.sub(r"[^.a-z0-9]", "", PurePath(given).suffix.lower())[:8]
        path = self._folder / f"{name}{ending}"
        self._names[str(path)] = printable(given)
        with path.open("wb") as out:
            shutil.copyfileobj(upload.file, out)
        return path

    def as_named(self, message: str) -> str:
        """A message in which files have the names they came with."""
        # At once, lest a name that reads like one of ours be replaced in turn; the longest first.
        paths = "|".join(map(re.escape, sorted(self._names, key=len, reverse=True)))
        return re.sub(paths, lambda path: self._names[path[0]], message) if paths else message


def _uploaded(form: Any, field: str) -> list[UploadFile]:
    return [one for one in form.getlist(field) if isinstance(one, UploadFile) and one.filename]


def _edited(text: str, limits: Limits) -> list[Keyword]:
    keywords = read_keywords(text, "keywords", headed=False) or []
    if len(keywords) > 50 * limits.max_keywords:
        raise Refused(400, f"{len(keywords)} keywords, expected at most {50 * limits.max_keywords}")
    return keywords


def _run(held: _Held, recogniser: Any) -> None:
    try:
        held.talk = transcribe_talk(
            recogniser,
            held.given.wave,
            held.given.keywords,
            held.given.texts,
            held.given.times,
            explain=True,
            progress=held.track,
            glossary=held.given.glossary,
        )
    except SapError as error:
        held.error = str(error)
    except Exception as error:  # the page must not wait for ever
        held.error = f"the talk could not be recognised ({type(error).__name__}); the server's log says why"
        raise


def serve_demo(recogniser: Any, port: int) -> None:
    """Serve the page on 127.0.0.1 until the process is told to stop."""
    import uvicorn

    uvicorn.run(create_demo(recogniser), host="127.0.0.1", port=port, log_level="warning", server_header=False)
