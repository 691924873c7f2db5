#!/bin/sh
# Makes the Python environment of the peers: benchmarks/peers/setup.sh [FOLDER], by default build/peers. Some 2 GB; needs python3-venv.
set -eu
folder=${1:-build/peers}
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet --upgrade pip
"$folder/bin/pip" install --quiet --index-url https://download.pytorch.org/whl/cpu torch || "$folder/bin/pip" install --quiet torch
"$folder/bin/pip" install --quiet transformers onnx onnxruntime openvino matplotlib
echo "benchmarks/compare --python $folder/bin/python"
