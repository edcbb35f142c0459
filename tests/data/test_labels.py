"""Label tables: every form they come in, and one clear line for every mistake."""

import datetime
import re
from dataclasses import replace
from inspect import signature
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import openpyxl
import pytest

from boneage.cli.main import app
from boneage.data.radiographs import radiograph_id
from boneage.data.tables.columns import Columns
from boneage.data.tables.labels import read_labels
from boneage.errors import UserError

STRICT_MAIN = b"http://purl.oclc.org/ooxml/spreadsheetml/main"


@pytest.fixture
def write(tmp_path):
    def make(content, name="labels.csv"):
        path = tmp_path / name
        if isinstance(content, list):
            book = openpyxl.Workbook()
            for row in content:
                book.active.append(row)
            book.save(path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def rows(table):
    return list(table.itertuples(index=False, name=None))


EXPECTED = [("1377", 180.0, "female"), ("1378", 12.0, "male"), ("0042", 94.5, "unknown")]


@pytest.mark.parametrize(
    "text",
    [
        "id,boneage,male\n1377,180,False\n1378,12,True\n0042,94.5,\n",
        "id,male,boneage\r\n1377,0,180\r\n1378,1,12\r\n0042,,94.5\r\n",
        "Image ID,male,Bone Age (months)\n1377,FALSE,180\n1378,TRUE,12\n0042,,94.5\n",
        "Case ID;Sex;Ground truth bone age (months)\n1377;F;180\n1378;M;12\n0042;;94.5\n",
        "\ufeffid\tSEX\tBoneAge\n1377\tfemale\t180\n1378\tMale\t12\n0042\tunknown\t94.5\n",
        '"id","boneage","male"\n"1377","180","False"\n"1378","12","True"\n"0042","94.5",""\n\n\n',
        "id, boneage, male\n\n1377.0, 180.0, f\n,,\n1378.0 ,12, M\n0042,94.5\n",
        "ID,Gender,Bone_Age\n1377,F,180\n1378,m,12\n0042,NA,94.5\n",
        "ID,M/F,BONEAGE\n1377,F,180\n1378,M,12\n0042,,94.5\n",
        "image_ID,Is_Male,bone_age\n1377,0.0,180\n1378,1.0,12\n0042,,94.5\n",
        "ID,female,boneage\n1377,Yes,180\n1378,no,12\n0042,unknown,94.5\n",
        'id,boneage,male\n1377,180,0\n1378,12,1\n0042,"94,5",\n',
        "id;boneage;male\n1377;180;0\n1378;12;1\n0042;94,5;\n",
        "sep=;\r\nid;boneage;male\r\n1377;180;0\r\n1378;12;1\r\n0042;94,5;\r\n",
        "id|boneage|male\n1377|180|0\n1378|12|1\n0042|94.5|\n",
        "id,boneage,male\r1377,180,0\r1378,12,1\r0042,94.5,\r",
        "id,boneage,male,,\n1377,180,0,,\n1378,12,1,,,,\n0042,94.5\n",
        "\n\n,,\nid,boneage,male\n1377,180,0\n1378,12,1\n0042,94.5,\n" + ",,\n\n" * 5000,
        'id,notes,boneage,male\n1377,"a\nb",180,0\n1378,,12,1\n0042,,94.5,\n',
    ],
)
def test_csv(write, text):
    table = read_labels(write(text))
    assert rows(table) == EXPECTED
    assert list(table.columns) == ["id", "age_months", "sex"]
    assert table["age_months"].dtype == "float64"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings(write, caplog, encoding):
    table = write("id;boneage;male\nMüller;180;0\nÉlan;12;1\n".encode(encoding))
    for _ in range(2):
        assert rows(read_labels(table)) == [("Müller", 180.0, "female"), ("Élan", 12.0, "male")]
    assert caplog.text.count("read as Windows-1252") == (encoding == "cp1252")


@pytest.mark.parametrize("above", [0, 1000])
@pytest.mark.parametrize("wide", ["3,94.5,True,,,\n", ",,,,,\n3,94.5,True\n"])
def test_separators_without_cells_after_them_are_no_cells_on_any_line(write, above, wide):
    read = [f"{n},90,True\n" for n in range(1000, 1000 + above)]
    table = read_labels(write("id,boneage,male\n" + "".join(read) + wide))
    assert rows(table)[above:] == [("3", 94.5, "male")]


def test_the_rows_decide_the_separator_not_the_header_alone(write):
    text = "id;age, read by one, in months, blinded;male\n1;120,5;1\n2;30,25;0\n"
    age = "age, read by one, in months, blinded"
    expected = [("1", 120.5, "male"), ("2", 30.25, "female")]
    assert rows(read_labels(write(text), Columns(age=age))) == expected
    for separator in (";", "semicolon"):
        assert rows(read_labels(write(text), Columns(age=age, separator=separator))) == expected
    plain = write("id,boneage,male\n1,120.5,1\n2,30.25,0\n")
    assert rows(read_labels(plain, Columns(separator="tab"))) == expected  # the header has no tab
    with pytest.raises(UserError, match=r"data\.separator=dot: must be one of semicolon, tab"):
        read_labels(plain, Columns(separator="dot"))


def test_first_sheet_with_anything_in_it(tmp_path, caplog):
    book = openpyxl.Workbook()
    labels = book.create_sheet("Labels")
    for row in ([None], [None, None], ["id", "boneage", "male"], [1377.0, 180, False]):
        labels.append(row)
    book.create_sheet("Notes").append(["read by one"])
    book.save(tmp_path / "labels.xlsx")
    assert rows(read_labels(tmp_path / "labels.xlsx")) == [("1377", 180.0, "female")]
    assert "of 2 sheets only 'Labels' is read, not 'Notes'" in caplog.text


@pytest.mark.parametrize("sex", [("F", "M"), ("female", "MALE")])
def test_xlsx(write, sex):
    header = ["Case ID", "Sex (M/F)", "Ground truth bone age (months)"]
    content = [
        header,
        [1377.0, sex[0], 180],
        [None] * 3,
        [1378, sex[1], 12.0],
        ["0042", None, 94.5],
    ]
    assert rows(read_labels(write(content, "Bone age ground truth.XLSX"))) == EXPECTED


def test_formulas_without_a_value_are_said(tmp_path, caplog):
    """As openpyxl and R write them; a spreadsheet program would have stored their values."""
    book = openpyxl.Workbook()
    for row in (["id", "boneage", "sex"], [1377, 180, '=IF(1=1,"F","M")'], [1378, 120, "M"]):
        book.active.append(row)
    book.save(tmp_path / "labels.xlsx")
    assert list(read_labels(tmp_path / "labels.xlsx")["sex"]) == ["unknown", "male"]
    assert caplog.text.count("1 formula without a computed value, read as empty") == 1


def test_cells_with_an_error_are_said(write, caplog):
    content = [["id", "boneage", "sex", "male"], [1, 60, "#REF!", "#N/A"], [2, 70, "M", "#DIV/0!"]]
    assert list(read_labels(write(content, "labels.xlsx"), Columns(sex="sex"))["sex"]) == [
        "unknown",
        "male",
    ]
    assert caplog.text.count("2 cells with an error, such as #REF!, read as empty") == 1


def test_rows_that_a_filter_hides_are_read_and_said(tmp_path, caplog):
    book = openpyxl.Workbook()
    for row in (["id", "boneage"], [1, 60], [2, 70], [3, 80]):
        book.active.append(row)
    book.active.auto_filter.ref = "A1:B4"
    for row in (2, 4, 9):  # the last is empty
        book.active.row_dimensions[row].hidden = True
    book.save(tmp_path / "labels.xlsx")
    assert list(read_labels(tmp_path / "labels.xlsx")["id"]) == ["1", "2", "3"]
    assert caplog.text.count("labels.xlsx: 2 rows are hidden, perhaps by a filter, but read") == 1


def test_xlsx_with_truth_values(write):
    content = [
        ["id", "boneage", "male"],
        [1377, 180, False],
        [1378, 12, True],
        ["0042", 94.5, None],
    ]
    assert rows(read_labels(write(content, "labels.xlsx"))) == EXPECTED


def test_own_columns_and_years(write):
    path = write("patient,chronological,years,gender,id\nx/7,9,2.5,F,1\n../8,3,0,M,2\n")
    columns = Columns(id="patient", age="years", sex="gender", age_unit="years")
    assert rows(read_labels(path, columns)) == [
        ("x/7", 30.0, "female"),
        ("../8", 0.0, "male"),
    ]


@pytest.mark.parametrize(
    ("column", "cells", "expected"),
    [
        ("male", "1 0 true FALSE", "male female male female"),
        ("is_male", "1 0", "male female"),
        ("Female?", "1 0 False", "female male male"),
        ("male/female", "M F female", "male female female"),
    ],
)
def test_yes_and_no_answer_the_question_in_the_column_name(write, column, cells, expected):
    lines = [f"{i},60,{cell}" for i, cell in enumerate(cells.split())]
    table = read_labels(write("\n".join([f"id,boneage,{column}", *lines])), Columns(sex=column))
    assert list(table["sex"]) == expected.split()


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("Geschlecht", "m w"),
        ("Geschlecht", "männlich weiblich"),
        ("SEXE", "M F"),
        ("sexe", "garçon fille"),
        ("SEXE", "MASCULIN FEMININ"),
        ("Cinsiyet", "Erkek Kız"),
        ("CİNSİYET", "ERKEK KADIN"),
    ],
)
def test_sexes_in_german_french_and_turkish(write, column, cells):
    male, female = cells.split()
    table = read_labels(write(f"id,boneage,{column}\n1,60,{male}\n2,70,{female}\n"))
    assert list(table["sex"]) == ["male", "female"]


