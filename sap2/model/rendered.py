"""Stock's way to call the processor: chats that a template has rendered already, with their recordings.

processor.apply_chat_template(chat, tokenize=True, return_dict=True) → processor(text=…, audio=…, keywords=…)
"""

import re
from collections.abc import Sequence

import numpy as np

from sap2.constants import SAMPLE_RATE
from sap2.errors import InputError
from sap2.prompts import SEPARATORS

__all__ = ["Rendered", "rows_of"]

# Stock's options, and the values of them that change nothing: batches are always padded tensors, templates hold every
# special token.
WITHOUT_EFFECT = {
    "images": [None], "videos": [None], "return_tensors": [None, "pt"], "padding": [True, "longest"],
    "add_special_tokens": [True, False], "sampling_rate": [None, SAMPLE_RATE],
}  # fmt: skip


class Rendered(str):
    """A whole chat as text, special tokens and all, with a bare marker pair where its list goes."""


def rows_of(
    processor, text: str | Sequence[str], keywords, audio, options: dict
) -> tuple[list[Rendered], list[list[str]], list[np.ndarray | None] | None]:
    """A chat, a list and a recording per row, from the arguments of stock's processors.

    Args:
        text: A rendered chat, or several. Keywords may stand between the markers, separated by commas.
        keywords: A list for each chat, or of a single chat the list itself; None = those between the markers.
        audio: A recording for each `<|AUDIO|>`, in their order.
        options: Others that stock takes.
    Raises: InputError: numbers of recordings and placeholders, or of lists and chats, differ; a chat has several
        recordings; keywords stand between the markers and are given as well; an option cannot be followed.
    """
    for name, value in options.items():
        plain = value if isinstance(value, bool | int | str) else None
        if not any(value is known or plain == known is not None for known in WITHOUT_EFFECT.get(name, [None])):
            raise InputError(f"{name} is {value!r}, which this processor cannot follow; leave it out")
    single = isinstance(text, str)
    texts = [text] if single else list(text)
    if single and keywords is not None and all(isinstance(word, str) for word in keywords):
        keywords = [keywords]
    if keywords is not None and len(keywords) != len(texts):
        raise InputError(f"{len(keywords)} lists of keywords for {len(texts)} texts; give one each")
    start, end = processor.context_tokens[:2]
    span = re.compile(f"{re.escape(start)}(.+?){re.escape(end)}", re.DOTALL)
    lists = []
    for row, chat in enumerate(texts):
        written = [word.strip() for inside in span.findall(chat) for word in SEPARATORS.split(inside) if word.strip()]
        if written and keywords is not None:
            raise InputError(f"text {row} has keywords between its markers, and `keywords` are given; give one of them")
        lists.append(written if keywords is None else list(keywords[row]))
    chats = [Rendered(span.sub(start + end, chat)) for chat in texts]
    return chats, lists, _placed(processor.audio_token, chats, audio)


def _placed(token: str, chats: Sequence[str], audio) -> list[np.ndarray | None] | None:
    """Each chat's recording."""
    counts = [chat.count(token) for chat in chats]
    waves = [] if audio is None else [audio] if _is_wave(audio) else [wave for item in audio for wave in _flat(item)]
    if sum(counts) != len(waves):
        raise InputError(f"{len(waves)} recordings for {sum(counts)} {token} in the text; give one each")
    if max(counts, default=0) > 1:
        raise InputError(f"text {counts.index(max(counts))} has {max(counts)} {token}, at most 1; join the recordings")
    if audio is None:
        return None
    left = iter(waves)
    return [next(left) if count else None for count in counts]


def _flat(audio) -> list:
    return [audio] if _is_wave(audio) else list(audio)


def _is_wave(audio) -> bool:
    """Whether something is a single recording: an array, a tensor, or a list of numbers."""
    return hasattr(audio, "shape") and len(audio.shape) == 1 or isinstance(audio[0], float | int)
