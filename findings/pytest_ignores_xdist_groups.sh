#!/usr/bin/env bash
# pytest 9.2.0 with pytest-xdist 3.8.0: `xdist_group` marks are ignored without a word.
#
# Expected: with `--dist loadgroup`, tests that share an `xdist_group` run on one worker; a pytest that
# pytest-xdist's requirement admits either honours that or says that it cannot.
# Found: pytest-xdist marks a group by assigning to a private attribute of the test item, from which pytest
# 9.2 no longer makes the item's id. The scheduler still calls itself LoadGroupScheduling, and spreads the
# group over all workers: fixtures of a module are made once a worker, and what must not run at once does.
# pytest 9.1.1 keeps a group together.
# For whom: whoever keeps slow fixtures, ports or devices apart by groups, and lets pytest be 9.2.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/test_group.py" <<'PYTHON'
import os
import time

import pytest


@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("number", range(12))
def test_group(number):
    time.sleep(0.05)
    with open(os.environ["WORKERS"], "a") as file:
        print(os.environ["PYTEST_XDIST_WORKER"], file=file)
PYTHON
status=0
for expected in "9.1.1 1" "9.2.0 2"; do
  read -r version count <<<"$expected"
  python3 -m venv --clear "$folder/venv"
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "pytest==$version" pytest-xdist==3.8.0
  rm -f "$folder/workers"
  (cd "$folder" && WORKERS="$folder/workers" venv/bin/python -m pytest -q -p no:cacheprovider -n 2 \
    --dist loadgroup test_group.py | tail -n 1)
  workers=$(sort -u "$folder/workers" | wc -l)
  echo "pytest $version, pytest-xdist 3.8.0: one group ran on $workers worker(s)"
  [[ "$workers" == "$count" ]] || status=1
done
((status == 0)) && echo "pytest 9.2.0 and pytest-xdist 3.8.0 behave as described" || echo "changed"
exit "$status"
