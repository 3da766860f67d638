"""Write the commands that start a Triton repository and measure it, and its README."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from hrvit_deploy.embed.triton.config import IMAGE, RESULTS
from hrvit_deploy.embed.triton.serving import Device, Serving, TritonBackend
from hrvit_deploy.options import OutputFormat, Task

SERVER = "nvcr.io/nvidia/tritonserver"
TAG = "hrvit-triton"
# Concurrent requests that perf_analyzer tries: first, last and step.
CONCURRENCY = "1:16:5"
MATRIX = "https://docs.nvidia.com/deeplearning/frameworks/support-matrix/"
ANALYZING = (
    "`perf.json` holds one image; put photographs of your own there. The last command needs"
    " `pip install triton-model-analyzer`, and writes to `analyzed/`."
)


@dataclass(frozen=True)
class Commands:
    """Shell command lines, to be run in the repository's folder.

    Attributes:
        build: Builds the container: Triton's own, and Pillow.
        serve: Runs the container with the models.
        measure: Measures the ensemble, from encoded images.
        measure_network: Measures the network alone.
        search: Tries other batches and instances in turn.
    """

    build: str
    serve: str
    measure: str
    measure_network: str
    search: str


def commands(serving: Serving) -> Commands:
    """Return the command lines, in the order to run them."""
    sdk = (
        f'docker run --rm --net host -v "$PWD":/work {SERVER}:{serving.options.release}-py3-sdk'
    )
    gpus = "--gpus all " if serving.device is Device.GPU else ""
    name, ensemble = shlex.quote(serving.name), shlex.quote(f"{serving.name}-images")
    analyze = f"perf_analyzer -i grpc -u localhost:8001 --concurrency-range {CONCURRENCY}"
    analyze += " --percentile 99"
    return Commands(
        build=f"docker build -t {TAG} .",
        serve=(
            f"docker run --rm {gpus}--shm-size {serving.shared_mib}m"
            f' -p 8000:8000 -p 8001:8001 -p 8002:8002 -v "$PWD/models":/models:ro {TAG}'
            f" tritonserver --model-repository /models{_backend_flags(serving)}"
        ),
        measure=f"{sdk} {analyze} -m {ensemble} --input-data /work/perf.json{_shape(serving)}",
        measure_network=f"{sdk} {analyze} -m {name}{_network_shape(serving)}",
        search=(
            f'model-analyzer profile --model-repository "$PWD/models" --profile-models {name}'
            f" --triton-launch-mode docker --triton-docker-image {TAG}"
            ' --run-config-search-mode quick --output-model-repository-path "$PWD/analyzed"'
            " --override-output-model-repository"
        ),
    )


def _backend_flags(serving: Serving) -> str:
    if serving.manifest.options.get("version_compatible") and serving.manifest.engine:
        # The plan carries code of its own, which Triton runs only with this flag.
        return " --backend-config tensorrt,version-compatible=true"
    return ""


def _shape(serving: Serving) -> str:
    """Return the flag for dimensions that are left open: perf_analyzer needs them."""
    return f" --shape {IMAGE}:1" if -1 in serving.lead else ""


def _network_shape(serving: Serving) -> str:
    if -1 not in serving.lead:
        return ""
    input_info = serving.manifest.inputs[0]
    shape = ",".join(map(str, (1, *input_info.shape[1:])))
    return f" --shape {input_info.name}:{shape}"


def dockerfile(serving: Serving, pillow: str) -> str:
    """Return the Dockerfile: Triton's container and the one package its steps lack.

    Args:
        serving: What is served, and how.
        pillow: Pillow's version, which images are prepared alike with.
    """
    return (
        f"FROM {SERVER}:{serving.options.release}-py3\n"
        f"RUN pip install --no-cache-dir pillow=={pillow}\n"
    )


def readme(serving: Serving) -> str:
    """Return the README of the folder."""
    run = commands(serving)
    parts = [
        f"# {serving.name} in Triton\n\n{_about(serving)}",
        _section("Start it", run.build, run.serve),
        _client(serving),
        _section("Measure it", run.measure, run.measure_network, run.search),
        ANALYZING,
        "## What is in it\n\n" + _table(serving),
        "## Notes\n\n" + "\n".join(f"- {note}" for note in _notes(serving)),
    ]
    return "\n\n".join(parts) + "\n"


def _about(serving: Serving) -> str:
    network = serving.manifest.network
    result = "a PNG of class indices" if network.task is Task.SEGMENT else "probabilities"
    return (
        f"{network.title}, {network.num_classes} classes,"
        f" {serving.manifest.precision}, in Triton's {serving.backend} backend. Encoded images"
        f" (JPEG, PNG, ...) go in, {result} come out."
    )


def _section(title: str, *lines: str) -> str:
    body = "\n".join(f"    {line}" for line in lines)
    return f"## {title}\n\n{body}"


def _client(serving: Serving) -> str:
    """Return the section with Python that sends an image by Triton's own client."""
    result = RESULTS[serving.task]
    shape = [1, 1] if serving.max_batch else [serving.lead[0] if serving.lead[0] > 0 else 1]
    files = f"[content] * {shape[0]}" if shape[0] > 1 else "[content]"
    show = (
        f'Image.open(io.BytesIO(response.as_numpy("{result}").ravel()[0])).save("labels.png")'
        if serving.task is Task.SEGMENT
        else f'print(response.as_numpy("{result}")[0].argsort()[::-1][:5])'
    )
    imports = ["import io", ""] if serving.task is Task.SEGMENT else []
    pillow = ["from PIL import Image"] if serving.task is Task.SEGMENT else []
    code = [
        *imports,
        "import numpy as np",
        *pillow,
        "from tritonclient.http import InferenceServerClient, InferInput",
        "",
        'content = open("photo.jpg", "rb").read()',
        f'image = InferInput("{IMAGE}", {shape}, "BYTES")',
        f"image.set_data_from_numpy(np.array({files}, object).reshape({shape}))",
        'client = InferenceServerClient("localhost:8000")',
        f'response = client.infer("{serving.name}-images", [image])',
        show,
    ]
    lines = "\n".join(f"    {line}".rstrip() for line in code)
    return f"## Send it an image\n\n`pip install 'tritonclient[http]'`, then\n\n{lines}"


