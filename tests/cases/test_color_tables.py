"""Color tables: what 3D Slicer and ITK-SNAP read from them are the 14 targets in their colors."""

import shlex

from flare_core.cases.color_tables import ITK_SNAP, SLICER, write_color_tables
from flare_core.cases.labels import TARGETS

HEX = {target.id: target.color for target in TARGETS}


def rows_of(path):
    return [shlex.split(line) for line in path.read_text().splitlines() if not line.startswith("#")]


def test_slicer_reads_value_name_and_four_numbers(tmp_path):
    path, _ = write_color_tables(tmp_path / "new")
    assert path.name == SLICER and path.read_text().startswith("# Color table file")
    background, *rows = rows_of(path)
    assert background == ["0", "Background", "0", "0", "0", "0"]
    assert all(len(row) == 6 and row[5] == "255" for row in rows)  # so no name holds a space
    assert [(int(row[0]), row[1].replace("_", " ")) for row in rows] == [(t.id, t.title) for t in TARGETS]
    assert {int(row[0]): "#" + bytes(map(int, row[2:5])).hex() for row in rows} == HEX


def test_itk_snap_reads_colors_two_switches_and_a_name_in_quotes(tmp_path):
    _, path = write_color_tables(tmp_path)
    assert path.name == ITK_SNAP
    clear, *rows = rows_of(path)
    assert clear == ["0", "0", "0", "0", "0", "0", "0", "Clear Label"]
    assert all(len(row) == 8 and row[4:7] == ["1", "1", "1"] for row in rows)
    assert [(int(row[0]), row[7]) for row in rows] == [(t.id, t.title) for t in TARGETS]
    assert {int(row[0]): "#" + bytes(map(int, row[1:4])).hex() for row in rows} == HEX
    data_lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert all(line.endswith('"') and line.count('"') == 2 for line in data_lines)


def test_colors_are_told_apart_as_bytes():
    assert len(set(HEX.values())) == len(TARGETS)
