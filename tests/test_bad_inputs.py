"""Bad input, as a user sees it: `planner check` prints every fault, exits with 1, and nothing else happens.

Each case gives the files and the exact lines on stderr. `F` stands for the forecast's path, `P` for plan.toml's, `D`
for their folder.
"""

# ruff: noqa: ISC004  # each string of a list is one line on stderr, longer than ours may be
from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_profiles.faults import Fault, InputError
from planner import cli
from planner.forecast import read_forecast
from planner.planfile import PlanFile, read_planfile

HEADER = "timestamp,workload,requests,input_tokens,output_tokens\n"
GOOD = HEADER + "".join(f"2027-01-04T{hour:02}:00:00Z,chat,100,100000,25000\n" for hour in range(24))
ADD_ROWS = "Remedy: add them, zeros where there is no demand; write times in UTC, which has no clock change."
PLAIN = "Remedy: write plain digits, for example 1200 or 1200.5."
ISO = "Remedy: write ISO 8601, for example 2027-01-04T00:00:00Z."
UTF8 = "Remedy: save the file as CSV in UTF-8."
EVERY = "Remedy: give every workload a row at every time, zeros where there is no demand."


def run(
    folder: Path, files: Mapping[str, str | bytes], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    *more: str,
) -> list[str]:  # fmt: skip
    """Lines that `planner check forecast.csv` prints on stderr in a folder of these files; it must exit with 1."""
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["planner", "check", str(folder / "forecast.csv"), *more])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert {path.name for path in folder.iterdir()} == set(files), "nothing is written"
    text = printed.err.replace(str(folder / "forecast.csv"), "F").replace(str(folder / "plan.toml"), "P")
    return text.replace(str(folder), "D").splitlines()


def changed(line: int, text: str) -> str:
    """The good forecast with one line (counted from 1) put in the place of another."""
    lines = GOOD.splitlines()
    lines[line - 1] = text
    return "\n".join(lines) + "\n"


def quarter(minute: int) -> str:
    return f"2027-01-04T00:{minute:02}:00Z,chat,100,100000,25000\n"


