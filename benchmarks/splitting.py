"""What it costs to cut a large file into parts, beside `csv.reader` and another library; how rows are found again.

The CPU seconds of all programs are measured in turns, several rounds of it, and the least of each is shown: what else
ran on the machine only adds. The memory is that of a process that plans a file of 1 GB and reads each part of it. A row
says whether its target is met; the program's exit code is 1 if one is not.

    nox -s imports                      # all that measures imports
    python benchmarks/splitting.py --quick
"""

from __future__ import annotations

import argparse
import csv
import importlib
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ccactivity import plan_import
from ccactivity.imports.records import split_records, whole_lines
from ccactivity.imports.source import FileSource

LISTS = ["5b8f3a2c-0d0e-4c1a-9f43-2f0a7d1e6b11"]
HEADER = b"email,first_name,last_name,company_name,street,city,cf:note\r\n"
ROWS = 600_000  # 53 MB
LARGE_ROWS = 11_500_000  # 1 GB
MAX_CPU = 2.5  # times that of csv.reader alone
MAX_MEMORY_MB = 60

Program = tuple[str, Callable[[], int], float | None]  # what it is, what runs, the most that it may take


def make_row(number: int) -> bytes:
    """A row of 93 bytes; every 50th holds a line end."""
    note = b'"two\nlines"' if number % 50 == 49 else b"plain"
    street = b"%d Long Street,Springfield" % (number % 977)
    return b"person%08d@example.com,Zo\xc3\xab,Miller,Example Company %d,%s,%s\r\n" % (
        number,
        number % 1000,
        street,
        note,
    )


def make_file(path: Path, rows: int) -> None:
    with path.open("wb") as file:
        file.write(HEADER)
        file.writelines(map(make_row, range(rows)))


def count_records(path: Path) -> int:
    """Find the records as `plan_import` does, without a look at what is in them."""
    blocks = whole_lines(piece.text for piece in FileSource(path, "utf-8").read())
    return sum(1 if batch.fields else len(batch.lines) for batch in split_records(blocks))


def count_elsewhere(path: Path) -> int:
    """Split with simple-salesforce, which writes every record anew, into parts of as many rows."""
    split: Any = importlib.import_module("simple_salesforce.bulk2")._split_csv
    return sum(rows for rows, _ in split(str(path), max_records=39_000))


def measure_cpu(path: Path, rounds: int) -> bool:
    """Print the CPU seconds of each way to split a file."""
    lines = [line.decode() for line in path.read_bytes().splitlines(keepends=True)]
    plan = plan_import(path, list_ids=LISTS)
    programs: list[Program] = [
        ("`csv.reader` alone, on lines in memory", lambda: sum(1 for _ in csv.reader(lines, strict=True)), None),
        ("records, byte for byte, from the file", lambda: count_records(path), MAX_CPU),
        (
            "`plan_import`: records, checks, duplicates, digests",
            lambda: plan_import(path, list_ids=LISTS).rows,
            MAX_CPU,
        ),
        ("`read_part`, all of them", lambda: sum(plan.read_part(part.number).rows for part in plan.parts), None),
    ]
    try:
        programs.append((f"simple-salesforce {version('simple-salesforce')}", lambda: count_elsewhere(path), None))
    except PackageNotFoundError:
        print("simple-salesforce is not installed, and left out")
    least = [float("inf")] * len(programs)
    for _ in range(rounds):
        for index, (_, run, _) in enumerate(programs):
            begin = time.process_time()
            run()
            least[index] = min(least[index], time.process_time() - begin)
    size = path.stat().st_size / 1e6
    print(f"\n{size:.0f} MB, {plan.rows:,} rows, {len(plan.parts)} parts; the least of {rounds} rounds\n")
    print("| | CPU s | MB/s | times `csv.reader` | target |\n|---|--:|--:|--:|---|")
    met = True
    for (name, _, most), seconds in zip(programs, least, strict=True):
        times = seconds / least[0]
        target = "" if most is None else f"≤ {most}, {'met' if times <= most else 'MISSED'}"
        met = met and (most is None or times <= most)
        print(f"| {name} | {seconds:.2f} | {size / seconds:.0f} | {times:.2f} | {target} |")
    return met


