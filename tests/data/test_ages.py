"""Ages in tables: what would be misread without a word is refused or said."""

import numpy as np
import pandas as pd
import pytest

from boneage.data.tables.ages import read_numbers, years_with_months
from boneage.data.tables.columns import Columns
from boneage.data.tables.labels import read_labels
from boneage.errors import UserError
from boneage.predict.patients import read_patients

YEARS = Columns(age="age_years")
MONTHS = np.random.default_rng(0).integers(12, 216, 150)
NOTATIONS = {  # of 162 and 166 months: 13.06 and 13.10 as text, 13.06 and 13.1, 13.6 and 13.10
    "padded": lambda m: f"{m // 12}.{m % 12:02}",
    "as numbers": lambda m: f"{m // 12}.{m % 12:02}".rstrip("0").rstrip("."),
    "comma": lambda m: f'"{m // 12},{m % 12:02}"',
    "plain": lambda m: f"{m // 12}.{m % 12}",
}


@pytest.fixture
def table(tmp_path):
    def make(ages, header="id,age_years", more=None):
        cells = more or [""] * len(ages)
        lines = [f"{i},{age}{cell}" for i, (age, cell) in enumerate(zip(ages, cells, strict=True))]
        path = tmp_path / "labels.csv"
        path.write_text("\n".join([header, *lines]) + "\n")
        return path

    return make


def said(caplog):
    return [r.getMessage() for r in caplog.records if "no known sex column" not in r.getMessage()]


@pytest.mark.parametrize("notation", NOTATIONS)
def test_years_and_months_in_one_number_are_refused(table, notation):
    ages = [NOTATIONS[notation](m) for m in MONTHS]
    with pytest.raises(UserError, match=r"column 'age_years': \d+[.,]\d\d seems to be .* months"):
        read_labels(table(ages), YEARS)
    with pytest.raises(UserError, match="write all ages in months"):  # not first to set the unit
        read_labels(table(ages, "id,boneage"))
    wrong = [*ages, "12.5", "7.75"]  # a few rows in decimal years
    with pytest.raises(UserError, match="write all ages in months"):
        read_labels(table(wrong), YEARS)


def test_years_and_months_are_recognised_in_a_few_tens(table):
    """Of 13.6 for 13 years and 6 months, only the months 10 and 11 have two digits."""
    ages = [f"{year}.{month}" for year in (9, 12) for month in range(12)]
    with pytest.raises(UserError, match=r"9\.10 seems to be 9 years and 10 months"):
        read_labels(table(ages), YEARS)
    read_labels(table([*ages, "7.75"]), YEARS)
    read_labels(table([age.replace(".1", ".7") for age in ages]), YEARS)


def test_a_few_tens_among_ages_that_may_be_years_and_months_are_said(table, caplog):
    ages = ["9.3", "10.9", "8", "12.1", "9.10", "7.11"]
    assert read_labels(table(ages), YEARS)["age_months"].iloc[4] == pytest.approx(9.1 * 12)
    assert "'age_years': 9.10 is read as decimal years, but no fraction is above .11" in caplog.text
    for decimal in (
        [*ages, "7.75"],
        [*ages, "8." + 30 * "3"],
        ages[:4],
        ["9.30", "10.90", "8.00", "9.10"],
        ["9.10", "8.0"],
    ):
        caplog.clear()
        read_labels(table(decimal), YEARS)
        assert not said(caplog)


def test_the_months_of_the_example_are_right(table):
    ages = ["13.06", *[NOTATIONS["padded"](m) for m in MONTHS]]
    with pytest.raises(UserError, match=r"13\.06 seems to be 13 years and 6 months.*\(162\)"):
        read_labels(table(ages), YEARS)


@pytest.mark.parametrize(
    "write",
    [
        lambda m: f"{m / 12:.2f}",
        lambda m: f"{m / 12:.1f}",
        lambda m: f"{m / 12:.3f}",
        lambda m: f"{m // 12}.00",
        lambda m: f"{m // 12}.{m // 6 % 2 * 5}",
        lambda m: f"{round(m / 12, 2):g}",
        lambda m: f"{m // 12}.08",  # one month after each birthday
        lambda m: f"{m // 12}.5" if m > 60 else f"0.{m % 12:02}",  # and newborns
    ],
)
def test_decimal_years_are_read(table, write):
    ages = [write(m) for m in MONTHS]
    months = read_labels(table(ages), YEARS)["age_months"]
    np.testing.assert_allclose(months, 12 * np.array(ages, float))