FORECASTS: dict[str, tuple[str | bytes, list[str]]] = {
    "empty file": (
        "",
        ["F: is empty. Remedy: begin it with the line timestamp,workload,requests,input_tokens,output_tokens."],
    ),
    "blank file": (
        "\n \n,,\n",
        ["F: is empty. Remedy: begin it with the line timestamp,workload,requests,input_tokens,output_tokens."],
    ),
    "header only": (HEADER, ["F:1: has no rows below its header. Remedy: add one row per hour and workload."]),
    "no header": (
        GOOD.removeprefix(HEADER),
        [
            "F:1: the first line names no known column. "
            "Remedy: begin the file with timestamp,workload,requests,input_tokens,output_tokens."
        ],
    ),
    "semicolons": (
        GOOD.replace(",", ";"),
        ["F:1: the columns are not separated by commas. Remedy: save the file with commas."],
    ),
    "missing columns": (
        "timestamp,workload,requests\n2027-01-04T00:00:00Z,chat,1\n",
        [
            "F:1: column 'input_tokens': the column is missing. Remedy: add it to the header and to every row.",
            "F:1: column 'output_tokens': the column is missing. Remedy: add it to the header and to every row.",
        ],
    ),
    "misspelt and unknown columns": (
        "timestamp,workload,request,input_tokens,output_tokens,colour\n2027-01-04T00:00:00Z,chat,1,1,1,red\n",
        [
            "F:1: column 'request': unknown column. Remedy: rename it to requests.",
            "F:1: column 'colour': unknown column. Remedy: remove it; known are timestamp, requests, input_tokens, "
            "output_tokens, workload, cached_input_tokens, scenario, probability.",
            "F:1: column 'requests': the column is missing. Remedy: add it to the header and to every row.",
        ],
    ),
    "a column twice": (
        "timestamp,requests,requests,input_tokens,output_tokens\n2027-01-04T00:00:00Z,1,1,1,1\n",
        ["F:1: column 'requests': the column stands twice. Remedy: keep one."],
    ),
    "bad dates": (
        changed(3, "04/01/2027 01:00,chat,100,100000,25000"),
        [f"F:3: column 'timestamp', value '04/01/2027 01:00': is not a date and time. {ISO}"],
    ),
    "no such day": (
        changed(4, "2027-02-30T02:00:00Z,chat,100,100000,25000"),
        [f"F:4: column 'timestamp', value '2027-02-30T02:00:00Z': is not a date and time. {ISO}"],
    ),
    "a date far away": (
        changed(2, "0001-01-01T00:00:00+14:00,chat,100,100000,25000"),
        [f"F:2: column 'timestamp', value '0001-01-01T00:00:00+14:00': is not a date and time. {ISO}"],
    ),
    "a date in 1970": (
        changed(2, "1970-01-01T00:00:00Z,chat,100,100000,25000"),
        [
            "F:2: column 'timestamp', value '1970-01-01T00:00:00Z': is not a whole second between the years 2000 and "
            f"2099. {ISO}"
        ],
    ),
    "mixed time zones": (
        changed(5, "2027-01-04T03:00:00,chat,100,100000,25000"),
        [
            "F:5: column 'timestamp', value '2027-01-04T03:00:00': names no time zone, line 2 names one. "
            "Remedy: end every time with Z (UTC)."
        ],
    ),
    "duplicate hour": (
        changed(5, "2027-01-04T02:00:00Z,chat,100,100000,25000") + "2027-01-04T03:00:00Z,chat,1,1,1\n",
        [
            "F:5: column 'timestamp', value '2027-01-04T02:00:00Z': workload 'chat' has a row for this time already, "
            "in line 4. Remedy: keep one."
        ],
    ),
    "gap in time": (
        "".join(line for line in GOOD.splitlines(keepends=True) if "T05" not in line and "T06" not in line),
        [
            "F:7: column 'timestamp', value '2027-01-04T07:00:00Z': rows are missing from 2027-01-04T05:00:00Z until "
            f"here (one row every 1 h). {ADD_ROWS}"
        ],
    ),
    "an odd interval": (
        HEADER + quarter(0) + quarter(7) + quarter(14),
        [
            "F:3: column 'timestamp', value '2027-01-04T00:07:00Z': there is one row every 7 min. "
            "Remedy: use whole hours or a whole part of one."
        ],
    ),
    "two intervals": (
        HEADER + quarter(0) + quarter(15) + quarter(30) + quarter(40) + quarter(45),
        [
            "F:5: column 'timestamp', value '2027-01-04T00:40:00Z': comes too early (one row every 15 min). "
            "Remedy: keep to one interval.",
            "F:6: column 'timestamp', value '2027-01-04T00:45:00Z': comes too early (one row every 15 min). "
            "Remedy: keep to one interval.",
        ],
    ),
    "a part of an hour": (
        HEADER + quarter(0) + quarter(15) + quarter(30),
        [
            "F:4: column 'timestamp', value '2027-01-04T00:30:00Z': the last hour is only partly there. "
            "Remedy: add its other rows, or remove it."
        ],
    ),
    "too long": (
        HEADER + "2027-01-01T00:00:00Z,chat,1,1,1\n2040-01-02T00:00:00Z,chat,1,1,1\n",
        [
            "F:3: column 'timestamp', value '2040-01-02T00:00:00Z': the forecast is longer than ten years. "
            "Remedy: check the dates."
        ],
    ),
    "ragged workloads": (
        GOOD + "2027-01-04T00:00:00Z,search,1,10,10\n",
        [f"F: workload 'search' has no row at 2027-01-04T01:00:00Z and at 22 other times. {EVERY}"],
    ),
    "far too ragged": (
        HEADER + "".join(f"2027-01-{1 + n // 24:02}T{n % 24:02}:00:00Z,w{n % 99},1,1,1\n" for n in range(240)),
        [f"F: of 23760 rows (every workload at every time) only 240 are there. {EVERY}"],
    ),
    "too many workloads": (
        HEADER + "".join(f"2027-01-04T00:00:00Z,w{n},1,1,1\n" for n in range(101)),
        ["F: column 'workload': there are 101 names. Remedy: join them until at most 100 are left."],
    ),
    "negative": (
        changed(3, "2027-01-04T01:00:00Z,chat,-5,100000,-2"),
        [
            "F:3: column 'requests', value '-5': is negative. Remedy: write 0 or more.",
            "F:3: column 'output_tokens', value '-2': is negative. Remedy: write 0 or more.",
        ],
    ),
    "not a number": (
        HEADER
        + "2027-01-04T00:00:00Z,chat,NaN,inf,many\n"
        + '2027-01-04T01:00:00Z,chat,"1,000",1_000,\n'
        + "2027-01-04T02:00:00Z,chat,1,1e16,1\n",
        [
            f"F:2: column 'requests', value 'NaN': is not a number. {PLAIN}",
            f"F:2: column 'input_tokens', value 'inf': is not a number. {PLAIN}",
            f"F:2: column 'output_tokens', value 'many': is not a number. {PLAIN}",
            f"F:3: column 'requests', value '1,000': is not a number. {PLAIN}",
            f"F:3: column 'input_tokens', value '1_000': is not a plain number. {PLAIN}",
            "F:3: column 'output_tokens', value '': is empty. Remedy: write 0 where there is no demand.",
            "F:4: column 'input_tokens', value '1e16': is larger than 1e+15. "
            "Remedy: check the unit: requests and single tokens.",
        ],
    ),
    "tokens and requests that disagree": (
        "timestamp,requests,input_tokens,cached_input_tokens,output_tokens\n"
        "2027-01-04T00:00:00Z,0,10,0,0\n"
        "2027-01-04T01:00:00Z,10,0,0,3\n"
        "2027-01-04T02:00:00Z,10,100,101,30\n",
        [
            "F:2: column 'input_tokens', value '10': there are tokens but no requests. "
            "Remedy: give the requests, or 0 tokens.",
            "F:3: column 'input_tokens', value '0': is less than one token per request. "
            "Remedy: give the total of the row, not the mean of a request.",
            "F:3: column 'output_tokens', value '3': is less than one token per request. "
            "Remedy: give the total of the row, not the mean of a request.",
            "F:4: column 'cached_input_tokens', value '101': exceeds input_tokens. "
            "Remedy: count it as a part of input_tokens.",
        ],
    ),
    "no demand at all": (
        HEADER + "2027-01-04T00:00:00Z,chat,0,0,0\n2027-01-04T01:00:00Z,chat,0,0,0\n",
        ["F: column 'requests': there is no request in any row. Remedy: forecast some demand."],
    ),
    "a row too short": (
        changed(3, "2027-01-04T01:00:00Z,chat,100,100000"),
        ["F:3: the row has 4 fields, the header 5. Remedy: give every row one value for each column."],
    ),
    "names that are none": (
        changed(2, "2027-01-04T00:00:00Z,,100,100000,25000")
        .replace("T01:00:00Z,chat", "T01:00:00Z,ch\x1b[31mat")
        .replace("T02:00:00Z,chat", 'T02:00:00Z,"ch\nat"'),
        [
            "F:2: column 'workload', value '': is not a name. Remedy: write printable text.",
            "F:3: column 'workload', value 'ch\\x1b[31mat': is not a name. Remedy: write printable text.",
            "F:5: column 'workload', value 'ch\\nat': is not a name. Remedy: write printable text.",
        ],
    ),
    "utf-16": (
        GOOD.encode("utf-16"),
        [f"F:1: is encoded in UTF-16. {UTF8}"],
    ),
    "latin-1": (
        changed(3, "2027-01-04T01:00:00Z,caf\xe9,100,100000,25000").encode("latin-1"),
        [f"F:3: is not encoded in UTF-8: byte 122 is 0xe9. {UTF8}"],
    ),
    "binary": (
        b"PK\x03\x04\x00\x00",
        [f"F:1: is not text: byte 4 is 0x00. {UTF8}"],
    ),
    "an open quote": (
        changed(3, '2027-01-04T01:00:00Z,"chat,100,100000,25000'),
        [
            "F:25: is not CSV (unexpected end of data). Remedy: close every quote and double the quotes inside one.",
        ],
    ),
    "scenarios": (
        "timestamp,requests,input_tokens,output_tokens,scenario,probability\n"
        "2027-01-04T00:00:00Z,1,1,1,base,0.5\n"
        "2027-01-04T01:00:00Z,1,1,1,base,0.6\n"
        "2027-01-04T00:00:00Z,1,1,1,high,0.6\n",
        [
            "F:3: column 'probability', value '0.6': scenario 'base' had probability 0.5 before. "
            "Remedy: give a scenario one probability.",
            f"F: workload 'all' of scenario 'high' has no row at 2027-01-04T01:00:00Z. {EVERY}",
        ],
    ),
    "probabilities": (
        "timestamp,requests,input_tokens,output_tokens,scenario,probability\n"
        "2027-01-04T00:00:00Z,1,1,1,base,0.5\n"
        "2027-01-04T00:00:00Z,1,1,1,high,0.6\n",
        ["F: column 'probability': the probabilities of the 2 scenarios sum to 1.1. Remedy: make them sum to 1."],
    ),
    "faults of several kinds at once": (
        HEADER
        + "2027-01-04T00:00:00Z,chat,100,100000,-1\n"
        + "yesterday,chat,100,100000,25000\n"
        + "2027-01-04T02:00:00Z,chat,100,100000,25000\n"
        + "2027-01-04T03:00:00Z,chat,100,100000,25000\n"
        + "2027-01-04T03:00:00Z,chat,100,100000,25000\n"
        + "2027-01-04T05:00:00Z,chat,nan,100000,25000\n"
        + "2027-01-04T06:00:00Z,chat,100,100000,25000\n"
        + "2027-01-04T07:00:00Z,chat,100,100000,25000\n",
        [
            "F:2: column 'output_tokens', value '-1': is negative. Remedy: write 0 or more.",
            f"F:3: column 'timestamp', value 'yesterday': is not a date and time. {ISO}",
            "F:6: column 'timestamp', value '2027-01-04T03:00:00Z': workload 'chat' has a row for this time already, "
            "in line 5. Remedy: keep one.",
            f"F:7: column 'requests', value 'nan': is not a number. {PLAIN}",
            "F:7: column 'timestamp', value '2027-01-04T05:00:00Z': rows are missing from 2027-01-04T04:00:00Z until "
            f"here (one row every 1 h). {ADD_ROWS}",
        ],
    ),
}