def _table(serving: Serving) -> str:
    rows = [
        (f"{serving.name}-images", "the ensemble, for clients"),
        (f"{serving.name}-prepare", "decodes and prepares images, in Python"),
        (serving.name, f"the network, in {serving.backend}"),
    ]
    if serving.postprocesses:
        made = f"makes the output, `{RESULTS[serving.task]}`, of its scores, in Python"
        rows.append((f"{serving.name}-decide", made))
    return "| model | |\n|---|---|\n" + "\n".join(f"| `{a}` | {b} |" for a, b in rows)


def _notes(serving: Serving) -> list[str]:
    notes = [_batch_note(serving), _backend_note(serving), _map_note(serving)]
    shared = (
        f"Tensors cross to the Python steps through shared memory: {serving.shared_mib} MiB"
        " above."
    )
    broken = "A broken image fails its own request with INVALID_ARG, which says why."
    metrics = "Metrics for Prometheus are at `localhost:8002/metrics`."
    return [*filter(None, notes), shared, broken, metrics]


def _batch_note(serving: Serving) -> str:
    if serving.max_batch > 1:
        milliseconds = serving.options.delay_us / 1000
        note = (
            f"Requests wait up to {milliseconds:g} ms for others and share runs of up to"
            f" {serving.max_batch} images."
        )
        if serving.backend is TritonBackend.OPENVINO:
            note += (
                " OpenVINO's backend then computes full batches, filled up with zeros: good"
                " under load, slow for one client. Embed with `--max-batch 0` for runs of just"
                " what each client sends."
            )
        return note
    if serving.max_batch == 1:
        return "Images run one by one."
    lead = serving.lead[0]
    if lead == 1:
        return "Each request is one run, of one image; export a dynamic batch to share runs."
    images = "as many images as it has" if lead < 0 else f"exactly {lead} images"
    return f"Each request is one run, of {images}."


def _backend_note(serving: Serving) -> str:
    engine = serving.manifest.engine
    if engine is not None:
        gpu = f" on {engine.gpu}" if engine.gpu else ""
        return (
            f"The plan was built by TensorRT {engine.version}{gpu}, and runs in that version"
            f" alone: if {serving.options.release} has another, take the release that has it"
            f" ({MATRIX}) with `--triton-release`."
        )
    if serving.backend is TritonBackend.OPENVINO:
        return (
            "On CPUs that multiply in bfloat16, OpenVINO does so by default, and its Triton"
            " backend has no option for it: outputs differ slightly there."
        )
    return ""


def _map_note(serving: Serving) -> str:
    if serving.task is not Task.SEGMENT:
        return ""
    classes = serving.manifest.network.num_classes
    undecided = "255" if classes <= 255 else "65535"
    note = (
        f"Label maps have each image's own size; {undecided} stands where scores are not"
        " finite. Names are in `labels.txt`."
    )
    if serving.manifest.output_format is not OutputFormat.CLASSMAP and classes <= 255:
        note += (
            " All scores cross to the last step: a graph exported with `--output classmap`"
            f" sends {classes} times less."
        )
    return note
