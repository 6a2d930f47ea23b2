"""Bases and adapters from folders or the hub, and adapters back to folders.

An adapter folder holds PEFT's files, the processor's, and `sap_config.json`: method and pooling it was trained with.
"""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from transformers import BitsAndBytesConfig
from transformers.utils import logging

from sap2.errors import ModelError, out_of_memory
from sap2.files import atomic_dir, atomic_file
from sap2.model.attention import avoid_planned_kernels
from sap2.model.configuration import SAP_FIELDS, SapFields
from sap2.model.families import Family, family_of
from sap2.model.modeling import SapForConditionalGeneration
from sap2.model.pairing import base_digest, check_base, check_tokenizer
from sap2.model.peft_internals import allow_mixed_batches
from sap2.model.processing import SapProcessor

SAP_CONFIG = "sap_config.json"
TRAINED_ON = "base_sha256"  # beside the settings: which base an adapter is for
# Beside the settings of an adapter from elsewhere: it was trained with the base's own rows for the context markers.
OWN_ROWS = "base_marker_rows"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
STOCK_PREFIX = "base_model.model.language_model."  # of the tensors' names until transformers 5
# Modules outside LoRA whose weights, if they have any, are trained and saved with the adapter.
POOLING, MARKERS = "context_pooling", "context_markers"
# The projector's and the text model's linear layers; the encoder's, which have the same names, are left alone.
LORA_TARGETS = r".*(multi_modal_projector\.linear(_[12])?|language_model\..*\.(q|k|v|o|gate|up|down)_proj)"


