"""What tests/integration/test_failures.py demands, from contrib's server span."""

from tests.integration.test_failures import *  # noqa: F403 - the same tests and fixtures, in this lane
