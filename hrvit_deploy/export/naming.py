"""What an exported graph is called."""

from __future__ import annotations

from hrvit_deploy.artefact import Network
from hrvit_deploy.options import ExportOptions, InputFormat, OutputFormat, Precision


def export_name(described: Network, options: ExportOptions) -> str:
    """Return ``hrvit-b1-classify-224x224``, and every option after it that is not default."""
    parts = ["hrvit", described.hrvit.name, described.built_task, str(options.size)]
    if options.batch != 1:
        parts.append("bdyn" if options.batch is None else f"b{options.batch}")
    if options.input_format is InputFormat.UINT8_NHWC:
        parts.append("uint8")
    if options.output_format not in (OutputFormat.LOGITS, OutputFormat.FEATURES):
        parts.append(options.output_format)
    if options.target is not None:
        parts.append(options.target)
    if options.precision is not Precision.FP32:
        parts.append(options.precision)
    return "-".join(parts)
