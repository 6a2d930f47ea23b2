"""Score of an adapter on dev by decoding, which early stopping monitors.

Stage 1 is scored by the F1 of its selected keywords: by recall alone, selecting all of them would be best. Stage 2 is
scored by B-WER (deep-bias definition, no normaliser), with lists as in use: stage 1's answers, or the spoken keywords
if dev has not been pruned.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch.distributed as distributed
from peft import PeftModel

from sap2.errors import InputError
from sap2.manifest import Utterance, audio_path, spoken
from sap2.model import SapProcessor
from sap2.params import TrainSection
from sap2.training.encoder_cache import EncodedSpeech
from sap2.training.lists import Stage

if TYPE_CHECKING:
    from sap2.inference import EncodedAudio

__all__ = ["METRICS", "DevScore"]

METRICS: dict[Stage, tuple[str, bool]] = {"pruner": ("keyword_f1", True), "recogniser": ("b_wer", False)}
AHEAD = 4  # batches whose encoded speech is held at once


class DevScore:
    """Decode and score at most `eval_utterances` of dev.

    Args:
        utterances: The dev split; the scored utterances are evenly spaced in it.
        manifest: Manifest of the utterances; their audio paths are relative to it.
        encoded: Encoder states of all utterances in the same order, instead of waveforms.
    Raises: InputError: no keyword is spoken in the scored utterances, so that there is nothing to score.
    """

    def __init__(
        self,
        stage: Stage,
        section: TrainSection,
        utterances: Sequence[Utterance],
        manifest: Path,
        processor: SapProcessor,
        encoded: EncodedSpeech | None = None,
    ):
        self.stage, self.section, self.manifest = stage, section, Path(manifest)
        self.processor, self.encoded = processor, encoded
        self.name, self.more_is_better = METRICS[stage]
        count = min(section.eval_utterances, len(utterances))
        self.rows = [len(utterances) * number // count for number in range(count)]
        self.utterances = [utterances[row] for row in self.rows]
        if not any(map(spoken, self.utterances)):
            raise InputError(
                f"{manifest}: no keyword is spoken in the {count} dev utterances that early stopping scores; raise "
                "eval_utterances, correct the lists, or set early_stopping to null"
            )
        pruned = all(utterance.predicted is not None for utterance in utterances)
        self.lists = [
            list(
                utterance.keywords if stage == "pruner" else utterance.predicted or [] if pruned else spoken(utterance)
            )
            for utterance in self.utterances
        ]

    def __call__(self, model: PeftModel) -> float:
        """Return the score of a model in training; equal on all processes.

        Processes share the utterances. Under ZeRO-3 every process decodes all of them: weights are gathered layer by
        layer, so all processes must compute the same layers at the same time.
        """
        from transformers.integrations import is_deepspeed_zero3_enabled

        world = distributed.get_world_size() if distributed.is_initialized() else 1
        shared = world > 1 and not is_deepspeed_zero3_enabled()
        mine = range(distributed.get_rank(), len(self.rows), world) if shared else range(len(self.rows))
        answers = self._answers(model, mine)
        if shared:
            gathered: list[Any] = [None] * world
            distributed.all_gather_object(gathered, answers)
            answers = {number: answer for part in gathered for number, answer in part.items()}
        return self._score([answers[number] for number in range(len(self.rows))])

    def _answers(self, model: PeftModel, numbers: Sequence[int]) -> dict[int, str | list[str]]:
        """Return stage 1's keywords, or stage 2's text, by number of the scored utterance."""
        section, training = self.section, model.training
        decode = self._decoder(model)
        model.eval()
        answers: dict[int, str | list[str]] = {}
        step = section.batch_size * AHEAD
        for start in range(0, len(numbers), step):
            part = numbers[start : start + step]
            results = decode([self._speech(number) for number in part], [self.lists[number] for number in part])
            answers |= zip(part, results, strict=True)
        model.train(training)
        return answers

    def _decoder(self, model: PeftModel) -> Callable[[Sequence[Any], Sequence[Sequence[str]]], Sequence[Any]]:
        """Return the function that decodes recordings with lists, by the adapter as trained so far."""
        from sap2.inference import Pruner, StageModel, make_transcriber
        from sap2.settings import PrunerSettings, TranscriberSettings

        # No detection of speech: dev utterances have it, and it cannot be detected in encoder states.
        search: dict[str, Any] = {"batch_size": self.section.batch_size, "speech_only": False}
        if self.section.batch_tokens is not None:
            search["batch_tokens"] = self.section.batch_tokens
        # The base model includes the adapter's layers.
        stage = StageModel(model.get_base_model(), self.processor)
        if self.stage == "recogniser":
            settings = TranscriberSettings(**search, rescoring=None, max_segment=None)
            return make_transcriber(stage, settings).transcribe
        pruning = PrunerSettings(
            **search, max_list=max(1, self.section.list_sizes[1]), threshold=None, first_pass=None, prefilter=None
        )
        pruner = Pruner(stage, stage, pruning)
        return lambda audio, lists: [list(scores) for scores in pruner.select(audio, lists)]

    def _speech(self, number: int) -> "Path | EncodedAudio":
        from sap2.inference import EncodedAudio

        if self.encoded is not None:
            states = self.encoded.states(self.rows[number]).float()
            return EncodedAudio.whole(states, self.utterances[number].duration)
        return audio_path(self.utterances[number], self.manifest)

    def _score(self, answers: list[Any]) -> float:
        from sap2.evaluation import score

        by_id = dict(zip((utterance.id for utterance in self.utterances), answers, strict=True))
        texts = {utterance.id: utterance.text for utterance in self.utterances}
        lists = {utterance.id: utterance.keywords for utterance in self.utterances}
        if self.stage == "pruner":
            selection = score(texts, texts, lists, predicted=by_id, samples=0).selection
            value = selection.figures["f1"].value if selection is not None else None
        else:
            value = score(texts, by_id, lists, samples=0).systems[0].figures["b_wer"].value
        if value is None:  # ruled out when the utterances were chosen
            raise InputError(f"{self.manifest}: {self.name} is undefined, as no keyword is spoken")
        return float(value)
