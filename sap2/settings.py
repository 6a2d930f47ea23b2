"""A recogniser's settings: everything besides the weights that determines its text, as a typed value and a file.

The sections `pruning`, `inference` and `runtime` of params.yaml extend the settings of the two method stages and of the
model that they share, so that keys, bounds and defaults exist once. `settings.json` lies beside the folders `base`,
`pruner` and `recogniser`, and is stored with a registered version. Every command that decodes reads it.
"""

import difflib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from sap2.constants import Seconds
from sap2.errors import ModelError
from sap2.files import atomic_file, json_file

__all__ = [
    "DEFAULT_RUNTIME",
    "SETTINGS_FILE",
    "FirstPassWeights",
    "Prefilter",
    "PrunerSettings",
    "RecogniserSettings",
    "RuntimeSettings",
    "SearchSettings",
    "Settings",
    "TranscriberSettings",
    "join_settings",
    "parse_settings",
    "read_settings",
    "save_part",
    "settings_overrides",
]


SETTINGS_FILE = "settings.json"
# They affect speed and memory; text only where rounding decides between two answers.
SPEED_KEYS = frozenset({"batch_size", "batch_tokens", "attention", "static_cache", "compile"})


class Settings(BaseModel):
    """Typed values: unknown keys fail, and values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class SearchSettings(Settings):
    """Settings of decoding, shared by both stages."""

    batch_size: int = Field(16, ge=1)  # utterances decoded together
    batch_tokens: int = Field(16_384, ge=1)  # maximum prompt tokens decoded together, including padding
    max_new_tokens: int = Field(128, ge=1, le=4096)  # maximum tokens of an answer
    num_beams: int = Field(1, ge=1, le=64)  # 1 = greedy
    # Share of CTC in a transcript's score (sap2/inference/joint.py), where the base has a CTC head; 0 = decoder alone.
    ctc_weight: float = Field(0.3, ge=0, lt=1)
    # Decode only speech (sap2/data/speech_activity.py): silence, noise and tones give empty text.
    speech_only: bool = True


USUAL_LIST = 100  # keywords, up to which `FirstPassWeights.prior` holds


class FirstPassWeights(Settings):
    """Weights of a first pass's evidence; together they are a keyword's log-odds: see sap2/inference/first_pass.py."""

    tag: float = Field(0.4, ge=0, le=100)  # of stage 1's tag, in log-odds
    likeness: float = Field(2.2, ge=0, le=100)  # of the similarity to the best stretch of the transcript, 0 to 2
    likelihood: float = Field(0.3, ge=0, le=100)  # of the gain in the transcript's log-probability by the keyword
    prior: float = Field(2.2, ge=-100, le=100)  # added
    # Subtracted for each factor e by which a list exceeds 100 keywords: each of them is less likely spoken.
    length: float = Field(0.0, ge=0, le=10)
    promising: float = Field(3.0, ge=-100, le=100)  # log-odds without the likelihood, from which a keyword is tried
    candidates: int = Field(20, ge=1)  # maximum number of keywords tried per segment

    def for_list(self, size: int) -> "FirstPassWeights":
        """Return the weights for a list of `size` keywords.

        >>> round(FirstPassWeights(prior=1.0, length=0.5).for_list(1000).prior, 2)
        -0.15
        """
        if size <= USUAL_LIST or not self.length:
            return self
        return self.model_copy(update={"prior": self.prior - self.length * math.log(size / USUAL_LIST)})


class Prefilter(Settings):
    """A first cut of lists of thousands, before stage 1."""

    # ctc: where the keywords could stand in the base's frame scores, see sap2/inference/spotting.py. phonetic: likeness
    # to what the base transcribes without context, see sap2/inference/prefilter.py.
    method: Literal["ctc", "phonetic"] = "ctc"
    keep: int = Field(200, ge=1)  # keywords that are left of a longer list


def _prefilter(value: Any) -> Any:
    """Read a bare number as settings up to 0.2 have it: keywords that the phonetic prefilter keeps."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {"method": "phonetic", "keep": value} if is_number else value


class PrunerSettings(SearchSettings):
    """Settings of stage 1, which selects keywords."""

    max_list: int = Field(50, ge=1)  # maximum keywords per prompt; longer lists are pruned in parts
    # Added to the logits of naming no (further) keyword: below 0 more are selected, above 0 fewer are selected falsely.
    stop_bias: float = Field(0.0, ge=-20, le=20)
    threshold: float | None = Field(-1.6, le=0)  # minimum log-probability of a selected keyword; null = no limit
    # The base's transcript without context as evidence besides the tags; null = only tags.
    first_pass: FirstPassWeights | None = FirstPassWeights()
    # Of lists longer than `keep`; a number is `keep` of the phonetic one; null = stage 1 reads every list whole.
    prefilter: Annotated[Prefilter | None, BeforeValidator(_prefilter)] = None


