"""Other load generators, for `client_truth.py --peers ENVIRONMENT`: run as they document it, read as they tell.

Seen with GuideLLM 0.8.1 and AIPerf 0.13.0. Both want a tokenizer that can write text: bytes will do. GuideLLM keeps the
first and the last token's moment of a request and none between them: it has a TTFT, no gaps and no share kept up.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.tiny_model import write_tiny_model

Streams = dict[int, tuple[float, np.ndarray]]
Run = Callable[[list[object]], None]
"""Runs a command on the client's core."""


def guidellm(program: Path, url: str, *, streams: int, tokens: int, folder: Path, run: Run) -> Streams:
    out = folder / "guidellm.json"
    out.unlink(missing_ok=True)
    backend = f"kind=openai_http,target={url},model=paced,request_format=/v1/completions,validate_backend=false"
    options: dict[str, object] = {
        "backend": backend,
        "profile": f"kind=concurrent,streams={streams}",
        "constraint": f"kind=max_requests,count={streams}",
        "tokenizer": f"kind=hf_auto,model={_tokenizer(folder)}",
        "data": f"kind=synthetic_text,prompt_tokens=100,output_tokens={tokens}",
        "output": f"kind=json,path={out}",
    }
    run([program, "run", "--disable-console", *_flags(options)])
    seen: Streams = {}
    for row in json.loads(out.read_text())["benchmarks"][0]["requests"]["successful"]:
        at = row["info"]["timings"]
        ends = np.array([at["first_token_iteration"], at["last_token_iteration"]]) * 1e9
        seen[_serial(row["response_id"])] = (at["first_token_iteration"] - at["request_start"], ends)
    return seen


def aiperf(program: Path, url: str, *, streams: int, tokens: int, folder: Path, run: Run) -> Streams:
    out = folder / "aiperf"
    shutil.rmtree(out, ignore_errors=True)
    options: dict[str, object] = {
        "model": "paced",
        "url": url,
        "endpoint-type": "completions",
        "concurrency": streams,
        "request-count": streams,
        "tokenizer": _tokenizer(folder),
        "synthetic-input-tokens-mean": 100,
        "synthetic-input-tokens-stddev": 0,
        "output-tokens-mean": tokens,
        "output-tokens-stddev": 0,
        "extra-inputs": "ignore_eos:true",
        "artifact-dir": out,
        "export-level": "raw",
        "ui": "none",
    }
    run([program, "profile", "--streaming", *_flags(options)])
    seen: Streams = {}
    for line in (out / "profile_export_raw.jsonl").read_text().splitlines():
        row: dict[str, Any] = json.loads(line)
        told = [(at["perf_ns"], json.loads(packet["value"])) for at, packet in _packets(row)]
        arrivals = [at for at, content in told if content["choices"]]
        if arrivals:
            begun = (arrivals[0] - row["start_perf_ns"]) / 1e9
            seen[_serial(told[0][1]["id"])] = (begun, np.array(arrivals))
    return seen


PEERS = {"guidellm": guidellm, "aiperf": aiperf}


def _packets(row: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    pairs = [(at, packet) for at in row["responses"] for packet in at["packets"]]
    return [(at, packet) for at, packet in pairs if packet["name"] == "data" and packet["value"] != "[DONE]"]


def _tokenizer(folder: Path) -> Path:
    path = folder / "bytes"
    if not path.exists():
        write_tiny_model(path)
    return path


def _flags(options: dict[str, object]) -> list[object]:
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def _serial(response_id: str) -> int:
    return int(response_id.removeprefix("cmpl-"))
