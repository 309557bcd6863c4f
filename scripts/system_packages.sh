#!/usr/bin/env bash
# Installs what the build needs from Debian or Ubuntu: a compiler, make, git, and venv support; with
# the argument `node` also node and npm, which only the web part needs, with `browser` Chromium, in
# which tests look at pages, with `gpu` a Vulkan device in software, on which they run WGSL kernels.
# Does nothing where all is there; where it may not install, it says what is missing and stops.
set -euo pipefail

python=${PYTHON:-python3}
missing=()
command -v "$python" >/dev/null || missing+=(python3 python3-dev)
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
"$python" - <<'PY' 2>/dev/null || missing+=(python3-dev)
import os, sysconfig
raise SystemExit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))
PY
command -v c++ >/dev/null || missing+=(g++)
command -v git >/dev/null || missing+=(git)
[ "${1:-}" != node ] || command -v npm >/dev/null || missing+=(nodejs npm)
[ "${1:-}" != browser ] || command -v chromium >/dev/null || missing+=(chromium fonts-dejavu-core)
[ "${1:-}" != gpu ] || [ -e /usr/share/vulkan/icd.d/lvp_icd.x86_64.json ] ||
  missing+=(mesa-vulkan-drivers libvulkan1)
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null && sudo -n true 2>/dev/null && as_root=(sudo -n)
fi
if command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || [ ${#as_root[@]} -gt 0 ]; }; then
  echo "installing system packages: ${missing[*]}" >&2
  "${as_root[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
else
  echo "missing system packages: ${missing[*]}; install them and run the command again" >&2
  exit 1
fi
