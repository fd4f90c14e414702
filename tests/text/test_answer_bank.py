"""Answers: words against a plain reading of BM25's formula, a bank that changes against one built afresh, feedback."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import kshot
from kshot.bundles import load_learned
from kshot.demo.service_data import shipped_desk
from kshot.errors import BundleError, DataError, SettingError, UnsupportedError
from kshot.learners.self_knowledge import among
from kshot.text import AnswerBank, Entry, answers, load_answers
from kshot.text.answer_bank import unit
from kshot.text.answer_measures import least_score, left_out
from kshot.text.bm25 import K1, B, Bm25, words_of
from kshot.text.knowledge import of_answers
from kshot.text.mixing import USUAL_MEANING, Case, Mix, learn_mix

DESK = shipped_desk()
TEXTS = [text for text, _ in DESK.taught]
ASKED = [text for text, _ in DESK.asked]


def entries(each: int = 5) -> list[Entry]:
    """The shipped desk, with `each` questions an entry."""
    own = {name: tuple(t for t, mine in DESK.taught if mine == name)[:each] for name in DESK.intents}
    return [Entry(name, DESK.answers[name], own[name]) for name in DESK.intents]


@pytest.fixture(scope="module")
def bank() -> AnswerBank:
    return answers(entries())


def reference_bm25(texts: list[str], message: str) -> list[float]:
    """The formula, read word by word."""
    found = [words_of(text) for text in texts]
    mean = sum(map(len, found)) / len(found)
    scores = []
    for own in found:
        total = 0.0
        for word in words_of(message):
            df, tf = sum(word in other for other in found), own.count(word)
            idf = math.log(1 + (len(found) - df + 0.5) / (df + 0.5))
            total += idf * tf / (tf + K1 * (1 - B + B * len(own) / mean))
        scores.append(total)
    return scores


def test_words_score_as_the_formula_says() -> None:
    table = Bm25.of(TEXTS)
    for message in ["where is my order my order", "你好 refund", "nothing like it: zzz", "!?"]:
        np.testing.assert_allclose(table.scores([message])[0], reference_bm25(TEXTS, message), rtol=1e-12)


def test_counting_more_or_less_is_counting_anew_to_the_last_bit() -> None:
    rows = np.array([9, 3, 40, 2])
    whole = Bm25.of(TEXTS[:10]).add(TEXTS[10:])
    assert np.array_equal(whole.scores(ASKED), Bm25.of(TEXTS).scores(ASKED))
    assert np.array_equal(whole.keep(rows).scores(ASKED), Bm25.of([TEXTS[r] for r in rows]).scores(ASKED))


def test_adding_and_removing_is_building_afresh() -> None:
    every = [*entries()[:9], Entry("bare", "We sell ropes and carabiners."), *entries()[9:]]
    afresh = answers(every)
    grown = answers(every[:4]).add(every[4:12]).add(every[12:])
    assert grown.entries == afresh.entries
    assert np.array_equal(grown.scores(ASKED), afresh.scores(ASKED))
    names = ["bare", every[0].id, every[5].id]
    fewer = grown.remove(names)
    left = answers([entry for entry in every if entry.id not in names])
    assert fewer.ids == left.ids
    assert np.array_equal(fewer.scores(ASKED), left.scores(ASKED))
    assert fewer.ask(ASKED[0]) == left.ask(ASKED[0])


def test_one_message_and_many_get_the_same_answer(bank: AnswerBank) -> None:
    together = bank.ask_many(ASKED[:12])
    assert together == [bank.ask(text) for text in ASKED[:12]]
    assert [reply.score for reply in together] == bank.scores(ASKED[:12]).max(1).tolist()


def test_the_mix_is_above_its_parts_on_the_shipped_desk(bank: AnswerBank) -> None:
    """On sentences it never saw; the weights are the shipped ones."""
    right = [name for _, name in DESK.asked]
    signs = bank.signs(ASKED)

    def hits(scores: np.ndarray) -> float:
        return float(
            np.mean([bank.ids[place] == name for place, name in zip(scores.argmax(1), right, strict=True)])
        )

    assert hits(bank.scores(ASKED)) >= max(hits(signs[..., 0]), hits(signs[..., 1])) > 0.15


def test_a_reply_shows_the_texts_that_are_nearest(bank: AnswerBank) -> None:
    asked = TEXTS[7]
    reply = bank.ask(asked, supports=4)
    assert reply.supports[0].text == asked
    assert reply.supports[0].meaning == max(s.meaning for s in reply.supports)
    assert [s.score for s in reply.supports] == sorted((s.score for s in reply.supports), reverse=True)
    assert reply.id == reply.ranking[0] == reply.supports[0].id
    assert reply.answer == DESK.answers[reply.id]


def test_an_entry_without_questions_is_found_by_its_answer() -> None:
    bank = answers([("where is my card?", "On its way."), Entry("ropes", "Ropes are sold in the cellar.")])
    reply = bank.ask("where are ropes sold?")
    assert reply.id == "ropes"
    assert np.isfinite(reply.score)
    bare = answers([Entry("a", "Ropes are in the cellar."), Entry("b", "Fees are listed online.")])
    assert bare.ask("list of fees").id == "b"


def test_good_and_bad_move_replies_for_such_messages_and_no_others(bank: AnswerBank) -> None:
    asked, far = "my dog ate the manual", "When are you open?"
    before = bank.ask(asked)
    for _ in range(3):
        bank = bank.learn_from([(asked, before.id, False), (asked, "warranty", True)])
    after = bank.ask(asked)
    assert after.id == "warranty" != before.id
    assert after.learned > 0
    place = bank.ids.index(before.id)
    assert bank.scores([asked])[0, place] < answers(entries()).scores([asked])[0, place]
    untouched = bank.ids.index("invoice")
    assert bank.scores([asked])[0, untouched] == answers(entries()).scores([asked])[0, untouched]
    moved = np.abs(bank.scores([far]) - answers(entries()).scores([far])).max()
    assert moved < np.abs(bank.scores([asked]) - answers(entries()).scores([asked])).max() / 3


def test_feedback_in_any_order_and_after_other_changes_is_the_same(bank: AnswerBank) -> None:
    told = [(text, bank.ids[n % 5], n % 3 == 0) for n, text in enumerate(ASKED[:12])]
    at_once = bank.learn_from(told)
    other = answers(entries()[:8]).learn_from(told[6:]).add(entries()[8:])
    for one in told[:6]:
        other = other.learn_from([one])
    np.testing.assert_allclose(other.scores(ASKED), at_once.scores(ASKED), atol=1e-9)
    forgotten = at_once.forget_feedback(bank.ids[:5])
    assert np.array_equal(forgotten.scores(ASKED), bank.scores(ASKED))
    assert not forgotten.feedback
    gone = at_once.remove(bank.ids[0])
    assert all(one.id != bank.ids[0] for one in gone.feedback)
    assert len(gone.feedback) == 9


def test_the_requested_share_is_refused_and_strangers_more(bank: AnswerBank) -> None:
    measured = bank.with_known(ASKED[::2])
    replies = measured.ask_many(ASKED[::2], refused=0.2)
    assert (
        sum(reply.unknown for reply in replies) == int(0.2 * (len(replies) + 1)) - 1
    )  # the threshold itself passes
    strangers = np.mean([reply.unknown for reply in measured.ask_many(DESK.strangers[12:], refused=0.2)])
    assert strangers > 0.4
    assert bank.threshold(0.3) > bank.threshold(0.05) > -np.inf
    bare = answers(entries(0)[:2])
    assert bare.threshold() == -np.inf
    with pytest.raises(UnsupportedError, match="with_known"):
        bare.threshold(0.1)
    assert bare.with_known(ASKED[:30]).threshold(0.1) > -np.inf
    with pytest.raises(SettingError, match=r"refused is 5"):
        bank.ask("hello", refused=5)


@pytest.mark.parametrize(("count", "each"), [(3, 1), (5, 1), (10, 1), (5, 2)])
def test_a_few_questions_are_enough_to_refuse(count: int, each: int) -> None:
    """What kshot ships about other banks sets the threshold, in this bank's own measure of its questions."""
    rng, every, lost = np.random.default_rng(0), entries(each), []
    for _ in range(8):
        small = answers([every[n] for n in rng.permutation(len(every))[:count]])
        known = [text for text, own in DESK.asked if own in small.ids]
        lost.append(
            [np.mean([r.unknown for r in small.ask_many(t, refused=0.1)]) for t in (known, DESK.strangers)]
        )
        assert small.threshold(0.3) > small.threshold(0.1) > -np.inf
    known_lost, strangers = np.mean(lost, 0)
    assert known_lost < 0.25
    assert strangers > known_lost + 0.1


