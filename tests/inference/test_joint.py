"""Joint decoding: CTC's prefix scores against sums over all paths, and what a stage model makes of them."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from tiny import build_tiny_base, tone

from sap2.inference import load_recogniser
from sap2.inference.joint import CtcPrefixScores, FrameScores, text_likelihoods
from sap2.model import load_processor
from sap2.model.ctc import CtcHead
from sap2.prompts import recognition_prompt
from sap2.settings import RecogniserSettings, SearchSettings

BLANK, END, TOKENS = 0, 4, 5


def frame_scores(*lengths: int, weight: float = 0.4) -> FrameScores:
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(len(lengths), max(lengths), TOKENS, generator=generator)
    scores[..., END] = -50.0  # no transcript contains it
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return FrameScores(scores.log_softmax(-1), mask, BLANK, weight)


def collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(token for token, _ in itertools.groupby(path) if token != BLANK)


def by_all_paths(scores: torch.Tensor) -> dict[tuple[int, ...], float]:
    """The probability of each text, by adding up its paths."""
    texts: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(TOKENS - 1), repeat=len(scores)):
        probability = scores[torch.arange(len(scores)), torch.tensor(path)].sum().exp().item()
        texts[collapsed(path)] = texts.get(collapsed(path), 0.0) + probability
    return texts


def mixed(likely: float, gain: float) -> float:
    return 0.6 * likely + 0.4 * math.log(gain)


@pytest.mark.parametrize("answer", [(), (1,), (2, 2), (1, 3, 1), (3, 2, 3)])
def test_prefix_scores_are_sums_over_all_paths(answer):
    frames = frame_scores(6, 4)
    texts = by_all_paths(frames.scores[1, :4])
    process = CtcPrefixScores(frames, prompt_length=2, num_beams=1, end_ids=[END])
    decoder = torch.randn(2, TOKENS, generator=torch.Generator().manual_seed(1))
    for length in range(len(answer) + 1):  # as a search calls it, a token at a time
        ids = torch.tensor([[9, 9, *answer[:length]]] * 2)
        scored = process(ids, decoder)[1]

    def begins(prefix):
        return sum(probability for text, probability in texts.items() if text[: len(prefix)] == prefix)

    likely = decoder[1].log_softmax(-1)
    for token in (1, 2, 3):
        gain = begins((*answer, token)) / begins(answer)
        if gain:
            assert scored[token].item() == pytest.approx(mixed(likely[token].item(), gain), rel=1e-4)
        else:  # more tokens than the frames have room for
            assert scored[token] < -1000
    ended = texts.get(answer, 0.0) / begins(answer)
    assert scored[END].item() == pytest.approx(mixed(likely[END].item(), ended), rel=1e-4)


def test_beams_that_change_places_keep_their_prefixes():
    frames = frame_scores(7)
    decoder = torch.zeros(2, TOKENS)
    straight = CtcPrefixScores(frames, 1, 2, [END])
    straight(torch.tensor([[9], [9]]), decoder)
    straight(torch.tensor([[9, 1], [9, 2]]), decoder)
    swapped = straight(torch.tensor([[9, 2, 3], [9, 1, 3]]), decoder)
    for beam, answer in enumerate(([2, 3], [1, 3])):
        alone = CtcPrefixScores(frames, 1, 1, [END])
        assert torch.allclose(alone(torch.tensor([[9, *answer]]), decoder[:1])[0], swapped[beam])


def test_texts_have_the_probability_of_all_their_paths():
    frames = frame_scores(5, 3)
    texts = [(1, 2), (3,), (2, 2)]
    expected = [by_all_paths(frames.scores[row, :length]).get(text, 0.0) for row, length, text in
                ((0, 5, (1, 2)), (1, 3, (3,)), (1, 3, (2, 2)))]  # fmt: skip
    assert text_likelihoods(frames, [0, 1, 1], texts).exp().tolist() == pytest.approx(expected, rel=1e-4)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny base with a CTC head that hears tokens of even numbers in any speech, and no other."""
    folder = build_tiny_base(tmp_path_factory.mktemp("joint") / "base", positions=100)
    processor = load_processor(folder)
    config = json.loads((folder / "config.json").read_text())
    blank, tokens = config["audio_token_index"], len(processor.tokenizer)
    torch.manual_seed(0)
    head = CtcHead(config["audio_config"]["d_model"], tokens, blank, ("k", "a", "T"), hidden=8, blocks=1, kernel=1)
    with torch.no_grad():
        head.to_tokens.weight.zero_()
        head.to_tokens.bias.zero_()
        head.to_tokens.bias[1::2] = -60.0
        head.to_tokens.bias[blank] = 0.0
    head.save(folder)
    return folder


