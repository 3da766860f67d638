"""The process that a candidate, a survey or a question has to itself."""

from __future__ import annotations

import msgspec

from benchmarks.gpu.candidates import Job
from hrvit_deploy.measure.latency.worker import Message, main
from hrvit_deploy.runners.protocol import Inputs, Runner


def open_message(message: Message) -> tuple[Runner, Inputs]:
    """Open what a message describes; each imports only what it needs.

    Raises:
        HrvitDeployError: It cannot be opened.
    """
    if "survey" in message:
        from benchmarks.gpu.machine import open_survey

        return open_survey(message["survey"])
    if "question" in message:
        from benchmarks.gpu.rtx_support import open_question

        return open_question(msgspec.convert(message["question"], Job))
    from benchmarks.gpu.open import open_job

    return open_job(msgspec.convert(message["job"], Job))


if __name__ == "__main__":
    main(open_message)
