from __future__ import annotations

import pytest

from tasks.models.label_sets import MAX_LABELS, LabelSets, UnknownLabel
from tasks.storage.errors import PermanentError


def test_every_set_of_the_labels_stands_once_in_their_order() -> None:
    found = LabelSets.every(["b", "a"])
    assert ((), ("b",), ("a",), ("b", "a")) == found.sets
    assert ["[]", '["b"]', '["a"]', '["b", "a"]'] == [found.answer(number) for number in range(4)]


def test_a_set_is_found_in_whatever_order_its_labels_come() -> None:
    assert 3 == LabelSets.every(["b", "a"]).number(["a", "b"])
    assert 0 == LabelSets.every(["b", "a"]).number([])


def test_labels_are_written_as_they_are() -> None:
    assert '["оскорбление", "\\"x\\""]' == LabelSets.every(["оскорбление", '"x"']).answer(3)


def test_posteriors_times_membership_are_marginals() -> None:
    found = LabelSets.every(["a", "b"])
    assert [[False, False], [True, False], [False, True], [True, True]] == found.membership.tolist()


def test_given_sets_stand_in_their_order_and_their_labels_in_that_of_all_labels() -> None:
    found = LabelSets.these([[], ["b", "a"], ["a"]], ["a", "b"])
    assert ((), ("a", "b"), ("a",)) == found.sets
    assert ("b", "a") == LabelSets.these([["b", "a"], ["a"]]).labels
    for sets, labels in (([["a"], ["a"]], []), ([["a", "a"]], []), ([["c"]], ["a"]), ([["a"]] * 257, [])):
        with pytest.raises(PermanentError, match=r"each once|257 allowed sets"):
            LabelSets.these(sets, labels)


def test_classes_that_exclude_each_other_are_single_labels() -> None:
    assert LabelSets.one_of(["a", "b"]).is_single
    assert not LabelSets.every(["a", "b"]).is_single


def test_an_unknown_label_is_named() -> None:
    with pytest.raises(UnknownLabel, match=r"Unknown label 'c'\. Known: a, b"):
        LabelSets.every(["a", "b"]).number(["a", "c"])


def test_a_set_that_is_not_allowed_is_named() -> None:
    with pytest.raises(UnknownLabel, match=r"\['a', 'b'\] is none of the allowed sets"):
        LabelSets.one_of(["a", "b"]).number(["b", "a"])


@pytest.mark.parametrize(
    ("labels", "sets", "message"),
    [
        (("a", "a"), ((),), "must differ"),
        (("a", ""), ((),), "must not be empty"),
        (("a", "b"), (("b", "a"),), "in this order"),
        (("a",), (("c",),), "must list labels"),
        (("a",), (("a", "a"),), "each once"),
        (("a",), (), "must be given"),
        (("a",), (("a",), ("a",)), "each once"),
    ],
)
def test_sets_that_contradict_themselves_are_refused(
    labels: tuple[str, ...], sets: tuple[tuple[str, ...], ...], message: str
) -> None:
    with pytest.raises(PermanentError, match=message):
        LabelSets(labels, sets)


def test_more_labels_than_a_tree_holds_are_refused() -> None:
    assert 256 == len(LabelSets.every(list("abcdefgh")).sets)
    with pytest.raises(PermanentError, match="9 labels have 512 sets; 8 labels are the most"):
        LabelSets.every([str(number) for number in range(MAX_LABELS + 1)])


def test_sets_come_back_from_json_as_they_were() -> None:
    for found in (LabelSets.every(["a", "b"]), LabelSets.one_of(["a", "b"])):
        assert found == LabelSets.read(found.plain())