def load_model(
    base_dir: str | Path,
    adapter_dir: str | Path | None = None,
    *,
    trainable: bool = False,
    dtype: str | torch.dtype = "auto",
    attn_implementation: str | None = None,
    own_rows: bool = False,
    quantization_config: Any = None,
    **sap_overrides,
) -> SapForConditionalGeneration | PeftModel:
    """Load a base of a known family, and an adapter on it, in evaluation mode.

    Args:
        base_dir: Folder or hub id, stock or saved by us; its `model_type` says the family.
        adapter_dir: PEFT folder; its pooling settings hold unless overridden.
        trainable: Whether the adapter's weights take gradients.
        own_rows: Leave the context markers the base's own embeddings, where its table has rows for them: an adapter
            from elsewhere was trained with these. That of `adapter_dir` says so itself.
        quantization_config: One of transformers', as `BitsAndBytesConfig(load_in_4bit=True)`; None = as saved.
        sap_overrides: Fields of `SapFields`; None keeps what is there.
    Raises: ModelError: a folder is missing, weights are missing or left over, or a setting is out of range.
    """
    avoid_planned_kernels()
    check_folder(base_dir)
    saved = sap_settings(adapter_dir) if adapter_dir is not None else {}
    overrides = saved | {name: value for name, value in sap_overrides.items() if value is not None}
    family, stock = family_of(base_dir)
    processor = load_processor(base_dir)
    config = base_config(base_dir, family, stock, processor, overrides)
    try:
        with _without_bar():
            model, info = family.model.from_pretrained(
                base_dir,
                config=config,
                dtype=dtype,
                attn_implementation=attn_implementation,
                quantization_config=quantization_config,
                output_loading_info=True,
                use_safetensors=True,
            )
    except (OSError, RuntimeError, SafetensorError) as error:
        if out_of_memory(error):
            raise
        other_sizes = "ignore_mismatched_sizes" in str(error)  # transformers' advice, of no use here
        reason = "other sizes than config.json says, listed above" if other_sizes else _first_line(error)
        raise ModelError(
            f"{base_dir}: the base's weights cannot be read ({reason}); needs whole *.safetensors"
        ) from error
    wrong = {kind: sorted(map(str, info[kind])) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if any(wrong.values()):
        found = "; ".join(f"{kind.replace('_', ' ')}: {', '.join(keys[:5])}" for kind, keys in wrong.items() if keys)
        raise ModelError(f"{base_dir}: not the weights of a {family.title} model as its config.json says ({found})")
    _add_rows(model, processor, own_rows or (adapter_dir is not None and has_own_rows(adapter_dir)))
    if adapter_dir is not None:
        model = add_adapter(model, adapter_dir, trainable=trainable)
    return model.eval()


def quantization(kind: str | None, dtype: torch.dtype) -> Any:
    """Transformers' configuration of a quantised base, for `load_model`; None = not quantised.

    Args:
        kind: `4bit` (NF4, scales quantised as well) or `8bit`.
        dtype: What 4-bit layers compute in.
    Raises: ModelError: bitsandbytes is not installed.
    """
    if kind is None:
        return None
    if find_spec("bitsandbytes") is None:
        raise ModelError(f"quantization {kind} needs bitsandbytes, which is not installed; pip install bitsandbytes")
    if kind == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def check_folder(directory: str | Path) -> None:
    """A `Path` is a folder; only a text may also be a hub id.

    Raises: ModelError: there is no such folder: the hub is not asked for one of that name.
    """
    if isinstance(directory, Path) and not directory.is_dir():
        raise ModelError(f'{directory}: no such folder; run "sap2 base" and the trainings, or correct the path')


def load_processor(directory: str | Path, **overrides) -> SapProcessor:
    """Load the processor of a base or an adapter folder; `overrides` are its window, windows and separator.

    `load_processor(base, **processor_fields(model.config))` makes it agree with a model.
    """
    check_folder(directory)
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        processor = family_of(directory)[0].processor.from_pretrained(directory, **given)
    except (OSError, ValueError) as error:
        raise ModelError(f"{directory}: no processor can be loaded from it ({_first_line(error)})") from error
    _check_template(directory, processor)
    return processor


def _check_template(directory: str | Path, processor: SapProcessor) -> None:
    """Refuse a chat template that has no place for the speech, as those of text models have none."""
    way_out = "delete chat_template.jinja and the like from the folder for the class's own, or take the audio model's"
    try:
        # Two frames take the first one's place: of each further place one token is left.
        places = processor([""], frames=[2])["input_ids"][0].tolist().count(processor.audio_token_id) - 1
    except (TypeError, ValueError, TemplateError) as error:  # not in the list; content that is no text; Jinja's own
        fault = _first_line(error)
        if "is not in list" not in fault:
            raise ModelError(f"{directory}: its chat template cannot be applied ({fault}); {way_out}") from error
        places = 0
    if places != 1:
        speech = processor.audio_token
        raise ModelError(
            f"{directory}: its chat template has {places} {speech} for one recording, expected 1; {way_out}"
        )


def processor_fields(config: SapFields) -> dict:
    """What the processor must know of the model's configuration."""
    return {"window": config.window, "windows": config.windows, "separator": config.separator}


def add_adapter(model, adapter_dir: str | Path, name: str = "default", trainable: bool = False) -> PeftModel:
    """Put one more named adapter on a base; the first call wraps it, later ones join it.

    Raises: ModelError: the folder holds no adapter, was trained with other pooling than the model's, on another base
        or with another tokenizer, or does not fit it tensor by tensor.
    """
    path = Path(adapter_dir)
    if not (path / "adapter_config.json").is_file():
        raise ModelError(f"{path}: no adapter_config.json; give a folder written by a training stage")
    if not (path / ADAPTER_WEIGHTS).is_file():
        raise ModelError(f"{path}: no {ADAPTER_WEIGHTS}; other formats are not read, train the stage again")
    base = _base_folder(model)
    check_tokenizer(base, path)
    check_base(base, path, _settings(path).get(TRAINED_ON))
    try:
        with safe_open(path / ADAPTER_WEIGHTS, framework="pt") as file:
            saved = set(file.keys())
        if any(tensor.startswith(STOCK_PREFIX) for tensor in saved):
            raise ModelError(f'{path}: an adapter in the layout of ms-swift; run "sap2 import-adapter" on it first')
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found missing adapter keys")  # an error below
            if isinstance(model, PeftModel):
                model.load_adapter(str(path), adapter_name=name, is_trainable=trainable)
            else:
                model = PeftModel.from_pretrained(model, str(path), adapter_name=name, is_trainable=trainable)
    except KeyError as error:  # of a module that is saved whole
        raise ModelError(_misfit(path, {str(error.args[0])}, set())) from error
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ModelError(f"{path}: the adapter does not fit the base ({_first_line(error)})") from error
    wanted = set(get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False))
    if wanted != saved:
        raise ModelError(_misfit(path, wanted - saved, saved - wanted))
    allow_mixed_batches(model)
    return model


def _misfit(adapter: Path, missing: set[str], left_over: set[str]) -> str:
    """Why an adapter's file does not fit: PEFT starts what it lacks at random and drops what it does not know."""
    faults = [
        f"{verb} {', '.join(sorted(names)[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}{end}"
        for verb, names, end in (("lacks", missing, ""), ("holds", left_over, ", which the base has no place for"))
        if names
    ]
    return f"{adapter / ADAPTER_WEIGHTS}: {'; '.join(faults)}; take the whole file again, or train the stage again"