PLANS: dict[str, tuple[str | bytes, list[str]]] = {
    "unknown keys": (
        "[horizn]\nmonths = 3\n[workloads.chat]\nmodle = 'x'\n[policy]\nzeal = 1\n",
        [
            "P:1: column 'horizn': unknown key. Remedy: write horizon.",
            "P:4: column 'workloads.chat.modle': unknown key. Remedy: write model.",
            "P:6: column 'policy.zeal': unknown key. Remedy: remove it; known here are capacity, forbid, forbid_gpus, "
            "forbid_providers, keep_warm, max_owned_gpus, max_share_per_provider, spot, spot_interruptions_per_h, "
            "spot_restart_minutes, start_minutes.",
        ],
    ),
    "unknown model": (
        "[workloads.chat]\nmodel = 'qwen3-32c'\n",
        [
            "P:2: column 'workloads.chat.model', value 'qwen3-32c': unknown model. Remedy: near names are qwen3-32b, "
            "qwen3-8b, qwen3-4b, qwen2.5-32b, qwen3-14b; or add it to models.toml in a folder given with --profiles."
        ],
    ),
    "unknown workload": (
        "[workloads.chats]\n",
        ["P:1: column 'workloads.chats': the forecast has no such workload. Remedy: rename it to 'chat'."],
    ),
    "wrong types": (
        "[workloads.chat]\nslo = { ttft_s = '2', tpot_s = true }\nresidency = 'eu'\n[horizon]\nmonths = 2.5\n"
        "[site]\npue = inf\n[[fleet]]\ngpu = 5\ngpus = 1\nuntil = 'soon'\n[prices]\noffers = 1\n",
        [
            "P:2: column 'workloads.chat.slo.ttft_s', value '2': is not a number. "
            "Remedy: write digits without quotes, for example 0.5.",
            "P:2: column 'workloads.chat.slo.tpot_s', value 'true': is not a number. "
            "Remedy: write digits without quotes, for example 0.5.",
            "P:3: column 'workloads.chat.residency', value 'eu': is not a list. Remedy: put it in brackets.",
            "P:5: column 'horizon.months', value '2.5': is not a whole number. "
            "Remedy: write digits without quotes, for example 12.",
            "P:7: column 'site.pue', value 'inf': is not at most 5. Remedy: write a number that is at most 5.",
            "P:9: column 'fleet.0.gpu', value '5': is not text. Remedy: put it in quotes.",
            "P:11: column 'fleet.0.until', value 'soon': is not a date. Remedy: write it as 2027-12-31.",
            "P:13: column 'prices.offers', value '1': is not text. Remedy: put it in quotes.",
        ],
    ),
    "values out of range": (
        "[workloads.chat]\nslo = { ttft_s = 0, attainment = 1.5 }\n[horizon]\nmonths = 61\n"
        "[policy]\ncapacity = 'best'\nforbid = ['apis']\n[[fleet]]\ngpu = ''\ngpus = 0\n",
        [
            "P:2: column 'workloads.chat.slo.ttft_s', value '0': is not greater than 0. "
            "Remedy: write a number that is greater than 0.",
            "P:2: column 'workloads.chat.slo.attainment', value '1.5': is not at most 1. "
            "Remedy: write a number that is at most 1.",
            "P:4: column 'horizon.months', value '61': is not at most 60. Remedy: write a number that is at most 60.",
            "P:6: column 'policy.capacity', value 'best': is not one of the choices. "
            "Remedy: write 'low', 'mid' or 'high'.",
            "P:7: column 'policy.forbid.0', value 'apis': is not one of the choices. "
            "Remedy: write 'buy', 'reserved', 'commitment', 'on-demand', 'spot' or 'api'.",
            "P:9: column 'fleet.0.gpu', value '': is empty. Remedy: write a name.",
            "P:10: column 'fleet.0.gpus', value '0': is not at least 1. Remedy: write a number that is at least 1.",
        ],
    ),
    "keys that contradict each other": (
        "[workloads.chat]\nslo = { attainment = 0.9 }\n[horizon]\nmonths = 3\nhours = 9\n"
        "[[fleet]]\ngpu = 'h100'\ngpus = 1\nkind = 'reserved'\n",
        [
            "P:1: column 'workloads.chat': the SLO states no limit. "
            "Remedy: state ttft_s, tpot_s or e2e_s, or remove slo for the default.",
            "P:3: column 'horizon': there are months and hours. Remedy: keep one of them.",
            "P:6: column 'fleet.0': a reserved GPU has an end, an owned one has none. "
            "Remedy: write until = 2027-12-31 beside kind = 'reserved', and only there.",
        ],
    ),
    "not toml": (
        "[horizon]\nmonths = \n",
        ["P:2: not TOML: Invalid value. Remedy: mend the line."],
    ),
    "nested without end": (
        f"a = {'[' * 5000}{']' * 5000}",
        ["P: is nested too deeply, or a number is too long. Remedy: write it as planner init does."],
    ),
    "a key twice": (
        "[horizon]\nmonths = 1\nmonths = 2\n",
        ["P:3: not TOML: Cannot overwrite a value. Remedy: mend the line."],
    ),
    "latin-1": (
        "[workloads.chat]\nowner = 'caf\xe9'\n".encode("latin-1"),
        ["P:2: is not encoded in UTF-8: byte 29 is 0xe9. Remedy: save the file in UTF-8."],
    ),
    "not built yet": (
        "scenarios = 3\n[workloads.chat]\ndeadline_h = 24\n",
        [
            "P:1: column 'scenarios': is not supported yet. Remedy: plan each scenario by itself.",
            "P:3: column 'workloads.chat.deadline_h': is not supported yet. "
            "Remedy: leave it out: all work is served in its hour.",
        ],
    ),
}


