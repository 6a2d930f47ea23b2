"""Qwen2-Audio that hears at the speech's own length and reads a pooled keyword list.

States only what differs from `transformers`' Qwen2-Audio: the encoder slices its positions instead of demanding 30 s,
and the prompt's `<|context|>` placeholders take pooled vectors as its `<|AUDIO|>` placeholders take speech.
"""

from dataclasses import fields
from functools import wraps

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMultimodalLM,
    Cache,
    GenerationMixin,
    Qwen2AudioEncoder,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioPreTrainedModel,
)
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.qwen2_audio.modeling_qwen2_audio import (
    Qwen2AudioCausalLMOutputWithPast,
    Qwen2AudioModel,
    Qwen2AudioModelOutputWithPast,
    Qwen2AudioMultiModalProjector,
)
from transformers.utils import can_return_tuple

from sap2.model.configuration import SapQwen2AudioConfig
from sap2.model.markers import MarkerOffsets
from sap2.model.pooling import ContextPooling, LowRankProjection

# Everything the prompt's placeholders are filled from; read once, at prefill.
PREFILL_INPUTS = (
    "input_features", "feature_attention_mask", "speech_states", "speech_mask", "context_ids", "context_windows",
)  # fmt: skip
# Name of the keys and values of earlier tokens in the inputs and outputs of transformers' models: `cache` since 5.24,
# `past_key_values` before. 5.24 to 5.39 still accept the old name as an input.
CACHE = next(
    field.name for field in fields(Qwen2AudioModelOutputWithPast) if field.name in ("cache", "past_key_values")
)
SPOKEN_WEIGHT = 4.0  # of a spoken keyword in the tags' loss: few of a list are


class SapAudioEncoder(Qwen2AudioEncoder):
    """Whisper-type encoder at the batch's own length: same weights, same valid outputs, no 30 s of padding."""

    def forward(self, input_features: Tensor, attention_mask: Tensor | None = None, **kwargs) -> BaseModelOutput:
        """Encode mel features.

        Args:
            input_features: Log-mel, `(batch, mels, mel_frames)`; beyond a row's end it must hold the mel of silence.
            attention_mask: True = a mel frame of speech, `(batch, mel_frames)`; None = all.
        Returns: `last_hidden_state`, `(batch, frames, encoder_hidden)`; `frame_count` says how many are valid.
        Raises: ValueError: more mel frames than the encoder has positions.
        """
        limit = self.max_source_positions * self.conv1.stride[0] * self.conv2.stride[0]
        if input_features.shape[-1] > limit:
            raise ValueError(f"{input_features.shape[-1]} mel frames, the encoder takes {limit}; split the audio")
        input_features = input_features.to(self.conv1.weight)
        hidden = nn.functional.gelu(self.conv1(input_features))
        hidden = nn.functional.gelu(self.conv2(hidden)).transpose(1, 2)  # (batch, conv_frames, encoder_hidden)
        hidden = hidden + self.embed_positions.weight[: hidden.shape[1]]
        hidden = nn.functional.dropout(hidden, p=self.dropout, training=self.training)

        if attention_mask is not None:
            conv_frames = (attention_mask.sum(-1) - 1) // 2 + 1
            # A row without speech attends to its first frame: a fully masked row would give NaN.
            valid = torch.arange(hidden.shape[1], device=hidden.device) < conv_frames.clamp(min=1)[:, None]
            attention_mask = create_bidirectional_mask(self.config, inputs_embeds=hidden, attention_mask=valid)
        for layer in self.layers:
            if self.training and self.layerdrop and torch.rand(()) < self.layerdrop:
                continue
            hidden = layer(hidden, attention_mask)
        hidden = self.avg_pooler(hidden.transpose(1, 2)).transpose(1, 2)  # (batch, frames, encoder_hidden)
        return BaseModelOutput(last_hidden_state=self.layer_norm(hidden))


