"""The checks, in the order in which they look: causes come before what follows from them."""

# ruff: noqa: I001, F401 - they register themselves, in the order of the table
import otel_search.doctor.checks.installed
import otel_search.doctor.checks.in_charge
import otel_search.doctor.checks.switches
import otel_search.doctor.checks.instrumentations
import otel_search.doctor.checks.endpoints
import otel_search.doctor.checks.others
import otel_search.doctor.checks.files
import otel_search.doctor.checks.application
import otel_search.doctor.checks.traces
