"""All that one run of a plan needs for itself."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from hrvit_deploy.bindings.cuda_ import Cuda
from hrvit_deploy.bindings.log import Log, listening
from hrvit_deploy.runners.protocol import Inputs, NodeTime
from hrvit_deploy.runners.tensorrt.buffers import BoundInput, IOBuffer, Shape, TensorSpec
from hrvit_deploy.runners.tensorrt.cuda_graphs import Capturing, GraphCache
from hrvit_deploy.runners.tensorrt.device_output import DeviceOutput
from hrvit_deploy.runners.tensorrt.engine import Plan, failed

# Execution contexts of an execution, one for each batch size or nearly so.
MOST_CONTEXTS = 16


class ContextState:
    """An execution context, what it was told of shapes, and the graphs of its runs.

    With TensorRT it takes one shape in its life: a graph reads what its context keeps on
    the GPU, which another shape would overwrite. NVIDIA advises a context for each graph,
    over one memory (TensorRT documentation, "CUDA Graphs").
    """

    context: Any

    def __init__(self, context: Any, captures: GraphCache) -> None:
        self.context, self.captures = context, captures
        self.shapes: tuple[Shape, ...] | None = None


class Execution:
    """Stream, buffers and execution contexts; one run at a time."""

    def __init__(self, plan: Plan, cuda: Cuda, capturing: Capturing) -> None:
        """Allocate them, for the largest shapes.

        Raises:
            RunnerError: The GPU has no room, or refuses the plan's own shapes.
        """
        self._plan, self._cuda, self._capturing = plan, cuda, capturing
        self._contexts: OrderedDict[tuple[Shape, ...], ContextState] = OrderedDict()
        with listening(plan.trt) as log, ExitStack() as opening:
            self._stream = cuda.stream()
            opening.callback(cuda.destroy_stream, self._stream)
            self._scratch = cuda.malloc(plan.scratch_bytes)
            opening.callback(cuda.free, self._scratch)
            opening.callback(self._drop_contexts)
            largest = tuple(plan.largest(name) for name in plan.inputs)
            # The largest outputs follow from the largest inputs.
            shaped = self._shaped(largest, log)
            self._inputs = self._slots(plan.inputs, largest, opening)
            self._outputs = self._slots(plan.outputs, self._output_shapes(shaped), opening)
            self._owned = opening.pop_all()

    def run(self, inputs: Inputs, *, captured: bool = True) -> dict[str, Any]:
        """One batch, answered by host arrays of the caller's own.

        Args:
            inputs: By the plan's own names.
            captured: Whether a CUDA graph may do it.

        Raises:
            RunnerError: The inputs do not fit, or the GPU failed.
        """
        with listening(self._plan.trt) as log, ExitStack() as borrowed:
            feeds = self._feeds(inputs, borrowed)
            shaped = self._shaped(tuple(feed.shape for feed in feeds), log)
            shapes = self._output_shapes(shaped)
            try:
                self._start(shaped, feeds, log, to_host=True, captured=captured)
            finally:
                # What was lent and pinned is read until then, whatever failed.
                self._cuda.synchronize(self._stream)
            return {
                # The pinned memory is written again by the next run: hand out a copy.
                slot.port.name: slot.view(shape).copy()
                for slot, shape in zip(self._outputs, shapes, strict=True)
            }

    def run_on_device(self, inputs: Inputs) -> dict[str, DeviceOutput]:
        """One batch, answered on the GPU in memory that the answers own.

        Raises:
            RunnerError: As :meth:`run`.
        """
        with listening(self._plan.trt) as log, ExitStack() as borrowed:
            feeds = self._feeds(inputs, borrowed)
            shaped = self._shaped(tuple(feed.shape for feed in feeds), log)
            answers = {
                slot.port.name: DeviceOutput(self._cuda, shape, slot.port.dtype)
                for slot, shape in zip(self._outputs, self._output_shapes(shaped), strict=True)
            }
            try:
                self._start(shaped, feeds, log, to_host=False, captured=True)
                for slot, answer in zip(self._outputs, answers.values(), strict=True):
                    # Copied, for a graph always writes where it was captured.
                    self._cuda.copy(answer.address, slot.device, answer.nbytes, self._stream)
            finally:
                self._cuda.synchronize(self._stream)
            return answers

    def node_times(self, inputs: Inputs, runs: int) -> list[NodeTime]:
        """Run so often, and tell what each layer took."""
        total_ms: dict[str, float] = {}

        class Watch(self._plan.trt.IProfiler):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()

            def report_layer_time(self, name: str, time_ms: float) -> None:
                total_ms[name] = total_ms.get(name, 0.0) + time_ms

        # Run once to know which context it is; the shapes stay the same.
        self.run(inputs, captured=False)
        context = next(reversed(self._contexts.values())).context
        watch = Watch()
        context.profiler = watch
        try:
            for _ in range(runs):
                self.run(inputs, captured=False)
        finally:
            context.profiler = None
        return [NodeTime(name, "", time_ms / runs) for name, time_ms in total_ms.items()]

    def close(self) -> None:
        """Give graphs, contexts, memory and stream back."""
        self._owned.close()

    def _feeds(self, inputs: Inputs, borrowed: ExitStack) -> list[BoundInput]:
        return [
            slot.feed(inputs[slot.port.name], self._stream, borrowed) for slot in self._inputs
        ]

    def _start(
        self,
        shaped: ContextState,
        feeds: Sequence[BoundInput],
        log: Log,
        *,
        to_host: bool,
        captured: bool,
    ) -> None:
        """Queue a run, piece by piece or as a graph."""
        queue = partial(self._queue, shaped, feeds, log, to_host=to_host)
        if captured:
            places = tuple((feed.address, feed.source) for feed in feeds)
            shaped.captures.run((places, to_host), queue)
        else:
            queue()

    def _queue(
        self, shaped: ContextState, feeds: Sequence[BoundInput], log: Log, *, to_host: bool
    ) -> None:
        context = shaped.context
        for feed in feeds:
            port = feed.slot.port
            if feed.source is not None:
                self._cuda.copy(
                    feed.address, feed.source, port.nbytes(feed.shape), self._stream
                )
            if not context.set_tensor_address(port.name, feed.address):
                raise failed(f"input {port.name} was refused", log)
        for slot in self._outputs:
            if not context.set_tensor_address(slot.port.name, slot.device):
                raise failed(f"output {slot.port.name} was refused", log)
        if not context.execute_async_v3(self._stream):
            raise failed("could not run the plan", log)
        if to_host:
            for slot, shape in zip(self._outputs, self._output_shapes(shaped), strict=True):
                self._cuda.copy(slot.host, slot.device, slot.port.nbytes(shape), self._stream)

    def _shaped(self, shapes: tuple[Shape, ...], log: Log) -> ContextState:
        """The context for inputs of those shapes, the one used last from now on."""
        key = shapes if self._plan.by_shape else ()
        shaped = self._contexts.pop(key, None) or self._new_context(log)
        self._contexts[key] = shaped
        if len(self._contexts) > MOST_CONTEXTS:
            self._contexts.popitem(last=False)[1].captures.close()
        if shaped.shapes != shapes:
            shaped.shapes = None
            for name, shape in zip(self._plan.inputs, shapes, strict=True):
                if not shaped.context.set_input_shape(name, shape):
                    raise failed(f"input {name} of shape {shape} was refused", log)
            shaped.shapes = shapes
        return shaped

    def _new_context(self, log: Log) -> ContextState:
        captures = GraphCache(self._cuda, self._stream, self._capturing)
        return ContextState(self._plan.context(self._scratch, log), captures)

    def _output_shapes(self, shaped: ContextState) -> list[Shape]:
        return [tuple(shaped.context.get_tensor_shape(name)) for name in self._plan.outputs]

    def _slots(
        self, names: Sequence[str], largest: Sequence[Shape], owned: ExitStack
    ) -> list[IOBuffer]:
        return [
            IOBuffer(
                TensorSpec(name, self._plan.dtype(name), self._plan.shape(name), most),
                self._cuda,
                owned,
            )
            for name, most in zip(names, largest, strict=True)
        ]

    def _drop_contexts(self) -> None:
        for shaped in self._contexts.values():
            shaped.captures.close()
        self._contexts.clear()
