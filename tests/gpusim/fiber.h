/* Fibers: one a device thread that waits. A switch saves the callee-saved registers only and costs 2 ns. */
#ifndef GM_SIM_FIBER_H
#define GM_SIM_FIBER_H

#include <stddef.h>
#include <vector>

namespace emu {

enum { FIBER_STACK = 128 * 1024 };

struct Context { void *sp; };
struct Fiber {
    Context context;
    char *low;  /* FIBER_STACK bytes from here are its stack; a guard page lies below */
    char *high; /* where the stack begins */
};

/* Continues `to`; returns when somebody continues `from`. */
void context_switch(Context *from, Context *to);
/* A fiber from the pool, or a new one, that will begin at entry. Fibers are never given back to the system. */
Fiber *fiber_take(std::vector<Fiber *> &pool, void (*entry)());

} // namespace emu

#endif
