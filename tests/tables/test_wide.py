from segshift.tables.table import Column, Number, Row, Table
from segshift.tables.wide import wide

COLUMNS = (
    Column("anatomy", "Anatomy", "text"),
    Column("backbone", "Backbone", "text"),
    Column("backbone_printed", "Backbone", "text", shown=False),
    Column("ds", "DS"),
    Column("dg", "DG"),
)
ROWS = (
    Row(("brain", "a", "A", Number(1.0, bold=True), Number(2.0)), {"dg": ("Note.",)}, "brain"),
    Row(("brain", "b", "B", Number(3.0), Number(4.0)), {"backbone": ("Unknown.",)}, "brain"),
    Row(("spine", "a", "A", Number(5.0), Number(6.0)), {}, "spine"),
)


def test_names_of_an_axis_stand_beside_each_other():
    found = wide(Table("t", "T", COLUMNS, ROWS), "anatomy", {"anatomy": {"brain": "Brain"}})
    assert [(column.group, column.key) for column in found.columns] == [
        ("", "backbone"),
        ("Brain", "brain_ds"),
        ("Brain", "brain_dg"),
        ("spine", "spine_ds"),
        ("spine", "spine_dg"),
    ]
    assert found.rows[0] == Row(
        ("a", Number(1.0, bold=True), Number(2.0), Number(5.0), Number(6.0)), {"brain_dg": ("Note.",)}
    )
    assert found.rows[1] == Row(
        ("b", Number(3.0), Number(4.0), Number(None), Number(None)), {"backbone": ("Unknown.",)}
    )


def test_one_name_alone_changes_nothing():
    table = Table("t", "T", COLUMNS, ROWS[:2])
    assert wide(table, "anatomy", {}) is table
    assert wide(table, None, {}) is table
