# What tests/gpu/run and benchmarks/gpu/run share: `gpu`, `architecture` (such as 90) and `toolkit`, or an error by `stop`, which
# the caller has; and gm_build_for_gpu.
for tool in cmake ctest gcc g++; do command -v "$tool" > /dev/null || stop "$tool is missing"; done
command -v nvidia-smi > /dev/null || stop "no GPU here: nvidia-smi is missing"
gpu=$(nvidia-smi --id=0 --query-gpu=name,driver_version,compute_cap --format=csv,noheader) || stop "no GPU here: nvidia-smi finds none: $gpu"
architecture=$(sed -n 's/.*, *\([0-9]*\)\.\([0-9]*\) *$/\1\2/p' <<< "$gpu")
[ -n "$architecture" ] || stop "nvidia-smi does not say which GPU this is: $gpu"
[ "$architecture" -ge 80 ] || stop "$gpu: the kernels need compute capability 8.0 or newer"
toolkit=$(tools/get-cuda) || stop "the kernels need nvcc"
echo "$gpu; $toolkit"

# gm_build_for_gpu FOLDER CMAKE-OPTIONS... -- TARGET...    with stand-ins for what the machine lacks
gm_build_for_gpu() {
    local folder=$1 start=$SECONDS
    local -a options=() generator=()
    shift
    while [ "$1" != -- ]; do options+=("$1"); shift; done
    shift
    # The first configuration of a folder decides about Ninja or make.
    if [ ! -f "$folder/CMakeCache.txt" ] && command -v ninja > /dev/null; then generator=(-G Ninja); fi
    mkdir -p "$folder"
    if ! { cmake -S . -B "$folder" "${generator[@]}" -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=Release -DGM_CUDA=ON -DGM_STANDINS=ON \
        -DGM_CUDA_TOOLKIT="$toolkit" -DCMAKE_CUDA_ARCHITECTURES="$architecture" "${options[@]}" &&
        cmake --build "$folder" -j "$jobs" --target "$@"; } > "$folder/build.log" 2>&1; then
        grep -E 'error|FAILED|CMake Error|missing' "$folder/build.log" | head -n 40
        stop "$folder does not build; all of it: $folder/build.log"
    fi
    grep 'stood in' "$folder/build.log"
    echo "built in $((SECONDS - start)) s"
}
