"""Stock's interface of the processor: chats already rendered by a template, with their recordings.

processor.apply_chat_template(chat, tokenize=True, return_dict=True) → processor(text=…, audio=…, keywords=…)
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from sap2.constants import SAMPLE_RATE
from sap2.errors import InputError
from sap2.prompts import SEPARATORS

if TYPE_CHECKING:
    from sap2.model.processing import SapProcessor

__all__ = ["Rendered", "rows_of"]

# Accepted options of stock's processors, with the values that have no effect: batches are always padded tensors, and
# templates have all special tokens.
WITHOUT_EFFECT: dict[str, list[Any]] = {
    "images": [None], "videos": [None], "return_tensors": [None, "pt"], "padding": [True, "longest"],
    "add_special_tokens": [True, False], "sampling_rate": [None, SAMPLE_RATE],
}  # fmt: skip


class Rendered(str):
    """A chat's full text with its special tokens; an empty marker pair stands for the keyword list."""


def rows_of(
    processor: "SapProcessor",
    text: str | Sequence[str],
    keywords: Sequence[Sequence[str]] | Sequence[str] | None,
    audio: Any,
    options: Mapping[str, Any],
) -> tuple[list[Rendered], list[list[str]], list[np.ndarray | None] | None]:
    """Return each row's chat, list and recording from the arguments of stock's processors.

    Args:
        text: A rendered chat, or several. Keywords may be written between the markers, separated by commas.
        keywords: A list per chat, or the list of a single chat; None = the keywords between the markers.
        audio: A recording per audio placeholder, in order, possibly nested by chat.
        options: Other arguments.
    Raises: InputError: numbers of recordings and placeholders, or of lists and chats, differ; a chat has several
        recordings; keywords are given both between the markers and as `keywords`; an option is not supported.
    """
    for name, value in options.items():
        plain = value if isinstance(value, bool | int | str) else None
        if not any(value is known or plain == known is not None for known in WITHOUT_EFFECT.get(name, [None])):
            raise InputError(f"{name} is {value!r}, which this processor does not support; leave it out")
    texts = [text] if isinstance(text, str) else list(text)
    given = [keywords] if isinstance(text, str) and _is_list(keywords) else keywords
    if given is not None and len(given) != len(texts):
        raise InputError(f"{len(given)} keyword lists for {len(texts)} texts; give a list per text")
    start, end = processor.context_tokens[:2]
    span = re.compile(f"{re.escape(start)}(.+?){re.escape(end)}", re.DOTALL)
    lists = []
    for row, chat in enumerate(texts):
        written = [word.strip() for inside in span.findall(chat) for word in SEPARATORS.split(inside) if word.strip()]
        if written and given is not None:
            raise InputError(f"text {row} has keywords between its markers, and `keywords` are given; use only one way")
        lists.append(written if given is None else list(given[row]))
    chats = [Rendered(span.sub(start + end, chat)) for chat in texts]
    return chats, lists, _recordings(processor.audio_token, chats, audio)


def _is_list(keywords: Sequence[Sequence[str]] | Sequence[str] | None) -> TypeGuard[Sequence[str]]:
    """Return whether `keywords` is a single list instead of a list per chat."""
    return keywords is not None and all(isinstance(word, str) for word in keywords)


def _recordings(token: str, chats: Sequence[str], audio: Any) -> list[np.ndarray | None] | None:
    """Return each chat's recording; None in a chat without a placeholder."""
    counts = [chat.count(token) for chat in chats]
    waves = [] if audio is None else [audio] if _is_wave(audio) else [wave for item in audio for wave in _flat(item)]
    if sum(counts) != len(waves):
        raise InputError(f"{len(waves)} recordings for {sum(counts)} {token} in the text; give a recording per {token}")
    if max(counts, default=0) > 1:
        raise InputError(f"text {counts.index(max(counts))} has {max(counts)} {token}, at most 1; join the recordings")
    if audio is None:
        return None
    left = iter(waves)
    return [next(left) if count else None for count in counts]


def _flat(audio: Any) -> list[Any]:
    return [audio] if _is_wave(audio) else list(audio)


def _is_wave(audio: Any) -> bool:
    """Return whether `audio` is a single recording: an array, a tensor, or a list of numbers."""
    return hasattr(audio, "shape") and len(audio.shape) == 1 or isinstance(audio[0], float | int)
