#!/usr/bin/env bash
# onnxruntime 1.32.0: the wheel for Linux reports its use to its publisher, from the first import on.
#
# Expected: for years only the builds for Windows had telemetry; importing the package on Linux wrote
# no file and opened no connection.
# Found: `import onnxruntime` writes `.ses` into TMPDIR, and a device identifier and a database of
# events into `~/.cache/Microsoft/DeveloperTools/.onnxruntime/`; some seconds later the host name
# mobile.events.data.microsoft.com is looked up. It is documented in the wheel's
# Privacy.md. `disable_telemetry_events()` comes too late: the files are there by then. With
# ORT_DISABLE_TELEMETRY=1 in the environment before the import, nothing is written.
# For whom: whoever promises that recordings and their use stay on the machine, starts many short
# processes, or runs with a read-only or shared home.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.2.6 onnxruntime==1.32.0
for setting in 0 1; do
  mkdir "$folder/home$setting"
  # A proxy that does not exist, so that nothing is sent from here.
  env HOME="$folder/home$setting" TMPDIR="$folder/home$setting" XDG_CACHE_HOME="$folder/home$setting/.cache" \
    HTTPS_PROXY=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 ORT_DISABLE_TELEMETRY="$setting" \
    "$folder/venv/bin/python" -c 'import onnxruntime; print("onnxruntime", onnxruntime.__version__)'
  echo "ORT_DISABLE_TELEMETRY=$setting:"
  (cd "$folder/home$setting" && find . -type f | sort)
done
[[ -e "$folder/home0/.ses" && -z "$(find "$folder/home1" -type f)" ]] || { echo "changed"; exit 1; }
echo "onnxruntime 1.32.0 behaves as described"
