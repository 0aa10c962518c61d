"""`otel-search doctor`: why do I see nothing?

It looks at what is installed, at the environment, at the endpoints and, if it is given a command, at the
application while it serves one request. Each thing that can be wrong is a check in `checks`. Nothing
here imports OpenTelemetry's API or SDK, which raise at some of what the doctor is there to find.
"""