def import_all(path: Path) -> None:
    """Plan a file, read each part of it, and print the most memory that it took, in MB."""
    plan = plan_import(path, list_ids=LISTS)
    maps = deque((plan.read_part(part.number).line_map for part in plan.parts), maxlen=4)  # as an import keeps them
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (peak,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    print(peak // 1024, plan.rows, len(plan.parts))
    assert maps


def measure_memory(path: Path) -> bool:
    """Print the peak of a process of its own."""
    begin = time.monotonic()
    command = [sys.executable, __file__, "--import", str(path)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    peak, rows, parts = map(int, run.stdout.split())
    met = peak < MAX_MEMORY_MB
    print("\n| file | rows | parts | seconds | peak memory of the process | target |\n|---|--:|--:|--:|--:|---|")
    print(
        f"| {path.stat().st_size / 1e9:.2f} GB | {rows:,} | {parts} | {time.monotonic() - begin:.0f} | {peak} MB |"
        f" < {MAX_MEMORY_MB} MB, {'met' if met else 'MISSED'} |"
    )
    return met


def make_random_file(dice: random.Random) -> bytes:
    """Rows of one line or of several, good and bad, with blank lines and mixed line ends."""
    share = dice.choice([0.0, 0.02, 0.2, 0.7])
    rows = []
    for number in range(dice.randint(1, 120)):
        address = f"p{number}@{'example.com' if dice.random() < 0.7 else 'example'}"
        lines = dice.randint(2, 4) if dice.random() < share else 1
        note = (
            dice.choice(["", "x", "é"]) if lines == 1 else '"' + dice.choice(["\n", "\r\n"]).join(["x"] * lines) + '"'
        )
        rows.append(f"{address},{note}" + dice.choice(["\n", "\r\n", "\n\n"]))
    return ("email,cf:note\n" + "".join(rows)).encode()


def refuse_rows(content: bytes, *, by_line: bool) -> Iterator[tuple[str, str]]:
    """The vendor of this program: (address, message) for each row with a bad address, numbered by line or by record."""
    reader = csv.reader([line.decode() for line in content.splitlines(keepends=True)], strict=True)
    first = 1
    for number, row in enumerate(reader, 1):
        if number > 1 and "." not in row[0]:
            yield row[0], f"Line {first if by_line else number}: Invalid email address"
        first = reader.line_num + 1


def measure_mapping(files: int) -> bool:
    """Count refused rows by how well their line is known, under both readings of the vendor's number."""
    dice = random.Random(14)
    counts: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for _ in range(files):
        data = make_random_file(dice)
        lines = data.decode().splitlines()
        part = plan_import(data, list_ids=LISTS).read_part(1)
        for by_line, count in counts.items():
            for address, message in refuse_rows(part.content, by_line=by_line):
                (error,) = part.line_map.locate([message], 1, "id")
                right = error.line is not None and lines[error.line - 1].startswith(f"{address},")
                count[("right" if right else "wrong") + (", certain" if error.exact else ", doubtful")] += 1
    print(f"\n{files:,} random files\n\n| `Line N` is | refused rows | certain | doubtful, right | doubtful, wrong |"
          " certain, wrong | target |\n|---|--:|--:|--:|--:|--:|---|")  # fmt: skip
    for by_line, count in counts.items():
        wrong = count["wrong, certain"]
        figures = [
            sum(count.values()),
            *(count[one] for one in ("right, certain", "right, doubtful", "wrong, doubtful")),
        ]
        print(
            f"| {'a line' if by_line else 'a record'} | {' | '.join(f'{one:,}' for one in figures)} | {wrong} |"
            f" 0, {'MISSED' if wrong else 'met'} |"
        )
    return not any(count["wrong, certain"] for count in counts.values())


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure how files are split.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--import", dest="path", type=Path, help="plan this file and read its parts, and nothing else")
    arguments = parser.parse_args()
    if arguments.path:
        import_all(arguments.path)
        return 0
    part = 10 if arguments.quick else 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "contacts.csv")
        make_file(path, ROWS // part)
        met = [measure_cpu(path, rounds=3 if arguments.quick else 7), measure_mapping(2_000 // part)]
        make_file(path, LARGE_ROWS // part)
        met.append(measure_memory(path))
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
