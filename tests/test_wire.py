"""The wire: every way a server can answer, on a real socket, becomes a clear outcome, and every stamp is the read's."""

import itertools
import json
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gevent
import numpy as np
import orjson
import pytest

from bench import stats, wire
from bench.decode import Reply, decode, peek, to_row
from bench.endpoint import Endpoint, endpoint
from bench.paced import FAULTS, FORMS, Law, paced
from bench.records import from_rows
from hardware_profiles.faults import InputError

LAW = Law(ttft_s=0.02, tpot_s=0.004)
TOKENS = 10


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with paced(LAW, "--per-request-metrics") as told:
        yield told


@dataclass
class Seen:
    kept: wire.Exchange
    reply: Reply


def ask(url: str, model: str = "paced", *, chat: bool = False, kernel: bool = True, timeout_s: float = 0.5) -> Seen:
    to = endpoint(url)
    connection = wire.connection(to, kernel_stamps=kernel)
    kept = connection.exchange(request(to, model, chat=chat), timeout_s)
    connection.close()
    return Seen(kept, decode(kept))


def request(to: Endpoint, model: str = "paced", *, chat: bool = False, tokens: int = TOKENS) -> bytes:
    body = {"model": model, "max_tokens": tokens, "stream": True}
    asked = {"messages": [{"role": "user", "content": "a b c"}]} if chat else {"prompt": list(range(100))}
    return to.request("/v1/chat/completions" if chat else "/v1/completions", json.dumps(body | asked).encode())


OUTCOMES = {
    "401": ("http_401", "paced: refuses the key xxx"),
    "404": ("http_404", "paced: knows no such model xxx"),
    "429": ("http_429", "paced: has too many requests xxx"),
    "500": ("http_500", "paced: fails xxx"),
    "302": ("http_302", "paced: redirects xxx"),
    "silent": ("timeout", "no end within 0.5 s"),
    "hang": ("timeout", "no end within 0.5 s"),
    "stall": ("timeout", "no end within 0.5 s"),
    "close": ("reset", "closed before an answer"),
    "truncate": ("truncated", "closed before the end of the answer"),
    "reset": ("reset", "Connection reset by peer"),
    "garbage": ("garbage", "the answer is not HTTP"),
    "badjson": ("garbage", 'not an event stream of JSON: {"id": "cmpl"'),
    "badtype": ("garbage", 'not an event stream of JSON: {"id":"cmpl","choices":[null]'),
    "badchunk": ("garbage", "broken chunked framing"),
    "midstream": ("server_error", "engine died"),
    "empty": ("empty", "a whole stream without a token"),
    "noterm": ("truncated", "closed before the end of the answer"),
}


@pytest.fixture(scope="module")
def faults(url: str) -> dict[str, Seen]:
    """All faults at once, as a stage would meet them."""
    jobs = {kind: gevent.spawn(ask, url, f"fault:{kind}") for kind in FAULTS}
    return {kind: job.get() for kind, job in jobs.items()}


@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_is_a_clear_outcome(faults: dict[str, Seen], kind: str) -> None:
    """Status and a short error say what happened; nothing is mistaken for an answer."""
    status, error = OUTCOMES[kind]
    reply = faults[kind].reply
    assert reply.status == status
    assert reply.error.startswith(error)
    assert len(reply.error) <= 200


@pytest.mark.parametrize("kind", ["stall", "truncate", "reset", "midstream", "badchunk"])
def test_tokens_before_a_fault_are_kept(faults: dict[str, Seen], kind: str) -> None:
    """What had arrived when it broke stays in the record: nothing is lost."""
    reply = faults[kind].reply
    assert len(reply.chunk_ns) == reply.output_tokens == TOKENS // 2