@pytest.mark.parametrize("cells", ["E K", "H M", "J M", "K M", "m d", "1 2"])
def test_letters_of_another_sex_in_another_language_are_refused(write, cells):
    """K is kadin or Knabe, and M next to H is mujer."""
    for column in ("sex", "cinsiyet", "geschlecht"):
        first, second = cells.split()
        with pytest.raises(UserError, match=r"is not a sex: write M \(male\), F \(female\) or no"):
            read_labels(write(f"id,boneage,{column}\n1,60,{first}\n2,70,{second}\n"))


@pytest.mark.parametrize("column", ["hasta no", "UHID", "IPP", "Fallnummer", "Name"])
def test_a_column_that_may_name_patients_in_other_languages_is_said(write, column, caplog):
    read_labels(write(f"id,boneage,sex,{column}\n1,60,F,A\n2,70,F,A\n3,80,M,B\n"))
    assert f"column {column!r} has 2 values in 3 rows. If it names the patients" in caplog.text


def test_a_number_that_answers_no_question_is_refused(write):
    with pytest.raises(UserError, match="'1' is not a sex"):
        read_labels(write("id,boneage,male/female\n1,26,1\n"), Columns(sex="male/female"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,boneage\n1,60\n2,70\n", "no known sex column, so the sex of all 2 rows is unknown"),
        (
            "id,boneage,Sexo\n1,60,h\n2,70,m\n",
            "looks like a sex column: 'Sexo' (rename",
        ),
        ("id,boneage,x\n1,60,F\n2,70,M\n", "looks like a sex column: 'x'"),
        ("id,boneage,Gender\n1,60,\n2,70,NA\n", "'Gender' contains no sex, so the sex of all 2"),
        (
            "id,boneage,male,sex\n1,60,1,F\n2,70,0,F\n",
            "'male', which column 'sex' contradicts in 1 of 2 rows",
        ),
    ],
)
def test_sexes_that_are_not_read_are_said(write, text, said, caplog):
    read_labels(write(text))
    (record,) = caplog.records
    assert re.search(said.replace("(", r"\("), record.getMessage())


