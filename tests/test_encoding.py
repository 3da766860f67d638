"""JSON holds names that are no text, escaped."""

from __future__ import annotations

import json
import os
from pathlib import Path

from hrvit_deploy.encoding import encode_json


def test_names_of_files_need_be_no_text() -> None:
    name = os.fsdecode(b"caf\xe9.png")
    value = {"path": Path(name), name: [name, 1, None], "text": "é"}
    escaped = r"caf\udce9.png"
    expected = {"path": escaped, escaped: [escaped, 1, None], "text": "é"}
    assert json.loads(encode_json(value)) == expected
    assert encode_json({"text": "é"}) == '{"text":"é"}'.encode()
