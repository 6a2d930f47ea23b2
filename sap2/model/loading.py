"""Load bases and adapters from folders or the hub, and save adapters.

An adapter folder has PEFT's files, the processor's, and `sap_config.json` with the method and pooling of its training.
"""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from jinja2 import TemplateError
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedConfig
from transformers.utils import logging

from sap2.errors import ModelError, out_of_memory
from sap2.files import atomic_dir, atomic_file
from sap2.model.attention import avoid_planned_kernels
from sap2.model.configuration import SAP_FIELDS, SapFields
from sap2.model.families import Family, family_of, first_line
from sap2.model.modeling import SapForConditionalGeneration
from sap2.model.pairing import base_digest, check_base, check_tokenizer
from sap2.model.peft_internals import allow_mixed_batches
from sap2.model.processing import NoPlaceholderError, SapProcessor

SAP_CONFIG = "sap_config.json"
TRAINED_ON = "base_sha256"  # key in sap_config.json: digest of the adapter's base
# Key in sap_config.json of an imported adapter: it was trained with the base's own rows for the context markers.
OWN_ROWS = "base_marker_rows"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
STOCK_PREFIX = "base_model.model.language_model."  # of tensors' names before transformers 5
# Modules besides LoRA whose weights, if there are any, are trained and saved with the adapter.
POOLING, MARKERS = "context_pooling", "context_markers"
# The projector's and the text model's linear layers, but not the encoder's, which have the same names.
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
    **sap_overrides: Any,
) -> SapForConditionalGeneration | PeftModel:
    """Load a base of a known family, and optionally an adapter, in evaluation mode.

    Args:
        base_dir: Folder or hub id, stock or saved by us; its `model_type` determines the family.
        adapter_dir: PEFT folder; its pooling settings apply unless overridden.
        trainable: Whether the adapter's weights require gradients.
        own_rows: Keep the base's own embeddings of the context markers, if its table has rows for them: imported
            adapters were trained with them. The adapter in `adapter_dir` records this itself.
        quantization_config: A configuration of transformers, such as `BitsAndBytesConfig(load_in_4bit=True)`; None = as
            saved.
        sap_overrides: Fields of `SapFields`; None keeps the saved value.
    Raises: ModelError: a folder is missing, weights are missing or unknown, or a setting is out of range.
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
            loaded: Any = family.model.from_pretrained(
                base_dir,
                config=config,
                dtype=dtype,
                attn_implementation=attn_implementation,
                quantization_config=quantization_config,
                output_loading_info=True,
                use_safetensors=True,
            )
            model, info = cast(tuple[SapForConditionalGeneration, dict[str, Any]], loaded)
    except (OSError, RuntimeError, SafetensorError) as error:
        if out_of_memory(error):
            raise
        other_sizes = "ignore_mismatched_sizes" in str(error)  # transformers' advice, of no use here
        reason = "shapes differ from config.json's, as listed above" if other_sizes else first_line(error)
        raise ModelError(
            f"{base_dir}: the base's weights cannot be read ({reason}); expected complete *.safetensors files"
        ) from error
    wrong = {kind: sorted(map(str, info[kind])) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if any(wrong.values()):
        faults = "; ".join(f"{kind.replace('_', ' ')}: {', '.join(keys[:5])}" for kind, keys in wrong.items() if keys)
        raise ModelError(f"{base_dir}: its weights are not those of its config.json, {family.title} ({faults})")
    _add_rows(model, processor, own_rows or (adapter_dir is not None and has_own_rows(adapter_dir)))
    if adapter_dir is not None:
        return add_adapter(model, adapter_dir, trainable=trainable).eval()
    return model.eval()


def quantization(kind: str | None, dtype: torch.dtype) -> Any:
    """Return transformers' configuration of a quantised base, for `load_model`; None = not quantised.

    Args:
        kind: `4bit` (NF4, scales quantised as well) or `8bit`.
        dtype: Type of computations in 4-bit layers.
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
    """Check that a `Path` is a folder; only a string may be a hub id.

    Raises: ModelError: there is no such folder; the hub is not queried for its name.
    """
    if isinstance(directory, Path) and not directory.is_dir():
        raise ModelError(f'{directory}: no such folder; run "sap2 base" and the trainings, or correct the path')


