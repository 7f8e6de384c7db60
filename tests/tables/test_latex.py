import re
import shutil
import subprocess

import pytest

from segshift.tables.latex import escaped, to_latex
from segshift.tables.paper import broken
from segshift.tables.table import Column, Number, Row, Table

COLUMNS = (
    Column("anatomy", "Anatomy", "text"),
    Column("backbone", "Backbone", "text"),
    Column("head", "Head", "text"),
    Column("hidden", "Hidden", "text", shown=False),
    Column("train_params_m", "#Par.", "millions"),
    Column("brain_ds", "DS", group="Brain"),
    Column("brain_ov", "OV", group="Brain"),
    Column("spine_ds", "DS", group="Spine"),
    Column("loss", "Loss %", "percent"),
)


def row(section, backbone, head, *numbers, notes=None):
    return Row((section, backbone, head, "x", Number(0.05224), *numbers), notes or {}, section)


TABLE = Table(
    "table_4.5",
    "Heads & 100 % more",
    COLUMNS,
    (
        row("brain", "unet", "own", Number(100 / 3, bold=True), Number(50.0), Number(1.0), Number(-2.5)),
        row("brain", "unet", "da", Number(12.0, spread=0.125), Number(None), Number(1.0), Number(0.0),
            notes={"brain_ov": ("Missing: hcp1/a_b/full on two.",)}),
        row("spine", "unet", "own", Number(1.0), Number(2.0), Number(3.0), Number(-0.001),
            notes={"backbone": ("Unknown.",)}),
    ),
    ("A remark: 5 → 6.",),
    partial=True,
    number="4.5",
)  # fmt: skip
LABELS = {"backbone": {"unet": "U-Net_1"}}


def bodies(text):
    """The lines of each tabular."""
    return [part.split("\\end{tabular}")[0].split("\n") for part in text.split("\\begin{tabular}")[1:]]


def check_structure(text, columns):
    """Every line has as many cells as there are columns, and what is opened is closed."""
    opened = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    bare = re.sub(r"\\[\\{}%&#$_]", "", text)
    assert bare.count("{") == bare.count("}")
    lines = [line for body in bodies(text) for line in body if line.endswith(r"\\")]
    assert lines
    for line in lines:
        spans = [int(width) - 1 for width in re.findall(r"\\multicolumn\{(\d+)\}", line)]
        assert len(re.findall(r"(?<!\\)&", line)) + 1 + sum(spans) == columns


def compile_if_possible(folder, text):
    if shutil.which("pdflatex"):
        (folder / "table.tex").write_text(text)
        (folder / "page.tex").write_text(
            "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\\input{table}\\end{document}"
        )
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:]


def test_a_table_has_a_header_of_two_levels_bold_sections_and_notes(tmp_path):
    text = to_latex(TABLE, LABELS)
    assert bodies(text)[0][1:-1] == [
        r"\toprule",
        r" &  &  &  & \multicolumn{2}{c}{Brain} & \multicolumn{1}{c}{Spine} &  \\",
        r"\cmidrule(lr){5-6} \cmidrule(lr){7-7}",
        r"Anatomy & Backbone & Head & \#Par. & DS & OV & DS & Loss \% \\",
        r"\midrule",
        r"brain & U-Net\_1 & own & 52.24K & \textbf{33.33} & 50.00 & 1.00 & $-$2.50 \\",
        r" &  & da & 52.24K & 12.00 $\pm$ 0.13 & --\textsuperscript{1} & 1.00 & 0.00 \\",
        r"\midrule",
        r"spine & U-Net\_1\textsuperscript{2} & own & 52.24K & 1.00 & 2.00 & 3.00 & 0.00 \\",
        r"\bottomrule",
    ]
    assert r"\begin{tabular}{@{}lllrrrrr@{}}" in text
    assert r"\caption{Heads \& 100 \% more (partial)}" in text
    assert r"\renewcommand{\thetable}{4.5}" in text
    assert r"\label{tab:4.5}" in text
    notes = text.split(r"\parbox")[1].replace(r"\allowbreak{}", "")
    assert r"\textsuperscript{1} Missing: hcp1/a\_b/full on two.\par" in notes
    assert r"A remark: 5 $\rightarrow$ 6.\par" in notes
    assert r"Dice in \%: DS on the source itself" in notes
    assert r"$\pm$ is the standard deviation" in notes
    check_structure(text, 8)
    compile_if_possible(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("50 % & $5 #1 a_b {c}", r"50 \% \& \$5 \#1 a\_b \{c\}"),
        ("\\~^", r"\textbackslash{}\textasciitilde{}\textasciicircum{}"),
        ("a < b > c | d", r"a \textless{} b \textgreater{} c \textbar{} d"),
        ("– ± é", r"-- $\pm$ é"),
    ],
)
def test_any_text_is_printed_as_it_is(text, shown):
    assert escaped(text) == shown


