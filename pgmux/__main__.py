"""`python -m pgmux` is the command `pgmux`."""

import sys

from pgmux.cli.main import main

sys.exit(main())