def load_processor(directory: str | Path, **overrides: Any) -> SapProcessor:
    """Load the processor of a base or an adapter; `overrides` are its window, windows and separator.

    `load_processor(base, **processor_fields(model.config))` applies a model's settings.
    """
    check_folder(directory)
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        processor = family_of(directory)[0].processor.from_pretrained(directory, **given)
    except (OSError, ValueError) as error:
        raise ModelError(f"{directory}: its processor cannot be loaded ({first_line(error)})") from error
    _check_template(directory, processor)
    return processor


def _check_template(directory: str | Path, processor: SapProcessor) -> None:
    """Refuse a chat template without an audio placeholder, such as a text model's."""
    way_out = "delete chat_template.jinja from the folder to use the class's default, or copy the audio model's"
    try:
        # Two frames replace the first placeholder; every further placeholder remains as a single token.
        count = processor([""], frames=[2])["input_ids"][0].tolist().count(processor.audio_token_id) - 1
    except NoPlaceholderError:
        count = 0
    except (TypeError, ValueError, TemplateError) as error:  # content that is not text; Jinja's errors
        fault = first_line(error)
        raise ModelError(f"{directory}: its chat template cannot be applied ({fault}); {way_out}") from error
    if count != 1:
        raise ModelError(
            f"{directory}: its chat template has {count} {processor.audio_token} for a recording, expected 1; {way_out}"
        )


def processor_fields(config: SapFields) -> dict[str, Any]:
    """Return the settings that a processor shares with the model's configuration."""
    return {"window": config.window, "windows": config.windows, "separator": config.separator}


def add_adapter(
    model: SapForConditionalGeneration | PeftModel,
    adapter_dir: str | Path,
    name: str = "default",
    trainable: bool = False,
) -> PeftModel:
    """Add a named adapter to a base; the first call wraps the base, later calls extend that model.

    Raises: ModelError: the folder has no adapter, or the adapter was trained on another base or with another tokenizer,
        or its tensors do not fit.
    """
    path = Path(adapter_dir)
    if not (path / "adapter_config.json").is_file():
        raise ModelError(f"{path}: no adapter_config.json; give a folder written by a training stage")
    if not (path / ADAPTER_WEIGHTS).is_file():
        raise ModelError(f"{path}: no {ADAPTER_WEIGHTS}; other formats cannot be read, train the stage again")
    base = _base_folder(model)
    check_tokenizer(base, path)
    check_base(base, path, _settings(path).get(TRAINED_ON))
    try:
        with safe_open(path / ADAPTER_WEIGHTS, framework="pt") as file:
            saved = set(file.keys())
        if any(tensor.startswith(STOCK_PREFIX) for tensor in saved):
            raise ModelError(f'{path}: the adapter has the layout of ms-swift; run "sap2 import-adapter" on it first')
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found missing adapter keys")  # an error below
            if isinstance(model, PeftModel):
                model.load_adapter(str(path), adapter_name=name, is_trainable=trainable)
            else:
                model = PeftModel.from_pretrained(model, str(path), adapter_name=name, is_trainable=trainable)
    except KeyError as error:  # a module in `modules_to_save`
        raise ModelError(_misfit(path, {str(error.args[0])}, set())) from error
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ModelError(f"{path}: the adapter does not fit the base ({first_line(error)})") from error
    wanted = set(get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False))
    if wanted != saved:
        raise ModelError(_misfit(path, wanted - saved, saved - wanted))
    allow_mixed_batches(model)
    return model


