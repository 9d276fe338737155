#!/usr/bin/env bash
# Chromium 153 (npm @sparticuz/chromium 153.0.0): `decodeAudioData` in an AudioContext of 8 kHz.
#
# Expected: what decodes a file to another rate filters it as every program for sound does: tones above
# half of the new rate are gone (60 dB and more down), those below stay within some tenths of a dB.
# Found: of a file at 48 kHz, a tone of 5 kHz becomes one of 3 kHz, only 16 dB fainter, one of 4.6 kHz
# one of 3.4 kHz, 12 dB fainter; and what belongs there is lost: 3.4 kHz are 5 dB down. The filter has
# the same length whatever the ratio, so it is short where much is to be taken away.
# For whom: whoever feeds a speech recognizer of 8 or 16 kHz in a browser from a context of that rate:
# decode at the file's own rate, and resample yourself. (A context of 8 kHz for the microphone, which
# this does not show, does likewise.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm pack --silent @sparticuz/chromium@153.0.0 >/dev/null
tar xzf sparticuz-chromium-153.0.0.tgz
node -e 'const fs = require("fs"), { brotliDecompressSync } = require("zlib");
fs.writeFileSync("chromium", brotliDecompressSync(fs.readFileSync("package/bin/chromium.br")), { mode: 0o755 });'
cat >tones.html <<'HTML'
<script>
const rate = 48000, length = rate / 2;
function wav(hz) {
  const view = new DataView(new ArrayBuffer(44 + 2 * length));
  const text = (at, words) => [...words].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * length, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, 2 * length, true);
  for (let i = 0; i < length; i++) {
    view.setInt16(44 + 2 * i, Math.round(16384 * Math.sin((2 * Math.PI * hz * i) / rate)), true);
  }
  return view.buffer;
}
(async () => {
  const found = [];
  for (const hz of [1000, 3000, 3400, 4600, 5000, 7000]) {
    const sound = await new OfflineAudioContext(1, 1, 8000).decodeAudioData(wav(hz));
    const middle = sound.getChannelData(0).subarray(sound.length / 4, (3 * sound.length) / 4);
    const power = middle.reduce((sum, x) => sum + x * x, 0) / middle.length;
    found.push(`${hz}:${(10 * Math.log10(power / 0.125)).toFixed(1)}`);
  }
  console.log(`found ${found.join(" ")} all`);
})();
</script>
HTML
./chromium --version
HOME="$folder" ./chromium --headless --no-sandbox --disable-gpu --enable-logging=stderr \
  --remote-debugging-port=0 --user-data-dir="$folder/profile" "file://$folder/tones.html" 2>log &
chromium=$!
trap 'kill $chromium || true; wait $chromium 2>/dev/null || true; rm -rf "$folder"' EXIT
for _ in {1..120}; do
  grep -q "found .* all" log && break
  sleep 1
done
grep -o "found .* all" log | head -n 1 | python3 -c '
import re, sys
found = {int(hz): float(db) for hz, db in re.findall(r"(\d+):(-?[\d.]+)", sys.stdin.read())}
for hz, db in found.items():
    print(f"a tone of {hz} Hz, at 8 kHz: {db:+.1f} dB")
expected = {1000: -0.2, 3000: -3.6, 3400: -5.1, 4600: -12.4, 5000: -16.0, 7000: -49.2}
alike = found.keys() == expected.keys() and all(abs(found[hz] - expected[hz]) < 1 for hz in found)
sys.exit(0 if alike else f"changed: expected {expected}")'
echo "Chromium 153 behaves as described"
