#!/bin/sh
# Training on one GPU: images a second against a plain PyTorch script, the fraction of the card's bf16 matmul rate, and
# the time of an epoch of the paper's 117,000 maps against its 120 s on an A100.
#
#     benchmarks/gpu.sh [options of benchmarks/training.py]     in an environment where torch sees the GPU
#
# It was not run where this was written, which had no GPU: expect to mend it, and do not take its claims as measured.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python}
"$PYTHON" -c 'import torch; raise SystemExit(not torch.cuda.is_available())' || {
    echo "torch sees no GPU: run this on a node with one, with a CUDA build of torch; PYTHON names another interpreter" >&2
    exit 2
}
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
"$PYTHON" -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda, "cuDNN", torch.backends.cudnn.version())'
exec "$PYTHON" -m benchmarks.training --batch 64 --steps 100 --threads 4 "$@"
