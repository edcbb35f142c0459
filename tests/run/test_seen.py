"""Radiographs that a model has seen, told by id and age."""

import pandas as pd
import pytest

from boneage.errors import UserError
from boneage.run.seen import check_unseen, find_seen, is_external


def rows(ids, ages=60.0, fold="test"):
    return pd.DataFrame({"id": ids, "age_months": ages, "fold": fold})


def checkpoint(table):
    return {"boneage": {"split": table.to_dict("list")}}


@pytest.mark.parametrize("name", ["film", "IM0001", "0001.png"])
def test_films_of_one_name_in_folders_of_patients_are_different(name):
    trained = rows([f"P00{n}/{name}" for n in (1, 2, 3)], fold="train")
    others = rows([f"P00{n}/{name}" for n in (4, 5)])
    check_unseen(checkpoint(trained), others)
    assert is_external(checkpoint(trained), others)
    for spelling in (f"P002/{name}", f"p002\\{name.upper()}"):
        with pytest.raises(UserError, match="was trained on 1 radiograph of the test fold: "):
            check_unseen(checkpoint(trained), rows([*others["id"], spelling]))


def test_one_name_is_one_radiograph_in_any_folder():
    seen = rows(["hands/7", "hands/8"], fold="train")
    assert find_seen(rows(["7", "copy/08.png", "9"]), seen) == (["7", "copy/08.png"], [])
    read_again = pd.concat([seen, rows(["hands/7"], ages=62.0, fold="train")])
    assert find_seen(rows(["7"]), read_again) == (["7"], [])


@pytest.mark.parametrize(("known", "external"), [(4, True), (5, False)])
def test_a_data_set_is_external_if_fewer_than_half_of_it_are_known(known, external):
    """Of all folds; an id with another age is not known."""
    films = rows([f"{n}" for n in range(10)])
    folds = rows(list(films["id"][:known]), fold=["train", "val", "test", "test", "test"][:known])
    split = pd.concat([folds, rows(list(films["id"][known:]), ages=90.0)])
    assert is_external(checkpoint(split), films) is external


@pytest.mark.parametrize("fold", ["val", "test"])
def test_radiographs_of_the_starting_weights_were_trained_on(fold):
    model = checkpoint(rows(["1"], fold="train"))
    model["boneage"]["earlier"] = rows(["2"], fold="train").to_dict("list")
    check_unseen(model, rows(["3"], fold=fold), fold)
    assert is_external(model, rows(["3"]))
    assert not is_external(model, rows(["2"]))
    with pytest.raises(UserError, match=r"was trained on 1 radiograph of the .* fold: 2;"):
        check_unseen(model, rows(["2", "3"], fold=fold), fold)


def test_many_films_of_one_name_are_compared_by_their_folders_only():
    films = rows([f"P{n}/film" for n in range(20_000)], ages=float("nan"))
    assert find_seen(films, films)[1] == list(films["id"])  # 4e8 pairs would not fit in memory


def test_what_chose_the_epoch_may_be_validated_on_but_not_tested():
    model = checkpoint(pd.concat([rows(["1"], fold="train"), rows(["2"], fold="val")]))
    for fold, id_ in (("val", "2"), ("val", "3"), ("test", "3")):
        check_unseen(model, rows([id_], fold=fold), fold)
    for fold, id_ in (("val", "1"), ("test", "1"), ("test", "2")):
        with pytest.raises(UserError, match=rf"1 radiograph of the .* fold: {id_};"):
            check_unseen(model, rows([id_], fold=fold), fold)


def test_an_id_without_an_age_is_refused_too():
    for seen, asked in ((60.0, float("nan")), (float("nan"), 60.0)):
        model = checkpoint(rows(["1", "2"], ages=seen, fold="train"))
        with pytest.raises(UserError, match=r"the ids of 1 radiograph of the test fold .*: 2;"):
            check_unseen(model, rows(["2", "3"], ages=asked))


def test_an_age_in_years_is_that_in_months():
    """A table in years with three decimals, and an exported model, which has no ages."""
    seen = rows(["1", "2"], ages=[100.0, 100.0], fold="train")
    asked = rows(["1", "2"], ages=[round(100 / 12, 3) * 12, 100.02])
    assert find_seen(asked, seen) == (["1"], [])
    assert find_seen(asked, seen.assign(age_months=float("nan"))) == ([], ["1", "2"])
    assert find_seen(asked.assign(age_months=float("nan")), seen) == ([], ["1", "2"])


def test_patients_without_names_are_not_the_same_one(caplog):
    model = checkpoint(rows(["1", "2"], fold="train").assign(patient=["Ann", ""]))
    check_unseen(model, rows(["3", "4"]).assign(patient=["", "Eve"]))
    assert not caplog.text
    check_unseen(model, rows(["3", "4"]).assign(patient=["", "ANN"]))
    assert "The names of 1 patient of the test fold" in caplog.text


def test_ids_that_are_known_with_another_age_are_said(caplog):
    model = checkpoint(rows(["1", "2", "3"], fold="train"))
    assert is_external(model, rows(["1", "2", "7", "8", "9"], ages=[60.0, 62.0, 60.0, 9.0, 8.0]))
    assert "knows the ids of 1 of 5 radiographs with other ages: 2. " in caplog.text
    films = rows([f"{n}" for n in range(1200)])
    assert not is_external(checkpoint(films), films)
    assert is_external(checkpoint(films.assign(age_months=90.0)), films)
    assert "knows the ids of 1,200 of 1,200 radiographs with" in caplog.text
