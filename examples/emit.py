#!/usr/bin/env python3
"""Meters one call of a model, with the standard library alone (Python 3.9 or later).

Emits what the call used, emits it again as one does when an answer was lost, and reads the balance after it. The second
time changes nothing, because the id is the same.

    export KEY=... PRODUCER=http://127.0.0.1:8081 EDGE=http://127.0.0.1:8080    # `cargo xtask demo --keep` prints them
    python3 examples/emit.py
"""

import json
import os
import secrets
import time
import uuid
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

KEY, PRODUCER, EDGE = (os.environ[name] for name in ("KEY", "PRODUCER", "EDGE"))
ORG = os.environ.get("ORG", "org-000")


def uuid7() -> uuid.UUID:
    """The milliseconds since 1970, then chance; Python 3.14 has it as uuid.uuid7."""
    number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    number = number & ~(0xF << 76) | 7 << 76  # the version
    return uuid.UUID(int=number & ~(0b11 << 62) | 0b10 << 62)  # the variant


def ask(url: str, body: object = None, tries: int = 5) -> dict:
    """The JSON that a service answers. Nobody there, 429 and 5xx are tried again: the event's id is the same, so it counts once."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    headers["Prefer"] = "wait=5"  # for the position, wait until the log has it
    data = None if body is None else json.dumps(body).encode()
    for left in reversed(range(tries)):
        try:
            with urlopen(Request(url, data, headers), timeout=30) as answer:
                return json.load(answer)
        except HTTPError as error:
            if left == 0 or (error.code != 429 and error.code < 500):
                raise SystemExit(f"{url}: {error.code} {error.read().decode()}") from error
        except (URLError, TimeoutError) as error:
            if left == 0:
                raise SystemExit(f"{url}: {error}") from error
        time.sleep(2 ** (tries - left - 1) / 4)
    raise AssertionError("unreachable")


def call_the_model() -> dict:
    """Stands for the provider's client. Its object `usage` is taken as it is."""
    return {
        "model": "gpt-5-2025-08-07",
        "usage": {
            "prompt_tokens": 1000,
            "completion_tokens": 200,
            "total_tokens": 1200,
            "prompt_tokens_details": {"cached_tokens": 600},
        },
    }


def main() -> None:
    event_id = str(uuid7())
    response = call_the_model()
    event = {
        "event_id": event_id,  # its time is the event's; other ids that name the call will do, such as the provider's
        "org_id": ORG,
        "module": "rag-retrieval",
        "provider": "openai",
        "request_model": "gpt-5",
        "response_model": response["model"],
        "usage": response["usage"],
        "tags": {"example": "python"},
    }
    first = ask(f"{PRODUCER}/v1/events", event)
    print(f"emitted {event_id} at {first['position']}")
    again = ask(f"{PRODUCER}/v1/events", event)
    if again["position"] is None:
        print(f"emitted {event_id}: it is in the gateway's spool, and has no position while the brokers are away")
        return
    print(f"emitted {event_id} again at {again['position']}")
    # The ledger has passed the position when this is answered.
    query = urlencode({"org_id": ORG, "at_least": again["position"]})
    balance = ask(f"{EDGE}/v1/balance?{query}")
    print(f"{ORG} has {balance['balance']} credits")


if __name__ == "__main__":
    main()
