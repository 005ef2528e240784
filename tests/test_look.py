"""What an endpoint says about itself is taken where it has a form we know, and breaks nothing where it has not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench.look import Seen, look
from hardware_profiles.faults import InputError

Serve = Callable[[dict[str, tuple[int, str]]], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """`serve({path: (status, body)})` gives the address of an endpoint on a real socket that says just that."""
    servers: list[ThreadingHTTPServer] = []

    def start(pages: dict[str, tuple[int, str]]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = pages.get(self.path, (404, "no such page"))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


VLLM = '{"data": [{"id": "other", "owned_by": "vllm", "max_model_len": 9}, {"id": "m", "max_model_len": 4096}]}'
NOTHING = Seen("unknown", None, None, None)


@pytest.mark.parametrize(
    ("pages", "seen"),
    [
        # vLLM: the window is that of the model that is meant
        (
            {
                "/v1/models": (200, VLLM),
                "/version": (200, '{"version": "0.32.0"}'),
                "/metrics": (200, 'vllm:cache_config_info{block_size="32"} 1.0\n'),
            },
            Seen("vllm", "0.32.0", 4096, 32),
        ),
        # a bare list, of objects and of names
        ({"/v1/models": (200, '[{"id": "m", "max_model_len": 8192}]')}, Seen("unknown", None, 8192, None)),
        ({"/v1/models": (200, '["m", "n"]')}, NOTHING),
        ({"/v1/models": (200, '{"data": ["m"]}')}, NOTHING),
        # values of other types than ours
        *(
            ({"/v1/models": (200, body)}, NOTHING)
            for body in (
                '{"data": [{"id": "m", "max_model_len": "8192"}]}',
                '{"data": [{"id": 7, "max_model_len": true}]}',
                '{"data": [null, 3]}',
                '{"data": {"m": {}}}',
                '{"data": null}',
                "null",
                "3",
                "<html>hello</html>",
                "",
            )
        ),
        ({"/v1/models": (200, "[]"), "/version": (200, '["0.32.0"]')}, NOTHING),
        ({"/v1/models": (200, "[]"), "/version": (200, '{"version": 3}')}, NOTHING),
    ],
)
def test_what_is_said_is_taken_and_nothing_breaks(serve: Serve, pages: dict[str, tuple[int, str]], seen: Seen) -> None:
    """Engine, version, window and block; whatever has another form is unknown."""
    assert look(serve(pages), None, "m") == seen


@pytest.mark.parametrize(("status", "phrase"), [(404, "Not Found"), (405, "Method Not Allowed")])
def test_an_endpoint_that_lists_no_models_is_measured(serve: Serve, status: int, phrase: str) -> None:
    """Its completions may work all the same; the curve says what was not confirmed."""
    seen = look(serve({"/v1/models": (status, ""), "/metrics": (200, "vllm:x 1\n")}), None, "m")
    told = f"the endpoint lists no models (HTTP Error {status}: {phrase}): that it serves this one was not confirmed"
    assert seen == Seen("vllm", None, None, None, told)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "the endpoint refuses: HTTP Error 401: Unauthorized. Remedy: check --key-env: "),
        (403, "the endpoint refuses: HTTP Error 403: Forbidden. Remedy: check --key-env: "),
        (502, "the endpoint does not answer: HTTP Error 502: Bad Gateway. Remedy: check --endpoint."),
    ],
)
def test_a_refusal_ends_the_run(serve: Serve, status: int, told: str) -> None:
    """A key that is wrong, and a server behind which nobody works."""
    url = serve({"/v1/models": (status, "")})
    with pytest.raises(InputError) as caught:
        look(url, None, "m")
    assert str(caught.value).startswith(f"value '{url}': {told}")


def test_a_model_that_vllm_does_not_serve_is_a_fault(serve: Serve) -> None:
    """Before any request is sent, with the names that it serves."""
    with pytest.raises(InputError) as caught:
        look(serve({"/v1/models": (200, VLLM)}), None, "q")
    told = "column '--model', value 'q': not served there. Remedy: name one that is: other, m."
    assert str(caught.value) == told