def test_few_ages_give_no_false_alarm(table):
    ages = [NOTATIONS["padded"](m) for m in MONTHS[:9]]
    assert len(read_labels(table(ages), YEARS)) == 9


def test_random_decimal_years_are_never_taken_for_years_and_months():
    rng = np.random.default_rng(1)
    for _ in range(300):
        years = pd.Series([f"{x:.2f}" for x in rng.uniform(1, 18, 12)])
        assert years_with_months(years) is None


def test_a_year_has_no_twelfth_month_after_it():
    fractions = ["01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11"]
    years = pd.Series([f"9.{fraction}" for fraction in fractions])
    assert years_with_months(years) == "9.01"
    assert years_with_months(pd.concat([years, pd.Series(["9.12"] * 2)])) is None


@pytest.mark.parametrize(
    ("code", "said"), [("-1", "is negative"), ("9999", "is above 25 years.*code")]
)
def test_impossible_codes_of_missing_ages_are_refused(table, code, said):
    with pytest.raises(UserError, match=rf"row 3, column 'boneage': '{code}' .*{said}.*remove"):
        read_labels(table(["60", code, "70", "80", "90", "100"], "id,boneage"))


def test_the_oldest_possible_age_is_read(table):
    assert list(read_labels(table([*MONTHS, 300], "id,boneage"))["age_months"][-1:]) == [300]


def test_possible_codes_of_missing_ages_are_said(table, caplog):
    read_labels(table([*MONTHS, 0, 0], "id,boneage"))
    assert "column 'boneage': 2 ages of 0 months: if this is a code" in caplog.text
    caplog.clear()
    read_labels(table([*MONTHS, *[99] * 12], "id,boneage"))
    assert "12 ages of 99 months: if this is a code" in caplog.text
    caplog.clear()
    read_labels(table([*MONTHS, 99, 99], "id,boneage"))
    read_labels(table([*MONTHS, *[99] * 12, *[120] * 14], "id,boneage"))  # whole years are usual
    assert not said(caplog)


def test_years_among_months_are_said_where_their_fractions_tell(table, caplog):
    years = [round(month / 12, 1) for month in MONTHS[:30]]
    read_labels(table([*MONTHS[30:], *years], "id,boneage"))
    fractions = [age for age in years if age % 1]
    assert (
        f"column 'boneage': {len(fractions)} ages of at most 25 have fractions, such as "
        f"{fractions[0]}, and larger ones have hardly any: if these are years among months"
    ) in caplog.text
    for months in (MONTHS + 0.5, MONTHS, [*MONTHS, 3.5, 4.5], MONTHS / 3):  # as mean readings
        caplog.clear()
        read_labels(table(list(months), "id,boneage"))
        assert not said(caplog)


def test_a_column_of_mixed_units_is_refused(table):
    ages, units = ["120", "10", "96", "8.5"], [",months", ",Years", ",mo.", ",yr"]
    with pytest.raises(UserError, match=r"'Age unit' says years in 2 of 4 rows.*row 3: write"):
        read_labels(table(ages, "id,boneage,Age unit", units))


def test_the_units_of_other_ages_change_nothing(table, caplog):
    ages, units = ["120", "110", "96", "80"], [",months", ",years", ",months", ",years"]
    path = table(ages, "id,boneage,age_unit", units)  # of a chronological age
    assert list(read_labels(path)["age_months"]) == [120, 110, 96, 80]
    path = table(ages, "id,boneage,unit", [",years"] * 4)
    assert list(read_labels(path)["age_months"]) == [120, 110, 96, 80]
    assert not said(caplog)


def test_days_are_refused_with_advice_that_helps(table):
    days = [round(30.44 * months) for months in range(30, 130)]
    for unit in (None, "months", "years", "any"):
        with pytest.raises(UserError, match=r"if the ages are days, write months \(days / 30\.44"):
            read_labels(table(days, "id,boneage"), Columns(age_unit=unit))
    months = read_labels(table([f"{n / 30.44:.2f}" for n in days], "id,boneage"))["age_months"]
    assert list(months) == pytest.approx(list(range(30, 130)), abs=0.03)


def test_one_unit_in_a_column_is_the_unit(table, caplog):
    path = table(["10", "8.5"], "id,boneage,unit", [",years", ",Y"])
    assert list(read_labels(path)["age_months"]) == [120, 102]
    assert list(read_labels(path, Columns(age_unit="months"))["age_months"]) == [10, 8.5]
    assert "column 'boneage' is read as months, but column 'unit' says years" in caplog.text
    assert list(read_labels(path, Columns(age_unit="any"))["id"]) == ["0", "1"]
    assert caplog.text.count("is read as") == 1  # not where the unit does not matter
    path = table(["10", "8.5"], "id,boneage,unit", [",months", ",m"])  # infants
    assert list(read_labels(path)["age_months"]) == [10, 8.5]