def save_adapter(model: PeftModel, processor: SapProcessor, directory: str | Path, name: str = "default") -> None:
    """Write one adapter with its pooling settings and processor; the folder appears whole or not at all."""
    with atomic_dir(directory) as partial:
        model.save_pretrained(str(partial), selected_adapters=[name], save_embedding_layers=False)
        nested = partial / name
        if nested.is_dir():  # PEFT nests every adapter not called "default"
            for file in nested.iterdir():
                file.rename(partial / file.name)
            nested.rmdir()
        (partial / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
        processor.save_pretrained(partial)
        save_sap_settings({**model.config.sap_fields(), TRAINED_ON: base_digest(_base_folder(model))}, partial)


def save_sap_settings(fields: Mapping[str, Any], directory: str | Path) -> None:
    """Write `sap_config.json` alone: beside an adapter that something else (a trainer's checkpoint) has saved, or
    where a method has no adapter.

    Args:
        fields: As `SapFields.sap_fields` gives them.
    """
    with atomic_file(Path(directory) / SAP_CONFIG) as partial:
        partial.write_text(json.dumps(dict(fields), indent=2) + "\n", encoding="utf-8")


def sap_settings(adapter_dir: str | Path) -> dict:
    """The method and pooling settings an adapter was trained with; empty when it says none (an adapter from elsewhere).

    A setting that came later than the adapter has its default.

    Raises: ModelError: `sap_config.json` is damaged.
    """
    settings = _settings(adapter_dir)
    return {name: settings.get(name, getattr(SapFields, name)) for name in SAP_FIELDS} if settings else {}


def has_own_rows(adapter_dir: str | Path) -> bool:
    """Whether an adapter was trained with the base's own rows for the context markers: see `load_model`."""
    return bool(_settings(adapter_dir).get(OWN_ROWS, False))


def _settings(adapter_dir: str | Path) -> dict:
    path = Path(adapter_dir) / SAP_CONFIG
    if not path.is_file():
        return {}
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings.keys()
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{path}: not readable as JSON settings ({error}); train the stage again") from error
    return settings


@contextmanager
def _without_bar() -> Iterator[None]:
    """Keep transformers' bar of loaded weights off the terminal."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _base_folder(model) -> str:
    """Where a model's base was loaded from: a folder, or an id of the hub."""
    return (model.get_base_model() if isinstance(model, PeftModel) else model).config.name_or_path


def base_config(base_dir, family: Family, stock, processor: SapProcessor, overrides: dict) -> SapFields:
    """The configuration of our model on a base, with the tokens that its processor knows."""
    unknown = sorted(set(overrides) - set(SAP_FIELDS))
    if unknown:
        raise ModelError(f"unknown model setting {', '.join(unknown)}; known: {', '.join(SAP_FIELDS)}")
    start, end, placeholder = processor.tokenizer.convert_tokens_to_ids(list(processor.context_tokens))
    unspoken, spoken = processor.tag_ids
    fields = {"context_start_id": start, "context_end_id": end, "context_token_id": placeholder, **overrides}
    fields |= {"unspoken_id": unspoken, "spoken_id": spoken}
    if processor.added_markers:
        fields["trained_markers"] = True
    try:
        return sap_config(family, stock, **fields)
    except ValueError as error:
        raise ModelError(f"{base_dir}: {_first_line(error)}") from error


def sap_config(family: Family, stock, **fields) -> SapFields:
    """The configuration of our model on a base.

    Args:
        stock: The base's configuration, stock or ours.
        fields: Of `SapFields`, instead of what the base's says.
    Raises: ValueError: a field is out of range.
    """
    known = stock.to_dict()
    for name in ("model_type", "architectures", "transformers_version"):
        known.pop(name, None)
    return family.config(**known | fields)


def _add_rows(model: SapForConditionalGeneration, processor: SapProcessor, own_rows: bool = False) -> None:
    """Give the context tokens embeddings when the base's tokenizer lacked them: the mean of the base's rows.

    A row beyond the base's table is added; one inside it (spare rows of a padded vocabulary) is overwritten, unless
    the base's `own_rows` are wanted.
    """
    new = processor.tokenizer.convert_tokens_to_ids(processor.added_tokens)
    if own_rows:
        new = [number for number in new if number >= model.get_input_embeddings().num_embeddings]
    if not new:
        return
    if len(processor.tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(processor.tokenizer), mean_resizing=False)
    with torch.no_grad():
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            layer.weight[new] = marker_start(layer.weight, processor).to(layer.weight.dtype)


def marker_start(table: torch.Tensor, processor: SapProcessor) -> torch.Tensor:
    """What a marker that the base lacked starts as, `(hidden,)`: the mean of the rows of the tokens that it knew."""
    return table[: len(processor.tokenizer) - len(processor.added_tokens)].float().mean(0)


def _first_line(error: Exception) -> str:
    """The message's first line that says something; strict configuration errors put it second."""
    lines = [line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
