"""What tests/integration/test_routes.py demands, from contrib's server span."""

from tests.integration.test_routes import *  # noqa: F403 - the same tests and fixtures, in this lane