def frame_count(mel_frames):
    """Valid frames after convolutions and pooling, for a number or a tensor of mel frames; 0 for 2 or fewer."""
    return ((mel_frames - 1) // 2 + 1) // 2


class PoolingWeights:
    """Handling of the weights that no base has: float32, and without effect until they are trained."""

    _keep_in_fp32_modules_strict = ["context_pooling", "context_markers"]
    _keys_to_ignore_on_load_missing = [r"context_pooling\.", r"context_markers\."]

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether activations are computed again in the backward pass: PEFT reads it by this name, of which
        transformers 5.24 warns."""
        return any(getattr(module, "gradient_checkpointing", False) for module in self.modules())

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, LowRankProjection | MarkerOffsets):
            module.reset_parameters()


class SapQwen2AudioModel(PoolingWeights, Qwen2AudioModel):
    """The model without its head: embeds, scatters speech and pooled context into the placeholders, runs the text
    model."""

    config: SapQwen2AudioConfig

    def __init__(self, config: SapQwen2AudioConfig):
        # Not Qwen2AudioModel's own: it would build a second encoder only to throw it away.
        Qwen2AudioPreTrainedModel.__init__(self, config)
        self.audio_tower = SapAudioEncoder._from_config(config.audio_config)
        self.multi_modal_projector = Qwen2AudioMultiModalProjector(config)
        self.context_pooling = ContextPooling(config)
        self.context_markers = MarkerOffsets(config)
        self.vocab_size = config.text_config.vocab_size
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def encode_speech(self, input_features: Tensor, feature_attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Run the audio encoder: states before the projector, `(batch, frames, encoder_hidden)`, and a mask."""
        device = self.audio_tower.conv1.weight.device
        mask = feature_attention_mask.to(device)
        states = self.audio_tower(input_features.to(device), attention_mask=mask).last_hidden_state
        frames = frame_count(mask.sum(-1))
        return states, torch.arange(states.shape[1], device=device) < frames[:, None]

    def pool(self, context_ids: Tensor, context_windows: Tensor, speech: Tensor | None, speech_mask: Tensor | None):
        """Pooled keyword list, `(batch, windows, hidden)`, and its mask; speech is `(batch, frames, hidden)`."""
        context = self.get_input_embeddings()(context_ids)
        return self.context_pooling(context, context_windows, speech, speech_mask)

    def merge(
        self,
        input_ids: Tensor,
        context_ids: Tensor | None = None,
        context_windows: Tensor | None = None,
        speech_states: Tensor | None = None,
        speech_mask: Tensor | None = None,
    ) -> Tensor:
        """Token embeddings with speech and pooled context in their placeholders, `(batch, sequence, hidden)`.

        Raises: ValueError: placeholders and vectors differ in number, or a row holds more than one context span.
        """
        embeddings = self.context_markers(self.get_input_embeddings()(input_ids), input_ids)
        speech = None
        if speech_states is not None:
            # The embeddings' dtype, not the projector's: a quantised projector's weights are integers.
            speech_states = speech_states.to(embeddings.device, embeddings.dtype)
            speech_mask = speech_mask.to(embeddings.device).bool()
            speech = self.multi_modal_projector(speech_states)
            embeddings = _fill(embeddings, input_ids == self.config.audio_token_index, speech, speech_mask, "audio")
        if context_ids is not None and context_ids.shape[1] > 0:
            if self.config.context_token_id is None:
                raise ValueError("the configuration lacks context_token_id; load the base with sap2.model.load_model")
            spans = (input_ids == self.config.context_start_id).sum(-1)
            if (spans > 1).any():
                row = int(spans.argmax())
                raise ValueError(f"row {row} holds {int(spans[row])} context spans, at most one can be pooled")
            pooled, mask = self.pool(context_ids, context_windows, speech, speech_mask)
            embeddings = _fill(embeddings, input_ids == self.config.context_token_id, pooled, mask, "context")
        return embeddings

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        input_features: Tensor | None = None,
        attention_mask: Tensor | None = None,
        feature_attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        context_ids: Tensor | None = None,
        context_windows: Tensor | None = None,
        speech_states: Tensor | None = None,
        speech_mask: Tensor | None = None,
        **kwargs,
    ) -> Qwen2AudioModelOutputWithPast:
        """Stock inputs, plus the keyword list and, instead of `input_features`, states encoded before.

        Args:
            context_ids: The list's tokens, `(batch, context_tokens)`.
            context_windows: Window of each token inside its row, `(batch, context_tokens)`; -1 = padding.
            speech_states: `encode_speech`'s states, `(batch, frames, encoder_hidden)`.
            speech_mask: True = valid, `(batch, frames)`; a row without speech has none.
        """
        if inputs_embeds is None:
            if speech_states is None and input_features is not None:
                speech_states, speech_mask = self.encode_speech(input_features, feature_attention_mask)
            inputs_embeds = self.merge(input_ids, context_ids, context_windows, speech_states, speech_mask)
        if cache is not None:
            kwargs[CACHE] = cache
        outputs = self.language_model(
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        return Qwen2AudioModelOutputWithPast(
            last_hidden_state=outputs.last_hidden_state,
            **{CACHE: getattr(outputs, CACHE)},
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            attention_mask=attention_mask,
        )


class SapQwen2AudioForConditionalGeneration(PoolingWeights, Qwen2AudioForConditionalGeneration):
    """Contextual speech recogniser: Qwen2-Audio with speech-driven pooling of the keyword list."""

    config: SapQwen2AudioConfig
    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}

    def __init__(self, config: SapQwen2AudioConfig):
        Qwen2AudioPreTrainedModel.__init__(self, config)
        self.model = SapQwen2AudioModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    def encode_speech(self, input_features: Tensor, feature_attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """See `SapQwen2AudioModel.encode_speech`."""
        return self.model.encode_speech(input_features, feature_attention_mask)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        input_features: Tensor | None = None,
        attention_mask: Tensor | None = None,
        feature_attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        context_ids: Tensor | None = None,
        context_windows: Tensor | None = None,
        speech_states: Tensor | None = None,
        speech_mask: Tensor | None = None,
        keyword_places: Tensor | None = None,
        keyword_labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs,
    ) -> Qwen2AudioCausalLMOutputWithPast:
        """See `SapQwen2AudioModel.forward`; with `labels` (-100 = not scored) the loss too, with `keyword_labels` that
        of the tags besides, `config.tagging` times.

        While training with labels only the scored positions pass the head, and `logits` is None: with a vocabulary of
        150,000 and a list of hundreds of tokens the full table would not fit. In evaluation mode the logits are whole.

        Args:
            keyword_places: Where each listed keyword has been read, `(batch, keywords)`; -1 = padding.
            keyword_labels: Whether it is spoken, 1 or 0; -100 = padding.
        """
        outputs = self.model(
            input_ids=input_ids,
            input_features=input_features,
            attention_mask=attention_mask,
            feature_attention_mask=feature_attention_mask,
            position_ids=position_ids,
            cache=cache,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            context_ids=context_ids,
            context_windows=context_windows,
            speech_states=speech_states,
            speech_mask=speech_mask,
            **kwargs,
        )
        hidden, loss, logits = outputs.last_hidden_state, None, None
        if labels is not None:
            targets = nn.functional.pad(labels[:, 1:], (0, 1), value=-100).to(hidden.device)
            scored = targets != -100
            # Summed and divided, not averaged: a batch without any target has loss 0, not NaN, and still a graph.
            loss = nn.functional.cross_entropy(self.lm_head(hidden[scored]).float(), targets[scored], reduction="sum")
            share = 1 / (scored.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch)
            loss = loss * share
            if keyword_labels is not None:
                # A mean over the keywords; scaled as the answer's where gradients are accumulated.
                tagging = self._tagging_loss(hidden, keyword_places, keyword_labels) * scored.sum() * share
                loss = loss + self.config.tagging * tagging
        if labels is None or not self.training:
            keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
            logits = self.lm_head(hidden[:, keep])
        return Qwen2AudioCausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            **{CACHE: getattr(outputs, CACHE)},
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            attention_mask=attention_mask,
        )

    def tag_keywords(self, keyword_places: Tensor, **inputs) -> Tensor:
        """Whether each listed keyword is spoken, in one pass and without an answer: log-odds, `(batch, keywords)`.

        Args:
            keyword_places: As of `forward`, whose inputs the others are; results in places of padding mean nothing.
        """
        return self.tag_logits(_at(self.model(**inputs).last_hidden_state, keyword_places))

    def tag_logits(self, hidden: Tensor) -> Tensor:
        """The log-odds that a last hidden state `(…, hidden)`, read at a keyword's last window, gives to its being
        spoken."""
        logits = self.lm_head(hidden).float()
        return logits[..., self.config.spoken_id] - logits[..., self.config.unspoken_id]

    def _tagging_loss(self, hidden: Tensor, places: Tensor, labels: Tensor) -> Tensor:
        """Binary cross-entropy a keyword, in the mean over the batch; 0 for a batch without lists."""
        if places.shape[1] == 0:
            return hidden.sum() * 0
        labels = labels.to(hidden.device)
        logits, known = self.tag_logits(_at(hidden, places)), labels >= 0
        weights = known * torch.where(labels > 0, SPOKEN_WEIGHT, 1.0)
        losses = nn.functional.binary_cross_entropy_with_logits(logits, labels.clamp(min=0).float(), reduction="none")
        return (weights * losses).sum() / known.sum().clamp(min=1)

    @wraps(GenerationMixin.prepare_inputs_for_generation)  # `generate` reads from the signature what it may pass on
    def prepare_inputs_for_generation(self, *args, is_first_iteration: bool = False, **kwargs):
        """Prepare a step's inputs as stock; without the placeholders' fillings once those are in the cache."""
        inputs = super().prepare_inputs_for_generation(*args, is_first_iteration=is_first_iteration, **kwargs)
        if not is_first_iteration and kwargs.get("use_cache", True):
            for name in PREFILL_INPUTS:
                inputs.pop(name, None)
        return inputs


