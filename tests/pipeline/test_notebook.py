"""The notebook, on the store of a chain."""

import pytest

from tests import notebook

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def said(chains, fork_server):
    store, _ = chains.store("notebook", after="first", fork_server=fork_server)
    return notebook.said(store.environment)


def test_it_finds_the_steps_of_the_newest_chain(said):
    assert "etl small" in said and "hpo lightgbm" in said


def test_it_draws_the_loss_by_iteration(said):
    assert "<Figure size" in said


def test_it_loads_the_champion_in_three_ways_and_asks_for_reasons(said):
    assert "'alias': 'models:/small_classifier@champion'" in said and "'logged model': 'models:/m-" in said
    assert "reason_1" in said


def test_no_output_is_kept_in_the_repository():
    cells = [cell for cell in notebook.read().cells if cell.cell_type == "code"]
    assert cells and not any(cell.outputs or cell.execution_count for cell in cells)
