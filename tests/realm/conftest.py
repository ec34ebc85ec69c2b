"""Tests of the realm import the client and its reader from beside them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
