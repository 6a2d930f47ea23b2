"""params.yaml as typed, validated sections; this module is its only reader.

One section per stage. The defaults here are those of the shipped file's profile `default`, so leaving a key out of a
file, or the file itself, changes nothing. The file's top level is the `default` profile; `profiles.NAME` holds only
what NAME changes. The profile is chosen by the argument (`--profile`), else the environment variable SAP2_PROFILE, else
the file's `profile` key.
"""

import difflib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from sap2.constants import Seconds
from sap2.errors import ParamsError
from sap2.settings import PrunerSettings, RecogniserSettings, RuntimeSettings, Settings, TranscriberSettings

__all__ = [
    "BaseSection",
    "CheckSettings",
    "CorpusSource",
    "EvaluationSection",
    "FolderSource",
    "GateSection",
    "InferenceSection",
    "ListsSection",
    "LibriSpeechSource",
    "LoraSection",
    "ModelSection",
    "Params",
    "PrepareSection",
    "PruningSection",
    "RecogniserSection",
    "ResourcesSection",
    "RuntimeSection",
    "SlideSpeechSource",
    "SpecAugment",
    "SwiftSource",
    "Toleration",
    "TrackingSection",
    "TrainSection",
    "load_params",
    "override_settings",
    "profile_names",
    "source_names",
]

Context = Literal["none", "full", "predicted", "oracle"]
PROFILE_VARIABLE = "SAP2_PROFILE"
NULL = "null"  # stands for None in parameters of Kubeflow


class Section(Settings):
    """A part of params.yaml: unknown keys fail, values never change after loading."""

    def without_nulls(self) -> dict[str, Any]:
        """Convert to JSON without null, which Kubeflow's parameters cannot hold; validation restores the section.

        Keys that are null by default are omitted; other keys that are null become the text "null".
        """
        values = self.model_dump(mode="json")
        result: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, Section):
                result[name] = value.without_nulls()
            elif value is not None:
                result[name] = values[name]
            elif field.default is not None:
                result[name] = NULL
        return result

    @model_validator(mode="before")
    @classmethod
    def _read_null(cls, values: Any) -> Any:
        """Read the text "null" as None where None is valid and not the default, as `without_nulls` writes it."""
        if not isinstance(values, dict):
            return values
        nullable = {
            name
            for name, field in cls.model_fields.items()
            if field.default is not None and type(None) in get_args(field.annotation)
        }
        return {key: None if value == NULL and key in nullable else value for key, value in values.items()}


class CheckSettings(Section):
    """Requirements on recordings and transcripts; others are quarantined."""

    min_sample_rate: int = Field(8000, ge=1000, le=192_000)  # Hz, before resampling
    min_loudness: float = Field(-60.0, ge=-120, le=0)  # dB below full scale of the loudest tenth of a second
    max_clipped: float = Field(0.05, ge=0, le=1)  # share of samples at full scale
    chars_per_second: tuple[float, float] = (0.3, 40.0)  # minimum and maximum characters of text per second of audio
    tokenizer: str | None = None  # folder of a tokenizer that must know all letters, such as models/base; null = any


class FolderSource(Section):
    """A folder of recordings with a TSV: see sap2/data/folder.py."""

    root: str = Field(min_length=1)
    max_segment: Seconds = Field(15.0, ge=1, le=30)  # maximum length of utterances cut by subtitles
    common_words_file: str | None = None  # words of slides never listed, one per line


class CorpusSource(Section):
    """A corpus in parts; each split has any number of parts, named as in the corpus."""

    root: str = Field(min_length=1)  # folder of the corpus; nothing outside is read
    train: list[str] = Field(["train"], min_length=1)
    dev: list[str] = Field(["dev"], min_length=1)
    test: list[str] = Field(["test"], min_length=1)

    def parts(self) -> list[tuple[str, str]]:
        """Return `(split, part)` pairs in order."""
        return [(split, part) for split in ("train", "dev", "test") for part in getattr(self, split)]

    @model_validator(mode="after")
    def _parts_once(self) -> "CorpusSource":
        names = [part for _, part in self.parts()]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(
                f"train, dev and test share {', '.join(sorted(twice))}; each part belongs to a single split"
            )
        return self


