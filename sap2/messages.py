"""ms-swift message rows, the format of the public SAP² metadata (jymh/SAP2-ASR), parsed for data and scoring alike.

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
    """A row's content.

    Args:
        keywords: The list between the prompt's markers, separated by commas or, without any, by blanks.
        answer: The assistant's text, None if there is no such turn.
        joint: Whether the prompt asks for keywords and transcript in one answer.
    """

    keywords: tuple[str, ...]
    answer: str | None
    joint: bool


def parse_message(row: Mapping[str, Any], where: str) -> Message:
    """Parse a row whose answer holds a transcript.

    Raises: InputError: there is no prompt, or it asks for keywords alone (stage 1).
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
    # The prompt's own words, without path and list, say what is asked for.
    request = re.sub(_KEYWORDS, "", re.sub(_AUDIO, "", prompt)).lower()
    if "transcribe" not in request:
        raise InputError(
            f"{where}: its prompt asks for keywords, so it holds no transcript; expected rows that transcribe "
            '(stage 1\'s answers are scored from manifests or results with "predicted")'
        )
    keywords = tuple(piece for piece in pieces if piece)
    return Message(keywords, answer if isinstance(answer, str) else None, "select keywords" in request)


def audio_of(row: Mapping[str, Any]) -> str | None:
    """The path of a row's recording: `audios` or `audio`, a path or a list with one, or the
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