def _at(hidden: Tensor, places: Tensor) -> Tensor:
    """Each row's states at its places, `(batch, places, hidden)`; of padding, -1, the first."""
    return hidden[torch.arange(len(places), device=hidden.device)[:, None], places.to(hidden.device).clamp(min=0)]


def _fill(embeddings: Tensor, places: Tensor, vectors: Tensor, mask: Tensor, what: str) -> Tensor:
    """Write the valid vectors, row by row, into the marked places of the embeddings."""
    wanted, got = places.sum(-1), mask.sum(-1)
    if not torch.equal(wanted, got):
        row = int((wanted != got).nonzero()[0])
        raise ValueError(
            f"row {row} has {int(wanted[row])} {what} placeholders for {int(got[row])} {what} vectors; "
            "build the inputs with SapQwen2AudioProcessor, set up for the same window"
        )
    return embeddings.masked_scatter(places[..., None], vectors[mask].to(embeddings.dtype))


# Checkpoints keep Qwen2-Audio's own key names, on the hub and as saved by us: either class reads the other's.
for _ours, _stock in (
    (SapQwen2AudioConfig.model_type, "qwen2_audio"),
    ("SapQwen2AudioModel", "Qwen2AudioModel"),
):
    register_checkpoint_conversion_mapping(_ours, get_checkpoint_conversion_mapping(_stock) or [], overwrite=True)

AutoConfig.register(SapQwen2AudioConfig.model_type, SapQwen2AudioConfig, exist_ok=True)
AutoModel.register(SapQwen2AudioConfig, SapQwen2AudioModel, exist_ok=True)
AutoModelForMultimodalLM.register(SapQwen2AudioConfig, SapQwen2AudioForConditionalGeneration, exist_ok=True)