def test_a_server_that_is_not_there_is_refused() -> None:
    """A failed connection is an outcome too, with no moment of sending."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        seen = ask(f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert (seen.reply.status, seen.reply.error) == ("refused", "Connection refused")
    row, chunks = to_row(seen.kept, 0)
    assert np.isnan(row["sent_s"])
    assert not np.isnan(row["end_s"])
    assert len(chunks) == 0


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("form", ["", *FORMS])
def test_each_form_of_a_stream_is_read_alike(url: str, form: str, chat: bool) -> None:
    """However an honest server cuts, frames or mixes its stream, all tokens are seen, and counted by its usage."""
    reply = ask(url, f"fault:{form}" if form else "paced", chat=chat).reply
    assert (reply.status, reply.error) == ("ok", "")
    assert len(reply.chunk_ns) == (TOKENS - TOKENS // 2 if form == "hidden" else TOKENS)
    assert reply.input_tokens == (-1 if form == "nousage" else 3 if chat else 100)
    # without usage only token ids could tell, and chat has none here
    assert reply.output_tokens == (-1 if form == "nousage" and chat else TOKENS)


def test_the_role_is_no_token(url: str) -> None:
    """Chat: the first event, which only names the role, arrives at once; the first token comes after the TTFT."""
    seen = ask(url, chat=True)
    first_s = (seen.reply.chunk_ns[0] - seen.kept.sent_ns) / 1e9
    assert b'"role":"assistant"' in seen.kept.raw
    assert LAW.ttft_s <= first_s < LAW.ttft_s + 0.1


def test_reasoning_counts_but_is_not_visible(url: str) -> None:
    """Reasoning tokens stop the TTFT's clock; the first visible token comes later and is kept apart."""
    reply = ask(url, "fault:reasoning", chat=True).reply
    assert reply.reasoning_tokens == TOKENS // 2
    for told in (reply, ask(url, "fault:parts", chat=True).reply):
        assert told.visible_ns == told.chunk_ns[TOKENS // 2]
    plain = ask(url, chat=True).reply
    assert plain.visible_ns == plain.chunk_ns[0]


@pytest.mark.parametrize("form", ["reasoning", "hidden"])
def test_tpot_is_the_pace_of_what_was_streamed(url: str, form: str) -> None:
    """Reasoning that is streamed is part of the pace; what is only counted is not, and the law's pace is found."""
    row, chunks = to_row(ask(url, f"fault:{form}", chat=True).kept, 0)
    assert (row["output_tokens"], row["reasoning_tokens"]) == (TOKENS, TOKENS // 2)
    tpot_s = stats.tpot_s(from_rows([{"request": 0, "worker": 0} | row], [chunks]))
    assert tpot_s == pytest.approx(LAW.tpot_s, rel=0.25)


def test_several_tokens_in_a_chunk_are_counted_by_usage() -> None:
    """Three tokens a chunk: four chunks, ten tokens."""
    with paced(Law(ttft_s=0.01, tpot_s=0.002, merge=3)) as url:
        reply = ask(url).reply
    assert (len(reply.chunk_ns), reply.output_tokens) == (4, TOKENS)


def test_the_servers_own_timings_are_kept(url: str) -> None:
    """vLLM's per-request metrics come in milliseconds and are kept in seconds."""
    timings = ask(url).reply.server_s
    assert timings["time_to_first_token"] == pytest.approx(LAW.ttft_s, abs=0.02)
    assert timings["generation_time"] == pytest.approx((TOKENS - 1) * LAW.tpot_s, abs=0.02)
    assert timings["queue_time"] < 0.02


@pytest.mark.parametrize("kernel", [True, False])
def test_stamps_agree_with_the_clock(url: str, kernel: bool) -> None:
    """Both kinds of stamps are on the send's clock: the first token comes after the send, the last before the end."""
    seen = ask(url, kernel=kernel)
    arrivals = seen.reply.chunk_ns
    assert seen.kept.sent_ns < arrivals[0]
    assert np.all(np.diff(arrivals) >= 0)
    assert arrivals[-1] <= seen.kept.end_ns
    assert (arrivals[-1] - arrivals[0]) / 1e9 == pytest.approx((TOKENS - 1) * LAW.tpot_s, abs=0.03)


def test_a_connection_is_used_again(url: str) -> None:
    """Kept alive after a whole answer; opened anew after a failure."""
    to = endpoint(url)
    connection = wire.connection(to)
    connection.open()
    first = connection._sock
    for _ in range(3):
        assert decode(connection.exchange(request(to), 1.0)).status == "ok"
    assert connection._sock is first
    assert decode(connection.exchange(request(to, "fault:truncate"), 1.0)).status == "truncated"
    assert not connection.fresh
    assert decode(connection.exchange(request(to), 1.0)).status == "ok"
    connection.close()


def test_an_abort_ends_what_is_in_flight(url: str) -> None:
    """The drain's end is an outcome of its own."""
    to = endpoint(url)
    connection = wire.connection(to)
    job = gevent.spawn(connection.exchange, request(to, "fault:hang"), 30.0)
    gevent.sleep(0.1)
    connection.abort()
    assert decode(job.get(timeout=1)).status == "unfinished"


def test_large_requests_are_sent_whole(url: str) -> None:
    """A body larger than the kernel takes at once (8 MB) arrives whole."""
    to = endpoint(url)
    body = {"model": "paced", "prompt": [123456] * 1_000_000, "max_tokens": 2}
    connection = wire.connection(to)
    reply = decode(connection.exchange(to.request("/v1/completions", json.dumps(body).encode()), 20.0))
    connection.close()
    assert (reply.status, reply.input_tokens) == ("ok", 1_000_000)


# the bytes, without a socket ----------------------------------------------------------------------------------------


def cut(raw: bytes, places: list[int]) -> wire.Exchange:
    """An exchange whose reads were cut at `places`, read k stamped k seconds."""
    bounds = [0, *places, len(raw)]
    sizes = [b - a for a, b in itertools.pairwise(bounds) if b > a]
    marks = b"".join(struct.pack("qq", number, 0) for number in range(len(sizes)))
    return wire.Exchange(0, 1, 2, raw=raw, reads=array("I", sizes).tobytes(), marks=marks)


def test_where_a_stream_is_cut_does_not_matter(url: str) -> None:
    """One stream cut in two at every byte: the same tokens; each is stamped with the read of its event's last byte."""
    raw = ask(url).kept.raw
    whole = decode(cut(raw, []))
    ends = [at + 2 for at in range(len(raw)) if raw.startswith(b"\n\n", at) and b"token_ids" in raw[at - 40 : at]]
    assert len(ends) == TOKENS
    for place in range(1, len(raw)):
        reply = decode(cut(raw, [place]))
        assert (reply.status, reply.output_tokens, len(reply.chunk_ns)) == ("ok", TOKENS, TOKENS)
        assert (reply.chunk_ns // 10**9).tolist() == [int(end > place) for end in ends]
    assert whole.chunk_ns.tolist() == [0] * TOKENS


def answer(*events: object, head: str = "") -> wire.Exchange:
    """A whole, chunked answer of these events."""
    texts = [event if isinstance(event, str) else "data: " + json.dumps(event) for event in events]
    chunks = "".join(f"{len(text) + 2:x}\r\n{text}\n\n\r\n" for text in texts)
    raw = f"{head}HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
    return cut(raw.encode(), [])


def text_event(text: str = "", **more: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "text": text, "finish_reason": None, **more}]}


def chat_event(finish: str | None = None, **delta: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


DONE = "data: [DONE]"


@pytest.mark.parametrize(
    ("events", "tokens"),
    [
        ([text_event("a"), text_event("b", finish_reason="length")], 2),  # the last token names the reason
        ([text_event("a"), text_event("", finish_reason="stop")], 1),  # the reason comes alone
        ([text_event(""), text_event("")], 2),  # no tokenizer: empty texts are tokens
        ([text_event("", token_ids=[]), text_event("", token_ids=[7])], 1),  # token ids decide where there are any
        ([chat_event(role="assistant", content=""), chat_event(content="a")], 1),
        ([chat_event(role="assistant", content="a"), chat_event(content="b")], 2),  # a role on every chunk
        ([chat_event(role="assistant"), chat_event(content=""), chat_event(content="é")], 2),  # half a character
        ([chat_event(content="a"), chat_event("stop")], 1),
        ([chat_event(reasoning="hm"), chat_event(content="a")], 2),
        ([chat_event(tool_calls=[{"index": 0}]), chat_event("tool_calls")], 1),
        ([": comment", text_event("a"), "event: x\ndata: " + json.dumps(text_event("b"))], 2),
    ],
)
def test_what_carries_a_token(events: list[object], tokens: int) -> None:
    """Never keyed on text alone, the role is none, the end is none."""
    reply = decode(answer(*events, DONE))
    assert (reply.status, len(reply.chunk_ns)) == ("ok", tokens)


def test_vllm_sends_no_choice_without_a_token() -> None:
    """With `counts_choices` the last token counts though its text is empty and it names the reason."""
    events = [text_event(""), text_event("", finish_reason="length"), DONE]
    assert len(decode(answer(*events)).chunk_ns) == 1
    assert len(decode(answer(*events), counts_choices=True).chunk_ns) == 2


def test_the_last_usage_holds() -> None:
    """Continuous usage repeats itself; cached and reasoning tokens are found where OpenAI puts them."""
    usage = {"prompt_tokens": 9, "completion_tokens": 1}
    last = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    last["completion_tokens_details"] = {"reasoning_tokens": 1}
    events = [text_event("a") | {"usage": usage}, text_event("b") | {"usage": usage}, {"choices": [], "usage": last}]
    reply = decode(answer(*events))
    assert reply.status == "ok"
    assert (reply.input_tokens, reply.output_tokens, reply.cached_tokens, reply.reasoning_tokens) == (9, 2, 4, 1)


def test_a_stream_that_just_ends_is_truncated() -> None:
    """No finish reason, no usage, no [DONE]: a proxy cut it in good order, and it is still no whole answer."""
    reply = decode(answer(text_event("a"), text_event("b")))
    assert (reply.status, len(reply.chunk_ns)) == ("truncated", 2)


@pytest.mark.parametrize(
    "event",
    [
        5,
        [],
        {"choices": "abc"},
        {"choices": [None]},
        {"choices": {"index": 0}},
        text_event() | {"usage": "none"},
        {"choices": [], "usage": {"prompt_tokens_details": "none"}},
        {"choices": [{"text": 5}]},
        text_event(token_ids=5),
        text_event(token_ids=[None]),
        {"choices": [{"delta": "a"}]},
        chat_event(content=5),
        chat_event(content=[{"text": "a"}]),
    ],
)
def test_json_of_other_types_spoils_one_answer(event: object) -> None:
    """Whatever stands where a list, an object or a number should: `garbage`, with the event; nothing is raised."""
    reply = decode(answer(text_event("a"), event, DONE))
    assert (reply.status, reply.error) == ("garbage", f"not an event stream of JSON: {orjson.dumps(event).decode()}")


@pytest.mark.parametrize("count", [1e30, -3, 10**40, "7", None, [7]])
def test_a_count_that_cannot_be_true_is_unknown(count: object) -> None:
    """It would not fit the records; the tokens that came are still served."""
    reply = decode(answer(text_event("a"), {"choices": [], "usage": {"prompt_tokens": count}, "metrics": "none"}))
    assert (reply.status, reply.input_tokens) == ("ok", -1)


@pytest.mark.parametrize("size", [b"-5", b"", b"zz"])
def test_a_chunk_of_no_size_breaks_the_framing(size: bytes) -> None:
    """A negative one too, which would lead back to where it stands."""
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\n\r\n0\r\n\r\n"
    assert decode(cut(raw, [])).status == "garbage"


def test_interim_answers_are_skipped() -> None:
    """100 Continue is not the answer."""
    assert decode(answer(text_event("a"), DONE, head="HTTP/1.1 100 Continue\r\n\r\n")).status == "ok"


def test_an_answer_without_events_is_garbage() -> None:
    """A server that ignores `stream` gives no moment of any token."""
    raw = b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"choices": [1]}'
    assert decode(cut(raw, [])).status == "garbage"


def test_a_quick_look_agrees_with_the_decoded_truth(url: str) -> None:
    """What progress and stopping see is what the records will say, within the last read's few microseconds."""
    for chat in (False, True):
        seen = ask(url, chat=chat)
        row, _ = to_row(seen.kept, 0)
        ok, end_s, ttft_s, e2e_s, tpot_s, tokens = peek(seen.kept, 0, chat=chat)
        assert (ok, tokens) == (1.0, TOKENS)
        assert end_s == pytest.approx(row["end_s"])
        assert ttft_s == pytest.approx(row["first_token_s"] - row["sent_s"], abs=1e-6)
        assert e2e_s == pytest.approx(row["last_token_s"] - row["sent_s"], abs=0.02)
        assert tpot_s == pytest.approx((e2e_s - ttft_s) / (TOKENS - 1))


@pytest.mark.parametrize("kind", ["401", "stall", "garbage", "midstream", "truncate"])
def test_a_quick_look_sees_a_failure(faults: dict[str, Seen], kind: str) -> None:
    """So that users back off and a failing stage stops, errors inside a stream of status 200 among them."""
    assert peek(faults[kind].kept, 0, chat=False)[0] == 0.0


# endpoints ----------------------------------------------------------------------------------------------------------


def test_a_key_travels_in_its_header_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The right key opens, a wrong one is a 401; a server that repeats it in an error is scrubbed."""
    monkeypatch.setenv("PACED_KEY", "sk-secret")
    with paced(LAW, "--key-env=PACED_KEY") as url:
        for key, status in (("sk-secret", "ok"), ("sk-other", "http_401"), ("", "http_401")):
            to = endpoint(url, key)
            connection = wire.connection(to)
            assert decode(connection.exchange(request(to), 1.0)).status == status
            connection.close()
    to = endpoint("http://127.0.0.1:1", "sk-secret")
    assert "sk-secret" not in repr(to)
    assert to.scrubbed("bad key sk-secret") == "bad key ***"


@pytest.mark.parametrize(
    ("url", "key", "says"),
    [
        ("127.0.0.1:8000", "", "value '127.0.0.1:8000': not a base URL"),
        ("ftp://127.0.0.1", "", "not a base URL"),
        ("http://me:secret@127.0.0.1:8000", "", "not a base URL"),
        ("http://127.0.0.1:8000", "two\nlines", "the API key has characters that no header may have"),
        ("http://no-such-host.invalid", "", "value 'no-such-host.invalid': host cannot be found"),
    ],
)
def test_a_bad_endpoint_is_told_without_its_secrets(url: str, key: str, says: str) -> None:
    """One fault with a remedy; neither key nor password is repeated."""
    with pytest.raises(InputError) as caught:
        endpoint(url, key)
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "lines" not in str(caught.value)


def test_a_base_url_may_have_a_path() -> None:
    """`/v1` at its end is ours to add."""
    to = endpoint("http://127.0.0.1:8000/gateway/v1/")
    assert to.request("/v1/completions", b"").startswith(
        b"POST /gateway/v1/completions HTTP/1.1\r\nHost: 127.0.0.1:8000"
    )
    assert to.loopback


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_https_is_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream through TLS: all tokens, increasing stamps; an unknown certificate is refused."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    subprocess.run([*made, "-keyout", key, "-out", certificate, *named], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    # far apart, so that a proxy which was kept waiting for a core passes on one token at a time all the same
    with paced(Law(ttft_s=0.02, tpot_s=0.05)) as slow:
        thread = threading.Thread(target=_tls_proxy, args=(listener, context, slow), daemon=True)
        thread.start()
        base = f"https://localhost:{listener.getsockname()[1]}"
        with monkeypatch.context() as unknown:
            unknown.delenv("SSL_CERT_FILE")
            assert ask(base, timeout_s=5).reply.status == "unreachable"
        reply = ask(base, timeout_s=5).reply
    listener.close()
    thread.join(5)
    assert (reply.status, len(reply.chunk_ns), reply.output_tokens) == ("ok", TOKENS, TOKENS)
    assert np.all(np.diff(reply.chunk_ns) > 0)


def _tls_proxy(listener: socket.socket, context: ssl.SSLContext, url: str) -> None:
    """Two connections: the first is refused by its client, the second is passed on until the server's answer ends."""
    for _ in range(2):
        outside, _address = listener.accept()
        try:
            inside = context.wrap_socket(outside, server_side=True)
        except OSError:
            outside.close()
            continue
        with inside, socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as server:
            server.sendall(inside.recv(65536))
            while data := server.recv(65536):
                inside.sendall(data)
                if data.endswith(b"0\r\n\r\n"):
                    return


def test_the_timeout_is_about_one_request(url: str) -> None:
    """A request that times out lasts as long as its timeout, not longer."""
    began = time.monotonic()
    assert ask(url, "fault:silent", timeout_s=0.2).reply.status == "timeout"
    assert 0.2 <= time.monotonic() - began < 1.0
