"""Configuration fields of the method: how the keyword list between the context markers is pooled."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from transformers import PreTrainedConfig as StockConfig
else:
    StockConfig = object  # a mixin: the family's own configuration class follows it

AGGREGATES = ("mean", "logsumexp", "max")
WEIGHTINGS = ("speech", "mean")
WINDOWS = ("keyword", "fixed")
METHODS = ("tpi", "pc", "jpi")
SIMILARITIES = ("dot", "cosine")
# Settings an adapter was trained with: saved beside the adapter (sap_config.json), never with the base.
SAP_FIELDS = (
    "method", "window", "pooling_heads", "aggregate", "weighting", "similarity", "windows", "projection_rank",
    "separator", "tagging",
)  # fmt: skip


@dataclass
class SapFields(StockConfig):
    """Settings of the speech-driven attention-based pooling: a mixin before a family's stock configuration class.

    Args:
        method: What the weights were trained to do with a list: `tpi`, either of two stages, pruning the list or
            transcribing with the selected keywords; `pc`, transcribing with the full list; `jpi`, both in a single
            answer.
        window: Context tokens pooled into a vector, at least 1 (1 keeps every token unchanged).
        pooling_heads: Heads of the relevance; must divide the text model's hidden size.
        aggregate: How a token's scores over the speech frames are reduced to its relevance: `mean`, `logsumexp` (soft
            maximum), `max`.
        weighting: `speech` weighs a window's tokens by relevance, `mean` gives them equal weights (ablation).
        similarity: `dot` is the paper's scaled dot product; `cosine` first scales both sides to unit mean square per
            head, so that the weights don't depend on the scale of the embeddings.
        projection_rank: Rank of the learned update to the identity in the pooling's query and key projections; 0 = no
            projections.
        windows: `keyword` ends windows at keyword borders, `fixed` cuts the list every `window` tokens.
        separator: Text between two keywords of the list.
        tagging: Weight, relative to the answer's, of the loss that trains stage 1 to tag every listed keyword as
            spoken or not; 0 = no tags, spoken keywords are read from the answer only.
        spoken_id, unspoken_id: The tags: tokens whose logits are compared; set from the tokenizer, as the markers' ids.
        context_start_id, context_end_id, context_token_id: The markers, and the placeholder of a window; set from the
            tokenizer when a base is loaded.
        trained_markers: Whether the markers' embeddings are trained, because the base's tokenizer lacked them.
    """

    list_first: ClassVar[bool] = False  # whether the list precedes the speech in the family's prompt

    method: str = "tpi"
    window: int = 2
    pooling_heads: int = 4
    aggregate: str = "mean"
    weighting: str = "speech"
    similarity: str = "dot"
    projection_rank: int = 0
    windows: str = "keyword"
    separator: str = ", "
    tagging: float = 0.0
    spoken_id: int | None = None
    unspoken_id: int | None = None
    context_start_id: int | None = None
    context_end_id: int | None = None
    context_token_id: int | None = None
    trained_markers: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        hidden = self.text_config.hidden_size
        if self.tagging < 0:
            raise ValueError(f"tagging is {self.tagging}, must be at least 0")
        if self.tagging and self.list_first:
            raise ValueError(
                f"tagging is {self.tagging}, must be 0 for {self.model_type.removeprefix('sap_')}: its prompt has the "
                "list before the speech, so keywords would be tagged before the speech is read; set model.tagging to 0"
            )
        if self.window < 1:
            raise ValueError(f"window is {self.window}, must be at least 1")
        if self.pooling_heads < 1 or hidden % self.pooling_heads:
            raise ValueError(f"pooling_heads is {self.pooling_heads}, must divide the hidden size {hidden}")
        if not 0 <= self.projection_rank <= hidden:
            raise ValueError(f"projection_rank is {self.projection_rank}, must be 0 to the hidden size {hidden}")
        for name, allowed in (
            ("aggregate", AGGREGATES), ("weighting", WEIGHTINGS), ("windows", WINDOWS), ("similarity", SIMILARITIES),
            ("method", METHODS),
        ):  # fmt: skip
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}, must be one of {', '.join(allowed)}")

    def sap_fields(self) -> dict[str, Any]:
        """Return only the method and the pooling settings, as saved beside an adapter."""
        return {name: getattr(self, name) for name in SAP_FIELDS}
