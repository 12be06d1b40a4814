"""Print trial's closing line as C{N passed, N failed, N skipped}."""

import re
import sys

with open(sys.argv[1], encoding="utf-8", errors="replace") as log:
    closing = [line for line in log if re.match(r"(PASSED|FAILED)\b", line)]
if not closing:
    sys.exit("trial printed no result")
counts = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", closing[-1])}
passed = counts.get("successes", 0) + counts.get("expectedFailures", 0)
failed = sum(counts.get(name, 0) for name in ("failures", "errors", "unexpectedSuccesses"))
print(f"{passed} passed, {failed} failed, {counts.get('skips', 0)} skipped")
