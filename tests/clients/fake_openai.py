"""A server that answers as OpenAI's does, so far as the tests need it: every call uses 1,000 tokens, 600 of them cached, and makes 200.

A model whose name begins with `broken` is answered with 500, `stream` with server-sent events, the last of which has the usage.
"""

import itertools
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NUMBERS = itertools.count(1)
CHAT_USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 200,
    "total_tokens": 1200,
    "prompt_tokens_details": {"cached_tokens": 600, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 50},
}
RESPONSES_USAGE = {
    "input_tokens": 1000,
    "output_tokens": 200,
    "total_tokens": 1200,
    "input_tokens_details": {"cached_tokens": 600},
    "output_tokens_details": {"reasoning_tokens": 50},
}


def chat(request: dict) -> dict:
    message = {"role": "assistant", "content": "Hello."}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return described("chat.completion", "chatcmpl", request, choices=[choice], usage=CHAT_USAGE, service_tier="default")


def embeddings(request: dict) -> dict:
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
    return {"object": "list", "model": request["model"], "data": data, "usage": {"prompt_tokens": 1000, "total_tokens": 1000}}


def responses(request: dict) -> dict:
    content = [{"type": "output_text", "text": "Hello.", "annotations": []}]
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}
    rest = {"created_at": int(time.time()), "status": "completed", "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    return described("response", "resp", request, output=[message], usage=RESPONSES_USAGE, **rest)


def described(kind: str, prefix: str, request: dict, **rest: object) -> dict:
    number = f"{prefix}-{time.time_ns()}-{next(NUMBERS)}"
    return {"id": number, "object": kind, "created": int(time.time()), "model": request["model"], **rest}


def chunks(answer: dict, with_usage: bool) -> list:
    """The events of a stream; the last but one holds the end, the last the usage, for who asked for it."""
    common = {**{name: answer[name] for name in ("id", "created", "model")}, "object": "chat.completion.chunk"}
    deltas = [({"role": "assistant", "content": "Hel"}, None), ({"content": "lo."}, None), ({}, "stop")]
    found = [
        {**common, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]} for delta, reason in deltas
    ]
    return [*found, {**common, "choices": [], "usage": answer["usage"]}] if with_usage else found


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if request["model"].startswith("broken"):
            self.answer(500, "application/json", json.dumps({"error": {"message": "broken", "type": "server_error"}}))
            return
        of_path = {"chat/completions": chat, "embeddings": embeddings, "responses": responses}
        answer = next(make for path, make in of_path.items() if self.path.endswith(path))(request)
        if not request.get("stream"):
            self.answer(200, "application/json", json.dumps(answer))
            return
        with_usage = (request.get("stream_options") or {}).get("include_usage", False)
        events = [json.dumps(chunk) for chunk in chunks(answer, with_usage)] + ["[DONE]"]
        self.answer(200, "text/event-stream", "".join(f"data: {event}\n\n" for event in events))

    def answer(self, status: int, media_type: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def fake_openai():
    """Runs the server; the value is its base URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
