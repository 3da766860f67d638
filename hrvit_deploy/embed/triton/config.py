"""The configuration of each model in a Triton repository.

Fields are those of ``model_config.proto`` (triton-inference-server/common); rules that the
proto does not state are Triton's own checks (core's ``model_config_utils.cc`` and
``ensemble_utils.cc``) and each backend's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hrvit_deploy.artefact import TensorInfo
from hrvit_deploy.embed.triton.pbtxt import Message, Value, Word, named
from hrvit_deploy.embed.triton.serving import DATA_TYPES, Device, Serving, TritonBackend
from hrvit_deploy.options import Precision, Task

# Names of tensors: what clients send, what they get, and what passes between steps.
IMAGE, ENCODED, PREPARED, SIZE, SCORES = "image", "encoded", "prepared", "size", "scores"
RESULTS = {Task.CLASSIFY: "probabilities", Task.SEGMENT: "label_map"}
LABELS_FILE = "labels.txt"
THREADS = {
    TritonBackend.ONNXRUNTIME: "intra_op_thread_count",
    TritonBackend.OPENVINO: "INFERENCE_NUM_THREADS",
}
# Of onnxruntime's backend: no optimizations at all.
UNOPTIMIZED = 2
# Decoding is the slower part of many requests, and each copy of a step decodes one by one.
LEAST_STEPS = 2


def network_config(serving: Serving, filename: str) -> Message:
    """The network itself, in its own backend.

    Args:
        serving: What is served, and how.
        filename: Of the graph or plan in the version's folder.
    """
    taken, returned = serving.manifest.inputs[0], serving.manifest.outputs[0]
    config: dict[str, Value] = {
        "name": serving.name,
        "backend": serving.backend,
        "default_model_filename": filename,
        "max_batch_size": serving.max_batch,
        "input": _network_tensor(serving, taken),
        "output": _network_tensor(serving, returned) | _labelled(serving),
    }
    if serving.max_batch > 1:
        config["dynamic_batching"] = {
            "preferred_batch_size": serving.preferred,
            "max_queue_delay_microseconds": serving.options.delay_us,
        }
    kind = "KIND_GPU" if serving.device is Device.GPU else "KIND_CPU"
    config["instance_group"] = {"count": serving.options.instances, "kind": Word(kind)}
    config |= _optimization(serving)
    parameters = _parameters(serving)
    if parameters:
        config["parameters"] = named(
            {key: {"string_value": parameters[key]} for key in parameters}
        )
    return config | {"model_warmup": _warm_ups(serving, taken)}


def prepare_config(serving: Serving) -> Message:
    """The step that decodes and prepares images; segmenters also need their sizes."""
    prepared = serving.manifest.inputs[0]
    outputs = [_tensor(PREPARED, prepared.dtype, serving.tensor_dims(prepared))]
    if serving.task is Task.SEGMENT:
        outputs.append(_tensor(SIZE, "int32", serving.dims(2)))
    return _step_config(serving, "prepare", [_strings(ENCODED, serving)], outputs)


def decide_config(serving: Serving) -> Message:
    """The step that makes label maps or probabilities of scores."""
    scores = serving.manifest.outputs[0]
    inputs = [_tensor(SCORES, scores.dtype, serving.tensor_dims(scores))]
    if serving.task is Task.SEGMENT:
        inputs.append(_tensor(SIZE, "int32", serving.dims(2)))
    return _step_config(serving, "decide", inputs, [_result(serving)])


def ensemble_config(serving: Serving) -> Message:
    """Encoded images in, label maps or probabilities out."""
    network = serving.manifest
    result = RESULTS[serving.task]
    prepared = {PREPARED: PREPARED}
    answer = {network.outputs[0].name: SCORES if serving.decides else result}
    sizes = {SIZE: SIZE} if serving.task is Task.SEGMENT else {}
    steps = [
        _step(f"{serving.name}-prepare", {ENCODED: IMAGE}, prepared | sizes),
        _step(serving.name, {network.inputs[0].name: PREPARED}, answer),
    ]
    if serving.decides:
        step = _step(f"{serving.name}-decide", {SCORES: SCORES} | sizes, {result: result})
        steps.append(step)
    return {
        "name": f"{serving.name}-images",
        "platform": "ensemble",
        "max_batch_size": serving.max_batch,
        "input": [_strings(IMAGE, serving)],
        "output": [_result(serving)],
        "ensemble_scheduling": {"step": steps},
    }


def _step_config(
    serving: Serving, step: str, inputs: Sequence[Message], outputs: Sequence[Message]
) -> Message:
    return {
        "name": f"{serving.name}-{step}",
        "backend": "python",
        "max_batch_size": serving.max_batch,
        "input": inputs,
        "output": outputs,
        "instance_group": {
            "count": max(LEAST_STEPS, serving.options.instances),
            "kind": Word("KIND_CPU"),
        },
    }


def _step(model: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Message:
    """A model's tensors by the names they have in the ensemble."""
    return {
        "model_name": model,
        "model_version": -1,
        "input_map": named(inputs),
        "output_map": named(outputs),
    }


