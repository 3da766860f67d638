"""Configure each model of a Triton repository.

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

# Names of tensors: those that clients send and receive, and those between the steps.
IMAGE, ENCODED, PREPARED, SIZE, SCORES = "image", "encoded", "prepared", "size", "scores"
RESULTS = {Task.CLASSIFY: "probabilities", Task.SEGMENT: "label_map"}
LABELS_FILE = "labels.txt"
THREADS = {
    TritonBackend.ONNXRUNTIME: "intra_op_thread_count",
    TritonBackend.OPENVINO: "INFERENCE_NUM_THREADS",
}
# Level of onnxruntime's backend without any optimization.
UNOPTIMIZED = 2
# Decoding is the slower part of many requests, and each copy of a step decodes one by one.
LEAST_STEPS = 2


def network_config(serving: Serving, filename: str) -> Message:
    """Configure the network itself, in its own backend.

    Args:
        serving: What is served, and how.
        filename: Name of the graph or plan in the version's folder.
    """
    input_info, output_info = serving.manifest.inputs[0], serving.manifest.outputs[0]
    config: dict[str, Value] = {
        "name": serving.name,
        "backend": serving.backend,
        "default_model_filename": filename,
        "max_batch_size": serving.max_batch,
        "input": _network_tensor(serving, input_info),
        "output": _network_tensor(serving, output_info) | _labelled(serving),
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
    return config | {"model_warmup": _warm_ups(serving, input_info)}


def preprocess_config(serving: Serving) -> Message:
    """Configure the step that prepares images, and returns their sizes for segmenters."""
    prepared = serving.manifest.inputs[0]
    outputs = [_tensor(PREPARED, prepared.dtype, serving.tensor_dims(prepared))]
    if serving.task is Task.SEGMENT:
        outputs.append(_tensor(SIZE, "int32", serving.dims(2)))
    return _step_config(serving, "prepare", [_strings(ENCODED, serving)], outputs)


def postprocess_config(serving: Serving) -> Message:
    """Configure the step that makes label maps or probabilities of scores."""
    scores = serving.manifest.outputs[0]
    inputs = [_tensor(SCORES, scores.dtype, serving.tensor_dims(scores))]
    if serving.task is Task.SEGMENT:
        inputs.append(_tensor(SIZE, "int32", serving.dims(2)))
    return _step_config(serving, "decide", inputs, [_result(serving)])


def ensemble_config(serving: Serving) -> Message:
    """Configure the ensemble: encoded images in, label maps or probabilities out."""
    network = serving.manifest
    result = RESULTS[serving.task]
    prepared = {PREPARED: PREPARED}
    output = {network.outputs[0].name: SCORES if serving.postprocesses else result}
    sizes = {SIZE: SIZE} if serving.task is Task.SEGMENT else {}
    steps = [
        _step(f"{serving.name}-prepare", {ENCODED: IMAGE}, prepared | sizes),
        _step(serving.name, {network.inputs[0].name: PREPARED}, output),
    ]
    if serving.postprocesses:
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
    """Map a model's tensors to the names they have in the ensemble."""
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
    """Describe a string of bytes per image; Triton needs a dimension besides the batch."""
    dims = list(serving.lead) or [1]
    return {"name": name, "data_type": Word("TYPE_STRING"), "dims": dims}


def _result(serving: Serving) -> dict[str, Value]:
    """Describe what clients receive: encoded label maps, or probabilities with labels."""
    name = RESULTS[serving.task]
    if serving.task is Task.SEGMENT:
        return _strings(name, serving)
    output_info = serving.manifest.outputs[0]
    # The step returns float32 whatever the type of the scores.
    dtype = "float32" if serving.postprocesses else output_info.dtype
    return _tensor(name, dtype, serving.tensor_dims(output_info)) | _labelled(serving)


def _labelled(serving: Serving) -> dict[str, Value]:
    """Name the file of labels of a classifier's output, whose best a client may request."""
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
    """Return the parameters of a backend beyond the fields that all models share."""
    parameters: dict[str, str] = {}
    threads = serving.options.threads
    if threads and serving.device is Device.CPU:
        parameters[THREADS[serving.backend]] = str(threads)
    if serving.backend is TritonBackend.OPENVINO:
        parameters["NUM_STREAMS"] = str(serving.options.instances)
        if serving.max_batch:
            # Its graphs have the largest batch alone and refuse smaller ones without this.
            parameters["ENABLE_BATCH_PADDING"] = "YES"
    return parameters


def _warm_ups(serving: Serving, input_info: TensorInfo) -> list[Message]:
    """Configure a first run of each preferred batch, so that no client waits for one.

    Triton fills the input with zeros: random bytes could be NaN.
    """
    lead = [size if size > 0 else 1 for size in serving.lead]
    dims = lead + serving.tensor_dims(input_info)[len(lead) :]
    inputs = named(
        {
            input_info.name: {
                "data_type": Word(DATA_TYPES[input_info.dtype]),
                "dims": dims,
                "zero_data": True,
            }
        }
    )
    sizes = sorted({1, *serving.preferred})
    return [
        {"name": f"batch of {size}", "batch_size": size, "inputs": inputs} for size in sizes
    ]
