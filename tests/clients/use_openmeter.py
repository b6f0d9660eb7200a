"""OpenMeter's client, pointed at the gateway: one event, a batch, all of it again, and one that is wrong."""

import datetime
import os

from corehttp.exceptions import HttpResponseError
from openmeter import Client
from openmeter.models import Event

ORG = os.environ["ORG"]


def event(number: str, **data: object) -> Event:
    common = {"provider": "openai", "model": "gpt-5", "module": "pim"}
    now = datetime.datetime.now(datetime.timezone.utc)
    return Event(
        id=number, source="my-app", specversion="1.0", type="prompt", subject=ORG, time=now, data={**common, **data}
    )


with Client(endpoint=os.environ["PRODUCER"], token=os.environ["KEY"]) as client:
    both = event("call-1", prompt_tokens=1000, completion_tokens=200)
    parts = [event("call-2/in", tokens=1000, type="input"), event("call-2/out", tokens="200", type="output")]
    for _ in range(2):
        client.events.ingest_event(both)
        client.events.ingest_events(parts)
    try:
        client.events.ingest_events([parts[0], event("call-3", prompt_tokens=-1)])
        raise SystemExit("a negative count was taken")
    except HttpResponseError as error:
        assert error.status_code == 400, error
        print(error)
