"""Parser of ms-swift message rows, the format of the public SAP² metadata (jymh/SAP2-ASR), for data and scoring.

{"messages": [
   {"role": "user", "content": "<audio>/a.wav</audio>Transcribe … <|startofcontext|>k1, k2<|endofcontext|>"},
   {"role": "assistant", "content": "transcribed text"}],
 "audios": "/a.wav"}
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from sap2.errors import InputError

__all__ = ["Message", "audio_of", "parse_message"]

_AUDIO = r"(?s)<audio>(.*?)</audio>"
_KEYWORDS = r"(?s)<\|startofcontext\|>(.*?)<\|endofcontext\|>"


class Message(NamedTuple):
    """The content of a message row.

    Args:
        keywords: The list between the prompt's markers, separated by commas or, without commas, by blanks.
        answer: The assistant's text, None if there is no such turn.
        joint: Whether the prompt requests both keywords and transcript.
    """

    keywords: tuple[str, ...]
    answer: str | None
    joint: bool


def parse_message(row: Mapping[str, Any], where: str) -> Message:
    """Parse a row whose answer has a transcript.

    Raises: InputError: there is no prompt, or it requests only keywords (stage 1).
    """
    messages = row.get("messages")
    if messages is not None and not isinstance(messages, list):
        raise InputError(f'{where}: field "messages" is {repr(messages)[:60]}, expected a list of turns')
    prompt, answer = (_turns(row).get(role) for role in ("user", "assistant"))
    if not isinstance(prompt, str):
        raise InputError(f"{where}: expected `messages`, a list of turns with a user's text")
    between = re.search(_KEYWORDS, prompt)
    listed = between.group(1) if between else ""
    pieces = (" ".join(piece.split()) for piece in (listed.split(",") if "," in listed else listed.split()))
    # The prompt without path and list states what is requested.
    request = re.sub(_KEYWORDS, "", re.sub(_AUDIO, "", prompt)).lower()
    if "transcribe" not in request:
        raise InputError(
            f"{where}: its prompt requests keywords, so it has no transcript; expected rows that transcribe "
            '(stage 1 is scored from manifests or results with "predicted")'
        )
    keywords = tuple(piece for piece in pieces if piece)
    return Message(keywords, answer if isinstance(answer, str) else None, "select keywords" in request)


def audio_of(row: Mapping[str, Any]) -> str | None:
    """Return the path of a row's recording: from `audios` or `audio` (a path, or a list with a path), or from the
    prompt's `<audio>` tag; None if there is none."""
    audio = row.get("audios") or row.get("audio")
    if audio:
        audio = audio[0] if isinstance(audio, list) else audio
        audio = audio.get("path") if isinstance(audio, dict) else audio
        return audio if isinstance(audio, str) else None
    contents = [content for content in _turns(row).values() if isinstance(content, str)]
    match = next(filter(None, (re.search(_AUDIO, content) for content in contents)), None)
    return match.group(1) if match else None


def _turns(row: Mapping[str, Any]) -> dict[str, Any]:
    messages = row.get("messages")
    turns = messages if isinstance(messages, list) else []
    return {str(turn.get("role")): turn.get("content") for turn in turns if isinstance(turn, dict)}
