"""What may be written down of the server's arguments and environment: no key, no password, no path of this machine.

A value is secret by its option's or variable's name (vLLM takes `--hf_token` for `--hf-token`), by its key in a JSON
value, or as the password in an address. Where in doubt it counts as secret.
"""

from __future__ import annotations

import re

_SECRET_VARIABLE = re.compile(r"key|token(?!iz)|secret|passw|credential|auth", re.IGNORECASE)
_SECRET_OPTION = re.compile(r"--.*(?:[-.]token|(?:key|secret|password|credential)s?)", re.IGNORECASE)
_SECRET_IN_JSON = re.compile(r'("[^"]*(?:token|key|secret|password|credential)s?"\s*:\s*)"[^"]*"', re.IGNORECASE)
_PASSWORD = re.compile(r"://[^/@\s]+@")
_PATH = re.compile(r"""(?<![\w:/.\\])/(?:[^\s"',:/]+/)*(?=[^\s"',:/])""")


def option_of(arg: str) -> str:
    """The option that an argument states, as vLLM reads it: hyphens for underscores, without its value.

    >>> option_of("--hf_token=a_b"), option_of("-tp=2"), option_of("8")
    ('--hf-token', '-tp', '')
    """
    name = arg.partition("=")[0]
    if not re.fullmatch(r"--?[A-Za-z].*", name):
        return ""
    return name.replace("_", "-") if name.startswith("--") else name


def secret_variable(name: str) -> bool:
    """Whether an environment variable of this name may hold a secret."""
    return bool(_SECRET_VARIABLE.search(name))


def holds_secret(arg: str) -> bool:
    """Whether an argument is a secret-looking option, or carries a password or a secret-looking JSON key."""
    secret = _SECRET_OPTION.fullmatch(option_of(arg)) or _SECRET_IN_JSON.search(arg)
    return bool(secret) or has_password(arg)


def has_password(text: str) -> bool:
    """Whether an address in it has a user or a password."""
    return bool(_PASSWORD.search(text))


def redacted(args: tuple[str, ...]) -> tuple[str, ...]:
    """Arguments with secret values replaced by `***` and absolute paths by their last part.

    >>> redacted(("--api-key", "abc", "--hf_token=abc", "--chat-template", "/home/me/chat.jinja", "--dtype", "auto"))
    ('--api-key', '***', '--hf_token=***', '--chat-template', 'chat.jinja', '--dtype', 'auto')
    """
    shown: list[str] = []
    secret = False
    for arg in args:
        if option := option_of(arg):
            secret = bool(_SECRET_OPTION.fullmatch(option))
            name, equals, value = arg.partition("=")
            shown.append(f"{name}={'***' if secret else _shown(value)}" if equals else name)
        else:
            shown.append("***" if secret else _shown(arg))
    return tuple(shown)


def _shown(text: str) -> str:
    return _PATH.sub("", _SECRET_IN_JSON.sub(r'\1"***"', _PASSWORD.sub("://***@", text)))
