"""What needs a GPU skips with the reason, or fails with it under ``--require-gpu``."""

from __future__ import annotations

import pytest

from hrvit_deploy.bindings import cuda_


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-gpu",
        action="store_true",
        help="fail the tests that need a GPU where there is none, instead of skipping them",
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is None:
        return
    survey = cuda_.survey()
    if survey.gpu is not None:
        return
    if item.config.getoption("--require-gpu"):
        pytest.fail(f"needs a GPU: {survey.reason}; {survey.hint}", pytrace=False)
    pytest.skip(f"needs a GPU: {survey.reason}")
