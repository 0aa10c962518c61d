// One trace by each OTLP exporter of OpenTelemetry's SDK for Java: java -cp 'libs/*' Send.java HTTP_ENDPOINT GRPC_ENDPOINT
import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.exporter.otlp.http.trace.OtlpHttpSpanExporter;
import io.opentelemetry.exporter.otlp.trace.OtlpGrpcSpanExporter;
import io.opentelemetry.sdk.resources.Resource;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.export.SimpleSpanProcessor;
import io.opentelemetry.sdk.trace.export.SpanExporter;
import java.util.Map;
import java.util.concurrent.TimeUnit;

class Send {
  public static void main(String[] arguments) {
    Map<String, SpanExporter> exporters =
        Map.of(
            "proto",
            OtlpHttpSpanExporter.builder().setEndpoint(arguments[0] + "/v1/traces").setCompression("gzip").build(),
            "grpc",
            OtlpGrpcSpanExporter.builder().setEndpoint(arguments[1]).setCompression("gzip").build());
    exporters.forEach(Send::send);
  }

  private static void send(String name, SpanExporter exporter) {
    Resource resource = Resource.create(Attributes.of(AttributeKey.stringKey("service.name"), "java-" + name));
    try (SdkTracerProvider provider =
        SdkTracerProvider.builder()
            .setResource(resource)
            .addSpanProcessor(SimpleSpanProcessor.create(exporter))
            .build()) {
      Span span = provider.get("sender").spanBuilder("search products").setSpanKind(SpanKind.CLIENT).startSpan();
      span.setAttribute("db.system", "elasticsearch");
      span.setAttribute("db.operation", "search");
      span.setAttribute("db.statement", "{\"query\":{\"match_all\":{}}}");
      span.setStatus(StatusCode.ERROR, "no living connections");
      span.end();
      System.out.println(name + " " + provider.forceFlush().join(10, TimeUnit.SECONDS).isSuccess());
    }
  }
}
