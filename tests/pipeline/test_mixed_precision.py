"""The search for the fewest products to leave in float."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hrvit_deploy.pipeline.mixed_precision import fewest_that_hold


@given(most=st.integers(1, 400), data=st.data())
def test_the_fewest_that_hold_are_found_in_few_trials(most: int, data: st.DataObject) -> None:
    needed = data.draw(st.integers(1, most))
    tried: list[int] = []

    def holds(count: int) -> bool:
        tried.append(count)
        return count >= needed

    assert fewest_that_hold(most, holds) == needed
    assert len(tried) == len(set(tried))
    assert all(1 <= count < most or most == 1 for count in tried)
    # Doubling finds the power of two above, halving what lies below it.
    assert len(tried) <= 2 * most.bit_length()


@given(most=st.integers(1, 400))
def test_where_none_holds_all_are_left(most: int) -> None:
    assert fewest_that_hold(most, lambda _: False) == most