class LibriSpeechSource(CorpusSource):
    """LibriSpeech in the layout of OpenSLR 12 or of the Parquet files of openslr/librispeech_asr."""

    train: list[str] = Field(["train-clean-100", "train-clean-360", "train-other-500"], min_length=1)
    dev: list[str] = Field(["dev-clean", "dev-other"], min_length=1)
    test: list[str] = Field(["test-clean"], min_length=1)


class SwiftSource(CorpusSource):
    """ms-swift messages, JSON or JSONL, one file per part."""

    audio_prefix: dict[str, str] = {}  # prefixes of audio paths, and their replacements below `root`


class SlideSpeechSource(CorpusSource):
    """SlideSpeech: see sap2/data/slidespeech.py for the layout."""

    train: list[str] = Field(["L95"], min_length=1)
    lists: Literal["keywords", "slides"] = "keywords"  # as published, or the words of `prepare.slides` slides
    common_words_file: str | None = None  # words of slides never listed, one per line


class PrepareSection(Section):
    """The corpus, and how it is prepared."""

    # "lectures" are embedded; other sources are read by the module of that name in sap2/data.
    source: Literal["lectures", "folder", "manifest", "librispeech", "slidespeech", "swift", "kaldi", "lhotse"] = (
        "lectures"
    )
    folder: FolderSource | None = None  # settings of each source; only the chosen source's are read
    manifest: CorpusSource | None = None
    librispeech: LibriSpeechSource | None = None
    slidespeech: SlideSpeechSource | None = None
    swift: SwiftSource | None = None
    kaldi: CorpusSource | None = None
    lhotse: CorpusSource | None = None
    seed: int = Field(1, ge=0)  # same seed and code: same corpus, byte for byte
    train_utterances: int = Field(6000, ge=1)  # lectures: number of training utterances
    dev_utterances: int = Field(200, ge=1)
    test_utterances: int = Field(400, ge=1)
    list_size: int = Field(20, ge=1, le=10_000)  # lectures: number of names in a list
    slides: int = Field(5, ge=1, le=100)  # nearest slides whose words are an utterance's keywords
    hard_share: float = Field(0.1, ge=0, le=1)  # lectures: share of names that sound like another name of their slide
    dev_share: float = Field(0.1, gt=0, lt=0.5)  # share of the recordings for dev if the source has no splits
    test_share: float = Field(0.1, gt=0, lt=0.5)  # share for test
    min_duration: Seconds = Field(0.1, gt=0)  # shorter recordings are rejected
    max_duration: Seconds = Field(30.0, gt=0, le=30)  # longer ones too: the audio encoder's window is 30 s
    reject_share: float = Field(0.9, ge=0, le=1)  # the stage fails if a larger share is rejected
    # "keep" refers to recordings in place and trusts their headers: neither copied nor decoded.
    audio: Literal["convert", "keep"] = "convert"
    # Training utterances per tar file; null = separate files. In a cluster each step downloads the corpus, file by
    # file: above some 10,000 utterances, set it to 1000 or `audio` to keep.
    shard_size: int | None = Field(None, ge=1)
    licence: str | None = None  # licence for the card; null = as stated by the publisher, if known
    checks: CheckSettings = CheckSettings()
    workers: int = Field(0, ge=0)  # processes for audio; 0 = one per CPU core

    @field_validator("source", mode="before")
    @classmethod
    def _source_known(cls, source: Any) -> Any:
        known = source_names()
        if source not in known:
            raise ValueError(
                f"must be one of {', '.join(known)}; for a folder with recordings and a TSV: source folder, and "
                "folder.root the folder"
            )
        return source

    @model_validator(mode="after")
    def _durations_ordered(self) -> "PrepareSection":
        if self.min_duration >= self.max_duration:
            raise ValueError(f"min_duration {self.min_duration} must be below max_duration {self.max_duration}")
        return self

    @model_validator(mode="after")
    def _shards_hold_copies(self) -> "PrepareSection":
        if self.shard_size is not None and self.audio == "keep":
            raise ValueError("shard_size needs audio: convert; with keep recordings are not copied")
        return self

    @model_validator(mode="after")
    def _source_has_root(self) -> "PrepareSection":
        if self.source != "lectures" and self.settings is None:
            raise ValueError(f"source is {self.source}: set {self.source}.root to its folder")
        if self.source == "slidespeech" and self.slides > 15:
            raise ValueError(f"slides is {self.slides}, expected 1 to 15 for slidespeech")
        return self

    @property
    def settings(self) -> Any:
        """The chosen source's settings."""
        return getattr(self, self.source, None)