@pytest.mark.parametrize(
    "text",
    [
        "id,boneage,male,female\n1,60,1,0\n2,70,0,1\n",
        "id,boneage,sex,reader,female_hormone\n" + "".join(f"{i},60,M,A,{i}.5\n" for i in range(5)),
    ],
)
def test_nothing_is_said_where_the_sexes_are_read(write, text, caplog):
    read_labels(write(text))
    assert not caplog.records


def test_without_sex_column_all_are_unknown(write):
    assert rows(read_labels(write("id,boneage\n1,26\n"))) == [("1", 26.0, "unknown")]


HEADER = "id,boneage,male\n1,10,True\n"
MISTAKES = {
    "age empty": (HEADER + "2,,True\n", r"row 3, column 'boneage': '' is empty"),
    "age no number": (HEADER + "\n2,ten,True\n", r"row 4, column 'boneage': 'ten' is not a number"),
    "age nan": (HEADER + "2,nan,True\n", r"row 3.*'nan' is not a number"),
    "age infinite": (HEADER + "2,inf,True\n", r"row 3.*'inf' months is above 25 years"),
    "age negative": (
        HEADER + "2,-3,True\n3,-4,True\n",
        r"row 3.*'-3' is negative.*\(2 such rows\)",
    ),
    "too old": (HEADER + "2,301,True\n", r"row 3.*'301' months is above 25 years.*data\.age_unit"),
    "sex": (HEADER + "2,30,lad\n", r"row 3, column 'male': 'lad' is not a sex"),
    "id empty": (HEADER + ",30,True\n", r"row 3, column 'id': '' is empty"),
    "ids twice": (
        HEADER + "".join(f"{i},30,True\n{i}.0,31,False\n" for i in range(1, 8)),
        r"7 ids more than once in column 'id': 1, 2, 3, 4, 5, \.\.\.; keep.*each reader.*folders",
    ),
    "no id": ("name,boneage\n1,2\n", r"no id column \(it has name, boneage\).*data\.columns\.id="),
    "no age": ("id,months,male\n1,2,True\n", r"has id, months, male\).*data\.columns\.age="),
    "Kaggle test": ("Case ID,Sex\n4360,M\n", r"no age column \(it has Case ID, Sex\).*Kaggle"),
    "age as text": (HEADER + "2,7y 3m,True\n", r"row 3.*'7y 3m' is not a number"),
    "age as date": (HEADER + "2,2009-03-01,True\n", r"row 3.*'2009-03-01' is not a number"),
    "age in days": (HEADER + "2,4015,True\n", r"row 3.*'4015' months is above 25 years"),
    "thousands": (HEADER + '2,118,True\n3,"1,200",True\n', r"row 4.*'1,200' is not a number"),
    "column twice in other case": ("id,boneage,ID\n1,200,3\n", "several columns called 'id'"),
    "title above the header": (
        "Bone ages\nno,boneage,male\n1,90,1\n",
        r"no id column \(it has Bone ages",
    ),
    "column twice": ("id,boneage,id\n1,2,3\n", r"several columns called 'id'"),
    "1/0 for sex": ("id,boneage,Sex\n1,26,1\n", r"row 2, column 'Sex': '1' is not a sex.*'male'"),
    "no rows": ("id,boneage,male\n", "no rows"),
    "empty": ("", "is empty"),
    "blank": ("\n\n", "is empty"),
    "ragged far below": (
        HEADER + "2,3,True\n" * 300 + "2,3,True,4\n",
        r"line 303 has more cells than the header, which has 3",
    ),
    "ragged": (HEADER + "2,3,True,4\n", r"line 3 has more cells than the header, which has 3"),
    "not text": (b"id,\0\1\2", r"cannot be read.*UTF-8"),
    "quote never closed": (
        HEADER + '2,30,"True\n3,31,True\n',
        r"cannot be read as a table \(.*inside string.*quotation mark near line 3$",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(write, mistake):
    content, said = MISTAKES[mistake]
    path = write(content)
    with pytest.raises(UserError, match=said) as caught:
        read_labels(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_mistakes_in_a_spreadsheet(write):
    header = ["id", "boneage", "male"]
    with pytest.raises(UserError, match=r"row 4, column 'boneage': 'x' is not a number"):
        read_labels(write([header, [1, 2, True], [None] * 3, [2, "x", True]], "labels.xlsx"))
    two_rows = [["id", "male", "Bone age", None], [None, None, "ann", "ben"], [1, 1, 90, 96]]
    with pytest.raises(UserError, match=r"line 2 has more cells than .* name, all in one row"):
        read_labels(write(two_rows, "labels.xlsx"))
    with pytest.raises(UserError, match=r"labels\.xlsx cannot be read as a table"):
        read_labels(write(b"PK\x03\x04 cut off", "labels.xlsx"))


@pytest.mark.parametrize(
    "text",
    [
        "Bone ages of our clinic,,\nid,boneage,male\n1377,180,False\n1378,12,True\n0042,94.5,\n",
        "Our clinic\n\n# 2024\nid;boneage;male\n1377;180;0\n1378;12;1\n0042;94.5;\n",
        "Patient,Reading,\nid,boneage,male\n1377,180,0\n1378,12,1\n0042,94.5,\n",
        "Our clinic,,\nPatient,,Read\nid,male,boneage\n1377,0,180\n1378,1,12\n0042,,94.5\n",
    ],
)
def test_a_title_above_a_known_header_is_passed_over_and_said(write, text, caplog):
    assert rows(read_labels(write(text))) == EXPECTED
    line = 1 + text.splitlines().index(next(li for li in text.splitlines() if "boneage" in li))
    assert f"line {line} is read as the header" in caplog.text
    bad = text.replace("94.5", "x")
    with pytest.raises(UserError, match=f"row {line + 3}, column 'boneage': 'x' is not a number"):
        read_labels(write(bad))


CONTENT = [["id", "boneage", "male"], [1377, 180, 0], [1378, 12, 1], ["0042", 94.5, None]]


def test_the_only_sheet_with_ids_is_read_and_named(tmp_path, caplog):
    book = openpyxl.Workbook()
    book.active.append(["see the other sheet"])
    for row in (["Our clinic"], [], *CONTENT):
        book.create_sheet("Data") if "Data" not in book.sheetnames else None
        book["Data"].append(row)
    book.save(tmp_path / "labels.xlsx")
    assert rows(read_labels(tmp_path / "labels.xlsx")) == EXPECTED
    assert "of 2 sheets only 'Data' is read, not 'Sheet'" in caplog.text
    assert "line 3 is read as the header" in caplog.text


def test_cells_merged_over_rows_are_named(tmp_path, caplog):
    book = openpyxl.Workbook()
    for row in (["Hands", "", ""], ["id", "boneage", "sex"], ["1", 60, "F"], ["2", 72, None]):
        book.active.append(row)
    book.active.merge_cells("A1:C1")
    book.active.merge_cells("C3:C4")
    book.save(tmp_path / "labels.xlsx")
    assert list(read_labels(tmp_path / "labels.xlsx")["sex"]) == ["female", "unknown"]
    said = "of merged cells only the first has the value: fill all of C3:C4"
    assert [said in record.getMessage() for record in caplog.records].count(True) == 1


@pytest.mark.parametrize("with_ids", [True, False])
def test_a_hidden_sheet_is_not_read(tmp_path, caplog, with_ids):
    book = openpyxl.Workbook()
    for sheet in (book.active, book.create_sheet("shown")):
        for row in [["id", "boneage"], [9, 9]] if sheet is book.active else CONTENT:
            sheet.append(row if with_ids or row[0] != "id" else ["film", *row[1:]])
    book.active.title, book.active.sheet_state = "old", "hidden"
    book.active = book["shown"]
    book.save(tmp_path / "labels.xlsx")
    columns = Columns() if with_ids else Columns(id="film")
    assert len(read_labels(tmp_path / "labels.xlsx", columns)) == 3
    assert "of 2 sheets only 'shown' is read, not 'old'" in caplog.text


def test_a_hidden_sheet_with_the_only_ids_is_read(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["see the other sheet"])
    for row in CONTENT:
        book["Data" if "Data" in book.sheetnames else book.create_sheet("Data").title].append(row)
    book["Data"].sheet_state = "hidden"
    book.save(tmp_path / "labels.xlsx")
    assert rows(read_labels(tmp_path / "labels.xlsx")) == EXPECTED


def test_a_row_below_a_header_with_a_nameless_column_is_no_header(write):
    path = write(",film,boneage,kind,male\n0,1377,180,image,0\n1,1378,12,image,1\n")
    assert list(read_labels(path, Columns(id="film"))["age_months"]) == [180, 12]


def test_a_first_sheet_with_ids_stays_the_one_that_is_read(tmp_path):
    book = openpyxl.Workbook()
    for sheet in (book.active, book.create_sheet("more")):
        for row in CONTENT if sheet is book.active else [CONTENT[0], [9, 9, 1]]:
            sheet.append(row)
    book.save(tmp_path / "labels.xlsx")
    assert rows(read_labels(tmp_path / "labels.xlsx")) == EXPECTED


def test_what_a_file_contains_decides_not_its_suffix(write, tmp_path, caplog):
    write(CONTENT, "a.xlsx").rename(tmp_path / "a.csv")
    assert rows(read_labels(tmp_path / "a.csv")) == EXPECTED
    assert "a.csv is read as an xlsx file, despite its name" in caplog.text
    text = "id,boneage,male\n1377,180,0\n1378,12,1\n0042,94.5,\n"
    assert rows(read_labels(write(text, "b.xlsx"))) == EXPECTED
    assert "b.xlsx is read as a csv file, despite its name" in caplog.text


@pytest.mark.parametrize("name", ["radiographs.zip", "labels.xlsx"])
def test_an_archive_in_place_of_a_table_is_called_one(tmp_path, caplog, name):
    with ZipFile(tmp_path / name, "w") as archive:
        archive.writestr("1378.png", b"")
    with pytest.raises(UserError, match=rf"{name} is a zip archive, not a table: unpack it"):
        read_labels(tmp_path / name)
    assert not caplog.text  # such as that it is read as an xlsx file


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "a.xls",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            r"a\.xls: \.xls files are not supported: save it",
        ),
        ("a.ods", b"PK\x03\x04", r"a\.ods: \.ods files are not supported: save it as xlsx or csv"),
        (
            "a.xlsx",
            b"\xd0\xcf\x11\xe0\xa1\xb1",
            "old Excel file, or has a password: save it as xlsx",
        ),
    ],
)
def test_other_kinds_of_tables_are_told_how_to_be_saved(write, name, content, said):
    with pytest.raises(UserError, match=said):
        read_labels(write(content, name))


