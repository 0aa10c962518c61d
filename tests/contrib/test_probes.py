"""What tests/integration/test_probes.py demands, from contrib's server span."""

from tests.integration.test_probes import *  # noqa: F403 - the same tests and fixtures, in this lane