def odd_tokens(stage, answers: list[tuple[str, ...]]) -> list[str]:
    vocabulary = stage.processor.tokenizer.get_vocab()
    by_text = {stage.processor.tokenizer.decode([token]): token for token in vocabulary.values()}
    pieces = [piece for answer in answers for piece in answer if "\ufffd" not in piece]  # several bytes look so
    return [piece for piece in pieces if by_text.get(piece, 0) % 2]  # an end token has no text


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_transcript_follows_ctc_as_far_as_its_weight(base, num_beams):
    stage = load_recogniser(base).transcriber.stage
    states = stage.encode([tone(0.8), tone(0.4)], 2)

    def pieces(weight: float, *rows: int, transcribing: bool = True) -> list[tuple[str, ...]]:
        search = SearchSettings(max_new_tokens=12, num_beams=num_beams, ctc_weight=weight)
        prompt = recognition_prompt(False)
        chosen = [states[row] for row in rows]
        replies = stage.answers(
            chosen, [prompt] * len(rows), [[]] * len(rows), search, transcribing=transcribing, scored=True
        )
        assert all(len(reply.logprobs) == len(reply.pieces) for reply in replies)
        return [reply.pieces for reply in replies]

    decoder, joint = pieces(0.0, 0, 1), pieces(0.99, 0, 1)
    assert odd_tokens(stage, decoder) and not odd_tokens(stage, joint)
    assert pieces(0.99, 0, 1, transcribing=False) == decoder, "answers that are no transcripts are the decoder's"
    assert pieces(0.99, 0) + pieces(0.99, 1) == joint


def test_likelihoods_of_texts_are_those_of_ctc_alone(base):
    stage = load_recogniser(base).transcriber.stage
    (states,) = stage.encode([tone(0.8)], 1)
    question = [states], [recognition_prompt(False)], [[]], [["a", "zebra"]]
    (decoder,), (joint,) = (
        stage.log_likelihoods(*question, SearchSettings(ctc_weight=weight)) for weight in (0.0, 0.5)
    )
    frames = stage.ctc(states[None], torch.ones(1, len(states), dtype=torch.bool))[0]
    scores = FrameScores(frames, torch.ones(1, len(states), dtype=torch.bool), stage.ctc.blank, 0.5)
    tokens = [stage.processor.target(text)[:-1] for text in ("a", "zebra")]
    by_ctc = text_likelihoods(scores, [0, 0], tokens).tolist()
    assert joint == pytest.approx(by_ctc) and joint != pytest.approx(decoder)


def test_a_base_with_a_head_spots_phonemes(base):
    settings = RecogniserSettings().with_changes(
        {"pruning": {"prefilter": {"keep": 1}, "first_pass": None, "speech_only": False},
         "inference": {"max_segment": None, "speech_only": False, "max_new_tokens": 3}}, "test",
    )  # fmt: skip
    loaded = load_recogniser(base, settings=settings)
    stage = loaded.pruner.base
    (states,) = stage.encode([tone(0.8)], 1)
    scores, blank = stage.frame_scores(states)
    assert blank == 0 and scores.shape == (len(states), 4)
    np.testing.assert_allclose(np.exp(scores).sum(1), 1, atol=1e-5)
    assert loaded.index(["Kath"]).tree.tokens.tolist() == [1, 2, 3]
    assert loaded(tone(0.8), ["Kath", "Maier"]).segments, "no CTC over the decoder's tokens is needed"
