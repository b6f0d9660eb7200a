"""OpenTelemetry's instrumentation of OpenAI's client and its exporter over OTLP/HTTP, pointed at the gateway.

The exporter is told where to go by `OTEL_EXPORTER_OTLP_ENDPOINT` and `OTEL_EXPORTER_OTLP_HEADERS`, and who pays by
`OTEL_RESOURCE_ATTRIBUTES`.
"""

import asyncio

from openai import AsyncOpenAI, InternalServerError, OpenAI
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from fake_openai import fake_openai


class Twice(SpanExporter):
    """Sends every batch twice, as an exporter does that missed the answer."""

    def __init__(self) -> None:
        self.exporter = OTLPSpanExporter(compression=Compression.Gzip)
        self.failed = 0

    def export(self, spans) -> SpanExportResult:
        results = [self.exporter.export(spans) for _ in range(2)]
        self.failed += sum(result is not SpanExportResult.SUCCESS for result in results)
        return results[-1]

    def shutdown(self) -> None:
        self.exporter.shutdown()


exporter = Twice()
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(exporter))
trace.set_tracer_provider(provider)
OpenAIInstrumentor().instrument()

HELLO = {"model": "gpt-5", "messages": [{"role": "user", "content": "Hello?"}]}


async def in_async_code(url: str) -> None:
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        await client.chat.completions.create(**HELLO)


with fake_openai() as url, OpenAI(base_url=url, api_key="none", max_retries=0) as client:
    with trace.get_tracer("app").start_as_current_span("a request of the application"):
        client.chat.completions.create(**HELLO)
        for _ in client.chat.completions.create(**HELLO, stream=True, stream_options={"include_usage": True}):
            pass
        client.embeddings.create(model="text-embedding-3-small", input="Hello?")
    asyncio.run(in_async_code(url))
    try:
        client.chat.completions.create(**{**HELLO, "model": "broken"})
        raise SystemExit("the broken model answered")
    except InternalServerError:
        pass

provider.shutdown()
assert exporter.failed == 0, f"{exporter.failed} exports failed"