def test_no_value_of_a_reader_is_no_reading(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("id,ann,ben\n1,60,66\n2,NA,90\n3,120,n/a\n")
    labels = read_labels(path, Columns(readers=("ann", "ben")))
    assert list(labels["age_months"]) == [63, 90, 120]


def test_another_bone_age_that_differs_is_said(tmp_path, caplog):
    path = tmp_path / "labels.csv"
    path.write_text(
        "id,boneage,bone_age_reader2,Bone age (years),bone_age_sd,male\n"
        "1,61,66,5.08,9,1\n2,90,,7.5,10,0\n3,120,121,10,11,0\n"
    )
    read_labels(path)
    (line,) = said(caplog)
    assert "is read from column 'boneage', not from 'bone_age_reader2' with other ages" in line
    caplog.clear()
    read_labels(path, Columns(age="boneage"))  # chosen
    read_labels(path, Columns(readers=("boneage", "bone_age_reader2")))
    assert not said(caplog)


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("id,bone_age_years,bone_age_months", Columns()),
        ("id,Bone age (year),Bone age (month)", Columns(age="bone age (month)")),
        ("id,years,months", Columns(age="years")),
    ],
)
def test_years_and_months_in_two_columns_are_refused(tmp_path, header, columns):
    path = tmp_path / "labels.csv"
    path.write_text(f"{header}\n1,12,3\n2,7,11\n3,0,9\n")
    with pytest.raises(UserError, match=r"years and months of one age.*write all ages in months"):
        read_labels(path, columns)


def test_one_age_in_years_and_in_months_is_read(tmp_path):
    path = tmp_path / "labels.csv"
    for rows in ("1,12.25,147,5,3\n2,0.75,9,6,2\n", "1,0.5,6,5,3\n2,0.75,9,6,2\n"):
        path.write_text(f"id,bone_age_years,bone_age_months,height_years,height_months\n{rows}")
        assert read_labels(path)["age_months"][1] == 9
    path.write_text("id,bone_age_years,bone_age_months\n1,0.5,6\n2,1,12\n")
    assert list(read_labels(path)["age_months"]) == [6, 12]


def test_years_and_months_of_a_chronological_age_are_refused(tmp_path):
    path = tmp_path / "patients.csv"
    path.write_text("id,chronological_age_months,chronological_age_years\n1,3,12\n2,,7\n")
    with pytest.raises(UserError, match="years and months of one age"):
        read_patients(path)


def test_years_and_months_in_one_chronological_age_are_said(tmp_path, caplog):
    ages = [f"{i},{NOTATIONS['padded'](m)}" for i, m in enumerate(MONTHS)]
    path = tmp_path / "patients.csv"
    path.write_text("\n".join(["id,chronological_age_years", *ages]) + "\n")
    read_patients(path)
    (line,) = said(caplog)
    assert "column 'chronological_age_years': almost no fraction is above .11" in line


@pytest.mark.parametrize(
    ("cells", "ages"),
    [
        (["1,200", "96"], [np.nan, 96]),
        (["1,200", "7.25", ""], [np.nan, 7.25, np.nan]),
        (["120,5", "1.200"], [120.5, np.nan]),
        (["1.200", "96", "1.150"], [np.nan, 96, np.nan]),
        (["1.234", "850", "1.157"], [np.nan, 850, np.nan]),  # days
        (["1.234", "100", "1.157"], [np.nan, 100, np.nan]),
        # other digits, no plain number, or too much for thousands
        (["1,200", "96", "7,5"], [1.2, 96, 7.5]),
        (["1,200", "7,125", ""], [1.2, 7.125, np.nan]),
        (["1,200", "10,125", "9"], [1.2, 10.125, 9]),
        (["0,750", "9"], [0.75, 9]),
        (["7.333", "8", "8.667"], [7.333, 8, 8.667]),  # means of three readers
        (["7.500", "8.000", "9.125"], [7.5, 8, 9.125]),
        (["1.200", "96", "7.5"], [1.2, 96, 7.5]),
    ],
)
def test_a_comma_or_point_may_separate_thousands(cells, ages):
    np.testing.assert_array_equal(read_numbers(pd.Series(cells)), ages)
