"""The inference form: chosen by name, exact in every combination, and never in place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.networks import (
    GOLDEN_CASES,
    SIZES,
    TINY,
    GoldenCase,
    answer,
    distance,
    golden_output,
    noise,
    sampled,
    tiny,
)
from support.rewriting import NAMES, TOLERANCE, error_of, only, trained_answer
from torch import nn

from hrvit_deploy.deploy.form import REWRITES, TARGETS, Rewrite, choose, deploy
from hrvit_deploy.errors import UsageError
from hrvit_deploy.model.hrvit import HRViT
from hrvit_deploy.model.network import set_random_weights
from hrvit_deploy.model.variants import VARIANTS
from hrvit_deploy.options import DECIDING, ImageSize, Target, Task

SIZE = SIZES["both padded"]
DEFAULTS = tuple(rewrite.name for rewrite in REWRITES if rewrite.default)
OPTIONAL = tuple(rewrite.name for rewrite in REWRITES if not rewrite.default)


def names(rewrites: tuple[Rewrite, ...]) -> tuple[str, ...]:
    return tuple(rewrite.name for rewrite in rewrites)


@pytest.mark.parametrize("case", GOLDEN_CASES, ids=lambda case: case.name)
def test_the_form_of_every_golden_case_is_golden(case: GoldenCase) -> None:
    golden = golden_output(case, "output").ravel()
    # Windows of 7 divide every map of 224, so that nothing is ragged there.
    padded = any(side % 224 for side in case.size)
    for without in ((), *((("ragged-stripes",),) if padded else ())):
        form = deploy(case.network, case.size, choose(without))
        output = sampled(answer(form.network, case.image), 4096)
        np.testing.assert_allclose(output, golden, rtol=0, atol=2e-5)
        assert form.changes["static-stripes"] == sum(map(sum, VARIANTS[case.variant].blocks))
        assert bool(form.changes.get("ragged-stripes")) == (padded and not without)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("task", DECIDING)
def test_the_defaults_are_exact_at_every_size(task: Task, size: str) -> None:
    form = deploy(tiny(task), SIZES[size])
    assert error_of(form, task) < TOLERANCE
    assert tuple(form.changes) == DEFAULTS
    assert form.size == SIZES[size]


@pytest.mark.parametrize("name", NAMES)
def test_any_one_may_be_left_out(name: str) -> None:
    form = deploy(tiny(Task.SEGMENT), SIZE, choose(without=(name,)))
    assert name not in form.changes
    assert error_of(form, Task.SEGMENT) < TOLERANCE


def test_none_at_all_is_the_network_itself() -> None:
    form = deploy(tiny(Task.SEGMENT), SIZE, choose(without=NAMES))
    assert form.changes == {}
    assert error_of(form, Task.SEGMENT) < TOLERANCE


@settings(max_examples=6, deadline=None)
@given(st.permutations(REWRITES), st.integers(0, len(REWRITES)), st.sampled_from(DECIDING))
def test_any_selection_in_any_order_is_exact(
    order: list[Rewrite], count: int, task: Task
) -> None:
    form = deploy(tiny(task), SIZE, tuple(order[:count]))
    assert error_of(form, task) < TOLERANCE


def test_twice_changes_nothing_more() -> None:
    once = deploy(tiny(Task.SEGMENT), SIZE)
    twice = deploy(once.network, SIZE)
    assert error_of(twice, Task.SEGMENT) < TOLERANCE
    assert {name: n for name, n in twice.changes.items() if n} == {"static-maps": 6}


@pytest.mark.parametrize("batch", [1, 3])
def test_the_batch_is_free(batch: int) -> None:
    form = deploy(tiny(Task.SEGMENT), SIZE)
    assert error_of(form, Task.SEGMENT, batch) < TOLERANCE


@pytest.mark.parametrize("task", DECIDING)
def test_the_trained_network_is_not_changed(task: Task) -> None:
    network = tiny(task)
    modules = {name: type(module) for name, module in network.named_modules()}
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    expected = trained_answer(task, SIZE)

    deploy(network, SIZE, choose(extra=OPTIONAL))

    assert {name: type(module) for name, module in network.named_modules()} == modules
    after = network.state_dict()
    assert after.keys() == state.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in state.items())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert distance(answer(network, noise(SIZE, 2)), expected) < 1e-6


def test_the_form_shares_no_memory_with_the_network() -> None:
    form = deploy(tiny(Task.CLASSIFY), SIZE)
    ours = {tensor.data_ptr() for tensor in form.network.state_dict().values()}
    theirs = {tensor.data_ptr() for tensor in tiny(Task.CLASSIFY).state_dict().values()}
    assert not ours & theirs - {0}
    assert not any(parameter.requires_grad for parameter in form.network.parameters())
    assert not any(module.training for module in form.network.modules())


def test_the_same_network_gives_the_same_form() -> None:
    first, second = (deploy(tiny(Task.SEGMENT), SIZE).network.state_dict() for _ in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_backbone_alone_has_a_form() -> None:
    backbone = HRViT(TINY).eval()
    set_random_weights(backbone, 0)
    form = deploy(backbone, SIZE)
    image = noise(SIZE)
    with torch.no_grad():
        pairs = zip(form.network(image), backbone(image), strict=True)
        # Nothing averages a map's largest error out, as a head does.
        assert max(distance(ours, theirs) for ours, theirs in pairs) < 3 * TOLERANCE
    assert form.changes["static-stripes"] == 17


@pytest.mark.parametrize("part", ["", "stem.bn1", "features.1"])
def test_training_mode_is_refused(part: str) -> None:
    network = deploy(tiny(Task.CLASSIFY), SIZE, ()).network
    network.get_submodule(part).train()
    with pytest.raises(UsageError) as caught:
        deploy(network, SIZE)
    assert caught.value.message == "the network is in training mode"
    assert caught.value.hint == "call network.eval() first"


@pytest.mark.parametrize("rewrites", [None, ()])
def test_other_networks_are_refused(rewrites: tuple[Rewrite, ...] | None) -> None:
    with pytest.raises(UsageError) as caught:
        deploy(nn.Linear(2, 2).eval(), SIZE, rewrites)
    assert caught.value.message == "Linear is not an HRViT"


@pytest.mark.parametrize(
    ("size", "fitting"),
    [
        (ImageSize(100, 96), "96x96 or 128x96"),
        (ImageSize(480, 641), "480x640 or 480x672"),
        (ImageSize(31, 1), "32x32"),
        (ImageSize(0, 64), "32x64"),
    ],
)
def test_sizes_that_do_not_fit_come_with_the_next_that_do(
    size: ImageSize, fitting: str
) -> None:
    with pytest.raises(UsageError) as caught:
        deploy(tiny(Task.CLASSIFY), size)
    assert f"{size} does not fit" in caught.value.message
    assert "multiples of 32" in caught.value.message
    assert caught.value.hint.startswith(f"take {fitting}, ")


def test_names_are_unique_and_documented() -> None:
    assert len(set(NAMES)) == len(NAMES) == 15
    for rewrite in REWRITES:
        assert rewrite.name == rewrite.apply.__module__.rpartition(".")[2].replace("_", "-")
        assert rewrite.summary.endswith(".")
        assert len(rewrite.summary) < 100


def test_defaults_run_in_the_order_of_the_table() -> None:
    assert names(choose()) == DEFAULTS
    assert names(choose(without=NAMES)) == ()
    assert names(choose(extra=OPTIONAL)) == NAMES
    assert names(choose(only("fold-scale"))) == ("fold-scale",)


def test_a_name_may_be_repeated() -> None:
    assert names(choose(without=("fold-scale",) * 2)) == names(choose(without=("fold-scale",)))


@pytest.mark.parametrize("choice", [lambda n: choose(without=n), lambda n: choose(extra=n)])
def test_an_unknown_name_suggests_the_close_one(
    choice: Callable[[tuple[str, ...]], object],
) -> None:
    with pytest.raises(UsageError) as caught:
        choice(("fold-batchnorm",))
    assert caught.value.message == "there is no rewrite 'fold-batchnorm'"
    assert caught.value.hint == "did you mean fold-batch-norm?"


def test_a_name_like_no_other_lists_them_all() -> None:
    with pytest.raises(UsageError) as caught:
        choose(without=("xyz",))
    assert caught.value.hint == f"choose from {', '.join(NAMES)}"


def test_a_name_both_wanted_and_not_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        choose(without=("ragged-stripes",), extra=("ragged-stripes",))
    assert caught.value.message == "rewrite 'ragged-stripes' is both wanted and not"


def test_a_rewrite_of_ones_own_is_one_line() -> None:
    def halve(network: nn.Module, size: ImageSize) -> int:
        """Halve the last layer."""
        head = network.get_submodule("head.classifier")
        assert isinstance(head, nn.Linear)
        head.weight.mul_(0.5)
        return 1

    own = Rewrite("halve", halve)
    form = deploy(tiny(Task.CLASSIFY), SIZE, (*choose(), own))
    assert form.changes["halve"] == 1
    assert own.summary == "Halve the last layer."
    assert error_of(form, Task.CLASSIFY) > 0.1


def test_a_rewrite_that_comes_too_late_says_it_changed_nothing() -> None:
    # Scales after stripes find nothing left to fold, and say so.
    early = tuple(r for r in REWRITES if r.name in ("fold-scale", "static-stripes"))
    late = early[::-1]
    assert deploy(tiny(Task.CLASSIFY), SIZE, early).changes["fold-scale"] == 17
    assert deploy(tiny(Task.CLASSIFY), SIZE, late).changes["fold-scale"] == 0


@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize("task", DECIDING)
def test_what_a_runtime_is_fastest_with_is_exact(target: Target, task: Task) -> None:
    chosen = choose(target=target)
    assert set(names(chosen)) == set(TARGETS[target])
    form = deploy(tiny(task), SIZE, chosen)
    assert tuple(form.changes) == names(chosen)
    assert error_of(form, task) < TOLERANCE


def test_a_target_may_be_changed_by_name() -> None:
    usual = names(choose(target=Target.TENSORRT))
    more = names(choose(extra=("ragged-stripes",), target=Target.TENSORRT))
    assert set(more) == {*usual, "ragged-stripes"}
    fewer = names(choose(without=("fold-scale",), target=Target.TENSORRT))
    assert set(fewer) == set(usual) - {"fold-scale"}


def changes_without(*left_out: str) -> dict[str, int]:
    """What each rewrite changes where some are left out, whatever it comes after."""
    rewrites = tuple(rewrite for rewrite in REWRITES if rewrite.name not in left_out)
    return deploy(tiny(Task.SEGMENT), SIZE, rewrites).changes


def test_a_rewrite_comes_after_just_what_it_finds_nothing_without() -> None:
    whole = changes_without()
    assert all(whole.values())
    stated = {rewrite.name: set(rewrite.after) for rewrite in REWRITES}
    for name in NAMES:
        found = {other for other, places in changes_without(name).items() if not places}
        direct = {other for other, after in stated.items() if name in after}
        through = {other for other, after in stated.items() if after & direct}
        assert direct <= found <= direct | through, name


def test_what_a_rewrite_comes_after_stands_before_it() -> None:
    for index, rewrite in enumerate(REWRITES):
        assert set(rewrite.after) <= set(NAMES[:index])


@pytest.mark.parametrize("rewrite", [r for r in REWRITES if r.after], ids=lambda r: r.name)
def test_a_rewrite_goes_with_those_it_comes_after(rewrite: Rewrite) -> None:
    for name in rewrite.after:
        assert rewrite.name not in names(choose(without=(name,)))
        with pytest.raises(UsageError, match=f"'{rewrite.name}' comes after '{name}'") as told:
            choose(without=(name,), extra=(rewrite.name,))
        assert f"--with {name}" in told.value.hint