class TranscriberSettings(SearchSettings):
    """Settings of stage 2, and of cutting long recordings for both stages."""

    # Log-probability that a transcript may lose for replacing similar words by a listed keyword: more names are written
    # as listed, and more of them falsely; null = no rescoring.
    rescoring: float | None = Field(None, ge=0, le=100)
    # Maximum segment length of long recordings in seconds, best no longer than the training's utterances; null = the
    # encoder's limit. A manifest's utterances are not cut.
    max_segment: Seconds | None = Field(3.0, ge=1)
    segment_overlap: Seconds = Field(0.5, ge=0, le=10)  # overlap of segments without a pause between them
    # Segments with less confidence are marked as doubtful but keep their text. With the embedded default 4 % of its dev
    # utterances are below 0.6, and 95 % of recordings of people, whom that base does not understand.
    doubtful: float = Field(0.6, ge=0, le=1)


class RuntimeSettings(Settings):
    """How the model that both stages share is loaded and run; what it cannot do on a device is an error of loading."""

    # Linear layers in 4 or 8 bits (bitsandbytes), rounded: the only setting here that is part of what decides the text.
    quantization: Literal["4bit", "8bit"] | None = None
    attention: Literal["sdpa", "eager", "flash_attention_2"] | None = None  # null = transformers' choice
    static_cache: bool = False  # keys and values of answers in memory of a fixed size instead of a growing one
    compile: bool = False  # torch.compile of an answer's tokens after the first; with a static cache


DEFAULT_RUNTIME = RuntimeSettings()


class RecogniserSettings(Settings):
    """Settings of both method stages, under the names of the params sections that hold them."""

    pruning: PrunerSettings = PrunerSettings()
    inference: TranscriberSettings = TranscriberSettings()
    runtime: RuntimeSettings = DEFAULT_RUNTIME

    @classmethod
    def from_params(cls, params: BaseModel) -> "RecogniserSettings":
        """Extract the settings from a profile's sections, without keys that only the pipeline reads.

        Args:
            params: `sap2.params.Params`.
        """
        return cls.model_validate(
            params.model_dump(include={name: set(kind.model_fields) for name, kind in KINDS.items()})
        )

    def with_changes(self, changes: Mapping[str, Any], source: str) -> "RecogniserSettings":
        """Apply nested changes such as `{"inference": {"num_beams": 4}}`.

        Raises: ModelError: a key is unknown or a value out of range; the message begins with `source`.
        """
        return _validated(_merged(self.model_dump(), changes), source)

    def differences(self, before: "RecogniserSettings") -> list[str]:
        """List the keys that differ from earlier settings.

        >>> changed = RecogniserSettings().with_changes({"inference": {"num_beams": 4}}, "--set")
        >>> changed.differences(RecogniserSettings())
        ['inference.num_beams 4 instead of 1']
        """
        ours, theirs = dict(_flat(self.model_dump())), dict(_flat(before.model_dump()))
        return [
            f"{key} {_shown(ours.get(key))} instead of {_shown(theirs.get(key))}"
            for key in {**theirs, **ours}
            if ours.get(key) != theirs.get(key)
        ]

    def deciding_text(self) -> dict[str, Any]:
        """Return all keys and values except those that only affect speed and memory."""
        return {
            name: {key: value for key, value in section.items() if key not in SPEED_KEYS}
            for name, section in self.model_dump().items()
        }

    def summary(self) -> str:
        """Summarise in a line, `pruning: max_list 50, …; inference: num_beams 1, …`, without speed-only keys."""
        return "; ".join(f"{name}: {values}" for name, values in self.by_stage().items())

    def by_stage(self) -> dict[str, str]:
        """Summarise each section in a line, without speed-only keys."""
        return {
            name: ", ".join(f"{key} {_shown(value)}" for key, value in _flat(section))
            for name, section in self.deciding_text().items()
        }

    def save(self, path: Path) -> None:
        """Write the settings as a JSON file."""
        _write(path, self.model_dump())


KINDS: dict[str, type[Settings]] = {
    "pruning": PrunerSettings,
    "inference": TranscriberSettings,
    "runtime": RuntimeSettings,
}


def read_settings(path: Path) -> RecogniserSettings:
    """Read settings.json, of this version or of 0.1.0.

    Raises: InputError: the file cannot be read as JSON. ModelError: a key is unknown or a value out of range.
    """
    return parse_settings(json_file(path, 'run "sap2 settings" first'), str(path))


def parse_settings(content: Mapping[str, Any], source: str) -> RecogniserSettings:
    """Parse the content of a settings file of this version or of 0.1.0.

    Args:
        source: File or model to name in errors.
    Raises: ModelError: a key is unknown or a value out of range.
    """
    return _validated(_from_0_1_0(content, source) if OLD_KEYS & content.keys() else content, source)