class ListsSection(Section):
    """Keyword lists, from the corpus's keywords or from rare words."""

    # "corpus": the corpus's keywords. "rare-words", as in Le et al., 2021: the words of the utterance that
    # are not common, and `distractors`, words that are rare in the training text. "auto": rare-words where the corpus
    # gives no keyword to any utterance.
    source: Literal["auto", "corpus", "rare-words"] = "auto"
    max_size: int | None = Field(None, ge=1)  # corpus: maximum list size, nearest slides first; null = no limit
    distractors: int = Field(100, ge=0, le=10_000)  # rare-words: words added to the utterance's
    seed: int = Field(1, ge=0)  # of the distractors; trainings draw half of them again in every epoch
    common_words: int = Field(5000, ge=0)  # number of most frequent training words that are not rare
    common_words_file: str | None = None  # file of those words, one per line, instead of counting
    rare_words_file: str | None = None  # distractors, one per line; null = rare words of the training text
    published: list[str] = []  # deep-bias TSVs (id, text, rare words, list) whose lists are used unchanged

    def files(self) -> list[str]:
        """Return the files that are read besides the prepared set."""
        return list(filter(None, (self.common_words_file, self.rare_words_file, *self.published)))


class BaseSection(Section):
    """The speech language model that both stages are trained from."""

    path: str = Field("embedded", min_length=1)  # "embedded", "english", a folder in Hugging Face format, or a hub id
    revision: str | None = None  # commit, tag or branch of a hub id; None = the newest


class ModelSection(Section):
    """How keyword lists are used, and their speech-driven pooling."""

    # "tpi": stage 1 prunes the list, stage 2 transcribes with the rest. For comparison, a single model:
    # "pc" transcribes with the whole list, "jpi" answers with a selection and the transcript. Read by trainings; later
    # stages read it from the adapters.
    method: Literal["tpi", "pc", "jpi"] = "tpi"
    window: int = Field(2, ge=1, le=64)  # context tokens pooled into a vector; 1 = no pooling
    heads: int = Field(4, ge=1, le=128)  # heads of the pooling; must divide the hidden size
    aggregate: Literal["mean", "logsumexp", "max"] = "mean"  # aggregation of a token's scores over frames
    similarity: Literal["dot", "cosine"] = "dot"  # similarity of token and frame
    weighting: Literal["speech", "mean"] = "speech"  # "mean" ignores the speech: plain average, the ablation
    windows: Literal["keyword", "fixed"] = "keyword"  # whether windows end at keyword borders
    projection_rank: int = Field(0, ge=0, le=1024)  # rank of the learned query and key projections; 0 = none
    # Weight of the loss by which stage 1 learns to tag each listed keyword as spoken or not; it then prunes by the
    # tags. 0 = no tags, it prunes by its answer.
    tagging: float = Field(1.0, ge=0, le=100)

    def sap_fields(self) -> dict[str, Any]:
        """Return the fields of `sap2.model.configuration.SapFields`."""
        fields = self.model_dump(mode="json")
        fields["pooling_heads"] = fields.pop("heads")
        return fields


class LoraSection(Section):
    """The low-rank adapters of both stages."""

    rank: int = Field(32, ge=1, le=1024)
    alpha: float = Field(64, gt=0)  # the update is scaled by alpha / rank
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: list[str] = Field(  # names of adapted linear layers; "projector" = the audio projector's
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "projector"], min_length=1
    )


class SpecAugment(Section):
    """Masks on log-mel features in training (Park et al., 2019, section 2); widths are drawn up to these.

    The defaults are the paper's policy LibriSpeech Double for 80 mel bins, with its Switchboard policies' bound on the
    share of time, which utterances of a few seconds need.
    """

    freq_masks: int = Field(2, ge=0, le=20)
    freq_width: int = Field(27, ge=0, le=128)  # mel bins
    time_masks: int = Field(2, ge=0, le=100)
    time_width: int = Field(100, ge=0, le=3000)  # mel frames of 10 ms
    time_share: float = Field(0.2, ge=0, le=1)  # maximum share of an utterance's length per time mask


