"""`python -m segshift` is `segshift`."""

import sys

from segshift.cli import main

sys.exit(main())
