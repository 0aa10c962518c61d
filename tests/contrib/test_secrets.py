"""What tests/integration/test_secrets.py demands, from contrib's server span."""

from tests.integration.test_secrets import *  # noqa: F403 - the same tests and fixtures, in this lane
