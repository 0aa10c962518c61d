// One trace by each OTLP exporter of OpenTelemetry's SDK for Go: sender HTTP_HOST:PORT GRPC_HOST:PORT
package main

import (
	"context"
	"log"
	"os"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	api "go.opentelemetry.io/otel/trace"
)

func main() {
	ctx := context.Background()
	clients := map[string]otlptrace.Client{
		"http": otlptracehttp.NewClient(otlptracehttp.WithEndpoint(os.Args[1]), otlptracehttp.WithInsecure(), otlptracehttp.WithCompression(otlptracehttp.GzipCompression)),
		"grpc": otlptracegrpc.NewClient(otlptracegrpc.WithEndpoint(os.Args[2]), otlptracegrpc.WithInsecure(), otlptracegrpc.WithCompressor("gzip")),
	}
	for name, client := range clients {
		exporter, err := otlptrace.New(ctx, client)
		if err != nil {
			log.Fatal(err)
		}
		provider := trace.NewTracerProvider(
			trace.WithSyncer(exporter),
			trace.WithResource(resource.NewSchemaless(attribute.String("service.name", "go-"+name))),
		)
		_, span := provider.Tracer("sender").Start(ctx, "GET /from-go", api.WithSpanKind(api.SpanKindServer))
		span.End()
		if err := provider.Shutdown(ctx); err != nil {
			log.Fatal(err)
		}
	}
}
