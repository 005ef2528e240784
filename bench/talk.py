"""Conversations: each turn's prompt is all that was said before, answers included, and something new.

Why: agents and chats send their growing context again with every turn; a server with a prefix cache reads only what is
new. A load of separate prompts shows neither that cost nor that saving.

How: the context is kept as the JSON text of token ids (or, for chat, as messages). An answer joins it as the token ids
that the server returned; where it returned none, as many seeded random ids stand in, and then only the prompt, not the
answer, can be found in the cache. A conversation ends with its last turn, before it would outgrow the model's window,
or with a failure; the same user then begins another.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from bench.decode import Reply
from bench.prompts import Prompts, longest
from bench.schedule import Stage, turns

_STAND_IN = 0x5A000000
"""Numbers of the pieces that stand in for answers: far from any request's."""


@dataclass
class Talk:
    """One conversation of one user."""

    stage: Stage
    prompts: Prompts
    first: int
    turns: int
    turn: int = 0
    tokens: int = 0
    """Of the whole context, as far as known."""
    cached: int = 0
    """Of it, what the server has computed and may still hold: all but the last answer's last token."""
    parts: list[bytes] = field(default_factory=list)
    over: bool = False
    asked: int = 0

    def ask(self, number: int, new_tokens: int, *, shared: int, prefix: int) -> tuple[bytes, dict[str, int]]:
        """The next turn's prompt, and what its record says was asked; only the first begins with a shared prefix."""
        self.asked = number
        piece = self.prompts.prompt(number, new_tokens, shared=0 if self.turn else shared, prefix=prefix)
        known = self.cached // self.stage.block_tokens * self.stage.block_tokens if self.turn else shared
        told = {"conversation": self.first, "turn": self.turn, "asked_input": self.tokens + new_tokens}
        told["asked_cached"] = known
        self.tokens += new_tokens
        self.turn += 1
        if self.prompts.words:
            self.parts.append(b'{"role":"user","content":%b}' % piece)
        else:
            self.parts.append(piece[1:-1])
        return b"[" + b",".join(self.parts) + b"]", told

    def hear(self, reply: Reply) -> None:
        """Take the answer into the context; a failure ends the conversation."""
        if reply.status != "ok" or reply.output_tokens < 1:
            self.over = True
            return
        self.cached = self.tokens
        if self.prompts.words:
            self.parts.append(orjson.dumps({"role": "assistant", "content": reply.text}))
            self.tokens = max(self.tokens, reply.input_tokens) + reply.output_tokens
        elif len(reply.token_ids) == reply.output_tokens:
            self.parts.append(b",".join(b"%d" % token for token in reply.token_ids))
            self.tokens += reply.output_tokens
            self.cached = self.tokens - 1
        else:
            self.parts.append(self.prompts.prompt(_STAND_IN + self.asked, reply.output_tokens)[1:-1])
            self.tokens += reply.output_tokens


def go_on(told: Talk | None, stage: Stage, prompts: Prompts, number: int) -> Talk:
    """The conversation that request `number` belongs to: the one so far, or a new one."""
    if told is not None and not told.over and told.turn < told.turns:
        most = stage.most_context
        if most is None or told.tokens + sum(longest(stage.shape)) <= most:
            return told
    return Talk(stage, prompts, number, turns(stage, number))