class TrainSection(Section):
    """Training of an adapter."""

    epochs: float = Field(1.0, gt=0)  # passes over the training manifest; max_steps wins if both are set
    max_steps: int | None = Field(None, ge=1)  # optimizer steps
    batch_size: int = Field(16, ge=1)  # utterances per process and forward pass; with batch_tokens, at most
    batch_tokens: int | None = Field(None, ge=16)  # maximum tokens per forward pass, including padding; null = no limit
    grad_accum: int = Field(1, ge=1)  # forward passes per optimizer step
    learning_rate: float = Field(5e-4, gt=0, lt=1)  # peak
    weight_decay: float = Field(0.0, ge=0, lt=1)
    warmup: float = Field(0.05, ge=0, lt=1)  # share of the steps in which the learning rate rises to its peak
    scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    save_steps: int = Field(200, ge=1)  # optimizer steps between two checkpoints
    save_minutes: float | None = Field(10.0, gt=0)  # maximum minutes between checkpoints; null = only by steps
    save_total_limit: int = Field(2, ge=1)  # number of checkpoints kept: the newest (and the best, with early_stopping)
    # Consecutive checkpoints without a better dev score (stage 1: keyword F1, stage 2: B-WER) after which training ends
    # with the best checkpoint; null = train to the end and use the last.
    early_stopping: int | None = Field(None, ge=1)
    eval_utterances: int = Field(200, ge=1)  # dev utterances decoded for that score, evenly spread
    seed: int = Field(1, ge=0)
    nproc: int = Field(1, ge=1)  # processes (one per GPU) on all nodes; above 1 by torchrun
    # ZeRO stage 2 or 3; with "-offload" optimizer states, and for stage 3 all weights, are kept in the host's memory.
    deepspeed: Literal["zero2", "zero3", "zero2-offload", "zero3-offload", "none"] = "zero2"
    bf16: bool = False  # mixed precision; false for processors that are slow at it
    gradient_checkpointing: bool = False  # recompute layers in the backward pass: less memory, a third more time
    # Linear layers of the frozen base loaded in 4 or 8 bits (bitsandbytes), the adapter in full precision: QLoRA.
    quantization: Literal["4bit", "8bit"] | None = None
    attention: Literal["sdpa", "eager", "flash_attention_2"] | None = None  # null = transformers' choice
    max_length: int = Field(4096, ge=16)  # tokens per utterance (speech, prompt and answer); more are an error
    list_sizes: tuple[int, int] = (5, 25)  # minimum and maximum size of lists, drawn again in every epoch
    no_context_share: float = Field(0.02, ge=0, le=1)  # share of utterances with an empty list
    unspoken_share: float = Field(0.13, ge=0, le=1)  # share of stage 1's lists without a spoken word
    hard_share: float = Field(0.0, ge=0, le=1)  # share of distractors spelt like a spoken keyword
    speed: list[float] = Field([1.0], min_length=1)  # speed factors to draw from; [1.0] = as recorded
    spec_augment: SpecAugment | None = None  # null = no masks
    freeze_llm: bool = False  # True: no adapter on the language model
    freeze_vit: bool = True  # True: the audio encoder is not trained
    freeze_aligner: bool = False  # True: no adapter on the projector
    cache_encoder: bool = True  # cache the frozen encoder's output over epochs

    @field_validator("list_sizes")
    @classmethod
    def _sizes_ordered(cls, sizes: tuple[int, int]) -> tuple[int, int]:
        if not 0 <= sizes[0] <= sizes[1]:
            raise ValueError(f"must be [fewest, most] with 0 <= fewest <= most, not {list(sizes)}")
        return sizes

    @field_validator("speed")
    @classmethod
    def _speeds_audible(cls, speeds: list[float]) -> list[float]:
        if not all(0.5 <= speed <= 2.0 for speed in speeds) or len(set(speeds)) < len(speeds):
            raise ValueError("must be different factors between 0.5 and 2.0, such as [0.9, 1.0, 1.1]")
        return speeds

    @model_validator(mode="after")
    def _something_to_train(self) -> "TrainSection":
        if self.freeze_llm and self.freeze_aligner:
            raise ValueError("freeze_llm and freeze_aligner are both true: nothing is trained; set one to false")
        if self.cache_encoder and not self.freeze_vit:
            raise ValueError("cache_encoder needs freeze_vit: true, a trained encoder's output changes at every step")
        if self.cache_encoder and (self.speed != [1.0] or self.spec_augment is not None):
            raise ValueError(
                "cache_encoder keeps the encoder's output for unchanged recordings, but speed or spec_augment "
                "change them in every epoch; set cache_encoder to false, or speed to [1.0] and spec_augment to null"
            )
        return self

    @model_validator(mode="after")
    def _quantised_base_stays(self) -> "TrainSection":
        if self.quantization and (self.cache_encoder or not self.freeze_vit or self.deepspeed.startswith("zero3")):
            raise ValueError(
                f"quantization {self.quantization} needs cache_encoder: false, freeze_vit: true and no "
                "deepspeed of zero3: quantised weights are neither moved, trained nor split"
            )
        return self

    @model_validator(mode="after")
    def _shares_fit(self) -> "TrainSection":
        if self.no_context_share + self.unspoken_share > 1:
            raise ValueError(
                f"no_context_share {self.no_context_share} and unspoken_share {self.unspoken_share} are parts of the "
                "same lists and must not exceed 1 in total"
            )
        return self


