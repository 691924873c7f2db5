/* Context switches and stacks of fibers, for x86-64 in the System V convention. */
#include "fiber.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifndef __x86_64__
#error "the simulator needs x86-64: write emu_switch for this processor (callee-saved registers, stack pointer)"
#endif

/* It ends with pop and jmp: a ret would always miss the return-address predictor (10 ns instead of 2). */
extern "C" __attribute__((visibility("hidden"))) void emu_switch(void **save, void *to);
asm(".text\n"
    ".globl emu_switch\n"
    ".hidden emu_switch\n"
    ".type emu_switch,@function\n"
    "emu_switch:\n"
    " pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
    " movq %rsp,(%rdi)\n"
    " movq %rsi,%rsp\n"
    " popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n"
    " popq %rcx\n"
    " jmp *%rcx\n"
    ".size emu_switch,.-emu_switch\n");

namespace emu {

enum { PAGE = 4096, SAVED_REGISTERS = 6 };

void context_switch(Context *from, Context *to) { emu_switch(&from->sp, to->sp); }

static void context_make(Context *context, char *high, void (*entry)())
{
    void **sp = (void **)((uintptr_t)high & ~(uintptr_t)15);
    *--sp = nullptr; /* the convention wants rsp % 16 == 8 at a function's first instruction */
    *--sp = (void *)entry;
    for (int i = 0; i < SAVED_REGISTERS; i++) *--sp = nullptr;
    context->sp = sp;
}

static Fiber *fiber_make()
{
    char *block = (char *)mmap(nullptr, FIBER_STACK + PAGE, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block == MAP_FAILED) abort(); /* no kernel can go on without stacks */
    mprotect(block, PAGE, PROT_NONE); /* a stack that overflows faults */
    /* Stacks a power of two apart would share cache sets: attention took 1.08 s instead of 0.85 s. */
    static unsigned colour;
    const size_t shift = __atomic_fetch_add(&colour, 1, __ATOMIC_RELAXED) * 704 % PAGE & ~(size_t)63;
    return new Fiber{ { nullptr }, block + PAGE, block + PAGE + FIBER_STACK - shift };
}

Fiber *fiber_take(std::vector<Fiber *> &pool, void (*entry)())
{
    Fiber *fiber;
    if (pool.empty()) {
        fiber = fiber_make();
    } else {
        fiber = pool.back();
        pool.pop_back();
    }
    context_make(&fiber->context, fiber->high, entry);
    return fiber;
}

} // namespace emu
