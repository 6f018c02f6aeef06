"""Fetch an address, waiting up to two minutes for a server that starts."""

import sys
import time
from urllib.request import urlopen

address, end = sys.argv[1], time.monotonic() + 120
while True:
    try:
        with urlopen(address, timeout=20) as answer:
            print(f"{address} answers {answer.status}")
        break
    except OSError as error:
        if time.monotonic() > end:
            sys.exit(f"{address}: {error}")
        time.sleep(1)
