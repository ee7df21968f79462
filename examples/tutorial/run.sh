#!/usr/bin/env bash
# Runs the tutorial's function three times, unchanged, and shows what was recorded.
set -euo pipefail
cd "$(dirname "$0")"
top=$(cd ../.. && pwd)

if [ -z "${WINDLASS:-}" ]; then
  echo "Building windlass…" >&2
  cargo build --release --quiet --manifest-path "$top/Cargo.toml" -p windlass
  WINDLASS="$top/target/release/windlass"
fi

venv="$top/target/tutorial-venv"
if [ ! -e "$venv/ready" ]; then
  echo "Installing pandas and scikit-learn into $venv…" >&2
  python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r requirements.txt
  touch "$venv/ready"
fi
export VIRTUAL_ENV="$venv" PATH="$venv/bin:$PATH"

"$WINDLASS" run functions:train_ml_model_basic
"$WINDLASS" run functions:train_ml_model_basic -p train_model.n_estimators=200
"$WINDLASS" run functions:train_ml_model_basic -p train_model.n_estimators=10 -p train_model.random_state=7
echo
"$WINDLASS" ls
echo
"$WINDLASS" show @last
