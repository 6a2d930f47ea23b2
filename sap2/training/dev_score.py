"""How well the adapter does its stage's task on dev, by decoding: what early stopping watches.

Stage 1 is scored by the F1 of the keywords it selects: by recall alone an adapter that selects them all would be best.
Stage 2 is scored by B-WER (deep-bias definition, no normaliser), with the lists it will be given: stage 1's answers, or
what is spoken where dev has not been pruned.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch.distributed as distributed

from sap2.errors import InputError
from sap2.manifest import Utterance, audio_path, spoken
from sap2.params import TrainSection
from sap2.training.encoder_cache import EncodedSpeech
from sap2.training.lists import Stage

__all__ = ["METRICS", "DevScore"]

METRICS: dict[Stage, tuple[str, bool]] = {"pruner": ("keyword_f1", True), "recogniser": ("b_wer", False)}
AHEAD = 4  # batches whose encoded speech is held at once


class DevScore:
    """Decodes a bounded share of dev and scores it.

    Args:
        utterances: The dev split, of which `eval_utterances` are taken, evenly spread.
        manifest: Where they come from; their audio is found from there.
        encoded: States of all of them in the same order, instead of waveforms.
    Raises: InputError: no list word is spoken in them, so that there is nothing to score.
    """

    def __init__(
        self,
        stage: Stage,
        section: TrainSection,
        utterances: Sequence[Utterance],
        manifest: Path,
        processor,
        encoded: EncodedSpeech | None = None,
    ):
        self.stage, self.section, self.manifest = stage, section, Path(manifest)
        self.processor, self.encoded = processor, encoded
        self.name, self.more_is_better = METRICS[stage]
        count = min(section.eval_utterances, len(utterances))
        self.rows = [len(utterances) * place // count for place in range(count)]
        self.utterances = [utterances[row] for row in self.rows]
        if not any(map(spoken, self.utterances)):
            raise InputError(
                f"{manifest}: no keyword is spoken in the {count} dev utterances that early stopping scores; raise "
                "eval_utterances, correct the lists, or set early_stopping to null"
            )
        pruned = all(one.predicted is not None for one in utterances)
        given = (one.predicted if pruned else spoken(one) for one in self.utterances)
        self.lists = [one.keywords for one in self.utterances] if stage == "pruner" else [list(one) for one in given]

    def __call__(self, model) -> float:
        """The score of a PEFT model as it stands; the same on every process.

        Processes share the utterances, but under ZeRO-3 every one decodes them all: its weights are gathered layer by
        layer, which needs the same layers at the same time on all of them.
        """
        from transformers.integrations import is_deepspeed_zero3_enabled

        world = distributed.get_world_size() if distributed.is_initialized() else 1
        shared = world > 1 and not is_deepspeed_zero3_enabled()
        mine = range(distributed.get_rank(), len(self.rows), world) if shared else range(len(self.rows))
        answers = self._answers(model, mine)
        if shared:
            gathered: list = [None] * world
            distributed.all_gather_object(gathered, answers)
            answers = {place: answer for part in gathered for place, answer in part.items()}
        return self._score([answers[place] for place in range(len(self.rows))])

    def _answers(self, model, places: Sequence[int]) -> dict[int, str | list[str]]:
        """By place: stage 1's keywords, or stage 2's text."""
        section, training = self.section, model.training
        decode = self._decoder(model)
        model.eval()
        answers: dict[int, str | list[str]] = {}
        step = section.batch_size * AHEAD
        for start in range(0, len(places), step):
            part = places[start : start + step]
            found = decode([self._speech(one) for one in part], [self.lists[one] for one in part])
            answers |= zip(part, found, strict=True)
        model.train(training)
        return answers

    def _decoder(self, model) -> Callable[[Sequence, Sequence[Sequence[str]]], list]:
        """How the stage answers about speech with lists, by the adapter alone, as far as it is trained."""
        from sap2.inference import Pruner, StageModel, make_transcriber
        from sap2.settings import PrunerSettings, TranscriberSettings

        # Dev utterances hold speech; states that were encoded before could not be listened to either.
        search = {"batch_size": self.section.batch_size, "speech_only": False}
        if self.section.batch_tokens is not None:
            search["batch_tokens"] = self.section.batch_tokens
        # The base with the adapter's layers in it: to a stage a model like any other.
        stage = StageModel(model.get_base_model(), self.processor)
        if self.stage == "recogniser":
            settings = TranscriberSettings(**search, rescoring=None, max_segment=None)
            return make_transcriber(stage, settings).transcribe
        settings = PrunerSettings(
            **search, max_list=max(1, self.section.list_sizes[1]), threshold=None, first_pass=None, prefilter=None
        )
        pruner = Pruner(stage, stage, settings)
        return lambda audio, lists: [list(scores) for scores in pruner.select(audio, lists)]

    def _speech(self, place: int):
        from sap2.inference import EncodedAudio

        if self.encoded is not None:
            states = self.encoded.states(self.rows[place]).float()
            return EncodedAudio.whole(states, self.utterances[place].duration)
        return audio_path(self.utterances[place], self.manifest)

    def _score(self, answers: list) -> float:
        from sap2.evaluation import score

        ids = [one.id for one in self.utterances]
        said = {one.id: one.text for one in self.utterances}
        lists = {one.id: one.keywords for one in self.utterances}
        if self.stage == "pruner":
            scores = score(said, said, lists, predicted=dict(zip(ids, answers, strict=True)), samples=0)
            return scores.selection.figures["f1"].value
        return score(said, dict(zip(ids, answers, strict=True)), lists, samples=0).systems[0].figures["b_wer"].value
