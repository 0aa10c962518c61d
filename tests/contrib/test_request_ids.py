"""What tests/integration/test_request_ids.py demands, from contrib's server span."""

from tests.integration.test_request_ids import *  # noqa: F403 - the same tests and fixtures, in this lane
