/* Names of kernels with their template arguments. A launch knows the source text, where "kernel<T>" stands for several
 * kernels; the symbol table of the image knows the address. */
#include "internal.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <map>
#include <mutex>

namespace emu {

typedef std::map<uint64_t, std::string> Symbols; /* mangled, by address in the image */

static void read_symbols(const char *image, size_t bytes, Symbols &symbols)
{
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)image;
    if (bytes < sizeof *header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return;
    const Elf64_Shdr *sections = (const Elf64_Shdr *)(image + header->e_shoff);
    for (int i = 0; i < header->e_shnum; i++) {
        if (sections[i].sh_type != SHT_SYMTAB) continue;
        const Elf64_Sym *s = (const Elf64_Sym *)(image + sections[i].sh_offset), *end = s + sections[i].sh_size / sizeof *s;
        const char *names = image + sections[sections[i].sh_link].sh_offset;
        for (; s < end; s++)
            if (ELF64_ST_TYPE(s->st_info) == STT_FUNC && s->st_value) symbols[s->st_value] = names + s->st_name;
    }
}

static Symbols load_symbols(const char *path)
{
    Symbols symbols;
    struct stat status;
    const int file = open(path, O_RDONLY);
    if (file < 0) return symbols;
    if (fstat(file, &status) == 0 && status.st_size > 0) {
        void *image = mmap(nullptr, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
        if (image != MAP_FAILED) {
            read_symbols((const char *)image, (size_t)status.st_size, symbols);
            munmap(image, (size_t)status.st_size);
        }
    }
    close(file);
    return symbols;
}

/* "void forward<float, 2>(gm_attention, bool)" is named forward<float, 2>. */
static std::string without_types(const std::string &function)
{
    static const std::string RESULT = "void ";
    const size_t first = function.compare(0, RESULT.size(), RESULT) == 0 ? RESULT.size() : 0;
    int depth = 0;
    for (size_t i = first; i < function.size(); i++) {
        if (function[i] == '<') depth++;
        if (function[i] == '>') depth--;
        if (function[i] == '(' && depth == 0) return function.substr(first, i - first);
    }
    return function.substr(first);
}

static std::string look_up(const void *kernel, const char *otherwise)
{
    static const Symbols *symbols;
    Dl_info info;
    if (!dladdr(kernel, &info)) return otherwise;
    if (!symbols) symbols = new Symbols(load_symbols(access(info.dli_fname, R_OK) == 0 ? info.dli_fname : "/proc/self/exe"));
    const auto found = symbols->find((uint64_t)((const char *)kernel - (const char *)info.dli_fbase));
    if (found == symbols->end()) return otherwise;
    int status;
    char *readable = abi::__cxa_demangle(found->second.c_str(), nullptr, nullptr, &status);
    const std::string name = readable ? without_types(readable) : otherwise;
    free(readable);
    return name;
}

std::string kernel_name(const void *kernel, const char *otherwise)
{
    static std::mutex &mutex = *new std::mutex;
    static std::map<const void *, std::string> &known = *new std::map<const void *, std::string>;
    std::lock_guard<std::mutex> lock(mutex);
    std::string &name = known[kernel];
    if (name.empty()) name = look_up(kernel, otherwise);
    return name;
}

} // namespace emu