@pytest.mark.parametrize("cell", ["=12*8", "#N/A"])
def test_a_cell_that_was_never_computed_is_said(write, cell):
    with pytest.raises(
        UserError, match=r"row 2, column 'boneage': '' is empty.*#N/A counts as empty, and"
    ):
        read_labels(write([CONTENT[0], [1, cell, 1]], "labels.xlsx"))


@pytest.mark.parametrize(
    ("column", "cell", "has", "other"),
    [("male", "1", "male", "female"), ("sex", "F", "female", "male")],
)
def test_a_column_of_one_sex_and_blanks_is_said(write, caplog, column, cell, has, other):
    path = write(f"id,boneage,{column}\n1,60,{cell}\n2,70,\n3,80,\n")
    assert list(read_labels(path)["sex"]) == [has, "unknown", "unknown"]
    said = f"column '{column}' contains only {has}, and no sex in 2 rows, which count as unknown"
    assert said in caplog.text
    assert f"if these are {other}, fill them in" in caplog.text
    caplog.clear()
    read_labels(write(f"id,boneage,{column}\n1,60,{cell}\n2,70,{cell}\n"))  # a clinic of boys
    read_labels(write("id,boneage,sex\n1,60,M\n2,70,F\n3,80,\n"))
    assert not caplog.text