def test_awkward_names_compile(tmp_path):
    name = "".join(map(chr, range(33, 127))) + "–±é→≤"
    table = Table("x", name, (Column("a", name, "text", name),), (Row((name,), {"a": (name,)}),), (name,))
    text = to_latex(table, {})
    assert r"\thetable" not in text  # numbered by the document
    check_structure(text, 1)
    compile_if_possible(tmp_path, text)


def test_rows_that_a_page_does_not_hold_go_on_in_a_second_float(tmp_path):
    columns = (Column("source", "Source", "text"), Column("head", "Head", "text"), Column("ov", "OV"))
    rows = [Row((f"s{i // 10}", f"h{i}", Number(float(i)))) for i in range(75)]
    text = to_latex(Table("x", "Long", columns, tuple(rows)), {})
    parts = [[line for line in body if " & h" in line] for body in bodies(text)]
    assert [len(part) for part in parts] == [30, 30, 15]  # cut where a source ends
    assert [part[0].split(" & ")[0] for part in parts] == ["s0", "s3", "s6"]
    shown = [re.search(r"h\d+", line).group() for part in parts for line in part]
    assert shown == [f"h{i}" for i in range(75)]
    assert text.count(r"\caption{Long (continued)}") == 2
    assert text.count(r"\label{") == text.count(r"\parbox") == 1
    check_structure(text, 3)
    compile_if_possible(tmp_path, text)


def test_a_wide_table_is_set_in_smaller_letters():
    def size(columns):
        table = Table("x", "X", (Column("a", "A"),) * columns, (Row((Number(12.34),) * columns),))
        return re.search(r"\\(normalsize|small|footnotesize|scriptsize|tiny)\n", to_latex(table, {})).group(1)

    sizes = ["normalsize", "small", "footnotesize", "scriptsize", "tiny"]
    assert [size(n) for n in (10, 11, 12, 16, 20)] == sizes


def test_what_is_too_wide_for_paper_goes_on_beside_its_names(tmp_path):
    columns = [Column("rank", "Rank", "whole"), Column("head", "Head", "text")]
    columns += [Column(f"{g}{i}", f"D{i}", group=f"Trained on {g}") for g in "abcd" for i in range(6)]
    columns += [Column("ov", "OV")]
    row = Row((1, "linear", *(Number(float(i)) for i in range(25))))
    text = to_latex(Table("x", "Wide", tuple(columns), (row,)), {})
    assert text.count("{table}[htbp]") == 2
    lines = [line for body in bodies(text) for line in body if "linear" in line]
    assert all(line.startswith("1 & linear & ") for line in lines)
    assert re.findall(r"\d+\.00", " ".join(lines)) == [f"{i}.00" for i in range(25)]
    groups = [re.findall(r"Trained on (.)", "".join(body)) for body in bodies(text)]
    assert groups == [["a", "b"], ["c", "d"]]
    compile_if_possible(tmp_path, text)


@pytest.mark.parametrize(
    ("title", "width", "lines"),
    [
        ("ABIDE-Stanford", 5, ["ABIDE-", "Stanford"]),
        ("OV diff %", 5, ["OV", "diff %"]),
        ("Used in MedSAM", 14, ["Used in MedSAM"]),
        ("Loss %", 5, ["Loss %"]),
        ("Trainable", 1, ["Trainable"]),
        ("", 3, [""]),
    ],
)
def test_titles_are_broken_between_words(title, width, lines):
    assert broken(title, width) == lines


def test_the_same_table_gives_the_same_bytes():
    assert to_latex(TABLE, LABELS) == to_latex(TABLE, LABELS)
