"""Pictures of a back-test; the pictures themselves are drawn in the tests of the commands."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_simulation_does_not_import_matplotlib():
    code = "import sys, autoscaler.simulation.plot; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