def test_a_separator_that_does_not_fit_is_said(write, caplog):
    path = write("id,boneage,male\n1377,180,0\n1378,12,1\n0042,94.5,\n")
    assert rows(read_labels(path, Columns(separator="tab"))) == EXPECTED
    assert "data.separator=tab is not in its header: read with comma" in caplog.text


@pytest.mark.parametrize(
    ("column", "cells", "expected"),
    [
        ("Gender", "Boy GIRL man Woman", "male female male female"),
        ("male", "T F T F", "male female male female"),
        ("female", "T F T F", "female male female male"),
        ("female", "M F M F", "male female male female"),
    ],
)
def test_other_words_for_sexes(write, column, cells, expected):
    lines = [f"{i},60,{cell}" for i, cell in enumerate(cells.split())]
    table = read_labels(write("\n".join([f"id,boneage,{column}", *lines])))
    assert list(table["sex"]) == expected.split()


def test_one_age_typed_wrongly_does_not_hide_that_ages_are_years(write):
    years = [1 + i % 18 for i in range(60)]
    rows = [f"{i},{age},1" for i, age in enumerate([*years, 105])]  # 10.5 without its point
    path = write("\n".join(["id,boneage,male", *rows]))
    with pytest.raises(UserError, match=r"at most 17 \(the highest is 105\).*data\.age_unit=years"):
        read_labels(path)
    with pytest.raises(UserError, match=r"row 62.*'105' years is above 25"):
        read_labels(path, Columns(age_unit="years"))
    few_infants = [f"{i},{age},1" for i, age in enumerate([9, 14, 20, 150])]
    months = read_labels(write("\n".join(["id,boneage,male", *few_infants])))["age_months"]
    assert list(months) == [9, 14, 20, 150]


