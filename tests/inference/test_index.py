"""An index is its list, prepared: in memory, in a file, and recreated for another tokenizer."""

import tracemalloc

import numpy as np
import pytest
from fake_stage import FakeStage, LetterTokenizer
from safetensors.numpy import load_file, save_file

from sap2.errors import InputError
from sap2.inference.index import LONG, IndexCache, KeywordIndex, Vocabulary
from sap2.inference.keyword_files import is_index, read_keywords
from sap2.inference.spotting import PHONEME_BONUS, TOKEN_BONUS, spot

WORDS = ["Kathryn Meyer", "GPT-4", "Jean-Luc", "Söderström", "Meyer's", "kathryn meyer", "Dr. Maier"]
MANY = [f"word {chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(LONG)]


def vocabulary(spelling: str = "folded") -> Vocabulary:
    return FakeStage(spelling=spelling).vocabulary


def other_vocabulary() -> Vocabulary:
    made = vocabulary()
    made.digest = "another tokenizer"
    return made


@pytest.mark.parametrize("spelling", ["folded", "as-given"])
def test_an_index_file_gives_back_all_that_was_prepared(tmp_path, spelling):
    made = KeywordIndex([*WORDS, *WORDS], vocabulary(spelling))
    facts = made.save(tmp_path / "names.index")
    read = KeywordIndex.load(tmp_path / "names.index")
    assert list(read) == WORDS and facts["keywords"] == len(WORDS) and read.fits(vocabulary(spelling))
    assert read.listed.read == made.listed.read and read.listed.read_as == made.listed.read_as
    assert read.listed.scores({made.listed.read[1]: -0.5}) == made.listed.scores({made.listed.read[1]: -0.5})
    for text in ("ask kathryn meyer about gpt four", "doctor maier met jeanluc", "söderström", ""):
        assert read.finder.within(text) == made.finder.within(text)
        assert read.listed.restored(text, read.listed.read) == made.listed.restored(text, made.listed.read)
    scores, blank = FakeStage(heard=lambda frames: " gpt four").frame_scores(range(40))
    np.testing.assert_array_equal(spot(scores, blank, read.tree), spot(scores, blank, made.tree))


def test_a_damaged_index_is_refused_with_the_way_out(tmp_path):
    path = tmp_path / "names.index"
    facts = KeywordIndex(WORDS, vocabulary()).save(path)
    metadata = {key: str(value) for key, value in facts.items()}
    arrays, whole = load_file(path), path.read_bytes()
    for number, (content, words) in enumerate(
        [
            (whole[:-100], "not a whole index"),
            ((arrays, metadata | {"format": "sap2-keyword-index/9"}), "expected sap2-keyword-index/1"),
            ((arrays, metadata | {"content": "0"}), "not that of its checksum"),
            (({name: array for name, array in arrays.items() if name != "ends"}, metadata), "not a whole index"),
        ]
    ):
        broken = tmp_path / f"broken{number}.index"
        broken.write_bytes(content) if isinstance(content, bytes) else save_file(content[0], broken, content[1])
        with pytest.raises(InputError) as caught:
            KeywordIndex.load(broken)
        assert str(broken) in str(caught.value) and words in str(caught.value) and "sap2 index" in str(caught.value)
    with pytest.raises(InputError, match="no such file"):
        KeywordIndex.load(tmp_path / "missing.index")


def test_a_list_file_and_an_index_are_told_apart_by_content(tmp_path):
    listed, index = tmp_path / "names.index", tmp_path / "names.txt"  # named the wrong way round
    listed.write_text("\n".join(WORDS))
    KeywordIndex(WORDS, vocabulary()).save(index)
    assert is_index(index) and not is_index(listed) and not is_index(tmp_path)
    assert isinstance(read_keywords(file=index), KeywordIndex) and list(read_keywords(file=index)) == WORDS
    assert "Kathryn Meyer" in read_keywords(file=listed) and not isinstance(read_keywords(file=listed), KeywordIndex)
    assert read_keywords("Zorvan, GPT-4", index)[:3] == ["Zorvan", "GPT-4", "Kathryn Meyer"]
    with pytest.raises(InputError, match="no such file"):
        read_keywords(file=tmp_path / "missing.txt")


def test_equal_lists_are_prepared_once():
    cache = IndexCache(vocabulary())
    first = cache.of(MANY)
    assert cache.of(tuple(MANY)) is first and cache.of([*MANY, MANY[0]]) is first and cache.of(first) is first
    assert cache.of(MANY[::-1]) is not first, "the order is part of a list"
    assert cache.of(MANY[:3]) is not cache.of(MANY[:3]), "a short list is not worth keeping"


def test_the_cache_forgets_the_oldest_list_beyond_its_bound():
    size = KeywordIndex(MANY, vocabulary()).nbytes
    cache = IndexCache(vocabulary(), most=2 * size + size // 2)
    lists = [[f"{letter}{word}" for word in MANY] for letter in "abc"]
    a, b = cache.of(lists[0]), cache.of(lists[1])
    assert cache.of(lists[0]) is a and cache.of(lists[2]) and cache.of(lists[0]) is a
    assert cache.of(lists[1]) is not b and cache.nbytes <= 3 * size


def test_an_index_of_another_tokenizer_is_made_anew_and_said_so(tmp_path, capsys):
    KeywordIndex(MANY, other_vocabulary()).save(tmp_path / "names.index")
    index, cache = KeywordIndex.load(tmp_path / "names.index"), IndexCache(vocabulary())
    made = cache.of(index)
    assert made is not index and list(made) == MANY and cache.of(index) is made
    assert capsys.readouterr().err.count("500 keywords were indexed for another tokenizer") == 1


def test_with_a_phoneme_head_keywords_are_spotted_by_their_sound():
    marks = ["k", "a", "T", "r", "I", "n"]
    by_sound, by_token = Vocabulary(None, "folded", marks), vocabulary()
    assert by_sound.tokenise(["kathryn", "cathryn"]) == [[1, 2, 3, 4, 5, 6]] * 2
    assert Vocabulary(None, "folded", ["j", "u:", "t", "O"]).tokenise(["utah"]) == [[1, 2, 3, 4]], "t2 is a t"
    assert by_sound.digest != by_token.digest and by_sound.digest == Vocabulary(None, "folded", tuple(marks)).digest
    assert by_sound.digest != Vocabulary(None, "folded", marks[::-1]).digest
    assert KeywordIndex(WORDS, by_sound).bonus == PHONEME_BONUS and KeywordIndex(WORDS, by_token).bonus == TOKEN_BONUS


def test_an_index_file_keeps_the_unit_it_is_spotted_by(tmp_path):
    made = KeywordIndex(["Kathryn"], Vocabulary(None, "folded", ["k", "a"]))
    made.save(tmp_path / "names.index")
    read = KeywordIndex.load(tmp_path / "names.index")
    assert read.bonus == made.bonus and read.tree.tokens.tolist() == [1, 2] and not read.fits(vocabulary())


def test_keywords_are_tokenised_as_within_a_sentence():
    assert vocabulary().tokenise(["ab"]) == LetterTokenizer()([" ab"])["input_ids"]
    assert vocabulary().tokenise([]) == []


@pytest.mark.parametrize("spelling", ["folded", "as-given"])
def test_an_index_after_a_list_equals_the_index_of_both(spelling):
    first, units = ["Zorvan", "Söderström", "GPT 4"], vocabulary(spelling)
    joined, whole = KeywordIndex(WORDS, units).after(KeywordIndex(first, units)), KeywordIndex([*first, *WORDS], units)
    assert list(joined) == list(whole) and joined.fits(units)
    assert joined.listed.read == whole.listed.read and joined.listed.read_as == whole.listed.read_as
    for text in ("ask zorvan and kathryn meyer about gpt four", "Söderström", ""):
        assert joined.finder.within(text) == whole.finder.within(text)
    frames, blank = FakeStage(heard=lambda frames: " zorvan gpt four").frame_scores(range(60))
    np.testing.assert_allclose(joined.spotted(frames, blank), whole.spotted(frames, blank))


def test_commands_reject_an_index_of_another_base(tmp_path):
    path = tmp_path / "names.index"
    KeywordIndex(WORDS, other_vocabulary()).save(path, "names.txt")
    cache = IndexCache(vocabulary())
    with pytest.raises(InputError) as caught:
        cache.check(KeywordIndex.load(path))
    assert str(caught.value) == (
        f'{path}: was built for another base; run "sap2 index names.txt --model MODEL" with this model'
    )
    cache.check(WORDS)
    cache.check(KeywordIndex(WORDS, vocabulary()))


def test_an_index_of_a_changed_list_is_rejected(tmp_path):
    listed, index = tmp_path / "names.txt", tmp_path / "names.index"
    listed.write_text("Zorvan\nMeyer # chair\n")
    KeywordIndex(["Zorvan", "Meyer"], vocabulary()).save(index, "names.txt")
    listed.write_text("# the same names\nZorvan, Meyer\n")
    assert list(read_keywords(file=index)) == ["Zorvan", "Meyer"]
    listed.write_text("Zorvan\nMeyer\nDorst\n")
    with pytest.raises(InputError) as caught:
        read_keywords(file=index)
    assert str(caught.value) == (
        f"{index}: is the index of an earlier names.txt (2 keywords, now 3); "
        f'run "sap2 index {listed} --output {index}" again'
    )
    listed.unlink()
    assert list(read_keywords(file=index)) == ["Zorvan", "Meyer"], "an index alone is enough"


def test_the_memory_estimate_of_an_index_is_not_too_low(tmp_path):
    words = [f"{chr(97 + n % 26)}orvan{n // 26 % 26 + 10} meyer{n}" for n in range(5_000)]
    KeywordIndex(words, vocabulary()).save(tmp_path / "names.index")
    tracemalloc.start()
    try:
        index = KeywordIndex.load(tmp_path / "names.index")
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken <= index.nbytes + index.tree.nbytes