def test_one_prior_gives_way_to_the_own_questions(bank: AnswerBank) -> None:
    own = bank.own_questions
    assert own is not None
    assert own.several.all()
    usual = least_score(answers(entries(1)), 0.1)
    assert usual > -np.inf
    fair, place = np.sort(own.fair), int(0.1 * (len(own.fair) + 1)) - 1
    cell = among(of_answers(bank.encoder), 16, 5)
    assert cell is not None
    other = own.gauge.others + own.gauge.span * own.gauge.sureness(cell.sureness).threshold(0.1)
    assert bank.threshold(0.1) == pytest.approx((80 * fair[place] + 100 * other) / 180)
    for count, mine in ((5, 0.25), (20, 1.0), (40, 1.0)):
        told = bank.with_known(ASKED[:count])
        scores = np.sort(told.known_scores)
        own_least = scores[max(int(0.1 * (count + 1)), 1) - 1]
        assert told.threshold(0.1) == pytest.approx(mine * own_least + (1 - mine) * other)


def test_the_measure_does_not_depend_on_the_scale_of_the_weights(bank: AnswerBank) -> None:
    """A mix in other units refuses the same messages."""
    twice = Mix(tuple(2 * w for w in bank.mix.weights), tuple(2 * w for w in bank.mix.alone))
    found = [
        [r.unknown for r in one.ask_many(ASKED + DESK.strangers)] for one in (bank, bank.with_mix(twice))
    ]
    assert found[0] == found[1]


