"""A slice of the grid of targets, start times, sizes, service times and shapes, which is run on demand."""

from __future__ import annotations

import pytest

from tests.bench.grid import Cell, cells, play


@pytest.mark.parametrize(
    "cell",
    [
        Cell(1.0, 5.0, 64, 0.02, "sine"),
        Cell(1.0, 5.0, 64, 20.0, "steady"),
        Cell(1.0, 0.1, 8, 20.0, "burst"),
        pytest.param(Cell(0.5, 1.0, 64, 600.0, "steady"), marks=pytest.mark.slow),
        Cell(30.0, 30.0, 64, 20.0, "sine"),
        Cell(5.0, 1.0, 64, 1.0, "sine"),
        Cell(5.0, 5.0, 64, 20.0, "burst"),
        Cell(30.0, 1.0, 8, 1.0, "steady"),
        Cell(30.0, 5.0, 64, 20.0, "sine"),
        Cell(300.0, 30.0, 64, 20.0, "burst"),
        Cell(300.0, 0.1, 8, 1.0, "burst"),  # the need passes a whole number between two looks
        pytest.param(Cell(300.0, 1.0, 8, 20.0, "burst"), marks=pytest.mark.slow),
        Cell(300.0, 30.0, 64, 1.0, "burst"),  # processes are asked for while others still start
        pytest.param(Cell(300.0, 30.0, 512, 1.0, "burst"), marks=pytest.mark.slow),
        # Tasks come for longer than there are batches to remember them in.
        pytest.param(Cell(300.0, 30.0, 512, 1.0, "steady"), marks=pytest.mark.slow),
        # Growth comes too late for these.
        Cell(5.0, 5.0, 64, 0.02, "burst"),  # the first growth is a guess that is not held
        Cell(1.0, 1.0, 512, 0.02, "burst"),  # tasks are known before all processes are there
        Cell(30.0, 30.0, 64, 1.0, "burst"),  # and end long before the look at which nothing runs
        Cell(0.5, 1.0, 512, 20.0, "burst"),  # as many come at once as the last time
        Cell(5.0, 5.0, 8, 1.0, "sine"),  # the size follows the rate
        Cell(1.0, 1.0, 64, 1.0, "steady"),  # some may wait for a moment
    ],
    ids=lambda cell: "/".join(map(str, cell)),
)
def test_it_starts_what_a_fixed_maximum_starts_for_little_more_than_the_best_fixed_size(cell: Cell):
    assert play(cell).misses == []


def test_the_grid_has_every_cell_once_and_a_slice_is_part_of_it():
    assert (len(set(cells())), len(cells()), set(cells(12)) <= set(cells())) == (720, 720, True)
