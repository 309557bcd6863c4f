"""`python -m treadle` is the command line."""

import sys

from treadle.cli.main import main

sys.exit(main())