def save_part(path: Path, settings: PrunerSettings | TranscriberSettings, runtime: RuntimeSettings) -> None:
    """Write the settings that a stage ran with, for `join_settings`."""
    parts: dict[str, Any] = {}
    for part in (settings, runtime):
        name, kind = next((name, kind) for name, kind in KINDS.items() if isinstance(part, kind))
        parts[name] = part.model_dump(include=set(kind.model_fields))
    _write(path, parts)


def join_settings(pruned: Path, results: Path) -> RecogniserSettings:
    """Join the settings that `sap2 prune` and `sap2 decode` wrote into their folders.

    Raises: InputError: a stage has not run. ModelError: a file is damaged, or the stages ran with different weights.
    """
    parts: list[RecogniserSettings] = []
    for name, stage, folder in (("pruning", "prune", pruned), ("inference", "decode", results)):
        path = folder / SETTINGS_FILE
        content = json_file(path, f'run "sap2 {stage}" first')
        if set(content) - {"runtime"} != {name}:
            raise ModelError(
                f'{path}: has {", ".join(content) or "nothing"}, expected {name} and runtime; run "sap2 {stage}" again'
            )
        parts.append(_validated(content, str(path)))
    first, second = parts
    bits = [_shown(part.runtime.quantization) for part in parts]
    if bits[0] != bits[1]:
        raise ModelError(
            f"{pruned / SETTINGS_FILE}, {results / SETTINGS_FILE}: runtime.quantization is {bits[0]} and {bits[1]}, "
            'expected the same; run "sap2 prune" and "sap2 decode" again'
        )
    return second.model_copy(update={"pruning": first.pruning})


def settings_overrides(overrides: Iterable[str]) -> list[str]:
    """Filter a command's `KEY=VALUE` overrides for those of a recogniser's settings.

    >>> settings_overrides(["tracking.experiment=x", "inference.num_beams=4"])
    ['inference.num_beams=4']
    """
    return [text for text in overrides if text.partition(".")[0] in RecogniserSettings.model_fields]


# Keys of 0.1.0, which had both searches and all options in a flat mapping, with its default values.
OLD_SEARCH = {"batch_size": 16, "batch_tokens": 16_384, "max_new_tokens": 128, "num_beams": 1}
OLD_OPTIONS = {"max_list": 200, "stop_bias": 0.0, "threshold": None, "first_pass": None, "prefilter": None}
OLD_SEGMENTATION = {"max_segment": None, "segment_overlap": 1.0}
OLD_KEYS = {"decoding", "pruning_decoding", *OLD_OPTIONS, *OLD_SEGMENTATION}


def _from_0_1_0(content: Mapping[str, Any], source: str) -> dict[str, Any]:
    left = dict(content)
    decoding = OLD_SEARCH | {"rescoring": None} | (left.pop("decoding", None) or {})
    own = left.pop("pruning_decoding", None)
    pruning = (decoding if own is None else OLD_SEARCH | own) | {}
    pruning.pop("rescoring", None)
    pruning |= {key: left.pop(key, default) for key, default in OLD_OPTIONS.items()}
    decoding |= {key: left.pop(key, default) for key, default in OLD_SEGMENTATION.items()}
    pruning["speech_only"] = decoding["speech_only"] = False
    if left:
        raise ModelError(f"{source}: unknown key {min(left)}; 0.1.0 had {', '.join(sorted(OLD_KEYS))}")
    return {"pruning": pruning, "inference": decoding}


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _validated(content: Mapping[str, Any], source: str) -> RecogniserSettings:
    try:
        return RecogniserSettings.model_validate(content)
    except ValidationError as error:
        raise ModelError("; ".join(_explained(detail, source) for detail in error.errors())) from error


def _explained(error: Mapping[str, Any], source: str) -> str:
    key = ".".join(map(str, error["loc"]))
    if error["type"] != "extra_forbidden":
        return f"{source}: {key} is {error['input']!r}, {error['msg']}"
    known = [key for key, _ in _flat(_EVERY_KEY)]
    by_word = {name.rpartition(".")[2]: name for name in reversed(known)}
    alike = difflib.get_close_matches(key.rpartition(".")[2], by_word, n=1, cutoff=0.6)
    nearest = by_word[alike[0]] if alike else difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
    return f"{source}: unknown key {key}; the nearest valid key is {nearest}"


def _merged(content: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(content)
    for key, value in changes.items():
        before = merged.get(key)
        merged[key] = _merged(before, value) if isinstance(before, dict) and isinstance(value, Mapping) else value
    return merged


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


_EVERY_KEY = RecogniserSettings().model_dump()