def test_asking_itself_together_is_asking_one_by_one(bank: AnswerBank) -> None:
    features = unit(bank.encoder, ASKED)
    for one, many in zip(
        bank.text_signs(ASKED, features), bank.text_signs(ASKED, features, together=True), strict=True
    ):
        assert np.allclose(one, many, atol=1e-6)


def test_weights_follow_what_is_informative() -> None:
    rng = np.random.default_rng(0)
    cases = []
    for _ in range(60):
        signs, right = rng.random((8, 4)), np.zeros(8, bool)
        right[signs[:, 2].argmax()] = True
        cases.append(Case(signs, right))
    found = learn_mix(cases, USUAL_MEANING)
    assert found.weights[2] == max(found.weights)
    assert found.alone == USUAL_MEANING.alone
    bare = learn_mix([Case(np.where([1, 1, 0, 0], -np.inf, c.signs), c.right) for c in cases], USUAL_MEANING)
    assert bare.alone[0] > USUAL_MEANING.alone[0]
    assert bare.weights == USUAL_MEANING.weights
    with pytest.raises(DataError, match="0 cases"):
        learn_mix([], USUAL_MEANING)


def test_tuning_on_the_banks_own_questions_raises_their_likelihood(bank: AnswerBank) -> None:
    signs, owner = left_out(bank)
    assert len(owner) == len(DESK.taught)

    def cost(mix: Mix) -> float:
        scores = mix.scores(signs)
        return float(np.mean(np.log(np.exp(scores).sum(1)) - scores[np.arange(len(owner)), owner]))

    tuned = bank.tuned()
    assert cost(tuned.mix) < cost(bank.mix)
    given = bank.tuned(ASKED, [name for _, name in DESK.asked])
    assert given.mix != bank.mix
    assert "48 messages" in given.mix.source
    with pytest.raises(UnsupportedError, match="two questions"):
        answers(entries(1)).tuned()
    with pytest.raises(DataError, match="nobody"):
        bank.tuned(["hello"], ["nobody"])


