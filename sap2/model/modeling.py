"""The method on any speech language model of transformers: mixins that precede a family's stock classes.

A model is an encoder (`audio_tower`), a projector (`multi_modal_projector`) and a text model (`language_model`). The
mixins fill the prompt's `<|context|>` placeholders with pooled vectors, just as its audio placeholders are filled with
speech, and pass only scored positions through the head for the loss. What differs between families is defined in
`sap2.model.families`.
"""

from dataclasses import fields
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import Cache, GenerationMixin, PreTrainedModel
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils import can_return_tuple

from sap2.model.markers import MarkerOffsets
from sap2.model.pooling import ContextPooling, LowRankProjection

# The mixins' base classes: a family's stock class follows them, and brings what transformers' classes have.
if TYPE_CHECKING:
    StockModel = PreTrainedModel
    StockGenerator = GenerationMixin
else:
    StockModel = StockGenerator = object

# Inputs that the prompt's placeholders are filled from; read only at prefill.
PREFILL_INPUTS = (
    "input_features", "feature_attention_mask", "input_features_mask", "speech_states", "speech_mask", "context_ids",
    "context_windows",
)  # fmt: skip
# Name of the keys and values of earlier tokens in the inputs and outputs of transformers' models: `cache` since 5.24,
# `past_key_values` before. 5.24 to 5.39 still accept the old name as an input.
CACHE = next(field.name for field in fields(BaseModelOutputWithPast) if field.name in ("cache", "past_key_values"))
SPOKEN_WEIGHT = 4.0  # weight of a spoken keyword in the tags' loss: most of a list is not spoken

Count = TypeVar("Count", int, Tensor)