def _tensor(name: str, dtype: str, dims: list[int]) -> dict[str, Value]:
    return {"name": name, "data_type": Word(DATA_TYPES[dtype]), "dims": dims}


def _network_tensor(serving: Serving, tensor: TensorInfo) -> dict[str, Value]:
    return _tensor(tensor.name, tensor.dtype, serving.tensor_dims(tensor))


def _strings(name: str, serving: Serving) -> dict[str, Value]:
    """One string of bytes an image; a batched tensor needs a dimension besides the batch."""
    dims = list(serving.lead) or [1]
    return {"name": name, "data_type": Word("TYPE_STRING"), "dims": dims}


def _result(serving: Serving) -> dict[str, Value]:
    """What clients get: an encoded label map, or probabilities they may ask the best of."""
    name = RESULTS[serving.task]
    if serving.task is Task.SEGMENT:
        return _strings(name, serving)
    returned = serving.manifest.outputs[0]
    # The step answers in float32 whatever it is given.
    dtype = "float32" if serving.decides else returned.dtype
    return _tensor(name, dtype, serving.tensor_dims(returned)) | _labelled(serving)


def _labelled(serving: Serving) -> dict[str, Value]:
    """Where classes are named, of an output whose best elements a client may ask for."""
    return {"label_filename": LABELS_FILE} if serving.task is Task.CLASSIFY else {}


def _optimization(serving: Serving) -> dict[str, Value]:
    if serving.backend is TritonBackend.TENSORRT:
        return {"optimization": {"cuda": {"graphs": True, "output_copy_stream": True}}}
    eight = serving.manifest.precision is Precision.FP8
    if serving.backend is TritonBackend.ONNXRUNTIME and eight:
        # It moves an E4M3 DequantizeLinear past a Transpose that takes no E4M3.
        return {"optimization": {"graph": {"level": UNOPTIMIZED}}}
    return {}


def _parameters(serving: Serving) -> dict[str, str]:
    """What a backend is told beyond the fields all models share."""
    found: dict[str, str] = {}
    threads = serving.options.threads
    if threads and serving.device is Device.CPU:
        found[THREADS[serving.backend]] = str(threads)
    if serving.backend is TritonBackend.OPENVINO:
        found["NUM_STREAMS"] = str(serving.options.instances)
        if serving.max_batch:
            # Its graphs have the largest batch alone; smaller ones are refused without.
            found["ENABLE_BATCH_PADDING"] = "YES"
    return found


def _warm_ups(serving: Serving, taken: TensorInfo) -> list[Message]:
    """One run of each batch worth waiting for, so that no client waits for a first one.

    A step of Triton's own makes zeros: random bytes could be NaN.
    """
    lead = [size if size > 0 else 1 for size in serving.lead]
    dims = lead + serving.tensor_dims(taken)[len(lead) :]
    inputs = named(
        {
            taken.name: {
                "data_type": Word(DATA_TYPES[taken.dtype]),
                "dims": dims,
                "zero_data": True,
            }
        }
    )
    sizes = sorted({1, *serving.preferred})
    return [
        {"name": f"batch of {size}", "batch_size": size, "inputs": inputs} for size in sizes
    ]
