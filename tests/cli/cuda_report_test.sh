# tools/cuda-report with stand-ins for nvcc, gmner and the simulator: what it reads out of ptxas and of the counts, and which
# exit code follows. Occupancies are those of cuda_occupancy.h for the same numbers.
. tests/cli/lib.sh "$1"
command -v python3 > /dev/null || { echo "python3 is missing"; exit 77; }

tree=$scratch/tree toolkit=$scratch/toolkit
mkdir -p "$tree"/{tools,kernels/twice,src,build} "$toolkit/bin"
cp tools/cuda-report "$tree/tools/"
echo '__global__ void twice();' > "$tree/kernels/twice/twice_cuda.cu"
printf '/* one line an operation */\nGM_KERNEL_FORWARD(adamw)\nGM_KERNEL(twice)\n' > "$tree/kernels/kernels.def"
executable() { cat > "$1"; chmod +x "$1"; }

executable "$tree/tools/get-cuda" << END
#!/bin/bash
[ ! -e $scratch/no-toolkit ] || { echo 'get-cuda: no CUDA toolkit here' >&2; exit 77; }
echo $toolkit
END
# Files of spills-ARCH hold the bytes that the kernel spills there; a file `warns` makes it warn.
executable "$toolkit/bin/nvcc" << END
#!/bin/bash
case \$1 in
    --version) echo 'release 13.0'; exit ;;
    --list-gpu-code) printf 'sm_%s\n' 80 86 90; exit ;;
esac
while [ \$# -gt 0 ]; do
    case \$1 in
        -arch=sm_*) arch=\${1#-arch=sm_} ;;
        -MF) files=\$2 ;;
        -keep-dir) keep=\$2 ;;
        *.cu) source=\$1 ;;
    esac
    shift
done
echo "\$arch" >> $scratch/compiled
[ ! -e $scratch/warns ] || { echo 'twice_cuda.cu(1): error #177-D: "x" was declared but never referenced'; exit 1; }
echo "kernels.cubin : \$source" > "\$files"
printf '.visible .entry _Z5twiceIfLi2EEvPf(\n)\n.maxntid 96, 2, 1\n{ ld.param x, gm_dyn_smem_; }\n' > "\$keep/twice.ptx"
echo "ptxas info    : Function properties for _Z5twiceIfLi2EEvPf"
echo "    0 bytes stack frame, \$(cat $scratch/spills-\$arch 2> /dev/null || echo 0) bytes spill stores, 0 bytes spill loads"
echo "ptxas info    : Used 72 registers, used 1 barriers, 512 bytes smem, 368 bytes cmem[0]"
END
report() { "$tree/tools/cuda-report" "$@"; }

check "registers and occupancy of one kernel" 0 "twice<float, 2> +192 +512\+\? +72 <=38 % +72 <=50 %" "" report --build-only --arch 80,86
check "no spill is said" 0 "no spills on sm_80, sm_86" "" report --build-only --arch 80,86
[ "$(wc -l < "$scratch/compiled")" -eq 2 ] || fail "compiled $(wc -l < "$scratch/compiled") times, not once for each architecture"
echo '// other' >> "$tree/kernels/twice/twice_cuda.cu"
check "a changed source is compiled anew" 0 "1 kernels on sm_80: no warnings" "" report --build-only --arch 80
[ "$(wc -l < "$scratch/compiled")" -eq 3 ] || fail "the changed source was not compiled anew"

check "an architecture that nvcc lacks" 1 "" "nvcc does not know sm_100" report --build-only --arch 100
check "architectures that nvcc lacks, not asked for" 0 "on sm_80, sm_86, sm_90" "does not know sm_89: left out" report --build-only
check "no architecture at all" 2 "" "sm_70 is not one of 80" report --arch 70
check "no program to count a step with" 1 "" "make sim builds it" report --arch 80

