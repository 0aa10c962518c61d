"""What tests/integration/test_streams.py demands, from contrib's server span."""

from tests.integration.test_streams import *  # noqa: F403 - the same tests and fixtures, in this lane
