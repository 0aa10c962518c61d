// One trace by each OTLP exporter of OpenTelemetry's SDK for JavaScript: node send.mjs HTTP_ENDPOINT GRPC_ENDPOINT
import { SpanKind, SpanStatusCode } from "@opentelemetry/api";
import { OTLPTraceExporter as Grpc } from "@opentelemetry/exporter-trace-otlp-grpc";
import { OTLPTraceExporter as Json } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPTraceExporter as Proto } from "@opentelemetry/exporter-trace-otlp-proto";
import { Resource } from "@opentelemetry/resources";
import { BasicTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";

const [http, grpc] = process.argv.slice(2);
const exporters = {
  json: new Json({ url: `${http}/v1/traces` }),
  proto: new Proto({ url: `${http}/v1/traces`, compression: "gzip" }),
  grpc: new Grpc({ url: grpc }),
};
for (const [name, exporter] of Object.entries(exporters)) {
  const provider = new BasicTracerProvider({
    resource: new Resource({ "service.name": `javascript-${name}` }),
    spanProcessors: [new SimpleSpanProcessor(exporter)],
  });
  const span = provider.getTracer("sender").startSpan("search products", {
    kind: SpanKind.CLIENT,
    attributes: { "db.system": "elasticsearch", "db.operation": "search", "db.statement": '{"query":{"match_all":{}}}' },
  });
  span.setStatus({ code: SpanStatusCode.ERROR, message: "no living connections" });
  span.end();
  await provider.forceFlush();
  await provider.shutdown();
}
