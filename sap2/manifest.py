"""The record that flows through every stage, and its files: one JSON object a line, keyed by id, never by position."""

import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from sap2.constants import Seconds
from sap2.errors import InputError
from sap2.files import read_jsonl, write_jsonl
from sap2.messages import audio_of, parse_message
from sap2.spelling import composed

__all__ = [
    "MARKER",
    "Utterance",
    "audio_path",
    "fault_of",
    "from_swift",
    "keyword_fault",
    "read_manifest",
    "relocated",
    "spoken",
    "spoken_of",
    "stream_manifest",
    "to_swift",
    "unique_keywords",
    "write_manifest",
]


NO_UTTERANCE = "{}: holds no utterance, expected one JSON object a line"

# Markers of the prompt and of the message format; inside data they would be taken for structure.
MARKER = re.compile(r"<\|[^|>]*\|>|</?audio>", re.IGNORECASE)


def _finite(value: Any) -> Any:
    """Whatever JSON can hold, all the way down: Python's own reader takes more, which would be written as null."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, float) and not math.isfinite(one):
            raise ValueError("holds a number that is not finite")
        left += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
    return value


class Utterance(BaseModel):
    """One stretch of speech, its words, and the keyword list of what was shown while it was said.

    >>> one = Utterance(id="talk3-0007", audio="audio/talk3-0007.flac", duration=2.6,
    ...                 text="the next slide is by meyer", keywords=["maier", "meyer", "zorvan"])
    >>> spoken(one)
    ['meyer']
    >>> one.with_predicted(["maier", "meyer"]).predicted
    ['maier', 'meyer']

    Keys it does not know are kept and written back.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, Annotated[Any, AfterValidator(_finite)]] = Field(init=False)

    id: str = Field(min_length=1)
    audio: str = Field(min_length=1)  # path; a relative one starts at the manifest's folder
    duration: Seconds = Field(gt=0)
    text: str  # the reference: lower-case words
    keywords: list[str] = []  # the biasing list: rare words of its slides, spoken or not, each once
    speaker: str | None = None
    talk: str | None = None
    predicted: list[str] | None = None  # the pruner's answer; None = not asked yet

    @field_validator("audio")
    @classmethod
    def _audio_is_a_path(cls, audio: str) -> str:
        if "\0" in audio:
            raise ValueError("holds a zero byte, which no path can")
        return audio

    @field_validator("text")
    @classmethod
    def _text_present(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("must hold at least one word")
        return text

    @field_validator("keywords", "predicted")
    @classmethod
    def _keywords_clean(cls, keywords: list[str] | None) -> list[str] | None:
        for keyword in keywords or ():
            if fault := keyword_fault(keyword):
                raise ValueError(fault)
        return unique_keywords(keywords) if keywords is not None else None

    def with_keywords(self, keywords: Sequence[str]) -> "Utterance":
        """The same utterance with another list."""
        return self._changed(keywords=list(keywords))

    def with_predicted(self, predicted: Sequence[str]) -> "Utterance":
        """The same utterance with the pruner's answer."""
        return self._changed(predicted=list(predicted))

    def with_audio(self, audio: Path | str) -> "Utterance":
        """The same utterance, found at another path."""
        return self._changed(audio=str(audio))

    def _changed(self, **fields: Any) -> "Utterance":
        return Utterance.model_validate({**self.model_dump(), **fields})


def keyword_fault(keyword: str) -> str | None:
    """Why a keyword cannot stand in a list, or None.

    >>> keyword_fault("neural network")
    >>> keyword_fault("smith, john")
    "a comma inside the keyword 'smith, john'; commas separate keywords"
    """
    if not keyword.strip():
        return "an empty keyword"
    if "," in keyword:
        return f"a comma inside the keyword {keyword!r}; commas separate keywords"
    if marker := MARKER.search(keyword):
        return f"the marker {marker.group()} inside the keyword {keyword!r}"
    if not keyword.isprintable():
        return f"a control character inside the keyword {keyword!r}"
    return None


def unique_keywords(keywords: Iterable[str]) -> list[str]:
    """The keywords in their order, in Unicode's NFC, white space tidied, each once whatever its case.

    >>> unique_keywords(["Meyer", " zorvan ", "meyer", "Mu\u0308ller", "müller"])
    ['Meyer', 'zorvan', 'Müller']
    """
    kept: dict[str, str] = {}
    for keyword in keywords:
        tidy, folded, _ = _tidied(keyword)
        kept.setdefault(folded, tidy)
    return list(kept.values())


def spoken(utterance: Utterance) -> list[str]:
    """The oracle list: keywords whose words occur in the text, one after another, in the order of the list."""
    return spoken_of(utterance.keywords, utterance.text)


def spoken_of(keywords: Iterable[str], text: str) -> list[str]:
    """`spoken` of a row that need not be checked again.

    >>> spoken_of(["Meyer", "deep zorvan"], "of  meyer and zorvan")
    ['Meyer']
    """
    words = composed(text).casefold().split()
    known, text = set(words), f" {' '.join(words)} "
    # Of a list's many keywords few begin with a word of the text: only these are searched for.
    return [word for word in keywords if _tidied(word)[2] in known and f" {_tidied(word)[1]} " in text]


@lru_cache(maxsize=1 << 18)  # a corpus lists the same words again and again
def _tidied(keyword: str) -> tuple[str, str, str]:
    """A keyword in Unicode's NFC with its white space tidied; the same whatever its case; the first word of that."""
    tidy = composed(" ".join(keyword.split()))
    folded = tidy.casefold().split()
    return tidy, " ".join(folded), folded[0] if folded else ""


def read_manifest(path: Path | str) -> list[Utterance]:
    """Read and check a manifest.

    Raises: InputError: no file, a line that is not a JSON object, a field missing or out of range, an id used twice, or
    no line at all; the message names file, line and id.
    """
    utterances: dict[str, Utterance] = {}
    lines: dict[str, int] = {}
    for number, row in read_jsonl(path):
        where = f"{path}:{number} ({row.get('id', 'no id')})"
        utterance = _utterance(row, where)
        if utterance.id in utterances:
            raise InputError(f"{where}: the id is also on line {lines[utterance.id]}; ids must differ")
        utterances[utterance.id] = utterance
        lines[utterance.id] = number
    if not utterances:
        raise InputError(NO_UTTERANCE.format(path))
    return list(utterances.values())


def stream_manifest(path: Path | str, skip: int = 0) -> Iterator[Utterance]:
    """The utterances of a manifest that may be too long to hold, one by one; ids are not compared.

    Args:
        skip: How many utterances to pass over unread.
    Raises: InputError: as `read_manifest`, but for ids used twice.
    """
    number = 0
    for number, row in read_jsonl(path, skip):
        yield _utterance(row, f"{path}:{number} ({row.get('id', 'no id')})")
    if not number:
        raise InputError(NO_UTTERANCE.format(path))


def _utterance(row: dict[str, Any], where: str) -> Utterance:
    try:
        return Utterance.model_validate(row)
    except ValidationError as error:
        raise InputError(
            f"{where}: {fault_of(error)}; correct the line or run the stage that writes the file again"
        ) from error


def write_manifest(path: Path | str, utterances: Iterable[Utterance]) -> int:
    """Write a manifest, whole or not at all; return the number of utterances. Fields that are None are left out."""
    return write_jsonl(path, (utterance.model_dump(exclude_none=True) for utterance in utterances))


def audio_path(utterance: Utterance, manifest: Path | str) -> Path:
    """Where the utterance's audio lies, given the manifest that names it."""
    return Path(manifest).parent / utterance.audio


def relocated(utterance: Utterance, manifest: Path | str, new_manifest: Path | str) -> Utterance:
    """The utterance with its audio path rewritten for a manifest in another folder; absolute paths stay."""
    if Path(utterance.audio).is_absolute():
        return utterance
    moved = os.path.relpath(audio_path(utterance, manifest), Path(new_manifest).parent)
    return utterance.with_audio(Path(moved).as_posix())


def to_swift(
    utterance: Utterance, stage: Literal["pruner", "recogniser", "joint"], keywords: Sequence[str] | None = None
) -> dict[str, Any]:
    """The utterance as one ms-swift message row.

    Args:
        utterance: Its audio path is taken over as it is.
        stage: "pruner": select the spoken keywords; "recogniser": transcribe; "joint": both in one answer.
        keywords: The list in the prompt; None = the spoken ones for the recogniser, else the whole list.
    """
    from sap2.prompts import (
        CONTEXT_END,
        CONTEXT_START,
        SEPARATOR,
        joint_prompt,
        joint_target,
        pruning_prompt,
        pruning_target,
        recognition_prompt,
    )

    if stage in ("pruner", "joint"):
        listed = utterance.keywords if keywords is None else list(keywords)
        said = spoken(utterance.with_keywords(listed))
        prompt, answer = pruning_prompt(), pruning_target(said)
        if stage == "joint":
            prompt, answer = joint_prompt(), joint_target(said, utterance.text)
    else:
        listed = spoken(utterance) if keywords is None else list(keywords)
        prompt, answer = recognition_prompt(bool(listed)), utterance.text
    filled = prompt.replace(CONTEXT_START + CONTEXT_END, CONTEXT_START + SEPARATOR.join(listed) + CONTEXT_END)
    return {
        "id": utterance.id,
        "duration": utterance.duration,
        "messages": [
            {"role": "user", "content": f"<audio>{utterance.audio}</audio>{filled}"},
            {"role": "assistant", "content": answer},
        ],
        "audios": utterance.audio,
    }


def from_swift(row: dict[str, Any], duration: Seconds | None = None) -> Utterance:
    """An utterance from one ms-swift message row whose answer is a transcript.

    Args:
        row: `messages` and `audios` (a string or a list with one); the content holds `<audio>PATH</audio>` or a bare
            `<audio>`; keywords stand between the markers, separated by commas or by spaces.
        duration: Used when the row has none.

    The id is the row's own, else the audio file's name without its ending.
    Raises: InputError: a part is missing, or the row asks for keywords and holds no transcript.
    """
    where = f"message row {row.get('id', '')}".strip()
    message = parse_message(row, where)
    if message.answer is None or message.joint:
        raise InputError(f"{where}: expected an assistant's text that is a transcript and nothing else")
    audio = audio_of(row)
    if not audio:
        raise InputError(f"{where}: names no audio file; expected `audios` or <audio>PATH</audio>")
    length = row.get("duration", duration)
    if length is None:
        raise InputError(f"{where}: has no duration and none was given")
    id = str(row.get("id") or Path(audio).stem)
    try:
        return Utterance(id=id, audio=audio, duration=length, text=message.answer, keywords=list(message.keywords))
    except ValidationError as error:
        raise InputError(f"{where}: {fault_of(error)}") from error


def fault_of(error: ValidationError) -> str:
    """What is wrong with a row that is no utterance."""
    return "; ".join(_explain(one) for one in error.errors())


def _explain(error: Any) -> str:
    """One validation error as `key is VALUE, expected`."""
    key = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if error["type"] == "missing":
        return f"{key} is missing"
    return f"{key} is {error['input']!r}, {message}"
