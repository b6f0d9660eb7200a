"""LiteLLM's generic API logger, pointed at the gateway by `GENERIC_LOGGER_ENDPOINT` and `GENERIC_LOGGER_HEADERS`.

It posts in the format `LOG_FORMAT`. It is made in code, because `callbacks = ["generic_api"]` does nothing, silently, without
the package `litellm-enterprise`, which the proxy has and the library has not.
"""

import asyncio
import os

import litellm
from litellm.integrations.generic_api.generic_api_callback import GenericAPILogger

from fake_openai import fake_openai

METADATA = {"spend_logs_metadata": {"fluxori_org_id": os.environ["ORG"], "fluxori_module": "pim", "env": "test"}}
HELLO = {"model": "openai/gpt-5", "messages": [{"role": "user", "content": "Hello?"}], "metadata": METADATA}


async def use() -> int:
    """Makes calls, and returns how many of them are to be logged."""
    with fake_openai() as url:
        common = {"api_base": url, "api_key": "none", "num_retries": 0}
        await litellm.acompletion(**HELLO, **common)
        for options in [{"include_usage": True}, None]:
            async for _ in await litellm.acompletion(**HELLO, **common, stream=True, stream_options=options):
                pass
        await litellm.aembedding("openai/text-embedding-3-small", input=["Hello?"], metadata=METADATA, **common)
        try:
            await litellm.acompletion(**{**HELLO, "model": "openai/broken"}, **common)
            raise SystemExit("the broken model answered")
        except litellm.InternalServerError:
            return 5


async def main() -> None:
    logger = GenericAPILogger(log_format=os.environ["LOG_FORMAT"])
    litellm.callbacks = [logger]
    calls = await use()
    for _ in range(100):
        if len(logger.log_queue) == calls:
            break
        await asyncio.sleep(0.1)
    # Twice, as it is sent again when an answer was lost.
    for log in [list(logger.log_queue) for _ in range(2)]:
        assert len(log) == calls, f"{len(log)} of {calls} calls are logged"
        logger.log_queue[:] = log
        await logger.async_send_batch()


asyncio.run(main())
