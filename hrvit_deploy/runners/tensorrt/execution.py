"""The stream, buffers and execution contexts of one run of a plan at a time."""

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

# The most execution contexts of an execution: about one for each batch size.
MOST_CONTEXTS = 16


class ContextState:
    """An execution context, the input shapes set in it, and the graphs of its runs.

    With TensorRT, a context keeps one shape for its whole life: a graph reads data that its
    context keeps on the GPU, which another shape would overwrite. NVIDIA advises one context
    for each graph, all over the same memory (TensorRT documentation, "CUDA Graphs").
    """

    context: Any

    def __init__(self, context: Any, graphs: GraphCache) -> None:
        self.context, self.graphs = context, graphs
        self.shapes: tuple[Shape, ...] | None = None


class Execution:
    """Stream, buffers and execution contexts, for one run at a time."""

    def __init__(self, plan: Plan, cuda: Cuda, capturing: Capturing) -> None:
        """Create the stream, and allocate memory for the largest shapes.

        Raises:
            RunnerError: The GPU has no room, or the library refuses the plan's own shapes.
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
            state = self._state_for(largest, log)
            self._inputs = self._buffers(plan.inputs, largest, opening)
            self._outputs = self._buffers(plan.outputs, self._output_shapes(state), opening)
            self._owned = opening.pop_all()

    def run(self, inputs: Inputs, *, captured: bool = True) -> dict[str, Any]:
        """Run one batch, and return host arrays that the caller owns.

        Args:
            inputs: Arrays by the plan's own names.
            captured: Whether a CUDA graph may run it.

        Raises:
            RunnerError: The inputs do not fit, or the GPU failed.
        """
        with listening(self._plan.trt) as log, ExitStack() as borrowed:
            bound_inputs = self._bind(inputs, borrowed)
            state = self._state_for(tuple(bound.shape for bound in bound_inputs), log)
            shapes = self._output_shapes(state)
            try:
                self._start(state, bound_inputs, log, to_host=True, captured=captured)
            finally:
                # Borrowed and pinned memory is read until then, even after a failure.
                self._cuda.synchronize(self._stream)
            return {
                # The next run overwrites the pinned memory: return a copy.
                buffer.spec.name: buffer.view(shape).copy()
                for buffer, shape in zip(self._outputs, shapes, strict=True)
            }

    def run_on_device(self, inputs: Inputs) -> dict[str, DeviceOutput]:
        """Run one batch, and return outputs on the GPU that own their memory.

        Raises:
            RunnerError: As for :meth:`run`.
        """
        with listening(self._plan.trt) as log, ExitStack() as borrowed:
            bound_inputs = self._bind(inputs, borrowed)
            state = self._state_for(tuple(bound.shape for bound in bound_inputs), log)
            outputs = {
                buffer.spec.name: DeviceOutput(self._cuda, shape, buffer.spec.dtype)
                for buffer, shape in zip(self._outputs, self._output_shapes(state), strict=True)
            }
            try:
                self._start(state, bound_inputs, log, to_host=False, captured=True)
                for buffer, output in zip(self._outputs, outputs.values(), strict=True):
                    # A copy, since a graph always writes to the address it was captured with.
                    self._cuda.copy(output.address, buffer.device, output.nbytes, self._stream)
            finally:
                self._cuda.synchronize(self._stream)
            return outputs

    def node_times(self, inputs: Inputs, runs: int) -> list[NodeTime]:
        """Run ``runs`` times and return the mean time of each layer, in ms."""
        total_ms: dict[str, float] = {}

        class LayerTimer(self._plan.trt.IProfiler):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()

            def report_layer_time(self, name: str, time_ms: float) -> None:
                total_ms[name] = total_ms.get(name, 0.0) + time_ms

        # Run once, so that the last context is the one for these shapes.
        self.run(inputs, captured=False)
        context = next(reversed(self._contexts.values())).context
        timer = LayerTimer()
        context.profiler = timer
        try:
            for _ in range(runs):
                self.run(inputs, captured=False)
        finally:
            context.profiler = None
        return [NodeTime(name, "", time_ms / runs) for name, time_ms in total_ms.items()]

    def close(self) -> None:
        """Free graphs, contexts, memory and stream."""
        self._owned.close()

    def _bind(self, inputs: Inputs, borrowed: ExitStack) -> list[BoundInput]:
        return [
            buffer.bind(inputs[buffer.spec.name], self._stream, borrowed)
            for buffer in self._inputs
        ]

    def _start(
        self,
        state: ContextState,
        bound_inputs: Sequence[BoundInput],
        log: Log,
        *,
        to_host: bool,
        captured: bool,
    ) -> None:
        """Queue a run, call by call or as a graph."""
        queue = partial(self._queue, state, bound_inputs, log, to_host=to_host)
        if captured:
            addresses = tuple((bound.address, bound.source) for bound in bound_inputs)
            state.graphs.run((addresses, to_host), queue)
        else:
            queue()

    def _queue(
        self,
        state: ContextState,
        bound_inputs: Sequence[BoundInput],
        log: Log,
        *,
        to_host: bool,
    ) -> None:
        context = state.context
        for bound in bound_inputs:
            spec = bound.buffer.spec
            if bound.source is not None:
                self._cuda.copy(
                    bound.address, bound.source, spec.nbytes(bound.shape), self._stream
                )
            if not context.set_tensor_address(spec.name, bound.address):
                raise failed(f"input {spec.name} was refused", log)
        for buffer in self._outputs:
            if not context.set_tensor_address(buffer.spec.name, buffer.device):
                raise failed(f"output {buffer.spec.name} was refused", log)
        if not context.execute_async_v3(self._stream):
            raise failed("could not run the plan", log)
        if to_host:
            for buffer, shape in zip(self._outputs, self._output_shapes(state), strict=True):
                self._cuda.copy(
                    buffer.host, buffer.device, buffer.spec.nbytes(shape), self._stream
                )

    def _state_for(self, shapes: tuple[Shape, ...], log: Log) -> ContextState:
        """Return the context for inputs of those shapes, and mark it as the last used."""
        key = shapes if self._plan.context_per_shape else ()
        state = self._contexts.pop(key, None) or self._new_context(log)
        self._contexts[key] = state
        if len(self._contexts) > MOST_CONTEXTS:
            self._contexts.popitem(last=False)[1].graphs.close()
        if state.shapes != shapes:
            state.shapes = None
            for name, shape in zip(self._plan.inputs, shapes, strict=True):
                if not state.context.set_input_shape(name, shape):
                    raise failed(f"input {name} of shape {shape} was refused", log)
            state.shapes = shapes
        return state

    def _new_context(self, log: Log) -> ContextState:
        graphs = GraphCache(self._cuda, self._stream, self._capturing)
        return ContextState(self._plan.context(self._scratch, log), graphs)

    def _output_shapes(self, state: ContextState) -> list[Shape]:
        return [tuple(state.context.get_tensor_shape(name)) for name in self._plan.outputs]

    def _buffers(
        self, names: Sequence[str], largest_shapes: Sequence[Shape], owned: ExitStack
    ) -> list[IOBuffer]:
        return [
            IOBuffer(
                TensorSpec(name, self._plan.dtype(name), self._plan.shape(name), largest),
                self._cuda,
                owned,
            )
            for name, largest in zip(names, largest_shapes, strict=True)
        ]

    def _drop_contexts(self) -> None:
        for state in self._contexts.values():
            state.graphs.close()
        self._contexts.clear()