def test_years_taken_for_months(write):
    path = write("id,boneage,male\n1,17.5,1\n2,3,0\n")
    with pytest.raises(UserError, match=r"at most 17\.5 .*data\.age_unit=years.*=months"):
        read_labels(path)
    assert list(read_labels(path, Columns(age_unit="years"))["age_months"]) == [210.0, 36.0]
    infants = read_labels(path, Columns(age_unit="months"))
    assert list(infants["age_months"]) == [17.5, 3.0]


@pytest.mark.parametrize(
    ("column", "age", "months"),
    [
        ("Bone age (years)", 17.5, 210.0),
        ("age_years", 17.5, 210.0),
        ("Alter in months", 9, 9.0),
        *((f"Alter {words}", 17.5, 210.0) for words in ("(Jahre)", "in Jahren", "[ans]")),
        *((f"Edad_{word}", 17.5, 210.0) for word in ("años", "AN\u0303OS", "yıl")),
        *((f"Alter ({word})", 9, 9.0) for word in ("Monate", "in Monaten", "mois", "meses", "ay")),
    ],
)  # fmt: skip
def test_the_name_of_the_column_says_the_unit(write, column, age, months):
    table = read_labels(write(f"id,{column}\n1,{age}\n"), Columns(age=column))
    assert list(table["age_months"]) == [months]


def test_what_a_spreadsheet_program_makes_of_ages_and_ids(write):
    header = ["id", "boneage", "male"]
    path = write([header, [1, datetime.datetime(2009, 3, 7), True]], "labels.xlsx")
    with pytest.raises(UserError, match=r"row 2, column 'boneage': '2009-03-07' is not a number"):
        read_labels(path)
    path = write([header, [datetime.datetime(2009, 3, 7), 90, True]], "labels.xlsx")
    assert list(read_labels(path)["id"]) == ["2009-03-07"]
    for rounded in ("1.23457E+12", "1,23457E+12", "1E+05"):  # also with a decimal comma
        with pytest.raises(UserError, match=rf"'{re.escape(rounded)}' was rounded"):
            read_labels(write(f"id;boneage\n{rounded};90\n"))


def test_long_ids_that_a_spreadsheet_stored_as_numbers_are_refused(tmp_path):
    book = openpyxl.Workbook()
    for row in (["id", "boneage"], ["1268071029320123456", 90], [123456789012345, 80]):
        book.active.append(row)
    book.save(tmp_path / "labels.xlsx")
    assert list(read_labels(tmp_path / "labels.xlsx")["id"]) == [
        "1268071029320123456",
        "123456789012345",
    ]
    book.active["A2"] = 1268071029320123456  # of which Excel keeps 15 digits
    book.save(tmp_path / "labels.xlsx")
    with pytest.raises(UserError, match=r"row 2.*'1.26807102932012E\+18' was rounded .* as text"):
        read_labels(tmp_path / "labels.xlsx")


def test_a_workbook_that_openpyxl_fails_on_is_one_line(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["id", "boneage"])
    book.create_chartsheet("Chart")  # without a chart
    book.save(tmp_path / "labels.xlsx")
    with pytest.raises(UserError, match=r"labels\.xlsx cannot be read as a table"):
        read_labels(tmp_path / "labels.xlsx")


def _write_plain(path):
    book = openpyxl.Workbook()
    for row in (["id", "boneage"], [1377, 180], [1378, 12]):
        book.active.append(row)
    book.save(path)


def _change(path, part, change):
    """Write a workbook again with one of its parts changed."""
    with ZipFile(path) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    with ZipFile(path, "w") as book:
        for name, content in parts.items():
            book.writestr(name, change(content) if part in (name, "all") else content)