class RecogniserSection(TrainSection):
    """Stage 2's training, and its lists."""

    no_context_share: float = Field(0.15, ge=0, le=1)  # stage 2 must also work without context
    lists: Literal["oracle", "predicted", "corrupted"] = "corrupted"  # for tpi; pc and jpi draw lists as stage 1


class PruningSection(PrunerSettings, Section):
    """Stage 1's settings, and options of `sap2 prune`."""

    train: bool = False  # also prune the train split, for `recogniser.lists: predicted`; else its lists are copied
    # Maximum of selected but unspoken keywords per 100 dev utterances, for which the threshold is tuned; null = no
    # tuning.
    max_false_alarms: float | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _threshold_set_once(self) -> "PruningSection":
        if self.threshold is not None and self.max_false_alarms is not None:
            raise ValueError("max_false_alarms sets the threshold, which is already set; set either to null")
        return self


class InferenceSection(TranscriberSettings, Section):
    """Stage 2's settings, and the contexts of `sap2 decode`."""

    contexts: list[Context] = Field(["none", "full", "predicted", "oracle"], min_length=1)

    @field_validator("contexts")
    @classmethod
    def _contexts_once(cls, contexts: list[Context]) -> list[Context]:
        if len(set(contexts)) < len(contexts):
            raise ValueError(f"names a context twice: {', '.join(contexts)}")
        return contexts


class RuntimeSection(RuntimeSettings, Section):
    """How `sap2 prune` and `sap2 decode`, and later whatever loads the models, run them."""


class EvaluationSection(Section):
    """Scoring of transcripts."""

    definition: Literal["deep-bias", "slidespeech"] = "deep-bias"  # edit costs, ties, and what counts as a B word
    normaliser: Literal["none", "basic", "whisper-en"] = "none"  # applied to both text and list
    bootstrap_samples: int = Field(1000, ge=0)  # resamples for the confidence intervals; 0 = no intervals
    seed: int = Field(1, ge=0)


class GateSection(Section):
    """Requirements on a new champion: see `sap2.tracking.gate`. Rates are in percent."""

    context: Context = "predicted"  # context of the compared results; predicted = both stages
    significance: float = Field(0.05, gt=0, lt=1)  # B-WER must be below the champion's with a paired p of at most this
    wer_margin: float = Field(0.5, ge=0)  # points that WER may rise above the champion's
    u_wer_margin: float = Field(0.5, ge=0)  # points that U-WER may rise
    max_false_alarms: float = Field(10.0, ge=0)  # list words written but not spoken, per 100 utterances
    max_real_time_factor: float = Field(1.0, gt=0)  # seconds of computing per second of speech
    first_max_b_wer: float = Field(50.0, ge=0)  # limits of a first version, without a champion
    first_max_wer: float = Field(20.0, ge=0)


class TrackingSection(Section):
    """The store of runs and models. The variable MLFLOW_TRACKING_URI overrides `uri`."""

    uri: str = Field("sqlite:///mlruns.db", min_length=1)  # a path in it is relative to the working folder
    experiment: str = Field("sap2-asr", min_length=1)
    model_name: str = Field("sap2-asr", min_length=1)  # registered model that gets a new version
    copy_base: bool = False  # a base from the hub: copy it into the version, not only its id and commit


