"""`sap2 demo`: a page on this machine, for one person: a talk and its slides in, names coloured by slide out.

The last few talks are kept in memory; nothing is written but temporary uploads, and nothing leaves the machine.
"""

import io
import re
import shutil
import threading
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from importlib.resources import files
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.middleware.trustedhost import TrustedHostMiddleware

from sap2.data.audio import load_audio
from sap2.data.biasing import read_list
from sap2.errors import InputError, SapError
from sap2.serving.engine import Engine
from sap2.serving.limits import Limits
from sap2.serving.upload import SHORTEST, Refused, printable, read_body, read_form
from sap2.slides.keywords import Keyword, keywords_tsv, read_keywords, slides_keywords
from sap2.slides.talk import transcribe_talk
from sap2.slides.timing import Shown, times_known
from sap2.transcripts.talk import Talk
from sap2.transcripts.talk_formats import marked, rendered, talk_json

__all__ = ["LIMITS", "create_demo", "serve_demo"]

LIMITS = Limits(max_bytes=512 << 20, max_duration=3 * 3600.0, timeout=3600.0, batch_wait=0.0)
KEPT = 4  # talks in memory
MOST_LIST = 4 << 20  # bytes of an edited list
PAGE = {"": ("page.html", "text/html"), "page.js": ("page.js", "text/javascript"), "page.css": ("page.css", "text/css")}
POLICY = "default-src 'self'; img-src data:; media-src blob:; frame-ancestors 'none'"
DOWNLOADS = {"srt": "application/x-subrip", "md": "text/markdown", "json": "application/json"}


class _Queued:
    """The engine as `transcribe_talk` needs a recogniser: what several pages ask is recognised one after another."""

    def __init__(self, engine: Engine, recogniser: Any, limits: Limits):
        self._engine, self._limits = engine, limits
        self.cut, self.settings = recogniser.cut, recogniser.settings

    def recognise(self, audio: Sequence[np.ndarray], keywords: Sequence[Sequence[str]]) -> list[Any]:
        futures = self._engine.submit(list(zip(audio, keywords, strict=True)), self._limits.timeout)
        return [future.result().transcript for future in futures]

    def transcribe(self, audio: Sequence[np.ndarray]) -> list[str]:
        return [one.text for one in self.recognise(audio, [[]] * len(audio))]


@dataclass
class _Held:
    """A talk, how far it is, and what became of it."""

    name: str
    wave: np.ndarray
    keywords: list[Keyword]
    texts: list[str]
    times: list[Shown] | None
    notices: list[str]
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

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = {"step": self.step, "finished": self.finished, "total": self.total}
        state |= {"done": self.talk is not None, "error_text": self.error, "notices": self.notices}
        if self.talk is not None:
            result = talk_json(self.talk)
            for row, one in zip(result["segments"], self.talk.segments, strict=True):
                row["parts"] = _parts(one.text, one.written)
                row["diff"] = _diff(one.plain or "", one.text, one.written)
            rows = keywords_tsv(self.keywords).splitlines()[1:]
            state |= {"result": result, "pages": self.texts, "keywords": "\n".join(rows)}
            if result["warning"]:
                state["notices"] = [*self.notices, f"{self.name}: {result['warning']}"]
        return state


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
        file, kind = PAGE[name]
        content = files("sap2.serving").joinpath("demo_page", file).read_bytes()
        return Response(content, media_type=kind, headers={"cache-control": "no-store"})

    @app.post("/talks")
    async def add(request: Request) -> dict[str, str]:
        form = await read_form(request, limits)
        try:
            return begin(await run_in_threadpool(_read, form, limits))
        finally:
            await form.close()

    @app.post("/talks/{id}/again")
    async def again(id: str, request: Request) -> dict[str, str]:
        held = found(id)
        text = (await read_body(request, MOST_LIST)).decode("utf-8", "replace")
        keywords = _edited(text, limits)
        return begin(_Held(held.name, held.wave, keywords, held.texts, held.times, []))

    @app.get("/talks/{id}")
    async def state(id: str) -> dict[str, Any]:
        return found(id).state()

    @app.get("/talks/{id}/audio.wav")
    def audio(id: str) -> Response:
        import soundfile

        out = io.BytesIO()
        soundfile.write(out, found(id).wave, 16_000, format="WAV", subtype="PCM_16")
        return Response(out.getvalue(), media_type="audio/wav")

    @app.get("/talks/{id}/talk.{kind}")
    async def download(id: str, kind: str) -> Response:
        held = found(id)
        if held.talk is None or kind not in DOWNLOADS:
            raise Refused(404, "there is no such file")
        attached = {"content-disposition": f'attachment; filename="talk.{kind}"'}
        return Response(rendered(held.talk, held.name, kind), media_type=DOWNLOADS[kind], headers=attached)  # type: ignore[arg-type]

    return app