def test_a_saved_bank_comes_back_with_everything(bank: AnswerBank, tmp_path: Path) -> None:
    full = bank.learn_from([(ASKED[0], bank.ids[2], True)]).with_known(ASKED[:25]).tuned()
    path = full.save(tmp_path / "desk.kshot")
    back = load_answers(path)
    assert back.entries == full.entries
    assert back.feedback == full.feedback
    assert back.mix == full.mix
    assert np.array_equal(back.scores(ASKED), full.scores(ASKED))
    assert back.threshold(0.1) == full.threshold(0.1)
    with pytest.raises(BundleError, match="another encoder"):
        load_answers(path, encoder=kshot.text.encoder("hash:ngram?dim=512"))
    again = kshot.load(path)
    assert isinstance(again, AnswerBank)
    assert np.array_equal(again.scores(ASKED), full.scores(ASKED))
    with pytest.raises(BundleError, match="holds a 'answers'"):
        load_learned(path)
    blob = bytearray(path.read_bytes())
    blob[-30] ^= 1
    path.write_bytes(bytes(blob))
    with pytest.raises(BundleError, match="damaged"):
        load_answers(path)


def test_a_trained_encoder_travels_in_the_file(tmp_path: Path) -> None:
    bank = answers(entries()[:3], kshot.text.encoder("small?buckets=64&width=16"))
    back = load_answers(bank.save(tmp_path / "small.kshot"))
    assert np.array_equal(back.scores(ASKED[:5]), bank.scores(ASKED[:5]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: answers([]), "0 entries"),
        (lambda b: answers(["where?"]), "entry 0 is 'where\\?'"),
        (lambda b: answers([("where?", "")]), "entry 0"),
        (lambda b: answers([Entry("a", "x"), Entry("a", "y")]), "'a' is there twice"),
        (lambda b: b.add([Entry("invoice", "x")]), "'invoice' is there twice"),
        (lambda b: b.remove("nobody"), "'nobody' is not in this bank"),
        (lambda b: b.remove(b.ids), "all 16 entries"),
        (lambda b: b.learn_from([("hi", "nobody", True)]), "'nobody'"),
        (lambda b: b.learn_from([("hi", "invoice")]), "feedback"),
        (lambda b: b.ask(["a", "b"]), "ask_many"),
        (lambda b: b.ask(" \t"), "visible"),
        (lambda b: Mix((1.0, 2.0, 3.0, -1.0), (1.0, 1.0)), "weights"),
    ],
)
def test_bad_input_is_named(bank: AnswerBank, change: Callable[[AnswerBank], object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        change(bank)


@pytest.mark.parametrize(
    "odd", ["x" * 100_000, "\x00\x07 card", "🙂🙂", "بطاقتي لم تصل", "卡在哪里 card", "a\nb"]
)
def test_odd_messages_are_answered(bank: AnswerBank, odd: str) -> None:
    reply = bank.ask(odd)
    assert reply.id in bank.ids
    assert np.isfinite(reply.score)


def test_entries_of_one_text_are_told_apart_by_feedback() -> None:
    bank = answers([("same question", "One."), ("same question", "Two.")])
    assert bank.ask("same question").id == "a0"
    assert bank.learn_from([("same question", "a0", False)]).ask("same question").id == "a1"


def test_a_new_entry_encodes_its_own_texts_alone(bank: AnswerBank, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def encode(texts: list[str]) -> object:
        read.extend(texts)
        return type(bank.encoder).encode(bank.encoder, texts)

    monkeypatch.setattr(bank.encoder, "encode", encode)
    grown = bank.add([Entry("hire", "We hire out skis in winter.", ("Do you rent out skis?",))])
    assert read == ["Do you rent out skis?", "We hire out skis in winter."]
    assert grown.ask("skis to rent").id == "hire"


def test_words_of_many_messages_score_as_one_by_one() -> None:
    """To the last bit, in any company; words that nobody wrote, and messages without a known word, count nothing."""
    table = Bm25.of(TEXTS)
    asked = [*ASKED, "zzz qqq", "card card card"]
    whole = table.scores(asked)
    for row, message in enumerate(asked):
        assert np.array_equal(whole[row], table.scores([message])[0])
    assert np.allclose(whole[0], reference_bm25(TEXTS, asked[0]))
    assert not table.scores(["zzz qqq"]).any()


def test_feedback_does_not_make_the_bank_ask_itself_again(bank: AnswerBank) -> None:
    assert bank.own_questions is not None
    told = bank.learn_from([(ASKED[0], bank.ids[0], False)])
    for other in (told, told.forget_feedback(bank.ids[0]), bank.with_known(ASKED)):
        assert other.own_questions is bank.own_questions
    assert bank.remove(bank.ids[0]).own_questions is not bank.own_questions