# Steps and passes of one operation that moves 1,000 bytes of $1; prediction's counts lack the second step. $2: what each of them calls.
step() {
    executable "$tree/build/gmner" << END
#!/bin/bash
echo "\$*" >> $scratch/called
[ "\$1" != paint ] || exit 0
[ -n "\$GM_SIM_REPORT" ] || exit 0
number=2
[ "\$1" != predict ] || number=1
{
    printf 'step\toperation\tkernel\tlaunches\tblocks\tthreads\tshared\tread\twritten\tread_once\twritten_once\tleast_read\tleast_written\tflops\n'
    [ \$number = 1 ] || printf '1\tadamw\ttwice<float, 2>\t9\t9\t9\t9\t9\t9\t9\t9\t9\t9\t9\n'
    printf "\$number\tadamw\t-\t1\t0\t0\t0\t0\t0\t0\t0\t$1\t0\t5\n"
    printf "\$number\t${2:-twice backward}\t-\t1\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\n"
    printf "\$number\ttwice forward\ttwice<float, 2>\t3\t30\t192\t4096\t600\t400\t600\t200\t0\t0\t0\n"
    printf "\$number\t-\tdownload\t1\t0\t0\t0\t7000\t0\t7000\t0\t0\t0\t0\n"
    printf "\$number\t-\tgraph\t1\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\n"
} > "\$GM_SIM_REPORT"
[ "\$GM_SIM_CHECK" = 0 ] || exit 3
END
}
touch "$tree/build/gmner-sim-check.so"
step 700
check "a step within 1.5 x" 0 "fp32 training step: 0.00 MB moved, least 0.00 MB, ratio 1.43 .*; 3 launches in 1 graph" "" report --arch 80,86 --check --precision fp32
grep -q '^train .*--device sim-check' "$scratch/called" || fail "no step of training was counted"
grep -q '^predict .*--samples 10 .*--device sim-check' "$scratch/called" || fail "no pass of prediction with samples was counted"
check "a pass of prediction counts as well" 0 "fp32 prediction: 0.00 MB" "" report --arch 80 --precision fp32
step 700 'twice backwards'
check "an operation that no run calls" 1 "ratio 1.43" "no run calls twice backward: COUNTED needs a model that does" report --arch 80 --precision fp32
check "settings of the user's may leave one out" 0 "ratio 1.43" "" report --arch 80 --precision fp32 --set shape=none
step 700
check "shared memory of the launch counts" 0 "twice<float, 2> +192 +512\+4096 +72 +38 %" "" report --arch 80 --precision fp32
grep -q '| \*\*twice forward\*\* | 3 |' "$tree/build/cuda-report.md" || fail "the Markdown lacks the operation"
grep -q '| `twice<float, 2>` | 192 | 512+4096 | 72 38 % |' "$tree/build/cuda-report.md" || fail "the Markdown lacks the kernel, as code"
step 600
check "a step above 1.5 x" 1 "ratio 1.67" "the fp32 training step moves 1.67 x the least" report --arch 80 --check --precision fp32
check "a step above 1.5 x, only shown" 0 "the training step .* 1.67 .*ABOVE" "" report --arch 80 --precision fp32
step 700
echo 16 > "$scratch/spills-86"
echo '// again' >> "$tree/kernels/twice/twice_cuda.cu"
check "a spill on sm_86 is shown" 0 "SPILLS on sm_86: twice twice<float, 2> \(16 bytes\)" "" report --arch 80,86 --check --precision fp32
check "a spill on an architecture that was asked for" 1 "72 SPILLS 16" "kernels spill on sm_86" report --build-only --arch 86
echo 8 > "$scratch/spills-80"
echo '// and again' >> "$tree/kernels/twice/twice_cuda.cu"
check "a spill on sm_80" 1 "SPILLS on sm_80" "kernels spill on sm_80" report --arch 80 --check --precision fp32

executable "$tree/build/gmner" <<< $'#!/bin/bash\necho "step 1: the loss is nan"; exit 1'
check "a command that does not run" 1 "" "the loss is nan" report --arch 80 --precision fp32
touch "$scratch/warns"
echo '// once more' >> "$tree/kernels/twice/twice_cuda.cu"
check "a warning" 1 "" "twice_cuda.cu does not compile for sm_80 without warnings" report --build-only --arch 80
touch "$scratch/no-toolkit"
check "no nvcc is a skip" 77 "" "skipped, since there is no nvcc" report --build-only

done_checking