@pytest.mark.parametrize("part", ["xl/worksheets/sheet1.xml", "xl/workbook.xml", "xl/styles.xml"])
def test_a_damaged_part_of_a_workbook_is_one_line(part, tmp_path):
    path = tmp_path / "labels.xlsx"
    _write_plain(path)
    _change(path, part, lambda xml: xml[: len(xml) // 2])
    with pytest.raises(UserError, match=r"labels\.xlsx cannot be read as a table"):
        read_labels(path)


def test_a_workbook_with_damaged_compression_is_one_line(tmp_path):
    path = tmp_path / "labels.xlsx"
    _write_plain(path)
    content = bytearray(path.read_bytes())
    with ZipFile(path) as book:
        part = book.getinfo("xl/worksheets/sheet1.xml")
    start = part.header_offset + 30 + len(part.filename)
    content[start : start + 20] = b"\xff" * 20
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"labels\.xlsx cannot be read as a table"):
        read_labels(path)


def test_cells_are_warned_of_where_names_have_a_prefix(tmp_path, caplog):
    path = tmp_path / "labels.xlsx"
    book = openpyxl.Workbook()
    for row in (["id", "boneage", "sex"], [1377, 180, '=IF(1=1,"F","M")'], [1378, 12, "M"]):
        book.active.append(row)
    book.active.row_dimensions[3].hidden = True
    book.active.merge_cells("E1:E2")
    book.save(path)
    _change(
        path,
        "xl/worksheets/sheet1.xml",
        lambda xml: re.sub(rb"(</?)(?=\w)", rb"\1x:", xml).replace(b" xmlns=", b" xmlns:x="),
    )
    assert list(read_labels(path)["sex"]) == ["unknown", "male"]
    assert "1 formula without a computed value" in caplog.text
    assert "1 row is hidden" in caplog.text
    assert "fill all of E1:E2" in caplog.text


def test_a_workbook_that_would_fill_the_memory_is_refused(tmp_path):
    path = tmp_path / "labels.xlsx"
    _write_plain(path)
    with ZipFile(path, "a", ZIP_DEFLATED) as book, book.open("xl/worksheets/b.xml", "w") as sheet:
        for _ in range(600):
            sheet.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    with pytest.raises(UserError, match=r"labels\.xlsx unpacks to 0\.6 GB, far more than a table"):
        read_labels(path)


def test_a_strict_workbook_is_named(tmp_path):
    """Excel calls the format "Strict Open XML Spreadsheet"; pandas sees no sheets in it."""
    path, usual = tmp_path / "labels.xlsx", b"http://schemas.openxmlformats.org/"
    _write_plain(path)
    _change(path, "all", lambda xml: xml.replace(usual + b"spreadsheetml/2006/main", STRICT_MAIN))
    with pytest.raises(UserError, match=r"Strict Open XML file: save it as a usual xlsx file"):
        read_labels(path)


def test_drop_down_lists_are_no_warnings(tmp_path, recwarn):
    """openpyxl warns of lists as Excel stores them, which are no cells."""
    path = tmp_path / "labels.xlsx"
    _write_plain(path)
    extension = (
        b'<extLst><ext uri="{CCE6A557-97BC-4b89-ADB6-D9C93CAAB3DF}" xmlns:x14="http://schemas'
        b'.microsoft.com/office/spreadsheetml/2009/9/main"/></extLst></worksheet>'
    )
    _change(path, "xl/worksheets/sheet1.xml", lambda xml: xml.replace(b"</worksheet>", extension))
    assert list(read_labels(path)["id"]) == ["1377", "1378"]
    assert not recwarn.list


@pytest.mark.parametrize("name", ["labels.csv", "labels.xlsx"])
def test_invisible_characters_are_no_part_of_an_id(name, write):
    """Text that was copied from a page, or from the properties of a file, has such marks."""
    marked = ["\u200e1377", "1378\u200b", "\u2068 1379\u2069"]
    content = [["\u2060id", "bone\u00adage"], *[[id_, 60] for id_ in marked]]
    if name.endswith("csv"):
        content = "\n".join(",".join(map(str, row)) for row in content)
    assert list(read_labels(write(content, name))["id"]) == ["1377", "1378", "1379"]
    assert [radiograph_id(Path(f"{id_}.png")) for id_ in marked] == ["1377", "1378", "1379"]


def test_rows_that_stray_quotation_marks_join_are_refused(write):
    rows_ = [f"{n},{n},ok" for n in range(60, 70)]
    rows_[2], rows_[5] = '62,62,"left', '65,65,"left'
    path = write("id,boneage,comment\n" + "\n".join(rows_))
    with pytest.raises(UserError, match=r"lines 4 to 7 are read as one row, because a quotation"):
        read_labels(path)
    rows_[2], rows_[5] = '62,62,"of two, or ""more"" , \r\nlines" ', '65,65,12" film'
    rows_[7] = '67 , "67" ,"left \nhand" '
    path = write("id,boneage,comment\n" + "\n".join(rows_))
    assert list(read_labels(path)["age_months"]) == list(range(60, 70))


def test_months_taken_for_years(write):
    with pytest.raises(UserError, match=r"'180' years is above 25.*one unit for the ages and all"):
        read_labels(write("id,boneage\n1,180\n"), Columns(age_unit="years"))
    with pytest.raises(UserError, match=r"data\.age_unit=days"):
        read_labels(write("id,boneage\n1,180\n"), Columns(age_unit="days"))


@pytest.mark.parametrize("meaning", ["id", "age", "sex"])
def test_column_asked_for_by_name_is_absent(write, meaning):
    with pytest.raises(UserError, match=rf"no column 'mine'.*data\.columns\.{meaning}="):
        read_labels(write(HEADER), Columns(**{meaning: "mine"}))


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"gone\.csv: no such table"):
        read_labels(tmp_path / "gone.csv")
    with pytest.raises(UserError, match=r"is a folder: give a table, a csv or xlsx file$"):
        read_labels(tmp_path)