Quantity = Annotated[str, Field(pattern=r"^\d+(\.\d+)?([kMGT]i?|m)?$")]  # as Kubernetes writes it: 500m, 16Gi
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]  # of a Kubernetes object


class Toleration(Section):
    """A taint of nodes that this project's pods tolerate."""

    key: str = Field(min_length=1)
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = None  # for Equal
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"


class ResourcesSection(Section):
    """Resources of the steps in a Kubernetes cluster, and their image, secrets and volumes.

    Steps are of three sizes: `training` (both trainings), `inference` (all others that run a model) and `light`.
    CPU and memory are [request, limit].
    """

    image: str = "sap2-asr-python:0.2.0"  # of every step, with a version or a digest (…@sha256:…)
    pull_secrets: list[Name] = []  # Secrets that open the image's registry
    secret_name: Name | None = "sap2-asr"  # Secret with MLflow's and the object store's variables; None = no Secret
    secret_keys: list[str] = ["MLFLOW_TRACKING_URI"]  # its keys, each a variable of the same name
    checkpoints: Name | None = "sap2-checkpoints"  # PVC from which an interrupted training resumes; None = it restarts
    data: Name | None = None  # PVC with recordings, at /data in the steps that read them
    accelerator: str = Field("nvidia.com/gpu", min_length=1)  # resource name on the nodes
    node_selector: dict[str, str] = {}  # labels of the nodes for steps with accelerators
    tolerations: list[Toleration] = []  # for steps with accelerators
    shm: Quantity = "2Gi"  # size of /dev/shm, used by the processes of a training
    training_accelerators: int = Field(0, ge=0)  # per node, one per process; 0 = on CPUs
    training_nodes: int = Field(1, ge=1)  # above 1, trainings are TrainJobs of Kubeflow Trainer
    training_cpu: tuple[Quantity, Quantity] = ("2", "4")
    training_memory: tuple[Quantity, Quantity] = ("4Gi", "8Gi")
    training_timeout: Seconds = Field(86_400, ge=1)
    training_heartbeat: Seconds = Field(900, ge=60)  # nodes end after this time without a heartbeat of their step
    training_storage: Quantity | None = None  # of a node's disk, requested by a TrainJob; null = no request
    inference_accelerators: int = Field(0, ge=0, le=1)
    inference_cpu: tuple[Quantity, Quantity] = ("2", "4")
    inference_memory: tuple[Quantity, Quantity] = ("4Gi", "8Gi")
    inference_timeout: Seconds = Field(43_200, ge=1)
    light_cpu: tuple[Quantity, Quantity] = ("500m", "2")
    light_memory: tuple[Quantity, Quantity] = ("1Gi", "4Gi")
    light_timeout: Seconds = Field(7_200, ge=1)
    light_storage: Quantity | None = None  # of the node's disk, for what a step downloads and writes; null = no request
    retries: int = Field(3, ge=0, le=10)  # of a failed step
    backoff: int = Field(60, ge=0)  # seconds before the first retry; doubled each time
    parallel: int = Field(4, ge=1)  # shards of talks, or parts of a corpus, processed in parallel
    copy_base: bool = False  # a base from the hub: an artifact with all its files; else its id and commit
    prepare_parts: int = Field(1, ge=1)  # pods that share the work of prepare; not for the embedded lectures

    @model_validator(mode="after")
    def _nodes_share_a_volume(self) -> "ResourcesSection":
        if self.training_nodes > 1 and self.checkpoints is None:
            raise ValueError("training_nodes above 1 needs a volume that the nodes share; name it in checkpoints")
        return self

    @field_validator("image")
    @classmethod
    def _image_pinned(cls, image: str) -> str:
        tag = image.rpartition("/")[2].partition(":")[2]
        if "@sha256:" not in image and tag in ("", "latest"):
            raise ValueError("names no version: the version must be known; add a tag (not latest) or @sha256:DIGEST")
        return image