def _read(form: Any, limits: Limits) -> _Held:
    """The talk that a form holds. Raises: Refused, InputError: what is wrong with it."""
    recordings, decks, times = (_uploaded(form, field) for field in ("file", "slides", "times"))
    if not recordings:
        raise Refused(400, "there is no recording, expected an audio file or a video", "file")
    if times and not decks:
        raise Refused(400, "there are times of slides without slides, expected both", "times")
    everywhere = read_list(str(form.get("keywords") or ""))
    language = str(form.get("language") or "") or None
    with TemporaryDirectory(prefix="sap2-demo-") as folder:
        room = _Room(Path(folder))
        try:
            listed = slides_keywords(
                [room.saved(deck, f"slides-{n}") for n, deck in enumerate(decks, start=1)], language
            )
            recording = room.saved(recordings[0], "recording")
            wave = load_audio(recording, SHORTEST, limits.max_duration)
            given = room.saved(times[0], "times") if times else None
            shown, more = times_known(recording, len(listed.texts), given)
        except InputError as error:
            raise InputError(room.as_named(str(error))) from error
    keywords = [*listed.keywords, *(Keyword(0, word) for word in everywhere)]
    notices = [room.as_named(notice) for notice in (*listed.notices, *more)]
    return _Held(recordings[0].filename or "", wave, keywords, listed.texts, shown, notices)


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
            recogniser, held.wave, held.keywords, held.texts, held.times, explain=True, progress=held.track
        )
    except SapError as error:
        held.error = str(error)
    except Exception as error:  # the page must not wait for ever
        held.error = f"the talk could not be recognised ({type(error).__name__}); the server's log says why"
        raise


def _parts(text: str, written: dict[str, int]) -> list[dict[str, Any]]:
    """The text in pieces: words between keywords, and keywords with their page.

    >>> _parts("ask meyer now", {"Meyer": 3})
    [{'text': 'ask '}, {'text': 'meyer', 'page': 3}, {'text': ' '}, {'text': 'now'}]
    """
    parts: list[dict[str, Any]] = []

    def mark(word: str, page: int) -> str:
        parts.append({"text": word, "page": page})
        return ""

    def plain(between: str) -> str:
        parts.extend({"text": one} for one in re.findall(r"\S+\s*|\s+", between))
        return ""

    marked(text, written, mark, plain)
    return parts


def _diff(without: str, text: str, written: dict[str, int]) -> list[tuple[str, list[dict[str, Any]]]]:
    """What the context changed, word by word, in the pieces of `_parts`: a keyword of several words is one.

    >>> for row in _diff("ask maier now", "ask Meyer now", {"Meyer": 3}): print(row)
    ('same', [{'text': 'ask '}])
    ('without', [{'text': 'maier '}])
    ('with', [{'text': 'Meyer', 'page': 3}, {'text': ' '}])
    ('same', [{'text': 'now'}])
    """
    one, other = (_words(_parts(side, written)) for side in (without, text))
    # A word that the list only spells otherwise is the same word.
    before, after = (["".join(part["text"] for part in word).strip() for word in side] for side in (one, other))
    matcher = SequenceMatcher(None, list(map(str.casefold, before)), list(map(str.casefold, after)), False)
    rows: list[tuple[str, list[dict[str, Any]]]] = []
    for kind, first, last, begin, end in matcher.get_opcodes():
        if kind != "equal" and last > first:
            rows.append(("without", [part for word in one[first:last] for part in word]))
        if end > begin:
            rows.append(("same" if kind == "equal" else "with", [part for word in other[begin:end] for part in word]))
    return rows


def _words(parts: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Each part with the blank that follows it."""
    words: list[list[dict[str, Any]]] = []
    for part in parts:
        if words and not part["text"].strip():
            words[-1].append(part)
        else:
            words.append([part])
    return words


def serve_demo(recogniser: Any, port: int) -> None:
    """Serve the page on 127.0.0.1 until the process is told to stop."""
    import uvicorn

    uvicorn.run(create_demo(recogniser), host="127.0.0.1", port=port, log_level="warning", server_header=False)