@pytest.mark.parametrize("case", FORECASTS)
def test_forecasts(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A malformed forecast.csv: every fault with file, line, column, value and remedy."""
    content, expected = FORECASTS[case]
    assert run(tmp_path, {"forecast.csv": content}, capsys, monkeypatch) == [f"error: {line}" for line in expected]


@pytest.mark.parametrize("case", PLANS)
def test_plans(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A malformed plan.toml beside a good forecast: the same."""
    content, expected = PLANS[case]
    files = {"forecast.csv": GOOD, "plan.toml": content}
    assert run(tmp_path, files, capsys, monkeypatch) == [f"error: {line}" for line in expected]


AGREE: dict[str, tuple[str, list[str]]] = {
    "impossible SLO": (
        "[workloads.chat]\nslo = { ttft_s = 2, tpot_s = 0.0001 }\n",
        [
            "P:2: column 'workloads.chat.slo', value 'TTFT <= 2 s, TPOT <= 0.0001 s for 95%': no curve of qwen3-32b "
            "meets this SLO; the nearest point has TTFT 0.0918 s, TPOT 0.00796 s. Remedy: loosen it, name another "
            "model, or forbid buy, reserved and on-demand to rely on an API's latency."
        ],
    ),
    "a model that nothing serves": (
        "[workloads.chat]\nmodel = 'llama-3.1-405b'\n[policy]\nforbid = ['api']\n",
        [
            "P:2: column 'workloads.chat.model', value 'llama-3.1-405b': no curve and no API of this model may be "
            "used. Remedy: name a model with curves (gpt-oss-120b, llama-3.1-70b, llama-3.1-8b, minimax-m2.5, "
            "qwen3-32b), measure it with bench run, or add an endpoint."
        ],
    ),
    "unknown GPUs, providers and regions": (
        "[workloads.chat]\nresidency = ['atlantis']\n"
        "[policy]\nforbid_providers = ['nebios']\nforbid_gpus = ['h1000']\n[[fleet]]\ngpu = 'h1000-pcie'\ngpus = 1\n",
        [
            "P:2: column 'workloads.chat.residency', value 'atlantis': the price book has no such region. "
            "Remedy: name price files of your own in [prices], whose rows have a region.",
            "P:4: column 'policy.forbid_providers.0', value 'nebios': the price book has no such provider. "
            "Remedy: write nebius.",
            "P:5: column 'policy.forbid_gpus.0', value 'h1000': unknown GPU. "
            "Remedy: near names are h100-80gb-sxm, h100-80gb-pcie; or add it to gpus.toml in a folder given with "
            "--profiles.",
            "P:7: column 'fleet.0.gpu', value 'h1000-pcie': unknown GPU. "
            "Remedy: near names are h100-80gb-pcie, a100-80gb-pcie, a100-40gb-pcie; or add it to gpus.toml in a folder "
            "given with --profiles.",
        ],
    ),
    "a fleet that is forbidden": (
        "[policy]\nforbid_gpus = ['h100-80gb-sxm']\n[[fleet]]\ngpu = 'h100'\ngpus = 1\n",
        [
            "P:4: column 'fleet.0.gpu', value 'h100-80gb-sxm': is in the fleet and forbidden. "
            "Remedy: take it out of policy.forbid_gpus, or out of the fleet."
        ],
    ),
    "price files": (
        "[prices]\noffers = 'nowhere.csv'\n",
        [
            "D/nowhere.csv: cannot be read (No such file or directory). Remedy: check the path and its permissions.",
        ],
    ),
}


@pytest.mark.parametrize("case", AGREE)
def test_what_files_must_agree_on(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sound files that contradict the facts, the curves or the price book: the line that asks for what is not there."""
    content, expected = AGREE[case]
    files = {"forecast.csv": GOOD, "plan.toml": content}
    assert run(tmp_path, files, capsys, monkeypatch) == [f"error: {line}" for line in expected]


def test_all_files_are_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault in one file does not hide those of another: forecast, plan.toml and prices are mended in one go."""
    files = {
        "forecast.csv": changed(3, "2027-01-04T01:00:00Z,chat,x,100000,25000"),
        "plan.toml": "[workloads.chat]\nmodel = 'qwen3-32c'\n",
        "offers.csv": "provider\n",
    }
    lines = run(tmp_path, files, capsys, monkeypatch)
    assert lines[0] == f"error: F:3: column 'requests', value 'x': is not a number. {PLAIN}"
    assert {line.split(":")[1] for line in lines} >= {" F", " D/offers.csv"}


def test_facts_of_ones_own_are_told_as_their_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault in models.toml of a user's own folder is that file's, not the workload's that names a model."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "models.toml").write_text("[models.mine]\nlayers = 'many'\n")
    work = tmp_path / "work"
    work.mkdir()
    files = {"forecast.csv": GOOD, "plan.toml": "[workloads.chat]\nmodel = 'mine'\n"}
    lines = run(work, files, capsys, monkeypatch, "--profiles", str(own))
    assert lines
    assert all(line.startswith(f"error: {own / 'models.toml'}:") for line in lines)


def test_the_model_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown `--model` is told as that option's."""
    lines = run(tmp_path, {"forecast.csv": GOOD}, capsys, monkeypatch, "--model", "qwen3-32c")
    assert lines == [
        "error: column '--model', value 'qwen3-32c': unknown model. Remedy: near names are qwen3-32b, qwen3-8b, "
        "qwen3-4b, qwen2.5-32b, qwen3-14b; or add it to models.toml in a folder given with --profiles."
    ]


def test_files_that_are_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forecast and plan.toml that were named but cannot be read."""
    lines = run(tmp_path, {}, capsys, monkeypatch, "--plan", str(tmp_path / "plan.toml"))
    assert lines == [
        "error: F: cannot be read (No such file or directory). Remedy: check the path and its permissions.",
        "error: P: cannot be read (No such file or directory). Remedy: check the path and its permissions.",
    ]


def test_very_many_faults_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One wrong column makes a fault in every row: twenty are shown and the others counted."""
    text = HEADER + "".join(f"2027-01-04T{hour:02}:00:00Z,chat,-1,-1,-1\n" for hour in range(24))
    lines = run(tmp_path, {"forecast.csv": text}, capsys, monkeypatch)
    assert len(lines) == 21
    assert lines[19] == "error: F:8: column 'input_tokens', value '-1': is negative. Remedy: write 0 or more."
    assert lines[20] == "error: F: 52 more faults are not shown. Remedy: mend those above and run again."


def test_hostile_names_are_only_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names that look like paths, formulas, markup or each other are read, shown as they are, and write nothing."""
    names = ["../../x", "team-a", "team_a", "=cmd()", "<script>alert(1)</script>", "[red]x[/red]"]
    text = HEADER + "".join(
        f"2027-01-04T{hour:02}:00:00Z,{name},100,100000,25000\n" for hour in range(24) for name in names
    )
    (tmp_path / "forecast.csv").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["planner", "check", "forecast.csv"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"  {name}: qwen3-32b" in shown for name in names)
    assert [path.name for path in tmp_path.iterdir()] == ["forecast.csv"]


MUTATIONS = [
    b"nan",
    b"1e400",
    b"-1",
    b"",
    b'"',
    b",",
    b"\r",
    b"\n",
    b"\x00",
    b"\xff",
    b"20270104",
    b"+25:00",
    b"9999",
    b"#",
    b"=",
]
MUTATIONS += [
    b"[",
    b"]]",
    b"{a=1}",
    b"inf",
    b"2027-01-01",
    b"'",
    b"=",
    b".",
    b"\xe2\x80\xa8",
    b"1e-320",
    b"true",
    b"[[fleet]]\n",
]


@settings(deadline=None, max_examples=300)
@given(
    name=st.sampled_from(["forecast.csv", "plan.toml"]),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(MUTATIONS)), min_size=1, max_size=4),
)
def test_whatever_the_bytes(
    tmp_path_factory: pytest.TempPathFactory, name: str, cuts: list[tuple[float, int, bytes]]
) -> None:
    """A damaged file is read or refused with faults that can be printed; no other exception ever comes out."""
    content = bytearray((resources.files("planner") / "starter" / name).read_bytes())
    for where, length, patch in cuts:
        at = int(where * len(content))
        content[at : at + length] = patch
    path = tmp_path_factory.mktemp("damaged") / name
    path.write_bytes(bytes(content))
    faults: tuple[Fault, ...] = ()
    try:
        if name == "plan.toml":
            assert isinstance(read_planfile(path), PlanFile)
        else:
            assert np.isfinite(read_forecast(path).requests).all()
    except InputError as error:
        faults = error.faults
    assert all(fault.remedy and str(path) in str(fault) for fault in faults)


def test_a_shell_sees_status_1_and_no_traceback(tmp_path: Path) -> None:
    """The console script itself: one line on stderr, nothing on stdout, exit status 1."""
    (tmp_path / "forecast.csv").write_text("nonsense\n")
    command = [sys.executable, "-m", "planner.cli", "check", "forecast.csv"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: forecast.csv:1: the first line names no known column. "
        "Remedy: begin the file with timestamp,workload,requests,input_tokens,output_tokens.\n"
    )