class Params(Section):
    """All sections of a profile."""

    profile: str = "default"
    prepare: PrepareSection = PrepareSection()
    lists: ListsSection = ListsSection()
    base: BaseSection = BaseSection()
    model: ModelSection = ModelSection()
    lora: LoraSection = LoraSection()
    pruner: TrainSection = TrainSection()
    pruning: PruningSection = PruningSection()
    recogniser: RecogniserSection = RecogniserSection()
    inference: InferenceSection = InferenceSection()
    runtime: RuntimeSection = RuntimeSection()
    evaluation: EvaluationSection = EvaluationSection()
    gate: GateSection = GateSection()
    tracking: TrackingSection = TrackingSection()
    resources: ResourcesSection = ResourcesSection()

    @model_validator(mode="before")
    @classmethod
    def _train_is_pruned_where_it_is_read(cls, content: Any) -> Any:
        """Set `pruning.train` where `recogniser.lists: predicted` needs it and a file, as those of 0.1.0, lacks it."""
        if not isinstance(content, dict):
            return content
        recogniser, pruning = content.get("recogniser"), content.get("pruning", {})
        lists = recogniser.get("lists") if isinstance(recogniser, dict) else getattr(recogniser, "lists", None)
        if lists == "predicted" and isinstance(pruning, dict) and "train" not in pruning:
            return content | {"pruning": pruning | {"train": True}}
        return content

    @model_validator(mode="after")
    def _predicted_lists_are_made(self) -> "Params":
        if self.recogniser.lists == "predicted" and self.model.method == "tpi" and not self.pruning.train:
            raise ValueError("recogniser.lists is predicted: set pruning.train to true to prune the training lists")
        return self


def load_params(path: Path | str = "params.yaml", profile: str | None = None, overrides: Iterable[str] = ()) -> Params:
    """Read a profile of a params file.

    Args:
        path: The YAML file.
        profile: Its profile; None = SAP2_PROFILE from the environment, else the file's `profile` key.
        overrides: `section.key=value` texts, applied last; the value is YAML.

    Raises: ParamsError: no file, not YAML, an unknown profile or key, or a value out of range; the message names the
    file, the key as it is written there, and for an unknown key the nearest valid key.
    """
    path = Path(path)
    content = _read_yaml(path)
    profiles = _profiles(path, content.pop("profiles", None))
    name = profile or os.environ.get(PROFILE_VARIABLE) or content.get("profile") or "default"
    if not isinstance(name, str):
        raise ParamsError(f"{path}: profile is {name!r}, expected a profile's name")
    if name != "default" and name not in profiles:
        known = ["default", *(key for key in profiles if key != "default")]
        raise ParamsError(f"{path}: no profile {name!r}; it has {', '.join(known)}")
    overlay = profiles.get(name) or {}

    merged: dict[str, Any] = {}
    origins: dict[tuple[str, ...], str] = {}
    for location, layer in [(str(path), content), (f"{path}: profiles.{name}", overlay), *_parsed(overrides)]:
        for keys, value in _leaves(layer, location):
            before = merged.get(keys[0], {}).get(keys[1])
            # Nested sections are merged key by key too.
            _set(merged, keys, before | value if isinstance(before, dict) and isinstance(value, dict) else value)
            origins[keys] = location
    merged["profile"] = name
    try:
        return Params.model_validate(merged)
    except ValidationError as error:
        raise ParamsError("; ".join(_explain(detail, origins, str(path)) for detail in error.errors())) from error


def override_settings(settings: RecogniserSettings, overrides: Iterable[str]) -> RecogniserSettings:
    """Apply overrides such as `inference.num_beams=4` to a recogniser's settings.

    Raises: ParamsError: a text is not KEY=VALUE. ModelError: the key is not a setting, or its value out of range.
    """
    for location, layer in _parsed(overrides):
        settings = settings.with_changes(layer, location)
    return settings


def source_names() -> tuple[str, ...]:
    """Return the valid values of `prepare.source`."""
    return get_args(PrepareSection.model_fields["source"].annotation)


def profile_names(path: Path | str = "params.yaml") -> list[str]:
    """Return the names of a params file's profiles, `default` first."""
    names = _profiles(Path(path), _read_yaml(Path(path)).get("profiles"))
    return ["default", *(name for name in names if name != "default")]


def _profiles(path: Path, profiles: Any) -> dict[str, Any]:
    if profiles is not None and not isinstance(profiles, dict):
        raise ParamsError(f"{path}: profiles is {profiles!r}, expected names of profiles and sections below them")
    return profiles or {}


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = _yaml(path, f"{path}: not valid YAML")
    except FileNotFoundError as error:
        raise ParamsError(f"{path}: no such file; run in the repository's folder or give --params FILE") from error
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read ({error.strerror}); give the file with --params FILE") from error
    if not isinstance(content, dict):
        raise ParamsError(f"{path}: got {type(content).__name__}, expected sections such as `prepare:`")
    return content