def _misfit(adapter: Path, missing: set[str], unknown: set[str]) -> str:
    """Describe why an adapter's file does not fit: PEFT would initialise missing tensors and drop unknown ones."""
    faults = [
        f"{verb} {', '.join(sorted(names)[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}{end}"
        for verb, names, end in (("lacks", missing, ""), ("has", unknown, ", which the base does not have"))
        if names
    ]
    return f"{adapter / ADAPTER_WEIGHTS}: {'; '.join(faults)}; copy the file again, or train the stage again"


def save_adapter(model: PeftModel, processor: SapProcessor, directory: str | Path, name: str = "default") -> None:
    """Save an adapter with its pooling settings and processor; the folder is written atomically."""
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
    """Write only `sap_config.json`: for an adapter saved by other code, or a method without this adapter.

    Args:
        fields: A result of `SapFields.sap_fields`.
    """
    with atomic_file(Path(directory) / SAP_CONFIG) as partial:
        partial.write_text(json.dumps(dict(fields), indent=2) + "\n", encoding="utf-8")


def sap_settings(adapter_dir: str | Path) -> dict[str, Any]:
    """Return the method and pooling settings of an adapter's training; empty if they are unknown (a foreign adapter).

    Settings added after the adapter was trained have their defaults.

    Raises: ModelError: `sap_config.json` is damaged.
    """
    settings = _settings(adapter_dir)
    return {name: settings.get(name, getattr(SapFields, name)) for name in SAP_FIELDS} if settings else {}


def has_own_rows(adapter_dir: str | Path) -> bool:
    """Return whether an adapter was trained with the base's own rows for the context markers: see `load_model`."""
    return bool(_settings(adapter_dir).get(OWN_ROWS, False))


def _settings(adapter_dir: str | Path) -> dict[str, Any]:
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
    """Hide transformers' progress bar of loaded weights."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _base_folder(model: SapForConditionalGeneration | PeftModel) -> str:
    """Return the folder or hub id that a model's base was loaded from."""
    base = cast(SapForConditionalGeneration, model.get_base_model()) if isinstance(model, PeftModel) else model
    return str(base.config.name_or_path)


def base_config(
    base_dir: str | Path, family: Family, stock: PreTrainedConfig, processor: SapProcessor, overrides: dict[str, Any]
) -> SapFields:
    """Return the configuration of our model on a base, with its processor's token ids."""
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
        raise ModelError(f"{base_dir}: {first_line(error)}") from error


def sap_config(family: Family, stock: PreTrainedConfig, **fields: Any) -> SapFields:
    """Return the configuration of our model on a base.

    Args:
        stock: The base's configuration, stock or ours.
        fields: Fields of `SapFields` that replace the base's.
    Raises: ValueError: a field is out of range.
    """
    known = stock.to_dict()
    for name in ("model_type", "architectures", "transformers_version"):
        known.pop(name, None)
    return family.config(**known | fields)


def _add_rows(model: SapForConditionalGeneration, processor: SapProcessor, own_rows: bool = False) -> None:
    """Add embeddings of the context tokens that the base's tokenizer lacked: the mean of the base's rows.

    Rows past the end of the base's table are added; rows inside it (spare rows of a padded vocabulary) are overwritten
    unless `own_rows`.
    """
    new = processor.tokenizer.convert_tokens_to_ids(processor.added_tokens)
    table = cast(nn.Embedding, model.get_input_embeddings())
    if own_rows:
        new = [token for token in new if token >= table.num_embeddings]
    if not new:
        return
    if len(processor.tokenizer) > table.num_embeddings:
        model.resize_token_embeddings(len(processor.tokenizer), mean_resizing=False)
    with torch.no_grad():
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            weight = cast(nn.Embedding | nn.Linear, layer).weight
            weight[new] = marker_start(weight, processor).to(weight.dtype)


def marker_start(table: torch.Tensor, processor: SapProcessor) -> torch.Tensor:
    """Return the initial embedding of a new marker, `(hidden,)`: the mean of the base tokenizer's rows."""
    return table[: len(processor.tokenizer) - len(processor.added_tokens)].float().mean(0)
