"""Measure the served pages: start, first figures, changes of filters by one reader and by 16, and memory.

``python -m bench.pages --lines 10M --folder FOLDER`` builds the retail marts of so many lines into a DuckDB file,
serves them with `marts serve`, and asks for random choices. With ``--browser`` a change of a filter is also measured in
chromium, from the choice until the cards show its figures.
"""

import argparse
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import psutil

from bench.drops import history
from bench.measure import number
from marts.retail.generate import LAST_DAY

USERS, CHANGES = 16, 200
MARTS = str(Path(sys.executable).parent / "marts")


@contextmanager
def served(target: str) -> Iterator[tuple[str, psutil.Process, float]]:
    """Serve a target; yield the address, the process, and the seconds until its first figures were there."""
    began = time.perf_counter()
    command = [MARTS, "serve", "--target", target, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        address = process.stdout.readline().strip()
        took = time.perf_counter() - began
        try:
            yield address, psutil.Process(process.pid), took
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def fetched(address: str) -> tuple[float, int]:
    """Return the seconds of a request, and its bytes as they were sent."""
    request = urllib.request.Request(address, headers={"Accept-Encoding": "gzip"})
    began = time.perf_counter()
    with urllib.request.urlopen(request, timeout=60) as answer:
        size = len(answer.read())
    return time.perf_counter() - began, size


def choices(address: str, seed: int) -> Iterator[str]:
    """Yield the addresses of random choices, as readers make them: one filter more or less at a time.

    They are those of a browser with scripts, which draws the charts.
    """
    chance = random.Random(seed)
    options = json.loads(urllib.request.urlopen(f"{address}.json", timeout=60).read())["options"]
    chosen: dict[str, str] = {}
    while True:
        name = chance.choice(list(options))
        value = chance.choice([option["value"] for option in options[name]] + [""] * 3)
        chosen = {key: own for key, own in {**chosen, name: value}.items() if own}
        months = chance.choice([1, 3, 12])
        first = f"2025-{13 - months:02d}-01"
        yield f"{address}/part?{urlencode({**chosen, 'from': first, 'to': LAST_DAY.isoformat()})}"


def one_reader(address: str) -> list[float]:
    asked = choices(address, 1)
    return [fetched(next(asked))[0] for _ in range(CHANGES)]


def readers(address: str, users: int) -> tuple[list[float], float]:
    """Let readers change filters without a pause. Return the seconds of each change, and changes per second."""
    seconds: list[float] = []

    def read(seed: int) -> None:
        asked = choices(address, seed)
        seconds.extend(fetched(next(asked))[0] for _ in range(CHANGES // 10))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(users)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seconds, len(seconds) / (time.perf_counter() - began)


def in_browser(address: str) -> list[float]:
    """Return the seconds from the choice of a channel until the cards show its figures, in chromium."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1280,900"):
        options.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options)
    changed = """
        const [name, value, done] = arguments, began = performance.now();
        const before = document.querySelector("[aria-labelledby=card-purchases] .value")?.textContent;
        const select = document.querySelector(`[name=${name}]`);
        new MutationObserver((_, observer) => {
            if (document.querySelector("[aria-labelledby=card-purchases] .value")?.textContent === before) return;
            observer.disconnect();
            requestAnimationFrame(() => done((performance.now() - began) / 1000));
        }).observe(document.querySelector("main"), {childList: true, subtree: true});
        select.value = value;
        select.dispatchEvent(new Event("change", {bubbles: true}));
    """
    try:
        driver.get(address)
        time.sleep(3)
        values = ("card", "cash", "transfer")
        return [driver.execute_async_script(changed, "channel", values[n % 3]) for n in range(60)]
    finally:
        driver.quit()


def described(name: str, seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    late = ordered[int(len(ordered) * 0.95)]
    return f"| {name} | {statistics.median(ordered) * 1000:.0f} | {late * 1000:.0f} | {ordered[-1] * 1000:.0f} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=number, default=10_000_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "martwright-bench")
    parser.add_argument("--browser", action="store_true")
    given = parser.parse_args(arguments)
    drops = history(given.folder, given.lines)
    target = f"duckdb://{given.folder}/pages-{given.lines}.duckdb"
    state = given.folder / f"pages-state-{given.lines}"
    build = [MARTS, "build", "--source", str(drops), "--target", target, "--state", str(state)]
    quiet = {**os.environ, "MARTS_ANALYTICS": "false", "MARTS_QUALITY__JUDGE": "false"}
    ended = subprocess.run([*build, "--as-of", LAST_DAY.isoformat()], check=False, env=quiet, stdout=subprocess.DEVNULL)
    assert ended.returncode in (0, 65), "the build failed"  # 65: drops with too many bad rows are held
    with served(target) as (address, process, start):
        first, size = fetched(address)
        print(
            f"| start until the address | {start:.1f} s |\n| first page | {first * 1000:.0f} ms, {size / 1000:.0f} kB |"
        )
        print(described("change of a filter, one reader", one_reader(address)))
        seconds, rate = readers(address, USERS)
        print(described(f"{USERS} readers without a pause", seconds))
        print(f"| changes per second | {rate:.0f} |")
        if given.browser:
            print(described("change of a filter in a browser", in_browser(address)))
        print(f"| memory | {process.memory_info().rss / 2**20:.0f} MiB |")
        cells = re.search(r"The ([0-9,]+) rows behind it", urllib.request.urlopen(address).read().decode())
        print(f"| cells of the quarter | {cells[1] if cells else ''} |")


if __name__ == "__main__":
    main()
