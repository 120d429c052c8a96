#!/bin/sh
# FLARE's submission form: every CT of the inputs folder becomes a label file of the same case in the outputs folder,
# ID_0000.nii.gz becomes ID.nii.gz. The challenge runs `sh predict.sh` in the container; elsewhere the three folders are
# given by variables. Options of `flare predict` may follow: sh predict.sh --volumes /workspace/outputs/volumes.csv
set -eu
exec flare predict "${FLARE_INPUTS:-/workspace/inputs}" --out "${FLARE_OUTPUTS:-/workspace/outputs}" \
    --model "${FLARE_SUBMISSION:-/workspace/submission}" "$@"
