from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaf_st.pipeline.recipe_file import load_recipe
from leaf_st.training.arguments import training_arguments
from leaf_st.training.schedule import CyclicDecay, schedule, steps_of_run

RECIPES = Path(__file__).parents[2] / "recipes"

START, END = 1e-4, 1e-5  # paper 2.2


def _rates(total, per_epoch, cycles, decay):
    schedule = CyclicDecay(total, per_epoch, END / START, cycles, decay)
    return [START * schedule(step) for step in range(total)]


@pytest.mark.parametrize("name", ["leaf_ir", "leaf_mt"])
def test_the_paper_s_schedule(name, tmp_path):
    recipe = load_recipe(RECIPES / f"{name}.py")
    args = training_arguments(recipe, tmp_path, "cpu")
    rows = 7 * 32  # of the paper's 200,000 batches
    steps = steps_of_run(rows, args)
    decay = schedule(recipe.training, args, rows, steps)
    cycle = [10e-5, 9e-5, 8e-5, 7e-5, 6e-5, 5e-5, 4e-5, 3e-5, 2e-5, 1e-5]
    expected = [rate for rate in 3 * cycle for _ in range(7)]
    assert [args.learning_rate * decay(step) for step in range(steps)] == pytest.approx(expected)
    assert (args.adam_beta1, args.adam_beta2, args.weight_decay, args.warmup_steps) == (0.9, 0.999, 0.01, 0)
    assert recipe.training.held_out_rows == 128 * 32


def test_an_epoch_cut_short_counts_as_one():
    rates = _rates(total=2 * 7 + 3, per_epoch=7, cycles=1, decay="epoch")
    assert rates == pytest.approx(7 * [1e-4] + 7 * [5.5e-5] + 3 * [1e-5])


def test_by_step_the_rate_falls_at_every_step_and_starts_again():
    cycle = [1e-4, 7.75e-5, 5.5e-5, 3.25e-5, 1e-5]
    assert _rates(total=10, per_epoch=3, cycles=2, decay="step") == pytest.approx(2 * cycle)


def test_a_cycle_of_one_epoch_falls_by_step():
    falling = [1e-4, 7.75e-5, 5.5e-5, 3.25e-5, 1e-5]
    assert _rates(total=5, per_epoch=5, cycles=1, decay="epoch") == pytest.approx(falling)
    assert _rates(total=10, per_epoch=5, cycles=2, decay="epoch") == pytest.approx(2 * falling)
    assert _rates(total=3, per_epoch=5, cycles=2, decay="epoch") == pytest.approx([1e-4, 5.5e-5, 1e-5])  # cut short


def test_of_three_epochs_in_two_cycles_the_last_falls_by_step():
    rates = _rates(total=9, per_epoch=3, cycles=2, decay="epoch")
    assert rates == pytest.approx(3 * [1e-4] + 3 * [1e-5] + [1e-4, 5.5e-5, 1e-5])


@pytest.mark.parametrize("decay", ["step", "epoch"])
def test_a_cycle_of_one_step_has_the_start_rate(decay):
    assert _rates(total=1, per_epoch=4, cycles=1, decay=decay) == pytest.approx([START])


@given(st.integers(2, 300), st.integers(1, 40), st.integers(1, 6), st.sampled_from(["step", "epoch"]))
def test_every_cycle_falls_to_the_end_rate(total, per_epoch, cycles, decay):
    unit = per_epoch if decay == "epoch" else 1
    rates = _rates(total, per_epoch, cycles, decay)[::unit]
    starts = [place for place, rate in enumerate(rates) if rate == pytest.approx(START)]
    if len(rates) >= 2 * cycles:  # so that no cycle is of one value
        assert len(starts) == cycles
        assert [rates[start - 1] for start in starts] == pytest.approx(cycles * [END])  # the last one included
        lengths = [end - start for start, end in zip(starts, [*starts[1:], len(rates)], strict=True)]
        assert max(lengths) - min(lengths) <= 1
    assert all(END * 0.999 <= rate <= START for rate in rates)


def test_after_the_last_step_the_rate_stays():
    schedule = CyclicDecay(10, 3, 0.1, 2, "step")
    assert schedule(10) == schedule(9) == pytest.approx(0.1)