def _yaml(source: str | Path, fault: str) -> Any:
    from ruamel.yaml import YAML  # DVC's own parser: 1e-4 is a number to both, and a key given twice is an error
    from ruamel.yaml.error import YAMLError

    try:
        text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as error:  # a date of a 13th month; brackets a thousand deep
        raise ParamsError(f"{fault}: {_one_line(error)}") from error


def _parsed(overrides: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield `("--set KEY=VALUE", nested dict)` for each override."""
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ParamsError(f"--set {override}: expected KEY=VALUE, such as inference.num_beams=2")
        value = _yaml(text, f"--set {override}: the value is not valid YAML")
        if key.partition(".")[0] == "profile":
            raise ParamsError(f"--set {override}: a profile is chosen with --profile {text}")
        layer: dict[str, Any] = {}
        _set(layer, tuple(key.split(".")), value)
        yield f"--set {override}", layer


def _leaves(layer: Any, location: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each `(section, key)` and value of a layer, after checking that the key exists."""
    if not isinstance(layer, dict):
        raise ParamsError(f"{location}: got {type(layer).__name__}, expected sections such as `prepare:`")
    for section, values in layer.items():
        _check_known(str(section), Params, location, prefix="")
        if section == "profile":
            continue
        if not isinstance(values, dict):
            if values is None:
                continue
            raise ParamsError(f"{location}: {section} is {values!r}, expected keys and values below it")
        for key, value in values.items():
            _check_known(str(key), _section_model(section), location, prefix=f"{section}.")
            yield (section, key), value


def _check_known(key: str, model: type[BaseModel], location: str, prefix: str) -> None:
    if key in model.model_fields:
        return
    known = [f"{prefix}{name}" for name in model.model_fields]
    if not prefix:
        known.append("profiles")
    raise ParamsError(f"{location}: unknown key {prefix}{key}{_nearest(prefix + key, known)}")


def _nearest(key: str, known: list[str]) -> str:
    """Suggest a valid key: a similar key in the section, the same word in another section, else the closest."""
    fields = [f"{section}.{field}" for section in _section_names() for field in _section_model(section).model_fields]
    word, words = key.split(".")[-1], {name.split(".")[-1]: name for name in known}
    beside = [words[match] for match in difflib.get_close_matches(word, words, n=1, cutoff=0.8)]
    elsewhere = [field for field in fields if field.split(".")[1] == word]
    closest = beside or elsewhere or difflib.get_close_matches(key, known, n=1, cutoff=0.0)
    return f"; the nearest valid key is {closest[0]}"


def _section_names() -> list[str]:
    return [name for name in Params.model_fields if name != "profile"]


def _section_model(section: str) -> type[Section]:
    return Params.model_fields[section].annotation  # type: ignore[return-value]


def _set(target: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    for key in keys[:-1]:
        target = target.setdefault(key, {})
    target[keys[-1]] = value


def _explain(error: Any, origins: dict[tuple[str, ...], str], path: str) -> str:
    """Format a validation error as `location: key is VALUE, expectation`."""
    keys = tuple(str(part) for part in error["loc"])
    location = origins.get(keys[:2], path)
    message = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if not keys:  # a rule over sections
        return f"{path}: {message}"
    if len(keys) == 1:  # a rule over a whole section: its message names the keys
        return f"{location}: {keys[0]}: {message}"
    if error["type"] == "extra_forbidden":  # a key of a nested section; others were checked before
        known = [".".join((*keys[:-1], name)) for name in _model_of(keys[:-1]).model_fields]
        return f"{location}: unknown key {'.'.join(keys)}{_nearest('.'.join(keys), known)}"
    return f"{location}: {'.'.join(keys)} is {error['input']!r}, {message}"


def _model_of(keys: tuple[str, ...]) -> Any:
    """Return the section that `keys` lead to, through optional sections and lists."""
    model: Any = Params
    for key in keys:
        model = get_args(model)[0] if get_origin(model) is list else model.model_fields[key].annotation
        if isinstance(model, UnionType):
            model = next(kind for kind in get_args(model) if kind is not type(None))
    return model


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