READERS = Columns(readers=("ann", "ben"))


def test_the_mean_of_the_readers_is_the_truth_where_there_is_no_age(write):
    path = write("id,ann,ben,sex\n1,60,66,M\n2,,90,F\n3,120,,M\n")
    table = read_labels(path, READERS)
    assert list(table["age_months"]) == [63.0, 90.0, 120.0]
    assert table["reader_ann"].tolist()[::2] == [60.0, 120.0]
    assert table["reader_ann"].isna().tolist() == [False, True, False]
    assert table["reader_ben"].isna().tolist() == [False, False, True]


def test_an_age_beside_the_readers_is_the_truth(write):
    path = write("id,boneage,ann,ben\n1,61,60,66\n2,90,,\n")  # a row that nobody has read
    table = read_labels(path, READERS)
    assert list(table["age_months"]) == [61.0, 90.0]
    assert table[["reader_ann", "reader_ben"]].isna().all(axis=1).tolist() == [False, True]


def test_readings_in_years(write):
    path = write("id,ann,ben\n1,5,5.5\n2,7.25,\n")
    table = read_labels(path, replace(READERS, age_unit="years"))
    assert list(table["age_months"]) == [63.0, 87.0]
    assert table["reader_ann"].tolist() == [60.0, 87.0]
    named = Columns(readers=("ann years", "ben months"))  # each column says its own unit
    table = read_labels(write("id,ann years,ben months\n1,5,66\n"), named)
    assert list(table["age_months"]) == [63.0]


@pytest.mark.parametrize(
    ("text", "readers", "said"),
    [
        ("id,ann\n1,60\n", ("ann",), "names one column: give two readers or more"),
        ("id,ann\n1,60\n", ("ann", "ann"), "names 'ann' more than once"),
        ("id,ann\n1,60\n", ("ann", "ben"), r"names 'ben', which .*labels\.csv lacks \(it has"),
        ("id,ann,ben\n1,60,\n2,70,\n", ("ann", "ben"), "column 'ben' has no reading: leave it"),
        (
            "id,ann,ben\n1,60,70\n2,,\n3,,\n",
            ("ann", "ben"),
            r"row 3, column 'id': '2' has no reading: give one, or remove the row \(2 such rows\)",
        ),
        ("id,ann,ben\n1,60,70\n2,70,x\n", ("ann", "ben"), "row 3, column 'ben': 'x' is not a num"),
        (
            "id,ann,ben\n1,60,7\n2,70,8\n",
            ("ann", "ben"),
            r"column 'ben': nine ages in ten are at most 8 \(the highest is 8\), which",
        ),
    ],
)
def test_readers_that_cannot_be_read_are_refused(write, text, readers, said):
    with pytest.raises(UserError, match=said):
        read_labels(write(text), Columns(readers=readers))


def test_a_table_of_single_ages_has_no_readers(write):
    table = read_labels(write("id,boneage\n1,60\n"), READERS)
    assert list(table.columns) == ["id", "age_months", "sex"]


def test_one_name_of_a_reader_is_no_list_of_letters():
    assert Columns.of({"readers": "ann"}, []).readers == ("ann",)


def test_a_hint_names_commands_that_have_the_option(write, caplog):
    read_labels(write("id,boneage,Sexo\n1,60,F\n2,70,M\n"))
    commands = re.search(r"--column sex= in boneage ([\w, ]+)\)", caplog.text)[1].split(", ")
    with_option = {
        command.callback.__name__
        for command in app.registered_commands
        if "column" in signature(command.callback).parameters
    }
    assert {*commands} == with_option


def test_other_numbers_to_learn(tmp_path):
    columns = Columns.of({"labels": "height"}, ["height"])
    file, own = tmp_path / "t.csv", "1,60,M,110.5\n2,72,F,120\n"
    file.write_text(f"id,boneage,sex,height\n{own}")
    table = read_labels(file, columns)
    assert table["label_height"].tolist() == [110.5, 120]
    assert table["height"].tolist() == ["110.5", "120"]  # results are grouped by it as well
    file.write_text(f"id,boneage,sex,height\n{own}3,84,M,\n4,84,M,n/a\n")
    assert read_labels(file, columns)["label_height"].isna().tolist() == [False] * 2 + [True] * 2
    for cell in ("tall", "inf"):
        file.write_text(f"id,boneage,sex,height\n{own}3,84,M,{cell}\n")
        with pytest.raises(UserError, match=f"row 4, column 'height': '{cell}' is not a number"):
            read_labels(file, columns)
    message = r"data\.columns\.labels names 'weight', which .* lacks .*; add the column, with empty"
    with pytest.raises(UserError, match=message):
        read_labels(file, Columns.of({"labels": ["weight"]}, ()))