class OwnLengthEncoder(StockModel):
    """Whisper-type encoder at the batch's own length: same weights, same valid outputs, no padding to 30 s.

    Precedes a family's stock encoder with Whisper's layers, an average pool of 2 and a mask.
    """

    conv1: nn.Conv1d
    conv2: nn.Conv1d
    embed_positions: nn.Embedding
    layers: nn.ModuleList
    avg_pooler: nn.AvgPool1d
    layer_norm: nn.LayerNorm
    dropout: float
    layerdrop: float
    max_source_positions: int

    def forward(self, input_features: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> BaseModelOutput:
        """Encode mel features.

        Args:
            input_features: Log-mel, `(batch, mels, mel_frames)`; after a row's end it must hold the mel of silence.
            attention_mask: True = a mel frame of speech, `(batch, mel_frames)`; None = all.
        Returns: `last_hidden_state`, `(batch, frames, encoder_hidden)`; `frame_count` gives the number of valid frames.
        Raises: ValueError: more mel frames than the encoder has positions.
        """
        limit = self.max_source_positions * self.conv1.stride[0] * self.conv2.stride[0]
        if input_features.shape[-1] > limit:
            raise ValueError(f"got {input_features.shape[-1]} mel frames, expected at most {limit}; split the audio")
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


def frame_count(mel_frames: Count) -> Count:
    """Return the valid frames after convolutions and pooling, from a number or tensor of mel frames; 0 up to 2."""
    return ((mel_frames - 1) // 2 + 1) // 2


class AddedWeights(StockModel):
    """Mixin for the weights that no base has: they are float32 and have no effect until they are trained."""

    _keys_to_ignore_on_load_missing: set[str] | list[str] | None = [r"context_pooling\.", r"context_markers\."]

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether activations are recomputed in the backward pass.

        PEFT reads this name; transformers 5.24 deprecates it.
        """
        return any(getattr(module, "gradient_checkpointing", False) for module in self.modules())

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, LowRankProjection | MarkerOffsets):
            module.reset_parameters()


class SapModel(AddedWeights):
    """Model without a head: fills the placeholders with speech and pooled context, then runs the text model.

    A family sets `encoder` to replace the stock encoder, `frame_count` if it is not Whisper's, and overrides
    `encoder_states` if its encoder has another interface.
    """

    audio_tower: PreTrainedModel
    multi_modal_projector: Any  # of a class that differs by family
    language_model: PreTrainedModel
    encoder: type[PreTrainedModel] | None = None
    frame_count = staticmethod(frame_count)

    def __init__(self, config):
        super().__init__(config)
        if self.encoder is not None:  # same weights, another forward: building a second encoder would cost time
            self.audio_tower.__class__ = self.encoder
        self.context_pooling = ContextPooling(config)
        self.context_markers = MarkerOffsets(config)
        added = {"context_pooling": self.context_pooling, "context_markers": self.context_markers}
        trained = [name for name, module in added.items() if any(True for _ in module.parameters())]
        self._keep_in_fp32_modules_strict = {*(self._keep_in_fp32_modules_strict or ()), *trained}
        self.post_init()

    @property
    def mel_limit(self) -> int | None:
        """Largest number of mel frames the encoder takes at once; None = no limit."""
        positions = getattr(self.config.audio_config, "max_source_positions", None)
        return None if positions is None else 2 * positions

    def encode_speech(self, input_features: Tensor, feature_attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the encoder states before the projector, `(batch, frames, encoder_hidden)`, and their mask."""
        device = self.audio_tower.device
        mask = feature_attention_mask.to(device)
        states = self.encoder_states(input_features.to(device), mask)
        frames = self.frame_count(mask.sum(-1))
        return states, torch.arange(states.shape[1], device=device) < frames[:, None]

    def encoder_states(self, features: Tensor, mask: Tensor) -> Tensor:
        """Return encoder states with padding, `(batch, frames, encoder_hidden)`.

        Args:
            features: Log-mel, `(batch, mels, mel_frames)`.
            mask: True = a mel frame of speech, `(batch, mel_frames)`.
        """
        return self.audio_tower(features, attention_mask=mask).last_hidden_state

    def pool(
        self, context_ids: Tensor, context_windows: Tensor, speech: Tensor | None, speech_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the pooled keyword list, `(batch, windows, hidden)`, and its mask.

        Args:
            context_ids, context_windows: As of `forward`.
            speech: Projected speech, `(batch, frames, hidden)`.
            speech_mask: True = valid, `(batch, frames)`.
        """
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
        """Return token embeddings with speech and pooled context in their placeholders, `(batch, sequence, hidden)`.

        Raises: ValueError: placeholders and vectors differ in number, a row has several context spans, or a mask or
            windows are missing.
        """
        embeddings = self.context_markers(self.get_input_embeddings()(input_ids), input_ids)
        speech = None
        if speech_states is not None:
            if speech_mask is None:
                raise ValueError("got speech_states without speech_mask; give both")
            # The embeddings' dtype, not the projector's: a quantised projector's weights are integers.
            speech_states = speech_states.to(embeddings.device, embeddings.dtype)
            speech_mask = speech_mask.to(embeddings.device).bool()
            speech = self.multi_modal_projector(speech_states)
            embeddings = _fill(embeddings, input_ids == self.config.audio_token_id, speech, speech_mask, "audio")
        if context_ids is not None and context_ids.shape[1] > 0:
            if context_windows is None:
                raise ValueError("got context_ids without context_windows; give both")
            if self.config.context_token_id is None:
                raise ValueError("the configuration lacks context_token_id; load the base with sap2.model.load_model")
            spans = (input_ids == self.config.context_start_id).sum(-1)
            if (spans > 1).any():
                row = int(spans.argmax())
                raise ValueError(f"row {row} has {int(spans[row])} context spans, expected at most 1")
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
        input_features_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        context_ids: Tensor | None = None,
        context_windows: Tensor | None = None,
        speech_states: Tensor | None = None,
        speech_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Run the model on stock's inputs, the keyword list and, instead of `input_features`, encoder states.

        Args:
            feature_attention_mask: Which mel frames are speech; some families call it `input_features_mask`.
            context_ids: The list's tokens, `(batch, context_tokens)`.
            context_windows: Window of each token inside its row, `(batch, context_tokens)`; -1 = padding.
            speech_states: `encode_speech`'s states, `(batch, frames, encoder_hidden)`.
            speech_mask: True = valid, `(batch, frames)`; all False in a row without speech.
        Raises: ValueError: speech or a list is given with `inputs_embeds`, whose placeholders are not known.
        """
        if inputs_embeds is not None and any(
            given is not None for given in (input_features, speech_states, context_ids)
        ):
            raise ValueError(
                "inputs_embeds are given with speech or a keyword list, whose placeholders are tokens; give input_ids, "
                "or only inputs_embeds that `merge` has filled"
            )
        if inputs_embeds is None:
            if speech_states is None and input_features is not None:
                mask = input_features_mask if feature_attention_mask is None else feature_attention_mask
                if mask is None:
                    raise ValueError("got input_features without feature_attention_mask; give both")
                speech_states, speech_mask = self.encode_speech(input_features, mask)
            if input_ids is None:
                raise ValueError("got neither input_ids nor inputs_embeds; give one of them")
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
        return BaseModelOutputWithPast(
            last_hidden_state=outputs.last_hidden_state,
            **{CACHE: getattr(outputs, CACHE)},
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


class SapForConditionalGeneration(AddedWeights, StockGenerator):
    """Contextual speech recogniser: a family's model with speech-driven pooling of the keyword list.

    A family sets `headless`, its model without a head.
    """

    headless: type[SapModel]
    model: SapModel
    lm_head: nn.Linear
    _tied_weights_keys: Any = {  # Any: stock's is None in some families
        "lm_head.weight": "model.language_model.embed_tokens.weight"
    }
    # As the embedding table, to which the head may be tied.
    _tp_plan: dict[str, str] = {"lm_head": "colwise_gather_output"}

    def __init__(self, config):
        PreTrainedModel.__init__(self, config)  # not the stock class's: it would build a model that is not used
        self.model = self.headless(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    @property
    def mel_limit(self) -> int | None:
        """See `SapModel.mel_limit`."""
        return self.model.mel_limit

    def encode_speech(self, input_features: Tensor, feature_attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """See `SapModel.encode_speech`."""
        return self.model.encode_speech(input_features, feature_attention_mask)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        input_features: Tensor | None = None,
        attention_mask: Tensor | None = None,
        feature_attention_mask: Tensor | None = None,
        input_features_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        context_ids: Tensor | None = None,
        context_windows: Tensor | None = None,
        speech_states: Tensor | None = None,
        speech_mask: Tensor | None = None,
        keyword_positions: Tensor | None = None,
        keyword_labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Run the model; compute the loss if there are `labels`.

        In training mode only the scored positions pass the head, and `logits` is None: with a vocabulary of 150,000 and
        a list of hundreds of tokens the full table would not fit. In evaluation mode all logits are returned.

        Args: As `SapModel.forward`, and:
            labels: Target tokens, `(batch, sequence)`; -100 = not scored.
            keyword_positions: Position of each listed keyword's last window, `(batch, keywords)`; -1 = padding.
            keyword_labels: 1 = spoken, 0 = not spoken, -100 = padding; adds the tags' loss, weighted by
                `config.tagging`.
        """
        outputs = self.model(
            input_ids=input_ids,
            input_features=input_features,
            attention_mask=attention_mask,
            feature_attention_mask=feature_attention_mask,
            input_features_mask=input_features_mask,
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
            # Summed and divided, not averaged: a batch without targets has loss 0, not NaN, and still a graph.
            loss = nn.functional.cross_entropy(self.lm_head(hidden[scored]).float(), targets[scored], reduction="sum")
            share = 1 / (scored.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch)
            loss = loss * share
            if keyword_labels is not None:
                if keyword_positions is None:
                    raise ValueError("got keyword_labels without keyword_positions; give both")
                # The mean over the keywords, scaled like the answer's loss when gradients are accumulated.
                tagging = self._tagging_loss(hidden, keyword_positions, keyword_labels) * scored.sum() * share
                loss = loss + self.config.tagging * tagging
        if labels is None or not self.training:
            keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
            logits = self.lm_head(hidden[:, keep])
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            **{CACHE: getattr(outputs, CACHE)},
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def tag_keywords(self, keyword_positions: Tensor, **inputs: Any) -> Tensor:
        """Return the log-odds that each listed keyword is spoken, `(batch, keywords)`, from a single pass.

        Args:
            keyword_positions: As of `forward`; results at padding are undefined.
            inputs: The other inputs of `forward`.
        """
        return self.tag_logits(_at(self.model(**inputs).last_hidden_state, keyword_positions))

    def tag_logits(self, hidden: Tensor) -> Tensor:
        """Return the log-odds that keywords are spoken, from the hidden states at their last windows, `(…, hidden)`."""
        logits = self.lm_head(hidden).float()
        return logits[..., self.config.spoken_id] - logits[..., self.config.unspoken_id]

    def _tagging_loss(self, hidden: Tensor, positions: Tensor, labels: Tensor) -> Tensor:
        """Return the binary cross-entropy per keyword, averaged over the batch; 0 for a batch without lists."""
        if positions.shape[1] == 0:
            return hidden.sum() * 0
        labels = labels.to(hidden.device)
        logits, known = self.tag_logits(_at(hidden, positions)), labels >= 0
        weights = known * torch.where(labels > 0, SPOKEN_WEIGHT, 1.0)
        losses = nn.functional.binary_cross_entropy_with_logits(logits, labels.clamp(min=0).float(), reduction="none")
        return (weights * losses).sum() / known.sum().clamp(min=1)

    @wraps(GenerationMixin.prepare_inputs_for_generation)  # `generate` reads the accepted inputs from the signature
    def prepare_inputs_for_generation(self, *args, is_first_iteration: bool = False, **kwargs):
        """Prepare a step's inputs as stock does; after prefill, without the inputs that fill the placeholders."""
        inputs = super().prepare_inputs_for_generation(*args, is_first_iteration=is_first_iteration, **kwargs)
        filled = self._continues(inputs) if is_first_iteration else kwargs.get("use_cache", True)
        if filled:
            for name in PREFILL_INPUTS:
                inputs.pop(name, None)
        return inputs

    def _continues(self, inputs: dict) -> bool:
        """Whether an answer continues from the caller's cache, with no placeholder among the tokens that are left."""
        cache, ids = inputs.get(CACHE), inputs.get("input_ids")
        if cache is None or ids is None or not cache.get_seq_length():
            return False
        placeholders = (self.config.audio_token_id, self.config.context_token_id)
        return not any((ids == token).any() for token in placeholders if token is not None)


def _at(hidden: Tensor, positions: Tensor) -> Tensor:
    """Return each row's states at its positions, `(batch, positions, hidden)`; for padding, -1, the first state."""
    rows = torch.arange(len(positions), device=hidden.device)[:, None]
    return hidden[rows, positions.to(hidden.device).clamp(min=0)]


def _fill(embeddings: Tensor, placeholders: Tensor, vectors: Tensor, mask: Tensor, what: str) -> Tensor:
    """Replace the placeholders' embeddings by the valid vectors, row by row."""
    wanted, got = placeholders.sum(-1), mask.sum(-1)
    if not torch.equal(wanted, got):
        row = int((wanted != got).nonzero()[0])
        raise ValueError(
            f"row {row} has {int(wanted[row])} {what} placeholders for {int(got[row])} {what} vectors; "
            "build the inputs with sap2.model.load_processor, for the model's window"
        )
    return embeddings.masked_scatter(placeholders[..., None], vectors[mask].to(embeddings.dtype))
