"""A server on this machine that speaks the chat and images interfaces, with the faults that a test wants."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

ANSWER: dict[str, Any] = {
    "descriptions": ["a red vase on a table", "a clay vase, glazed red, in soft light"],
    "negative_prompt": "people, text",
    "directions": {
        "front": "seen from the spout",
        "side": "from a side",
        "back": "from the handle",
        "overhead": "from above",
    },
}
AT_ONCE = {"retry-after-ms": "1"}


@dataclass
class Reply:
    """What the server says to one request.

    Attributes:
        body: JSON values, or a text that is sent as it is.
        headers: beside those that every reply has.
        wait: seconds before the reply.
        lost: bytes at the end of the body that are announced but never sent.
    """

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "application/json"
    wait: float = 0.0
    lost: int = 0


def chat(content: Any = ANSWER, *, finish: str = "stop", refusal: str | None = None) -> Reply:
    """A chat completion with this content; JSON values become text."""
    text = content if isinstance(content, str) or content is None else json.dumps(content)
    message = {"role": "assistant", "content": text, "refusal": refusal}
    choice = {"index": 0, "finish_reason": finish, "logprobs": None, "message": message}
    return Reply({"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]})


def drawing(colour: str = "red", **changes: Any) -> Reply:
    """A picture of one colour, 32 by 24 pixels, as the images interface sends it, or with other fields."""
    file = io.BytesIO()
    Image.new("RGB", (32, 24), colour).save(file, format="PNG")
    fields = {"b64_json": base64.b64encode(file.getvalue()).decode(), **changes}
    return Reply({"created": 0, "data": [fields]})


def failure(status: int, message: str = "out of order", code: str | None = None) -> Reply:
    """An error as such servers report it; to be tried again at once, if at all."""
    return Reply({"error": {"message": message, "type": "error", "code": code}}, status, AT_ONCE)


@dataclass
class ChatServer:
    """A running server.

    Attributes:
        replies: what it says to the requests in turn, the last one again and again.
        requests: what was asked, path and headers beside the body's values.
        url: for --llm_base_url.
    """

    replies: list[Reply]
    requests: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(*replies: Reply) -> Iterator[ChatServer]:
    """A server with these replies, until the block ends."""
    chat_server = ChatServer(list(replies))

    class Handler(BaseHTTPRequestHandler):
        wbufsize = -1  # heads and body in one packet, for which nobody waits

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            number = len(chat_server.requests)
            chat_server.requests.append({"path": self.path, "headers": dict(self.headers), **body})
            reply = chat_server.replies[min(number, len(chat_server.replies) - 1)]
            time.sleep(reply.wait)
            sent = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
            self.send_response(reply.status)
            for name, value in {**reply.headers, "content-type": reply.kind}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(sent.encode())))
            self.end_headers()
            self.wfile.write(sent.encode()[: len(sent.encode()) - reply.lost])

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: a test's output is no server's log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    chat_server.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield chat_server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
